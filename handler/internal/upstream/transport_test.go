package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// gateway is a raw HTTP/1.1 server: what it says is what the test wants to be said. It counts its connections.
type gateway struct {
	net.Listener
	t      *testing.T
	answer func(n int, c net.Conn, head string) bool // n counts the requests of a connection, from 1; false closes it

	mu    sync.Mutex
	heads []string
	conns []net.Conn
	ended int // connections whose other end is gone
}

func newGateway(t *testing.T, answer func(n int, c net.Conn, head string) bool) *gateway {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{Listener: l, t: t, answer: answer}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		g.mu.Lock()
		for _, c := range g.conns {
			_ = c.Close()
		}
		g.mu.Unlock()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.conns = append(g.conns, c)
			g.mu.Unlock()
			all.Go(func() { g.serve(c) })
		}
	})
	return g
}

func (g *gateway) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for n := 1; ; n++ {
		req, err := http.ReadRequest(in)
		if err != nil {
			g.mu.Lock()
			g.ended++
			g.mu.Unlock()
			return
		}
		body, _ := io.ReadAll(req.Body)
		head := fmt.Sprintf("%s %s %s", req.Method, req.RequestURI, body)
		g.mu.Lock()
		g.heads = append(g.heads, head)
		g.mu.Unlock()
		if !g.answer(n, c, head) {
			return
		}
	}
}

func (g *gateway) counts() (requests, connections, ended int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.heads), len(g.conns), g.ended
}

func (g *gateway) url(path string) string { return "http://" + g.Addr().String() + path }

// eventually polls with a deadline.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to this: " + what)
		}
	}
}

func say(c net.Conn, text string) bool {
	_, err := io.WriteString(c, text)
	return err == nil
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

const untilTheEnd = "HTTP/1.1 200 OK\r\n\r\nok"

// whole is a body in memory.
type whole struct{ *strings.Reader }

func (whole) Close() error { return nil }
func (whole) Whole() bool  { return true }

func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.ContentLength = int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return whole{strings.NewReader(body)}, nil }
		req.Body, _ = req.GetBody()
	}
	return req
}

// newTransport is one that knows the gateway already: the first request went through net/http, and its connection is closed.
func newTransport(t *testing.T, g *gateway, set ...func(*http.Transport)) *Transport {
	t.Helper()
	base := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	for _, s := range set {
		s(base)
	}
	tr := New(base)
	answer := g.answer
	g.answer = func(_ int, c net.Conn, _ string) bool { return say(c, ok) }
	get(t, tr, request(t, "GET", g.url("/first"), ""), 200, "ok")
	base.CloseIdleConnections()
	eventually(t, "net/http's connection is closed", func() bool { _, _, ended := g.counts(); return ended == 1 })
	g.mu.Lock()
	g.heads, g.conns, g.ended, g.answer = nil, nil, 0, answer
	g.mu.Unlock()
	return tr
}

func get(t *testing.T, tr http.RoundTripper, req *http.Request, status int, want string) *http.Response {
	t.Helper()
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status || string(body) != want {
		t.Fatalf("want %d %q, got %d %q", status, want, res.StatusCode, body)
	}
	return res
}

