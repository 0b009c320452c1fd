package observe

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	tracesdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"os"
)

// sdkRecorder does with OpenTelemetry's SDK for Go what Telemetry does, as programs that use it do. It reads the same environment.
type sdkRecorder struct {
	traces      *tracesdk.TracerProvider
	metrics     *metricsdk.MeterProvider
	tracer      trace.Tracer
	meter       metric.Meter
	invocations metric.Float64Histogram
	attempts    metric.Float64Histogram
	retries     metric.Int64Counter
	refusals    metric.Int64Counter
	started     bool
}

func newSDKRecorder(t *testing.T, version string) (*sdkRecorder, *archive) {
	t.Helper()
	attributes := []attribute.KeyValue{attribute.String("service.name", scope), attribute.String("service.version", version),
		attribute.String("telemetry.sdk.name", scope), attribute.String("telemetry.sdk.language", "go"), attribute.String("telemetry.sdk.version", version)}
	for _, app := range [][2]string{{"WEBSITE_SITE_NAME", "service.name"}, {"WEBSITE_INSTANCE_ID", "service.instance.id"}, {"REGION_NAME", "cloud.region"}} {
		if value := os.Getenv(app[0]); value != "" {
			attributes = append(attributes, attribute.String(app[1], value))
		}
	}
	if os.Getenv("WEBSITE_SITE_NAME") != "" {
		attributes = append(attributes, attribute.String("cloud.provider", "azure"), attribute.String("cloud.platform", "azure.functions"))
	}
	res, err := resource.New(t.Context(), resource.WithAttributes(attributes...), resource.WithFromEnv())
	if err != nil {
		t.Fatal(err)
	}
	to := new(archive)
	r := new(sdkRecorder)
	traceOptions := []tracesdk.TracerProviderOption{tracesdk.WithResource(res), tracesdk.WithIDGenerator(givenIDs{})}
	if os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		traceOptions = append(traceOptions, tracesdk.WithSampler(tracesdk.NeverSample()))
	} else {
		traceOptions = append(traceOptions, tracesdk.WithBatcher(sdkSpans{to}))
	}
	r.traces = tracesdk.NewTracerProvider(traceOptions...)
	r.tracer = r.traces.Tracer(scope, trace.WithInstrumentationVersion(version))
	metricOptions := []metricsdk.Option{metricsdk.WithResource(res), metricsdk.WithExemplarFilter(exemplar.AlwaysOffFilter)}
	if os.Getenv("OTEL_METRICS_EXPORTER") != "none" {
		preference := strings.ToLower(os.Getenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"))
		metricOptions = append(metricOptions, metricsdk.WithReader(metricsdk.NewPeriodicReader(sdkMetrics{to, preference})))
	}
	r.metrics = metricsdk.NewMeterProvider(metricOptions...)
	r.meter = r.metrics.Meter(scope)
	buckets := metric.WithExplicitBucketBoundaries(durations[:]...)
	var errs [4]error
	r.invocations, errs[0] = r.meter.Float64Histogram("faas.invoke_duration", buckets, metric.WithUnit("s"),
		metric.WithDescription("From the host's call to the end of its answer"))
	r.attempts, errs[1] = r.meter.Float64Histogram("http.client.request.duration", buckets, metric.WithUnit("s"),
		metric.WithDescription("From the request to the gateway to the header of its answer, for each attempt"))
	r.retries, errs[2] = r.meter.Int64Counter("apimrelay.retries", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts beyond the first, by what made them necessary"))
	r.refusals, errs[3] = r.meter.Int64Counter("apimrelay.refusals", metric.WithUnit("{answer}"),
		metric.WithDescription("Answers 401 and 403 of the gateway, by class"))
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return r, to
}

func (r *sdkRecorder) observe(stats func() []TokenStats) {
	age, _ := r.meter.Float64ObservableGauge("apimrelay.token.age", metric.WithUnit("s"), metric.WithDescription("Time since the token in hand was received"))
	fetched, _ := r.meter.Int64ObservableCounter("apimrelay.token.refreshes", metric.WithUnit("{fetch}"), metric.WithDescription("Fetches of a token, by outcome"))
	_, _ = r.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, s := range stats() {
			source := []attribute.KeyValue{attribute.String("apimrelay.identity", s.Identity), attribute.String("apimrelay.resource", s.Resource)}
			if !s.ReceivedAt.IsZero() {
				o.ObserveFloat64(age, time.Since(s.ReceivedAt).Seconds(), metric.WithAttributes(source...))
			}
			for outcome, n := range s.Outcomes {
				labels := append(source[:len(source):len(source)], attribute.String("apimrelay.outcome", outcome))
				o.ObserveInt64(fetched, int64(n), metric.WithAttributes(labels...))
			}
		}
		return nil
	}, age, fetched)
}

