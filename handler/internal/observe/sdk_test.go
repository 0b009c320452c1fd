package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// exported is what one side of a comparison exported, in a form that can be compared: lists in order of what is in them, without times.
type exported struct {
	Resource *resourcepb.Resource
	Scopes   map[string]string // version by name and signal
	Spans    []*tracepb.Span
	Metrics  [][]*metricspb.Metric // of each export
}

// archive is a collector that keeps the messages.
type archive struct {
	mu      sync.Mutex
	traces  []*collectortrace.ExportTraceServiceRequest
	metrics []*collectormetrics.ExportMetricsServiceRequest
}

func (a *archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "traces") {
		m := new(collectortrace.ExportTraceServiceRequest)
		a.traces, err = append(a.traces, m), proto.Unmarshal(body, m)
	} else {
		m := new(collectormetrics.ExportMetricsServiceRequest)
		a.metrics, err = append(a.metrics, m), proto.Unmarshal(body, m)
	}
	if err != nil {
		panic(err)
	}
}

// exported brings the messages into the form of a comparison, and asserts what the times say.
func (a *archive) exported(t *testing.T) exported {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := exported{Scopes: map[string]string{}}
	for _, m := range a.traces {
		for _, rs := range m.ResourceSpans {
			e.Resource = rs.Resource
			for _, ss := range rs.ScopeSpans {
				e.Scopes["traces "+ss.Scope.Name] = ss.Scope.Version
				e.Spans = append(e.Spans, ss.Spans...)
			}
		}
	}
	for _, m := range a.metrics {
		var all []*metricspb.Metric
		for _, rm := range m.ResourceMetrics {
			e.Resource = rm.Resource
			for _, sm := range rm.ScopeMetrics {
				e.Scopes["metrics "+sm.Scope.Name] = sm.Scope.Version
				all = append(all, sm.Metrics...)
			}
		}
		e.Metrics = append(e.Metrics, all)
	}
	e.normalize(t)
	return e
}

// lines is one line for each part, which is easy to compare and to read.
func (e exported) lines() []string {
	all := []string{fmt.Sprint(e.Scopes), fmt.Sprint(e.Resource)}
	for _, s := range e.Spans {
		all = append(all, fmt.Sprint(s))
	}
	for i, metrics := range e.Metrics {
		for _, m := range metrics {
			all = append(all, fmt.Sprintf("export %d: %v", i, m))
		}
	}
	return all
}

func (e *exported) normalize(t *testing.T) {
	t.Helper()
	if e.Resource != nil {
		sortAttributes(e.Resource.Attributes)
	}
	for _, s := range e.Spans {
		if s.StartTimeUnixNano == 0 || s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("span %s: want a beginning and a later end, got %d and %d", s.Name, s.StartTimeUnixNano, s.EndTimeUnixNano)
		}
		s.StartTimeUnixNano, s.EndTimeUnixNano = 0, 0
		sortAttributes(s.Attributes)
	}
	slices.SortFunc(e.Spans, func(a, b *tracepb.Span) int { return strings.Compare(string(a.SpanId), string(b.SpanId)) })
	for _, metrics := range e.Metrics {
		slices.SortFunc(metrics, func(a, b *metricspb.Metric) int { return strings.Compare(a.Name, b.Name) })
		for _, m := range metrics {
			for _, p := range m.GetHistogram().GetDataPoints() {
				var sum uint64
				for _, n := range p.BucketCounts {
					sum += n
				}
				if sum != p.Count || len(p.BucketCounts) != len(p.ExplicitBounds)+1 || p.GetMin() > p.GetMax() || p.TimeUnixNano < p.StartTimeUnixNano {
					t.Errorf("%s: want counts that add up, got %v", m.Name, p)
				}
				p.StartTimeUnixNano, p.TimeUnixNano, p.BucketCounts, p.Sum, p.Min, p.Max = 0, 0, nil, nil, nil, nil // how long it took
				sortAttributes(p.Attributes)
			}
			slices.SortFunc(m.GetHistogram().GetDataPoints(), func(a, b *metricspb.HistogramDataPoint) int { return compareAttributes(a.Attributes, b.Attributes) })
			for _, points := range [][]*metricspb.NumberDataPoint{m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()} {
				for _, p := range points {
					if p.TimeUnixNano < p.StartTimeUnixNano || p.StartTimeUnixNano == 0 {
						t.Errorf("%s: want times in order, got %v", m.Name, p)
					}
					p.StartTimeUnixNano, p.TimeUnixNano = 0, 0
					if m.GetGauge() != nil {
						p.Value = nil // an age
					}
					sortAttributes(p.Attributes)
				}
				slices.SortFunc(points, func(a, b *metricspb.NumberDataPoint) int { return compareAttributes(a.Attributes, b.Attributes) })
			}
		}
	}
}

