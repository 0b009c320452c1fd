package downstream

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"
)

// longAgo ends a read that waits.
var longAgo = time.Unix(1, 0)

// bufferSize is that of the buffer that a connection reads into. A request's header has to fit into it to be plain.
const bufferSize = 8 << 10

// conn is a connection of the host's. Its goroutine reads requests and runs the handler; a second one watches it where a request takes long.
type conn struct {
	net.Conn
	server *Server
	ctx    context.Context // of all its requests
	remote string
	in     *bufio.Reader
	posted bool // the last request was a POST
	timer  *time.Timer

	mu       sync.Mutex
	deadline time.Time // of reading; zero = none. It may be changed without the mutex while no request is in progress
	moved    sync.Cond // watching has changed
	idle     bool
	serving  bool
	drained  bool               // the present request has no body, or its end has been read
	due      bool               // the present request takes long
	watching bool               // somebody reads
	watched  bool               // somebody has read while the present request was in progress
	gone     bool               // the caller has left: nobody waits for the answers to what it still sent
	cancel   context.CancelFunc // of the present request's context
	byte     [1]byte            // of the next request: read while watching
	held     bool
}

func newConn(s *Server, network net.Conn) *conn {
	ctx := context.WithValue(context.Background(), http.ServerContextKey, s.base)
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, network.LocalAddr())
	c := &conn{Conn: network, server: s, ctx: ctx}
	c.moved.L = &c.mu
	if addr := network.RemoteAddr(); addr != nil {
		c.remote = addr.String()
	}
	c.in = bufio.NewReaderSize((*source)(c), bufferSize)
	return c
}

// source is what in reads from.
type source conn

func (s *source) Read(p []byte) (int, error) {
	c := (*conn)(s)
	c.mu.Lock()
	if c.held {
		c.held = false
		p[0] = c.byte[0]
		c.mu.Unlock()
		return 1, nil
	}
	if c.serving {
		c.setDeadline(time.Time{}) // an upload takes the time it takes
	}
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	if err != nil {
		c.left()
	}
	return n, err
}

// left ends the present request's context: nobody waits for its answer.
func (c *conn) left() {
	c.mu.Lock()
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (c *conn) serve() {
	growStack()
	defer c.server.forget(c)
	given := false
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
		}
		if !given {
			_ = c.Conn.Close()
		}
	}()
	for least := 1; c.await(least); least = 4 { // what net/http waits for before it takes bytes for a request's beginning
		head, failed := c.head()
		ctx, cancel := context.WithCancel(c.ctx)
		req, body := c.parse(ctx, head)
		if req == nil {
			cancel()
			given = c.giveAway(failed)
			return
		}
		_, _ = c.in.Discard(len(head))
		if !c.exchange(req, body, cancel) || c.server.ending.Load() {
			return
		}
	}
}

// panicked is what net/http does: the handler's way to cut an answer is told to nobody, anything else to the log.
func (c *conn) panicked(p any) {
	if p == http.ErrAbortHandler {
		return
	}
	stack := make([]byte, 64<<10)
	c.server.logf("panic serving %s: %v\n%s", c.remote, p, stack[:runtime.Stack(stack, false)])
}

// await waits for the first bytes of the next request. The first one may come as late as any other, where net/http's ReadHeaderTimeout begins with the
// connection: clients keep connections that they made for a request which found another meanwhile, and one that the host keeps is not closed here.
func (c *conn) await(least int) bool {
	if c.in.Buffered() >= least {
		return true
	}
	if limit := c.server.base.IdleTimeout; limit > 0 {
		if now := time.Now(); c.deadline.Sub(now) < limit {
			c.setDeadline(now.Add(limit + deadlineSlack))
		}
	} else {
		c.setDeadline(time.Time{})
	}
	c.mu.Lock()
	c.idle = true
	c.mu.Unlock()
	if c.server.ending.Load() {
		return false
	}
	_, err := c.in.Peek(least)
	c.mu.Lock()
	c.idle = false
	c.mu.Unlock()
	return err == nil
}

// wakeIfIdle ends await.
func (c *conn) wakeIfIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle {
		c.setDeadline(longAgo)
	}
}

func (c *conn) setDeadline(at time.Time) {
	if at.IsZero() && c.deadline.IsZero() {
		return
	}
	c.deadline = at
	_ = c.SetReadDeadline(at)
}

