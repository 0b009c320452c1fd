package relay

import (
	"sync"
	"time"
)

// ErrAlreadySent is the answer to the host's repeat of a proxied exchange that has reached the gateway before.
//
// The host repeats an exchange that ended without an answer up to 40 times (recording P-ans-closed), whatever the method. What was sent once may have
// been done, and only the caller can know whether it may be done again.
var ErrAlreadySent = errAlreadySent{}

type errAlreadySent struct{}

func (errAlreadySent) Error() string {
	return "relaying: the host repeats a call that was already sent to the gateway and whose outcome is not known"
}

// sentMemory is how long a repeat is recognised. The recorded repeats come within two seconds.
const sentMemory = time.Minute

// sent remembers the invocation ids of proxied calls with a non-idempotent method of which a byte may have been written. Two maps take turns, so that
// forgetting needs neither a timer nor a walk.
type sent struct {
	mu       sync.Mutex
	now, old map[string]time.Time
	turned   time.Time
}

func (s *sent) add(id string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || now.Sub(s.turned) > sentMemory {
		s.old, s.now, s.turned = s.now, make(map[string]time.Time), now
	}
	s.now[id] = now
}

func (s *sent) has(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.now[id]
	if !ok {
		at, ok = s.old[id]
	}
	return ok && now.Sub(at) <= sentMemory
}
