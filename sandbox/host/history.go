package host

import (
	"slices"
	"sync"
	"time"
)

// Invocation is one run of a function, as History lists it.
type Invocation struct {
	ID       string
	Function string
	Trigger  string // the trigger's type: httpTrigger
	Way      string // wrapped, forwarded or proxied
	Reason   string // what the host logs behind Executing
	// what it logs as Trigger Details, such as a message's id and dequeue count
	Details  string
	Method   string // of an HTTP call
	Path     string // of an HTTP call, with the query less "code"
	Attempt  int    // 0 for the first, above it for a retry
	Attempts int    // that the retry policy allows in all; 0 without one or without a limit
	// id of a queue's message, the same for each delivery; "" for other triggers
	Message  string
	Delivery int           // of the message, from 1
	Most     int           // deliveries of a message before it goes to the poison queue
	Started  time.Time     // without the fault clock-skew
	Duration time.Duration // zero while it runs
	Status   Status
	HTTP     int      // the status that the caller got; 0 before, and for events
	Error    string   // why it failed
	Faults   []string // of this stand-in that it met, such as "hang on the handler's side"
	// lines of the host's log from its start to its end: its own, and those of the handler's
	// console, which belong to nobody
	Log []LogEntry
	// Outputs are what it put on its output bindings, and the message that it was given up for.
	Outputs []Message
}

// Status of an Invocation.
type Status string

// What an invocation came to.
const (
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
)

type history struct {
	mu   sync.Mutex
	size int
	all  []*Invocation
	seq  uint64
}

// The log lines kept for one invocation.
const maxNoted = 500

func (s *history) start(i *Invocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, i)
	if over := len(s.all) - s.size; over > 0 {
		s.all = s.all[over:]
	}
}

func (s *history) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	f()
}

func (s *history) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	s.all = nil
}

// meet notes a fault with the last attempt of an invocation.
func (s *history) meet(id, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range slices.Backward(s.all) {
		if i.ID == id {
			s.seq++
			i.Faults = append(i.Faults, fault)
			return
		}
	}
}

// put notes an output with the last attempt of its invocation.
func (s *history) put(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range slices.Backward(s.all) {
		if i.ID == m.Invocation {
			s.seq++
			i.Outputs = append(i.Outputs, m)
			return
		}
	}
}

// note gives a line to the invocations that run: one with an id to its own, one of the console to
// all.
func (s *history) note(e LogEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	for _, i := range s.all {
		if (e.Invocation == i.ID || e.Invocation == "" && i.Status == Running &&
			e.Category == consoleCategory) && len(i.Log) < maxNoted {
			i.Log = append(i.Log, e)
		}
	}
}

// History lists the invocations since the start, oldest first, at most Config.History of them. It
// is safe for concurrent use; what it returns is a copy.
func (h *Host) History() []Invocation {
	h.history.mu.Lock()
	defer h.history.mu.Unlock()
	out := make([]Invocation, len(h.history.all))
	for i, inv := range h.history.all {
		out[i] = *inv
		out[i].Log, out[i].Faults = slices.Clone(inv.Log), slices.Clone(inv.Faults)
		out[i].Outputs = slices.Clone(inv.Outputs)
	}
	return out
}
