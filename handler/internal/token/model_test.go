package token

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"
)

var (
	modelRuns = flag.Int("model.runs", 150, "random `schedules` of the model test")
	modelSeed = flag.Uint64("model.seed", 1, "`seed` of the model test")
)

// TestRandomSchedules lets callers, refusals, failures, freezes and clock steps come in any order,
// in virtual time, and holds the source to its promises after each step.
func TestRandomSchedules(t *testing.T) {
	for i := range *modelRuns {
		if fault := playSchedule(t, *modelSeed, uint64(i), nil); fault != "" {
			t.Fatalf("schedule %d of seed %d: %s", i, *modelSeed, fault)
		}
	}
}

// A broken copy of the source breaks one promise. Each must be caught, or the model is blind to it.
func TestTheModelCatchesBrokenCopies(t *testing.T) {
	for name, b := range brokenCopies {
		t.Run(name, func(t *testing.T) {
			for i := range 400 {
				if fault := playSchedule(t, 7, uint64(i), b); fault != "" {
					t.Logf("caught by schedule %d: %s", i, fault)
					return
				}
			}
			t.Error("no schedule caught it")
		})
	}
}

// asked is the source as its callers see it.
type asked interface {
	Token(ctx context.Context) (string, error)
	Renew(ctx context.Context, refused string) (string, error)
	Prefetch()
	State() State
}

// brokenCopies are sources whose code is the real one but for one promise.
var brokenCopies = map[string]func(*world) asked{
	"a fetch for each caller": func(w *world) asked { return &eachFetches{Source: w.source, w: w} },
	"a caller waits for the refresh": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			if h := s.hand.Load(); h != nil && s.clock() >= h.refresh.Load() &&
				s.clock() < h.usable {
				s.mu.Lock()
				f := s.flight
				if f == nil {
					f = s.start(aside)
				}
				s.mu.Unlock()
				if err := f.wait(ctx, ""); err != nil {
					return "", err
				}
			}
			return s.Token(ctx)
		}}
	},
	"a token is handed out in its last seconds": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			if h := s.hand.Load(); h != nil && s.clock() < h.end.UnixNano() {
				return h.value, nil
			}
			return s.Token(ctx)
		}}
	},
	"no refresh before the end": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			if h := s.hand.Load(); h != nil && s.clock() < h.usable {
				return h.value, nil
			}
			return s.Token(ctx)
		}}
	},
	"a refresh before its time": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			if h := s.usable(); h != nil {
				h.refresh.Store(s.clock())
			}
			return s.Token(ctx)
		}}
	},
	"no pause after a failure": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			s.mu.Lock()
			s.closedUntil, s.closedBy = 0, nil
			s.mu.Unlock()
			return s.Token(ctx)
		}}
	},
	"the pause ignores Retry-After": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			s.mu.Lock()
			if s.closedUntil > s.clock()+int64(2*time.Second) {
				s.closedUntil = s.clock() + int64(2*time.Second)
			}
			s.mu.Unlock()
			return s.Token(ctx)
		}}
	},
	"a clock that was set back prolongs the pause": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			s.mu.Lock()
			left := time.Duration(s.closedUntil - s.clock())
			by := s.closedBy
			s.mu.Unlock()
			if by != nil && left > MaxRetryAfter && s.usable() == nil {
				return "", &Error{Kind: by.Kind, RetryAfter: left, Err: by.Err}
			}
			return s.Token(ctx)
		}}
	},
	"renewals without a pause": func(w *world) asked {
		return &override{Source: w.source, renew: func(ctx context.Context, s *Source, refused string) (string, error) {
			s.mu.Lock()
			s.forcedAt = 0
			s.mu.Unlock()
			return s.Renew(ctx, refused)
		}}
	},
	"a renewal returns the refused token": func(w *world) asked {
		return &override{Source: w.source, renew: func(ctx context.Context, s *Source, refused string) (string, error) {
			v, err := s.Renew(ctx, refused)
			if errors.Is(err, ErrSameToken) {
				return refused, nil
			}
			return v, err
		}}
	},
	"a failed refresh loses the token in hand": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			s.mu.Lock()
			failed := s.failures > 0
			s.mu.Unlock()
			if failed {
				s.hand.Store(nil)
			}
			return s.Token(ctx)
		}}
	},
	"the first caller's context ends the fetch for all": func(w *world) asked {
		return &override{Source: w.source, token: func(ctx context.Context, s *Source) (string, error) {
			v, err := s.Token(ctx)
			if ctx.Err() != nil {
				s.mu.Lock()
				if s.flight != nil {
					s.flight.end(context.Canceled)
				}
				s.mu.Unlock()
			}
			return v, err
		}}
	},
	"a token of another tenant is taken": func(w *world) asked { w.source.tenantID = ""; return w.source },
}

type override struct {
	*Source
	token func(context.Context, *Source) (string, error)
	renew func(context.Context, *Source, string) (string, error)
}

func (o *override) Token(ctx context.Context) (string, error) {
	if o.token == nil {
		return o.Source.Token(ctx)
	}
	return o.token(ctx, o.Source)
}

func (o *override) Renew(ctx context.Context, refused string) (string, error) {
	if o.renew == nil {
		return o.Source.Renew(ctx, refused)
	}
	return o.renew(ctx, o.Source, refused)
}

type eachFetches struct {
	*Source
	w *world
}

func (e *eachFetches) Token(ctx context.Context) (string, error) {
	if h := e.usable(); h != nil {
		return e.Source.Token(ctx)
	}
	tok, err := e.w.fetch(ctx)
	if err != nil {
		return "", asError(err)
	}
	return tok.Value, nil
}
