package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"apimrelay/handler/internal/cause"
)

// purpose tells who a flight is for.
type purpose int

const (
	aside   purpose = iota // nobody waits: one try
	forced                 // callers whose token was refused: one try
	awaited                // callers without a token: several tries
)

// flight is one fetch under way, shared by everybody who wants a token of the source. It belongs to none of them: its context is its own.
type flight struct {
	done   chan struct{} // closed at the end; then landed or err is set
	landed *held
	err    *Error

	ctx context.Context
	end context.CancelCauseFunc

	// Guarded by the source's mutex.
	purpose  purpose
	deadline time.Time // with a monotonic reading
	timer    *time.Timer
}

var errDeadline = fmt.Errorf("no answer within %s: %w", Deadline, context.DeadlineExceeded)

// start begins a flight. The caller holds the mutex.
func (s *Source) start(p purpose) *flight {
	ctx, end := context.WithCancelCause(context.Background())
	f := &flight{done: make(chan struct{}), ctx: ctx, end: end, purpose: p, deadline: time.Now().Add(Deadline)}
	f.timer = time.AfterFunc(Deadline, func() { end(errDeadline) })
	s.flight = f
	go s.fly(f)
	return f
}

// promote turns a flight that nobody waited for into one with callers: they have their full deadline, and it tries again. The caller holds the
// source's mutex.
func (f *flight) promote() {
	if f.purpose != awaited && f.timer.Stop() { // not stopped: its deadline has just passed, it ends as it was
		f.purpose = awaited
		f.deadline = time.Now().Add(Deadline)
		f.timer.Reset(Deadline)
	}
}

// wait returns nil when the flight has ended, or the cause of ctx's end. What is there already wins.
func (f *flight) wait(ctx context.Context, resource string) error {
	select {
	case <-f.done:
	default:
		select {
		case <-f.done:
		case <-ctx.Done():
			return fmt.Errorf("waiting for a token for %s: %w", resource, context.Cause(ctx))
		}
	}
	return nil
}

// fly fetches until there is a token or no sense in another try.
func (s *Source) fly(f *flight) {
	defer f.end(nil)
	defer f.timer.Stop()
	for try := 1; ; try++ {
		h, err := s.try(f)
		if err == nil {
			s.land(f, h)
			return
		}
		pause, more := s.next(f, try, err)
		if !more {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-f.ctx.Done():
			timer.Stop()
		}
	}
}

// try is one request and the checks of what it brought.
func (s *Source) try(f *flight) (h *held, failure *Error) {
	defer func() {
		if p := recover(); p != nil {
			// Not p itself: what a panicking library prints may hold what it worked on.
			failure = unavailable(cause.TokenUnavailable, "the credential panicked with a %T", p)
		}
	}()
	s.mu.Lock()
	s.tally.requests++
	s.mu.Unlock()
	tok, err := s.fetch(f.ctx)
	if err != nil {
		if e := asError(err); f.ctx.Err() == nil || e.Kind == Refused {
			return nil, e
		}
		if ended := context.Cause(f.ctx); !errors.Is(err, context.DeadlineExceeded) {
			// Not wrapped: context.Canceled in there is the flight's own end, and would pass for a caller that has left.
			return nil, &Error{Code: CodeOf(err), Hint: Hint(err), Err: fmt.Errorf("%w: %v", ended, err)}
		}
		return nil, asError(err)
	}
	if h, failure = accept(tok, s.tenantID, time.Unix(0, s.clock())); h != nil {
		h.refresh.Store(later(h.refresh.Load(), h.usable, s.spread))
	}
	return h, failure
}

// next decides after a failed try: the pause until another one, or the end of the flight.
func (s *Source) next(f *flight, try int, err *Error) (pause time.Duration, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.purpose == awaited && err.Kind == Unavailable && f.ctx.Err() == nil && try <= len(pauses) {
		pause = max(pauses[try-1], err.RetryAfter)
		if time.Until(f.deadline) > pause {
			s.log.Debug("token request failed, trying again", "resource", s.resource, "try", try, "pause_ms", pause.Milliseconds(), "error", err.Error())
			return pause, true
		}
	}
	s.fail(f, try, err)
	return 0, false
}

// land takes the token in. What it replaces, and when it is to be renewed, depends on whether it is a newer one.
func (s *Source) land(f *flight, h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	was := s.hand.Load()
	recovered := s.failures > 0
	s.failures, s.closedUntil, s.closedBy, s.flight = 0, 0, nil, nil
	s.tally.ended(now, nil)
	switch {
	case was != nil && was.value == h.value:
		// The platform has a cache of its own and answers with the same token for hours. No failure.
		s.tally.same++
		if !h.end.After(was.end) {
			h = was
		}
		s.keep(h, now)
	case was != nil && f.purpose == aside && now < was.usable && h.end.Before(was.end):
		// Another of its caches, with a token that ends before ours.
		s.tally.same++
		h = was
		s.keep(h, now)
	default:
		s.tally.fresh++
		s.hand.Store(h)
		s.log.Info("token obtained", "resource", s.resource, "token", h.facts, "left_s", (h.end.UnixNano()-now)/int64(time.Second))
	}
	if recovered {
		s.log.Info("token endpoint recovered", "resource", s.resource)
	}
	f.landed = h
	close(f.done)
}

// keep leaves h in hand, and the next attempt for later. The caller holds the mutex.
func (s *Source) keep(h *held, now int64) {
	h.refresh.Store(later(min(again(time.Unix(0, now), h.end).UnixNano(), h.usable), h.usable, s.spread))
	s.hand.Store(h)
	s.log.Debug("token refresh brought no newer token", "resource", s.resource, "token", h.facts.Hash, "left_s", (h.end.UnixNano()-now)/int64(time.Second))
}

// fail ends a flight without a token and sets the pause before the next one. The caller holds the mutex.
func (s *Source) fail(f *flight, tries int, err *Error) {
	now := s.clock()
	s.failures++
	cool := cooldown(s.failures, err.RetryAfter)
	if tries > 1 {
		err = err.with(fmt.Errorf("%d tries, the last one: %w", tries, err.Err))
	}
	f.err = s.getting(err, cool)
	if f.purpose == awaited || err.RetryAfter > 0 {
		s.closedUntil, s.closedBy = now+int64(cool), f.err
	}
	s.flight = nil
	s.tally.ended(now, f.err)
	level, left := slog.LevelError, int64(0)
	if h := s.hand.Load(); h != nil && now < h.usable {
		h.refresh.Store(min(now+int64(cool), h.usable))
		level, left = slog.LevelWarn, (h.end.UnixNano()-now)/int64(time.Second)
	}
	attrs := []any{"resource", s.resource, "kind", err.Kind.String(), "error", f.err.Error(), "retry_in_ms", cool.Milliseconds(), "left_s", left}
	if f.err.Code != "" {
		attrs = append(attrs, "cause", string(f.err.Code))
	}
	if f.err.Hint != "" {
		attrs = append(attrs, "hint", f.err.Hint)
	}
	s.log.Log(context.Background(), level, "token request failed", attrs...)
	close(f.done)
}
