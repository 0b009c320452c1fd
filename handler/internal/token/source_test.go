package token_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"apimrelay/handler/internal/token"
)

func TestAnyNumberOfColdCallersMakeOneRequest(t *testing.T) {
	for _, callers := range []int{100, 10_000} {
		synctest.Test(t, func(t *testing.T) {
			s, f := open(t, tokens(24*time.Hour, 300*time.Millisecond))
			got, longest := crowd(t, s, callers)
			f.wantAsked(1)
			if len(got) != 1 || got[must(t, s)] != callers {
				t.Fatalf("%d callers got %v", callers, got)
			}
			if longest != 300*time.Millisecond {
				t.Fatalf("the longest wait was %s, want the request's 300ms", longest)
			}
		})
	}
}

func TestTheRefreshPoint(t *testing.T) {
	for _, tc := range []struct {
		name      string
		life      time.Duration
		refreshIn time.Duration
		want      time.Duration
	}{
		{"refresh_in in the second half of the life decides", 24 * time.Hour, 18 * time.Hour,
			12 * time.Hour},
		{"refresh_in of a life up to two hours decides", 2 * time.Hour, 70 * time.Minute,
			70 * time.Minute},
		{"refresh_in in the first half waits for the half", 24 * time.Hour, time.Second,
			12 * time.Hour},
		{"a life longer than two hours is renewed at its half", 3 * time.Hour, 0, 90 * time.Minute},
		{"a life of two hours is renewed five minutes before its end", 2 * time.Hour, 0,
			115 * time.Minute},
		{"a short life is renewed at its half, not at once", 4 * time.Minute, 0, 2 * time.Minute},
		{"refresh_in beyond five minutes before the end has no effect", time.Hour, 59 * time.Minute,
			55 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := open(t, func(_ context.Context, n int) (token.Token, error) {
					tok := made(n, tc.life)
					if tc.refreshIn != 0 {
						tok.RefreshOn = time.Now().Add(tc.refreshIn)
					}
					return tok, nil
				})
				first := must(t, s)
				time.Sleep(tc.want - time.Second)
				if atOnce(t, s) != first {
					t.Fatal("renewed before the refresh point")
				}
				synctest.Wait()
				f.wantAsked(1)
				time.Sleep(time.Second)
				if atOnce(t, s) != first {
					t.Fatal("the caller at the refresh point did not get the token in hand")
				}
				synctest.Wait()
				f.wantAsked(2)
				if atOnce(t, s) == first {
					t.Fatal("the token in hand is still the old one")
				}
			})
		})
	}
}

func TestNobodyWaitsAtTheRefreshPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 4*time.Second))
		first := must(t, s)
		time.Sleep(12 * time.Hour)
		got, longest := crowd(t, s, 50)
		if got[first] != 50 || longest != 0 {
			t.Fatalf("50 callers waited up to %s and got %v", longest, got)
		}
		time.Sleep(3 * time.Second)
		if got, longest = crowd(t, s, 50); got[first] != 50 || longest != 0 {
			t.Fatalf("while the refresh ran, 50 callers waited up to %s and got %v", longest, got)
		}
		time.Sleep(2 * time.Second)
		if atOnce(t, s) == first {
			t.Fatal("the refresh left no new token")
		}
		f.wantAsked(2)
	})
}

func TestARefreshMakesOneTryOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 0))
		first := must(t, s)
		f.say(failing(errDown))
		time.Sleep(12 * time.Hour)
		atOnce(t, s)
		time.Sleep(800 * time.Millisecond)
		f.wantAsked(2)
		if atOnce(t, s) != first {
			t.Fatal("the failed refresh cost the token in hand")
		}
		f.wantAsked(2) // 0.8 s are within the cool-down
	})
}

func TestTheSameTokenAgainIsASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The platform's cache: one token for 24 hours, whoever asks.
		end := time.Now().Add(24 * time.Hour)
		tok := token.Token{Value: jwt(map[string]any{"tid": tenant, "exp": end.Unix()}),
			ExpiresOn: end}
		s, f := open(t, func(context.Context, int) (token.Token, error) { return tok, nil })
		must(t, s)
		// One try at half of what is left each time: after 12 h, 18 h, 21 h, … and at the end every
		// ten seconds, not more often.
		asked := 1
		left := 12 * time.Hour
		for left > 30*time.Second {
			time.Sleep(time.Until(end) - left - time.Millisecond)
			for range 5 {
				atOnce(t, s)
			}
			synctest.Wait()
			f.wantAsked(asked)
			time.Sleep(time.Millisecond)
			for range 5 {
				atOnce(t, s)
			}
			synctest.Wait()
			asked++
			f.wantAsked(asked)
			left /= 2
		}
		st := s.State()
		if st.Failing || st.LastError != nil || st.Counts.Same != uint64(asked-1) ||
			st.Counts.New != 1 {
			t.Fatalf("state after refreshes that brought the same token: %+v", st)
		}
		before := asked
		for time.Now().Before(end.Add(-11 * time.Second)) {
			atOnce(t, s)
			time.Sleep(time.Second)
		}
		if f.mu.Lock(); len(f.asked)-before > 3 {
			t.Fatalf("%d requests in the last half minute, want one per ten seconds",
				len(f.asked)-before)
		}
		f.mu.Unlock()
	})
}

func TestARefreshThatBringsAnEarlierEndLeavesTheTokenInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 0))
		first := must(t, s)
		f.say(tokens(time.Minute, 0))
		time.Sleep(12 * time.Hour)
		atOnce(t, s)
		synctest.Wait()
		if f.wantAsked(2); atOnce(t, s) != first {
			t.Fatal("a token that ends earlier replaced the one in hand")
		}
	})
}

func TestALeaderThatGivesUpLeavesTheOthersServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 2*time.Second))
		gone := errors.New("the caller left")
		ctx, leave := context.WithCancelCause(t.Context())
		leader := make(chan error, 1)
		go func() {
			_, err := s.Token(ctx)
			leader <- err
		}()
		synctest.Wait()
		f.wantAsked(1)
		others := make(chan map[string]int, 1)
		go func() {
			got, _ := crowd(t, s, 20)
			others <- got
		}()
		synctest.Wait()
		leave(gone)
		if err := <-leader; !errors.Is(err, gone) {
			t.Fatalf("the leader got %v, want the cause of its context's end", err)
		}
		if got := <-others; got[must(t, s)] != 20 {
			t.Fatalf("the others got %v", got)
		}
		f.wantAsked(1)
	})
}

func TestATokenInHandIsServedToACallerWhoseContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, tokens(time.Hour, 0))
		first := must(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if v, err := s.Token(ctx); err != nil || v != first {
			t.Fatalf("got %q, %v", v, err)
		}
	})
}

func TestPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(time.Hour, time.Second))
		begin := time.Now()
		s.Prefetch()
		s.Prefetch()
		if time.Since(begin) != 0 {
			t.Fatal("Prefetch waited")
		}
		time.Sleep(2 * time.Second)
		s.Prefetch()
		atOnce(t, s)
		f.wantAsked(1)
	})
}

func TestPrefetchTriesAgainWhileTheEndpointStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(8 * time.Second)
		s, _ := open(t, func(_ context.Context, n int) (token.Token, error) {
			if time.Now().Before(up) {
				return token.Token{}, errDown
			}
			return made(n, time.Hour), nil
		})
		s.Prefetch()
		must(t, s) // the first caller joins
		if d := time.Since(up); d > time.Second {
			t.Fatalf("the token came %s after the endpoint was up", d)
		}
	})
}

func TestAPanicInACredentialIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, func(context.Context, int) (token.Token, error) { panic("canary-4711") })
		if err := mustFail(t, s, token.ErrUnavailable); len(err.Error()) == 0 ||
			contains(err.Error(), "canary") {
			t.Fatalf("error %q", err)
		}
	})
}

// Two functions with one identity and resource share a source; who makes sources keys them by
// tenant, identity and resource. What the source itself owes is that two of them share nothing.
func TestTwoSourcesShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, fa := open(t, tokens(time.Hour, 0))
		b, fb := open(t, func(_ context.Context, n int) (token.Token, error) {
			return made(n+100,
				time.Hour), nil
		})
		if must(t, a) == must(t, b) {
			t.Fatal("two sources handed out one token")
		}
		fa.wantAsked(1)
		fb.wantAsked(1)
	})
}
