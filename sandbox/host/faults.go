package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names of the faults, each with what of the real thing it looks like. Recordings are those of
// testdata.
const (
	// FaultLatency lets DelayMS pass. On the handler's side, before the call is handed to it: a
	// host that is waking up or waits for its handler (recording E-request-before-ready). On the
	// caller's side, before the answer goes out.
	FaultLatency = "latency"
	// FaultHang never goes on until the fault is cleared. On the handler's side the host has begun
	// the invocation and does not hand it over, as while it waits for a handler that does not get
	// ready (recordings E-exe-missing, E-never-listens); functionTimeout passes. On the caller's
	// side the answer does not go out: App Service's load balancer gives a caller up after 230 s
	// (https://learn.microsoft.com/azure/azure-functions/functions-scale#timeout).
	FaultHang = "hang"
	// FaultReset ends a connection. On the caller's side the handler has worked, and the caller
	// sees a reset instead of the answer, as of a host that goes away with the call (recording
	// E-sigterm-in-flight-long). On the handler's side the host gives the exchange up DelayMS after
	// the request has gone out, as YARP does when the caller has hung up and HttpClient when
	// functionTimeout is over (dotnet/yarp src/ReverseProxy/Forwarder/HttpForwarder.cs; recording
	// E-hang-slow); a caller that is still there gets 500.
	FaultReset = "reset"
	// FaultResetInBody ends it in the middle: of the answer's body, as when an instance is lost
	// (recording P-ans-chunked-cut), or of the request to the handler.
	FaultResetInBody = "reset-in-body"
	// FaultGarbage is what is no HTTP. To the caller, as by something broken between it and the
	// host; no host is known to do it. To the handler, the head of the request and then a body with
	// broken framing; where there is no body, bytes that are no request.
	FaultGarbage = "garbage"
	// FaultStatus answers Status instead of calling the function, with RetryAfter when set. 429 is
	// empty and has X-FUNCTION-SCALEOUT: 1, as beyond maxOutstandingRequests and under
	// dynamicThrottlesEnabled (Azure/azure-functions-host
	// src/WebJobs.Script.WebHost/Middleware/HttpThrottleMiddleware.cs; recording E-http-limits;
	// neither sends Retry-After, front ends may). 503 is a host that is not ready
	// (Middleware/HostAvailabilityCheckMiddleware.cs; recording E-fn-bad-route). Others are empty.
	FaultStatus = "status"
	// FaultKill ends the handler's process with SIGKILL, DelayMS after a request has gone out
	// (recording E-killed-mid-invocation). The host counts it: the third within half an hour of
	// each other ends the host.
	FaultKill = "kill"
	// FaultClockSkew sets the host's clock DelayMS ahead, negative: behind. Schedules, their
	// status, past due, Date and the stamps in requests follow it (a timer that waits already goes
	// on waiting, as System.Timers.Timer does); History and the log keep the right time.
	FaultClockSkew = "clock-skew"
	// FaultMissedTick is a host that is not there when a timer falls due and comes back DelayMS
	// later: the tick does not run, and then a run is past due (recording C-timer-pastdue;
	// Azure/azure-webjobs-sdk-extensions Extensions/Timers/Listener/TimerListener.cs). A timer
	// without a status (useMonitor false, or more often than once a minute) just loses the tick.
	FaultMissedTick = "missed-tick"
)

// The sides of a fault.
const (
	ToHandler = "handler" // between the host and its handler
	ToCaller  = "caller"  // between the host and an HTTP caller; other triggers have none
)

// Fault is something that goes wrong on purpose. All are off at first. Faults that differ in name,
// side or function can be on together; a call meets all that fit it.
type Fault struct {
	Name string `json:"name"`
	// On is the side, ToHandler or ToCaller. Empty: the handler's for latency, hang and kill, the
	// caller's for the others; clock-skew and missed-tick have none.
	On string `json:"on,omitempty"`
	// Function is whose calls meet it, ignoring case; empty: every function's.
	Function string `json:"function,omitempty"`
	// DelayMS is the milliseconds of latency, clock-skew and missed-tick; of reset on the handler's
	// side and kill, how long the handler has first.
	DelayMS    int    `json:"delay_ms,omitempty"`
	Status     int    `json:"status,omitempty"`      // of the fault status
	RetryAfter string `json:"retry_after,omitempty"` // of the fault status
	// for so many calls, attempts of a retry each counted; 0: until cleared
	Times int `json:"times,omitempty"`
}

type faultKind struct {
	name  string
	sides []string // the first is the usual one
	delay func(ms int) error
}

func anyDelay(ms int) error {
	if ms < 0 {
		return fmt.Errorf("delay_ms is %d: want 0 or more", ms)
	}
	return nil
}

func someDelay(ms int) error {
	if ms <= 0 {
		return fmt.Errorf("delay_ms is %d: want more than 0", ms)
	}
	return nil
}

func noDelay(ms int) error {
	if ms != 0 {
		return fmt.Errorf("delay_ms is %d: want none", ms)
	}
	return nil
}

var faultKinds = []faultKind{
	{FaultLatency, []string{ToHandler, ToCaller}, someDelay},
	{FaultHang, []string{ToHandler, ToCaller}, noDelay},
	{FaultReset, []string{ToCaller, ToHandler}, anyDelay},
	{FaultResetInBody, []string{ToCaller, ToHandler}, noDelay},
	{FaultGarbage, []string{ToCaller, ToHandler}, noDelay},
	{FaultStatus, []string{ToCaller}, noDelay},
	{FaultKill, []string{ToHandler}, anyDelay},
	{FaultClockSkew, nil, func(ms int) error {
		if ms == 0 {
			return errors.New(
				"delay_ms is 0: want how far the clock is ahead, or, negative, behind")
		}
		return nil
	}},
	{FaultMissedTick, nil, someDelay},
}

