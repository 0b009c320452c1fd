package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// bufferSize is that of what is borrowed for the time of an exchange: one buffer for the request, one for the answer. A longer request gets a longer one.
const bufferSize = 16 << 10

// longestHeader bounds an answer's header, with all 1xx answers before it, where the settings do not: net/http's own default (http.Transport,
// MaxResponseHeaderBytes).
const longestHeader = 10 << 20

var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}
	writers = sync.Pool{New: func() any { b := make([]byte, 0, bufferSize); return &b }}
)

// conn is a connection to the gateway. It belongs to the pool or to one exchange.
type conn struct {
	net.Conn
	pool  *pool
	state *tls.ConnectionState // nil = plain HTTP
	wire  *socket              // what is below TLS, or Conn itself
	since time.Time            // of its last use
	used  bool                 // it has carried an exchange before this one
	one   [1]byte

	// Of the present exchange.
	in     *bufio.Reader
	wrote  int64
	read   int64
	bounds int64 // how much may be read from the connection
}

var errHeaderTooLong = errors.New("reading the answer: its header is too long")

// Read and Write count what passes.
func (c *conn) Read(p []byte) (int, error) {
	if c.bounds <= 0 {
		return 0, errHeaderTooLong
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.bounds)])
	c.read += int64(n)
	c.bounds -= int64(n)
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wrote += int64(n)
	return n, err
}

func (c *conn) close() { _ = c.Conn.Close() }

// stale tells whether it has been idle for longer than the limit.
func (c *conn) stale(now time.Time, limit time.Duration) bool {
	return limit > 0 && c.idle(now) >= limit
}

// idle is the time since the last use by that clock which went further: the monotonic one stands still while the machine is suspended, the one on the
// wall may be set back.
func (c *conn) idle(now time.Time) time.Duration {
	return max(now.Sub(c.since), now.Round(0).Sub(c.since.Round(0)))
}

// spoken tells whether the gateway has closed the idle connection or said something on it, either of which ends its use. Over TLS the socket alone does not
// show it: what came together with the answer before has been taken from it already. What belongs to TLS itself, a late session ticket, is no word.
func (c *conn) spoken() bool {
	if c.state == nil {
		return c.wire.look.look()
	}
	c.wire.asking = true
	n, err := c.Conn.Read(c.one[:])
	c.wire.asking = false
	return n > 0 || err != os.ErrDeadlineExceeded || c.wire.amid()
}

// socket is a network connection of which may be asked what is there. Everything else is the network's.
type socket struct {
	net.Conn
	look   *looker
	asking bool // Read does not wait, and fails as at a deadline; crypto/tls goes on after one

	// Where in the records of TLS it is: so much is seen of a record's header, or left of the record.
	header [5]byte
	seen   int
	left   int
}

func (s *socket) Read(p []byte) (int, error) {
	if s.asking && !s.look.look() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := s.Conn.Read(p)
	for p = p[:n]; len(p) > 0; {
		if s.left > 0 {
			passed := min(s.left, len(p))
			s.left, p = s.left-passed, p[passed:]
			continue
		}
		passed := copy(s.header[s.seen:], p)
		s.seen, p = s.seen+passed, p[passed:]
		if s.seen == len(s.header) {
			s.seen, s.left = 0, int(binary.BigEndian.Uint16(s.header[3:])) // RFC 8446 5.1
		}
	}
	return n, err
}

// amid tells whether a record has begun whose rest is to come.
func (s *socket) amid() bool { return s.seen > 0 || s.left > 0 }

// abort ends what waits for the connection.
func (c *conn) abort() { _ = c.SetDeadline(time.Unix(1, 0)) }

