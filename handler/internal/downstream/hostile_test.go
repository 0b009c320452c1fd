package downstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A byte that was read while a request was watched belongs to what comes behind the requests that have been read already.
func TestAByteThatWasReadWhileWatching(t *testing.T) {
	for name, c := range map[string]struct {
		sent, later string
		answers     []string
	}{
		"goes with the connection to net/http": {"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\nExpect: \r\n\r\n",
			"GET /third HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET/first", "GET/second", "GET/third"}},
		// Behind a POST net/http passes over line breaks. Where that is all there is, the byte that is held is still the next one.
		"is held behind line breaks": {"POST /first HTTP/1.1\r\nHost: x\r\n\r\n\r\n\r\n", "GET /second HTTP/1.1\r\nHost: x\r\n\r\n",
			[]string{"POST/first", "GET/second"}},
	} {
		t.Run(name, func(t *testing.T) { behindAWatched(t, c.sent, c.later, c.answers...) })
	}
}

// behindAWatched sends requests, the rest of them when the first one is watched, and wants these answers.
func behindAWatched(t *testing.T, sent, later string, answers ...string) (*serving, *client) {
	t.Helper()
	release := make(chan bool)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			<-release
		}
		if r.Context().Err() != nil {
			t.Error("the context of a caller who is there has ended")
		}
		_, _ = io.WriteString(w, r.Method+r.URL.Path)
	})
	c := s.dial()
	c.send(sent)
	until(t, "it is watched", s.connOf(watching))
	c.send(later)
	until(t, "a byte is held", s.connOf(held))
	close(release)
	for _, want := range answers {
		if res, body := c.answer(); res.StatusCode != 200 || body != want {
			t.Fatalf("answered %d %q, want %q", res.StatusCode, body, want)
		}
	}
	return s, c
}

// punctual is a connection whose next bytes come at the very moment at which somebody wakes its reader.
type punctual struct {
	net.Conn
	armed atomic.Bool
	woken chan bool
}

func (p *punctual) SetReadDeadline(at time.Time) error {
	err := p.Conn.SetReadDeadline(at)
	if at.Equal(longAgo) && p.armed.Load() {
		p.woken <- true
	}
	return err
}

func (p *punctual) Read(b []byte) (int, error) {
	if !p.armed.Load() {
		return p.Conn.Read(b)
	}
	<-p.woken
	p.armed.Store(false)
	_ = p.Conn.SetReadDeadline(time.Time{})
	n, err := p.Conn.Read(b)
	_ = p.Conn.SetReadDeadline(longAgo)
	return n, err
}

func (s *serving) punctually() (*punctual, *client) {
	s.t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	there, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	here, err := l.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = there.Close() })
	_ = there.SetDeadline(time.Now().Add(20 * time.Second))
	p := &punctual{Conn: here, woken: make(chan bool, 1)}
	return p, &client{there, s.t, bufio.NewReader(there)}
}

// The end of an upload may arrive just as the exchange that nobody needs it for ends. The next request has its time, and its upload, all the same.
func TestAnUploadThatEndsAsItsExchangeDoes(t *testing.T) {
	var p *punctual
	reading, entered := make(chan bool), make(chan bool)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			_ = http.NewResponseController(w).EnableFullDuplex()
			p.armed.Store(true)
			go func() { _, _ = io.Copy(io.Discard, r.Body) }()
			until(t, "the upload is read", func() bool { return !r.Body.(*body).mu.TryLock() || unlock(r.Body.(*body)) })
			close(reading)
			return
		}
		entered <- true
		got, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v %v", got, err, r.Context().Err())
	})
	p, c := s.punctually()
	s.take(p)
	c.send("POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
	<-reading
	c.send("abcPOST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
	c.answer()
	<-entered
	c.send("def")
	if _, got := c.answer(); got != "def <nil> <nil>" {
		t.Errorf("the next request: %q", got)
	}
}

func unlock(b *body) bool {
	b.mu.Unlock()
	return false
}

// A request that comes at the very moment at which the server ends is answered, upload and all.
func TestARequestThatComesAsTheServerEnds(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, string(got), err)
	}, func(base *http.Server) { base.IdleTimeout = 0 })
	p, c := s.punctually()
	p.armed.Store(true)
	s.take(p)
	until(t, "it is idle", s.connOf(func(c *conn) bool { return c.idle }))
	shut := make(chan error, 1)
	go func() { shut <- s.Shutdown(context.Background()) }()
	c.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
	until(t, "it is awake", func() bool { return !p.armed.Load() })
	c.send("abc")
	if _, got := c.answer(); got != "abc<nil>" {
		t.Errorf("answered %q", got)
	}
	if err := <-shut; err != nil {
		t.Error(err)
	}
}

