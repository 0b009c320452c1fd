package gateway

import (
	"fmt"
	"sync"
)

// Faults are what the gateway does wrong on request. The zero value is none. Those that end a request exclude each other.
type Faults struct {
	LatencyMS int  `json:"latency_ms"` // before anything else
	Hang      bool `json:"hang"`       // no answer until the caller leaves or the fault ends
	// Reset cuts the connection: "before" any answer, or in the "body" of the backend's.
	Reset   string `json:"reset"`
	Garbage bool   `json:"garbage"` // bytes that are no HTTP
	// Status answers at once, in the gateway's form; RetryAfter is the header's value, "" for none.
	Status     int    `json:"status"`
	RetryAfter string `json:"retry_after"`
	// StaleMetadata keeps the issuers' keys that the gateway has, whatever their age and whatever key a token names.
	StaleMetadata bool `json:"stale_metadata"`
	// ClockSkewSeconds is how far the gateway's clock is ahead (or, negative, behind).
	ClockSkewSeconds int `json:"clock_skew_seconds"`
	// Times is how many requests meet latency, hang, reset, garbage and status before they end by themselves; 0: until they are changed.
	Times int `json:"times"`
}

func (f Faults) check() error {
	ends := 0
	for _, on := range []bool{f.Hang, f.Reset != "", f.Garbage, f.Status != 0} {
		if on {
			ends++
		}
	}
	switch {
	case f.LatencyMS < 0 || f.Times < 0:
		return fmt.Errorf("faults: want latency and times of 0 or more, got %d and %d", f.LatencyMS, f.Times)
	case f.Reset != "" && f.Reset != "before" && f.Reset != "body":
		return fmt.Errorf("faults: reset is %q: want before or body", f.Reset)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("faults: status is %d: want 200 to 599", f.Status)
	case f.RetryAfter != "" && f.Status == 0:
		return fmt.Errorf("faults: retry_after without status")
	case ends > 1:
		return fmt.Errorf("faults: want one of hang, reset, garbage and status, got %d", ends)
	}
	return nil
}

// faultSwitch holds the faults; changed is closed when they change, which frees hanging requests.
type faultSwitch struct {
	mu      sync.Mutex
	faults  Faults
	changed chan struct{}
}

func (s *faultSwitch) get() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

func (s *faultSwitch) set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// take returns the faults for one request and counts it.
func (s *faultSwitch) take() (Faults, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	if f.Times == 1 {
		s.faults = Faults{StaleMetadata: f.StaleMetadata, ClockSkewSeconds: f.ClockSkewSeconds}
	} else if f.Times > 1 {
		s.faults.Times--
	}
	return f, s.changed
}

// Faults returns the faults as they are now.
func (g *Gateway) Faults() Faults { return g.faults.get() }

// SetFaults replaces all faults, for requests that come from now on; hanging requests go on.
func (g *Gateway) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	g.faults.set(f)
	return nil
}
