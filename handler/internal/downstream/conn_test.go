package downstream

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestACallerWhoLeavesEndsTheContext(t *testing.T) {
	for name, request := range map[string]string{
		"without a body":   get,
		"after its upload": "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"after its chunks": "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"amid its upload":  "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nabc",
		"as net/http's":    "GET /a HTTP/1.1\r\nHost: x\r\nExpect: \r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			entered, ended := make(chan bool, 1), make(chan error, 1)
			s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				entered <- true
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
				ended <- r.Context().Err()
			})
			c := s.dial()
			c.send(request)
			<-entered
			c.Close()
			select {
			case err := <-ended:
				if err != context.Canceled {
					t.Errorf("ended with %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("the context has not ended")
			}
		})
	}
}

// Of a request that takes long, the next one's first byte has been read already.
func TestARequestBehindOneThatIsWatched(t *testing.T) {
	s, c := behindAWatched(t, "GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /se", "cond HTTP/1.1\r\nHost: x\r\n\r\n", "GET/first", "GET/second")
	c.send(get)
	if _, body := c.answer(); body != "GET/a" || s.given.Load() != 0 {
		t.Errorf("answered %q; %d connections became net/http's", body, s.given.Load())
	}
}

func TestManyRequestsAtOnceOnOneConnection(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.URL.Path+string(body))
	})
	c := s.dial()
	var all strings.Builder
	for range 100 {
		all.WriteString("GET /get HTTP/1.1\r\nHost: x\r\n\r\nPOST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	}
	go func() { _, _ = io.WriteString(c.Conn, all.String()) }()
	for range 100 {
		for _, want := range []string{"/get", "/postabc"} {
			if _, body := c.answer(); body != want {
				t.Fatalf("answered %q, want %q", body, want)
			}
		}
	}
}

// A header may come in pieces, and be as long as the buffer. A longer one is net/http's.
func TestLongHeaders(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("X-Long")) })
	c := s.dial()
	for size, given := range map[int]int64{10: 0, 5000: 0, bufferSize - 100: 0, bufferSize: 1, 100 << 10: 1} {
		c, before := c, s.given.Load()
		if given > 0 {
			c = s.dial()
		}
		long := strings.Repeat("l", size)
		c.send("GET /a HTTP/1.1\r\nHost: x\r\nX-Lo")
		c.send("ng: " + long)
		c.send("\r\n\r\n")
		if _, body := c.answer(); body != long {
			t.Errorf("%d bytes: answered %d", size, len(body))
		}
		if got := s.given.Load() - before; got != given {
			t.Errorf("%d bytes: %d connections became net/http's, want %d", size, got, given)
		}
	}
}

// An answer that comes before the end of an upload arrives whole, however long the caller goes on sending; then the connection ends.
func TestAnAnswerAmidAnUpload(t *testing.T) {
	for _, duplex := range []bool{false, true} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if duplex {
				_ = http.NewResponseController(w).EnableFullDuplex()
				w.Header().Set("Connection", "close")
			}
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no")
		})
		c := s.dial()
		c.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
		go func() {
			for piece := make([]byte, 64<<10); ; {
				if _, err := c.Write(piece); err != nil {
					return
				}
			}
		}()
		res, body := c.answer()
		if res.StatusCode != 403 || body != "no" || !res.Close {
			t.Errorf("answered %d %q, close %t", res.StatusCode, body, res.Close)
		}
		c.closed()
	}
}

// What is left of a short upload is read, and the connection goes on.
func TestAShortUploadThatNobodyReads(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.WriteString(w, r.URL.Path)
	})
	c := s.dial()
	for range 3 {
		c.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + get + strings.Repeat("u", 100000-len(get)))
		if _, body := c.answer(); body != "/a" {
			t.Errorf("answered %q", body)
		}
	}
}

// The relay's transport may read an upload when the handler is over. It gets nothing of the next request.
func TestAnUploadReadWhenTheExchangeIsOver(t *testing.T) {
	bodies := make(chan io.ReadCloser, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		bodies <- r.Body
	})
	c := s.dial()
	c.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
	c.answer()
	body := <-bodies
	c.send(get)
	c.answer()
	<-bodies
	if n, err := body.Read(make([]byte, 10)); n != 0 || err != http.ErrBodyReadAfterClose {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// One that is waiting for more when the handler ends is woken.
func TestAnUploadThatIsWaitedForWhenTheExchangeIsOver(t *testing.T) {
	read := make(chan error, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Connection", "close")
		begun := make(chan bool)
		go func() {
			_, _ = io.ReadFull(r.Body, make([]byte, 3))
			close(begun)
			_, err := r.Body.Read(make([]byte, 10))
			read <- err
		}()
		<-begun
	})
	c := s.dial()
	c.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nabc")
	c.answer()
	if err := <-read; err == nil {
		t.Error("the read came to a good end")
	}
	c.closed()
}

