package server

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"

	"apimrelay/handler/internal/invocation"
)

// envelope is the ResponseWriter that keeps an answer until it can be judged as a whole. A large body stands in memory once: it has its size from the
// start, and takes the place of the upload where that has gone.
type envelope struct {
	header http.Header
	status int
	body   []byte
	// tooLarge tells that Write refused a piece.
	tooLarge bool
	upload   *keptUpload // nil = the call has no body
}

func (e *envelope) Header() http.Header { return e.header }

func (e *envelope) WriteHeader(status int) {
	if e.status == 0 {
		e.status = status
	}
}

// Write keeps at most what a request could hold, too: the process is shared by all invocations.
func (e *envelope) Write(b []byte) (int, error) {
	if len(e.body)+len(b) > invocation.MaxBody {
		e.tooLarge = true
		return 0, errTooLarge
	}
	if e.body == nil {
		e.body = e.room(len(b))
	}
	e.body = append(e.body, b...)
	return len(b), nil
}

var errTooLarge = &invocation.CannotCarryError{What: "a body of more than 100 MiB"}

// room is memory for the body, of which the first n bytes are there. Who only claims a length gets no memory for it.
func (e *envelope) room(n int) []byte {
	if length, err := strconv.ParseUint(e.header.Get("Content-Length"), 10, 63); err == nil {
		n = max(n, int(min(length, invocation.MaxBody)))
	}
	if kept := e.upload.take(n); kept != nil {
		return kept
	}
	return invocation.Borrow(n)
}

// Flush has nothing to do; the relay asks for it with event streams.
func (e *envelope) Flush() {}

func (e *envelope) code() int {
	if e.status == 0 {
		return http.StatusOK
	}
	return e.status
}

func (e *envelope) reset() {
	clear(e.header)
	e.status = 0
	e.body = e.body[:0]
}

// free gives the memory back when the answer is written.
func (e *envelope) free() {
	invocation.Return(e.body)
	invocation.Return(e.upload.take(0))
}

// keptUpload is a body that can be sent as often as the relay wants, and whose memory can be had when all of it has been read that was begun. The
// transport may go on reading an upload after the answer has begun.
type keptUpload struct {
	body    []byte
	readers atomic.Int32
}

func (u *keptUpload) open() (io.ReadCloser, error) {
	u.readers.Add(1)
	return &uploadReader{upload: u, rest: u.body}, nil
}

// take returns the memory, which the upload has no more, if nobody reads it and there is room for n bytes.
func (u *keptUpload) take(n int) []byte {
	if u == nil || cap(u.body) < n || u.readers.Load() != 0 {
		return nil
	}
	b := u.body[:0]
	u.body = nil
	return b
}

type uploadReader struct {
	upload *keptUpload
	rest   []byte
}

func (r *uploadReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	if r.rest = r.rest[n:]; len(r.rest) == 0 {
		r.upload.readers.Add(-1)
	}
	return n, nil
}

func (r *uploadReader) Close() error { return nil }
