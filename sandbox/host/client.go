package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// pool is the host's HttpClient towards the handler: one connection for each request in flight, kept for the next (dotnet/runtime
// src/libraries/System.Net.Http/src/System/Net/Http/SocketsHttpHandler/; recordings E-concurrency, E-idle-connection).
type pool struct {
	addr  string
	clock *clock
	idle  time.Duration
	mu    sync.Mutex
	conns []*handlerConn
}

type handlerConn struct {
	net.Conn
	r     *bufio.Reader
	timer *time.Timer
}

// outgoing is one request to the handler, its header complete and in order.
type outgoing struct {
	method, target string
	hdr            headers
	pieces         [][]byte                // the body, chunked in these pieces, or one piece with a Content-Length
	chunked        bool                    // pieces are written as chunks
	stream         func(w io.Writer) error // instead of pieces: a body that can be sent once
	uploads        sync.WaitGroup          // runs of stream
	broken         string                  // FaultGarbage or FaultResetInBody: what the first try is made of
	out            func()                  // called once, when the request is out; nil for nothing
}

func (o *outgoing) hasBody() bool { return o.pieces != nil || o.stream != nil }

// incoming is the handler's answer; close it, or read it to its end.
type incoming struct {
	status  int
	reason  string
	http10  bool
	hdr     headers
	body    io.Reader
	length  int64 // -1: not known from the header
	chunked bool
	release func(reuse bool)
	conn    *handlerConn
}

func (p *pool) get() (*handlerConn, bool, error) {
	for {
		p.mu.Lock()
		var c *handlerConn
		if n := len(p.conns); n > 0 {
			c, p.conns = p.conns[n-1], p.conns[:n-1]
		}
		p.mu.Unlock()
		if c == nil {
			break
		}
		if c.timer.Stop() && alive(c.Conn) {
			return c, true, nil
		}
		_ = c.Close()
	}
	conn, err := net.Dial("tcp4", p.addr)
	if err != nil {
		return nil, false, dialError(p.addr, err)
	}
	return &handlerConn{Conn: conn, r: bufio.NewReader(conn)}, false, nil
}

func (p *pool) put(c *handlerConn) {
	c.timer = time.AfterFunc(p.clock.real(p.idle), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, other := range p.conns {
			if other == c {
				p.conns = append(p.conns[:i], p.conns[i+1:]...)
				break
			}
		}
		_ = c.Close()
	})
	p.mu.Lock()
	p.conns = append(p.conns, c)
	p.mu.Unlock()
}

func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.timer.Stop()
		_ = c.Close()
	}
	p.conns = nil
}

// alive looks, without taking a byte, whether the other side has closed an idle connection; SocketsHttpHandler does the same before it reuses one.
func alive(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	_ = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK)
		return true
	})
	return quiet
}

// The tries that HttpClient makes of a request without a body whose connection ends before the answer begins (recording D-ans-closed).
const clientTries = 4

// send makes one exchange. Redirects are the caller's business.
func (p *pool) send(ctx context.Context, o *outgoing) (*incoming, error) {
	for try := 1; ; try++ {
		in, again, err := p.once(ctx, o)
		if err == nil || !again || o.hasBody() || try == clientTries || ctx.Err() != nil {
			return in, err
		}
	}
}

// once sends o; again tells that nothing of an answer came.
func (p *pool) once(ctx context.Context, o *outgoing) (in *incoming, again bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return nil, false, canceled(err)
	}
	c, _, err := p.get()
	if err != nil {
		return nil, false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	fail := func(err error) (*incoming, bool, error) {
		stop()
		_ = c.Close()
		if cause := context.Cause(ctx); cause != nil {
			return nil, false, canceled(cause)
		}
		var bad *exception
		if errors.As(err, &bad) {
			return nil, false, err
		}
		again := errors.Is(err, errNoAnswer) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		return nil, again, sendError(err)
	}
	var head bytes.Buffer
	head.WriteString(o.method + " " + o.target + " HTTP/1.1\r\n")
	o.hdr.write(&head)
	sent := func() bool { return true }
	switch {
	case o.broken != "":
		sent = func() bool { return false }
		err = o.writeBroken(c, head.Bytes())
	case o.stream == nil:
		err = p.write(c, o, head.Bytes())
	default:
		sent, err = p.upload(c, o, head.Bytes())
	}
	if err != nil {
		return fail(err)
	}
	if o.out != nil {
		o.out()
		o.out = nil
		if cause := context.Cause(ctx); cause != nil {
			return fail(cause)
		}
	}
	in, err = readAnswer(c.r, o.method)
	if err != nil {
		return fail(err)
	}
	reusable := !in.http10 && !in.hdr.hasToken("Connection", "close") && !o.hdr.hasToken("Connection", "close") && (in.length >= 0 || in.chunked)
	in.conn = c
	var once sync.Once
	in.release = func(whole bool) {
		once.Do(func() {
			if stop() && whole && reusable && c.r.Buffered() == 0 && sent() {
				p.put(c)
				return
			}
			_ = c.Close()
		})
	}
	return in, false, nil
}

var errNoAnswer = errors.New("no answer came")

// write sends head and body: small requests leave in one segment, chunked bodies piece by piece.
func (p *pool) write(c *handlerConn, o *outgoing, head []byte) error {
	w := bufio.NewWriterSize(c, 4096)
	_, _ = w.Write(head)
	if o.hasBody() {
		if final, err := p.expect(c, o, w); final || err != nil {
			return err
		}
	}
	for _, piece := range o.pieces {
		if o.chunked {
			_ = writeChunk(w, piece)
		} else {
			_, _ = w.Write(piece)
		}
	}
	if o.chunked {
		_, _ = io.WriteString(w, lastChunk)
	}
	return w.Flush()
}

