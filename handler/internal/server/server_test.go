package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
	"apimrelay/handler/internal/token"
	"apimrelay/internal/poll"
)

const restFunction = `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","route":"rest/{*path}"},{"type":"http","direction":"out","name":"res"}]}`

// proxiedCall is a request as the host proxies it (recording P-get-query).
func (r *rig) proxiedCall(method, path string, body io.Reader, header ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	id := fmt.Sprintf("b2aa5fd4-dd7b-4f3a-a5b6-%012d", ids.Add(1))
	req.Header.Set("X-Azure-Functions-HostVersion", "4.1037.0.0")
	req.Header.Set("X-Azure-Functions-InvocationId", id)
	req.Header.Set("x-ms-invocation-id", id)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	return req
}

var ids atomic.Int64

func (r *rig) do(req *http.Request) (*http.Response, string) {
	r.t.Helper()
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res, string(body)
}

func TestReadinessIsAnsweredWhateverIsWrong(t *testing.T) {
	r := newRig(t, `{"version":`, nil, func(f *subject) { f.Credentials = nil })
	res, _ := r.do(httptest.NewRequest("GET", r.server.URL+"/", nil).WithContext(t.Context()))
	if res.StatusCode != 200 || r.log.String() != "" {
		t.Errorf("answered %d, logged %q", res.StatusCode, r.log.String())
	}
}

func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		method, path string
		change       func(*subject)
		status       int
		code         string
	}{
		"no such route":        {"GET", "/api/nothing", nil, 404, "no-route"},
		"outside the prefix":   {"GET", "/rest/x", nil, 404, "no-route"},
		"a double slash":       {"GET", "/api/rest//x", nil, 404, "no-route"},
		"a timer's path":       {"POST", "/api/q", nil, 404, "no-route"},
		"settings at fault":    {"GET", "/api/rest/x", func(f *subject) { f.Credentials = nil }, 500, "settings"},
		"dots":                 {"GET", "/api/rest/a/..%2fb", nil, 400, "bad-path"},
		"dots, escaped twice":  {"GET", "/api/rest/%252e%252e/x", nil, 400, "bad-path"},
		"nobody at the target": {"GET", "/api/rest/x", func(f *subject) { f.Target, _ = target.Parse("http://127.0.0.1:1/") }, 502, "gateway-unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"rest": restFunction, "q": queueFunction}, c.change)
			req := r.proxiedCall(c.method, "/", nil)
			req.URL.Opaque = c.path
			res, body := r.do(req)
			if res.StatusCode != c.status || res.Header.Get("Content-Type") != "application/problem+json" ||
				!strings.Contains(body, fmt.Sprintf(`"code":%q`, c.code)) || !strings.Contains(body, req.Header.Get("x-ms-invocation-id")) {
				t.Errorf("answered %d %s %s", res.StatusCode, res.Header, body)
			}
			r.requests(0)
			if !strings.Contains(r.log.String(), c.code) {
				t.Errorf("the log does not name %s: %s", c.code, r.log.String())
			}
		})
	}
}

func TestAnUnavailableIdentitySaysWhenToComeBack(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, func(f *subject) {
		f.Credentials.Tokens = fixedTokens{&token.Error{Kind: token.Unavailable, RetryAfter: 1500 * time.Millisecond, Err: errors.New("no answer")}}
	})
	res, _ := r.do(r.proxiedCall("GET", "/api/rest/x", nil))
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "2" {
		t.Errorf("answered %d, Retry-After %q, want 503 and 2", res.StatusCode, res.Header.Get("Retry-After"))
	}
	w := httptest.NewRecorder() // net/http itself would hide a body that answers HEAD
	r.server.Handler.ServeHTTP(w, httptest.NewRequest("HEAD", "/api/rest/x", nil))
	if w.Code != 503 || w.Body.Len() != 0 {
		t.Errorf("HEAD: answered %d with %q", w.Code, w.Body)
	}
}

