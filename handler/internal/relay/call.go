// Package relay makes one authorized call to API Management for one invocation.
//
// [Relay.Do] is the only way in (this file): where the call goes, with which header and body, and
// what of the answer passes. What is done for each attempt stands in attempt.go: get the token, set
// the credentials, send, look at a refusal, replay or retry. The rest is one file for each question:
// which headers (headers.go), which key (keys.go), what a 401 means (refusal.go), how long to wait
// and whether the gateway's retry budget has one left (retry.go), whether the host repeats a call
// that was sent (repeat.go), how an upload is sent again (upload.go), how long (budget.go).
//
// Errors go up as they are; the server maps them to answers. No error, log line or answer holds the
// token or a key.
package relay

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
)

// Way is how the host handed an invocation over.
type Way string

// The ways (learn.microsoft.com "Azure Functions custom handlers"). Events always come wrapped.
const (
	Proxied   Way = "proxied"
	Forwarded Way = "forwarded"
	Wrapped   Way = "wrapped"
	Event     Way = "event"
)

// A Call is one invocation on its way through the relay. The server makes it, and [Relay.Do] fills in
// the Outcome. It belongs to the goroutine that serves the invocation.
type Call struct {
	Function     *settings.Function
	Credentials  *Credentials // of the function
	InvocationID string       // the host's; "" if it sent none
	Way          Way

	Method string
	// Header is the caller's, of which Do passes on what may pass; an event's is sent as it is.
	Header http.Header
	Body   Body
	Set    http.Header // headers of ours that go with each attempt: traceparent, Idempotency-Key; canonical names

	Values   target.Values // for the expressions in ApimUrl
	RawQuery string        // the caller's

	// Budget is the time until the answer's header, Limit the time until the end of its body. 0 = unbounded.
	Budget, Limit time.Duration
	Started       time.Time     // from where Limit counts; zero = from the start of Do
	Span          *observe.Span // of the invocation; nil where nothing is exported

	Outcome Outcome

	budget budget
	token  string // the one sent last
}

// Body is the body of a call. The zero value is none.
type Body struct {
	// Reader is the body. Do reads it and does not close it.
	Reader io.Reader
	// Again returns the body from its beginning; nil: Do keeps the first 64 KiB while they pass.
	Again  func() (io.ReadCloser, error)
	Length int64 // in bytes; -1 = unknown
	// Trailer has the names of the trailers, and their values when Reader is at its end; nil = none.
	Trailer http.Header
}

// Outcome is what became of a call, for the log line.
type Outcome struct {
	Status   int            // the gateway's last; 0 = none came
	Attempts int            // requests sent, replays included
	Upstream time.Duration  // from the first attempt to the answer's header
	Refusal  Refusal        // of the last answer that refused; one that passed after a replay leaves it
	Message  string         // what the gateway itself says about that refusal; see [Call.Holds]
	Replays  []string       // what was sent again because of a refusal: "key", "token"
	Key      string         // name of the key sent last: primary, secondary, none
	Token    *observe.Token // what may be said of a refused token; nil where none was refused
	Dropped  []string       // names of fields that were dropped: an answer's, and a caller's key of an event
	Cut      error          // why the answer's body ended before its end: the network's error, ErrBudgetSpent, or context.Canceled
}

// An Answer is the gateway's last answer, fit for the host: without what belongs to its connection,
// what would make the host fail, and our credentials.
type Answer struct {
	Status int // 200 to 599
	Header http.Header
	Length int64 // of the body, in bytes; -1 = unknown
	// Body is never nil. Whoever has the answer closes it, which ends the call.
	Body io.ReadCloser

	res *http.Response
}

// Trailer returns the trailers: their names as announced, and what has come when Body is at its end.
func (a *Answer) Trailer() http.Header { return a.res.Trailer }