func TestAnswersOfEveryFramingAreReadAndTheConnectionIsKeptWhereItCanBe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, answer string
		status         int
		body           string
		trailer        http.Header
		kept           bool
	}{
		"a length":                      {"GET", ok, 200, "ok", nil, true},
		"chunks":                        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", nil, true},
		"chunks with a trailer":         {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n", 200, "ok", http.Header{"X-Sum": {"7"}}, true},
		"until the connection's end":    {"GET", untilTheEnd, 200, "ok", nil, false},
		"the connection ends after it":  {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", 200, "ok", nil, false},
		"HTTP/1.0":                      {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", nil, false},
		"no body":                       {"GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", nil, true},
		"not modified, with a length":   {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "", nil, true},
		"to HEAD, with a length":        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, "", nil, true},
		"a length of nothing":           {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", nil, true},
		"hints before it":               {"GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok, 200, "ok", nil, true},
		"another answer behind it":      {"GET", ok + ok, 200, "ok", nil, false},
		"something behind it":           {"GET", "HTTP/1.1 204 No Content\r\n\r\nhello", 204, "", nil, false},
		"a switch that nobody asked of": {"GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 101, "", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Only where its end is the body's does the gateway close a connection: all others are the transport's to close.
			g := newGateway(t, func(_ int, conn net.Conn, _ string) bool { return say(conn, c.answer) && c.answer != untilTheEnd })
			tr := newTransport(t, g)
			for range 2 {
				res := get(t, tr, request(t, c.method, g.url("/"), ""), c.status, c.body)
				if diff := cmp.Diff(c.trailer, res.Trailer); diff != "" {
					t.Error(diff)
				}
			}
			want := 2
			if c.kept {
				want = 1
			}
			if requests, connections, _ := g.counts(); requests != 2 || connections != want {
				t.Errorf("want 2 requests on %d connections, got %d on %d", want, requests, connections)
			}
		})
	}
}

func TestAShortBodyInMemoryIsWrittenHereAndAllElseByNetHTTP(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { return say(c, ok) })
	tr := newTransport(t, g)
	streamed := request(t, "POST", g.url("/streamed"), "")
	streamed.Body, streamed.ContentLength = io.NopCloser(strings.NewReader("streamed")), -1
	long := strings.Repeat("x", longestBody+1)
	expecting := request(t, "POST", g.url("/expecting"), "body")
	expecting.Header["Expect"] = []string{"100-continue"}
	laden := request(t, "GET", g.url("/laden"), "")
	laden.Header["X-Load"] = []string{strings.Repeat("x", longestFields/2), strings.Repeat("x", longestFields/2)}
	for _, req := range []*http.Request{
		request(t, "POST", g.url("/body"), "body"), streamed, request(t, "PUT", g.url("/long"), long), expecting,
		request(t, "PROPFIND", g.url("/method"), ""), laden, request(t, "GET", g.url("/get"), ""),
	} {
		get(t, tr, req, 200, "ok")
	}
	want := []string{"POST /body body", "POST /streamed streamed", "PUT /long " + long, "POST /expecting body", "PROPFIND /method ", "GET /laden ", "GET /get "}
	if diff := cmp.Diff(want, g.heads); diff != "" {
		t.Error(diff)
	}
	if _, connections, _ := g.counts(); connections != 2 {
		t.Errorf("want one connection here and one of net/http's, got %d", connections)
	}
	for _, req := range []*http.Request{streamed, expecting, laden} {
		if short(req) {
			t.Errorf("%s is no short request", req.URL.Path)
		}
	}
}

// countingConn counts what is written.
type countingConn struct {
	*net.TCPConn
	writes int
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	return c.TCPConn.Write(p)
}

func TestARequestIsWrittenInOnePiece(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { return say(c, ok) })
	var counted *countingConn
	tr := newTransport(t, g, func(base *http.Transport) {
		base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			counted = &countingConn{TCPConn: c.(*net.TCPConn)}
			return counted, err
		}
	})
	for i, body := range []string{"", "body", strings.Repeat("x", 8<<10)} {
		get(t, tr, request(t, "POST", g.url("/"), body), 200, "ok")
		if counted.writes != i+1 {
			t.Errorf("request %d: want one write for each, got %d in all", i+1, counted.writes)
		}
	}
}

// A dialer of another's making may give what has no socket to look at.
func TestAConnectionThatCannotBeLookedAtIsUsedOnce(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { return say(c, ok) })
	tr := newTransport(t, g, func(base *http.Transport) {
		base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			return struct{ net.Conn }{c}, err
		}
	})
	for range 3 {
		get(t, tr, request(t, "POST", g.url("/"), "body"), 200, "ok")
	}
	if _, connections, _ := g.counts(); connections != 3 {
		t.Errorf("want 3 connections, got %d", connections)
	}
}

// net/http takes such a status for the end of its connection, too.
func TestAConnectionWithAStatusBelow100IsUsedOnce(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { return say(c, "HTTP/1.1 099 x\r\nContent-Length: 2\r\n\r\nok") })
	tr := newTransport(t, g)
	for range 2 {
		get(t, tr, request(t, "GET", g.url("/"), ""), 99, "ok")
	}
	if _, connections, _ := g.counts(); connections != 2 {
		t.Errorf("want 2 connections, got %d", connections)
	}
}