// A call whose upload is not read leaves its connection in order: the next call on it, or on a new one, is answered, and nothing panics in net/http.
func TestTheCallAfterAnUnreadUploadIsAnswered(t *testing.T) {
	for name, change := range map[string]func(*subject){
		"settings": func(f *subject) { f.Credentials = nil },
		"bad path": func(f *subject) { f.Target, _ = target.Parse("https://gw/{missing}") },
		"identity refused": func(f *subject) {
			f.Credentials.Tokens = fixedTokens{&token.Error{Kind: token.Refused, Err: errors.New("no")}}
		},
		"gateway unreachable": func(f *subject) { f.Target, _ = target.Parse("http://127.0.0.1:1/") },
		"an early 413":        nil,
	} {
		for _, size := range []int{1, 5000, 300_000} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, change)
				r.gateway.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) })
				transport := &http.Transport{MaxConnsPerHost: 1}
				defer transport.CloseIdleConnections()
				for n := range 8 {
					req := r.proxiedCall("POST", "/api/rest/x", bytes.NewReader(make([]byte, size)))
					req.GetBody = nil // so that the client sends nothing twice
					res, err := transport.RoundTrip(req)
					if err != nil {
						t.Fatalf("call %d: %v, log %s", n, err, r.log.String())
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				r.server.Close()
				if log := r.log.String(); strings.Contains(log, "panic") {
					t.Errorf("log: %s", log)
				}
			})
		}
	}
}

func TestA1xxChangesNothing(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n<html>ok")
	}
	res, body := r.do(r.proxiedCall("GET", "/api/rest/x", nil))
	if body != "<html>ok" || len(res.Header) != 1 {
		t.Errorf("answered %q with %v, want Content-Length alone", body, res.Header)
	}
}

func TestOddRequestLines(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	for line, want := range map[string]int{
		"GET http://evil.example/api/rest/x HTTP/1.1": 400,
		"OPTIONS * HTTP/1.1":                          400,
		`GET /api/rest/a\..\b HTTP/1.1`:               400,
		"GET /api/rest/a%zz HTTP/1.1":                 400,
		"GET //evil.example/api/rest HTTP/1.1":        404,
	} {
		res, body, err := r.play(message{RequestLine: line, Headers: [][2]string{{"Host", "127.0.0.1:1"}}}, nil)
		if err != nil || res.StatusCode != want {
			t.Errorf("%s: %v %q (%v), want %d", line, res, body, err, want)
		}
	}
	r.requests(0)
}

func TestHealthMakesNoCall(t *testing.T) {
	const health = `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","route":"health"},{"type":"http","direction":"out","name":"res"}]}`
	for status, healthy := range map[int]bool{200: true, 503: false} {
		r := newRig(t, bothFlags, map[string]string{"health": health}, func(f *subject) { f.Credentials = nil })
		r.config.Healthy = func() bool { return healthy }
		r.server.Handler = fromHost(New(r.config))
		if res, body := r.do(r.proxiedCall("GET", "/api/health", nil)); res.StatusCode != status || body != "" {
			t.Errorf("healthy %v: answered %d %q", healthy, res.StatusCode, body)
		}
		r.requests(0)
	}
}

func TestEventStreamsPassPieceByPiece(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	next := make(chan bool)
	r.answer = func(w http.ResponseWriter, req *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next // the next piece is not written before this one has arrived
		}
	}
	res, err := http.DefaultTransport.RoundTrip(r.proxiedCall("GET", "/api/rest/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
			t.Fatalf("got %q (%v), want %q", line, err, want)
		}
		_, _ = lines.ReadString('\n')
		next <- true
	}
}