// Options are what a Relay is made of. The zero value works.
type Options struct {
	// Transport sends the requests of all functions; nil = one of [NewTransport] for each Trust.
	Transport http.RoundTripper
	// Facts are what may be said of a token in a log; nil = nothing.
	Facts func(token string) observe.Token
	// Counters count retries, replays and refusals; nil = nothing is counted.
	Counters *observe.Counters
}

// Relay sends authorized calls. It is safe for concurrent use.
type Relay struct {
	transport  http.RoundTripper // of all; nil = transports has one for each Trust
	transports sync.Map          // of *http.Transport, by the id of a Trust
	facts      func(string) observe.Token
	counters   *observe.Counters
	now        func() time.Time
	budgets    retryBudgets
	sent       sent
}

// New makes a Relay.
func New(o Options) *Relay {
	return &Relay{transport: o.Transport, facts: o.Facts, counters: o.Counters, now: time.Now}
}

// of returns the transport for a function: functions that trust the same share connections.
func (r *Relay) of(f *settings.Function) http.RoundTripper {
	if r.transport != nil {
		return r.transport
	}
	known, ok := r.transports.Load(f.Trust.ID())
	if !ok {
		known, _ = r.transports.LoadOrStore(f.Trust.ID(), NewTransport(f.Trust))
	}
	return known.(*http.Transport)
}

// NewTransport is a transport for calls to the gateway. It goes through HTTPS_PROXY where that is
// set, adds nothing to requests, unpacks nothing in answers and follows nothing. Idle connections are
// dropped before front ends drop them, which they do silently after four minutes
// (learn.microsoft.com "Troubleshoot intermittent outbound connection errors in Azure App Service").
func NewTransport(trust *settings.Trust) *http.Transport {
	return &http.Transport{
		TLSClientConfig:        trust.Config(),
		OnProxyConnectResponse: cause.OnProxyConnect,
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		// The host holds one connection to us for each request in flight; so do we upwards.
		MaxIdleConnsPerHost:   1024,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		// Without pings a connection of HTTP/2 whose other end is gone without a word would take every
		// later call with it.
		HTTP2:           &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		WriteBufferSize: 16 << 10,
		ReadBufferSize:  16 << 10,
	}
}

// Do makes the call, with as many attempts as the rules allow, and returns the gateway's last answer,
// whatever its status. An error means that no answer is to be passed on: a [*target.PathError],
// [ErrAlreadySent], an error of Tokens, a [*GatewayError], an [*UploadError], [ErrBudgetSpent], or the
// context's cause where the caller has left.
func (r *Relay) Do(ctx context.Context, call *Call) (*Answer, error) {
	u, err := call.Function.Target.URL(call.Values, call.RawQuery)
	if err != nil {
		return nil, err
	}
	if call.guarded() && r.sent.has(call.InvocationID, r.now()) {
		return nil, ErrAlreadySent
	}
	limit := call.Limit
	if limit > 0 && !call.Started.IsZero() {
		limit = max(limit-time.Since(call.Started), time.Nanosecond) // reading an envelope of many megabytes took its time
	}
	ctx = call.budget.begin(ctx, call.Budget, limit)
	body := newUpload(&call.Body, &call.budget)
	end := func() {
		call.budget.stop()
		body.giveBack()
	}
	res, err := r.attempt(ctx, call, call.request(ctx, u, body), body)
	if err != nil {
		end()
		return nil, err
	}
	return call.answer(ctx, res, end), nil
}