func TestWhatNetHTTPRefusesIsRefused(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { return say(c, ok) })
	tr := newTransport(t, g)
	for name, spoil := range map[string]func(*http.Request){
		"a line break in a value":    func(r *http.Request) { r.Header["X"] = []string{"a\r\nY: b"} },
		"a NUL in a value":           func(r *http.Request) { r.Header["X"] = []string{"a\x00"} },
		"a name that is none":        func(r *http.Request) { r.Header["X Y"] = []string{"a"} },
		"no name":                    func(r *http.Request) { r.Header[""] = []string{"a"} },
		"a method with a line break": func(r *http.Request) { r.Method = "GET\r\nX: y" },
		"no host":                    func(r *http.Request) { r.URL.Host = "" },
		"another scheme":             func(r *http.Request) { r.URL.Scheme = "ftp" },
	} {
		req := request(t, "GET", g.url("/"), "")
		spoil(req)
		if res, err := tr.RoundTrip(req); err == nil {
			_ = res.Body.Close()
			t.Errorf("%s: want an error, got %s", name, res.Status)
		}
	}
	if requests, _, _ := g.counts(); requests != 0 {
		t.Errorf("want nothing sent, got %d requests", requests)
	}
}

func TestAConnectionThatTheGatewayHasClosedOrSpokenOnIsNotUsed(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]func(c net.Conn) bool{
		"closed": func(net.Conn) bool { return false },
		"reset":  func(c net.Conn) bool { return c.(*net.TCPConn).SetLinger(0) != nil },
		"spoken": func(c net.Conn) bool { return say(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			goOn, done := make(chan struct{}), make(chan struct{})
			var once sync.Once
			g := newGateway(t, func(_ int, c net.Conn, _ string) (open bool) {
				open = say(c, ok)
				once.Do(func() {
					<-goOn
					if open = last(c); !open {
						_ = c.Close()
					}
					close(done)
				})
				return open
			})
			tr := newTransport(t, g)
			get(t, tr, request(t, "POST", g.url("/1"), "one"), 200, "ok")
			close(goOn)
			<-done
			p := tr.pools.Of(origin{"http", g.Addr().String()}, nil)
			eventually(t, "the connection shows it", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return len(p.idle) == 1 && p.idle[0].spoken()
			})
			get(t, tr, request(t, "POST", g.url("/2"), "two"), 200, "ok") // no request that could be replayed
			if requests, connections, _ := g.counts(); requests != 2 || connections != 2 {
				t.Errorf("want 2 requests on 2 connections, got %d on %d", requests, connections)
			}
		})
	}
}

// The gateway closes a kept connection when the request is there already: nobody can know whether it was done.
func TestARequestThatAClosedConnectionTookIsSentAgainOnlyIfItMayBe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, body, key string
		again             bool
	}{
		"GET":                           {"GET", "", "", true},
		"HEAD":                          {"HEAD", "", "", true},
		"POST":                          {"POST", "", "", false},
		"POST with a body":              {"POST", "body", "", false},
		"POST with an Idempotency-Key":  {"POST", "body", "1", true},
		"DELETE, which net/http leaves": {"DELETE", "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, func(n int, c net.Conn, _ string) bool { return n == 1 && say(c, "HTTP/1.1 204 No Content\r\n\r\n") })
			tr := newTransport(t, g)
			get(t, tr, request(t, "GET", g.url("/"), ""), 204, "")
			req := request(t, c.method, g.url("/"), c.body)
			if c.key != "" {
				req.Header["Idempotency-Key"] = []string{c.key}
			}
			res, err := tr.RoundTrip(req)
			if err == nil {
				_ = res.Body.Close()
			}
			if c.again != (err == nil) {
				t.Errorf("want it sent again: %t, got %v", c.again, err)
			}
			want := []string{"GET / ", c.method + " / " + c.body}
			if c.again {
				want = append(want, want[1])
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			if diff := cmp.Diff(want, g.heads); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestARequestWhoseAnswerHasBegunIsNotSentAgain(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(n int, c net.Conn, _ string) bool { return say(c, ok[:len(ok)-30*(n-1)]) && n == 1 })
	tr := newTransport(t, g)
	get(t, tr, request(t, "GET", g.url("/1"), ""), 200, "ok")
	if res, err := tr.RoundTrip(request(t, "GET", g.url("/2"), "")); err == nil {
		_ = res.Body.Close()
		t.Error("want an error, got none")
	}
	if requests, _, _ := g.counts(); requests != 2 {
		t.Errorf("want 2 requests, got %d", requests)
	}
}

func TestAnAnswerThatBreaksOffOrIsNoneIsAnErrorAndEndsItsConnection(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"garbage":           "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"nothing":           "",
		"half a header":     "HTTP/1.1 200 OK\r\nContent-Le",
		"half a body":       "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
		"half a chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
		"a broken chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
		"a header for ever": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"hints for ever":    strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1<<15),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, func(_ int, c net.Conn, _ string) bool {
				say(c, answer)
				return len(answer) > 100 // what goes on for ever does not end by itself
			})
			tr := newTransport(t, g, func(base *http.Transport) { base.MaxResponseHeaderBytes = 64 << 10 })
			res, err := tr.RoundTrip(request(t, "POST", g.url("/"), "body"))
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if err == nil {
				t.Fatal("want an error, got none")
			}
			if n := strings.Count(err.Error(), "\n"); n > 0 {
				t.Errorf("want one line, got %q", err)
			}
			eventually(t, "the connection is closed", func() bool {
				_, connections, ended := g.counts()
				return connections == 1 && (ended == 1 || len(answer) <= 100)
			})
			get200 := request(t, "GET", g.url("/"), "")
			g.mu.Lock()
			g.answer = func(_ int, c net.Conn, _ string) bool { return say(c, ok) }
			g.mu.Unlock()
			get(t, tr, get200, 200, "ok")
		})
	}
}

