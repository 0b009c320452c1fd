package observe

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"apimrelay/internal/otlptest"
	"apimrelay/internal/poll"
)

// start switches telemetry on by variables, names and values in turn.
func start(t *testing.T, c Config, environ ...string) *Telemetry {
	t.Helper()
	for i := 0; i < len(environ); i += 2 {
		t.Setenv(environ[i], environ[i+1])
	}
	c.Lookup, c.Version = os.LookupEnv, func() string { return "1.2.3" }
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	telemetry := Start(c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_ = telemetry.Stop(ctx)
		// The SDK sends the rest after that, and the next test's handler would get its errors.
		poll.Until(t, "the end of the SDK's goroutines", func() bool {
			all := make([]byte, 1<<20)
			return !bytes.Contains(all[:runtime.Stack(all, true)], []byte("otel/sdk/"))
		})
	})
	return telemetry
}

func attributesOf(s *tracepb.Span) map[string]string { return otlptest.Attributes(s.Attributes) }

func TestACallAsSpansAndMetrics(t *testing.T) {
	collector, counters, received := otlptest.New(t), new(Counters), time.Now().Add(-time.Minute)
	telemetry := start(t, Config{Counters: counters, Tokens: func() []TokenStats {
		return []TokenStats{{Identity: "system-assigned", Resource: "api://x", ReceivedAt: received,
			Outcomes: map[string]uint64{"new": 2, "refused": 0}}}
	}}, "OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL, "WEBSITE_SITE_NAME", "my-app",
		"OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,cloud.region=here")

	incoming, _ := Continue(http.Header{"Traceparent": {good}, "Tracestate": {"a=1"}})
	invocation := telemetry.Begin(incoming, Invocation{ID: "id-1", Function: "orders",
		Trigger: "httpTrigger",
		Way:     "proxied", Method: "GET", Route: "orders/{id}", Path: "/api/orders/1"})
	if got := invocation.Trace(incoming).TraceIDString(); got != traceID {
		t.Errorf("want the caller's trace id in the log line, got %s", got)
	}
	first := invocation.Attempt(Attempt{Method: "GET", Scheme: "https", Host: "gw.example",
		Path: "/a"})
	header := http.Header{}
	first.Inject(header)
	first.End(429, "")
	counters.Retry("orders", "429")
	second := invocation.Attempt(Attempt{Method: "GET", Scheme: "http", Host: "[::1]:8080",
		Path: "/a", Resend: 1})
	second.End(0, "gateway-unreachable")
	counters.Refusal("orders", "token-refused")
	counters.Replay("orders", "token")
	invocation.End(502, "gateway-unreachable")
	invocation.End(200, "")

	got := collector.Until(t, "three spans and seven metrics", func(s otlptest.State) bool {
		return len(s.Spans) == 3 && len(s.Metrics) == 7
	})
	byParent := map[string]*tracepb.Span{}
	for _, s := range got.Spans {
		if id := hex.EncodeToString(s.TraceId); id != traceID {
			t.Errorf("want the caller's trace, got %s", id)
		}
		if attributesOf(s)["http.request.resend_count"] != "1" {
			byParent[hex.EncodeToString(s.ParentSpanId)] = s
		} else if a := attributesOf(s); a["server.address"] != "::1" ||
			a["server.port"] != "8080" || a["error.type"] != "gateway-unreachable" {
			t.Errorf("second attempt: want ::1 and 8080, got %v", a)
		}
	}
	server := byParent[spanID]
	if server == nil || server.Kind != tracepb.Span_SPAN_KIND_SERVER ||
		server.TraceState != "a=1" ||
		server.Name != "GET orders/{id}" || server.Status.Code != tracepb.Status_STATUS_CODE_ERROR {
		t.Fatalf("want the invocation below the caller's span, got %v", server)
	}
	want := map[string]string{"faas.invocation_id": "id-1", "faas.name": "orders",
		"faas.trigger":            "http",
		"azure.functions.trigger": "httpTrigger", "apimrelay.way": "proxied",
		"http.request.method": "GET",
		"http.route":          "orders/{id}", "url.path": "/api/orders/1", "faas.coldstart": "true",
		"http.response.status_code": "502", "error.type": "gateway-unreachable"}
	if diff := cmp.Diff(want, attributesOf(server)); diff != "" {
		t.Errorf("invocation (-want +got):\n%s", diff)
	}
	client := byParent[hex.EncodeToString(server.SpanId)]
	if client == nil || client.Kind != tracepb.Span_SPAN_KIND_CLIENT {
		t.Fatalf("want an attempt below the invocation, got %v", byParent)
	}
	passed := "00-" + traceID + "-" + hex.EncodeToString(client.SpanId) + "-01"
	if diff := cmp.Diff(http.Header{"Traceparent": {passed}, "Tracestate": {"a=1"}},
		header); diff != "" {
		t.Errorf("what the gateway sees (-want +got):\n%s", diff)
	}
	want = map[string]string{"http.request.method": "GET", "url.full": "https://gw.example/a",
		"url.scheme":     "https",
		"server.address": "gw.example", "server.port": "443", "http.response.status_code": "429",
		"error.type": "429"}
	if diff := cmp.Diff(want, attributesOf(client)); diff != "" {
		t.Errorf("attempt (-want +got):\n%s", diff)
	}
	for name, value := range map[string]string{"service.name": "my-app", "service.version": "1.2.3",
		"cloud.provider": "azure",
		"cloud.region":   "here", "deployment.environment.name": "test",
		"telemetry.sdk.name": "opentelemetry"} {
		if got.Resource[name] != value {
			t.Errorf("resource: %s: want %s, got %s", name, value, got.Resource[name])
		}
	}
	if points := got.Metrics["http.client.request.duration"].GetHistogram().GetDataPoints(); len(points) != 2 {
		t.Errorf("want a series for each outcome of an attempt, got %v", points)
	}
	if points := got.Metrics["faas.invoke_duration"].GetHistogram().GetDataPoints(); len(points) != 1 || points[0].Count != 1 {
		t.Errorf("want one invocation, got %v", points)
	}
	if points := got.Metrics["apimrelay.token.age"].GetGauge().GetDataPoints(); len(points) != 1 ||
		points[0].GetAsDouble() < 60 || points[0].GetAsDouble() > 120 {
		t.Errorf("want an age of a minute, got %v", points)
	}
	for name, want := range map[string]string{
		"apimrelay.retries":  "apimrelay.reason=429 faas.name=orders: 1",
		"apimrelay.replays":  "apimrelay.with=token faas.name=orders: 1",
		"apimrelay.refusals": "apimrelay.class=token-refused faas.name=orders: 1",
		"apimrelay.token.refreshes": "apimrelay.identity=system-assigned apimrelay.outcome=new " +
			"apimrelay.resource=api://x: 2",
	} {
		if sums := sumsOf(got.Metrics[name]); !strings.Contains(sums, want) {
			t.Errorf("%s: want %s, got %s", name, want, sums)
		}
	}
}

