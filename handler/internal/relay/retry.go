package relay

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
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
// retryThrottling).
//
// A gateway that is plainly away earns nothing: after ten attempts in a row that failed as only another attempt could cure, first attempts earn no more
// until one gets another answer. A gateway that fails half of the time has ten such in a row once in a thousand, and earns as ever; an outage costs the ten
// that were saved, and then each call is one attempt. When the gateway is back, the budget is still empty, and rightly so: it grows with the calls that
// are answered, and no saved retries meet a gateway that has just come up.
//
// One for each gateway, whatever the function and the way in; safe for concurrent use.
type retryBudget struct {
	tenths atomic.Int64 // of a retry
	failed atomic.Int64 // attempts in a row
}

const (
	earnedTenths = 2
	savedTenths  = 100
	retryTenths  = 10
	awayAfter    = 10
)

func newRetryBudget() *retryBudget {
	b := new(retryBudget)
	b.tenths.Store(savedTenths)
	return b
}

// earn counts a first attempt, before it is made: those that are under way when the gateway goes have earned, those when it returns have not.
func (b *retryBudget) earn() {
	if b.failed.Load() < awayAfter {
		b.add(earnedTenths)
	}
}

// add saves up to the most that may be saved.
func (b *retryBudget) add(tenths int64) {
	for {
		have := b.tenths.Load()
		if have >= savedTenths || b.tenths.CompareAndSwap(have, min(savedTenths, have+tenths)) {
			return
		}
	}
}

// came counts what came of an attempt, of any method and whether another follows or not: a failure that another attempt may cure, or any other answer.
// What says nothing of the gateway is not for here: a caller that left, its broken upload, our own time.
func (b *retryBudget) came(failure bool) {
	switch {
	case failure:
		b.failed.Add(1)
	case b.failed.Load() != 0: // as a rule it is, and nobody writes what all read
		b.failed.Store(0)
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

// refund gives a retry back that could not be made; others may have filled the budget meanwhile.
func (b *retryBudget) refund() { b.add(retryTenths) }

// retryBudgets holds one for each gateway, by host and port.
type retryBudgets struct {
	byHost sync.Map // of *retryBudget
}

func (b *retryBudgets) of(host string) *retryBudget {
	known, ok := b.byHost.Load(host)
	if !ok {
		known, _ = b.byHost.LoadOrStore(host, newRetryBudget())
	}
	return known.(*retryBudget)
}
