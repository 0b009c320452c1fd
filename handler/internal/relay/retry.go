package relay

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"apimrelay/handler/internal/memo"
)

// Waits before a retry: full jitter between nothing and a bound that doubles (Brooker, "Exponential Backoff And Jitter").
const (
	firstWait = 200 * time.Millisecond
	lastWait  = 10 * time.Second
)

// idempotent tells whether a request may be sent again although the backend might have seen it (RFC 9110 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// retryable tells the statuses that another attempt may cure.
func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// backoff is the wait before retry n, from 1 on.
func backoff(n int) time.Duration {
	bound := firstWait << min(n-1, 10)
	return rand.N(min(bound, lastWait)) + time.Millisecond
}

// retryAfter reads a Retry-After header: seconds, or a date against the answer's own Date, else our clock. ok is false where there is none that can be read.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if text == "" {
		return 0, false
	}
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(s) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(0, at.Sub(now)), true
}

// sleep waits, or ends early with the context's cause.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A retryBudget keeps retries from multiplying the load on a gateway that is in trouble: each first attempt earns a fifth of a retry, at most ten are
// saved, and without a whole one there is no retry. It starts full. The figures are Finagle's and gRPC's order of magnitude (gRPC proposal A6,
// retryThrottling). One for each gateway; safe for concurrent use.
type retryBudget struct{ tenths atomic.Int64 }

const (
	earnedTenths = 2
	savedTenths  = 100
	retryTenths  = 10
)

func newRetryBudget() *retryBudget {
	b := new(retryBudget)
	b.tenths.Store(savedTenths)
	return b
}

// earn counts a first attempt.
func (b *retryBudget) earn() {
	for {
		have := b.tenths.Load()
		if have >= savedTenths {
			return
		}
		if b.tenths.CompareAndSwap(have, min(savedTenths, have+earnedTenths)) {
			return
		}
	}
}

// spend takes one retry, if there is one.
func (b *retryBudget) spend() bool {
	for {
		have := b.tenths.Load()
		if have < retryTenths {
			return false
		}
		if b.tenths.CompareAndSwap(have, have-retryTenths) {
			return true
		}
	}
}

// refund gives a retry back that could not be made.
func (b *retryBudget) refund() { b.tenths.Add(retryTenths) }

// retryBudgets holds one for each gateway, by host and port.
type retryBudgets struct {
	byHost memo.Memo[string, *retryBudget]
}

func (b *retryBudgets) of(host string) *retryBudget {
	return b.byHost.Of(host, func(string) *retryBudget { return newRetryBudget() })
}