// sumsOf writes the points of a counter, labels in order.
func sumsOf(m *metricspb.Metric) string {
	var all []string
	for _, p := range m.GetSum().GetDataPoints() {
		labels := fmt.Sprint(otlptest.Attributes(p.Attributes)) // maps are printed in order
		labels = strings.NewReplacer("map[", "", "]", "", "name:", "name=", "reason:", "reason=",
			"with:", "with=", "class:", "class=",
			"identity:", "identity=", "outcome:", "outcome=", "resource:",
			"resource=").Replace(labels)
		all = append(all, fmt.Sprintf("%s: %d", labels, p.GetAsInt()))
	}
	return strings.Join(all, "; ")
}

// The platform may freeze a process that has nothing to do. So what was collected leaves when the
// last invocation in flight has ended, and not before.
func TestAFlushFollowsTheLastInvocationInFlight(t *testing.T) {
	collector := otlptest.New(t)
	telemetry := start(t, Config{}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.URL)
	one := telemetry.Begin(Trace{}, Invocation{Function: "one"})
	two := telemetry.Begin(Trace{}, Invocation{Function: "two", Trigger: "timerTrigger"})
	one.End(0, "")
	telemetry.flush()    // as if the last one had ended before this one began
	time.Sleep(5 * idle) // long enough for a flush that should not come
	if n := collector.State().Requests; n > 0 {
		t.Errorf("want no export while an invocation is in flight, got %d requests", n)
	}
	ended := time.Now()
	two.End(0, "")
	got := collector.Until(t, "both spans", func(s otlptest.State) bool { return len(s.Spans) == 2 })
	// 200 ms, on a machine that does nothing else
	if took := time.Since(ended); took > 2*time.Second {
		t.Errorf("want the spans at once, got them after %v", took)
	}
	for _, s := range got.Spans {
		if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR || len(s.ParentSpanId) > 0 {
			t.Errorf("want the beginning of a trace, and a success, got %v", s)
		}
	}
}