func TestUploadsPassPieceByPiece(t *testing.T) {
	arrived := make(chan byte)
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b := make([]byte, 1)
		for {
			if _, err := io.ReadFull(req.Body, b); err != nil {
				return
			}
			arrived <- b[0]
		}
	}))
	defer gateway.Close()
	r.all[0].Target, _ = target.Parse(gateway.URL)
	up, write := io.Pipe()
	go func() {
		for _, c := range []byte("abc") {
			_, _ = write.Write([]byte{c})
			if got := <-arrived; got != c {
				t.Errorf("the gateway got %c, want %c", got, c)
			}
		}
		write.Close()
	}()
	if res, _ := r.do(r.proxiedCall("POST", "/api/rest/x", up)); res.StatusCode != 200 {
		t.Errorf("answered %d", res.StatusCode)
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	r.answer = func(w http.ResponseWriter, req *http.Request, _ []byte) {
		w.Header().Set("Trailer", "X-Sum, X-Leak")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
		w.Header().Set("X-Leak", "canary-key")
		w.Header().Set(http.TrailerPrefix+"X-Late", "7")
	}
	req := r.proxiedCall("POST", "/api/rest/x", io.NopCloser(strings.NewReader("up")))
	req.Trailer = http.Header{"X-Up": {"7"}, "Authorization": {"canary"}}
	res, body := r.do(req)
	if body != "body" || res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-Late") != "7" || res.Trailer.Get("X-Leak") != "" {
		t.Errorf("body %q, trailers %v", body, res.Trailer)
	}
	sent := r.requests(1)[0]
	if sent.trailer.Get("X-Up") != "7" || sent.trailer.Get("Authorization") != "" || string(sent.body) != "up" {
		t.Errorf("the gateway got trailers %v, body %q", sent.trailer, sent.body)
	}
	if !strings.Contains(r.log.String(), `"dropped_headers":"X-Leak"`) {
		t.Errorf("log: %s", r.log.String())
	}
}

func TestACallerThatLeavesEndsTheCall(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	began, ended := make(chan bool), make(chan bool)
	r.answer = func(_ http.ResponseWriter, req *http.Request, _ []byte) {
		close(began)
		<-req.Context().Done()
		close(ended)
	}
	ctx, cancel := context.WithCancel(t.Context())
	req := r.proxiedCall("GET", "/api/rest/x", nil).WithContext(ctx)
	go func() { <-began; cancel() }()
	if _, err := http.DefaultTransport.RoundTrip(req); err == nil {
		t.Error("want an error for a caller that left")
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the gateway's call goes on")
	}
	poll.Until(t, "the line of a caller that left", func() bool { return strings.Contains(r.log.String(), `"problem":"caller-left"`) })
}

func TestAnEarlyAnswerDoesNotWaitForTheUpload(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no")
	}))
	defer gateway.Close()
	r.all[0].Target, _ = target.Parse(gateway.URL)
	up, write := io.Pipe()
	defer write.Close()
	go func() { _, _ = write.Write([]byte("first")) }() // and then nothing more until the answer is there
	res, err := http.DefaultTransport.RoundTrip(r.proxiedCall("POST", "/api/rest/x", up))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 403 || string(body) != "no" {
		t.Errorf("answered %d %q", res.StatusCode, body)
	}
}

func TestAPanicEndsOneExchange(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	r.all[0].Credentials.Tokens = panicking{}
	res, body := r.do(r.proxiedCall("GET", "/api/rest/x", nil))
	if res.StatusCode != 500 || !strings.Contains(body, `"code":"internal"`) || strings.Contains(body, "canary") {
		t.Errorf("answered %d %s", res.StatusCode, body)
	}
	if log := r.log.String(); !strings.Contains(log, `"msg":"panic"`) || strings.Contains(log, "canary") {
		t.Errorf("log: %s", log)
	}
	r.all[0].Credentials.Tokens = fixedTokens{}
	if res, _ := r.do(r.proxiedCall("GET", "/api/rest/x", nil)); res.StatusCode != 200 {
		t.Errorf("the next call: %d", res.StatusCode)
	}
}

type panicking struct{}

func (panicking) Token(context.Context) (string, error)         { panic("canary") }
func (panicking) Renew(context.Context, string) (string, error) { panic("canary") }

