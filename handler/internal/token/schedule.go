package token

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// Deadline bounds one fetch with all its tries, from the moment that somebody waits for it.
	Deadline = 15 * time.Second
	// MaxRetryAfter is the longest that an endpoint can make us wait.
	MaxRetryAfter = 30 * time.Second

	leeway       = 10 * time.Minute // for a refresh, at most, so that instances that started together part
	noLeeway     = 2 * time.Minute  // with less left than this there is none
	margin       = 10 * time.Second // a token is not handed out in its last seconds: the call would arrive too late
	earliest     = 5 * time.Minute  // before the end: where the issuer says nothing and the life is short
	longLife     = 2 * time.Hour    // from here on half of the life decides
	leastPause   = 10 * time.Second // between two refreshes that bring the same token
	forcedPause  = time.Minute      // between two forced renewals
	longestCool  = 30 * time.Second
	longestLife  = 10 * 365 * 24 * time.Hour // keeps nanoseconds within an int64
	refreshGrace = 5 * time.Second           // beyond the deadline, until another caller may start the refresh that a flight should have ended
)

// pauses lie between the tries of a fetch that callers wait for. The identity endpoint may start later than the process: tries at 0, 0.5, 2.5 and
// 8.5 s leave more than six seconds of the deadline to the last one.
var pauses = []time.Duration{500 * time.Millisecond, 2 * time.Second, 6 * time.Second}

// moveable is a point in time that can be moved while others read it.
type moveable struct{ atomic.Int64 }

// refreshAt is the earliest of: what the issuer wants, half of a long life, five minutes before the end. Never before half of the life, or a
// short-lived token (or an odd refresh_in) would be asked for over and over.
func refreshAt(received, end, wanted time.Time) time.Time {
	half := received.Add(end.Sub(received) / 2)
	at := end.Add(-earliest)
	if end.Sub(received) > longLife {
		at = half
	}
	if !wanted.IsZero() && wanted.Before(at) {
		at = wanted
	}
	if at.Before(half) {
		at = half
	}
	return at
}

// again is the next attempt after one that brought the same token: at half of what is left, but not at once.
func again(now, end time.Time) time.Time {
	return now.Add(max(end.Sub(now)/2, leastPause))
}

// later moves a refresh point by the source's share of its leeway; where little is left the point is kept to the second. All three are nanoseconds since
// 1970 but spread.
func later(at, usable int64, spread float64) int64 {
	left := time.Duration(usable - at)
	if left < noLeeway {
		return at
	}
	return at + int64(spread*float64(min(left/5, leeway)))
}

// cooldown is the pause after the n-th failure in a row (from 1): 1 s doubling to 30 s, up to a fifth less so that instances part, or what the
// endpoint asked for.
func cooldown(n int, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return min(retryAfter, MaxRetryAfter)
	}
	d := longestCool
	if n < 6 {
		d = min(d, time.Second<<(n-1))
	}
	return d - time.Duration(rand.Int64N(int64(d/5)))
}
