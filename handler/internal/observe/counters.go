package observe

import (
	"sync"
	"time"
)

// Counters count what became of calls, since the start. They are always on: the doctor shows them,
// and where metrics are exported these are the numbers that are exported. The zero value is ready;
// a nil one counts nothing. Safe for concurrent use.
type Counters struct {
	mu     sync.Mutex
	counts map[counted]uint64
}

// counted names one number: what happened, to which function, and the word for why or how.
type counted struct {
	what           event
	function, word string
}

type event int

const (
	retry event = iota
	replay
	refusal
	forGood
)

// Retry counts an attempt after one that failed. reason is a short constant word: a status, or a
// kind of failure.
func (c *Counters) Retry(function, reason string) { c.add(counted{retry, function, reason}) }

// Replay counts an attempt after a refusal. with is what was exchanged for it: key or token.
func (c *Counters) Replay(function, with string) { c.add(counted{replay, function, with}) }

// Refusal counts an answer 401 or 403 of the gateway. class is one of the relay's.
func (c *Counters) Refusal(function, class string) { c.add(counted{refusal, function, class}) }

// ForGood counts an event that no repetition can make succeed. why is the status of the backend's
// answer, or the code of our own problem.
func (c *Counters) ForGood(function, why string) { c.add(counted{forGood, function, why}) }

func (c *Counters) add(k counted) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[counted]uint64)
	}
	c.counts[k]++
}

// Counts are the counters of all functions together at one moment. The maps hold the words that
// something was counted for, and are never nil.
type Counts struct {
	Retries  uint64            // attempts after one that failed
	Replays  map[string]uint64 // attempts after a refusal, by what was exchanged: key, token
	Refusals map[string]uint64 // answers 401 and 403 by class, those that were made good included
	ForGood  map[string]uint64 // events that no repetition can make succeed, by status or code
}

// Counts reads the counters.
func (c *Counters) Counts() Counts {
	all := Counts{Replays: make(map[string]uint64), Refusals: make(map[string]uint64), ForGood: make(map[string]uint64)}
	c.each(func(k counted, n uint64) {
		switch k.what {
		case retry:
			all.Retries += n
		case replay:
			all.Replays[k.word] += n
		case refusal:
			all.Refusals[k.word] += n
		case forGood:
			all.ForGood[k.word] += n
		}
	})
	return all
}

func (c *Counters) each(yield func(counted, uint64)) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, n := range c.counts {
		yield(k, n)
	}
}

// TokenStats is what one token source has counted.
type TokenStats struct {
	Identity   string            // its name, nothing secret; two may have tokens for one resource
	Resource   string            // what the token is for
	ReceivedAt time.Time         // of the token in hand; zero = there is none
	Outcomes   map[string]uint64 // fetches since the start, by outcome
}