func TestTheLastInvocationIDCounts(t *testing.T) {
	for header, want := range map[string]string{"fake, 6d00cb2c": "6d00cb2c", "6d00cb2c": "6d00cb2c", "a,b , c ": "c", "": ""} {
		if got := invocationID(http.Header{invocationHeader: {header}}); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
	if got := invocationID(http.Header{invocationHeader: {"x", "y"}}); got != "y" {
		t.Errorf("two lines: %q", got)
	}
}

func TestBudgets(t *testing.T) {
	for name, c := range map[string]struct {
		functionTimeout, setting time.Duration
		way                      relay.Way
		header, limit            time.Duration
	}{
		"proxied, five minutes":      {5 * time.Minute, 0, relay.Proxied, 220 * time.Second, 290 * time.Second},
		"forwarded, five minutes":    {5 * time.Minute, 0, relay.Forwarded, 220 * time.Second, 290 * time.Second},
		"wrapped, one minute":        {time.Minute, 0, relay.Wrapped, 54 * time.Second, 54 * time.Second},
		"event, half an hour":        {30 * time.Minute, 0, relay.Event, 1790 * time.Second, 1790 * time.Second},
		"event, unbounded":           {0, 0, relay.Event, 0, 0},
		"proxied, unbounded":         {0, 0, relay.Proxied, 220 * time.Second, 0},
		"event, unbounded, setting":  {0, time.Minute, relay.Event, time.Minute, 0},
		"a setting below the budget": {5 * time.Minute, 30 * time.Second, relay.Proxied, 30 * time.Second, 290 * time.Second},
		"a setting above the budget": {time.Minute, time.Hour, relay.Event, 54 * time.Second, 54 * time.Second},
		"ten seconds":                {10 * time.Second, 0, relay.Wrapped, 9 * time.Second, 9 * time.Second},
		"one second":                 {time.Second, 0, relay.Event, 500 * time.Millisecond, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{app: &app.App{FunctionTimeout: c.functionTimeout}}
			header, limit := s.budget(&settings.Function{Timeout: c.setting}, c.way)
			if header != c.header || limit != c.limit {
				t.Errorf("budget %v and %v, want %v and %v", header, limit, c.header, c.limit)
			}
		})
	}
}

// Two seconds after functionTimeout the host kills the handler and all calls in it.
func TestAnAnswerThatOutlastsFunctionTimeoutIsCutInEveryWay(t *testing.T) {
	for way, agent := range map[string]string{"proxied": "", "forwarded": "Azure-Functions-Host/4.1037.0.0"} {
		for name, length := range map[string]int{"a stream": -1, "a body of known length": 1 << 20} {
			t.Run(way+", "+name, func(t *testing.T) {
				r := newRig(t, `{"version":"2.0","functionTimeout":"00:00:01","customHandler":{"description":{"defaultExecutablePath":"handler"},
					"enableForwardingHttpRequest":true,"enableProxyingHttpRequest":true}}`, map[string]string{"rest": restFunction}, nil)
				r.answer = func(w http.ResponseWriter, req *http.Request, _ []byte) {
					if length > 0 {
						w.Header().Set("Content-Length", strconv.Itoa(length))
					}
					for req.Context().Err() == nil {
						_, _ = io.WriteString(w, "more")
						_ = http.NewResponseController(w).Flush()
						select {
						case <-time.After(10 * time.Millisecond):
						case <-req.Context().Done():
						}
					}
				}
				req := r.proxiedCall("GET", "/api/rest/x", nil)
				if agent != "" {
					req.Header.Set("User-Agent", agent)
					req.Header.Del("X-Ms-Invocation-Id")
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				res, err := http.DefaultTransport.RoundTrip(req.WithContext(ctx))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				_, err = io.Copy(io.Discard, res.Body)
				if err == nil || ctx.Err() != nil {
					t.Fatalf("the answer ended with %v, want it cut", err)
				}
				r.server.Close() // the line is written
				for _, want := range []string{`"problem":"answer-cut"`, `"way":"` + way + `"`, `"level":"ERROR"`, "no answer within the budget"} {
					if !strings.Contains(r.log.String(), want) {
						t.Errorf("the log does not hold %s: %s", want, r.log.String())
					}
				}
			})
		}
	}
}

// namedTokens is a source of its own for each function.
type namedTokens string

func (n namedTokens) Token(context.Context) (string, error) { return string(n), nil }
func (n namedTokens) Renew(context.Context, string) (string, error) {
	return "", fmt.Errorf("the same token")
}

// A thousand invocations of all kinds at once, and each goes with its own function's identity.
func TestIdentitiesAreNeverMixed(t *testing.T) {
	functions := map[string]string{
		"reader": strings.Replace(restFunction, "rest/", "read/", 1),
		"writer": strings.Replace(restFunction, "rest/", "write/", 1),
		"queue":  queueFunction,
	}
	r := newRig(t, bothFlags, functions, func(f *subject) {
		f.Credentials.Tokens = namedTokens("token-of-" + f.App.Name)
		f.Method = "POST"
	})
	for _, f := range r.all {
		f.Target, _ = target.Parse(r.gateway.URL + "/" + f.App.Name)
	}
	var wrong atomic.Int64
	r.answer = func(w http.ResponseWriter, req *http.Request, _ []byte) {
		name, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
		if req.Header.Get("Authorization") != "Bearer token-of-"+name {
			wrong.Add(1)
		}
		_, _ = io.WriteString(w, name)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	const calls = 1000
	var group sync.WaitGroup
	limit := make(chan bool, 64)
	for i := range calls {
		limit <- true
		group.Go(func() {
			defer func() { <-limit }()
			var req *http.Request
			switch i % 4 {
			case 0:
				req = r.proxiedCall("GET", "/api/read/x", nil)
			case 1:
				req = r.proxiedCall("POST", "/api/write/x", strings.NewReader("body"))
			case 2:
				req, _ = http.NewRequest("POST", r.server.URL+"/queue", strings.NewReader(queueMessage))
			case 3:
				body := `{"Data":{"req":{"Url":"http://h/api/write/y","Method":"PUT","Headers":{}}},"Metadata":{}}`
				req, _ = http.NewRequest("POST", r.server.URL+"/writer", strings.NewReader(body))
			}
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if b, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
				t.Errorf("answered %d %s", res.StatusCode, b)
			}
		})
	}
	group.Wait()
	r.requests(calls)
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d calls went with another function's token", n, calls)
	}
}

