package token_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apimrelay/handler/internal/token"
)

func TestRefusedCallersShareOneForcedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 2*time.Second))
		old := must(t, s)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if v, err := s.Renew(t.Context(), old); err != nil || v == old {
					t.Errorf("Renew: %q, %v", v, err)
				}
			})
		}
		synctest.Wait()
		if atOnce(t, s) != old { // the others keep the token in hand meanwhile
			t.Error("a caller of Token got another token while the renewal ran")
		}
		wg.Wait()
		f.wantAsked(2)
		if atOnce(t, s) == old {
			t.Error("the renewed token is not in hand")
		}
		// Who was refused with the old one later gets the new one from hand.
		if v, err := s.Renew(t.Context(), old); err != nil || v != atOnce(t, s) {
			t.Errorf("Renew of the old token: %q, %v", v, err)
		}
		f.wantAsked(2)
	})
}

func TestARenewalThatBringsTheSameTokenSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(24 * time.Hour)
		tok := token.Token{Value: jwt(map[string]any{"exp": end.Unix()}), ExpiresOn: end}
		s, f := open(t, func(context.Context, int) (token.Token, error) { return tok, nil })
		old := must(t, s)
		renew := func() {
			t.Helper()
			if v, err := s.Renew(t.Context(), old); !errors.Is(err, token.ErrSameToken) || v != "" {
				t.Fatalf("Renew: %q, %v, want ErrSameToken", v, err)
			}
		}
		renew()
		f.wantAsked(2)
		time.Sleep(59 * time.Second)
		renew()
		f.wantAsked(2) // at most one a minute
		if atOnce(t, s) != old {
			t.Fatal("the refused token is not in hand any more, though others may be served with " +
				"it")
		}
		time.Sleep(time.Second)
		renew()
		f.wantAsked(3)
		if st := s.State(); st.Forced != 2 || st.Counts.Same != 2 {
			t.Fatalf("state %+v", st)
		}
	})
}

func TestASecondRefusalWithinAMinuteIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 0))
		second, err := s.Renew(t.Context(), must(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Renew(t.Context(), second); !errors.Is(err, token.ErrSameToken) {
			t.Fatalf("Renew: %v, want ErrSameToken", err)
		}
		f.wantAsked(2)
	})
}

func TestARenewalThatFailsLeavesTheTokenInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 0))
		old := must(t, s)
		f.say(hanging)
		begin := time.Now()
		if _, err := s.Renew(t.Context(), old); !errors.Is(err, token.ErrUnavailable) {
			t.Fatalf("Renew: %v, want unavailable", err)
		}
		if d := time.Since(begin); d != token.Deadline {
			t.Fatalf("Renew gave up after %s", d)
		}
		if atOnce(t, s) != old {
			t.Fatal("the token in hand is gone")
		}
	})
}

func TestARenewalJoinsTheRefreshUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, time.Second))
		old := must(t, s)
		time.Sleep(12 * time.Hour)
		atOnce(t, s)
		if v, err := s.Renew(t.Context(), old); err != nil || v == old {
			t.Fatalf("Renew: %q, %v", v, err)
		}
		f.wantAsked(2)
	})
}

func TestTheRefreshPointDuringARenewalStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 2*time.Second))
		old := must(t, s)
		time.Sleep(12*time.Hour - time.Second)
		go func() { _, _ = s.Renew(t.Context(), old) }()
		time.Sleep(1500 * time.Millisecond)
		atOnce(t, s) // past the refresh point, the renewal runs
		synctest.Wait()
		f.wantAsked(2)
		time.Sleep(time.Second)
	})
}

func TestRenewWithoutATokenInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(time.Hour, 0))
		old := must(t, s)
		time.Sleep(time.Hour)
		if v, err := s.Renew(t.Context(), old); err != nil || v == old {
			t.Fatalf("Renew: %q, %v", v, err)
		}
		f.wantAsked(2)
	})
}

func TestACallerThatGivesUpItsRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, tokens(24*time.Hour, 2*time.Second))
		old := must(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Renew(ctx, old); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Renew: %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if f.wantAsked(2); atOnce(t, s) == old {
			t.Fatal("the renewal did not go on without its caller")
		}
	})
}
