package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
	"apimrelay/internal/recording"
	"apimrelay/internal/secret"
)

// recorded is one exchange: what a caller sent, what the host made of it, what a handler answered.
type recorded struct {
	Name         string
	HostJSON     json.RawMessage            `json:"hostJson"`
	FunctionJSON map[string]json.RawMessage `json:"functionJson"`
	Client       *message
	Received     recording.List[message]
	Answered     answerScript
}

type message struct {
	RequestLine string
	Headers     [][2]string
	Framing     string
	Chunks      []any
	Body        json.RawMessage
	BodyBase64  json.RawMessage
	BodyBytes   int
}

type answerScript struct {
	Status       int
	Headers      [][2]string
	Body         json.RawMessage
	BodyBase64   json.RawMessage
	BodyRepeat   int
	Chunks       []any
	Raw          string
	Close        bool
	CutBeforeEnd bool
	ClaimLength  int
	NoLength     bool
}

// bytes is the message's body; ok is false where the recording holds only its ends.
func (m message) bytes() (body []byte, ok bool) {
	return recordedBody(m.Body, m.BodyBase64)
}

func recordedBody(plain, inBase64 json.RawMessage) (body []byte, ok bool) {
	var text string
	switch {
	case len(inBase64) > 0:
		ok = json.Unmarshal(inBase64, &body) == nil
	case len(plain) > 0:
		ok = json.Unmarshal(plain, &text) == nil
		body = []byte(text)
	default:
		ok = true
	}
	return body, ok
}

// fixedTokens is a source with one token that cannot be renewed.
type fixedTokens struct{ err error }

func (f fixedTokens) Token(context.Context) (string, error) { return "canary-token", f.err }
func (f fixedTokens) Renew(context.Context, string) (string, error) {
	return "", fmt.Errorf("the same token")
}

// subject is a function under test, and its credentials; nil = its settings are at fault.
type subject struct {
	*settings.Function
	Credentials *relay.Credentials
}

// rig is a server for one app between a fake host (the test) and a fake gateway.
type rig struct {
	t       *testing.T
	server  *listening
	gateway *httptest.Server
	app     *app.App
	all     []*subject
	config  Config
	handler *Server
	answer  func(http.ResponseWriter, *http.Request, []byte)
	log     lockedBuffer

	mu   sync.Mutex
	seen []seen
}

type seen struct {
	method, uri string
	header      http.Header
	trailer     http.Header
	body        []byte
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig writes the app's files and starts the server. change may alter the functions; ApimUrl is <gateway>/up.
func newRig(t *testing.T, hostJSON string, functions map[string]string, change func(*subject)) *rig {
	t.Helper()
	r := &rig{t: t, answer: func(w http.ResponseWriter, _ *http.Request, _ []byte) { _, _ = io.WriteString(w, "done") }}
	r.gateway = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.seen = append(r.seen, seen{req.Method, req.RequestURI, req.Header, req.Trailer, body})
		r.mu.Unlock()
		r.answer(w, req, body)
	}))
	t.Cleanup(r.gateway.Close)
	root := t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("host.json", hostJSON)
	for name, text := range functions {
		write(name+"/function.json", text)
	}
	a := app.Load(root, func(string) (string, bool) { return "", false })
	r.app = a
	log := slog.New(observe.NewHandler(&r.log, &r.log, slog.LevelDebug))
	config := Config{App: a, Log: log, Credentials: make(map[*settings.Function]*relay.Credentials)}
	for _, f := range a.Functions {
		upstream, err := target.Parse(r.gateway.URL + "/up")
		if err != nil {
			t.Fatal(err)
		}
		one := &subject{
			&settings.Function{App: f, Method: "POST", Attempts: 1, Target: upstream, KeyHeader: header.DefaultKey},
			&relay.Credentials{Tokens: fixedTokens{}, Keys: relay.NewKeys(header.DefaultKey, secret.New("canary-key"))},
		}
		if change != nil {
			change(one)
		}
		r.all = append(r.all, one)
		config.Functions = append(config.Functions, one.Function)
		if one.Credentials != nil {
			config.Credentials[one.Function] = one.Credentials
		}
	}
	r.config, r.handler = config, New(config)
	r.server = listen(t, HTTPServer(fromHost(r.handler), log))
	return r
}