// A collector that takes its time, or never answers, holds up nobody, and costs the end of the
// process what it was given for it.
func TestNobodyWaitsForACollector(t *testing.T) {
	hold := make(chan struct{})
	collector := otlptest.New(t)
	collector.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		<-hold
		return true
	}
	defer close(hold)
	telemetry := start(t, Config{}, "OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	begun := time.Now()
	for range 3000 { // more than the SDK's queue holds
		telemetry.Begin(Trace{}, Invocation{Function: "one"}).End(200, "")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_ = telemetry.Stop(ctx)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("want it done without the collector, took %v", took)
	}
}

func TestWhatIsNotSampledGoesOnAsSuch(t *testing.T) {
	collector := otlptest.New(t)
	telemetry := start(t, Config{}, "OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL,
		"OTEL_TRACES_SAMPLER", "always_off")
	incoming, _ := Continue(http.Header{"Traceparent": {good}})
	span := telemetry.Begin(incoming, Invocation{})
	header := http.Header{}
	span.Attempt(Attempt{Method: "GET"}).Inject(header)
	got := header.Get("Traceparent")
	if !strings.HasPrefix(got, "00-"+traceID+"-") || !strings.HasSuffix(got, "-00") ||
		strings.Contains(got, spanID) {
		t.Errorf("want an unsampled span of the same trace, got %s", got)
	}
	span.End(200, "")
	s := collector.Until(t, "metrics", func(s otlptest.State) bool { return s.Metrics["faas.invoke_duration"] != nil })
	if len(s.Spans) > 0 {
		t.Errorf("want no spans, got %d", len(s.Spans))
	}
}

// Where metrics alone are exported a caller's trace goes on as it came, and none is made up: a span
// of ours would be one that nobody knows.
func TestMetricsAloneLeaveTheTraceAsItCame(t *testing.T) {
	telemetry := start(t, Config{}, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1")
	incoming, _ := Continue(http.Header{"Traceparent": {good}})
	for _, came := range []http.Header{{"Traceparent": {good}}, {}} {
		incoming, _ = Continue(came)
		span := telemetry.Begin(incoming, Invocation{Function: "orders"})
		if got := span.Trace(incoming); !got.at.Equal(incoming.at) {
			t.Errorf("the trace became %+v, want %+v", got, incoming)
		}
		attempt := span.Attempt(Attempt{Method: "GET", Scheme: "https", Host: "gateway.example",
			Path: "/"})
		header := came.Clone()
		attempt.Inject(header)
		if diff := cmp.Diff(came, header); diff != "" {
			t.Errorf("what the gateway gets (-want +got):\n%s", diff)
		}
		attempt.End(200, "")
		span.End(200, "")
	}
}

// A collector may repeat what it was sent, with its key. None of that is logged, in whatever way it
// fails.
func TestAFailingCollectorIsLoggedOnceAndNotQuoted(t *testing.T) {
	const key = "canary-key"
	hijack := func(answer string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return false
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
			return true
		}
	}
	for name, row := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		want   string // in the line
	}{
		"it refuses": {func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no: "+r.Header.Get("Api-Key"))
			return true
		}, "403"},
		"it refuses with a reason": {hijack("HTTP/1.1 401 " + key +
			"\r\nContent-Length: 0\r\n\r\n"), "401"},
		"it sends somewhere else": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Location", "/"+key)
			w.WriteHeader(http.StatusFound)
			return true
		}, "302"},
		"it speaks another protocol": {hijack(key + " " + key + "\r\n\r\n"), "no HTTP answer"},
		"it hangs up":                {hijack(""), "EOF"},
		"it takes some": {func(w http.ResponseWriter, r *http.Request) bool {
			b, _ := proto.Marshal(&collectortrace.ExportTraceServiceResponse{PartialSuccess: &collectortrace.ExportTracePartialSuccess{
				RejectedSpans: 7, ErrorMessage: key}})
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write(b)
			return true
		}, "7 spans rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			collector := otlptest.New(t)
			collector.Answer = row.answer
			var stdout, stderr lines
			telemetry := start(t, Config{Log: slog.New(NewHandler(&stdout, &stderr, nil))},
				"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.URL+"/"+key+"/v1/traces",
				"OTEL_EXPORTER_OTLP_HEADERS", "api-key="+key)
			for range 3 {
				telemetry.Begin(Trace{}, Invocation{}).End(200, "")
				telemetry.flush()
			}
			poll.Until(t, "a line", func() bool { // the timer's own flush may still run
				stderr.mu.Lock()
				defer stderr.mu.Unlock()
				return len(stderr.text) > 0
			})
			stderr.mu.Lock()
			defer stderr.mu.Unlock()
			text := strings.Join(stderr.text, "")
			if len(stderr.text) != 1 || hostLevel(text, true) != "Warning" ||
				!strings.Contains(text, row.want) {
				t.Errorf("want one Warning with %q, got %q", row.want, stderr.text)
			}
			if strings.Contains(text, key) {
				t.Errorf("the log quotes the collector: %s", text)
			}
		})
	}
}