// Large bodies pass in both directions without being kept.
func TestLargeBodiesPass(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	const size = 64 << 20
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		w.Header().Set("X-Got", fmt.Sprint(n))
		for range size / len(piece) {
			_, _ = w.Write(piece)
		}
	}))
	defer gateway.Close()
	r.all[0].Target, _ = target.Parse(gateway.URL)
	req := r.proxiedCall("POST", "/api/rest/x", io.LimitReader(zeros{}, size))
	req.ContentLength = size
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil || n != size || res.Header.Get("X-Got") != fmt.Sprint(size) {
		t.Errorf("%d bytes down, %s up, want %d (%v)", n, res.Header.Get("X-Got"), size, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestProxiedAndForwardedAreToldApart(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 38105}
	for name, c := range map[string]struct {
		host   string
		header http.Header
		want   relay.Way
	}{
		"no User-Agent":                   {"127.0.0.1:38105", http.Header{}, relay.Proxied},
		"a caller's User-Agent":           {"127.0.0.1:38105", http.Header{"User-Agent": {"curl/8"}}, relay.Proxied},
		"the host's product":              {"localhost:7071", http.Header{"User-Agent": {"Azure-Functions-Host/4.1037.0.0"}}, relay.Forwarded},
		"the host's product at the end":   {"localhost:7071", http.Header{"User-Agent": {"curl/8 Azure-Functions-Host/4.1037.0.0"}}, relay.Forwarded},
		"not at the end":                  {"localhost:7071", http.Header{"User-Agent": {"Azure-Functions-Host/4 (fake)"}}, relay.Proxied},
		"a proxied caller that forges it": {"127.0.0.1:38105", http.Header{"User-Agent": {"Azure-Functions-Host/4"}, "X-Ms-Invocation-Id": {"x"}}, relay.Proxied},
		"a forwarded caller's own id":     {"localhost:7071", http.Header{"User-Agent": {"Azure-Functions-Host/4"}, "X-Ms-Invocation-Id": {"x"}}, relay.Forwarded},
	} {
		req := httptest.NewRequest("GET", "/api/rest/x", nil)
		req.Host, req.Header = c.host, c.header
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, net.Addr(addr)))
		if got := wayOf(req); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