// exchange sends the request and reads the answer's header. The connection goes back to its pool when the answer's body has been read to its end, and is
// closed when anything else ends the exchange.
func (c *conn) exchange(req *http.Request) (*http.Response, error) {
	c.wrote, c.read, c.bounds = 0, 0, longestHeader
	if limit := c.pool.base.MaxResponseHeaderBytes; limit > 0 {
		c.bounds = limit
	}
	release := context.AfterFunc(req.Context(), c.abort)
	b := &body{conn: c, release: release}
	res, err := c.send(req, &b.exact)
	if err != nil {
		release()
		c.close()
		return nil, err
	}
	c.bounds = math.MaxInt64
	res.TLS = c.state
	b.src, b.keep = res.Body, !res.Close && res.StatusCode >= 200 && c.wire.look != nil
	if res.Body == http.NoBody {
		b.finish(true)
		return res, nil
	}
	res.Body = b
	return res, nil
}

// send writes the request and reads the answer's header. plain is for the body of an answer that is plain.
func (c *conn) send(req *http.Request, plain *exact) (*http.Response, error) {
	if err := c.writeRequest(req); err != nil {
		return nil, fmt.Errorf("sending the request: %w", err)
	}
	c.in = readers.Get().(*bufio.Reader)
	c.in.Reset(c)
	for {
		if _, err := c.in.Peek(1); err != nil { // that a connection was reset, the network tells but once
			c.handBack()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
		if res := plainAnswer(c.in, req, plain); res != nil {
			return res, nil
		}
		res, err := http.ReadResponse(c.in, req)
		switch {
		case err != nil:
			c.handBack()
			return nil, fmt.Errorf("reading the answer: %w", err)
		case res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode < 100:
			return res, nil
		}
	}
}

// writeRequest writes the request in one piece.
func (c *conn) writeRequest(req *http.Request) error {
	pooled := writers.Get().(*[]byte)
	out, plain, err := appendRequest((*pooled)[:0], req)
	switch {
	case err != nil:
	case plain:
		_, err = c.Write(out)
	default:
		buffered := bufio.NewWriterSize(c, bufferSize+longestBody+longestFields)
		if err = req.Write(together{buffered}); err == nil {
			err = buffered.Flush()
		}
	}
	if *pooled = out; cap(out) <= 2*bufferSize {
		writers.Put(pooled)
	}
	return err
}

// together is a bufio.Writer that net/http does not take for one: it would send the header ahead of a body that it does not know to stand in memory.
type together struct{ *bufio.Writer }

// handBack gives the buffer back. Nobody reads from it any more.
func (c *conn) handBack() {
	c.in.Reset(nil)
	readers.Put(c.in)
	c.in = nil
}

// body is an answer's body. As with net/http's, one goroutine reads it.
type body struct {
	src     io.ReadCloser
	exact   exact // src, where the answer is plain
	conn    *conn
	release func() bool
	keep    bool // the connection can be used again after it
	over    atomic.Bool
	end     error // what Read returns from now on
}

func (b *body) Read(p []byte) (int, error) {
	if b.over.Load() {
		if b.end == nil {
			return 0, http.ErrBodyReadAfterClose
		}
		return 0, b.end
	}
	n, err := b.src.Read(p)
	if err != nil {
		b.end = err
		b.finish(err == io.EOF)
	}
	return n, err
}

// Buffered is how much of the answer is at hand, in bytes of HTTP: while it is more than none, Read need not wait for the gateway.
func (b *body) Buffered() int {
	if b.over.Load() {
		return 0
	}
	return b.conn.in.Buffered()
}

// Close ends the exchange. What is left of the answer is not waited for: its connection is closed.
func (b *body) Close() error {
	if b.over.CompareAndSwap(false, true) {
		b.release()
		b.conn.close() // the buffer is not handed back: another goroutine may be reading
	}
	return nil
}

// finish ends the exchange where nobody reads.
func (b *body) finish(whole bool) {
	if !b.over.CompareAndSwap(false, true) {
		return
	}
	c := b.conn
	clean := b.release() && whole && b.keep && c.in.Buffered() == 0
	c.handBack()
	if clean {
		c.pool.put(c)
	} else {
		c.close()
	}
}
