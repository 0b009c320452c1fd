package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// ServeHTTP relays an HTTP request: its method, header and body are the caller's; target and query come from the [Call] in its context. Nothing is buffered
// but the first 64 KiB of an upload, for a replay. Whatever goes wrong before the answer's header is answered by Options.Problem; after it, ServeHTTP
// panics with http.ErrAbortHandler, as httputil.ReverseProxy does, for which the server cuts the caller's connection.
//
// It does what ReverseProxy does, by the same rules, and is not made of it: that copies the caller's
// header before most of it is dropped, traces 1xx answers that the host drops, and takes each
// Content-Type apart, all of which was a tenth of a short call's processor time.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	call := FromContext(req.Context())
	if err := call.resolve(); err != nil {
		r.problem(w, req, err)
		return
	}
	if call.guarded(req.Method) && r.transport.sent.has(call.InvocationID, r.transport.now()) {
		r.problem(w, req, ErrAlreadySent)
		return
	}
	out := call.outgoing(call.start(req.Context()), req)
	defer call.budget.stop()
	if out.Body != nil {
		defer call.upload.giveBack()
	}
	res, err := r.transport.RoundTrip(out)
	if err != nil {
		r.problem(w, out, err)
		return
	}
	defer res.Body.Close()
	dropConnectionHeaders(res.Header)
	cleanResponse(res)
	if err := answerWith(w, res); err != nil && req.Context().Value(http.ServerContextKey) != nil {
		panic(http.ErrAbortHandler)
	}
}

// outgoing is the request for the gateway, less the credentials. Nothing that the caller sent survives under a name of ours.
func (c *Call) outgoing(ctx context.Context, req *http.Request) *http.Request {
	out := blank.WithContext(ctx)
	out.Method, out.URL = req.Method, &c.url
	out.Header = passed(req.Header, c.Function.KeyHeader)
	if dropEventKeys(out.Header) {
		c.Outcome.Dropped = append(c.Outcome.Dropped, idempotencyKey+" (the caller's)")
	}
	c.setFixed(out.Header)
	if req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0 {
		return out
	}
	c.upload.ReadCloser = req.Body
	out.Body, out.GetBody, out.ContentLength, out.TransferEncoding = &c.upload, req.GetBody, req.ContentLength, req.TransferEncoding
	if len(req.Trailer) > 0 {
		out.Trailer = make(http.Header)
		for name := range req.Trailer {
			if !strippedHeader(name, c.Function.KeyHeader) && !sameName(name, idempotencyKey) {
				out.Trailer[name] = nil
			}
		}
		c.upload.from, c.upload.to = req.Trailer, out.Trailer
	}
	return out
}

// blank is what all requests have in common.
var blank = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}

// callersBody is the body that the server reads from the caller. Its trailers, whose values net/http knows only at its end, are handed on there. It is not
// closed but given back: the transport may still be reading when the exchange is over, and then the server has the connection.
type callersBody struct {
	io.ReadCloser
	from, to http.Header // of the trailers; nil = none
	back     atomic.Bool
}

var errGivenBack = errors.New("relaying: the exchange that this body belongs to is over")

func (b *callersBody) Read(p []byte) (int, error) {
	if b.back.Load() {
		return 0, errGivenBack
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		for name := range b.to {
			b.to[name] = b.from[name]
		}
		b.to = nil
	}
	return n, err
}

func (b *callersBody) Close() error { return nil }

func (b *callersBody) giveBack() { b.back.Store(true) }

// dropConnectionHeaders removes what an answer says of its own connection.
func dropConnectionHeaders(h http.Header) {
	dropNamed(h, h["Connection"])
	for _, name := range connectionHeaders {
		delete(h, name)
	}
}

var connectionHeaders = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// answerWith passes an answer on. An error is that of its body, or the caller's connection's, when the header is out already.
func answerWith(w http.ResponseWriter, res *http.Response) error {
	h := w.Header()
	for name, values := range res.Header {
		if earlier := h[name]; earlier != nil {
			values = append(earlier, values...)
		}
		h[name] = values
	}
	for name := range res.Trailer {
		h.Add("Trailer", name)
	}
	announced := len(res.Trailer)
	for _, name := range []string{"Content-Type", "Date"} {
		if _, sent := h[name]; !sent {
			h[name] = nil // keeps net/http from sniffing the one and making up the other
		}
	}
	w.WriteHeader(res.StatusCode)
	if err := copyBody(w, res); err != nil {
		return err
	}
	late := len(res.Trailer) != announced
	if late {
		flush(w) // or net/http would give a short body a length, and an answer with a length has no trailers
	}
	for name, values := range res.Trailer {
		if late {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], values...)
	}
	return nil
}
