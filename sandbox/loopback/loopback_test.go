package loopback

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestListenTakesLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", ":0"} {
		l, err := Listen(addr)
		if err != nil {
			t.Errorf("Listen(%q): %v", addr, err)
			continue
		}
		if host, _, _ := net.SplitHostPort(l.Addr().String()); !isLoopback(host) {
			t.Errorf("Listen(%q) listens on %s", addr, l.Addr())
		}
		l.Close()
	}
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "7071"} {
		if l, err := Listen(addr); err == nil {
			l.Close()
			t.Errorf("Listen(%q) = %s, want an error", addr, l.Addr())
		}
	}
}

func TestGuard(t *testing.T) {
	tests := []struct {
		name, host, origin, site string
		want                     int
	}{
		{"a program on this machine passes", "127.0.0.1:7072", "", "", 204},
		{"the page itself passes", "localhost:7072", "http://localhost:7072", "same-origin", 204},
		{"an address typed by hand passes", "[::1]:7072", "", "none", 204},
		{"a name made to point here is refused", "evil.example:7072", "", "", 403},
		{"a name that begins like loopback is refused", "127.0.0.1.evil.example", "", "", 403},
		{"a public address is refused", "192.0.2.1:7072", "", "", 403},
		{"another page is refused", "127.0.0.1:7072", "http://evil.example", "", 403},
		{"another port of this machine is refused", "127.0.0.1:7072", "http://127.0.0.1:8080", "same-site", 403},
		{"a sandboxed frame is refused", "127.0.0.1:7072", "null", "", 403},
		{"a link from elsewhere is refused", "127.0.0.1:7072", "", "cross-site", 403},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reached := false
			h := Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reached = true; w.WriteHeader(204) }))
			r := httptest.NewRequest("POST", "/reset", nil)
			r.Host = test.host
			for name, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.want || reached != (test.want == 204) {
				t.Errorf("status %d, reached %v, want %d", w.Code, reached, test.want)
			}
		})
	}
}
