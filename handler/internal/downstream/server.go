// Package downstream serves the Functions host's connections: HTTP/1.1, each request read, handled and answered by the goroutine that its connection has.
//
// net/http's server starts a goroutine for each request that watches whether the caller leaves, wakes it when the answer is out, and moves the connection's
// deadline four times. For a call of a kilobyte that is a seventh of the processor time of the whole relay (docs/benchmarks.md). Here a request is only
// watched when it takes longer than watchAfter, and a deadline is only moved when it has to be.
//
// That holds for plain requests, as the host sends them (request.go says what is plain). The first one on a connection that is not makes the connection
// net/http's for the rest of its life, from that request's first byte on: whatever is odd, ambiguous or refused is net/http's to judge, and whoever sends
// bytes here sees the same as there (FuzzSameAsNetHTTP).
package downstream

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Times that follow net/http's where it has them.
const (
	// watchAfter is how long a request may take before its caller is watched.
	watchAfter = 20 * time.Millisecond
	// deadlineSlack is how much longer than the server's IdleTimeout a connection may be idle, so that not each request has to move the deadline.
	deadlineSlack = 30 * time.Second
	// lingering is how long a connection is read from after an answer that came before the end of its upload: closed with bytes unread, the network
	// would throw the answer away (RFC 9112 9.6).
	lingering = 500 * time.Millisecond
)

// Server serves connections. It follows the settings of the *http.Server that it is made of, which serves the connections that are not plain: Handler,
// ReadHeaderTimeout, IdleTimeout and ErrorLog. It is safe for concurrent use, and cannot be used again after Shutdown or Close.
type Server struct {
	base      *http.Server
	rest      handedOver
	serveRest sync.Once // begins when there is something to serve: it takes a part of the start that most callers never need

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	ended     chan struct{} // closed by Shutdown and Close
	ending    atomic.Bool
	empty     chan struct{} // closed when the last connection has gone after ending; nil = nobody waits
}

// New makes a Server. base must not be used otherwise; a ReadTimeout or WriteTimeout of its own would hold for its connections only.
func New(base *http.Server) *Server {
	s := &Server{base: base, listeners: make(map[net.Listener]struct{}), conns: make(map[*conn]struct{}), ended: make(chan struct{})}
	s.rest = handedOver{conns: make(chan net.Conn), ended: s.ended}
	return s
}

// Base is what the server was made of. Its settings may be changed before Serve.
func (s *Server) Base() *http.Server { return s.base }

// Serve accepts connections until the listener fails or the server ends, which is http.ErrServerClosed. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.ending.Load() {
		s.mu.Unlock()
		return http.ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	if s.rest.addr == nil {
		s.rest.addr = l.Addr()
	}
	s.mu.Unlock()
	var pause time.Duration
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.take(c)
		case s.ending.Load():
			return http.ErrServerClosed
		case temporary(err):
			// As net/http does where descriptors run out.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.logf("accepting a connection: %v; again in %v", err, pause)
			select {
			case <-time.After(pause):
			case <-s.ended:
			}
		default:
			return err
		}
	}
}

func (s *Server) logf(format string, args ...any) {
	if s.base.ErrorLog != nil {
		s.base.ErrorLog.Printf(format, args...)
	} else {
		log.Printf(format, args...)
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (s *Server) take(network net.Conn) {
	c := newConn(s, network)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Load() {
		_ = network.Close()
		return
	}
	s.conns[c] = struct{}{}
	go c.serve()
}

// forget is called when a connection has been closed or handed over.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// end stops accepting and tells the connections. It returns a channel that is closed when none is left.
func (s *Server) end(tell func(*conn)) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending.Swap(true) {
		close(s.ended)
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	clear(s.listeners)
	for c := range s.conns {
		tell(c)
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	gone := s.empty
	if len(s.conns) == 0 {
		close(s.empty)
		s.empty = nil
	}
	return gone
}

// Shutdown lets the requests that are in progress end and closes idle connections at once. It returns the context's error where that ends first.
func (s *Server) Shutdown(ctx context.Context) error {
	gone := s.end((*conn).wakeIfIdle)
	err := s.base.Shutdown(ctx)
	select {
	case <-gone: // even where the context has ended
		return err
	default:
	}
	select {
	case <-gone:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends all connections at once.
func (s *Server) Close() error {
	s.end(func(c *conn) { _ = c.Conn.Close() })
	return s.base.Close()
}

// handOver gives a connection to net/http. It reports false where the server has ended.
func (s *Server) handOver(c net.Conn) bool {
	s.serveRest.Do(func() { go func() { _ = s.base.Serve(&s.rest) }() })
	select {
	case s.rest.conns <- c:
		return true
	case <-s.ended:
		return false
	}
}

// handedOver is the listener of net/http's server.
type handedOver struct {
	conns chan net.Conn
	ended <-chan struct{}
	addr  net.Addr
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

func (h *handedOver) Close() error   { return nil }
func (h *handedOver) Addr() net.Addr { return h.addr }

// begun is a connection of which some bytes have been read already.
type begun struct {
	net.Conn
	first  []byte
	failed error // what came behind them; nil = nothing yet
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	if b.failed != nil {
		return 0, b.failed
	}
	return b.Conn.Read(p)
}

// CloseWrite is what net/http looks for when it answers a request that it does not read to its end.
func (b *begun) CloseWrite() error { return closeWrite(b.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
