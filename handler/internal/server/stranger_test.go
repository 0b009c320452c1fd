package server

import (
	"net/http"
	"strings"
	"testing"

	"apimrelay/handler/internal/identity"
)

// A web page can make a browser send requests to this address. It cannot send the host's header, and
// where a browser is, a name of its own in Host gives it away.
func TestAWebPageReachesNothing(t *testing.T) {
	const id = "X-Azure-Functions-InvocationId: 7"
	for _, row := range []struct {
		name, method, path, host string
		header                   []string
		developer                bool
		want                     int
	}{
		{"the probe", "GET", "/", "evil.example", nil, true, 200},
		{"an image", "GET", "/api/rest/x", "", nil, false, 404},
		{"a form", "POST", "/api/rest/x", "", []string{"Content-Type: text/plain"}, false, 404},
		{"a preflight", "OPTIONS", "/api/rest/x", "", []string{"Origin: http://evil.example"}, false, 404},
		{"an event's path", "POST", "/q", "", nil, false, 404},
		{"a probe of another method", "POST", "/", "", nil, false, 404},
		{"the host", "GET", "/api/rest/x", "", []string{id}, false, 200},
		{"a forwarded caller's Host", "GET", "/api/rest/x", "app.example", []string{id}, false, 200},
		{"rebinding on a laptop", "GET", "/api/rest/x", "evil.example:7071", []string{id}, true, 404},
		{"localhost on a laptop", "GET", "/api/rest/x", "LOCALHOST:7071", []string{id}, true, 200},
		{"IPv6 on a laptop", "GET", "/api/rest/x", "[::1]:7071", []string{id}, true, 200},
		{"IPv6 without a port", "GET", "/api/rest/x", "[::1]", []string{id}, true, 200},
	} {
		r := newRig(t, bothFlags, map[string]string{"rest": restFunction, "q": queueFunction}, func(f *subject) {
			if row.developer {
				c, _, err := identity.Parse("RunAs=Developer;DeveloperTool=AzureCli")
				if err != nil {
					t.Fatal(err)
				}
				f.Identity = c
			}
		})
		r.server.Handler = r.handler // no header is added here
		for range 2 {
			req, err := http.NewRequest(row.method, r.server.URL+row.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range row.header {
				name, value, _ := strings.Cut(line, ": ")
				req.Header.Set(name, value)
			}
			if row.host != "" {
				req.Host = row.host
			}
			res, body := r.do(req)
			if res.StatusCode != row.want || row.want == 404 && body != "" {
				t.Errorf("%s: answered %d %q", row.name, res.StatusCode, body)
			}
		}
		log := r.log.String()
		if row.want == 404 && (strings.Count(log, `"level":"WARN"`) != 1 || strings.Count(log, `"level":"DEBUG"`) != 1) {
			t.Errorf("%s: want one warning, then no more, got %s", row.name, log)
		}
		if row.want == 404 && len(r.seen) > 0 {
			t.Errorf("%s: the gateway saw it", row.name)
		}
	}
}

func TestTraceAndConnectEndHere(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction, "hello": helloFunction}, nil)
	for _, method := range []string{"TRACE", "trace"} {
		if res, body := r.do(r.proxiedCall(method, "/api/rest/x", nil)); res.StatusCode != 405 || !strings.Contains(body, `"code":"method-not-allowed"`) {
			t.Errorf("%s: answered %d %s", method, res.StatusCode, body)
		}
	}
	for _, method := range []string{"TRACE", "CONNECT"} {
		req, err := http.NewRequest("POST", r.server.URL+"/hello", strings.NewReader(
			`{"Data":{"req":{"Url":"http://h/api/hello","Method":"`+method+`","Headers":{}}},"Metadata":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		if res, body := r.do(req); res.StatusCode != 200 || !strings.Contains(body, "405") || !strings.Contains(body, "method-not-allowed") {
			t.Errorf("wrapped %s: answered %d %s", method, res.StatusCode, body)
		}
	}
	r.requests(0)
}
