package server

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
	"apimrelay/internal/secret"
)

// BenchmarkExchange is what the handler does for one invocation, without sockets: net/http's own work at both ends is left out.
func BenchmarkExchange(b *testing.B) {
	const body = `{"id":10482,"name":"Zoe","lines":[1,2,3]}`
	root := b.TempDir()
	for name, text := range map[string]string{"host.json": bothFlags, "rest/function.json": restFunction} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	a := app.Load(root, func(string) (string, bool) { return "", false })
	upstream, err := target.Parse("https://gateway.example/orders")
	if err != nil {
		b.Fatal(err)
	}
	f := &settings.Function{
		App: a.Functions[0], Target: upstream, KeyHeader: header.DefaultKey, Headers: http.Header{"Api-Version": {"v1"}}, Attempts: 3,
	}
	credentials := map[*settings.Function]*relay.Credentials{f: {
		Keys:   relay.NewKeys(header.DefaultKey, secret.New("one"), secret.New("two")),
		Tokens: namedTokens(strings.Repeat("t", 1500)),
	}}
	answer := http.Header{"Content-Type": {"application/json"}, "Content-Length": {"41"}, "Date": {"Wed, 25 Nov 2026 05:00:00 GMT"}, "Request-Context": {"appId=x"}}
	s := New(Config{
		App: a, Functions: []*settings.Function{f}, Credentials: credentials, Log: slog.New(observe.NewHandler(io.Discard, io.Discard, slog.LevelInfo)),
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			return &http.Response{StatusCode: 200, Header: answer.Clone(), Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
		}),
	})
	forwarded := http.Header{
		"Accept": {"*/*"}, "X-Forwarded-For": {"203.0.113.7:51234"}, "X-Forwarded-Proto": {"https"}, "X-Original-Url": {"/api/rest/1"}, "X-Arr-Log-Id": {"1"},
		"X-Arr-Ssl": {"2048|256|CN=x|CN=y"}, "Client-Ip": {"203.0.113.7:51234"}, "Disguised-Host": {"x"}, "Was-Default-Hostname": {"x"},
		"X-Azure-Functions-Hostversion": {"4.1037.0.0"}, "X-Azure-Functions-Invocationid": {"7fcb7313-2fac-4af1-8ac3-743035dc91d1"},
		"User-Agent": {"client/1 Azure-Functions-Host/4.1037.0.0"},
	}
	const envelope = `{"Data":{"req":{"Url":"http://localhost:7102/api/rest/1","Method":"POST","Query":{},"Headers":{"Host":["localhost:7102"],` +
		`"Content-Type":["application/json"],"Content-Length":["13"]},"Params":{},"Identities":[],"Body":"{\"name\":\"Zo\"}"}},"Metadata":{}}`
	for _, c := range []struct {
		name, method, path, body string
	}{{"forwarded", "GET", "/api/rest/1", ""}, {"wrapped", "POST", "/rest", envelope}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequest(c.method, c.path, strings.NewReader(c.body))
				r.Header, r.RequestURI = forwarded.Clone(), c.path
				w := &sink{header: http.Header{}}
				s.ServeHTTP(w, r)
				if w.status != 200 || w.n == 0 {
					b.Fatalf("answered %d, %d bytes", w.status, w.n)
				}
			}
		})
	}
}

// sink is a ResponseWriter that counts.
type sink struct {
	header    http.Header
	status, n int
}

func (s *sink) Header() http.Header    { return s.header }
func (s *sink) WriteHeader(status int) { s.status = status }
func (s *sink) Write(p []byte) (int, error) {
	s.status, s.n = max(s.status, 200), s.n+len(p)
	return len(p), nil
}
