package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a source, its identity and a wall clock that can jump while the monotonic one goes on,
// as it does for a frozen process.
type world struct {
	source *Source

	mu      sync.Mutex
	jump    time.Duration
	issued  map[string]time.Time // end of each token that the source may hand out
	strange map[string]bool      // tokens of another tenant, and other rubbish
	last    string
	count   int
	now     answer

	inFetch   int         // fetches under way
	notBefore time.Time   // what the identity's last Retry-After asks for, by the wall clock
	forced    []time.Time // forced renewals, by the wall clock
	requests  int
	fault     string
}

// answer is how the identity behaves for now.
type answer struct {
	delay      time.Duration
	err        *Error
	same       bool
	life       time.Duration
	refreshIn  time.Duration
	wrongAbode bool // another tenant
	hang       bool
}

func (w *world) wall() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.jump)
}

func (w *world) blame(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

func (w *world) found() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

const modelTenant = "aaaaaaaa-0000-0000-0000-000000000000"

func (w *world) fetch(ctx context.Context) (Token, error) {
	w.mu.Lock()
	w.requests++
	w.inFetch++
	if w.inFetch > 1 {
		w.mu.Unlock()
		w.blame("two fetches at once")
		w.mu.Lock()
	}
	a := w.now
	tooEarly := w.notBefore.Sub(time.Now().Add(w.jump))
	w.mu.Unlock()
	if tooEarly > time.Millisecond {
		w.blame("a request was made %s before the end of Retry-After", tooEarly)
	}
	defer func() {
		w.mu.Lock()
		w.inFetch--
		w.mu.Unlock()
	}()
	wait := time.After(a.delay)
	if a.hang {
		wait = nil
	}
	select {
	case <-wait:
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	now := w.wall()
	if a.err != nil {
		w.mu.Lock()
		w.notBefore = now.Add(a.err.RetryAfter)
		w.mu.Unlock()
		return Token{}, a.err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.same && w.last != "" && w.issued[w.last].Sub(now) > 0 {
		return Token{Value: w.last, ExpiresOn: w.issued[w.last]}, nil
	}
	w.count++
	tenant := modelTenant
	if a.wrongAbode {
		tenant = "bbbbbbbb-0000-0000-0000-000000000000"
	}
	end := now.Add(a.life).Truncate(time.Second)
	claims := fmt.Sprintf(`{"tid":%q,"n":%d,"exp":%d}`, tenant, w.count, end.Unix())
	value := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	if a.wrongAbode {
		w.strange[value] = true
	} else {
		w.issued[value], w.last = end, value
	}
	tok := Token{Value: value, ExpiresOn: end}
	if a.refreshIn > 0 {
		tok.RefreshOn = now.Add(a.refreshIn)
	}
	return tok, nil
}

// playSchedule runs one random schedule and returns the first broken promise, or "".
func playSchedule(t *testing.T, seed, n uint64, broken func(*world) asked) (fault string) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, n))
		w := &world{issued: map[string]time.Time{}, strange: map[string]bool{},
			now: answer{life: 24 * time.Hour}}
		w.source = NewSource(Options{Fetch: w.fetch, TenantID: modelTenant, Resource: "api://model",
			Now: w.wall})
		var s asked = w.source
		if broken != nil {
			s = broken(w)
		}
		var wg sync.WaitGroup
		for step := range 60 {
			w.step(r, s, &wg, step)
			synctest.Wait()
			w.check(s)
			if w.found() != "" {
				break
			}
		}
		w.mu.Lock()
		w.now = answer{life: time.Hour}
		w.mu.Unlock()
		wg.Wait()
		synctest.Wait()
		time.Sleep(time.Minute) // whatever is under way ends
		if _, err := s.Token(context.Background()); err != nil {
			w.blame("a minute after everything is well again: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		fault = w.found()
	})
	return fault
}

// step does one random thing.
func (w *world) step(r *rand.Rand, s asked, wg *sync.WaitGroup, step int) {
	switch r.IntN(13) {
	case 0, 1, 2, 3: // a crowd
		for range 1 + r.IntN(20) {
			wg.Go(func() { w.callToken(s, time.Hour) })
		}
	case 4: // a caller that will not wait for long
		patience := time.Duration(1+r.IntN(2000)) * time.Millisecond
		wg.Go(func() { w.callToken(s, patience) })
	case 5: // the gateway refuses the token
		for range 1 + r.IntN(5) {
			wg.Go(func() { w.callRenew(s) })
		}
	case 6, 7: // the identity behaves otherwise from now on
		a := answer{life: time.Duration(30+r.IntN(100_000)) * time.Second,
			delay: time.Duration(r.IntN(3000)) * time.Millisecond}
		switch r.IntN(8) {
		case 0, 1:
			a.err = &Error{Kind: Unavailable, Err: errors.New("down")}
		case 2:
			a.err = &Error{Kind: Unavailable, Err: errors.New("busy"),
				RetryAfter: time.Duration(1+r.IntN(25)) * time.Second}
		case 3:
			a.err = &Error{Kind: Refused, Err: errors.New("no")}
		case 4:
			a.same = true
		case 5:
			a.wrongAbode = r.IntN(2) == 0
		case 6:
			a.hang = r.IntN(2) == 0
		case 7:
			a.refreshIn = time.Duration(1+r.IntN(7200)) * time.Second
		}
		w.mu.Lock()
		w.now = a
		w.mu.Unlock()
	case 8: // time passes
		time.Sleep(time.Duration(r.IntN(pick(r, 5_000, 60_000))) * time.Millisecond)
	case 12: // until shortly before or after something is due
		st, now := w.source.State(), w.wall()
		at := pick(r, st.RefreshAt, st.ExpiresOn.Add(-margin), st.ExpiresOn,
			st.ClosedUntil).Add(time.Duration(r.IntN(12_000)-2000) * time.Millisecond)
		if d := at.Sub(now); d > 0 && d < 48*time.Hour {
			time.Sleep(d)
		}
	case 9: // much of it
		time.Sleep(time.Duration(r.IntN(24*3600)) * time.Second)
	case 10: // a freeze: the wall clock has moved, the monotonic one has not; or somebody set the clock
		d := time.Duration(r.IntN(48*3600)) * time.Second
		if r.IntN(4) == 0 {
			d = -d / 10
		}
		w.mu.Lock()
		w.jump += d
		if d < 0 {
			w.notBefore = time.Time{} // a clock that is set back must not prolong a pause
		}
		w.mu.Unlock()
	case 11:
		s.Prefetch()
	}
}

