package relay

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// keptBody is how much of an upload is kept while it passes, so that it can be sent again. It is never read ahead.
const keptBody = 64 << 10

// An upload is a request's body that may be sent more than once: by GetBody where the request has it, otherwise from what was kept of the first pass.
// A nil *upload is no body.
type upload struct {
	getBody func() (io.ReadCloser, error)
	budget  *budget

	mu      sync.Mutex
	src     io.Reader
	srcErr  error // what the source ended with, io.EOF included
	kept    []byte
	over    bool // more has passed than is kept
	reading bool
	waiting chan struct{} // made by who waits for reading to end
	current *attempt
}

func newUpload(req *http.Request, b *budget) *upload {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	return &upload{getBody: req.GetBody, budget: b, src: req.Body, over: req.ContentLength > keptBody}
}

// first is the body of the first attempt.
func (u *upload) first() io.ReadCloser {
	if u == nil {
		return http.NoBody
	}
	if u.getBody != nil {
		return &moving{u.src, u.budget} // need not be kept, and cannot break off
	}
	u.current = &attempt{upload: u}
	return u.current
}

// moving is a body that keeps the budget running. Whoever made it closes what it reads.
type moving struct {
	io.Reader
	budget *budget
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n > 0 {
		m.budget.progress()
	}
	return n, err
}

func (m *moving) Close() error { return nil }

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

var errGone = errors.New("relaying: the upload has passed and was not kept")

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

	n, err := u.src.Read(p)

	u.mu.Lock()
	defer u.mu.Unlock()
	u.reading = false
	if u.waiting != nil {
		close(u.waiting)
		u.waiting = nil
	}
	if n > 0 {
		u.budget.progress()
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

// answer is an answer's body on its way down: it keeps the budget running, and cleans the trailers when they are there.
type answer struct {
	body  io.ReadCloser
	call  *Call
	res   *http.Response
	ended bool
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.body.Read(p)
	if n > 0 {
		a.call.budget.progress()
	}
	switch {
	case err == nil || a.ended:
	case err == io.EOF:
		a.ended = true
		if len(a.res.Trailer) > 0 {
			names := slices.Collect(maps.Keys(a.res.Trailer))
			a.call.Outcome.Dropped = append(a.call.Outcome.Dropped, cleanAnswer(a.res.Trailer, a.call.secrets())...)
			for _, name := range names {
				// Without a value it is not sent; the names are counted to tell whether more came than were announced.
				if _, left := a.res.Trailer[name]; !left {
					a.res.Trailer[name] = nil
				}
			}
		}
	default:
		a.ended = true
		a.call.Outcome.Cut = called(a.res.Request.Context(), err)
	}
	return n, err
}

func (a *answer) Close() error { return a.body.Close() }
