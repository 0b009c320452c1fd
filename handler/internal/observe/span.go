package observe

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Invocation describes what the host called. Empty fields are left out.
type Invocation struct {
	ID       string // the host's invocation id
	Function string
	Trigger  string // type of function.json, such as httpTrigger
	Way      string // proxied, forwarded or wrapped
	Method   string // HTTP only, from here on
	Route    string // template, such as orders/{id}
	Path     string // escaped path without a query: a query may hold a function key
}

// Attempt describes one request to the gateway.
type Attempt struct {
	Method string
	Scheme string
	Host   string // name or address, with a port where the URL has one
	Path   string // escaped path without a query
	Resend int    // 0 for the first attempt
}

// Span is one timed operation: an invocation, or an attempt within it. nil is a span of telemetry switched off. Its methods may be called
// by one goroutine at a time, but attempts of one invocation by several. Its memory is never another span's: whoever still holds it after
// its end, and ends it again, does nothing.
type Span struct {
	t       *Telemetry
	trace   Trace
	begun   time.Time
	ended   atomic.Bool
	attempt bool
	cold    bool
	labels  labels
	name    string // without the route
	method  string // as in names and attributes
	path    string

	id, trigger, way, route string // of an invocation
	host                    string // of an attempt, with the port as the URL has it
	resend                  int
}

// Begin begins the span of an invocation, with the ids that tr has: log lines and spans have the
// same ones. Where spans are exported, an invalid tr begins a trace of our own. End it.
func (t *Telemetry) Begin(tr Trace, in Invocation) *Span {
	if t == nil {
		return nil
	}
	t.inFlight.Add(1)
	if t.spans != nil && !tr.Valid() {
		tr = NewTrace()
	}
	s := &Span{t: t, trace: tr, name: in.Function, method: knownMethod(in.Method), path: in.Path,
		id: in.ID, trigger: in.Trigger, way: in.Way, route: in.Route}
	s.labels.function, s.labels.trigger = in.Function, faasTrigger(in.Trigger)
	if s.method != "" {
		s.name = s.method
	}
	if !t.started.Load() {
		s.cold = !t.started.Swap(true)
	}
	s.begin()
	return s
}

// Attempt begins the span of one request to the gateway, below s. End it before s, when the answer's header is there or the attempt has
// failed.
func (s *Span) Attempt(a Attempt) *Span {
	if s == nil {
		return nil
	}
	host, portText, _ := strings.Cut(a.Host, ":")
	if strings.HasPrefix(a.Host, "[") {
		host, portText, _ = strings.Cut(strings.TrimPrefix(a.Host, "["), "]")
		portText = strings.TrimPrefix(portText, ":")
	}
	port := 443
	if a.Scheme == "http" {
		port = 80
	}
	if portText != "" {
		port, _ = strconv.Atoi(portText)
	}
	method := knownMethod(a.Method)
	child := &Span{t: s.t, trace: s.trace.Child(), attempt: true, name: method, method: method, path: a.Path, host: a.Host, resend: a.Resend}
	child.labels.method, child.labels.host, child.labels.port, child.labels.scheme = method, host, port, a.Scheme
	child.begin()
	return child
}

func (s *Span) begin() {
	if s.t.sampler.sample(s.trace) {
		s.trace.Flags |= flagSampled
	} else {
		s.trace.Flags &^= flagSampled
	}
	s.begun = time.Now()
}

// Trace returns the span's place in its trace, marked as sampled where it is recorded; tr where no spans are exported.
func (s *Span) Trace(tr Trace) Trace {
	if s == nil || s.t.spans == nil {
		return tr
	}
	return s.trace
}

// Inject replaces the trace context of a request that is made below the span. Where no spans are exported it does nothing: the request
// then goes on with the context that came in, since there is no span of ours for the next one to be below.
func (s *Span) Inject(header http.Header) {
	if s != nil && s.t.spans != nil {
		s.trace.Inject(header)
	}
}

// End ends the span. status is that of the answer, 0 where there was none. failure is a short constant word for why it failed, such as a
// problem's code, "" where it did not. Of an attempt any status from 400 is a failure, of an invocation from 500 (OpenTelemetry's semantic
// conventions for HTTP spans, status).
func (s *Span) End(status int, failure string) {
	if s == nil || s.ended.Swap(true) {
		return
	}
	took := time.Since(s.begun)
	if failure == "" && (status >= 500 || s.attempt && status >= 400) {
		failure = strconv.Itoa(status)
	}
	t := s.t
	if t.spans != nil && s.trace.Flags&flagSampled != 0 {
		if b := t.spans.next(); b != nil {
			t.spans.done(s.appendTo(b, t.limits, took, status, failure))
		}
	}
	if t.metrics != nil {
		s.labels.status, s.labels.failure = status, failure
		if s.attempt {
			t.metrics.attempts.record(s.labels, took.Seconds())
		} else {
			t.metrics.invocations.record(s.labels, took.Seconds())
		}
	}
	if !s.attempt && t.inFlight.Add(-1) == 0 {
		t.timer.Reset(idle)
	}
}

// faasTrigger groups triggers as the semantic conventions for functions do.
func faasTrigger(trigger string) string {
	if trigger == "httpTrigger" { // as nearly everybody writes what nearly every call is
		return "http"
	}
	switch strings.ToLower(trigger) {
	case "":
		return ""
	case "httptrigger":
		return "http"
	case "timertrigger":
		return "timer"
	case "blobtrigger", "cosmosdbtrigger", "sqltrigger":
		return "datasource"
	case "queuetrigger", "servicebustrigger", "eventhubtrigger", "eventgridtrigger", "kafkatrigger", "rabbitmqtrigger":
		return "pubsub"
	}
	return "other"
}

// knownMethod keeps a caller from making up names of spans and series of metrics, as the semantic conventions ask.
func knownMethod(method string) string {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
		http.MethodTrace, http.MethodConnect:
		return method
	}
	return "_OTHER"
}