// request is the request for the gateway, less the credentials and the body. Nothing that the caller
// sent survives under a name of ours.
func (c *Call) request(ctx context.Context, u *url.URL, body *upload) *http.Request {
	req := (&http.Request{
		Method: c.Method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: c.Header,
	}).WithContext(ctx)
	if c.Way != Event {
		req.Header = passed(c.Header, c.Function.KeyHeader)
		if dropEventKeys(req.Header) {
			c.Outcome.Dropped = append(c.Outcome.Dropped, idempotencyKey+" (the caller's)")
		}
	}
	for _, ours := range []http.Header{c.Function.Headers, c.Set} {
		for name, values := range ours {
			for theirs := range req.Header {
				if header.Same(theirs, name) {
					delete(req.Header, theirs)
				}
			}
			req.Header[name] = values
		}
	}
	if body == nil {
		return req
	}
	req.ContentLength, req.GetBody = c.Body.Length, body.resend
	if len(c.Body.Trailer) > 0 {
		req.Trailer = make(http.Header)
		for name := range c.Body.Trailer {
			if !header.Stripped(name, c.Function.KeyHeader) && !header.Same(name, idempotencyKey) && !c.sets(name) {
				req.Trailer[name] = nil
			}
		}
		body.trailer = req.Trailer
	}
	return req
}

// sets reports whether a field of this name is one of ours.
func (c *Call) sets(name string) bool {
	for _, ours := range []http.Header{c.Function.Headers, c.Set} {
		for own := range ours {
			if header.Same(own, name) {
				return true
			}
		}
	}
	return false
}

// guarded reports whether the call must not reach the gateway twice for its invocation id.
func (c *Call) guarded() bool {
	return c.Way == Proxied && c.InvocationID != "" && !idempotent(c.Method)
}

// answer makes an answer fit for the host and takes our credentials out of its header. end is called
// when its body is closed.
func (c *Call) answer(ctx context.Context, res *http.Response, end func()) *Answer {
	header.DropHopByHop(res.Header)
	c.Outcome.Dropped = append(c.Outcome.Dropped, cleanAnswer(res.Header, c.secrets())...)
	if res.StatusCode == http.StatusResetContent && res.Body != nil {
		// A 205 has no body (RFC 9110 15.3.6), and the host makes a 500 of one that has (recordings
		// D-ans-205, P-ans-205).
		_ = res.Body.Close()
		res.Body, res.ContentLength, res.Trailer = http.NoBody, 0, nil
		res.Header.Set("Content-Length", "0")
	}
	return &Answer{
		Status: res.StatusCode, Header: res.Header, Length: res.ContentLength, res: res,
		Body: &answerBody{ReadCloser: res.Body, ctx: ctx, call: c, res: res, end: end},
	}
}

// answerBody is an answer's body on its way down: it keeps the budget running, and cleans the
// trailers when they are there. Closing it ends the call.
type answerBody struct {
	io.ReadCloser
	ctx   context.Context
	call  *Call
	res   *http.Response
	end   func()
	ended bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.call.budget.progress()
	}
	if err == nil || b.ended {
		return n, err
	}
	b.ended = true
	if err != io.EOF {
		b.call.Outcome.Cut = orCause(b.ctx, err)
		return n, err
	}
	names := slices.Collect(maps.Keys(b.res.Trailer))
	if len(names) > 0 {
		b.call.Outcome.Dropped = append(b.call.Outcome.Dropped, cleanTrailer(b.res.Trailer, b.call.secrets())...)
	}
	for _, name := range names {
		// Without a value it is not sent; the names are counted to tell whether more came than were announced.
		if _, left := b.res.Trailer[name]; !left {
			b.res.Trailer[name] = nil
		}
	}
	return n, err
}

func (b *answerBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// orCause is why the context ended, or err where it has not.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Holds reports whether a text contains the token that was sent or a key, plain or percent-encoded.
func (c *Call) Holds(text string) bool { return holds(text, c.secrets()) }

// secrets are the texts that no answer may hold: the token that was sent, and both keys.
func (c *Call) secrets() []string {
	var texts []string
	if c.token != "" {
		texts = append(texts, c.token)
	}
	if c.Credentials != nil && c.Credentials.Keys != nil {
		for _, k := range c.Credentials.Keys.keys {
			texts = append(texts, k.Reveal())
		}
	}
	return texts
}

// Close ends the call.
func (a *Answer) Close() error { return a.Body.Close() }