func (r *sdkRecorder) flush() {
	_ = r.traces.ForceFlush(context.Background())
	_ = r.metrics.ForceFlush(context.Background())
}

func (r *sdkRecorder) stop(t *testing.T) {
	if err := errors.Join(r.traces.Shutdown(t.Context()), r.metrics.Shutdown(t.Context())); err != nil {
		t.Error(err)
	}
}

func (r *sdkRecorder) retry(function, reason string) {
	r.retries.Add(context.Background(), 1, metric.WithAttributes(attribute.String("faas.name", function), attribute.String("apimrelay.reason", reason)))
}

func (r *sdkRecorder) refusal(function, class string) {
	r.refusals.Add(context.Background(), 1, metric.WithAttributes(attribute.String("faas.name", function), attribute.String("apimrelay.class", class)))
}

type sdkSpan struct {
	r        *sdkRecorder
	span     trace.Span
	trace    Trace
	begun    time.Time
	attrs    []attribute.KeyValue
	labels   []attribute.KeyValue
	attempts bool
	ended    bool
}

func (r *sdkRecorder) begin(tr Trace, in Invocation) recorderSpan {
	s := &sdkSpan{r: r}
	kind := faasTrigger(in.Trigger)
	s.add("faas.invocation_id", in.ID)
	s.label("faas.name", in.Function)
	s.label("faas.trigger", kind)
	s.add("azure.functions.trigger", in.Trigger)
	s.add("apimrelay.way", in.Way)
	s.add("http.request.method", knownMethod(in.Method))
	s.add("http.route", in.Route)
	s.add("url.path", in.Path)
	if !r.started {
		s.attrs = append(s.attrs, attribute.Bool("faas.coldstart", true))
		r.started = true
	}
	name := in.Function
	if in.Method != "" {
		name = knownMethod(in.Method)
		if in.Route != "" {
			name += " " + in.Route
		}
	}
	s.start(tr, name, trace.SpanKindServer)
	return s
}

func (s *sdkSpan) attempt(a Attempt, ids Trace) recorderSpan {
	c := &sdkSpan{r: s.r, attempts: true}
	host, port := a.Host, ""
	if i := strings.LastIndex(a.Host, ":"); i > strings.LastIndex(a.Host, "]") {
		host, port = a.Host[:i], a.Host[i+1:]
	}
	number := map[string]int{"http": 80, "https": 443}[a.Scheme]
	if port != "" {
		number, _ = strconv.Atoi(port)
	}
	c.label("http.request.method", knownMethod(a.Method))
	c.label("server.address", strings.Trim(host, "[]"))
	if number > 0 {
		c.labels = append(c.labels, attribute.Int("server.port", number))
		c.attrs = append(c.attrs, attribute.Int("server.port", number))
	}
	c.label("url.scheme", a.Scheme)
	c.add("url.full", a.Scheme+"://"+a.Host+a.Path)
	if a.Resend > 0 {
		c.attrs = append(c.attrs, attribute.Int("http.request.resend_count", a.Resend))
	}
	tr := s.trace
	tr.Parent, tr.SpanID = s.trace.SpanID, ids.SpanID
	c.start(tr, knownMethod(a.Method), trace.SpanKindClient)
	return c
}

func (s *sdkSpan) add(name, value string) {
	if value != "" {
		s.attrs = append(s.attrs, attribute.String(name, value))
	}
}

func (s *sdkSpan) label(name, value string) {
	if s.add(name, value); value != "" {
		s.labels = append(s.labels, attribute.String(name, value))
	}
}