// head is the header of the next request, its empty line included, or what there is of one that is not plain. It waits for a header that is incomplete
// only while nothing odd has come, and no longer than net/http would; the error is why nothing more came.
func (c *conn) head() ([]byte, error) {
	if c.posted {
		// Old clients end a POST with a line break that belongs to nothing; net/http passes over it.
		for range 4 {
			if b, _ := c.in.Peek(1); c.in.Buffered() == 0 || b[0] != '\r' && b[0] != '\n' {
				break
			}
			_, _ = c.in.Discard(1)
		}
	}
	waiting, looked := false, 0
	for {
		there, _ := c.in.Peek(c.in.Buffered())
		if end := bytes.Index(there, emptyLine); end >= 0 {
			return there[:end+len(emptyLine)], nil
		}
		if len(there) == 0 || len(there) == bufferSize || bareBreak(there) {
			return there, nil
		}
		if lines := bytes.LastIndex(there, emptyLine[:2]) + 2; lines > max(looked, 1) {
			looked = lines
			if !plainLines(string(there[:lines])) {
				return there, nil // net/http may say at once what is wrong
			}
		}
		if !waiting {
			waiting = true
			if limit := c.server.base.ReadHeaderTimeout; limit > 0 {
				c.setDeadline(time.Now().Add(limit))
			}
		}
		if _, err := c.in.Peek(len(there) + 1); err != nil {
			there, _ = c.in.Peek(c.in.Buffered())
			return there, err
		}
	}
}

var emptyLine = []byte("\r\n\r\n")

// bareBreak tells whether a line ends without a carriage return.
func bareBreak(b []byte) bool {
	for i := range b {
		if b[i] == '\n' && (i == 0 || b[i-1] != '\r') {
			return true
		}
	}
	return false
}

// giveAway makes the connection net/http's, with all that has been read and, where reading has failed, with that: its time-out would begin anew.
func (c *conn) giveAway(failed error) bool {
	first, _ := c.in.Peek(c.in.Buffered())
	if c.held { // nobody watches now
		first = append(first[:len(first):len(first)], c.byte[0])
	}
	return c.server.handOver(&begun{Conn: c.Conn, first: first, failed: failed})
}

// exchange has one request handled and answered. It reports whether the connection can have another.
func (c *conn) exchange(req *http.Request, body *body, cancel context.CancelFunc) bool {
	c.posted = req.Method == http.MethodPost
	c.start(cancel, body)
	w := newResponse(c, req, body)
	whole := false
	defer func() {
		if !whole { // the handler has given up
			cancel()
			w.cut()
			c.stop()
			if !body.end(0) {
				c.linger()
			}
		}
	}()
	c.server.base.Handler.ServeHTTP(w, req)
	cancel()
	again := w.finish()
	c.stop()
	whole = true
	worth := int64(0)
	if again {
		worth = longestLeft
	}
	if !body.end(worth) {
		c.linger()
		return false
	}
	return again
}

// longestLeft is how much of an upload that the handler has not read is read for the connection's sake, in bytes: net/http's own limit.
const longestLeft = 256 << 10

// start is called before the handler.
func (c *conn) start(cancel context.CancelFunc, b *body) {
	c.mu.Lock()
	c.cancel, c.serving, c.drained, c.due = cancel, true, b == nil, false
	gone := c.gone
	c.mu.Unlock()
	if gone {
		cancel()
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(watchAfter, c.late)
	} else {
		c.timer.Reset(watchAfter)
	}
}

// late is called when the present request takes long.
func (c *conn) late() {
	c.mu.Lock()
	c.due = true
	c.watch()
}

// uploaded is called when the end of the present request's body has been read.
func (c *conn) uploaded() {
	c.mu.Lock()
	c.drained = true
	if !c.due {
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	go func() {
		c.mu.Lock()
		c.watch()
	}()
}

// watch reads from the connection until something comes, if there is a request to watch and nobody else reads. The caller holds the mutex, which is
// given up. A byte is the next request's and kept; an end or a failure is the caller's leaving.
func (c *conn) watch() {
	if !c.serving || !c.due || !c.drained || c.watching || c.held {
		c.mu.Unlock()
		return
	}
	c.watching, c.watched = true, true
	_ = c.SetReadDeadline(time.Time{})
	c.mu.Unlock()
	n, err := c.Conn.Read(c.byte[:])
	c.mu.Lock()
	c.held = n == 1
	cancel := c.cancel // nil where stop is what ended the reading
	left := err != nil && cancel != nil
	c.watching, c.gone = false, left
	c.mu.Unlock()
	c.moved.Broadcast()
	if left {
		cancel()
	}
}

// stop is called when the handler has answered: nobody watches when it returns.
func (c *conn) stop() {
	c.timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving, c.cancel = false, nil
	if !c.watched {
		return
	}
	if c.watching {
		_ = c.SetReadDeadline(longAgo)
		for c.watching {
			c.moved.Wait()
		}
	}
	c.watched = false
	c.deadline = time.Time{}
	_ = c.SetReadDeadline(c.deadline)
}

// linger lets an answer arrive whose caller is still sending.
func (c *conn) linger() {
	_ = closeWrite(c.Conn)
	_ = c.SetReadDeadline(time.Now().Add(lingering))
	var away [4 << 10]byte
	for {
		if _, err := c.Conn.Read(away[:]); err != nil {
			return
		}
	}
}

// growStack has the goroutine's stack as large as a call needs, once, where it would be moved to a larger one four times in the first call.
//
//go:noinline
func growStack() {
	var room [stackSize]byte
	runtime.KeepAlive(&room)
}

const stackSize = 12 << 10
