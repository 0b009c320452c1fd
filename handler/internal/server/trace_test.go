package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A trace that nobody asked for, marked as not sampled, would keep the backend from recording.
func TestATraceGoesOnWhereOneCameInAndNoneIsMadeUp(t *testing.T) {
	const (
		hello = `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},
			{"type":"http","direction":"out","name":"res"}]}`
		queue   = `{"bindings":[{"type":"queueTrigger","direction":"in","name":"m","queueName":"q","connection":"c"}]}`
		sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		flag00  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	)
	for name, c := range map[string]struct{ parent, state, wantParent, wantState string }{
		"nothing":             {"", "", "", ""},
		"a state alone":       {"", "a=1", "", ""},
		"a sampled one":       {sampled, "a=1", sampled, "a=1"},
		"one not sampled":     {flag00, "", flag00, ""},
		"an id of zeros":      {"00-00000000000000000000000000000000-b7ad6b7169203331-01", "a=1", "", ""},
		"capitals":            {strings.ToUpper(sampled), "a=1", "", ""},
		"one that is cut off": {sampled[:54], "a=1", "", ""},
	} {
		for _, way := range []string{"GET", "POST", "forwarded", "wrapped", "event"} {
			t.Run(name+", "+way, func(t *testing.T) {
				r := newRig(t, bothFlags, map[string]string{"hello": hello, "q": queue}, func(f *subject) { f.Attempts = 2 })
				calls := 0
				r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
					if calls++; calls == 1 && way != "POST" { // and so it is with a second attempt
						w.WriteHeader(http.StatusServiceUnavailable)
					}
				}
				var lines []string
				if c.parent != "" {
					lines = append(lines, "traceparent: "+c.parent)
				}
				if c.state != "" {
					lines = append(lines, "tracestate: "+c.state)
				}
				method, path, body := "GET", "/api/hello", ""
				switch way {
				case "POST":
					method, body = "POST", "x"
				case "forwarded":
					lines = append(lines, "User-Agent: Azure-Functions-Host/4.1037.0.0")
				case "wrapped":
					var inner []string
					for _, l := range lines {
						key, value, _ := strings.Cut(l, ": ")
						inner = append(inner, fmt.Sprintf("%q:[%q]", key, value))
					}
					method, path, lines = "POST", "/hello", nil
					body = `{"Data":{"req":{"Url":"http://h/api/hello","Method":"GET","Headers":{` + strings.Join(inner, ",") + `}}},"Metadata":{}}`
				case "event":
					method, path, body = "POST", "/q", `{"Data":{"m":"\"x\""},"Metadata":{}}`
				}
				var upload io.Reader
				if body != "" {
					upload = strings.NewReader(body)
				}
				req := r.proxiedCall(method, path, upload, lines...)
				if way == "forwarded" {
					req.Header.Del("X-Ms-Invocation-Id")
				}
				if res, text := r.do(req); res.StatusCode != 200 {
					t.Fatalf("answered %d %s, log %s", res.StatusCode, text, r.log.String())
				}
				want := 2
				if way == "POST" {
					want = 1
				}
				for _, sent := range r.requests(want) {
					if got := sent.header.Get("Traceparent"); got != c.wantParent {
						t.Errorf("traceparent %q, want %q", got, c.wantParent)
					}
					if got := sent.header.Get("Tracestate"); got != c.wantState {
						t.Errorf("tracestate %q, want %q", got, c.wantState)
					}
				}
			})
		}
	}
}
