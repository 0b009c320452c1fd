package token_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"apimrelay/handler/internal/token"
)

func contains(s, sub string) bool { return strings.Contains(s, sub) }

func TestAnOutageIsNotSeenWhileATokenIsGood(t *testing.T) {
	past := func(_ context.Context, n int) (token.Token, error) { return made(n, -time.Hour), nil }
	for _, tc := range []struct {
		name   string
		answer func(context.Context, int) (token.Token, error)
		want   error
		text   string
	}{
		{"the endpoint is down", failing(errDown), token.ErrUnavailable, "connection refused"},
		{"the endpoint is slow, beyond the deadline", tokens(time.Hour, 20*time.Second),
			token.ErrUnavailable, "no answer within 15s"},
		{"the endpoint hangs", hanging, token.ErrUnavailable, "no answer within 15s"},
		{"the endpoint answers 429 with Retry-After",
			failing(&token.Error{RetryAfter: 20 * time.Second, Err: errors.New("answered 429")}),
			token.ErrUnavailable, "429"},
		{"the credential returns a plain error", failing(errors.New("invalid character '<'")),
			token.ErrUnavailable, "invalid character"},
		{"the answer holds an empty token", func(context.Context, int) (token.Token, error) {
			return token.Token{ExpiresOn: time.Now().Add(time.Hour)}, nil
		}, token.ErrUnavailable, "holds no token"},
		{"the answer holds HTML for a token", func(context.Context, int) (token.Token, error) {
			return token.Token{Value: "<html>busy</html>", ExpiresOn: time.Now().Add(time.Hour)},
				nil
		}, token.ErrUnavailable, "no token"},
		{"the answer holds a line break in the token",
			func(context.Context, int) (token.Token, error) {
				return token.Token{Value: "abc\r\nX-Evil: 1", ExpiresOn: time.Now().Add(time.Hour)}, nil
			}, token.ErrUnavailable, "no token"},
		{"the token has expired", past, token.ErrUnavailable, "ended 1h0m"},
		{"the claim says that the token has expired, the answer does not",
			func(context.Context, int) (token.Token, error) {
				return token.Token{Value: jwt(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), ExpiresOn: time.Now().Add(time.Hour)}, nil
			}, token.ErrUnavailable, "ended 1m"},
		{"the token has ten seconds left", func(_ context.Context, n int) (token.Token, error) { return made(n, 10*time.Second), nil },
			token.ErrUnavailable, "at least 10s are needed"},
		{"the answer does not say when the token ends",
			func(context.Context, int) (token.Token, error) {
				return token.Token{Value: "opaque"},
					nil
			},
			token.ErrUnavailable, "when the token ends"},
		{"the token comes from another tenant", func(context.Context, int) (token.Token, error) {
			end := time.Now().Add(time.Hour)
			return token.Token{Value: jwt(map[string]any{"tid": "bbbbbbbb-0000-0000-0000-000000000000", "exp": end.Unix()}), ExpiresOn: end}, nil
		}, token.ErrRefused, "bbbbbbbb"},
		{"the endpoint refuses", failing(&token.Error{Kind: token.Refused,
			Err: errors.New("no such identity")}), token.ErrRefused, "no such identity"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				s, f := open(t, tokens(24*time.Hour, 0))
				first := must(t, s)
				f.say(tc.answer)
				time.Sleep(12 * time.Hour)
				end := begin.Add(24 * time.Hour)
				for time.Now().Before(end.Add(-11 * time.Second)) { // every call of half a day
					if atOnce(t, s) != first {
						t.Fatal("another token than the one in hand")
					}
					time.Sleep(max(time.Second, min(10*time.Minute, time.Until(end)/3)))
				}
				time.Sleep(time.Until(end.Add(-10 * time.Second)))
				err := mustFail(t, s, tc.want)
				if !contains(err.Error(), tc.text) || !contains(err.Error(), resource) ||
					contains(err.Error(), "\n") {
					t.Fatalf("error %q, want one line with %q and the resource", err, tc.text)
				}
				// Within the cool-down everybody fails at once, with the same cause, and nobody
				// asks.
				asked := len(f.asked)
				at := time.Now()
				if again := mustFail(t, s, tc.want); time.Since(at) != 0 ||
					again.Error() != err.Error() {
					t.Fatalf("within the cool-down: %v after %s", again, time.Since(at))
				}
				f.wantAsked(asked)
				// And the endpoint is back.
				f.say(tokens(24*time.Hour, 0))
				var e *token.Error
				errors.As(err, &e)
				if e.RetryAfter <= 0 || e.RetryAfter > token.MaxRetryAfter {
					t.Fatalf("RetryAfter is %s", e.RetryAfter)
				}
				time.Sleep(e.RetryAfter)
				must(t, s)
				if st := s.State(); st.Failing || !st.Usable || st.LastError == nil {
					t.Fatalf("state after the recovery: %+v", st)
				}
			})
		})
	}
}

func TestColdFetchMakesFourTriesWithinTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, failing(errDown))
		begin := time.Now()
		err := mustFail(t, s, token.ErrUnavailable)
		f.wantAsked(4)
		if d := time.Since(begin); d != 8500*time.Millisecond {
			t.Fatalf("four tries took %s", d)
		}
		if !contains(err.Error(), "4 tries") {
			t.Fatalf("error %q does not say how often it was tried", err)
		}
	})
}

func TestARefusalIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, failing(&token.Error{Kind: token.Refused, Err: errors.New("no"),
			Hint: "attach it"}))
		begin := time.Now()
		err := mustFail(t, s, token.ErrRefused)
		if f.wantAsked(1); time.Since(begin) != 0 || token.Hint(err) != "attach it" {
			t.Fatalf("after %s: %v (hint %q)", time.Since(begin), err, token.Hint(err))
		}
		if errors.Is(err, token.ErrUnavailable) {
			t.Fatal("refused and unavailable at once")
		}
	})
}

func TestRetryAfterIsKeptBetweenTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, func(_ context.Context, n int) (token.Token, error) {
			if n == 1 {
				return token.Token{}, &token.Error{RetryAfter: 4 * time.Second,
					Err: errors.New("answered 429")}
			}
			return made(n, time.Hour), nil
		})
		begin := time.Now()
		must(t, s)
		if f.wantAsked(2); time.Since(begin) != 4*time.Second {
			t.Fatalf("tried again after %s, want the 4 s asked for", time.Since(begin))
		}
	})
}

func TestARetryAfterBeyondTheDeadlineEndsTheFetchAtOnce(t *testing.T) {
	for _, asked := range []time.Duration{25 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s, f := open(t, failing(&token.Error{RetryAfter: asked,
				Err: errors.New("answered 429")}))
			begin := time.Now()
			mustFail(t, s, token.ErrUnavailable)
			if f.wantAsked(1); time.Since(begin) != 0 {
				t.Fatalf("failed after %s, want at once", time.Since(begin))
			}
			time.Sleep(min(asked, 30*time.Second) - time.Second)
			mustFail(t, s, token.ErrUnavailable)
			f.wantAsked(1)
			time.Sleep(time.Second)
			f.say(tokens(time.Hour, 0))
			must(t, s)
		})
	}
}

func TestTheCooldownDoublesToHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(1000*time.Hour, 0))
		must(t, s)
		f.say(failing(errDown))
		time.Sleep(500 * time.Hour)
		for len(f.asked) < 10 { // a caller every 100 ms
			atOnce(t, s)
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		for i := 1; i < 9; i++ {
			nominal := min(time.Second<<(i-1), 30*time.Second)
			if pause := f.asked[i+1].Sub(f.asked[i]); pause < nominal*4/5 ||
				pause > nominal+100*time.Millisecond {
				t.Errorf("the pause after failure %d was %s, want %s less up to a fifth", i, pause,
					nominal)
			}
		}
	})
}

func TestCallersWithoutATokenAreNotPunishedForARefreshThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(4*time.Minute, 0))
		must(t, s)
		f.say(failing(errDown))
		time.Sleep(4*time.Minute - 10*time.Second - time.Millisecond)
		atOnce(t, s)
		synctest.Wait()
		f.wantAsked(2)
		f.say(tokens(time.Hour, 0))
		// nothing in hand any more, and well within the cool-down of the refresh
		time.Sleep(2 * time.Millisecond)
		atOnce(t, s)
	})
}

func TestACallerWithoutATokenJoinsTheRefreshUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(4*time.Minute, 0))
		must(t, s)
		f.say(func(ctx context.Context, n int) (token.Token, error) {
			if n == 2 {
				return token.Token{}, errors.Join(sleep(ctx, 14*time.Second), errDown)
			}
			return made(n, time.Hour), nil
		})
		time.Sleep(4*time.Minute - 11*time.Second)
		atOnce(t, s) // starts the refresh
		time.Sleep(12 * time.Second)
		begin := time.Now()
		got, _ := crowd(t, s, 10) // nothing in hand, the refresh still runs
		if got[must(t, s)] != 10 {
			t.Fatalf("got %v", got)
		}
		f.wantAsked(3) // the refresh was given another try for those who wait
		if d := time.Since(begin); d > 3*time.Second {
			t.Fatalf("waited %s", d)
		}
	})
}

func TestACallerThatJoinsAHangingRefreshWaitsForItsOwnDeadlineOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(4*time.Minute, 0))
		must(t, s)
		f.say(hanging)
		time.Sleep(4*time.Minute - 11*time.Second)
		atOnce(t, s)
		time.Sleep(2 * time.Second)
		mustFail(t, s, token.ErrUnavailable) // within the deadline
		f.wantAsked(2)
	})
}

func TestARefreshThatRanIntoItsDeadlineSaysNothingAboutNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(4*time.Minute, 0))
		must(t, s)
		f.say(func(ctx context.Context, n int) (token.Token, error) {
			if n > 2 {
				return made(n, time.Hour), nil
			}
			<-ctx.Done()
			// as after a freeze: the deadline has passed, the request has not come back yet
			time.Sleep(time.Second)
			return token.Token{}, ctx.Err()
		})
		time.Sleep(4*time.Minute - 12*time.Second)
		atOnce(t, s)
		time.Sleep(token.Deadline + 500*time.Millisecond)
		begin := time.Now()
		must(t, s)
		if f.wantAsked(3); time.Since(begin) != 500*time.Millisecond {
			t.Fatalf("waited %s", time.Since(begin))
		}
	})
}

func TestErrorsAreOneLineAndTyped(t *testing.T) {
	cause := errors.New("cause")
	e := &token.Error{Kind: token.Refused, Err: fmt.Errorf("outer: %w", cause)}
	if !errors.Is(e, token.ErrRefused) || errors.Is(e, token.ErrUnavailable) ||
		!errors.Is(e, cause) {
		t.Fatal("a refused error is not what it should be")
	}
	if u := (&token.Error{Err: cause}); !errors.Is(u, token.ErrUnavailable) ||
		errors.Is(u, token.ErrRefused) {
		t.Fatal("the zero Kind is not unavailable")
	}
	if token.Refused.String() != "refused" || token.Unavailable.String() != "unavailable" {
		t.Fatal("words of the kinds")
	}
}
