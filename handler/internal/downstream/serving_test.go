package downstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// serving is a server of ours with a handler, and what its log says.
type serving struct {
	*Server
	t    *testing.T
	addr string
	log  lockedBuffer
	// given counts the connections that became net/http's.
	given atomic.Int64
	ended chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func serve(t *testing.T, h http.HandlerFunc, settings ...func(*http.Server)) *serving {
	t.Helper()
	s := &serving{t: t, ended: make(chan error, 1)}
	s.Server = New(&http.Server{
		Handler: h, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: log.New(&s.log, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.given.Add(1)
			}
		},
	})
	for _, set := range settings {
		set(s.Base())
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	go func() { s.ended <- s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// client is a connection to it.
type client struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (s *serving) dial() *client {
	s.t.Helper()
	c, err := net.Dial("tcp4", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{c, s.t, bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one answer.
func (c *client) answer() (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(body)
}

// closed waits for the server's end of the connection.
func (c *client) closed() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); err == nil || errors.Is(err, syscall.ETIMEDOUT) || isTimeout(err) {
		c.t.Fatalf("read %q (%v), want the connection closed", b, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// connOf is the server's side of its only connection.
func (s *serving) connOf(is func(*conn) bool) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.mu.Lock()
			defer c.mu.Unlock()
			return is(c)
		}
		return false
	}
}

func watching(c *conn) bool { return c.watching }
func held(c *conn) bool     { return c.held }

const get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