func TestExportersFollowTheirVariables(t *testing.T) {
	for name, row := range map[string]struct {
		endpoint, path string
		environ        []string
		refuse         int // so many requests first
	}{
		"plain": {endpoint: "OTEL_EXPORTER_OTLP_ENDPOINT", path: "/"},
		"compressed": {endpoint: "OTEL_EXPORTER_OTLP_ENDPOINT",
			environ: []string{"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"}},
		"again after a 503": {endpoint: "OTEL_EXPORTER_OTLP_ENDPOINT", refuse: 1,
			environ: []string{"OTEL_METRICS_EXPORTER", "none"}},
		"an endpoint of its own, as it is": {endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
			path: "/own/path"},
	} {
		t.Run(name, func(t *testing.T) {
			collector := otlptest.New(t)
			refuse := row.refuse
			var paths sync.Map
			collector.Answer = func(w http.ResponseWriter, r *http.Request) bool {
				paths.Store(r.URL.Path, true)
				if refuse--; refuse >= 0 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return refuse >= 0
			}
			telemetry := start(t, Config{}, append([]string{row.endpoint, collector.URL + row.path,
				"OTEL_EXPORTER_OTLP_HEADERS", "api-key = a%20b , x=1", "OTEL_TRACES_EXPORTER",
				"otlp"}, row.environ...)...)
			telemetry.Begin(Trace{}, Invocation{Function: "orders"}).End(200, "")
			got := collector.Until(t, "the span",
				func(s otlptest.State) bool { return len(s.Spans) == 1 })
			if got.Header.Get("Api-Key") != "a b" || got.Header.Get("X") != "1" {
				t.Errorf("want the headers given, got %v", got.Header)
			}
			want := "/v1/traces"
			if row.path == "/own/path" {
				want = row.path
			}
			if _, came := paths.Load(want); !came {
				t.Errorf("want the spans at %s, nothing came there", want)
			}
		})
	}
}