func TestPanics(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/begun":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/quiet":
			panic(http.ErrAbortHandler)
		case "/loud":
			panic("loud")
		}
	})
	for path, want := range map[string]string{"/begun": "HTTP/1.1 200 OK", "/quiet": "", "/loud": ""} {
		c := s.dial()
		c.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		all, _ := io.ReadAll(c.in)
		if !strings.HasPrefix(string(all), want) || want == "" && len(all) > 0 || strings.Contains(string(all), "halfh") {
			t.Errorf("%s: answered %q", path, all)
		}
	}
	if log := s.log.String(); strings.Count(log, "panic serving") != 1 || !strings.Contains(log, "loud") || !strings.Contains(log, "conn_test.go") {
		t.Errorf("log: %s", log)
	}
}

func TestShutdownLetsRequestsEnd(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- true
			<-release
		}
		_, _ = io.WriteString(w, "done")
	})
	idle, silent, theirs, busy := s.dial(), s.dial(), s.dial(), s.dial()
	idle.send(get)
	idle.answer()
	theirs.send("GET /a HTTP/1.1\r\nHost: x\r\nX-Odd: \xff\nX-B: c\r\n\r\n")
	theirs.answer()
	busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	shut := make(chan error, 1)
	go func() { shut <- s.Shutdown(context.Background()) }()
	for _, c := range []*client{idle, silent, theirs} {
		c.closed()
	}
	select {
	case err := <-shut:
		t.Fatalf("shut down with a request in progress: %v", err)
	default:
	}
	close(release)
	if res, body := busy.answer(); body != "done" || !res.Close {
		t.Errorf("answered %q, close %t", body, res.Close)
	}
	busy.closed()
	if err := <-shut; err != nil {
		t.Error(err)
	}
	if err := <-s.ended; err != http.ErrServerClosed {
		t.Errorf("Serve ended with %v", err)
	}
	if c, err := net.Dial("tcp4", s.addr); err == nil {
		c.Close()
		t.Error("it still listens")
	}
	if err := s.Serve(nopListener{}); err != http.ErrServerClosed {
		t.Errorf("Serve again: %v", err)
	}
}

func TestShutdownWaitsNoLongerThanItsContext(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	s := serve(t, func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-release
	})
	defer close(release)
	s.dial().send(get)
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); err != context.Canceled {
		t.Errorf("ended with %v", err)
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	s := New(&http.Server{Handler: http.NotFoundHandler(), IdleTimeout: time.Nanosecond})
	ours, theirs := net.Pipe()
	deadlines := &deadlineConn{Conn: ours}
	s.take(deadlines)
	if _, err := theirs.Read(make([]byte, 1)); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if d := deadlines.first.Load(); d == nil || time.Until(*d) > deadlineSlack+time.Second || time.Until(*d) < 0 {
		t.Errorf("the deadline of an idle connection: %v", d)
	}
}

// deadlineConn remembers the first deadline, and keeps none of the future.
type deadlineConn struct {
	net.Conn
	first atomic.Pointer[time.Time]
}

func (c *deadlineConn) SetReadDeadline(at time.Time) error {
	c.first.CompareAndSwap(nil, &at)
	return c.Conn.SetReadDeadline(time.Unix(1, 0))
}

// A descriptor that is missing for a while ends nothing.
func TestAcceptGoesOn(t *testing.T) {
	s := New(&http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)})
	l := &failingListener{errs: []error{tooMany{}, tooMany{}, errors.New("the end")}}
	if err := s.Serve(l); err == nil || err.Error() != "the end" || len(l.errs) != 0 {
		t.Errorf("ended with %v", err)
	}
	_ = s.Close()
}

type tooMany struct{}

func (tooMany) Error() string   { return "too many open files" }
func (tooMany) Temporary() bool { return true }

type failingListener struct {
	nopListener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

type nopListener struct{}

func (nopListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (nopListener) Close() error              { return nil }
func (nopListener) Addr() net.Addr            { return &net.TCPAddr{} }

// A caller who takes nothing of an answer and leaves ends the context of who writes it.
func TestACallerWhoLeavesAmidAnAnswer(t *testing.T) {
	ended := make(chan error, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var err error
		for piece := make([]byte, 64<<10); err == nil; {
			_, err = w.Write(piece)
		}
		<-r.Context().Done()
		ended <- err
	})
	c := s.dial()
	c.send(get)
	_, _ = c.in.ReadByte()
	c.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(20 * time.Second):
		t.Error("the handler goes on")
	}
}
