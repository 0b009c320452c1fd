package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Names of the faults.
const (
	FaultLatency       = "latency"        // wait DelayMS first
	FaultHang          = "hang"           // no answer until the caller leaves or the fault is cleared
	FaultReset         = "reset"          // cut the connection before any answer
	FaultResetInBody   = "reset-in-body"  // cut it in the body of the backend's answer
	FaultGarbage       = "garbage"        // bytes that are no HTTP
	FaultStatus        = "status"         // answer Status at once, in the gateway's form, with RetryAfter when set
	FaultStaleMetadata = "stale-metadata" // keep the issuers' keys, whatever their age and whatever key a token names
	FaultClockSkew     = "clock-skew"     // the gateway's clock is DelayMS ahead, negative: behind
)

var faultNames = []string{FaultLatency, FaultHang, FaultReset, FaultResetInBody, FaultGarbage, FaultStatus, FaultStaleMetadata, FaultClockSkew}

// FaultNames lists the names that SetFault knows.
func FaultNames() []string { return slices.Clone(faultNames) }

// Fault is something that goes wrong on purpose. Faults of different names can be on together; of hang, reset, reset-in-body, garbage and
// status a request meets the first in this order.
type Fault struct {
	Name       string `json:"name"`
	DelayMS    int    `json:"delay_ms,omitempty"`    // of latency and clock-skew
	Status     int    `json:"status,omitempty"`      // of status
	RetryAfter string `json:"retry_after,omitempty"` // of status
	Times      int    `json:"times,omitempty"`       // for so many requests; 0: until cleared. Not of stale-metadata and clock-skew
}

func (f Fault) check() error {
	lasts := f.Name == FaultStaleMetadata || f.Name == FaultClockSkew
	switch {
	case !slices.Contains(faultNames, f.Name):
		return fmt.Errorf("setting a fault of gateway: no fault %q: want one of %s", f.Name, strings.Join(faultNames, ", "))
	case f.Name == FaultLatency && f.DelayMS <= 0:
		return fmt.Errorf("setting the fault latency of gateway: delay_ms is %d: want more than 0", f.DelayMS)
	case f.Name == FaultClockSkew && f.DelayMS == 0:
		return errors.New("setting the fault clock-skew of gateway: delay_ms is 0: want how far the clock is ahead, or, negative, behind")
	case f.Name == FaultStatus && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("setting the fault status of gateway: status is %d: want 200 to 599", f.Status)
	case f.Name != FaultStatus && (f.Status != 0 || f.RetryAfter != ""):
		return fmt.Errorf("setting the fault %s of gateway: status and retry_after belong to the fault status", f.Name)
	case f.Times < 0 || lasts && f.Times != 0:
		return fmt.Errorf("setting the fault %s of gateway: times is %d: want 0 or, for faults of requests, more", f.Name, f.Times)
	}
	return nil
}

// Faults is a set of faults for SetFaults. The zero value is none. Those that end a request exclude each other.
type Faults struct {
	LatencyMS        int
	Hang             bool
	Reset            string // "before" any answer, or in the "body" of the backend's
	Garbage          bool
	Status           int
	RetryAfter       string
	StaleMetadata    bool
	ClockSkewSeconds int
	Times            int // of each of latency, hang, reset, garbage and status
}

func (f Faults) list() ([]Fault, error) {
	var out []Fault
	ends := 0
	add := func(on bool, one Fault) {
		if !on {
			return
		}
		switch one.Name {
		case FaultStaleMetadata, FaultClockSkew:
		case FaultLatency:
			one.Times = f.Times
		default:
			one.Times = f.Times
			ends++
		}
		out = append(out, one)
	}
	add(f.LatencyMS != 0, Fault{Name: FaultLatency, DelayMS: f.LatencyMS})
	add(f.Hang, Fault{Name: FaultHang})
	add(f.Reset == "before", Fault{Name: FaultReset})
	add(f.Reset == "body", Fault{Name: FaultResetInBody})
	add(f.Garbage, Fault{Name: FaultGarbage})
	add(f.Status != 0, Fault{Name: FaultStatus, Status: f.Status, RetryAfter: f.RetryAfter})
	add(f.StaleMetadata, Fault{Name: FaultStaleMetadata})
	add(f.ClockSkewSeconds != 0, Fault{Name: FaultClockSkew, DelayMS: f.ClockSkewSeconds * 1000})
	for _, one := range out {
		if err := one.check(); err != nil {
			return nil, err
		}
	}
	switch {
	case f.Reset != "" && f.Reset != "before" && f.Reset != "body":
		return nil, fmt.Errorf("setting the faults of gateway: reset is %q: want before or body", f.Reset)
	case f.RetryAfter != "" && f.Status == 0:
		return nil, errors.New("setting the faults of gateway: retry_after without status")
	case ends > 1:
		return nil, fmt.Errorf("setting the faults of gateway: want one of hang, reset, garbage and status, got %d", ends)
	}
	return out, nil
}

// faultSwitch holds the faults.
type faultSwitch struct {
	mu     sync.Mutex
	active []Fault
	free   map[string]chan struct{} // by name: closed when the fault is cleared, which frees what it holds
}

func (s *faultSwitch) releaseLocked(name string) {
	for held, free := range s.free {
		if name == "" || held == name {
			close(free)
			delete(s.free, held)
		}
	}
}

// met is a fault that a request meets.
type met struct {
	Fault
	free <-chan struct{} // closed when the fault is cleared
}

// take returns the faults that one request meets, and counts them.
func (s *faultSwitch) take() map[string]met {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.active) == 0 {
		return nil
	}
	out := map[string]met{}
	kept := s.active[:0]
	for _, f := range s.active {
		if s.free == nil {
			s.free = map[string]chan struct{}{}
		}
		if s.free[f.Name] == nil {
			s.free[f.Name] = make(chan struct{})
		}
		out[f.Name] = met{f, s.free[f.Name]}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				continue
			}
		}
		kept = append(kept, f)
	}
	s.active = kept
	return out
}

// SetFault switches a fault on for requests that come from now on, or replaces the one of the same name.
func (g *Gateway) SetFault(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	s := &g.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = append(slices.DeleteFunc(s.active, func(have Fault) bool { return have.Name == f.Name }), f)
	return nil
}

// ClearFault switches a fault off; requests that it holds go on. "" clears all.
func (g *Gateway) ClearFault(name string) {
	s := &g.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = slices.DeleteFunc(s.active, func(have Fault) bool { return name == "" || have.Name == name })
	s.releaseLocked(name)
}

// Faults lists what is on.
func (g *Gateway) Faults() []Fault {
	g.faults.mu.Lock()
	defer g.faults.mu.Unlock()
	return slices.Clone(g.faults.active)
}

// SetFaults replaces all faults, for requests that come from now on; what the old ones hold goes on.
func (g *Gateway) SetFaults(f Faults) error {
	list, err := f.list()
	if err != nil {
		return err
	}
	g.faults.mu.Lock()
	defer g.faults.mu.Unlock()
	g.faults.active = list
	g.faults.releaseLocked("")
	return nil
}
