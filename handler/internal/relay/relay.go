// Package relay makes one authorized call to API Management for one invocation.
//
// A request comes in by [Relay.ServeHTTP] (HTTP triggers, however the host handed them over) or by [Relay.Do] (events), with a [Call] in its context that
// says which function it is for. HTTP requests and answers pass in proxy.go. What the two share, everything that is done for each attempt, stands in one
// RoundTripper (auth.go): fetch the token, set the credentials, send, look at a refusal, replay or retry. The rest is one file a question: where to
// (target.go), with which headers (headers.go), which key (keys.go), what a 401 means (refusal.go), whether again (retry.go, repeat.go, body.go), how long
// (budget.go).
//
// Errors go up as they are; the server maps them to answers. No error, log line or answer holds the token or a key.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"apimrelay/handler/internal/observe"
)

// Tokens is where a function's bearer tokens come from. Both methods are safe for concurrent use.
type Tokens interface {
	// Token returns a usable token, from hand where there is one.
	Token(ctx context.Context) (string, error)
	// Renew returns a token other than the refused one, or an error that says why there is none.
	Renew(ctx context.Context, refused string) (string, error)
}

// Function is what the relay knows of a function: where its calls go and with which credentials. It never changes, and is not copied once it is used.
type Function struct {
	Name   string
	Target *Target
	Keys   *Keys // nil: the API needs none
	// KeyHeader is the header that carries the key in this API, removed from every caller's request. "" = [DefaultKeyHeader] is the only one.
	KeyHeader string
	Headers   http.Header // fixed extra headers; canonical names
	Attempts  int         // in all; 0 and 1 = no retry
	Tokens    Tokens
	bearers   bearers
}

// Way is how the host handed an invocation over.
type Way string

// The ways (learn.microsoft.com "Azure Functions custom handlers"). Events always come wrapped.
const (
	Proxied   Way = "proxied"
	Forwarded Way = "forwarded"
	Wrapped   Way = "wrapped"
	Event     Way = "event"
)

// A Call is one invocation on its way through the relay. The server makes it and puts it into the request's context under [CallKey]; the relay adds the
// Outcome. It belongs to the goroutine that serves the invocation.
type Call struct {
	Function     *Function
	InvocationID string // the host's; "" if it sent none
	Way          Way
	Values       Values // for the expressions in ApimUrl
	RawQuery     string // the caller's
	// Budget is the time until the answer's header, Limit the time until the end of its body. 0 = unbounded.
	Budget, Limit time.Duration
	Started       time.Time     // from where Limit counts; zero = from the relay's start
	Set           http.Header   // headers of ours that go with each attempt: traceparent, Idempotency-Key; canonical names
	Span          *observe.Span // of the invocation; nil where nothing is exported
	Outcome       Outcome

	token string // the one sent last

	// What each call needs one of, in the same piece of memory.
	url    url.URL
	budget budget
	upload callersBody
	answer answer
	held   [3]string
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

// CallKey is the key under which a context carries its *[Call].
type CallKey struct{}

// FromContext returns the call that the context carries, or nil.
func FromContext(ctx context.Context) *Call {
	c, _ := ctx.Value(CallKey{}).(*Call)
	return c
}

// Options are what a Relay is made of. The zero value works but for Problem.
type Options struct {
	// Transport sends the requests; nil = [NewTransport].
	Transport http.RoundTripper
	// Problem answers a request that could not be relayed. The header is unsent when it is called.
	Problem func(http.ResponseWriter, *http.Request, error)
	// Facts are what may be said of a token in a log; nil = nothing.
	Facts func(token string) observe.Token
	// Counters count retries, replays and refusals; nil = nothing is counted.
	Counters *observe.Counters
}

// Relay sends authorized calls. It is safe for concurrent use.
type Relay struct {
	transport *transport
	problem   func(http.ResponseWriter, *http.Request, error)
}

// New makes a Relay.
func New(o Options) *Relay {
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	t := &transport{base: o.Transport, facts: o.Facts, counters: o.Counters, now: time.Now}
	return &Relay{transport: t, problem: o.Problem}
}

// NewTransport is a transport for calls to the gateway. It goes through HTTPS_PROXY where that is set, adds nothing to requests, unpacks nothing in
// answers and follows nothing. Idle connections are dropped before front ends drop them, which they do silently after four minutes
// (learn.microsoft.com "Troubleshoot intermittent outbound connection errors in Azure App Service").
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   1024, // the host holds one connection to us for each request in flight; so do we upwards
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		// Without pings a connection of HTTP/2 whose other end is gone without a word would take every later call with it.
		HTTP2:           &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		WriteBufferSize: 16 << 10,
		ReadBufferSize:  16 << 10,
	}
}

