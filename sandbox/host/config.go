package host

import (
	"time"

	"apimrelay/internal/secret"
)

// Config is what New needs. Root is required; the zero value of everything else is the real host's
// behaviour.
type Config struct {
	// Root is the script root: host.json and one folder for each function.
	Root string
	// Addr is where callers are served, host:port; "" is a free port of 127.0.0.1.
	Addr string
	// Environ is the host's own environment, NAME=value: app settings for %NAME% and
	// AzureFunctionsJobHost__*, and all that the handler's process inherits. Nothing is read from
	// this process.
	Environ []string

	// FunctionKey is every function's key "default", HostKey the host key "default", MasterKey the
	// host's "master". An empty one fits nobody.
	FunctionKey, HostKey, MasterKey secret.String
	// OpenAuth makes every level anonymous and the admin API open, as `func start` does without
	// --enableAuth.
	OpenAuth bool

	// OnLog gets each line of the host's log that logging.logLevel of host.json lets pass, one at a
	// time and in order; it must not call the host.
	OnLog func(LogEntry)
	// OnRefusal is told of each request that the host itself refuses, which it answers without a
	// body and without a line of log; from the request's own goroutine; nil: nobody.
	OnRefusal func(Refusal)
	// NoTicks has timers run only when they are fired by hand.
	NoTicks bool
	// StatusDir keeps the status of timers across starts, a file for each; "" keeps it in memory.
	StatusDir string
	// History is the number of invocations that History remembers; 0 is 200.
	History int

	// Speed makes the host's time pass faster, for tests: schedules, time-outs, pauses and stamps.
	// 0 is 1.
	Speed float64
	// Start is what the host's clock shows at New; the zero time is now.
	Start time.Time

	Durations Durations
	Switches  Switches
}

// Durations are times of the host that no file sets. A zero is the host's own value.
type Durations struct {
	// between two readiness probes: 28 ms; the window of 30 s counts 25 of them (recording
	// E-never-listens: 1201 tries in 34 s)
	ProbePause time.Duration
	// a request waits so long for a handler that does not get ready: 135 s (recording
	// E-exe-missing)
	ReadyWait    time.Duration
	TimeoutGrace time.Duration // between the time-out of a function and the kill: 2 s
	Shutdown     time.Duration // running invocations may end after a signal: 30 s
	// an idle connection to the handler is closed: 74 s (recording E-idle-connection)
	IdleConn time.Duration
	// in front of the second of ten tries of a proxied exchange: 50 ms, doubling to ProxyPauseMost
	ProxyPause time.Duration
	ProxyMost  time.Duration // 250 ms
	FilePoll   time.Duration // how often the script root is looked at: 500 ms
	FileSettle time.Duration // how long it must be quiet before a change counts: 500 ms
}

func (d Durations) withDefaults() Durations {
	set := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&d.ProbePause, 28*time.Millisecond)
	set(&d.ReadyWait, 135*time.Second)
	set(&d.TimeoutGrace, 2*time.Second)
	set(&d.Shutdown, 30*time.Second)
	set(&d.IdleConn, 74*time.Second)
	set(&d.ProxyPause, 50*time.Millisecond)
	set(&d.ProxyMost, 250*time.Millisecond)
	set(&d.FilePoll, 500*time.Millisecond)
	set(&d.FileSettle, 500*time.Millisecond)
	return d
}

// TraceMode is the telemetry that decides about traceparent.
type TraceMode int

// The modes of recordings A-traceparent, E-appinsights-* and E-otel-*.
const (
	// OpenTelemetry where host.json says telemetryMode, Application Insights where its app setting
	// is there, else none
	TraceByConfig TraceMode = iota
	TraceNone
	TraceAppInsights
	TraceOpenTelemetry
)

// Switches are the ways in which hosts differ from each other, and hostile turns that an honest
// host may take. The zero value is a host that knows proxying and otherwise is 4.1037.
type Switches struct {
	NoProxying bool // enableProxyingHttpRequest is unknown, as to 4.1037 and older
	// exit 0 restarts the handler, uncounted: hosts with PR #11576 (January 2026)
	RestartOnExitZero bool
	// wrapped requests carry Content-Length, as under Core Tools (also where
	// FUNCTIONS_CORETOOLS_ENVIRONMENT is set)
	ContentLength  bool
	Trace          TraceMode // traceparent to the handler
	NoZone         bool      // the year-1 Last of a timer is written without zone (host#7391)
	SingleEncoding bool      // message bodies are encoded once, as in a fixture of AZF
	ExtraMetadata  bool      // Metadata holds keys that no document names
}
