package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
)

// scope names this program as the source of its spans and metrics.
const scope = "apimrelay"

// idle is how long no invocation may be in flight before what has been collected is sent. It is
// long enough that one caller who sends request after request causes no export for each, and short
// beside the 200 ms after which nothing should be left: the platform may freeze an idle process.
const idle = 10 * time.Millisecond

// Telemetry exports traces and metrics by OTLP over HTTP, with OpenTelemetry's SDK. nil is
// telemetry that is off: every method works on it and does nothing, and what they return does
// nothing either. It may be used by any number of goroutines.
type Telemetry struct {
	tracer      trace.Tracer            // without export one that hands on what came in
	invocations metric.Float64Histogram // seconds
	attempts    metric.Float64Histogram // seconds
	providers   []provider
	endpoints   *strings.Replacer // takes the paths out of collectors' URLs

	inFlight atomic.Int64
	started  atomic.Bool // an invocation has begun: the first one is the cold start
	timer    *time.Timer // runs out when no invocation has been in flight for a while
	flushing atomic.Bool
	again    atomic.Bool // something has ended while a flush was under way
	stopped  atomic.Bool
	logger   *slog.Logger
	reported atomic.Int64 // when an error was logged, in seconds of Unix time
}

// provider is one signal's: traces or metrics.
type provider interface {
	ForceFlush(context.Context) error
	Shutdown(context.Context) error
}

// Config is what Start needs to know.
type Config struct {
	// Lookup reads the process environment by exact names, as the SDK does: os.LookupEnv.
	Lookup func(name string) (string, bool)
	// Version is this program's. It is called only where something is exported.
	Version func() string
	// Counters are exported as metrics.
	Counters *Counters
	// Tokens is asked at each collection of metrics; nil = no token sources. It must be quick and
	// safe to call at any time.
	Tokens func() []TokenStats
	Log    *slog.Logger
}

// Start begins the export of traces and metrics where the standard variables ask for it:
// OTEL_EXPORTER_OTLP_ENDPOINT, or one of its forms for traces and for metrics alone.
// OTEL_SDK_DISABLED=true switches it off again, and so do OTEL_TRACES_EXPORTER=none and
// OTEL_METRICS_EXPORTER=none for one signal. All other variables are the SDK's own
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/). Where nothing is to be exported it
// constructs nothing and returns nil.
//
// Telemetry never keeps the program from its work. A signal whose variables ask for what is not
// built in, such as gRPC, or make no sense is not exported, and one Warn line names the variable.
// Later errors are logged once a minute at most. No line holds a value of
// OTEL_EXPORTER_OTLP_HEADERS or anything that a collector has said.
//
// The SDK has one error handler and one logger for a process: the last call sets them.
func Start(c Config) *Telemetry {
	v := variables(c.Lookup)
	if strings.EqualFold(v.get("OTEL_SDK_DISABLED"), "true") {
		return nil
	}
	signals := make(map[string]*collector)
	for _, signal := range []string{"traces", "metrics"} {
		to, err := v.collector(signal)
		if err != nil {
			c.Log.Warn("telemetry is not exported", "signal", signal, "error", err.Error())
		} else if to != nil {
			signals[signal] = to
		}
	}
	if len(signals) == 0 {
		return nil
	}
	var paths []string
	for _, to := range signals {
		paths = append(paths, to.url, to.host)
	}
	t := &Telemetry{
		logger: c.Log, tracer: nooptrace.Tracer{}, endpoints: strings.NewReplacer(paths...),
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.report))
	otel.SetLogger(logr.New(sdkLog{c.Log}))
	t.start(c, signals)
	t.timer = time.AfterFunc(time.Hour, t.flush)
	t.timer.Stop()
	return t
}

func (t *Telemetry) start(c Config, signals map[string]*collector) {
	ctx, version := context.Background(), c.Version()
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(app(c.Lookup, version)...), resource.WithFromEnv())
	if err != nil {
		t.report(err)
	}
	if to := signals["traces"]; to != nil {
		exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithHTTPClient(to.client),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig(retries)))
		if err != nil {
			t.report(fmt.Errorf("traces: %w", err))
		} else {
			p := sdktrace.NewTracerProvider(sdktrace.WithResource(about),
				sdktrace.WithBatcher(exporter))
			t.tracer = p.Tracer(scope, trace.WithInstrumentationVersion(version))
			t.providers = append(t.providers, p)
		}
	}
	var meter metric.Meter = noopmetric.Meter{}
	if to := signals["metrics"]; to != nil {
		exporter, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithHTTPClient(to.client),
			otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig(retries)))
		if err != nil {
			t.report(fmt.Errorf("metrics: %w", err))
		} else {
			p := sdkmetric.NewMeterProvider(sdkmetric.WithResource(about),
				sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
			meter = p.Meter(scope, metric.WithInstrumentationVersion(version))
			t.providers = append(t.providers, p)
		}
	}
	t.instruments(meter, c)
}

