package telemetry

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
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	tracesdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// scope names this program as the source of its spans and metrics.
const scope = "apimrelay"

// idle is how long no invocation may be in flight before what has been collected is sent. Long enough that one caller who sends request
// after request causes no export for each; short beside the 200 ms after which nothing should be left, since the platform may freeze an
// idle process.
const idle = 10 * time.Millisecond

// Telemetry exports traces and metrics by OTLP over HTTP. nil is telemetry switched off: every method works on it and does nothing, and
// what they return does nothing either. It may be used by any number of goroutines.
type Telemetry struct {
	traces  *tracesdk.TracerProvider
	metrics *metricsdk.MeterProvider
	tracer  trace.Tracer
	meters

	inFlight atomic.Int64
	started  atomic.Bool // an invocation has been seen: the first is the cold start
	timer    *time.Timer
	flushing sync.Mutex
	stop     context.Context
	cancel   context.CancelFunc
	logger   *slog.Logger
	reported atomic.Int64 // when an error was logged, in seconds of Unix time
}

// Start switches export on where the standard variables ask for it: OTEL_EXPORTER_OTLP_ENDPOINT or one of its forms for traces and
// metrics alone. OTEL_SDK_DISABLED=true, and OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER with "none", switch it off again
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Where nothing is to be exported it returns nil and
// no error. lookup reads the environment; samplers, batch sizes, intervals and resource attributes are read by the SDK itself. version is this program's.
//
// An error names a variable that asks for something that is not built in, such as gRPC; telemetry is off then. An exporter that fails
// later is told to logger, once a minute at most, and never to an invocation.
func Start(lookup func(name string) (string, bool), version string, logger *slog.Logger) (*Telemetry, error) {
	get := func(name string) string {
		value, ok := lookup(name)
		if !ok {
			return ""
		}
		return strings.TrimSpace(value)
	}
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	traces, err := wanted(get, "TRACES")
	if err != nil {
		return nil, err
	}
	metrics, err := wanted(get, "METRICS")
	if err != nil || !traces && !metrics {
		return nil, err
	}
	// What the SDK has to say beside errors, such as a header that it cannot parse, would go to stderr in a form of its own.
	otel.SetLogger(logr.FromSlogHandler(logger.Handler()))
	ctx := context.Background()
	res, err := describe(ctx, get, version)
	if err != nil {
		return nil, fmt.Errorf("starting telemetry: reading OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := new(Telemetry)
	t.stop, t.cancel = context.WithCancel(ctx)
	traceOptions := []tracesdk.TracerProviderOption{tracesdk.WithResource(res), tracesdk.WithIDGenerator(ids{})}
	if traces {
		upload, err := newUploader(get, "TRACES", "v1/traces")
		if err != nil {
			return nil, fmt.Errorf("starting telemetry: %w", err)
		}
		traceOptions = append(traceOptions, tracesdk.WithBatcher(spanExporter{upload}))
	} else {
		traceOptions = append(traceOptions, tracesdk.WithSampler(tracesdk.NeverSample()))
	}
	t.traces = tracesdk.NewTracerProvider(traceOptions...)
	t.tracer = t.traces.Tracer(scope, trace.WithInstrumentationVersion(version))
	metricOptions := []metricsdk.Option{metricsdk.WithResource(res), metricsdk.WithExemplarFilter(exemplar.AlwaysOffFilter)}
	if metrics {
		upload, err := newUploader(get, "METRICS", "v1/metrics")
		if err != nil {
			return nil, fmt.Errorf("starting telemetry: %w", err)
		}
		exporter, err := newMetricExporter(get, upload)
		if err != nil {
			return nil, fmt.Errorf("starting telemetry: %w", err)
		}
		metricOptions = append(metricOptions, metricsdk.WithReader(metricsdk.NewPeriodicReader(exporter)))
	}
	t.metrics = metricsdk.NewMeterProvider(metricOptions...)
	if err := t.make(t.metrics.Meter(scope)); err != nil {
		return nil, fmt.Errorf("starting telemetry: metrics: %w", err)
	}
	t.timer = time.AfterFunc(time.Hour, t.flushIfIdle)
	t.timer.Stop()
	t.logger = logger
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.report)) // the SDK has one place for errors in a process
	return t, nil
}

// wanted reports whether a signal is to be exported by OTLP.
func wanted(get func(string) string, signal string) (bool, error) {
	endpoint := get("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") + get("OTEL_EXPORTER_OTLP_ENDPOINT")
	name := "OTEL_" + signal + "_EXPORTER"
	exporter := get(name)
	switch {
	case endpoint == "" || exporter == "none":
		return false, nil
	case exporter != "" && exporter != "otlp":
		return false, fmt.Errorf("starting telemetry: %s: want otlp or none, got %q", name, exporter)
	}
	return true, nil
}

// describe says what the telemetry is about. Names are OpenTelemetry's semantic conventions for resources; what OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES say wins.
func describe(ctx context.Context, get func(string) string, version string) (*resource.Resource, error) {
	attributes := []attribute.KeyValue{attribute.String("service.name", scope), attribute.String("service.version", version)}
	if site := get("WEBSITE_SITE_NAME"); site != "" {
		attributes = append(attributes, attribute.String("service.name", site),
			attribute.String("cloud.provider", "azure"), attribute.String("cloud.platform", "azure.functions"))
		if id := get("WEBSITE_INSTANCE_ID"); id != "" {
			attributes = append(attributes, attribute.String("service.instance.id", id))
		}
		if region := get("REGION_NAME"); region != "" {
			attributes = append(attributes, attribute.String("cloud.region", region))
		}
	}
	return resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attributes...), resource.WithFromEnv())
}

// flushIfIdle sends what has been collected, unless an invocation has begun since.
func (t *Telemetry) flushIfIdle() {
	if t.inFlight.Load() > 0 || !t.flushing.TryLock() {
		return
	}
	defer t.flushing.Unlock()
	// The exporters have time-outs of their own. A shorter one here would throw away what a distant collector takes longer for, and nobody
	// waits.
	if err := t.Flush(t.stop); err != nil {
		t.report(err)
	}
}

// report tells that an export failed, once a minute at most. Its text names the collector's host and status, never a header.
func (t *Telemetry) report(err error) {
	now := time.Now().Unix()
	if before := t.reported.Load(); now-before >= 60 && t.reported.CompareAndSwap(before, now) && t.stop.Err() == nil {
		t.logger.Warn("telemetry is not exported", "error", err)
	}
}

// Flush sends what has been collected and returns when the collector has it, or ctx ends. After an invocation this happens by itself.
func (t *Telemetry) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	var wg sync.WaitGroup
	var metricsErr error
	wg.Go(func() { metricsErr = t.metrics.ForceFlush(ctx) })
	err := t.traces.ForceFlush(ctx)
	wg.Wait()
	return errors.Join(err, metricsErr)
}

// Stop flushes and ends the export. Give it 200 ms: what the collector does not take by then is lost.
func (t *Telemetry) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.timer.Stop()
	err := errors.Join(t.traces.Shutdown(ctx), t.metrics.Shutdown(ctx))
	t.cancel()
	return err
}
