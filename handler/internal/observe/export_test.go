package observe

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracespb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp): protobuf to /v1/traces and /v1/metrics.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []*tracepb.Span
	metrics  map[string]*metricpb.Metric // the last state of each
	resource []*commonpb.KeyValue
	requests int
	status   int // answered instead of 200
	refuse   int // so many requests get status first
	header   http.Header
	arrived  chan struct{}
}

func newCollector(t *testing.T) *collector {
	c := &collector{metrics: map[string]*metricpb.Metric{}, arrived: make(chan struct{}, 1000)}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	c.header = r.Header
	if c.status != 0 && (c.refuse == 0 || c.requests <= c.refuse) {
		w.WriteHeader(c.status)
		return
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		body, _ = io.ReadAll(unpacked)
	}
	switch r.URL.Path {
	case "/v1/traces", "/own/path":
		var request tracespb.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			panic(err)
		}
		for _, rs := range request.ResourceSpans {
			c.resource = rs.Resource.Attributes
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
	case "/v1/metrics":
		var request metricspb.ExportMetricsServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			panic(err)
		}
		for _, rm := range request.ResourceMetrics {
			for _, sm := range rm.ScopeMetrics {
				for _, m := range sm.Metrics {
					c.metrics[m.Name] = m
				}
			}
		}
	default:
		w.WriteHeader(404)
	}
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// until waits for something to have arrived.
func (c *collector) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		c.mu.Lock()
		ok := done()
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.arrived:
		case <-deadline:
			t.Fatalf("want %s, got nothing in ten seconds", what)
		}
	}
}

// one is a version.
func one() string { return "1" }

func start(t *testing.T, log slog.Handler, environ ...string) *Telemetry {
	t.Helper()
	all := map[string]string{}
	for i := 0; i < len(environ); i += 2 {
		t.Setenv(environ[i], environ[i+1])
		all[environ[i]] = environ[i+1]
	}
	telemetry, err := Start(func(name string) (string, bool) { v, ok := all[name]; return v, ok }, func() string { return "1.2.3" }, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_ = telemetry.Stop(ctx)
	})
	return telemetry
}

func attributesOf(list []*commonpb.KeyValue) map[string]string {
	all := map[string]string{}
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			all[kv.Key] = v.StringValue
		default:
			all[kv.Key] = strings.TrimSpace(kv.Value.String()[strings.Index(kv.Value.String(), ":")+1:])
		}
	}
	return all
}

