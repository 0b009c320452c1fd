package main

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes OTLP over HTTP and keeps the spans.
type collector struct {
	mu    sync.Mutex
	spans []*tracepb.Span
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	b, _ := io.ReadAll(body)
	var req collectortrace.ExportTraceServiceRequest
	if strings.HasSuffix(r.URL.Path, "/v1/traces") && proto.Unmarshal(b, &req) == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range req.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) wait(t *testing.T, n int) []*tracepb.Span {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		spans := append([]*tracepb.Span(nil), c.spans...)
		c.mu.Unlock()
		if len(spans) >= n {
			return spans
		}
		if time.Now().After(deadline) {
			t.Fatalf("the collector has %d spans, want %d", len(spans), n)
		}
	}
}

// Caller, host, handler and gateway are one trace: the caller's trace id goes through, and each span is below the one before.
func TestOneTraceFromCallerToGateway(t *testing.T) {
	var spans collector
	otlp := httptest.NewServer(&spans)
	defer otlp.Close()
	upstream := make(chan http.Header, 1)
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { upstream <- r.Header.Clone() }))
	defer gateway.Close()
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"canary-token","expires_on":"4102444800","resource":"x","token_type":"Bearer"}`)
	}))
	defer identity.Close()
	t.Setenv("IDENTITY_ENDPOINT", identity.URL)
	t.Setenv("IDENTITY_HEADER", "canary-header")
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("../functions")); err != nil {
		t.Fatal(err)
	}
	host, err := os.ReadFile("../host.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "host.json"), host, 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := assemble([]string{
		"FUNCTIONS_APP_ROOT_PATH=" + root, "TargetApp=api://" + t.Name(), "TargetTenantID=5a9d0b0c-0000-4000-8000-000000000001",
		"FunctionIdentity=RunAs=App", "ApimUrl=" + gateway.URL + "/orders", "ApimKey=canary-key", "PollSchedule=0 0 0 1 1 *",
		"IDENTITY_ENDPOINT=" + identity.URL, "IDENTITY_HEADER=canary-header", "OTEL_EXPORTER_OTLP_ENDPOINT=" + otlp.URL,
	}, &out, &out)
	handler := httptest.NewServer(p.handler)
	defer handler.Close()

	const traceID, callerSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	wrapped := `{"Data":{"req":{"Url":"http://h/api/relay/x?code=canary-function-key","Method":"GET","Headers":{"traceparent":["00-` + traceID + "-" + callerSpan + `-01"]}}},"Metadata":{}}`
	for name, c := range map[string]struct{ method, path, body, traceparent string }{
		"an event": {"POST", "/poll", `{"Data":{"timer":{}},"Metadata":{"sys":{}}}`, "00-" + traceID + "-" + callerSpan + "-01"},
		"proxied":  {"GET", "/api/relay/x?code=canary-function-key", "", "00-" + traceID + "-" + callerSpan + "-01"},
		"wrapped":  {"POST", "/relay", wrapped, ""},
	} {
		t.Run(name, func(t *testing.T) {
			spans.mu.Lock()
			spans.spans = nil
			spans.mu.Unlock()
			req, _ := http.NewRequestWithContext(t.Context(), c.method, handler.URL+c.path, strings.NewReader(c.body))
			req.Header.Set("X-Azure-Functions-InvocationId", "6a465e51-2395-4392-9acd-360e8b8fca7c")
			if c.traceparent != "" {
				req.Header.Set("traceparent", c.traceparent)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 200 {
				t.Fatalf("answered %d, log %s", res.StatusCode, out.String())
			}
			byParent := map[string]*tracepb.Span{}
			for _, s := range spans.wait(t, 2) {
				if got := hex.EncodeToString(s.TraceId); got != traceID {
					t.Errorf("span %s is in the trace %s, want %s", s.Name, got, traceID)
				}
				byParent[hex.EncodeToString(s.ParentSpanId)] = s
				if strings.Contains(s.String(), "canary") {
					t.Errorf("a span holds a secret: %s", s)
				}
			}
			invocation := byParent[callerSpan]
			if invocation == nil {
				t.Fatalf("no span is below the caller's: %v", byParent)
			}
			attempt := byParent[hex.EncodeToString(invocation.SpanId)]
			if attempt == nil {
				t.Fatalf("no attempt is below the invocation: %v", byParent)
			}
			want := "00-" + traceID + "-" + hex.EncodeToString(attempt.SpanId) + "-01"
			if got := (<-upstream).Get("Traceparent"); got != want {
				t.Errorf("the gateway got %s, want %s", got, want)
			}
		})
	}
	handler.Close() // the last lines are written
	if strings.Contains(out.String(), "canary") {
		t.Errorf("the log holds a secret: %s", out.String())
	}
}