// retries are the exporters' own. The SDK's first wait of five seconds would outlast what the
// platform leaves an idle process.
var retries = struct {
	Enabled         bool
	InitialInterval time.Duration
	MaxInterval     time.Duration
	MaxElapsedTime  time.Duration
}{true, 500 * time.Millisecond, 5 * time.Second, 30 * time.Second}

// app describes the app by the variables that Azure sets, with the names of OpenTelemetry's
// semantic conventions for resources. What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say wins.
func app(v variables, version string) []attribute.KeyValue {
	site := v.get("WEBSITE_SITE_NAME")
	if site == "" {
		return texts("service.name", scope, "service.version", version)
	}
	return texts("service.name", site, "service.version", version, "cloud.provider", "azure",
		"cloud.platform", "azure.functions", "cloud.region", v.get("REGION_NAME"),
		"service.instance.id", v.get("WEBSITE_INSTANCE_ID"))
}

// flush sends what has been collected, unless an invocation has begun since. There is one flush at
// a time: what ends meanwhile is sent by another right after it. The exporters have time-outs of
// their own. A shorter one here would throw away what a distant collector takes longer for, and
// nobody waits.
func (t *Telemetry) flush() {
	if t.inFlight.Load() > 0 {
		return
	}
	t.again.Store(true) // first, so that a flush that is ending cannot miss it
	if !t.flushing.CompareAndSwap(false, true) {
		return
	}
	t.again.Store(false)
	if err := t.Flush(context.Background()); err != nil {
		t.report(err)
	}
	t.flushing.Store(false)
	if t.again.Swap(false) && !t.stopped.Load() {
		t.timer.Reset(idle)
	}
}

// report logs that an export failed, once a minute at most.
func (t *Telemetry) report(err error) {
	now := time.Now().Unix()
	before := t.reported.Load()
	if now-before < 60 || t.stopped.Load() || !t.reported.CompareAndSwap(before, now) {
		return
	}
	t.logger.Warn("telemetry is not exported", "error", t.endpoints.Replace(err.Error()))
}

// Flush sends what has been collected and returns when the collector has it, or ctx ends. After an
// invocation this happens by itself.
func (t *Telemetry) Flush(ctx context.Context) error {
	return t.each(func(p provider) error { return p.ForceFlush(ctx) })
}

// Stop flushes and ends the export. Give it 200 ms: what the collector does not take by then is
// lost.
func (t *Telemetry) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.stopped.Store(true)
	t.timer.Stop()
	return t.each(func(p provider) error { return p.Shutdown(ctx) })
}

// each does something to all signals that are exported, at once.
func (t *Telemetry) each(do func(provider) error) error {
	if t == nil {
		return nil
	}
	var wg sync.WaitGroup
	errs := make([]error, len(t.providers))
	for i, p := range t.providers {
		wg.Go(func() { errs[i] = do(p) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sdkLog takes what the SDK logs by itself, mostly about variables that it does not use as they
// are. Of its facts only the variable's name is passed on: the others are the values.
type sdkLog struct{ logger *slog.Logger }

func (sdkLog) Init(logr.RuntimeInfo)            {}
func (s sdkLog) WithValues(...any) logr.LogSink { return s }
func (s sdkLog) WithName(string) logr.LogSink   { return s }

// Enabled takes warnings, which the SDK logs at level 1, and leaves out what is less.
func (sdkLog) Enabled(level int) bool { return level <= 1 }

func (s sdkLog) Info(_ int, text string, facts ...any) { s.Error(nil, text, facts...) }

func (s sdkLog) Error(_ error, text string, facts ...any) {
	attrs := []any{"text", text}
	for i := 1; i < len(facts); i += 2 {
		if facts[i-1] == "environment variable" {
			attrs = append(attrs, "variable", facts[i])
		}
	}
	s.logger.Warn("telemetry reports a problem", attrs...)
}