// FaultNames lists the names that SetFault knows.
func FaultNames() []string {
	var names []string
	for _, k := range faultKinds {
		names = append(names, k.name)
	}
	return names
}

// faultSwitch holds the faults.
type faultSwitch struct {
	mu     sync.Mutex
	active []Fault
	// by name: closed when the fault is cleared, which lets go what it holds
	free map[string]chan struct{}
}

// SetFault switches a fault on, for calls that come from now on, or replaces the one of the same
// name, side and function. A fault that makes no sense is an error, and changes nothing.
func (h *Host) SetFault(f Fault) error {
	i := slices.IndexFunc(faultKinds, func(k faultKind) bool { return k.name == f.Name })
	if i < 0 {
		return fmt.Errorf("setting a fault of host: no fault %q: want one of %s", f.Name,
			strings.Join(FaultNames(), ", "))
	}
	kind := faultKinds[i]
	if f.On == "" && len(kind.sides) > 0 {
		f.On = kind.sides[0]
	}
	if err := h.checkFault(kind, f); err != nil {
		return fmt.Errorf("setting the fault %s of host: %w", f.Name, err)
	}
	s := &h.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = slices.DeleteFunc(s.active, func(have Fault) bool {
		return have.Name == f.Name && have.On == f.On && strings.EqualFold(have.Function,
			f.Function)
	})
	s.active = append(s.active, f)
	h.setSkewLocked()
	return nil
}

func (h *Host) checkFault(kind faultKind, f Fault) error {
	switch {
	case f.On != "" && !slices.Contains(kind.sides, f.On):
		if len(kind.sides) == 0 {
			return fmt.Errorf("on is %q: want nothing", f.On)
		}
		return fmt.Errorf("on is %q: want %s", f.On, strings.Join(kind.sides, " or "))
	case f.Times < 0:
		return fmt.Errorf("times is %d: want 0 or more", f.Times)
	case f.Name == FaultClockSkew && (f.Times != 0 || f.Function != ""):
		return errors.New("the clock is one for all calls: want neither times nor function")
	case f.Name == FaultStatus && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status is %d: want 200 to 599", f.Status)
	case f.Name != FaultStatus && (f.Status != 0 || f.RetryAfter != ""):
		return errors.New("status and retry_after belong to the fault status")
	case strings.ContainsAny(f.RetryAfter, "\r\n") || !isASCII(f.RetryAfter):
		return errors.New("retry_after is no header value")
	case f.Name == FaultReset && f.On == ToCaller:
		return noDelay(f.DelayMS)
	}
	if in := h.inside(); in != nil && f.Function != "" && in.fault == "" &&
		in.find(f.Function) == nil {
		var names []string
		for _, fn := range in.functions {
			names = append(names, fn.name)
		}
		return fmt.Errorf("function is %q: want one of %s", f.Function, strings.Join(names, ", "))
	}
	return kind.delay(f.DelayMS)
}

// ClearFault switches the faults of a name off, whatever their side and function, and lets go what
// they hold: calls that hang go on. "" clears all.
func (h *Host) ClearFault(name string) {
	s := &h.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = slices.DeleteFunc(s.active,
		func(have Fault) bool { return name == "" || have.Name == name })
	for held, free := range s.free {
		if name == "" || held == name {
			close(free)
			delete(s.free, held)
		}
	}
	h.setSkewLocked()
}

// Faults lists what is on.
func (h *Host) Faults() []Fault {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	return slices.Clone(h.faults.active)
}

func (h *Host) setSkewLocked() {
	skew := time.Duration(0)
	for _, f := range h.faults.active {
		if f.Name == FaultClockSkew {
			skew = time.Duration(f.DelayMS) * time.Millisecond
		}
	}
	h.clock.skew.Store(int64(skew))
}

// metFault is a fault that a call meets.
type metFault struct {
	Fault
	free <-chan struct{} // closed when the fault is cleared
}

func (f metFault) text() string { return f.Name + " on the " + f.On + "'s side" }

func (f metFault) delay() time.Duration { return time.Duration(f.DelayMS) * time.Millisecond }

// take returns the fault that a call of function meets, if any, and counts it. One for the function
// alone comes before one for all.
func (s *faultSwitch) take(name, side, function string) (metFault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := -1
	for i, f := range s.active {
		if f.Name != name || f.On != side || f.Function != "" && !strings.EqualFold(f.Function,
			function) {
			continue
		}
		if found < 0 || f.Function != "" {
			found = i
		}
	}
	if found < 0 {
		return metFault{}, false
	}
	met := metFault{Fault: s.active[found]}
	if s.active[found].Times > 0 {
		if s.active[found].Times--; s.active[found].Times == 0 {
			s.active = slices.Delete(s.active, found, found+1)
		}
	}
	if s.free == nil {
		s.free = map[string]chan struct{}{}
	}
	if s.free[name] == nil {
		s.free[name] = make(chan struct{})
	}
	met.free = s.free[name]
	return met, true
}

// wait holds a call until d is over (0: never), the fault is cleared, or ctx or the host ends; it
// reports whether the call goes on.
func (h *Host) wait(ctx context.Context, f metFault, d time.Duration) bool {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-f.free:
	case <-ctx.Done():
		return false
	case <-h.halted.Done():
		return false
	}
	return true
}
