//go:build unix

package token_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"apimrelay/handler/internal/token"
)

// The platform freezes an idle instance, and a suspended machine's monotonic clock stands still: on
// waking the wall clock has jumped.
func TestTheWallClockMovesWithoutTheMonotonicOne(t *testing.T) {
	for _, tc := range []struct {
		name    string
		jump    time.Duration
		old     bool // the callers get the token in hand
		request int
	}{
		{"not beyond the refresh point", 11 * time.Hour, true, 1},
		{"across the refresh point", 13 * time.Hour, true, 2},
		{"across the end", 25 * time.Hour, false, 2},
		{"backwards", -3 * time.Hour, true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var jump time.Duration
				now := func() time.Time { return time.Now().Add(jump) }
				f := &fake{t: t}
				f.say(func(_ context.Context, n int) (token.Token, error) {
					end := now().Add(24 * time.Hour)
					if n > 1 && tc.old {
						time.Sleep(time.Second)
					}
					return token.Token{Value: fmt.Sprint("token-", n), ExpiresOn: end}, nil
				})
				s := token.NewSource(token.Options{Fetch: f.fetch, Resource: resource, Now: now})
				first := must(t, s)
				jump = tc.jump
				got, longest := crowd(t, s, 50)
				if len(got) != 1 || (got[first] == 50) != tc.old || longest != 0 {
					t.Fatalf("50 callers waited up to %s and got %v", longest, got)
				}
				time.Sleep(2 * time.Second)
				f.wantAsked(tc.request)
			})
		})
	}
}

func TestAWallClockSetBackDoesNotProlongACooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jump time.Duration
		now := func() time.Time { return time.Now().Add(jump) }
		f := &fake{t: t, answer: failing(errDown)}
		s := token.NewSource(token.Options{Fetch: f.fetch, Resource: resource, Now: now})
		mustFail(t, s, token.ErrUnavailable)
		jump = -time.Hour
		f.say(func(_ context.Context, n int) (token.Token, error) {
			return token.Token{Value: "opaque", ExpiresOn: now().Add(time.Hour)}, nil
		})
		must(t, s)
	})
}

// speed lets a real process live through a token's life in seconds: its wall clock runs so much
// faster. A freeze moves it as it moves the real one.
const (
	speed = 150
	life  = 10 * time.Minute // 4 s of real time, refreshed after 2 s
)

// TestFrozenProcess stops a process of its own with SIGSTOP, across the refresh point and across
// the token's end.
func TestFrozenProcess(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestFrozenChild$")
	cmd.Env = append(os.Environ(), "TOKEN_TEST_CHILD=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	call := func(n int) (r report) {
		t.Helper()
		if _, err := fmt.Fprintln(in, n); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatalf("the child went away: %v", lines.Err())
		}
		if _, err := fmt.Sscanf(lines.Text(), reportForm, &r.requests, &r.failed, &r.last,
			&r.millis, &r.past); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		return r
	}
	freeze := func(d time.Duration) {
		t.Helper()
		for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if sig == syscall.SIGSTOP {
				time.Sleep(d) // the time that passes is the test
			}
		}
	}

	if r := call(1); r.requests != 1 || r.last != "token-1" {
		t.Fatalf("cold: %+v", r)
	}
	freeze(2400 * time.Millisecond)
	r := call(50)
	if r.past != "refresh" {
		t.Skipf("the machine is too slow for this test: %+v", r)
	}
	if r.requests != 2 || r.failed != 0 || r.millis > 500 {
		t.Fatalf("50 callers after a freeze across the refresh point: %+v, want one request, and "+
			"for each the token in hand or the new one", r)
	}
	freeze(4200 * time.Millisecond)
	if r := call(50); r.past != "end" || r.requests != 3 || r.failed != 0 || r.last != "token-3" {
		t.Fatalf("50 callers after a freeze across the end: %+v, want a new token and one request",
			r)
	}
}

const reportForm = "requests=%d failed=%d last=%s ms=%d past=%s"

// report is what callers saw: requests to the identity so far, how many callers failed, the newest
// token, the longest wait, what the clock was past.
type report struct {
	requests, failed int
	last             string
	millis           int64
	past             string
}

func TestFrozenChild(t *testing.T) {
	if os.Getenv("TOKEN_TEST_CHILD") == "" {
		t.Skip("runs as a child of TestFrozenProcess")
	}
	start := time.Now().Round(0) // without its monotonic reading
	now := func() time.Time { return start.Add(time.Now().Round(0).Sub(start) * speed) }
	var mu sync.Mutex
	requests := 0
	s := token.NewSource(token.Options{Resource: resource, Now: now,
		Fetch: func(context.Context) (token.Token, error) {
			mu.Lock()
			defer mu.Unlock()
			requests++
			return token.Token{Value: fmt.Sprint("token-", requests), ExpiresOn: now().Add(life)}, nil
		}})
	in := bufio.NewReader(os.Stdin)
	for {
		var n int
		if _, err := fmt.Fscanln(in, &n); err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			return
		}
		past := "nothing"
		switch st := s.State(); {
		case st.ExpiresOn.IsZero():
		case now().After(st.ExpiresOn.Add(-10 * time.Second)):
			past = "end"
		case now().After(st.RefreshAt):
			past = "refresh"
		}
		got, longest := crowd(t, s, n)
		for deadline := time.Now().Add(5 * time.Second); s.State().Fetching &&
			time.Now().Before(deadline); {
			runtime.Gosched()
		}
		r := report{requests: int(s.State().Requests), millis: longest.Milliseconds(), past: past}
		for v, n := range got {
			if strings.HasPrefix(v, "token-") {
				r.last = max(r.last, v)
			} else {
				r.failed += n
			}
		}
		fmt.Printf(reportForm+"\n", r.requests, r.failed, r.last, r.millis, r.past)
	}
}
