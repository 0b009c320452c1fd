package relay

import "sync/atomic"

// Counters count what the relay did since the start. The zero value is ready; a nil one counts nothing. Safe for concurrent use.
type Counters struct {
	retries                    atomic.Uint64
	replayedKey, replayedToken atomic.Uint64
	refusals                   [len(refusalClasses)]atomic.Uint64
}

// refusalClasses are the places of the classes in Counters.
var refusalClasses = [...]Refusal{KeyMissing, KeyInvalid, TokenRefused, Forbidden, QuotaSpent, NotGateways}

// Counts are the counters at one moment. Refusals has every class; each refused attempt counts, those that were made again with another key or token
// included.
type Counts struct {
	Retries                    uint64 // attempts after one that failed
	ReplayedKey, ReplayedToken uint64 // attempts after a refusal, with the other key or a newer token
	Refusals                   map[Refusal]uint64
}

// Counts reads the counters.
func (c *Counters) Counts() Counts {
	all := Counts{Refusals: make(map[Refusal]uint64)}
	for i, class := range refusalClasses {
		if c != nil {
			all.Refusals[class] = c.refusals[i].Load()
		} else {
			all.Refusals[class] = 0
		}
	}
	if c != nil {
		all.Retries, all.ReplayedKey, all.ReplayedToken = c.retries.Load(), c.replayedKey.Load(), c.replayedToken.Load()
	}
	return all
}

func (c *Counters) retried() {
	if c != nil {
		c.retries.Add(1)
	}
}

func (c *Counters) replayed(what string) {
	switch {
	case c == nil:
	case what == "key":
		c.replayedKey.Add(1)
	default:
		c.replayedToken.Add(1)
	}
}

func (c *Counters) refused(class Refusal) {
	if c == nil || class == NoRefusal {
		return
	}
	for i := range refusalClasses {
		if refusalClasses[i] == class {
			c.refusals[i].Add(1)
		}
	}
}