func sortAttributes(list []*commonpb.KeyValue) {
	slices.SortFunc(list, func(a, b *commonpb.KeyValue) int { return strings.Compare(a.Key, b.Key) })
}

func compareAttributes(a, b []*commonpb.KeyValue) int {
	return strings.Compare(fmt.Sprint(attributesOf(a)), fmt.Sprint(attributesOf(b)))
}

// recorder is what both sides can do.
type recorder interface {
	begin(Trace, Invocation) recorderSpan
	retry(function, reason string)
	refusal(function, class string)
	flush()
}

type recorderSpan interface {
	attempt(Attempt, Trace) recorderSpan // with the ids given
	end(status int, failure string)
	flags() byte
}

type ours struct{ *Telemetry }

type ourSpan struct{ *Span }

func (o ours) begin(tr Trace, in Invocation) recorderSpan { return ourSpan{o.Begin(tr, in)} }
func (o ours) retry(function, reason string)              { o.Retry(function, reason) }
func (o ours) refusal(function, class string)             { o.Refusal(function, class) }
func (o ours) flush()                                     { _ = o.Flush(context.Background()) }
func (s ourSpan) end(status int, failure string)          { s.End(status, failure) }
func (s ourSpan) flags() byte                             { return s.trace.Flags }
func (s ourSpan) attempt(a Attempt, ids Trace) recorderSpan {
	child := s.Attempt(a)
	child.trace.SpanID = ids.SpanID // both sides need the same ones; nothing is decided by a span's own id
	return ourSpan{child}
}