// expect lets a body with Expect: 100-continue wait for 100, a second at most; final tells that another answer came, and the body stays here.
func (p *pool) expect(c *handlerConn, o *outgoing, w *bufio.Writer) (final bool, err error) {
	if !strings.EqualFold(o.hdr.get("Expect"), "100-continue") {
		return false, nil
	}
	if err := w.Flush(); err != nil {
		return false, err
	}
	_ = c.SetReadDeadline(time.Now().Add(p.clock.real(time.Second)))
	peeked, err := c.r.Peek(12)
	_ = c.SetReadDeadline(time.Time{})
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return false, nil
	}
	return err == nil && string(peeked[9:12]) != "100", err
}

// upload sends the head, and the body beside the reading of the answer, which may come first. sent tells whether the body has gone out whole.
func (p *pool) upload(c *handlerConn, o *outgoing, head []byte) (sent func() bool, err error) {
	w := bufio.NewWriterSize(c, 4096)
	_, _ = w.Write(head)
	final, err := p.expect(c, o, w)
	if err != nil || final {
		return func() bool { return false }, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	o.uploads.Go(func() {
		err := o.stream(&flushed{w})
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			_ = c.Close() // nothing more can be said on this connection
		}
		done <- err
	})
	return func() bool {
		select {
		case err := <-done:
			return err == nil
		default:
			return false
		}
	}, nil
}

// flushed lets a streamed body leave as it comes.
type flushed struct{ w *bufio.Writer } // not embedded: its WriteString would not flush

func (f *flushed) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.w.Flush()
	}
	return n, err
}

// The most that HttpClient takes of an answer's header (MaxResponseHeadersLength, 64 KB).
const maxAnswerHeader = 64 << 10

// isAnswerName tells what HttpClient takes for a header's name: a token, and blanks behind it, which it drops (dotnet/runtime
// src/libraries/System.Net.Http/src/System/Net/Http/SocketsHttpHandler/HttpConnection.cs, AddResponseHeader).
func isAnswerName(s string) bool { return isToken(strings.TrimRight(s, " ")) }

func readAnswer(r *bufio.Reader, method string) (*incoming, error) {
	for {
		limit := maxAnswerHeader
		line, err := readLine(r, &limit)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && line == "" {
				return nil, errNoAnswer
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, newException(httpRequestException, "Received an invalid status line: '%s'.", line)
			}
			return nil, err
		}
		in := &incoming{length: -1}
		version, rest, _ := strings.Cut(line, " ")
		code, reason, _ := strings.Cut(rest, " ")
		if in.status, err = strconv.Atoi(code); err != nil || len(code) != 3 || len(version) != 8 || !strings.HasPrefix(version, "HTTP/1.") {
			return nil, newException(httpRequestException, "Received an invalid status line: '%s'.", line)
		}
		in.reason, in.http10 = strings.TrimRight(reason, " "), version == "HTTP/1.0"
		in.hdr, err = readHeaders(r, &limit, isAnswerName)
		var bad badHeader
		switch {
		case errors.As(err, &bad):
			return nil, newException(httpRequestException, "Received an invalid header name: '%s'.", bad.name)
		case errors.Is(err, errHeaderTooLarge):
			return nil, newException(httpRequestException, "The HTTP response headers length exceeded the set limit of 65536 bytes.")
		case err != nil:
			return nil, err
		}
		if in.status >= 100 && in.status < 200 && in.status != 101 {
			continue
		}
		return in, in.frame(r, method)
	}
}

func (in *incoming) frame(r *bufio.Reader, method string) error {
	switch {
	case method == "HEAD" || in.status == 204 || in.status == 304 || in.status < 200:
		in.length, in.body = 0, eof{}
	case in.hdr.hasToken("Transfer-Encoding", "chunked"):
		in.chunked, in.body = true, &chunkReader{r: r}
	case in.hdr.has("Content-Length"):
		n, err := strconv.ParseUint(in.hdr.get("Content-Length"), 10, 62)
		if err != nil {
			return newException(httpRequestException, "The server returned an invalid or unrecognized response.")
		}
		in.length, in.body = int64(n), &lengthReader{r: r, left: int64(n)}
	default:
		in.body = r
	}
	return nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// all reads the whole body, as the host does with wrapped and forwarded answers.
func (in *incoming) all() ([]byte, error) {
	var b bytes.Buffer
	if in.length > 0 {
		b.Grow(int(min(in.length, 1<<28)) + bytes.MinRead)
	}
	_, err := b.ReadFrom(in.body)
	body := b.Bytes()
	in.release(err == nil)
	if err != nil {
		return nil, copyError(err)
	}
	return body, nil
}

func dialError(addr string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return newException(httpRequestException, "Connection refused (%s)", addr).because(newException(
			"System.Net.Sockets.SocketException (111)", "Connection refused"))
	}
	return newException(httpRequestException, "%s (%s)", err, addr)
}

func sendError(err error) error {
	return newException(httpRequestException, "An error occurred while sending the request.").because(transportError(err))
}

func copyError(err error) error {
	return newException(httpRequestException, "Error while copying content to a stream.").because(transportError(err))
}

func transportError(err error) *exception {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return newException("System.IO.IOException", "Unable to read data from the transport connection: Connection reset by peer.").because(
			newException("System.Net.Sockets.SocketException (104)", "Connection reset by peer"))
	}
	if errors.Is(err, errNoAnswer) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return newException("System.Net.Http.HttpIOException", "The response ended prematurely. (ResponseEnded)")
	}
	return newException("System.Net.Http.HttpIOException", "%s", fmt.Sprint(err))
}

func canceled(err error) error {
	return newException("System.Threading.Tasks.TaskCanceledException", "A task was canceled.").because(newException("", "%s", err))
}
