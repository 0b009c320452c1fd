package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// arrival is one request for a piece of work, as the gateway saw it.
type arrival struct {
	key, trace string
	fate       string // what the gateway did to it
	done       bool   // the work was done
	lost       bool   // done, and the gateway saw to it that nobody hears of it
}

// soakGateway answers at random in phases of good and bad weather, and keeps what became of each request for each piece of work. Work is done when the gateway
// has decided to answer 200, whether that answer arrives or not.
type soakGateway struct {
	weather atomic.Int32
	mu      sync.Mutex
	work    map[string][]arrival
	ticks   map[string]bool // idempotency keys of timers, which bring no id
	faults  []string
	fates   map[string]int
	random  *rand.Rand
}

func newSoakGateway(seed uint64) *soakGateway {
	return &soakGateway{work: map[string][]arrival{}, ticks: map[string]bool{}, fates: map[string]int{}, random: rand.New(rand.NewPCG(seed, 0))}
}

// The fates, in good weather all "done" or "done, 100 KiB".
const (
	fateDone  = "done"
	fateLarge = "done, 100 KiB"
	fateReset = "done, the connection reset in place of the answer"
	fateCut   = "done, the answer cut short"
	fateLate  = "done, answered after the budget"
)

func (g *soakGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var work struct{ ID string }
	_ = json.Unmarshal(body, &work)
	if work.ID == "" {
		work.ID = r.URL.Query().Get("id")
	}
	answer := g.decide(r, work.ID)
	switch answer {
	case fateDone:
		fmt.Fprint(w, "done "+work.ID)
	case fateLarge:
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.CopyN(w, endless{}, 100<<10)
	case fateCut:
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("done"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "silence", fateLate:
		<-r.Context().Done()
	case "503":
		w.WriteHeader(http.StatusServiceUnavailable)
	case "429":
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
	case "401":
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, refusal)
	case "500":
		w.WriteHeader(http.StatusInternalServerError)
	default: // a reset
		panic(http.ErrAbortHandler)
	}
}

// decide throws the dice and writes down what they say.
func (g *soakGateway) decide(r *http.Request, id string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := arrival{key: r.Header.Get("Idempotency-Key"), trace: traceOf(r.Header.Get("Traceparent")), fate: fateDone}
	switch dice := g.random.IntN(100); {
	case g.weather.Load() == 0 || dice >= 50:
		if a.done = true; dice%10 == 0 {
			a.fate = fateLarge
		}
	case dice < 6:
		a.fate = "a reset"
	case dice < 14:
		a.fate = "503"
	case dice < 22:
		a.fate = "429"
	case dice < 26:
		a.fate = "silence"
	case dice < 31:
		a.fate = "401"
	case dice < 35:
		a.fate, a.done, a.lost = fateReset, true, true
	case dice < 38:
		a.fate, a.done, a.lost = fateCut, true, true
	case dice < 40:
		a.fate, a.done, a.lost = fateLate, true, true
	default:
		a.fate = "500"
	}
	g.fates[a.fate]++
	switch {
	case id != "":
		g.work[id] = append(g.work[id], a)
	case a.key == "":
		g.faults = append(g.faults, "a request with neither work nor an idempotency key")
	default:
		g.ticks[a.key] = true
	}
	return a.fate
}

// take returns what came for a piece of work, and forgets it: whatever comes for it later is left over.
func (g *soakGateway) take(id string) []arrival {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.work[id]
	delete(g.work, id)
	return all
}

// seen returns what came for a piece of work.
func (g *soakGateway) seen(id string) []arrival {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.work[id])
}

// explain says why work was asked for again after it had been done, once for each time, or what is wrong with it. Each of a message's deliveries carries the
// same idempotency key, by which a backend knows it again, and each that follows on one that was done has a reason: the gateway withheld the answer, or the
// handler's own line says that none came within the budget.
func explain(all []arrival, keyed bool, late func(trace string) bool) (reasons []string, fault string) {
	for i, a := range all {
		if keyed && (a.key == "" || a.key != all[0].key) {
			return nil, fmt.Sprintf("request %d of %d has the idempotency key %q, the first %q", i+1, len(all), a.key, all[0].key)
		}
		if !a.done || i == len(all)-1 {
			continue
		}
		switch {
		case a.lost:
			reasons = append(reasons, a.fate)
		case late(a.trace):
			reasons = append(reasons, "done, and the handler's line says that the budget was spent by then")
		default:
			return nil, fmt.Sprintf("request %d of %d was done and answered (trace %s), and another one came", i+1, len(all), a.trace)
		}
	}
	return reasons, ""
}

// traceOf is the trace id in a traceparent.
func traceOf(traceparent string) string {
	if parts := strings.Split(traceparent, "-"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}

var traceInLog = regexp.MustCompile(`"trace_id":"([0-9a-f]{32})"`)

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestTheSoakSeesWhatItIsFor holds the soak's own judgement: what is explained and what is not.
func TestTheSoakSeesWhatItIsFor(t *testing.T) {
	done, lost, failed := arrival{key: "k", trace: "1", fate: fateDone, done: true}, arrival{key: "k", trace: "2", fate: fateReset, done: true, lost: true}, arrival{key: "k", trace: "3", fate: "503"}
	other := done
	other.key = "another"
	late := func(trace string) bool { return trace == "late" }
	slow := done
	slow.trace = "late"
	for name, c := range map[string]struct {
		all     []arrival
		reasons int
		fault   bool
	}{
		"done once":                               {[]arrival{done}, 0, false},
		"failed, then done":                       {[]arrival{failed, failed, done}, 0, false},
		"done, the answer lost, done again":       {[]arrival{lost, done}, 1, false},
		"lost twice":                              {[]arrival{lost, failed, lost, done}, 2, false},
		"done, too late by the log, done again":   {[]arrival{slow, done}, 1, false},
		"done and answered, done again":           {[]arrival{done, done}, 0, true},
		"done and answered, asked for again":      {[]arrival{done, failed}, 0, true},
		"the answer lost, again with a new key":   {[]arrival{lost, other}, 0, true},
		"failed, then with a new key":             {[]arrival{failed, other}, 0, true},
		"without a key":                           {[]arrival{{fate: fateDone, done: true}}, 0, true},
		"lost, then done and answered, and again": {[]arrival{lost, done, done}, 0, true},
	} {
		if reasons, fault := explain(c.all, true, late); len(reasons) != c.reasons || (fault != "") != c.fault {
			t.Errorf("%s: %q, fault %q", name, reasons, fault)
		}
	}
	for name, c := range map[string]struct {
		method string
		code   int
		all    []arrival
		fault  bool
	}{
		"a POST done and answered":           {"POST", 200, []arrival{done}, false},
		"a POST done twice":                  {"POST", 200, []arrival{lost, done}, true},
		"a GET done twice":                   {"GET", 200, []arrival{lost, done}, false},
		"200 for what failed":                {"POST", 200, []arrival{failed}, true},
		"200 for what nobody saw":            {"GET", 200, nil, true},
		"502 for what was done and answered": {"POST", 502, []arrival{done}, true},
		"502 for what was done, and lost":    {"POST", 502, []arrival{lost}, false},
		"504 for what was done":              {"POST", 504, []arrival{slow}, false},
		"503 that passes":                    {"POST", 503, []arrival{failed}, false},
	} {
		if fault := checkCall(c.method, c.code, c.all, late); (fault != "") != c.fault {
			t.Errorf("%s: fault %q", name, fault)
		}
	}
}