// The network tells but once that a connection was reset: who reads on is told of an end.
func TestAConnectionThatIsResetIsCalledSo(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool {
		_ = c.(*net.TCPConn).SetLinger(0)
		return false
	})
	tr := newTransport(t, g)
	if _, err := tr.RoundTrip(request(t, "POST", g.url("/"), "body")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("want a connection that was reset, got %v", err)
	}
}

func TestACallThatIsGivenUpEndsAtOnceAndItsConnectionWithIt(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{
		"before the answer": "",
		"within the header": "HTTP/1.1 200 OK\r\n",
		"within the body":   "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha",
		"before the body":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"the answer unread": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{}, 1)
			g := newGateway(t, func(_ int, c net.Conn, _ string) bool { arrived <- struct{}{}; return say(c, said) })
			tr := newTransport(t, g)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			gaveUp := errors.New("gave up")
			unread := name == "the answer unread"
			if !unread {
				go func() {
					<-arrived
					cancel(gaveUp)
				}()
			}
			res, err := tr.RoundTrip(request(t, "GET", g.url("/"), "").WithContext(ctx))
			if err == nil {
				if unread {
					cancel(gaveUp) // the answer is at hand, and its end is seen; the connection may have been aborted
				}
				if _, err = io.ReadAll(res.Body); err == nil && !unread {
					t.Error("want an error of the body's, got none")
				}
				_ = res.Body.Close()
			}
			if ctx.Err() == nil {
				t.Errorf("it ended before it was given up: %v", err)
			}
			eventually(t, "the connection is closed", func() bool { _, connections, ended := g.counts(); return connections == 1 && ended == 1 })
		})
	}
}

func TestABodyThatIsClosedEarlyEndsItsConnection(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool {
		return say(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha")
	})
	tr := newTransport(t, g)
	res, err := tr.RoundTrip(request(t, "GET", g.url("/"), ""))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	_ = res.Body.Close()
	if _, err := res.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("want %v, got %v", http.ErrBodyReadAfterClose, err)
	}
	eventually(t, "the connection is closed", func() bool { _, _, ended := g.counts(); return ended == 1 })
}

func TestWhatIsAtHandOfABodyIsTold(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool {
		return say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") && func() bool { <-more; return say(c, "2\r\nok\r\n0\r\n\r\n") }()
	})
	tr := newTransport(t, g)
	res, err := tr.RoundTrip(request(t, "GET", g.url("/"), ""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b := res.Body.(interface{ Buffered() int })
	if n := b.Buffered(); n != 0 {
		t.Errorf("want nothing at hand, got %d bytes", n)
	}
	close(more)
	one := make([]byte, 1)
	if _, err := io.ReadFull(res.Body, one); err != nil {
		t.Fatal(err)
	}
	if b.Buffered() == 0 {
		t.Error("want the rest at hand, got nothing")
	}
	if rest, err := io.ReadAll(res.Body); string(rest) != "k" || err != nil {
		t.Errorf("want k, got %q, %v", rest, err)
	}
	if n := b.Buffered(); n != 0 {
		t.Errorf("after the end: want nothing at hand, got %d bytes", n)
	}
}

func TestIdleConnectionsAreClosedWhenTheyAreOld(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { return say(c, ok) })
	tr := newTransport(t, g)
	get(t, tr, request(t, "GET", g.url("/"), ""), 200, "ok")
	p := tr.pools.Of(origin{"http", g.Addr().String()}, nil)
	p.mu.Lock()
	if len(p.idle) != 1 || !p.sweeping {
		t.Errorf("want one idle connection and a sweep to come, got %d, %t", len(p.idle), p.sweeping)
	}
	if since := p.idle[0].since; since == since.Round(0) {
		t.Error("want a monotonic time, too, got that of the clock on the wall alone: it may be set back")
	}
	p.idle[0].since = p.idle[0].since.Round(0).Add(-2 * time.Minute) // as if suspended: by the clock on the wall alone
	p.mu.Unlock()
	get(t, tr, request(t, "POST", g.url("/"), "body"), 200, "ok")
	eventually(t, "the old connection is closed", func() bool { _, connections, ended := g.counts(); return connections == 2 && ended == 1 })
	p.mu.Lock()
	p.idle[0].since = p.idle[0].since.Add(-2 * time.Minute)
	p.mu.Unlock()
	p.sweep()
	eventually(t, "the sweep closes the other", func() bool { _, connections, ended := g.counts(); return connections == 2 && ended == 2 })
}