func TestExport(t *testing.T) {
	c := newCollector(t)
	telemetry := start(t, slog.DiscardHandler, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL, "WEBSITE_SITE_NAME", "my-app", "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	received := time.Now().Add(-time.Minute)
	telemetry.ObserveTokens(func() []TokenStats {
		return []TokenStats{{Identity: "system-assigned", Resource: "api://x", ReceivedAt: received, Outcomes: map[string]uint64{"new": 2, "refused": 0}}}
	})

	incoming, _ := Continue(http.Header{"Traceparent": {good}, "Tracestate": {"a=1"}})
	invocation := telemetry.Begin(incoming, Invocation{ID: "id-1", Function: "orders", Trigger: "httpTrigger", Way: "proxied", Method: "GET", Route: "orders/{id}", Path: "/api/orders/1"})
	if got := invocation.Trace(incoming); got.SpanID != incoming.SpanID || !sampled(got) {
		t.Errorf("want the span of the log line, sampled, got %+v", got)
	}
	first := invocation.Attempt(Attempt{Method: "GET", Scheme: "https", Host: "gw.example", Path: "/a"})
	header := http.Header{}
	first.Inject(header)
	first.End(429, "")
	telemetry.Retry("orders", "429")
	second := invocation.Attempt(Attempt{Method: "GET", Scheme: "http", Host: "[::1]:8080", Path: "/a", Resend: 1})
	second.End(0, "connection")
	telemetry.Refusal("orders", "token")
	invocation.End(502, "gateway-unreachable")

	c.until(t, "three spans and six metrics", func() bool { return len(c.spans) == 3 && len(c.metrics) == 6 })
	c.mu.Lock()
	defer c.mu.Unlock()
	spans := map[string]*tracepb.Span{}
	for _, s := range c.spans {
		spans[string(s.SpanId)] = s
		if string(s.TraceId) != string(incoming.TraceID[:]) {
			t.Errorf("want the caller's trace, got %x", s.TraceId)
		}
	}
	server := spans[string(incoming.SpanID[:])]
	if server == nil || string(server.ParentSpanId) != string(incoming.Parent[:]) || server.Kind != tracepb.Span_SPAN_KIND_SERVER || server.TraceState != "a=1" ||
		server.Name != "GET orders/{id}" || server.Status.Code != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("want the invocation below the caller's span, got %v", server)
	}
	want := map[string]string{"faas.invocation_id": "id-1", "faas.name": "orders", "faas.trigger": "http", "azure.functions.trigger": "httpTrigger",
		"apimrelay.way": "proxied", "http.request.method": "GET", "http.route": "orders/{id}", "url.path": "/api/orders/1", "faas.coldstart": "true",
		"http.response.status_code": "502", "error.type": "gateway-unreachable"}
	got := attributesOf(server.Attributes)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("invocation: %s: want %q, got %q", name, value, got[name])
		}
	}
	passed, ok := ParseTraceparent(header.Get("Traceparent"))
	client := spans[string(passed.SpanID[:])]
	if !ok || client == nil || header.Get("Tracestate") != "a=1" || client.Kind != tracepb.Span_SPAN_KIND_CLIENT || string(client.ParentSpanId) != string(incoming.SpanID[:]) {
		t.Fatalf("want the attempt that the gateway sees, below the invocation, got %v for %v", client, header)
	}
	got = attributesOf(client.Attributes)
	for name, value := range map[string]string{"url.full": "https://gw.example/a", "server.address": "gw.example", "server.port": "443", "http.response.status_code": "429", "error.type": "429"} {
		if got[name] != value {
			t.Errorf("attempt: %s: want %q, got %q", name, value, got[name])
		}
	}
	for _, s := range c.spans {
		if got := attributesOf(s.Attributes); got["http.request.resend_count"] == "1" && (got["server.address"] != "::1" || got["server.port"] != "8080") {
			t.Errorf("second attempt: want ::1 and 8080, got %v", got)
		}
	}
	resource := attributesOf(c.resource)
	if resource["service.name"] != "my-app" || resource["service.version"] != "1.2.3" || resource["cloud.provider"] != "azure" || resource["deployment.environment.name"] != "test" {
		t.Errorf("want the app's name and what the environment adds, got %v", resource)
	}
	if n := c.metrics["http.client.request.duration"].GetHistogram().DataPoints; len(n) != 2 {
		t.Errorf("want a series for each outcome of an attempt, got %d", len(n))
	}
	if n := c.metrics["faas.invoke_duration"].GetHistogram().DataPoints; len(n) != 1 || n[0].Count != 1 {
		t.Errorf("want one invocation, got %v", n)
	}
	if points := c.metrics["apimrelay.token.age"].GetGauge().DataPoints; len(points) != 1 || points[0].GetAsDouble() < 60 || points[0].GetAsDouble() > 120 {
		t.Errorf("want an age of a minute, got %v", points)
	}
	if points := c.metrics["apimrelay.token.refreshes"].GetSum().DataPoints; len(points) != 2 {
		t.Errorf("want two outcomes, got %v", points)
	}
	for name, attribute := range map[string]string{"apimrelay.retries": "429", "apimrelay.refusals": "token"} {
		points := c.metrics[name].GetSum().DataPoints
		if len(points) != 1 || points[0].GetAsInt() != 1 || !slices.Contains(slices.Collect(values(attributesOf(points[0].Attributes))), attribute) {
			t.Errorf("%s: want one for %s, got %v", name, attribute, points)
		}
	}
}

