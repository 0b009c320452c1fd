// Package reference holds two reverse proxies that the handler is measured beside. They know one API, one key and one token that never ends.
package reference

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// API is where a reference sends everything and with what.
type API struct {
	URL        *url.URL
	Key, Token string
	Prefix     string // of the path that comes in; cut off
}

// FromEnvironment reads the API from BENCH_URL, BENCH_KEY and BENCH_TOKEN.
func FromEnvironment() (API, error) {
	u, err := url.Parse(os.Getenv("BENCH_URL"))
	return API{URL: u, Key: os.Getenv("BENCH_KEY"), Token: os.Getenv("BENCH_TOKEN"), Prefix: "/api/relay"}, err
}

// Serve serves h as the host wants it, and returns when that fails.
func Serve(h http.Handler) error {
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), h)
}

func (a API) authorize(h http.Header) {
	h.Set("Authorization", "Bearer "+a.Token)
	h.Set("Ocp-Apim-Subscription-Key", a.Key)
}

// Bare is httputil.ReverseProxy made as fast as its options allow, with the handler's log line. It is what the handler's own work is measured against.
func Bare(a API, transport http.RoundTripper, log *slog.Logger) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport:  transport,
		BufferPool: buffers{},
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Path = strings.TrimPrefix(p.Out.URL.Path, a.Prefix)
			p.SetURL(a.URL)
			a.authorize(p.Out.Header)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		answer := &statusWriter{ResponseWriter: w}
		proxy.ServeHTTP(answer, r)
		took := time.Since(began)
		id := r.Header.Get("X-Azure-Functions-InvocationId")
		log.LogAttrs(r.Context(), slog.LevelInfo, "invocation", slog.String("function", "relay"), slog.String("invocation_id", id),
			slog.String("way", "forwarded"), slog.String("trigger", "httpTrigger"), slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", answer.status), slog.Int("upstream_status", answer.status), slog.Int("attempts", 1),
			slog.Float64("upstream_ms", milliseconds(took)), slog.String("key", "primary"), slog.String("trace_id", id),
			slog.Float64("duration_ms", milliseconds(took)))
	})
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Transport is tuned as the handler's.
func Transport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		WriteBufferSize:     16 << 10,
		ReadBufferSize:      16 << 10,
	}
}

// Of the sizes from 16 KiB to 256 KiB this one was the fastest for answers of 1 MiB.
var pool = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

type buffers struct{}

func (buffers) Get() []byte  { return *pool.Get().(*[]byte) }
func (buffers) Put(b []byte) { pool.Put(&b) }
