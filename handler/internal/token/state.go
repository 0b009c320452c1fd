package token

import "time"

// State is what a source knows about itself at one moment, for doctor, health and metrics. Nothing
// in it is secret.
type State struct {
	Identity, Resource string

	// The token in hand; all zero where there is none. Usable is false once it has less than ten
	// seconds left.
	Usable     bool
	Opaque     bool  // Facts holds the hash alone: the token's claims cannot be read
	Facts      Facts // public claims
	ReceivedAt time.Time
	ExpiresOn  time.Time
	RefreshAt  time.Time // from then on the next caller starts a refresh

	Requests uint64 // requests to the identity, every try counted
	// Counts are the fetches by outcome. A fetch is one request, or up to four tries of which the
	// last one counts.
	Counts Counts
	Forced uint64 // forced renewals begun

	Fetching bool // a fetch is under way
	Failing  bool // the last fetch that ended brought no token
	// LastError is an *Error, of the last fetch that failed; nil = none has. It stays after a
	// success: compare the times.
	LastError   error
	LastErrorAt time.Time // zero with a nil LastError
	// LastOKAt is when the last fetch brought a token, the same one included; zero = none has.
	LastOKAt    time.Time
	ClosedUntil time.Time // callers without a token fail at once until then; zero = they do not
}

// Counts are the fetches of a source by outcome.
type Counts struct{ New, Same, Refused, Unavailable uint64 }

// Age is how long the token has been in hand at now; 0 where there is none.
func (st State) Age(now time.Time) time.Duration {
	if st.ReceivedAt.IsZero() {
		return 0
	}
	return max(0, now.Sub(st.ReceivedAt))
}

// tally is the part of a State that is counted, guarded by the source's mutex.
type tally struct {
	requests, fresh, same, refused, unavailable, forced uint64

	failing bool
	err     *Error
	errAt   int64
	okAt    int64
}

func (t *tally) ended(now int64, err *Error) {
	t.failing = err != nil
	switch {
	case err == nil:
		t.okAt = now
		return
	case err.Kind == Refused:
		t.refused++
	default:
		t.unavailable++
	}
	t.err, t.errAt = err, now
}

// State returns the source's state. It sends no request and waits for nobody.
func (s *Source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, t := s.clock(), s.tally
	st := State{
		Identity: s.identity,
		Resource: s.resource,
		Requests: t.requests,
		Counts: Counts{New: t.fresh, Same: t.same, Refused: t.refused,
			Unavailable: t.unavailable},
		Forced:   t.forced,
		Fetching: s.flight != nil,
		Failing:  t.failing,
		LastOKAt: at(t.okAt),
	}
	if t.err != nil {
		st.LastError, st.LastErrorAt = t.err, at(t.errAt)
	}
	if s.closed(now) != nil {
		st.ClosedUntil = at(s.closedUntil)
	}
	if h := s.hand.Load(); h != nil {
		st.Usable, st.Opaque, st.Facts = now < h.usable, h.opaque, h.facts
		st.ReceivedAt, st.ExpiresOn, st.RefreshAt = h.received, h.end, at(h.refresh.Load())
	}
	return st
}

func at(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
