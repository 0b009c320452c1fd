package gateway

import (
	"slices"
	"sync"
	"time"

	"apimrelay/internal/policy"
)

// Record is one request as the gateway saw it. It holds no key, no token and no body.
type Record struct {
	ID      string    `json:"id"`   // the activityId of a 500
	Time    time.Time `json:"time"` // without the fault clock-skew
	Method  string    `json:"method"`
	Path    string    `json:"path"`            // escaped, as it came
	Query   string    `json:"query,omitempty"` // values of credentials replaced
	Remote  string    `json:"remote"`
	Headers []string  `json:"headers"` // names only, sorted

	// Correlation.
	Traceparent    string `json:"traceparent,omitempty"`
	IdempotencyKey string `json:"idempotencyKey,omitempty"`

	API          string `json:"api,omitempty"`
	Operation    string `json:"operation,omitempty"`
	Product      string `json:"product,omitempty"`
	Subscription string `json:"subscription,omitempty"`
	Key          string `json:"key,omitempty"`     // primary, secondary, unknown; "" for none
	KeyFrom      string `json:"keyFrom,omitempty"` // header or query

	// Stage is where the answer came from: route, key, policy, backend, gateway (its own error), fault.
	Stage         string            `json:"stage"`
	Fault         string            `json:"fault,omitempty"`
	Error         *policy.LastError `json:"error,omitempty"`
	Token         *policy.Facts     `json:"token,omitempty"`
	Rules         []policy.Rule     `json:"rules,omitempty"`
	Status        int               `json:"status"` // 0: no answer was sent
	BackendStatus int               `json:"backendStatus,omitempty"`
	RequestBytes  int64             `json:"requestBytes"`
	ResponseBytes int64             `json:"responseBytes"`
	Durations     Durations         `json:"durations"`
}

// Durations of the parts of a request, in milliseconds from its start or on their own.
type Durations struct {
	PolicyMS  float64 `json:"policy_ms"`     // metadata included
	BackendMS float64 `json:"backend_ms"`    // until the backend's header
	TotalMS   float64 `json:"total_ms"`      // until the last byte
	BackendAt float64 `json:"backend_at_ms"` // when the request went to the backend
}

// Refused returns the first rule that refused, or nil.
func (r Record) Refused() *policy.Rule {
	for i := range r.Rules {
		if r.Rules[i].Result == policy.Refuse {
			return &r.Rules[i]
		}
	}
	return nil
}

// ring keeps the newest records.
type ring struct {
	mu   sync.Mutex
	size int
	all  []Record
}

func (r *ring) add(one Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) >= r.size {
		r.all = slices.Delete(r.all, 0, len(r.all)-r.size+1)
	}
	r.all = append(r.all, one)
}

func (r *ring) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = nil
}

// History returns the newest requests that have ended, oldest first.
func (g *Gateway) History() []Record {
	g.history.mu.Lock()
	defer g.history.mu.Unlock()
	return slices.Clone(g.history.all)
}
