package relay

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/header"
)

func TestWhatBelongsToOneConnectionEndsThere(t *testing.T) {
	b := newBench(t, "https://gateway.example/orders", func(int, *http.Request) (*http.Response, error) {
		return answered(200, "ok", "Connection: close, X-Hop", "Connection: x-other", "X-Hop: 1", "X-Other: 1", "Keep-Alive: timeout=5",
			"Proxy-Authenticate: Basic", "Upgrade: h2c", "Trailer: X", "Te: x", "X-End: 1"), nil
	})
	req := httptest.NewRequest(http.MethodGet, "/api/orders", nil)
	req.Header = http.Header{"Connection": {"X-Hop, keep-alive", "x-other"}, "X-Hop": {"1"}, "X-Other": {"1"}, "X-End": {"1"}}
	w, _ := b.call(req, nil)
	if diff := cmp.Diff(http.Header{"X-End": {"1"}}, w.Header()); diff != "" {
		t.Errorf("the answer's header:\n%s", diff)
	}
	sent := b.gateway.requests(t, 1)[0].header.Clone()
	sent.Del("Authorization")
	sent.Del(header.DefaultKey)
	if diff := cmp.Diff(http.Header{"X-End": {"1"}, "User-Agent": {""}}, sent); diff != "" {
		t.Errorf("the request's header:\n%s", diff)
	}
	if len(req.Header) != 4 {
		t.Errorf("the caller's own header was changed: %v", req.Header)
	}
}

func TestAnUploadIsNotReadWhenTheExchangeIsOver(t *testing.T) {
	var kept io.Reader
	b := newBench(t, "https://gateway.example/orders", nil)
	b.relay.transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		kept = r.Body // net/http's transport may go on reading while it has the answer already
		res := answered(200, "early")
		res.Request = r
		return res, nil
	})
	source := &counting{Reader: strings.NewReader("an upload")}
	req := httptest.NewRequest(http.MethodPost, "/api/orders", source)
	req.ContentLength = -1
	b.call(req, nil)
	if n, err := kept.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("want an error, got %d bytes and %v", n, err)
	}
	if source.reads != 0 {
		t.Errorf("want nothing read from the caller, got %d reads", source.reads)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type counting struct {
	io.Reader
	reads int
}

func (c *counting) Read(p []byte) (int, error) {
	c.reads++
	return c.Reader.Read(p)
}
