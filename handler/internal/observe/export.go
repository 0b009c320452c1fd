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
	spans   *queue   // nil where traces are not exported
	metrics *metrics // nil where metrics are not exported
	sampler sampler
	limits  spanLimits

	inFlight atomic.Int64
	started  atomic.Bool // an invocation has been seen: the first is the cold start
	timer    *time.Timer
	flushing atomic.Bool
	again    atomic.Bool // something has ended while a flush was under way
	stop     context.Context
	cancel   context.CancelFunc
	logger   *slog.Logger
	reported atomic.Int64 // when an error was logged, in seconds of Unix time
}

// Start switches export on where the standard variables ask for it: OTEL_EXPORTER_OTLP_ENDPOINT or one of its forms for traces and
// metrics alone. OTEL_SDK_DISABLED=true, and OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER with "none", switch it off again
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Where nothing is to be exported it returns nil and
// no error. version, which is asked for only where something is, is this program's. lookup reads the environment; of the standard variables these count:
//
//   - OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL (http/protobuf), _HEADERS, _TIMEOUT, _COMPRESSION, _CERTIFICATE, _CLIENT_CERTIFICATE,
//     _CLIENT_KEY, each also with TRACES_ or METRICS_ for one signal, and _METRICS_TEMPORALITY_PREFERENCE
//   - OTEL_TRACES_SAMPLER and _ARG, OTEL_BSP_SCHEDULE_DELAY, _EXPORT_TIMEOUT, _MAX_QUEUE_SIZE and _MAX_EXPORT_BATCH_SIZE
//   - OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT and _VALUE_LENGTH_LIMIT, OTEL_ATTRIBUTE_COUNT_LIMIT and _VALUE_LENGTH_LIMIT
//   - OTEL_METRIC_EXPORT_INTERVAL and _TIMEOUT
//   - OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
//
// An error names a variable that asks for something that is not built in, such as gRPC; telemetry is off then. An exporter that fails
// later is told to logger, once a minute at most, and never to an invocation.
func Start(lookup func(name string) (string, bool), version func() string, logger *slog.Logger) (*Telemetry, error) {
	v := variables{lookup, logger}
	if strings.EqualFold(v.get("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	traces, err := wanted(v.get, "TRACES")
	if err != nil {
		return nil, err
	}
	measured, err := wanted(v.get, "METRICS")
	if err != nil || !traces && !measured {
		return nil, err
	}
	t := &Telemetry{logger: logger}
	if err := t.start(v, version(), traces, measured); err != nil {
		return nil, fmt.Errorf("starting telemetry: %w", err)
	}
	return t, nil
}

func (t *Telemetry) start(v variables, version string, traces, measured bool) error {
	resource, err := v.resource(version)
	if err != nil {
		return err
	}
	if traces {
		upload, err := newUploader(v.get, "TRACES", "v1/traces")
		if err != nil {
			return err
		}
		t.sampler, t.limits = v.sampler(), v.spanLimits()
		t.spans = newQueue(v, upload, source{resource, appendScope(nil, scope, version)}, t.report)
	}
	if measured {
		upload, err := newUploader(v.get, "METRICS", "v1/metrics")
		if err != nil {
			return err
		}
		if t.metrics, err = newMetrics(v, upload, source{resource, appendScope(nil, scope, "")}); err != nil {
			return err
		}
	}
	t.stop, t.cancel = context.WithCancel(context.Background())
	t.timer = time.AfterFunc(time.Hour, t.flushIfIdle)
	t.timer.Stop()
	if t.spans != nil {
		go t.spans.run(t.stop)
	}
	if t.metrics != nil {
		go t.metrics.run(t.stop, t.report)
	}
	return nil
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

// flushIfIdle sends what has been collected, unless an invocation has begun since. One flush at a time: what ends while one is under way is
// sent by another right after it.
func (t *Telemetry) flushIfIdle() {
	if t.inFlight.Load() > 0 {
		return
	}
	t.again.Store(true) // first, so that a flush that is ending cannot miss it
	if !t.flushing.CompareAndSwap(false, true) {
		return
	}
	t.again.Store(false)
	// The exporters have time-outs of their own. A shorter one here would throw away what a distant collector takes longer for, and nobody
	// waits.
	if err := t.Flush(t.stop); err != nil {
		t.report(err)
	}
	t.flushing.Store(false)
	if t.again.Swap(false) && t.stop.Err() == nil {
		t.timer.Reset(idle)
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
	return t.both(func(q *queue) error { return q.send(ctx, true) }, func(m *metrics) error { return m.send(ctx, false) })
}

// Stop flushes and ends the export. Give it 200 ms: what the collector does not take by then is lost.
func (t *Telemetry) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.timer.Stop()
	err := t.both(func(q *queue) error { return q.stop(ctx) }, func(m *metrics) error { return m.send(ctx, true) })
	t.cancel()
	return err
}

// both does something to each signal that is exported, at once.
func (t *Telemetry) both(spans func(*queue) error, measured func(*metrics) error) error {
	if t == nil {
		return nil
	}
	var wg sync.WaitGroup
	var spansErr, metricsErr error
	if t.metrics != nil {
		wg.Go(func() { metricsErr = measured(t.metrics) })
	}
	if t.spans != nil {
		spansErr = spans(t.spans)
	}
	wg.Wait()
	return errors.Join(spansErr, metricsErr)
}