// fromHost gives requests the id of an invocation, as the host does, where a test gave them none.
func fromHost(s *Server) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header[invocationHeader] == nil && r.RequestURI != "/" {
			r.Header[invocationHeader] = []string{fmt.Sprint("invocation-", n.Add(1))}
		}
		s.ServeHTTP(w, r)
	})
}

// listening is a server on a port of its own.
type listening struct {
	*http.Server
	Listener net.Listener
	URL      string
}

// Close waits for the exchanges that are in progress, as httptest's servers do.
func (l *listening) Close() { _ = l.Shutdown(context.Background()) }

func listen(t *testing.T, srv *http.Server) *listening {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("serving ended: %v", err)
		}
	})
	return &listening{srv, l, "http://" + l.Addr().String()}
}

// target gives all functions another ApimUrl below the fake gateway.
func (r *rig) target(pathAndQuery string) {
	r.t.Helper()
	for _, f := range r.all {
		var err error
		if f.Target, err = target.Parse(r.gateway.URL + pathAndQuery); err != nil {
			r.t.Fatal(err)
		}
	}
}

// requests returns what the gateway saw, which must be so many requests.
func (r *rig) requests(want int) []seen {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) != want {
		r.t.Fatalf("the gateway saw %d requests, want %d: %+v\nlog: %s", len(r.seen), want, r.seen, r.log.String())
	}
	return r.seen
}

// play sends a recorded request byte for byte, as the host framed it. The Host header that names the handler's port gets this server's.
func (r *rig) play(m message, body []byte) (*http.Response, []byte, error) {
	r.t.Helper()
	addr := r.server.Listener.Addr().String()
	conn, err := net.Dial("tcp4", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	var b bytes.Buffer
	b.WriteString(m.RequestLine + "\r\n")
	for _, h := range m.Headers {
		value := h[1]
		if h[0] == "Host" && strings.HasPrefix(value, "127.0.0.1:") {
			value = addr
		}
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], value)
	}
	b.WriteString("\r\n")
	if m.Framing == "chunked" {
		for piece := range slices.Chunk(body, 1024) {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
		}
		b.WriteString("0\r\n\r\n")
	} else {
		b.Write(body)
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		return nil, nil, err
	}
	method, _, _ := strings.Cut(m.RequestLine, " ")
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, &http.Request{Method: method})
	for err == nil && res.StatusCode == http.StatusContinue {
		res, err = http.ReadResponse(answers, &http.Request{Method: method})
	}
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return res, got, err
}

// hostHeaders are what the host or a front end adds, and what belongs to one connection: written again here, apart from the relay's own list.
func arrives(name string) bool {
	lower := strings.ToLower(name)
	for _, prefix := range []string{"x-azure-functions-", "x-forwarded-", "x-arr-", "x-ms-client-principal", "x-ms-token-", "x-site-", "x-waws-", "x-appservice-", "ocp-apim-", "x-original-"} {
		if strings.HasPrefix(lower, prefix) {
			return false
		}
	}
	return !slices.Contains([]string{"host", "x-ms-invocation-id", "user-agent", "content-length", "transfer-encoding", "x-functions-key", "authorization",
		"cookie", "connection", "keep-alive", "te", "upgrade", "proxy-authorization", "proxy-connection", "trailer", "x-original-url", "disguised-host",
		"client-ip", "x-client-ip", "x-client-port", "was-default-hostname", "forwarded", "http2-settings", "proxy-authenticate", "x-real-ip"}, lower)
}

