package relay

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// keptBody is how much of an upload is kept while it passes, so that it can be sent again. It is never read ahead.
const keptBody = 64 << 10

// An upload is a request's body that may be sent more than once: by GetBody where the request has it, otherwise from what was kept of the first pass.
// A nil *upload is no body.
type upload struct {
	getBody func() (io.ReadCloser, error)
	budget  *budget
	// from and trailer are the caller's trailers and those of the request, which get their values at
	// the body's end; nil = none.
	from, trailer http.Header
	// back: the exchange that the body belongs to has ended. The transport may still be reading then,
	// and the server has the connection.
	back atomic.Bool

	mu      sync.Mutex
	src     io.Reader
	srcErr  error // what the source ended with, io.EOF included
	kept    []byte
	over    bool // more has passed than is kept
	reading bool
	waiting chan struct{} // made by who waits for reading to end
	current *attempt
}

func newUpload(b *Body, budget *budget) *upload {
	if b.Reader == nil {
		return nil
	}
	return &upload{getBody: b.Again, budget: budget, src: b.Reader, from: b.Trailer, over: b.Length > keptBody}
}

// giveBack ends all reading: the source belongs to the server again.
func (u *upload) giveBack() {
	if u != nil {
		u.back.Store(true)
	}
}

var errGivenBack = errors.New("relaying: the exchange that this body belongs to is over")

// read reads the source and hands its trailers on at its end.
func (u *upload) read(p []byte) (int, error) {
	if u.back.Load() {
		return 0, errGivenBack
	}
	n, err := u.src.Read(p)
	if err != nil {
		for name := range u.trailer {
			u.trailer[name] = u.from[name]
		}
		u.trailer = nil
	}
	if n > 0 {
		u.budget.progress()
	}
	return n, err
}

// first is the body of the first attempt.
func (u *upload) first() io.ReadCloser {
	if u == nil {
		return http.NoBody
	}
	if u.getBody != nil {
		return io.NopCloser(uploadReader{u}) // need not be kept, and cannot break off
	}
	u.current = &attempt{upload: u}
	return u.current
}

// uploadReader reads an upload that need not be kept.
type uploadReader struct{ *upload }

func (r uploadReader) Read(p []byte) (int, error) { return r.read(p) }

// again returns the body from its beginning, or false where it cannot be had again. The attempt before reads no more.
func (u *upload) again() (io.ReadCloser, bool) {
	if u == nil {
		return http.NoBody, true
	}
	if u.getBody != nil {
		body, err := u.getBody()
		if err != nil {
			return nil, false
		}
		return body, true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var late <-chan time.Time
	for u.keptWhole() {
		if !u.reading {
			u.current.dead = true // not before: where there is no other attempt, the one that was answered goes on
			u.current = &attempt{upload: u}
			return u.current, true
		}
		// The transport may still be reading for an attempt that was answered early. What that read brings is kept; a caller that sends nothing more
		// until it has the answer is not waited for.
		if late == nil {
			late = time.After(time.Second)
		}
		waiting := make(chan struct{})
		u.waiting = waiting
		u.mu.Unlock()
		ended := true
		select {
		case <-waiting:
		case <-late:
			ended = false
		}
		u.mu.Lock()
		if !ended {
			return nil, false
		}
	}
	return nil, false
}

// resend is the request's GetBody.
func (u *upload) resend() (io.ReadCloser, error) {
	if body, ok := u.again(); ok {
		return body, nil
	}
	return nil, errGone
}

// errGone is what is left of a failure after which net/http would send the upload again: it keeps no
// other cause.
var errGone = errors.New("relaying: the connection was closed amid the upload, " +
	"which cannot be sent again: more than 64 KiB of it had passed")

// repeatable tells whether again can succeed as things are.
func (u *upload) repeatable() bool {
	if u == nil || u.getBody != nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.keptWhole()
}

// keptWhole tells whether all that has passed is kept, and the source is not broken. The caller holds the mutex.
func (u *upload) keptWhole() bool { return !u.over && (u.srcErr == nil || u.srcErr == io.EOF) }

// broken is the error that the caller's own upload ended with, if it did.
func (u *upload) broken() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.srcErr == io.EOF {
		return nil
	}
	return u.srcErr
}

// attempt reads the upload for one request: first what was kept, then on from the source.
type attempt struct {
	upload *upload
	off    int
	dead   bool
}

var errAttemptOver = errors.New("relaying: the attempt that this body belongs to is over")

func (a *attempt) Read(p []byte) (int, error) {
	u := a.upload
	u.mu.Lock()
	switch {
	case a.dead:
		u.mu.Unlock()
		return 0, errAttemptOver
	case !u.over && a.off < len(u.kept):
		n := copy(p, u.kept[a.off:])
		a.off += n
		u.mu.Unlock()
		return n, nil
	case u.srcErr != nil:
		defer u.mu.Unlock()
		return 0, u.srcErr
	}
	u.reading = true
	u.mu.Unlock()

	n, err := u.read(p)

	u.mu.Lock()
	defer u.mu.Unlock()
	u.reading = false
	if u.waiting != nil {
		close(u.waiting)
		u.waiting = nil
	}
	if n > 0 {
		switch {
		case u.over:
		case len(u.kept)+n > keptBody:
			u.over, u.kept = true, nil
		default:
			u.kept = append(u.kept, p[:n]...)
			a.off += n
		}
	}
	if err != nil && u.srcErr == nil {
		u.srcErr = err
	}
	return n, err
}

// Close ends the attempt, not the source: another attempt may need the rest, and the server closes what it opened.
func (a *attempt) Close() error {
	a.upload.mu.Lock()
	defer a.upload.mu.Unlock()
	a.dead = true
	return nil
}