func values(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

func TestExportBegins(t *testing.T) {
	c := newCollector(t)
	telemetry := start(t, slog.DiscardHandler, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	fresh := NewTrace()
	root := telemetry.Begin(fresh, Invocation{})
	if got := root.Trace(fresh); !sampled(got) || got.TraceID != fresh.TraceID || got.SpanID != fresh.SpanID {
		t.Errorf("want the new trace marked as recorded, got %+v", got)
	}
	root.End(0, "")
	own := telemetry.Begin(Trace{}, Invocation{})
	if got := own.Trace(Trace{}); !sampled(got) || !got.Valid() {
		t.Errorf("want a recorded trace of our own where none came in, got %+v", got)
	}
	own.End(0, "")
	one, two := telemetry.Begin(NewTrace(), Invocation{Function: "one"}), telemetry.Begin(NewTrace(), Invocation{Function: "two", Trigger: "timerTrigger"})
	one.End(0, "")
	time.AfterFunc(5*idle, func() { two.End(0, "") })
	c.until(t, "all, after the last", func() bool { return len(c.spans) == 4 })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests > 2 {
		t.Errorf("want no export while an invocation is in flight, got %d requests", c.requests)
	}
	for _, s := range c.spans {
		if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("want success, got %v", s)
		}
	}
}

func TestSamplersAreTheSDKs(t *testing.T) {
	c := newCollector(t)
	telemetry := start(t, slog.DiscardHandler, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL, "OTEL_TRACES_SAMPLER", "always_off")
	incoming, _ := Continue(http.Header{"Traceparent": {good}})
	span := telemetry.Begin(incoming, Invocation{})
	header := http.Header{}
	span.Attempt(Attempt{Method: "GET"}).Inject(header)
	if passed, ok := ParseTraceparent(header.Get("Traceparent")); !ok || sampled(passed) || passed.TraceID != incoming.TraceID {
		t.Errorf("want an unsampled span of the same trace, got %v", header)
	}
	span.End(200, "")
	c.until(t, "metrics", func() bool { return c.metrics["faas.invoke_duration"] != nil })
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) > 0 {
		t.Errorf("want no spans, got %d", len(c.spans))
	}
}

func TestCollectorThatFailsIsLoggedOnce(t *testing.T) {
	c := newCollector(t)
	c.status = http.StatusForbidden
	var stdout, stderr lines
	telemetry := start(t, NewHandler(&stdout, &stderr, nil), "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL, "OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary")
	for range 3 {
		telemetry.Begin(NewTrace(), Invocation{}).End(200, "")
		telemetry.flushIfIdle()
	}
	stderr.mu.Lock()
	defer stderr.mu.Unlock()
	if len(stderr.text) != 1 || hostLevel(stderr.text[0], true) != "Warning" {
		t.Errorf("want one Warning, got %q", stderr.text)
	}
	if strings.Contains(strings.Join(stderr.text, ""), "canary") {
		t.Error("want no header in the log")
	}
}

func TestUpload(t *testing.T) {
	for name, row := range map[string]struct {
		status, refuse int
		environ        []string // beside the endpoint
		endpoint       string   // OTEL_EXPORTER_OTLP_ENDPOINT unless given
	}{
		"plain":                            {},
		"compressed":                       {environ: []string{"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"}},
		"again after a 503":                {status: 503, refuse: 1, environ: []string{"OTEL_METRICS_EXPORTER", "none"}},
		"an endpoint of its own, as it is": {endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", environ: []string{"OTEL_METRICS_EXPORTER", "none"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t)
			c.status, c.refuse = row.status, row.refuse
			endpoint, address := "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL+"/"
			if row.endpoint != "" {
				endpoint, address = row.endpoint, c.URL+"/own/path"
			}
			environ := append([]string{endpoint, address, "OTEL_EXPORTER_OTLP_HEADERS", "api-key = a%20b , x=1,", "OTEL_TRACES_EXPORTER", "otlp"}, row.environ...)
			telemetry := start(t, slog.DiscardHandler, environ...)
			const n = 300 // a message whose length needs three bytes
			for range n {
				telemetry.Begin(NewTrace(), Invocation{Function: strings.Repeat("f", 200)}).End(200, "")
			}
			_ = telemetry.Flush(context.Background())
			c.until(t, "all spans", func() bool { return len(c.spans) == n })
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.header.Get("Api-Key") != "a b" || c.header.Get("X") != "1" || c.header.Get("Content-Type") != "application/x-protobuf" {
				t.Errorf("want the headers given, got %v", c.header)
			}
			for _, s := range c.spans {
				if s.Name != strings.Repeat("f", 200) || s.EndTimeUnixNano < s.StartTimeUnixNano || s.StartTimeUnixNano == 0 {
					t.Fatalf("want whole spans, got %v", s)
				}
			}
		})
	}
}