// TestRecordedRequestsReachTheGateway plays every recorded request of the proxied and forwarded ways.
func TestRecordedRequestsReachTheGateway(t *testing.T) {
	played := 0
	for _, pattern := range []string{"P-*", "D-*"} {
		for _, rec := range recording.Load[recorded](t, pattern) {
			if rec.Client == nil || len(rec.Received) != 1 || strings.HasPrefix(rec.Received[0].RequestLine, "POST /") && !strings.HasPrefix(rec.Received[0].RequestLine, "POST /api/") {
				continue // not handed over, or wrapped
			}
			in := rec.Received[0]
			body, whole := in.bytes()
			if !whole {
				body = bytes.Repeat([]byte("x"), in.BodyBytes)
			}
			played++
			t.Run(rec.Name, func(t *testing.T) {
				r := newRig(t, string(rec.HostJSON), texts(rec.FunctionJSON), nil)
				res, _, err := r.play(in, body)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(in.RequestLine, "TRACE ") {
					if res.StatusCode != 405 || len(r.requests(0)) > 0 {
						t.Errorf("answered %d, want 405", res.StatusCode)
					}
					return
				}
				if res.StatusCode != 200 {
					t.Fatalf("answered %d, want 200\nlog: %s", res.StatusCode, r.log.String())
				}
				got := r.requests(1)[0]
				method, rest, _ := strings.Cut(in.RequestLine, " ")
				target, _, _ := strings.Cut(rest, " ")
				path, query, _ := strings.Cut(target, "?")
				if got.method != method {
					t.Errorf("method %s, want %s", got.method, method)
				}
				if want := wantURI(path, query); got.uri != want {
					t.Errorf("gateway got %s, want %s", got.uri, want)
				}
				if !bytes.Equal(got.body, body) {
					t.Errorf("%d bytes of body, want %d", len(got.body), len(body))
				}
				want := http.Header{}
				for _, h := range in.Headers {
					if arrives(h[0]) {
						want.Add(h[0], h[1])
					}
				}
				for name := range want {
					if !slices.Equal(got.header[name], want[name]) {
						t.Errorf("%s: %q, want %q", name, got.header[name], want[name])
					}
				}
				for name := range got.header {
					if arrives(name) && want[name] == nil {
						t.Errorf("%s: %q was added", name, got.header[name])
					}
				}
				if got.header.Get("Authorization") != "Bearer canary-token" || got.header.Get(header.DefaultKey) != "canary-key" {
					t.Error("our credentials did not arrive")
				}
				for _, name := range []string{"X-Functions-Key", "Cookie", "X-Ms-Invocation-Id"} {
					if got.header[name] != nil {
						t.Errorf("%s reached the gateway", name)
					}
				}
				way := `"way":"proxied"`
				if strings.HasPrefix(rec.Name, "D-") {
					way = `"way":"forwarded"`
				}
				var id string
				for _, h := range in.Headers {
					if strings.EqualFold(h[0], "X-Azure-Functions-InvocationId") {
						id = h[1][strings.LastIndexAny(h[1], " ,")+1:]
					}
				}
				for _, want := range []string{way, `"invocation_id":"` + id + `"`} {
					if !strings.Contains(r.log.String(), want) {
						t.Errorf("the log has no %s: %s", want, r.log.String())
					}
				}
			})
		}
	}
	if played < 100 {
		t.Errorf("only %d recordings were played", played)
	}
}

// wantURI is what a path under the route prefix becomes with ApimUrl /up: what stands behind a catch-all "rest/{*path}" is appended, everything else
// belongs to the route.
func wantURI(path, query string) string {
	uri := "/up"
	if rest, ok := strings.CutPrefix(path, "/api/rest/"); ok && rest != "" {
		uri += "/" + rest
	}
	var kept []string
	for item := range strings.SplitSeq(query, "&") {
		if !strings.HasPrefix(strings.ToLower(item), "code=") {
			kept = append(kept, item)
		}
	}
	if q := strings.Join(kept, "&"); q != "" {
		uri += "?" + q
	}
	return uri
}

// texts are the app's functions by folder. A recording lists those that matter, and P-query-encoded not even the one that was called.
func texts(m map[string]json.RawMessage) map[string]string {
	out := map[string]string{"hello": helloFunction}
	for name, raw := range m {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			out[name] = text // a broken function.json is recorded as a string
		} else {
			out[name] = string(raw)
		}
	}
	return out
}

