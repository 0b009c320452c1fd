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

	// At most so much later comes a refresh, so that instances that started together do not ask at
	// the same moment.
	leeway   = 10 * time.Minute
	noLeeway = 2 * time.Minute // with less left than this there is none
	// A token is not handed out in its last seconds: the call would arrive too late.
	margin = 10 * time.Second
	// A token with a short life, of which the issuer says nothing, is refreshed so long before its
	// end.
	earliest    = 5 * time.Minute
	longLife    = 2 * time.Hour    // from here on half of the life decides
	leastPause  = 10 * time.Second // between two refreshes that bring the same token
	forcedPause = time.Minute      // between two forced renewals
	longestCool = 30 * time.Second
	longestLife = 10 * 365 * 24 * time.Hour // keeps nanoseconds within an int64
	// A flight that has not ended so long after its deadline no longer keeps another caller from
	// starting the refresh.
	refreshGrace = 5 * time.Second
)

// pauses lie between the tries of a fetch that callers wait for. The identity endpoint may start
// later than the process: tries at 0, 0.5, 2.5 and 8.5 s leave more than six seconds of the
// deadline to the last one.
var pauses = []time.Duration{500 * time.Millisecond, 2 * time.Second, 6 * time.Second}

// moveable is a point in time, in nanoseconds since 1970, that can be moved while others read it.
type moveable struct{ atomic.Int64 }

// refreshAt is the earliest of three points: the one that the issuer wants, half of a long life,
// and five minutes before the end. It is never before half of the life, or a short-lived token, or
// an odd refresh_in, would make us ask over and over.
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

// again is when the next attempt follows one that brought the same token: after half of what is
// left, but not at once.
func again(now, end time.Time) time.Time {
	return now.Add(max(end.Sub(now)/2, leastPause))
}

// later moves a refresh point by the source's share of its leeway. Where little is left the point
// stays. at, usable and the result are nanoseconds since 1970; spread is from 0 to 1.
func later(at, usable int64, spread float64) int64 {
	left := time.Duration(usable - at)
	if left < noLeeway {
		return at
	}
	return at + int64(spread*float64(min(left/5, leeway)))
}

// cooldown is the pause after the n-th failure in a row, counted from 1. It is what the endpoint
// asked for, else 1 s doubling to 30 s, and up to a fifth less of it so that instances do not ask
// at the same moment.
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