func (s *sdkSpan) start(tr Trace, name string, kind trace.SpanKind) {
	s.trace, s.begun = tr, time.Now()
	ctx := context.WithValue(context.Background(), givenIDs{}, tr)
	if tr.Parent != [8]byte{} {
		state, _ := trace.ParseTraceState(tr.State)
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: tr.TraceID, SpanID: tr.Parent, TraceFlags: trace.TraceFlags(tr.Flags), TraceState: state, Remote: kind == trace.SpanKindServer,
		}))
	}
	_, s.span = s.r.tracer.Start(ctx, name, trace.WithSpanKind(kind))
	s.trace.Flags &^= flagSampled
	if s.span.SpanContext().IsSampled() {
		s.trace.Flags |= flagSampled
	}
}

func (s *sdkSpan) flags() byte { return s.trace.Flags }

func (s *sdkSpan) end(status int, failure string) {
	if s.ended {
		return
	}
	s.ended = true
	if failure == "" && (status >= 500 || s.attempts && status >= 400) {
		failure = strconv.Itoa(status)
	}
	if status > 0 {
		s.attrs = append(s.attrs, attribute.Int("http.response.status_code", status))
		s.labels = append(s.labels, attribute.Int("http.response.status_code", status))
	}
	if s.label("error.type", failure); failure != "" {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.SetAttributes(s.attrs...)
	s.span.End()
	in := s.r.invocations
	if s.attempts {
		in = s.r.attempts
	}
	in.Record(context.Background(), time.Since(s.begun).Seconds(), metric.WithAttributes(s.labels...))
}

// givenIDs gives a span the ids of the Trace in its context.
type givenIDs struct{}

func (givenIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	tr := ctx.Value(givenIDs{}).(Trace)
	return tr.TraceID, tr.SpanID
}

func (givenIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	return ctx.Value(givenIDs{}).(Trace).SpanID
}

// sdkSpans is an exporter into an archive.
type sdkSpans struct{ to *archive }

func (e sdkSpans) Shutdown(context.Context) error { return nil }

func (e sdkSpans) ExportSpans(_ context.Context, spans []tracesdk.ReadOnlySpan) error {
	e.to.mu.Lock()
	defer e.to.mu.Unlock()
	for _, s := range spans {
		of, parent := s.SpanContext(), s.Parent()
		id, traceID := of.SpanID(), of.TraceID()
		span := &tracepb.Span{
			TraceId: traceID[:], SpanId: id[:], TraceState: of.TraceState().String(), Name: s.Name(), Kind: tracepb.Span_SpanKind(s.SpanKind()),
			StartTimeUnixNano: uint64(s.StartTime().UnixNano()), EndTimeUnixNano: uint64(s.EndTime().UnixNano()),
			Attributes: keyValues(s.Attributes()), DroppedAttributesCount: uint32(s.DroppedAttributes()), Flags: uint32(of.TraceFlags()) | 0x100,
		}
		if parent.SpanID().IsValid() {
			id := parent.SpanID()
			span.ParentSpanId = id[:]
		}
		if parent.IsRemote() {
			span.Flags |= 0x200
		}
		if s.Status().Code == codes.Error {
			span.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: s.Status().Description}
		}
		e.to.traces = append(e.to.traces, &collectortrace.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
			Resource: &resourcepb.Resource{Attributes: keyValues(s.Resource().Attributes())},
			ScopeSpans: []*tracepb.ScopeSpans{{
				Scope: &commonpb.InstrumentationScope{Name: s.InstrumentationScope().Name, Version: s.InstrumentationScope().Version}, Spans: []*tracepb.Span{span},
			}},
		}}})
	}
	return nil
}

// sdkMetrics is an exporter into an archive.
type sdkMetrics struct {
	to         *archive
	preference string
}

func (e sdkMetrics) ForceFlush(context.Context) error { return nil }
func (e sdkMetrics) Shutdown(context.Context) error   { return nil }

// Temporality is as https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/ has it.
func (e sdkMetrics) Temporality(kind metricsdk.InstrumentKind) metricdata.Temporality {
	switch {
	case e.preference == "delta" && kind != metricsdk.InstrumentKindObservableGauge,
		e.preference == "lowmemory" && (kind == metricsdk.InstrumentKindCounter || kind == metricsdk.InstrumentKindHistogram):
		return metricdata.DeltaTemporality
	}
	return metricdata.CumulativeTemporality
}