// callToken is a caller of Token, and what it may expect.
func (w *world) callToken(s asked, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, begin, wallBegin := w.source.State(), time.Now(), w.wall()
	w.mu.Lock()
	requests := w.requests
	w.mu.Unlock()
	value, err := s.Token(ctx)
	took := time.Since(begin)
	// nothing about time can be said of a caller whose clock jumped
	jumped := w.wall().Sub(wallBegin) != took
	if st.Usable && (took > 0 || err != nil) && !jumped {
		w.blame("a caller with a usable token in hand waited %s and got %v", took, err)
	}
	if limit := min(patience, Deadline+time.Second); took > limit+Deadline {
		w.blame("a caller waited %s, want %s at most", took, limit)
	}
	w.mu.Lock()
	end, good := w.issued[value]
	strange, after := w.strange[value], w.requests
	w.mu.Unlock()
	switch {
	case err != nil:
		var e *Error
		if !errors.As(err, &e) && ctx.Err() == nil {
			w.blame("a caller got %T (%v), want *Error", err, err)
		}
		if took > Deadline && patience > Deadline && !jumped && !st.Fetching {
			w.blame("a caller failed after %s, want %s at most", took, Deadline)
		}
		if e != nil && e.RetryAfter > MaxRetryAfter {
			w.blame("a caller was told to wait for %s, want %s at most", e.RetryAfter,
				MaxRetryAfter)
		}
		if errors.Is(err, context.Canceled) {
			w.blame("a caller got another caller's end: %v", err)
		}
	case strange:
		w.blame("a token of another tenant was handed out")
	case !good:
		w.blame("a token was handed out that nobody issued: %q", value)
	case !jumped && end.Sub(w.wall()) < margin-time.Second:
		w.blame("a token was handed out %s before its end", end.Sub(w.wall()))
	}
	closed := st.ClosedUntil.After(wallBegin)
	if closed && !st.Usable && !st.Fetching && !jumped && (took > 0 || err == nil ||
		after != requests) {
		w.blame("a caller within the pause after a failure waited %s; %d requests were made", took,
			after-requests)
	}
	// Whoever starts a refresh moves its point on by as much first, for others to see.
	if st.Usable && !st.Fetching && st.RefreshAt.Sub(wallBegin) > Deadline+refreshGrace && !jumped {
		if now := w.source.State(); now.Fetching && now.Forced == st.Forced {
			w.blame("a refresh began %s before its time", st.RefreshAt.Sub(wallBegin))
		}
	}
	if st.Usable && !closed && !st.Fetching && !st.RefreshAt.After(wallBegin) {
		if now := w.source.State(); now.RefreshAt.Equal(st.RefreshAt) && !now.Fetching &&
			now.Requests == st.Requests {
			w.blame("a caller came %s past the refresh point, and no refresh began",
				wallBegin.Sub(st.RefreshAt))
		}
	}
}

// callRenew is a caller whose token was refused.
func (w *world) callRenew(s asked) {
	w.mu.Lock()
	refused := w.last
	w.mu.Unlock()
	if refused == "" {
		return
	}
	begin := time.Now()
	value, err := s.Renew(context.Background(), refused)
	switch {
	case err == nil && value == refused:
		w.blame("Renew returned the refused token")
	case err == nil:
		w.mu.Lock()
		_, good := w.issued[value]
		w.mu.Unlock()
		if !good {
			w.blame("Renew returned a token that nobody issued")
		}
	}
	if took := time.Since(begin); took > 2*Deadline+time.Second {
		w.blame("Renew took %s", took)
	}
}

// check holds the state to what must be true between any two steps.
func (w *world) check(s asked) {
	st, now := s.State(), w.wall()
	if st.Usable && st.ExpiresOn.Sub(now) < margin-time.Second {
		w.blame("the token in hand counts as usable %s before its end", st.ExpiresOn.Sub(now))
	}
	if !st.ReceivedAt.IsZero() && st.RefreshAt.After(st.ExpiresOn) {
		w.blame("the refresh comes %s after the token's end", st.RefreshAt.Sub(st.ExpiresOn))
	}
	if st.Fetching != (w.flying() > 0) && w.flying() > 0 {
		w.blame("a fetch is under way and the state does not say so")
	}
	w.mu.Lock()
	seen, forced := len(w.forced), int(st.Forced)
	for ; seen < forced; seen++ {
		if seen > 0 {
			if since := now.Sub(w.forced[seen-1]); since >= 0 &&
				since < forcedPause-time.Millisecond {
				w.mu.Unlock()
				w.blame("two forced renewals within %s", since)
				w.mu.Lock()
			}
		}
		w.forced = append(w.forced, now)
	}
	w.mu.Unlock()
}

func (w *world) flying() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inFetch
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
