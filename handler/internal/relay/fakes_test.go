package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
	"apimrelay/internal/secret"
)

// tokens is a fake source: it hands out "token-1", and with each renewal the next one.
type tokens struct {
	mu      sync.Mutex
	n       int
	err     error
	same    bool // a renewal says that there is no other token
	again   bool // a renewal brings the refused token, and no error
	renewed []string
}

var errSame = errors.New("the same token")

func (t *tokens) Token(context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("token-%d", t.n), t.err
}

func (t *tokens) Renew(_ context.Context, refused string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renewed = append(t.renewed, refused)
	if t.same {
		return "", errSame
	}
	if t.again {
		return refused, nil
	}
	t.n++
	return fmt.Sprintf("token-%d", t.n), nil
}

// sentRequest is what the fake gateway saw.
type sentRequest struct {
	method, uri, body string
	header            http.Header
	at                time.Time
}

// gateway is a fake transport that answers from a script and records what was sent.
type gateway struct {
	mu     sync.Mutex
	answer func(n int, req *http.Request) (*http.Response, error) // n counts from 1
	seen   []sentRequest
}

func (g *gateway) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	g.mu.Lock()
	g.seen = append(g.seen, sentRequest{req.Method, req.URL.String(), body, req.Header.Clone(), time.Now()})
	n := len(g.seen)
	g.mu.Unlock()
	res, err := g.answer(n, req)
	if res != nil {
		res.Request = req
	}
	return res, err
}

func (g *gateway) requests(t *testing.T, want int) []sentRequest {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.seen) != want {
		t.Fatalf("the gateway saw %d requests, want %d: %+v", len(g.seen), want, g.seen)
	}
	return g.seen
}

// answered makes an answer; header items are "Name: value".
func answered(status int, body string, header ...string) *http.Response {
	h := make(http.Header)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// Bodies of the gateway as they were captured (learn.microsoft.com and published captures; the shape is what is relied on).
const (
	keyMissingBody   = `{ "statusCode": 401, "message": "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API." }`
	keyInvalidBody   = `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`
	tokenRefusedBody = `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`
	quotaBody        = `{ "statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 07:01:20." }`
)

// bench is a relay with fakes round it.
type bench struct {
	relay       *Relay
	gateway     *gateway
	tokens      *tokens
	function    *settings.Function
	credentials *Credentials
	problems    []error
}

func newBench(t *testing.T, url string, answer func(n int, req *http.Request) (*http.Response, error)) *bench {
	t.Helper()
	parsed, err := target.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{gateway: &gateway{answer: answer}, tokens: &tokens{n: 1}}
	b.function = &settings.Function{
		App: &app.Function{Name: "orders"}, Target: parsed, Attempts: 3, KeyHeader: header.DefaultKey,
	}
	b.credentials = &Credentials{
		Tokens: b.tokens, Keys: NewKeys(header.DefaultKey, secret.New("key-one"), secret.New("key-two")),
	}
	b.relay = New(Options{
		Transport: b.gateway,
		Facts:     func(string) observe.Token { return observe.Token{Hash: "of-the-refused"} },
	})
	return b
}

// call relays a request as a proxied one. A problem is kept, and answered by 599.
func (b *bench) call(req *http.Request, change func(*Call)) (*httptest.ResponseRecorder, *Call) {
	call := &Call{
		Function: b.function, Credentials: b.credentials, InvocationID: "id-1", Way: Proxied, Budget: 30 * time.Second,
		Values: target.Values{Escaped: true}, Method: req.Method, Header: req.Header,
	}
	if req.Body != nil && req.Body != http.NoBody && req.ContentLength != 0 {
		call.Body = Body{Reader: req.Body, Length: req.ContentLength, Trailer: req.Trailer}
	}
	if change != nil {
		change(call)
	}
	w := httptest.NewRecorder()
	answer, err := b.relay.Do(req.Context(), call)
	if err != nil {
		b.problems = append(b.problems, err)
		w.WriteHeader(599)
		return w, call
	}
	defer answer.Close()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.Status)
	_, _ = io.Copy(w, answer.Body)
	return w, call
}

// event relays an event.
func (b *bench) event(method, body string, change func(*Call)) (*Answer, *Call, error) {
	call := &Call{
		Function: b.function, Credentials: b.credentials, InvocationID: "id-1", Way: Event, Budget: 30 * time.Second,
		Values: target.Values{Event: true}, Method: method, Header: http.Header{},
	}
	if body != "" {
		call.Body = Body{
			Reader: strings.NewReader(body), Length: int64(len(body)),
			Again: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
		}
	}
	if change != nil {
		change(call)
	}
	answer, err := b.relay.Do(context.Background(), call)
	return answer, call, err
}

func post(body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/api/orders", strings.NewReader(body))
}

func get() *http.Request { return httptest.NewRequest(http.MethodGet, "/api/orders", nil) }

func ok(int, *http.Request) (*http.Response, error) { return answered(200, "done"), nil }
