package observe

import (
	"slices"
	"sync"
	"time"
)

// TokenStats is what one token source reports when metrics are collected.
type TokenStats struct {
	Identity   string    // its name, nothing secret: tells apart identities with tokens for one resource
	Resource   string    // what the token is for
	ReceivedAt time.Time // of the token in hand; zero = there is none
	Outcomes   map[string]uint64
}

// ObserveTokens has the metrics of token sources asked for at each collection: age in seconds, fetches by outcome since the start. report
// must be quick and safe to call at any time.
func (t *Telemetry) ObserveTokens(report func() []TokenStats) {
	if t == nil || t.metrics == nil {
		return
	}
	t.metrics.tokens.mu.Lock()
	defer t.metrics.tokens.mu.Unlock()
	t.metrics.tokens.reports = append(t.metrics.tokens.reports, report)
}

// tokenMetrics are the metrics of token sources: nothing is kept of them but what the last export said.
type tokenMetrics struct {
	delta bool
	start time.Time
	begun time.Time // of the counts that the next export has

	mu      sync.Mutex // of reports
	reports []func() []TokenStats
	before  map[fetches]uint64
}

// fetches and token are the labels of the two metrics.
type (
	token   struct{ identity, resource string }
	fetches struct {
		token
		outcome string
	}
)

// appendTo writes the two metrics, each as field 2 of a ScopeMetrics, and nothing where it has no series. One export at a time.
func (m *tokenMetrics) appendTo(b []byte, now time.Time) []byte {
	m.mu.Lock()
	reports := slices.Clone(m.reports)
	m.mu.Unlock()
	ages, counts := map[token]float64{}, map[fetches]uint64{}
	for _, report := range reports {
		for _, s := range report() {
			of := token{s.Identity, s.Resource}
			if !s.ReceivedAt.IsZero() {
				ages[of] = time.Since(s.ReceivedAt).Seconds()
			}
			for outcome, n := range s.Outcomes {
				counts[fetches{of, outcome}] += n
			}
		}
	}
	return m.appendCounts(m.appendAges(b, ages, now), counts, now)
}

func (m *tokenMetrics) appendAges(b []byte, ages map[token]float64, now time.Time) []byte {
	if len(ages) == 0 {
		return b
	}
	b, at := openMetric(b, "apimrelay.token.age", "Time since the token in hand was received", "s")
	b, data := open(b, 5) // gauge
	for of, age := range ages {
		var point int
		b, point = open(b, 1)
		b = of.appendTo(b)
		b = appendFixed64(b, 2, nanos(m.start))
		b = appendFixed64(b, 3, nanos(now))
		b = closed(appendDouble(b, 4, age), point)
	}
	return closed(closed(b, data), at)
}

func (m *tokenMetrics) appendCounts(b []byte, counts map[fetches]uint64, now time.Time) []byte {
	before, begun := m.before, m.begun
	if m.delta {
		m.before, m.begun = counts, now
	}
	if len(counts) == 0 {
		return b
	}
	b, at := openMetric(b, "apimrelay.token.refreshes", "Fetches of a token, by outcome", "{fetch}")
	b, data := open(b, 7) // sum
	for of, n := range counts {
		var point int
		b, point = open(b, 1)
		b = of.token.appendTo(b)
		b = appendText(b, pointAttributes, "apimrelay.outcome", of.outcome)
		b = appendFixed64(b, 2, nanos(begun))
		b = appendFixed64(b, 3, nanos(now))
		b = closed(appendFixed64(b, 6, n-before[of]), point)
	}
	b = appendTemporality(b, m.delta)
	b = appendVarint(b, 3, 1) // monotonic
	return closed(closed(b, data), at)
}

func (t token) appendTo(b []byte) []byte {
	b = appendText(b, pointAttributes, "apimrelay.identity", t.identity)
	return appendText(b, pointAttributes, "apimrelay.resource", t.resource)
}
