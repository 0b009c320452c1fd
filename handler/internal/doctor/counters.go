package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"apimrelay/handler/internal/token"
)

// Counters are what the running handler has counted since its start.
type Counters struct {
	Tokens   []TokenCounters   `json:"tokens"`   // one for each identity and resource
	Retries  uint64            `json:"retries"`  // attempts after a failed one
	Replays  map[string]uint64 `json:"replays"`  // attempts after a refusal, by what was exchanged: key, token
	Refusals map[string]uint64 `json:"refusals"` // answers 401 and 403, by class
}

// TokenCounters is what one token source has counted.
type TokenCounters struct {
	Identity  string            `json:"identity"`
	Resource  string            `json:"resource"`
	InHand    bool              `json:"in_hand"`              // a token is there that can be used
	AgeS      int64             `json:"age_s,omitempty"`      // since it came
	LeftS     int64             `json:"left_s,omitempty"`     // until its end
	Hash      string            `json:"hash,omitempty"`       // names it in logs
	Requests  uint64            `json:"requests"`             // to the identity, every try counted
	Refreshes map[string]uint64 `json:"refreshes"`            // fetches by outcome: new, same, refused, unavailable
	Forced    uint64            `json:"forced"`               // renewals because the gateway refused the token
	LastError string            `json:"last_error,omitempty"` // of the last fetch that failed
}

// TokensOf counts the states of token sources.
func TokensOf(states []token.State, now time.Time) []TokenCounters {
	all := []TokenCounters{}
	for _, st := range states {
		c := TokenCounters{
			Identity: st.Identity, Resource: st.Resource, InHand: st.Usable, Requests: st.Requests, Forced: st.Forced, Hash: st.Facts.Hash,
			Refreshes: map[string]uint64{"new": st.Counts.New, "same": st.Counts.Same, "refused": st.Counts.Refused, "unavailable": st.Counts.Unavailable},
		}
		if st.Usable {
			c.AgeS, c.LeftS = int64(st.Age(now)/time.Second), int64(st.ExpiresOn.Sub(now)/time.Second)
		}
		if st.Failing && st.LastError != nil {
			c.LastError = st.LastError.Error()
		}
		all = append(all, c)
	}
	return all
}

func (c *Counters) write(w io.Writer) {
	fmt.Fprintln(w, "\nsince the start of this instance")
	for _, t := range c.Tokens {
		line := "no token in hand"
		if t.InHand {
			line = fmt.Sprintf("token %s, %s old, %s left", t.Hash, time.Duration(t.AgeS)*time.Second, time.Duration(t.LeftS)*time.Second)
		}
		fmt.Fprintf(w, "         %s, %s: %s; fetches: %s; forced: %d\n", t.Identity, t.Resource, line, pairs(t.Refreshes), t.Forced)
	}
	fmt.Fprintf(w, "         retries: %d; replays: %s; refusals: %s\n", c.Retries, pairs(c.Replays), pairs(c.Refusals))
}

func pairs(m map[string]uint64) string {
	var list []string
	for name, n := range m {
		list = append(list, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(list)
	if list == nil {
		return "none"
	}
	return strings.Join(list, ", ")
}