// resolve finds out where the call goes.
func (c *Call) resolve() error { return c.Function.Target.fill(&c.url, &c.Values, c.RawQuery) }

// start starts the call's budget. The context ends with it.
func (c *Call) start(parent context.Context) context.Context {
	limit := c.Limit
	if limit > 0 && !c.Started.IsZero() {
		limit = max(limit-time.Since(c.Started), time.Nanosecond) // an envelope of many megabytes took its time to read
	}
	return c.budget.begin(parent, c.Budget, limit)
}

// Do relays an event: the server made the request (method, header, body with GetBody; no URL). The caller closes the answer's body, which ends the call.
// Errors are the same as ServeHTTP's problems.
func (r *Relay) Do(req *http.Request) (*http.Response, error) {
	call := FromContext(req.Context())
	if err := call.resolve(); err != nil {
		return nil, err
	}
	req = req.WithContext(call.start(req.Context()))
	req.URL, req.Host = &call.url, ""
	call.setFixed(req.Header)
	res, err := r.transport.RoundTrip(req)
	if err == nil {
		cleanResponse(res)
	}
	if err != nil {
		call.budget.stop()
		return nil, err
	}
	res.Body = &lastBody{res.Body, &call.budget}
	return res, nil
}

// lastBody ends the call when it is closed.
type lastBody struct {
	io.ReadCloser
	budget *budget
}

func (b *lastBody) Close() error {
	defer b.budget.stop()
	return b.ReadCloser.Close()
}

// guarded tells the calls that must not reach the gateway twice for one invocation id.
func (c *Call) guarded(method string) bool {
	return c.Way == Proxied && c.InvocationID != "" && !idempotent(method)
}

// setFixed sets what goes with every attempt but the credentials.
func (c *Call) setFixed(h http.Header) {
	for name, values := range c.Function.Headers {
		h[name] = values
	}
	for name, values := range c.Set {
		h[name] = values
	}
}

// cleanResponse makes an answer fit for the host and takes our credentials out of its header.
func cleanResponse(res *http.Response) {
	call := FromContext(res.Request.Context())
	secrets := call.secrets()
	call.Outcome.Dropped = append(call.Outcome.Dropped, cleanAnswer(res.Header, secrets)...)
	if res.StatusCode == http.StatusResetContent && res.Body != nil {
		// A 205 has no body (RFC 9110 15.3.6), and the host makes a 500 of one that has (recordings D-ans-205, P-ans-205).
		_ = res.Body.Close()
		res.Body, res.ContentLength, res.TransferEncoding, res.Trailer = http.NoBody, 0, nil, nil
		res.Header.Set("Content-Length", "0")
		return
	}
	call.answer = answer{body: res.Body, call: call, res: res}
	res.Body = &call.answer
}

// Holds tells whether a text contains the token that was sent or a key, plain or percent-encoded.
func (c *Call) Holds(text string) bool { return holds(text, c.secrets()) }

// secrets are the texts that no answer may hold: the token that was sent, and both keys.
func (c *Call) secrets() []string {
	texts := c.held[:0]
	if c.token != "" {
		texts = append(texts, c.token)
	}
	if c.Function.Keys != nil {
		for _, k := range c.Function.Keys.keys {
			texts = append(texts, k.Reveal())
		}
	}
	return texts
}

// A GatewayError tells that no answer of the gateway came: no connection, a broken one, or something that is not HTTP. Unwrap gives the cause.
type GatewayError struct {
	Host string
	Err  error
}

func (e *GatewayError) Error() string {
	return "calling the gateway: " + e.Host + ": " + redactURL(e.Err)
}

func (e *GatewayError) Unwrap() error { return e.Err }

// redactURL is an error's text without the URL that net/http puts into some: its query may hold what callers would not log.
func redactURL(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

// An UploadError tells that the caller's own upload broke off.
type UploadError struct{ Err error }

func (e *UploadError) Error() string { return "reading the request's body: " + e.Err.Error() }

func (e *UploadError) Unwrap() error { return e.Err }