// TestRecordedAnswersPassOrAreProblems lets the gateway give the answers that the recorded handlers gave, and asks what reaches the host: the same, or
// what the host can pass on where it could not.
func TestRecordedAnswersPassOrAreProblems(t *testing.T) {
	played := 0
	for _, pattern := range []string{"P-ans-*", "D-ans-*"} {
		for _, rec := range recording.Load[recorded](t, pattern) {
			if len(rec.Received) == 0 || rec.Answered.BodyRepeat > 1<<20 {
				continue
			}
			played++
			t.Run(rec.Name, func(t *testing.T) {
				r := newRig(t, string(rec.HostJSON), texts(rec.FunctionJSON), nil)
				raw, want, wantBody := rec.Answered.bytes(t)
				r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					_, _ = conn.Write(raw)
				}
				res, body, err := r.play(rec.Received[0], nil)
				if rec.Answered.CutBeforeEnd || rec.Answered.ClaimLength > 0 {
					if err == nil {
						t.Fatalf("an answer cut short arrived as a whole one: %q", body)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != want {
					t.Errorf("status %d, want %d", res.StatusCode, want)
				}
				if want == 502 && rec.Answered.Status == 0 {
					if !strings.Contains(string(body), `"code":"gateway-unreachable"`) {
						t.Errorf("problem %s", body)
					}
					return
				}
				if !bytes.Equal(body, wantBody) {
					t.Errorf("body of %d bytes %.60q, want %d bytes %.60q", len(body), body, len(wantBody), wantBody)
				}
				if rec.Answered.Raw != "" {
					return
				}
				for name := range res.Header {
					sent := slices.ContainsFunc(rec.Answered.Headers, func(h [2]string) bool { return strings.EqualFold(h[0], name) })
					if !sent && name != "Content-Length" {
						t.Errorf("%s: %q was added to the answer", name, res.Header[name])
					}
				}
				for _, h := range rec.Answered.Headers {
					name := http.CanonicalHeaderKey(h[0])
					switch {
					case slices.Contains([]string{"Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Trailer", "Te", "Upgrade", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection"}, name):
					case want == 304 && name == "Content-Type": // net/http sends none with a 304, which describes what the caller has
					case !isASCII(h[1]) && name != "Location":
						if res.Header.Get(name) != "" {
							t.Errorf("%s outside ASCII reached the host", name)
						}
					case !isASCII(h[1]):
						if got := res.Header.Get(name); !isASCII(got) || got == "" {
							t.Errorf("Location is %q", got)
						}
					case !slices.Contains(res.Header[name], h[1]):
						t.Errorf("%s: %q, want %q", name, res.Header[name], h[1])
					}
				}
			})
		}
	}
	if played < 50 {
		t.Errorf("only %d recordings were played", played)
	}
}

const helloFunction = `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]}`

func isASCII(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(b byte) bool { return b >= 0x80 })
}

// bytes is the answer on the wire, and status and body of what must reach the host.
func (a answerScript) bytes(t *testing.T) (raw []byte, status int, body []byte) {
	t.Helper()
	if a.Close {
		return nil, 502, nil
	}
	if a.Raw != "" {
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(a.Raw)), nil)
		for err == nil && res.StatusCode < 200 {
			_, rest, _ := strings.Cut(a.Raw, "\r\n\r\n")
			a.Raw = rest
			res, err = http.ReadResponse(bufio.NewReader(strings.NewReader(rest)), nil)
		}
		if err != nil {
			return []byte(a.Raw), 502, nil
		}
		body, _ = io.ReadAll(res.Body)
		return []byte(a.Raw), res.StatusCode, body
	}
	body, whole := recordedBody(a.Body, a.BodyBase64)
	if !whole {
		body = []byte("the recording holds only this body's ends")
	}
	if a.BodyRepeat > 0 {
		body = bytes.Repeat(body, a.BodyRepeat)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d R\r\n", a.Status)
	length := false
	for _, h := range a.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
		length = length || strings.EqualFold(h[0], "Content-Length")
	}
	switch {
	case len(a.Chunks) > 0:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		body = nil
		for _, c := range a.Chunks {
			if piece, ok := c.(string); ok {
				fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
				body = append(body, piece...)
			}
		}
		if !a.CutBeforeEnd {
			b.WriteString("0\r\n\r\n")
		}
	case a.ClaimLength > 0:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", a.ClaimLength, body)
	case a.NoLength, length:
		fmt.Fprintf(&b, "\r\n%s", body)
	case a.Status == 204 || a.Status == 304:
		b.WriteString("\r\n")
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	switch a.Status {
	case 204, 304, 205:
		body = nil
	}
	return b.Bytes(), a.Status, body
}
