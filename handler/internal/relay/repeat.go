package relay

import (
	"crypto/sha256"
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

// sentMemory is how long a repeat is recognised at least; half as long again at most. The recorded repeats come within two seconds.
const sentMemory = time.Minute

// sent remembers the invocation ids of proxied calls with a non-idempotent method of which a byte may have been written. Three sets take turns, so that
// forgetting needs neither a timer nor a walk. They hold no pointers and 16 bytes for each id: at thousands of calls a second the ids as they come, with
// their times, would be most of the heap, five times over by gcPercent.
type sent struct {
	mu     sync.Mutex
	sets   [3]map[sentID]struct{} // the newest first
	turned time.Time
}

// sentID stands for an id of any form. Half a SHA-256 does not collide.
type sentID [16]byte

func sentIDOf(id string) sentID {
	sum := sha256.Sum256([]byte(id))
	return sentID(sum[:16])
}

// turn forgets what is old enough. The caller holds the mutex.
func (s *sent) turn(now time.Time) {
	const turn = sentMemory / 2
	since := now.Sub(s.turned)
	if since < turn {
		return
	}
	if since >= time.Duration(len(s.sets))*turn {
		s.sets, s.turned = [3]map[sentID]struct{}{}, now
		return
	}
	for ; since >= turn; since -= turn {
		s.sets[2], s.sets[1], s.sets[0] = s.sets[1], s.sets[0], nil
		s.turned = s.turned.Add(turn)
	}
}

func (s *sent) add(id string, now time.Time) {
	key := sentIDOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(now)
	if s.sets[0] == nil {
		s.sets[0] = make(map[sentID]struct{}, len(s.sets[1])) // about as many come as came before
	}
	s.sets[0][key] = struct{}{}
}

func (s *sent) has(id string, now time.Time) bool {
	key := sentIDOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(now)
	for _, set := range s.sets {
		if _, ok := set[key]; ok {
			return true
		}
	}
	return false
}
