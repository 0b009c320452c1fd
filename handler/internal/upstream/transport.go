// Package upstream sends requests to the gateway over connections that need no goroutines of their own.
//
// net/http gives each connection of HTTP/1.1 a goroutine that writes and one that reads, and each request passes through both. Where a request is short
// and stands in memory, the goroutine that has it can write it and read the answer itself; for a call of a kilobyte that is a quarter of the processor
// time of the whole relay (docs/benchmarks.md). Everything else goes on through net/http: uploads that stream, HTTP/2, proxies, the first request to each
// gateway, which shows what it speaks, and whatever the rules below leave out.
//
// What is done here alone is which connection a request takes (pool.go), how long it has it (conn.go), and the plainest requests and answers (plain.go),
// which are written and read as net/http would. All others are net/http's to write and read (http.Request.Write, http.ReadResponse).
package upstream

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"

	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/memo"
)

// longestBody and longestFields bound what is written here, in bytes: together they fit into what the kernel takes at once, so that no write waits for a
// gateway that answers before it has read everything.
const (
	longestBody   = 16 << 10
	longestFields = 16 << 10
)

// A Whole body stands in memory: reading it never waits, and GetBody of its request gives it again.
type Whole interface{ Whole() bool }

// Transport is an http.RoundTripper like the *http.Transport below it, whose settings it follows: Proxy, DialContext, TLSClientConfig,
// TLSHandshakeTimeout, DisableKeepAlives, IdleConnTimeout, MaxIdleConnsPerHost and MaxResponseHeaderBytes. It is safe for concurrent use. As with net/http, a request that
// found its connection closed by the gateway is sent again by itself if no byte of it was written, or if it is idempotent, has a body that can be had
// again or none, and no byte of an answer came.
type Transport struct {
	base   *http.Transport
	secure *tls.Config // base's before its first use
	pools  memo.Memo[origin, *pool]
}

type origin struct{ scheme, host string }

// New makes a Transport. base must not be changed afterwards, and adds and unpacks nothing: its DisableCompression is set.
func New(base *http.Transport) *Transport {
	return &Transport{base: base, secure: base.TLSClientConfig.Clone()}
}

// RoundTrip implements http.RoundTripper. Errors are net/http's and the network's; a request whose context ends returns an error, of which the context's
// cause says more.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !canLook || !short(req) {
		return t.base.RoundTrip(req)
	}
	p := t.pools.Of(origin{req.URL.Scheme, req.URL.Host}, func(origin) *pool { return newPool(t.base, t.secure, req.URL) })
	if !p.open.Load() {
		res, err := t.base.RoundTrip(req)
		if err == nil && t.speaksHTTP1(req, res) {
			p.open.Store(true)
		}
		return res, err
	}
	if err := context.Cause(req.Context()); err != nil {
		closeBody(req)
		return nil, err
	}
	c, err := p.take(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	res, err := c.exchange(req)
	if err != nil && c.used && c.read == 0 && req.Context().Err() == nil && (c.wrote == 0 || replayable(req)) {
		if again, ok := rewound(req); ok {
			return t.base.RoundTrip(again)
		}
	}
	return res, err
}

// speaksHTTP1 tells by an answer that came through net/http whether the gateway can be spoken to directly: in HTTP/1.1, and not through a proxy. A name
// that has to be written in another way first stays net/http's.
func (t *Transport) speaksHTTP1(req *http.Request, res *http.Response) bool {
	if t.base.DisableKeepAlives || strings.ContainsFunc(req.URL.Host, func(r rune) bool { return r >= 0x7f || r == '%' }) {
		return false
	}
	if res.ProtoMajor != 1 || res.ProtoMinor != 1 || (req.URL.Scheme == "https") != (res.TLS != nil) {
		return false
	}
	if t.base.Proxy == nil {
		return true
	}
	proxy, err := t.base.Proxy(req)
	return proxy == nil && err == nil
}

// short tells the requests that are written here. Whatever net/http would refuse is left to it to refuse.
func short(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		return false
	}
	if req.Body != nil && req.Body != http.NoBody {
		whole, ok := req.Body.(Whole)
		if !ok || !whole.Whole() || req.ContentLength <= 0 || req.ContentLength > longestBody {
			return false
		}
	}
	if req.Close || len(req.Trailer) > 0 || len(req.TransferEncoding) > 0 || req.URL == nil || req.URL.Host == "" ||
		req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return false
	}
	if _, ok := req.Header["Expect"]; ok {
		return false
	}
	left := longestFields
	for name, values := range req.Header {
		if !header.Token(name) { // Request.Write would leave it out without a word
			return false
		}
		for _, value := range values {
			if left -= len(name) + len(value); left < 0 || !header.Printable(value) {
				return false
			}
		}
	}
	return true
}

// replayable tells the requests that may be sent again although the gateway might have seen them, as net/http decides it (transport.go, isReplayable).
func replayable(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil
}

// rewound is the request with its body from the beginning.
func rewound(req *http.Request) (*http.Request, bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, false
	}
	again := *req
	again.Body = body
	return &again, true
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