func (e sdkMetrics) Aggregation(kind metricsdk.InstrumentKind) metricsdk.Aggregation {
	return metricsdk.DefaultAggregationSelector(kind)
}

func (e sdkMetrics) Export(_ context.Context, m *metricdata.ResourceMetrics) error {
	e.to.mu.Lock()
	defer e.to.mu.Unlock()
	rm := &metricspb.ResourceMetrics{Resource: &resourcepb.Resource{Attributes: keyValues(m.Resource.Attributes())}}
	for _, sm := range m.ScopeMetrics {
		scoped := &metricspb.ScopeMetrics{Scope: &commonpb.InstrumentationScope{Name: sm.Scope.Name, Version: sm.Scope.Version}}
		for _, one := range sm.Metrics {
			scoped.Metrics = append(scoped.Metrics, sdkMetric(one))
		}
		rm.ScopeMetrics = append(rm.ScopeMetrics, scoped)
	}
	e.to.metrics = append(e.to.metrics, &collectormetrics.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{rm}})
	return nil
}

func sdkMetric(m metricdata.Metrics) *metricspb.Metric {
	to := &metricspb.Metric{Name: m.Name, Description: m.Description, Unit: m.Unit}
	temporality := func(t metricdata.Temporality) metricspb.AggregationTemporality {
		if t == metricdata.DeltaTemporality {
			return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
		}
		return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	}
	switch d := m.Data.(type) {
	case metricdata.Gauge[float64]:
		gauge := new(metricspb.Gauge)
		for _, p := range d.DataPoints {
			gauge.DataPoints = append(gauge.DataPoints, &metricspb.NumberDataPoint{Attributes: keyValues(p.Attributes.ToSlice()),
				StartTimeUnixNano: uint64(p.StartTime.UnixNano()), TimeUnixNano: uint64(p.Time.UnixNano()), Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: p.Value}})
		}
		to.Data = &metricspb.Metric_Gauge{Gauge: gauge}
	case metricdata.Sum[int64]:
		sum := &metricspb.Sum{AggregationTemporality: temporality(d.Temporality), IsMonotonic: d.IsMonotonic}
		for _, p := range d.DataPoints {
			sum.DataPoints = append(sum.DataPoints, &metricspb.NumberDataPoint{Attributes: keyValues(p.Attributes.ToSlice()),
				StartTimeUnixNano: uint64(p.StartTime.UnixNano()), TimeUnixNano: uint64(p.Time.UnixNano()), Value: &metricspb.NumberDataPoint_AsInt{AsInt: p.Value}})
		}
		to.Data = &metricspb.Metric_Sum{Sum: sum}
	case metricdata.Histogram[float64]:
		histogram := &metricspb.Histogram{AggregationTemporality: temporality(d.Temporality)}
		for _, p := range d.DataPoints {
			lowest, _ := p.Min.Value()
			highest, _ := p.Max.Value()
			histogram.DataPoints = append(histogram.DataPoints, &metricspb.HistogramDataPoint{Attributes: keyValues(p.Attributes.ToSlice()),
				StartTimeUnixNano: uint64(p.StartTime.UnixNano()), TimeUnixNano: uint64(p.Time.UnixNano()), Count: p.Count, Sum: &p.Sum,
				BucketCounts: p.BucketCounts, ExplicitBounds: p.Bounds, Min: &lowest, Max: &highest})
		}
		to.Data = &metricspb.Metric_Histogram{Histogram: histogram}
	}
	return to
}

func keyValues(list []attribute.KeyValue) []*commonpb.KeyValue {
	var all []*commonpb.KeyValue
	for _, kv := range list {
		value := new(commonpb.AnyValue)
		switch kv.Value.Type() {
		case attribute.BOOL:
			value.Value = &commonpb.AnyValue_BoolValue{BoolValue: kv.Value.AsBool()}
		case attribute.INT64:
			value.Value = &commonpb.AnyValue_IntValue{IntValue: kv.Value.AsInt64()}
		default:
			value.Value = &commonpb.AnyValue_StringValue{StringValue: kv.Value.AsString()}
		}
		all = append(all, &commonpb.KeyValue{Key: string(kv.Key), Value: value})
	}
	return all
}
