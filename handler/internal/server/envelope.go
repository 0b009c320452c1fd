package server

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"

	"apimrelay/handler/internal/invocation"
)

// envelope is the ResponseWriter that keeps an answer until it can be judged as a whole. In memory a large body takes the place of the upload where that
// has gone, and is otherwise not in it at all (invocation.Body).
type envelope struct {
	header http.Header
	status int
	body   invocation.Body
	begun  bool // the body has its place
	// refused is why Write refused a piece.
	refused error
	upload  *keptUpload // nil = the call has no body
}

func (s *Server) newEnvelope() *envelope {
	return &envelope{header: make(http.Header), body: invocation.Body{Spill: &s.spill, Log: s.log}}
}

func (e *envelope) Header() http.Header { return e.header }

func (e *envelope) WriteHeader(status int) {
	if e.status == 0 {
		e.status = status
	}
}

// Write keeps at most what a request could hold, too: the process is shared by all invocations.
func (e *envelope) Write(b []byte) (n int, err error) {
	if e.body.Len()+len(b) > invocation.MaxBody {
		e.refused = errTooLarge
		return 0, errTooLarge
	}
	if !e.begun {
		e.begin(len(b))
	}
	if n, err = e.body.Write(b); err != nil {
		e.refused = err
	}
	return n, err
}

var errTooLarge = &invocation.CannotCarryError{What: "a body of more than 100 MiB"}

// begin makes room for a body, of which the first n bytes are there. Who only claims a length gets no room for it.
func (e *envelope) begin(n int) {
	if length, err := strconv.ParseUint(e.header.Get("Content-Length"), 10, 63); err == nil {
		n = max(n, int(min(length, invocation.MaxBody)))
	}
	e.begun = true
	e.body.Expect(n)
	if kept := e.upload.take(n); kept != nil {
		e.body.Use(kept)
	}
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
	e.body.Reset()
}

// free gives memory and file back when the answer is written.
func (e *envelope) free() {
	e.body.Free()
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