// A header has ReadHeaderTimeout in all, and what is wrong with it is said as soon as its line is there.
func TestHeadersThatDoNotEnd(t *testing.T) {
	hurry := func(base *http.Server) { base.ReadHeaderTimeout = 50 * time.Millisecond }
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	for _, begun := range []string{
		"NONSENSE\r\n", "GET /a\r\n", "GET /%zz HTTP/1.1\r\n", "\r\n", "GET /a HTTP/1.1\r\nHost: x\r\nno colon\r\nA", "GET /a HTTP/1.1\r\n A: b\r\nA",
	} {
		c := s.dial()
		c.send(begun)
		if res, _ := c.answer(); res.StatusCode != 400 {
			t.Errorf("%q: answered %d", begun, res.StatusCode)
		}
		c.closed()
	}
	s = serve(t, func(http.ResponseWriter, *http.Request) {}, hurry)
	for begun, status := range map[string]int{"GET /a HTTP/1.1\r\nHost: x\r\nX": 400, "GET /a HTTP/1.1\r\nHost: x\r\n": 0, "GET": 400} {
		c := s.dial()
		c.send(begun)
		if status != 0 {
			if res, _ := c.answer(); res.StatusCode != status {
				t.Errorf("%q: answered %d", begun, res.StatusCode)
			}
		}
		c.closed()
	}
	// Byte by byte it takes no longer, and net/http does not begin to count anew.
	s = serve(t, func(http.ResponseWriter, *http.Request) {}, hurry)
	c, begun := s.dial(), time.Now()
	var sent atomic.Int64
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for _, err := c.Write([]byte("GET /")); err == nil && sent.Add(1) < bufferSize-100; _, err = c.Write([]byte("a")) {
			<-tick.C
		}
	}()
	c.closedOrReset()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("ended after %v and %d bytes", took, sent.Load())
	}
}

func (c *client) closedOrReset() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.in); isTimeout(err) {
		c.t.Fatal(err)
	}
}

// A caller who has left has left for all that it sent, as with net/http.
func TestACallerWhoLeavesBehindSeveralRequests(t *testing.T) {
	seen := make(chan error, 2)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			<-r.Context().Done()
		}
		seen <- r.Context().Err()
	})
	c := s.dial()
	c.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	for range 2 {
		if err := <-seen; err != context.Canceled {
			t.Errorf("the context: %v", err)
		}
	}
	c.answer()
	c.answer()
	c.closed()
}

// What a handler has written goes out although it gives up then, and arrives although its upload does not end.
func TestAHandlerThatGivesUpAmidAnUpload(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.WriteString(w, strings.Repeat("half", 1000))
		panic(http.ErrAbortHandler)
	})
	for range 20 {
		c := s.dial()
		c.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
		go func() {
			for piece := make([]byte, 64<<10); ; {
				if _, err := c.Write(piece); err != nil {
					return
				}
			}
		}()
		got, err := io.ReadAll(c.in)
		if err != nil || strings.Count(string(got), "half") != 1000 || strings.Contains(string(got), "\r\n0\r\n") {
			t.Fatalf("answered %d bytes, %v", len(got), err)
		}
	}
}

// Serve closes a listener that failed, as net/http does, and Shutdown of a server that is idle ends well however late it is.
func TestEnds(t *testing.T) {
	s := New(&http.Server{Handler: http.NotFoundHandler()})
	l := &closedListener{}
	if err := s.Serve(l); err == nil || !l.closed {
		t.Errorf("ended with %v, closed %t", err, l.closed)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 {
		if err := s.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

type closedListener struct {
	nopListener
	closed bool
}

func (l *closedListener) Close() error {
	l.closed = true
	return nil
}

// Without an ErrorLog a panic goes to the standard one, as with net/http.
func TestPanicsWithoutALog(t *testing.T) {
	var to lockedBuffer
	log.SetOutput(&to)
	defer log.SetOutput(os.Stderr)
	s := serve(t, func(http.ResponseWriter, *http.Request) { panic("loud") }, func(base *http.Server) { base.ErrorLog = nil })
	c := s.dial()
	c.send(get)
	c.closed()
	if !strings.Contains(to.String(), "loud") {
		t.Errorf("log: %q", to.String())
	}
}

// Callers of every kind leave at every point; nothing stays behind.
func TestNothingIsLeftBehind(t *testing.T) {
	s := serve(t, new(ways).ServeHTTP)
	const whole = "POST /%c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nPOST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcdeGET /y HTTP/1.1\r\nHost: x\r\nExpect: \r\n\r\n"
	before, files := runtime.NumGoroutine(), descriptors()
	for i, way := range letters {
		request := fmt.Sprintf(whole, way)
		for cut := i % 3; cut <= len(request); cut += 3 {
			c, err := net.Dial("tcp4", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, request[:cut])
			switch cut % 4 {
			case 0: // a reset
				_ = c.(*net.TCPConn).SetLinger(0)
			case 1:
				_ = c.(*net.TCPConn).CloseWrite()
				_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
				_, _ = io.Copy(io.Discard, c)
			}
			_ = c.Close()
		}
	}
	until(t, "all connections are gone", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0
	})
	until(t, "all goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+2 })
	until(t, "all descriptors are closed", func() bool { return descriptors() <= files+2 })
}

// descriptors counts the open files, where the system lists them.
func descriptors() int {
	all, _ := os.ReadDir("/proc/self/fd")
	return len(all)
}

// A caller who never reads its answer keeps Shutdown no longer than its context, and Close ends it.
func TestACallerWhoNeverReads(t *testing.T) {
	ended := make(chan error, 1)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for piece := make([]byte, 1<<20); err == nil; {
			_, err = w.Write(piece)
		}
		ended <- err
	})
	s.dial().send(get)
	until(t, "it is watched", s.connOf(watching))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown ended with %v", err)
	}
	_ = s.Close()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	until(t, "the connection is gone", func() bool { return !s.connOf(func(*conn) bool { return true })() })
}
