package policy

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// rateLimit is <rate-limit>: https://learn.microsoft.com/azure/api-management/rate-limit-policy
// The child elements api and operation, limits within a product, are not interpreted.
var rateLimit = kind{
	name: "rate-limit", sections: []Section{Inbound}, scopes: []Scope{Product, API, Operation}, once: true, build: buildRateLimit,
	spec: &spec{
		attrs: []attrSpec{
			{name: "calls", required: true, check: number(1, math.MaxInt32)}, {name: "renewal-period", required: true, check: number(1, 300)},
			{name: "retry-after-header-name", check: headerName}, {name: "retry-after-variable-name", check: notInterpreted},
			{name: "remaining-calls-header-name", check: headerName}, {name: "remaining-calls-variable-name", check: notInterpreted},
			{name: "total-calls-header-name", check: headerName}, {name: "id"},
		},
	},
}

type rateRule struct {
	counter                      string
	calls                        int
	period                       time.Duration
	retryAfter, remaining, total string // header names
}

func buildRateLimit(e *element) (statement, Errors) {
	calls, _ := strconv.Atoi(e.attr("calls")) // both checked by the spec
	seconds, _ := strconv.Atoi(e.attr("renewal-period"))
	r := rateRule{
		counter: fmt.Sprintf("%s:%d", e.file, e.line), calls: calls, period: time.Duration(seconds) * time.Second,
		retryAfter: e.attr("retry-after-header-name"), remaining: e.attr("remaining-calls-header-name"), total: e.attr("total-calls-header-name"),
	}
	if r.retryAfter == "" {
		r.retryAfter = "Retry-After"
	}
	return r, nil
}

func (r rateRule) run(e *evaluation) bool {
	rule := Rule{Result: Pass, Want: fmt.Sprintf("at most %d calls in %s", r.calls, r.period)}
	if e.Subscription == "" || e.Limits == nil {
		rule.Result, rule.Why = NotChecked, "only calls with a subscription key are counted"
		if e.Limits == nil {
			rule.Why = "earlier calls are not known here"
		}
		e.note(rule)
		return true
	}
	used, wait := e.Limits.take(r.counter+"\x00"+e.Subscription, r.calls, r.period, e.Now)
	rule.Got = fmt.Sprintf("%d calls", used)
	if r.total != "" {
		e.verdict.Header.Set(r.total, strconv.Itoa(r.calls))
	}
	if r.remaining != "" {
		e.verdict.Header.Set(r.remaining, strconv.Itoa(max(r.calls-used, 0)))
	}
	if wait == 0 {
		e.note(rule)
		return true
	}
	seconds := int(math.Ceil(wait.Seconds()))
	rule.Result, rule.Why = Refuse, fmt.Sprintf("the next call is free in %d seconds", seconds)
	rule.Fixes = []Fix{{SideCaller, fmt.Sprintf("wait %d seconds", seconds)}, {SidePolicy, "allow more calls"}}
	e.note(rule)
	answer := ErrorResponse(http.StatusTooManyRequests, fmt.Sprintf("Rate limit is exceeded. Try again in %d seconds.", seconds))
	answer.Header.Set(r.retryAfter, strconv.Itoa(seconds))
	e.refuse("RateLimitExceeded", "Rate limit is exceeded", answer)
	return false
}

// Limits counts calls for rate-limit, one sliding window for each statement and subscription. The zero value is ready; it is safe for concurrent
// use. It holds one time for each call within the window.
type Limits struct {
	mu    sync.Mutex
	calls map[string][]time.Time
}

// take counts a call. It returns the calls in the window with this one, and how long to wait where it exceeds the limit; a call that does is not
// counted.
func (l *Limits) take(key string, limit int, period time.Duration, now time.Time) (used int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls == nil {
		l.calls = map[string][]time.Time{}
	}
	window := l.calls[key]
	for len(window) > 0 && !window[0].Add(period).After(now) {
		window = window[1:]
	}
	if len(window) >= limit {
		l.calls[key] = window
		return len(window), window[0].Add(period).Sub(now)
	}
	l.calls[key] = append(window, now)
	return len(window) + 1, 0
}

// Reset forgets every call.
func (l *Limits) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = nil
}
