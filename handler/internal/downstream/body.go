package downstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"sync"
)

// body is a request's body, read from the connection as the handler reads. It may be read by another goroutine than the handler's, and be tried to be
// read when the exchange is over. nil is no body.
type body struct {
	conn *conn
	req  *http.Request // whose body it is; it gets the trailers

	mu     sync.Mutex
	left   int64     // of a body with a length, in bytes
	chunks io.Reader // nil = it has a length
	over   bool      // its end has been read
	err    error     // what broke it
	closed bool
}

func (b *body) chunked() { b.chunks = httputil.NewChunkedReader(b.conn.in) }

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.read(p)
}

func (b *body) read(p []byte) (n int, err error) {
	switch {
	case b.over:
		return 0, io.EOF
	case b.err != nil:
		return 0, b.err
	case b.chunks != nil:
		n, err = b.chunks.Read(p)
		if err == io.EOF {
			err = b.trailer()
		}
	default:
		n, err = b.conn.in.Read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		switch {
		case b.left == 0:
			err = io.EOF
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
		}
	}
	switch {
	case err == io.EOF:
		b.over = true
		b.conn.uploaded()
	case err != nil:
		b.err = err
	}
	return n, err
}

// trailer reads what stands behind the last chunk, by net/http's rules (transfer.go, readTrailer), and returns io.EOF.
func (b *body) trailer() error {
	in := b.conn.in
	next, err := in.Peek(2)
	switch {
	case bytes.Equal(next, emptyLine[:2]):
		_, _ = in.Discard(2)
		return io.EOF
	case len(next) < 2:
		return errNoTrailer
	case err != nil:
		return err
	}
	for size := len(emptyLine); ; size++ {
		there, err := in.Peek(size)
		if bytes.HasSuffix(there, emptyLine) {
			break
		}
		if err != nil || size == longestTrailer {
			return errLongTrailer
		}
	}
	trailer, err := textproto.NewReader(in).ReadMIMEHeader()
	switch {
	case err == io.EOF:
		return errNoTrailer
	case err != nil:
		return err
	}
	b.req.Trailer = http.Header(trailer)
	return io.EOF
}

// longestTrailer is that of net/http: its connections' buffer.
const longestTrailer = 4 << 10

var (
	errNoTrailer   = errors.New("reading the body: the end of the connection came before that of the chunks")
	errLongTrailer = errors.New("reading the body: its trailers are too long")
)

// Close ends the reading. What is left is the connection's to deal with.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// discard reads what is left before an answer begins, if it is little, and reports whether that was all. The handler can then read no more: it would
// take the end for that of the whole, as it does with net/http where more is left than is read.
func (b *body) discard() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.chunks == nil && b.left >= longestLeft {
		return false
	}
	whole := b.drain(longestLeft + 1)
	b.closed = b.closed || b.err == nil
	return whole
}

// drain reads up to limit bytes of what is left, if a length does not say that it is more, and reports whether that was all.
func (b *body) drain(limit int64) bool {
	if b.over || b.chunks == nil && b.left >= limit {
		return b.over
	}
	var away [4 << 10]byte
	for !b.over && b.err == nil && limit > 0 {
		n, _ := b.read(away[:min(int64(len(away)), limit)])
		limit -= int64(n)
	}
	return b.over && limit > 0 // to the byte as net/http counts
}

// end is called when the exchange is over: nobody reads from it when it returns. It reports whether the next request can follow: the body has come to
// its end, of which up to limit bytes are read for that.
func (b *body) end(limit int64) bool {
	if b == nil {
		return true
	}
	if !b.mu.TryLock() {
		// The relay still reads an upload whose answer is out.
		b.conn.setDeadline(longAgo)
		b.mu.Lock()
		limit = 0
	}
	defer b.mu.Unlock()
	b.closed = true
	return b.drain(limit)
}