func TestTemporality(t *testing.T) {
	c := newCollector(t)
	telemetry := start(t, slog.DiscardHandler, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
	telemetry.Retry("f", "429")
	if err := telemetry.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.metrics["apimrelay.retries"].GetSum(); got.AggregationTemporality != metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA || !got.IsMonotonic {
		t.Errorf("want a monotonic sum of differences, got %v", got)
	}
}

func TestBadVariablesAreNamedWithoutTheirValues(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_TIMEOUT": "canary", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "canary", "OTEL_EXPORTER_OTLP_HEADERS": "k=canary%zz",
		"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "canary", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/no/such/file",
		"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "canary",
	} {
		environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", name: value}
		_, err := Start(func(n string) (string, bool) { v, ok := environ[n]; return v, ok }, one, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(name, "HEADERS") && strings.Contains(err.Error(), "canary") {
			t.Errorf("want an error that names %s, got %v", name, err)
		}
	}
}

func TestOffByDefaultAndFree(t *testing.T) {
	for name, environ := range map[string]map[string]string{
		"nothing set":          {},
		"disabled":             {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_SDK_DISABLED": "True"},
		"no exporter":          {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
		"only other variables": {"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
	} {
		telemetry, err := Start(func(n string) (string, bool) { v, ok := environ[n]; return v, ok }, one, slog.Default())
		if telemetry != nil || err != nil {
			t.Errorf("%s: want telemetry off, got %v: %v", name, telemetry, err)
		}
	}
	for name, environ := range map[string]map[string]string{
		"OTEL_EXPORTER_OTLP_PROTOCOL":         {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		"OTEL_METRICS_EXPORTER":               {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_METRICS_EXPORTER": "prometheus"},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":  {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "user:canary@h"},
		"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json"},
	} {
		telemetry, err := Start(func(n string) (string, bool) { v, ok := environ[n]; return v, ok }, one, slog.Default())
		if telemetry != nil || err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "canary") {
			t.Errorf("want an error that names %s, got %v", name, err)
		}
	}
	var off *Telemetry
	trace := NewTrace()
	header := http.Header{"Traceparent": {"as it came"}}
	n := testing.AllocsPerRun(100, func() {
		span := off.Begin(trace, Invocation{ID: "x"})
		attempt := span.Attempt(Attempt{Method: "GET"})
		attempt.Inject(header)
		attempt.End(200, "")
		off.Retry("f", "429")
		off.Refusal("f", "key")
		span.End(200, "")
		if span.Trace(trace) != trace {
			t.Fatal("want the trace as it came")
		}
	})
	if n != 0 || header.Get("Traceparent") != "as it came" {
		t.Errorf("want nothing done, got %v allocations and %v", n, header)
	}
	off.ObserveTokens(nil)
	if err := errors.Join(off.Flush(context.Background()), off.Stop(context.Background())); err != nil {
		t.Error(err)
	}
}

func BenchmarkSpans(b *testing.B) {
	c := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer c.Close()
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	on, err := Start(func(n string) (string, bool) { return c.URL, n == "OTEL_EXPORTER_OTLP_ENDPOINT" }, one, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = on.Stop(context.Background()) }()
	for name, telemetry := range map[string]*Telemetry{"off": nil, "on": on} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			header := http.Header{}
			for b.Loop() {
				span := telemetry.Begin(NewTrace(), Invocation{ID: "id", Function: "f", Trigger: "httpTrigger", Way: "proxied", Method: "GET", Route: "x", Path: "/api/x"})
				attempt := span.Attempt(Attempt{Method: "GET", Scheme: "https", Host: "gw.example", Path: "/x"})
				attempt.Inject(header)
				attempt.End(200, "")
				span.End(200, "")
			}
		})
	}
}

// Where metrics alone are exported, a caller's trace goes on as it came: a span of ours would be one that nobody knows.
func TestMetricsAloneLeaveTheTraceAsItCame(t *testing.T) {
	telemetry := start(t, slog.DiscardHandler, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1")
	const came = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
	tr, ok := Continue(http.Header{"Traceparent": {came}})
	if !ok {
		t.Fatal("no trace")
	}
	span := telemetry.Begin(tr, Invocation{Function: "orders"})
	defer span.End(200, "")
	if got := span.Trace(tr); got != tr {
		t.Errorf("the trace became %+v, want %+v", got, tr)
	}
	attempt := span.Attempt(Attempt{Method: "GET", Scheme: "https", Host: "gateway.example", Path: "/"})
	defer attempt.End(200, "")
	header := http.Header{"Traceparent": {came}}
	if attempt.Inject(header); header.Get("Traceparent") != came {
		t.Errorf("the gateway gets %q, want %q", header.Get("Traceparent"), came)
	}
	none := telemetry.Begin(Trace{}, Invocation{Function: "orders"})
	defer none.End(200, "")
	header = make(http.Header)
	if none.Inject(header); none.Trace(Trace{}).Valid() || len(header) > 0 {
		t.Errorf("a trace was made up: %v", header)
	}
}
