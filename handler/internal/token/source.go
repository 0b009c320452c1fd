package token

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Source keeps the token of one identity for one resource. All its methods may be called by any number of goroutines.
//
// It works on request: there is no timer and no goroutine while nobody calls, because the platform freezes an idle instance.
type Source struct {
	fetch    Fetch
	tenantID string
	identity string
	resource string
	log      *slog.Logger
	clock    func() int64 // the wall clock in nanoseconds since 1970
	spread   float64      // see Options

	hand atomic.Pointer[held] // the token in hand; nil before the first one. Replaced, never changed, but for its refresh

	mu          sync.Mutex // guards the rest; never held while a fetch runs, never taken on the warm path
	flight      *flight    // the fetch under way, or nil
	failures    int        // in a row
	closedUntil int64      // no fetch starts before: a fetch for waiting callers failed, or the endpoint said Retry-After
	closedBy    *Error     // what those get who come meanwhile
	forcedAt    int64      // start of the last forced renewal; 0 = none yet
	tally       tally
}

// Options describe a Source.
type Options struct {
	Fetch    Fetch        // required
	TenantID string       // the tenant that tokens must come from, a GUID; "" = any
	Identity string       // names the identity in State; nothing secret
	Resource string       // names the source in logs, errors and State
	Log      *slog.Logger // nil = silent

	// Spread, from 0 to 1, is how much of the leeway for a refresh this source uses: a fifth of what is left of the token's life at the refresh point, ten
	// minutes at most, none where less than two minutes are left. Instances that started together part by it; each has a random one. 0 = all refresh at
	// the point itself.
	Spread float64

	// Now reads the wall clock; nil = the system's. A test in virtual time (testing/synctest) sets time.Now: the system's clock is read
	// without it, and so not virtual.
	Now func() time.Time
}

// NewSource makes a source with no token in hand. It asks for none: call Prefetch.
func NewSource(o Options) *Source {
	s := &Source{fetch: o.Fetch, tenantID: o.TenantID, identity: o.Identity, resource: o.Resource, log: o.Log, clock: wallClock, spread: o.Spread}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.Now != nil {
		s.clock = func() int64 { return o.Now().UnixNano() }
	}
	return s
}

// Token returns a token that is good for ten seconds at least. With such a token in hand it never waits, whatever ctx says: past the refresh point
// it starts a fetch in the background, and goes on. With none in hand it waits for the one fetch that serves everybody, up to Deadline.
// Errors: *Error, or the cause of ctx's end, which ends the waiting and not the fetch.
func (s *Source) Token(ctx context.Context) (string, error) {
	if h := s.hand.Load(); h != nil {
		now := s.clock()
		if now < h.refresh.Load() {
			return h.value, nil
		}
		if now < h.usable {
			s.refreshAside(h, now)
			return h.value, nil
		}
	}
	return s.await(ctx)
}

// Renew returns a token other than the one that the gateway refused: the one in hand where it is another already, else the result of one forced
// fetch (one try) that all refused callers share, at most one a minute. ErrSameToken says that there is none. Callers of Token get the token in
// hand meanwhile. Other errors: *Error, or the cause of ctx's end.
func (s *Source) Renew(ctx context.Context, refused string) (string, error) {
	h := s.usable()
	if h == nil {
		value, err := s.await(ctx)
		if err == nil && value == refused {
			return "", ErrSameToken
		}
		return value, err
	}
	if h.value != refused {
		return h.value, nil
	}
	s.mu.Lock()
	if h := s.usable(); h != nil && h.value != refused { // landed just now
		s.mu.Unlock()
		return h.value, nil
	}
	f := s.flight // every flight asks past every cache of the process, so one under way does as well as a forced one
	if f == nil {
		now := s.clock()
		if since := now - s.forcedAt; s.forcedAt != 0 && 0 <= since && since < int64(forcedPause) {
			s.mu.Unlock()
			return "", ErrSameToken
		}
		if err := s.closed(now); err != nil {
			s.mu.Unlock()
			return "", err
		}
		s.forcedAt = now
		s.tally.forced++
		f = s.start(forced)
	}
	s.mu.Unlock()
	if err := f.wait(ctx, s.resource); err != nil {
		return "", err
	}
	if f.err != nil {
		return "", f.err
	}
	if f.landed.value == refused {
		return "", ErrSameToken
	}
	return f.landed.value, nil
}

// Prefetch starts a fetch in the background when there is no token in hand, and returns at once.
func (s *Source) Prefetch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usable() == nil && s.flight == nil && s.closed(s.clock()) == nil {
		s.start(awaited)
	}
}

// usable returns the token in hand while it can be handed out.
func (s *Source) usable() *held {
	if h := s.hand.Load(); h != nil && s.clock() < h.usable {
		return h
	}
	return nil
}

// refreshAside lets one of the callers past the refresh point start a fetch. Nobody waits for anything but the mutex, which is never held for long.
func (s *Source) refreshAside(h *held, now int64) {
	at := h.refresh.Load()
	if now < at || !h.refresh.CompareAndSwap(at, min(now+int64(Deadline+refreshGrace), h.usable)) {
		return // somebody else's turn
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil && s.hand.Load() == h && s.closed(now) == nil {
		s.start(aside)
	}
}

// await returns the token that a fetch brings.
func (s *Source) await(ctx context.Context) (string, error) {
	for {
		s.mu.Lock()
		if h := s.usable(); h != nil { // landed just now
			s.mu.Unlock()
			return h.value, nil
		}
		f := s.flight
		if f != nil {
			f.promote()
		} else {
			if err := s.closed(s.clock()); err != nil {
				s.mu.Unlock()
				return "", err
			}
			f = s.start(awaited)
		}
		s.mu.Unlock()
		if err := f.wait(ctx, s.resource); err != nil {
			return "", err
		}
		switch {
		case f.err != nil && f.purpose == awaited:
			return "", f.err
		case f.err != nil:
			// A refresh of one try, too late to be promoted: it ran into its deadline while the process was frozen. It says nothing about now.
		case s.clock() < f.landed.end.UnixNano():
			return f.landed.value, nil
		default:
			// The process was frozen between the token's arrival and this line, beyond the token's end.
		}
	}
}

// closed returns the error of whoever comes before a fetch may start again, or nil. A wall clock that was set back must not prolong the pause.
func (s *Source) closed(now int64) error {
	left := time.Duration(s.closedUntil - now)
	if s.closedBy == nil || left <= 0 || left > MaxRetryAfter {
		return nil
	}
	e := *s.closedBy
	e.RetryAfter = left
	return &e
}

// getting wraps the cause of a failure in the source's error style.
func (s *Source) getting(e *Error, retryAfter time.Duration) *Error {
	failed := e.with(fmt.Errorf("getting a token for %s: %w", s.resource, e.Err))
	failed.RetryAfter = retryAfter
	return failed
}