func TestNoMoreConnectionsAreKeptThanTheSettingsSay(t *testing.T) {
	t.Parallel()
	var together sync.WaitGroup
	together.Add(5)
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { together.Done(); together.Wait(); return say(c, ok) })
	tr := newTransport(t, g, func(base *http.Transport) { base.MaxIdleConnsPerHost = 3 })
	var all sync.WaitGroup
	for range 5 {
		req := request(t, "GET", g.url("/"), "")
		all.Go(func() { get(t, tr, req, 200, "ok") })
	}
	all.Wait()
	eventually(t, "two are closed", func() bool { _, connections, ended := g.counts(); return connections == 5 && ended == 2 })
}

func TestTLSIsSpokenAsTheGatewayChose(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			remotes := make(map[string]int)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				remotes[r.Proto+" "+r.RemoteAddr]++
				mu.Unlock()
				_, _ = io.WriteString(w, "ok")
			}))
			s.EnableHTTP2 = http2
			s.StartTLS()
			defer s.Close()
			base := s.Client().Transport.(*http.Transport)
			base.ForceAttemptHTTP2 = true
			base.IdleConnTimeout = time.Minute
			tr := New(base)
			for range 5 {
				if res := get(t, tr, request(t, "GET", s.URL, ""), 200, "ok"); res.TLS == nil || res.Proto != name && name == "HTTP/1.1" {
					t.Errorf("want %s over TLS, got %s, %v", name, res.Proto, res.TLS)
				}
			}
			want := 2 // the first is net/http's
			if http2 {
				want = 1
			}
			if len(remotes) != want {
				t.Errorf("want %d connections, got %v", want, remotes)
			}
		})
	}
}

func TestACertificateThatIsNotTrustedIsAnError(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	u, _ := url.Parse(s.URL)
	p := newPool(&http.Transport{}, nil, u)
	if c, err := p.take(t.Context()); err == nil {
		c.close()
		t.Error("want an error, got none")
	}
}

func TestWhatGoesThroughAProxyIsNetHTTPs(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { return say(c, ok) }) // as the proxy
	proxy, _ := url.Parse(g.url(""))
	tr := New(&http.Transport{Proxy: http.ProxyURL(proxy)})
	for range 3 {
		get(t, tr, request(t, "GET", "http://gateway.example/x", ""), 200, "ok")
	}
	if diff := cmp.Diff([]string{"GET http://gateway.example/x ", "GET http://gateway.example/x ", "GET http://gateway.example/x "}, g.heads); diff != "" {
		t.Error(diff)
	}
}

func TestParallelCallsNeverGetEachOthersAnswers(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(n int, c net.Conn, head string) bool {
		body := strings.Fields(head)[1]
		return say(c, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)) && n%7 != 0
	})
	tr := newTransport(t, g)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 50 {
				path := fmt.Sprintf("/%d/%d", i, j)
				ctx, cancel := context.WithCancel(t.Context())
				req := request(t, "GET", g.url(path), "").WithContext(ctx)
				switch j % 5 {
				case 0: // given up at some moment
					go cancel()
					if res, err := tr.RoundTrip(req); err == nil {
						if body, err := io.ReadAll(res.Body); err == nil && string(body) != path {
							t.Errorf("want %s, got %s", path, body)
						}
						_ = res.Body.Close()
					}
				default:
					get(t, tr, req, 200, path)
				}
				cancel()
			}
		})
	}
	all.Wait()
}