// A variable that makes no sense, or asks for gRPC, is named in one Warn line without its value,
// and its signal is off; the other one goes on.
func TestBadVariablesAreNamedWithoutTheirValues(t *testing.T) {
	for _, row := range []struct{ name, value, want string }{
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "carrier-pigeon", "want http/protobuf"},
		{"OTEL_TRACES_EXPORTER", "zipkin", "want otlp or none"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "user:canary@h", "want a URL"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost:4318", "want a URL"},
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon", "want milliseconds"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "canary", "want name=value"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "k=canary%zz", "want name=value"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "k=v,=canary", "want name=value"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "k=canary%0Acanary", "want name=value"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a canary=v", "want name=value"},
		{"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zip", "want gzip"},
		{"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/no/such/file", "no such file"},
		{"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/no/such/file", "no such file"},
	} {
		t.Run(row.name+"="+row.value, func(t *testing.T) {
			var stdout, stderr lines
			telemetry := start(t, Config{Log: slog.New(NewHandler(&stdout, &stderr, nil))},
				"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1", row.name, row.value)
			if telemetry == nil || len(telemetry.providers) != 1 {
				t.Fatalf("want metrics alone, got %+v", telemetry)
			}
			text := strings.Join(stderr.text, "")
			if len(stderr.text) != 1 || hostLevel(text, true) != "Warning" ||
				!strings.Contains(text, row.name) ||
				!strings.Contains(text, row.want) || strings.Contains(text, "canary") {
				t.Errorf("want one Warning that names %s and says %q, got %q", row.name, row.want,
					stderr.text)
			}
		})
	}
}

// What the SDK itself says of a variable is one line of ours.
func TestTheSDKLogsThroughUs(t *testing.T) {
	var stdout, stderr lines
	start(t, Config{Log: slog.New(NewHandler(&stdout, &stderr, nil))},
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1", "OTEL_METRIC_EXPORT_INTERVAL",
		"canary")
	text := strings.Join(stderr.text, "")
	if !strings.Contains(text, `"variable":"OTEL_METRIC_EXPORT_INTERVAL"`) ||
		strings.Contains(text, "canary") {
		t.Errorf("want a line that names the variable and not its value, got %q", stderr.text)
	}
}

func TestOffByDefaultAndFree(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	for name, environ := range map[string][]string{
		"nothing set": nil,
		"disabled": {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://h", "OTEL_SDK_DISABLED",
			"True"},
		"no exporter": {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://h", "OTEL_TRACES_EXPORTER",
			"none", "OTEL_METRICS_EXPORTER", "none"},
		"only other variables": {"OTEL_SERVICE_NAME", "x", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
		"gRPC": {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://h",
			"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			if telemetry := start(t, Config{}, environ...); telemetry != nil {
				t.Errorf("want telemetry off, got %v", telemetry)
			}
		})
	}
	poll.Until(t, "the end of the subtests: no goroutine of telemetry's", func() bool {
		return runtime.NumGoroutine() <= goroutines
	})
	var off *Telemetry
	trace, _ := Continue(http.Header{"Traceparent": {good}})
	header := http.Header{"Traceparent": {"as it came"}}
	n := testing.AllocsPerRun(100, func() {
		span := off.Begin(trace, Invocation{ID: "x"})
		attempt := span.Attempt(Attempt{Method: "GET"})
		attempt.Inject(header)
		attempt.End(200, "")
		span.End(200, "")
		if !span.Trace(trace).at.Equal(trace.at) {
			t.Fatal("want the trace as it came")
		}
	})
	if n != 0 || header.Get("Traceparent") != "as it came" {
		t.Errorf("want nothing done, got %v allocations and %v", n, header)
	}
	if err := errors.Join(off.Flush(t.Context()), off.Stop(t.Context())); err != nil {
		t.Error(err)
	}
}

func BenchmarkSpans(b *testing.B) {
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlptest.New(b).URL)
	on := Start(Config{Lookup: os.LookupEnv, Version: func() string { return "1" },
		Log: slog.New(slog.DiscardHandler)})
	defer func() { _ = on.Stop(context.Background()) }()
	for name, telemetry := range map[string]*Telemetry{"off": nil, "on": on} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				span := telemetry.Begin(Trace{}, Invocation{ID: "id", Function: "f",
					Trigger: "httpTrigger",
					Way:     "proxied", Method: "GET", Route: "x", Path: "/api/x"})
				attempt := span.Attempt(Attempt{Method: "GET", Scheme: "https", Host: "gw.example",
					Path: "/x"})
				attempt.Inject(http.Header{})
				attempt.End(200, "")
				span.End(200, "")
			}
		})
	}
}
