package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"apimrelay/handler/internal/settings"
	"apimrelay/internal/otlptest"
)

// shippedApp is a script root with the functions and the host.json that ship.
func shippedApp(t *testing.T) string {
	t.Helper()
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
	return root
}

// Caller, host, handler and gateway are one trace: the caller's trace id goes through, and each span is below the one before.
func TestOneTraceFromCallerToGateway(t *testing.T) {
	collector := otlptest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	upstream := make(chan http.Header, 1)
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { upstream <- r.Header.Clone() }))
	defer gateway.Close()
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"canary-token","expires_on":"4102444800","resource":"x","token_type":"Bearer"}`)
	}))
	defer identity.Close()
	t.Setenv("IDENTITY_ENDPOINT", identity.URL)
	t.Setenv("IDENTITY_HEADER", "canary-header")
	root := shippedApp(t)
	var out bytes.Buffer
	p := assemble(settings.Index([]string{
		"FUNCTIONS_APP_ROOT_PATH=" + root, "TargetApp=api://" + t.Name(), "TargetTenantID=5a9d0b0c-0000-4000-8000-000000000001",
		"FunctionIdentity=RunAs=App", "ApimUrl=" + gateway.URL + "/orders", "ApimKey=canary-key", "PollSchedule=0 0 0 1 1 *",
		"IDENTITY_ENDPOINT=" + identity.URL, "IDENTITY_HEADER=canary-header",
	}), &out, &out)
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
			collector.Reset()
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
			for _, s := range collector.Until(t, "two spans", func(s otlptest.State) bool { return len(s.Spans) == 2 }).Spans {
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

// Two identities with tokens for one resource are two series, told apart by their names, which are no secrets.
func TestTwoIdentitiesAreApartInTheMetrics(t *testing.T) {
	collector := otlptest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"canary-token`+r.URL.Query().Get("client_id")+`","expires_on":"4102444800","resource":"x","token_type":"Bearer"}`)
	}))
	defer identity.Close()
	t.Setenv("IDENTITY_ENDPOINT", identity.URL)
	t.Setenv("IDENTITY_HEADER", "canary-header")
	const writer = "5a9d0b0c-0000-4000-8000-000000000002"
	var out bytes.Buffer
	p := assemble(settings.Index([]string{
		"FUNCTIONS_APP_ROOT_PATH=" + shippedApp(t), "TargetApp=api://" + t.Name(), "TargetTenantID=5a9d0b0c-0000-4000-8000-000000000001",
		"FunctionIdentity=RunAs=App", "poll__FunctionIdentity=RunAs=App;AppId=" + writer, "ApimUrl=http://127.0.0.1:1/orders", "ApimKey=canary-key",
		"PollSchedule=0 0 0 1 1 *", "IDENTITY_ENDPOINT=" + identity.URL, "IDENTITY_HEADER=canary-header",
	}), &out, &out)
	for _, s := range p.sources {
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.telemetry.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	metrics := collector.State().Metrics
	fetched := map[string]int64{}
	for _, point := range metrics["apimrelay.token.refreshes"].GetSum().GetDataPoints() {
		labels := otlptest.Attributes(point.Attributes)
		if strings.Contains(point.String(), "canary") || labels["apimrelay.resource"] != "api://"+t.Name() {
			t.Errorf("labels %v", labels)
		}
		if labels["apimrelay.outcome"] == "new" {
			fetched[labels["apimrelay.identity"]] = point.GetAsInt()
		}
	}
	want := map[string]int64{"system-assigned managed identity": 1, "user-assigned managed identity, client id " + writer: 1}
	if diff := cmp.Diff(want, fetched); diff != "" {
		t.Errorf("new tokens by identity (-want +got):\n%s\n%v", diff, metrics)
	}
	if n := len(metrics["apimrelay.token.age"].GetGauge().GetDataPoints()); n != 2 {
		t.Errorf("%d ages, want one for each identity", n)
	}
}