// What is exported is what OpenTelemetry's SDK for Go exports of the same calls with the same environment, times and order aside.
func TestExportIsTheSDKs(t *testing.T) {
	for name, environ := range map[string][]string{
		"nothing else set":                   nil,
		"always on":                          {"OTEL_TRACES_SAMPLER", "Always_On "},
		"always off":                         {"OTEL_TRACES_SAMPLER", "always_off"},
		"a ratio":                            {"OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", " 0.4"},
		"a ratio without a number":           {"OTEL_TRACES_SAMPLER", "traceidratio"},
		"a ratio of 0":                       {"OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0"},
		"a ratio that is none":               {"OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "often"},
		"a ratio below 0":                    {"OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "-1"},
		"a ratio above 1":                    {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG", "7"},
		"the caller's, else on":              {"OTEL_TRACES_SAMPLER", "parentbased_always_on"},
		"the caller's, else off":             {"OTEL_TRACES_SAMPLER", "parentbased_always_off"},
		"the caller's, else a ratio":         {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0.5"},
		"the caller's, else all":             {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio"},
		"a sampler that does not exist":      {"OTEL_TRACES_SAMPLER", "jaeger_remote"},
		"short values":                       {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4"},
		"short values of spans":              {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "11", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4"},
		"no values":                          {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "0"},
		"a limit that is none":               {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "x", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4"},
		"few attributes":                     {"OTEL_ATTRIBUTE_COUNT_LIMIT", "3"},
		"few attributes of spans":            {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "9", "OTEL_ATTRIBUTE_COUNT_LIMIT", "3"},
		"no attributes":                      {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0"},
		"any number of attributes":           {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"},
		"batches of two":                     {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"},
		"batches of 0":                       {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"},
		"batches beyond the queue":           {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10000", "OTEL_BSP_MAX_QUEUE_SIZE", "5000"},
		"numbers that are none":              {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "x", "OTEL_BSP_MAX_QUEUE_SIZE", "y", "OTEL_BSP_SCHEDULE_DELAY", "z", "OTEL_BSP_EXPORT_TIMEOUT", "1s"},
		"at once":                            {"OTEL_BSP_SCHEDULE_DELAY", "1", "OTEL_BSP_EXPORT_TIMEOUT", "0"},
		"differences":                        {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"},
		"differences of what is recorded":    {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory"},
		"few series":                         {"OTEL_GO_X_CARDINALITY_LIMIT", "7"},
		"few series, differences":            {"OTEL_GO_X_CARDINALITY_LIMIT", "7", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"},
		"any number of series":               {"OTEL_GO_X_CARDINALITY_LIMIT", "0"},
		"a service name":                     {"OTEL_SERVICE_NAME", " orders "},
		"an app":                             {"WEBSITE_SITE_NAME", "my-app", "WEBSITE_INSTANCE_ID", "i1", "REGION_NAME", "West Europe"},
		"resource attributes over the app's": {"WEBSITE_SITE_NAME", "my-app", "OTEL_RESOURCE_ATTRIBUTES", "service.name=mine, cloud.provider = other ,a=1,a=2"},
		"a service name over all":            {"OTEL_SERVICE_NAME", "mine", "OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs,telemetry.sdk.name=x,service.version="},
		"encoded resource attributes":        {"OTEL_RESOURCE_ATTRIBUTES", "a=%2Cx%3D%C3%BC, b=a+b ,c= 100%zz ,=nameless,d=x=y,e="},
		"long resource attributes":           {"OTEL_RESOURCE_ATTRIBUTES", strings.Repeat("n", 127) + "=1," + strings.Repeat("n", 128) + "=" + strings.Repeat("v", 300) + ",b=" + strings.Repeat("v", 125)},
		"metrics alone":                      {"OTEL_TRACES_EXPORTER", "none"},
		"traces alone":                       {"OTEL_METRICS_EXPORTER", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			var got archive
			server := httptest.NewServer(&got)
			defer server.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
			for i := 0; i < len(environ); i += 2 {
				t.Setenv(environ[i], environ[i+1])
			}
			telemetry, err := Start(os.LookupEnv, func() string { return "1.2.3" }, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			telemetry.inFlight.Add(1) // or ours would flush by itself whenever it is idle, and count the metrics once more
			sdk, want := newSDKRecorder(t, "1.2.3")
			var rounds int
			stats := func() []TokenStats {
				return []TokenStats{
					{Identity: "one", Resource: "api://a", ReceivedAt: time.Now(), Outcomes: map[string]uint64{"new": uint64(3 * rounds), "same": 4, "refused": 0}},
					{Identity: "two", Resource: "api://a", Outcomes: map[string]uint64{"new": 1}},
					{Identity: "two", Resource: "api://a", ReceivedAt: time.Now(), Outcomes: map[string]uint64{"new": uint64(rounds)}}, // another tenant
				}
			}
			telemetry.ObserveTokens(stats)
			sdk.observe(stats)
			for rounds = range 3 {
				for range 12 {
					call(t, ours{telemetry}, sdk)
				}
				ours{telemetry}.flush()
				sdk.flush()
			}
			if err := telemetry.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			sdk.stop(t)
			if diff := cmp.Diff(want.exported(t).lines(), got.exported(t).lines()); diff != "" {
				t.Errorf("ours differs from the SDK's (-SDK +ours):\n%s", diff)
			}
		})
	}
}

// call makes the same random call on both sides.
func call(t *testing.T, sides ...recorder) {
	pick := func(from ...string) string { return from[rand.IntN(len(from))] }
	tr := NewTrace()
	switch rand.IntN(4) {
	case 0:
	default:
		header := http.Header{"Traceparent": {fmt.Sprintf("00-%032x-%016x-0%d", rand.Uint64()|1, rand.Uint64()|1, rand.IntN(4))}}
		if rand.IntN(2) == 0 {
			header["Tracestate"] = []string{pick("a=1", " a=1 ,,\tb@c=x y,", "vendor=42,other=", "k="+strings.Repeat("v", 200))}
		}
		tr, _ = Continue(header)
	}
	in := Invocation{
		ID: pick("", "6a465e51-2395-4392-9acd-360e8b8fca7c"), Function: pick("orders", "Zürich", "f", ""), Way: pick("wrapped", "forwarded", ""),
		Trigger: pick("httpTrigger", "timerTrigger", "queueTrigger", "sqlTrigger", "own", ""), Method: pick("", "GET", "POST", "BREW"), Route: pick("", "orders/{id}"),
		Path: pick("", "/api/orders/1", "/api/ü/世界世界世界世界", "/"+strings.Repeat("long", 500)),
	}
	spans := make([]recorderSpan, len(sides))
	for i, side := range sides {
		spans[i] = side.begin(tr, in)
		if spans[i].flags() != spans[0].flags() {
			t.Errorf("want the same flags on both sides, got %x and %x", spans[0].flags(), spans[i].flags())
		}
	}
	for resend := range rand.IntN(3) {
		a := Attempt{Method: pick("", "GET", "PUT", "BREW"), Scheme: pick("http", "https"), Host: pick("gw.example", "gw.example:8080", "[::1]:81", "[::1]", "h:port", ""),
			Path: pick("", "/a/世界世界世界世界"), Resend: resend}
		status, failure := rand.IntN(3)*200, pick("", "", "connection")
		ids := NewTrace()
		for i, side := range sides {
			child := spans[i].attempt(a, ids)
			child.end(status, failure)
			child.end(500, "again")
			if resend > 0 {
				side.retry(in.Function, fmt.Sprint(status))
			}
		}
	}
	status, failure := []int{0, 200, 302, 404, 500, 502}[rand.IntN(6)], pick("", "", "", "gateway-unreachable")
	for i, side := range sides {
		if status == 404 {
			side.refusal(in.Function, "token")
		}
		spans[i].end(status, failure)
		spans[i].end(200, "")
	}
}
