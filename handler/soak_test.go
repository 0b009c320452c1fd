package main_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/handler/internal/sandbox/host"
)

var (
	soakDuration = flag.Duration("soak.duration", 6*time.Second, "how long the soak test goes on")
	soakSeed     = flag.Uint64("soak.seed", 1, "`seed` of the soak test")
)

// soakGateway answers at random in phases of good and bad weather, and keeps what it has done for each piece of work. Work counts as done when the gateway
// has decided to answer 200.
type soakGateway struct {
	weather atomic.Int32
	mu      sync.Mutex
	done    map[string]int
	traces  map[string]string // of the run that was done first
	keys    map[string]string
	faults  []string
	random  *rand.Rand
}

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
	g.mu.Lock()
	dice := g.random.IntN(100)
	key := r.Header.Get("Idempotency-Key")
	if was := g.keys[work.ID]; work.ID != "" && was != "" && was != key { // a timer's ticks have no id
		g.faults = append(g.faults, work.ID+" came with two idempotency keys")
	}
	g.keys[work.ID] = key
	bad := g.weather.Load() == 1 && dice < 50
	if !bad {
		if g.done[work.ID]++; g.done[work.ID] == 1 {
			g.traces[work.ID] = traceOf(r.Header.Get("Traceparent"))
		}
	}
	g.mu.Unlock()
	switch {
	case !bad && dice%10 == 0:
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.CopyN(w, endless{}, 100<<10)
	case !bad:
		fmt.Fprint(w, "done "+work.ID)
	case dice < 10:
		panic(http.ErrAbortHandler)
	case dice < 20:
		w.WriteHeader(http.StatusServiceUnavailable)
	case dice < 30:
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
	case dice < 35:
		<-r.Context().Done()
	case dice < 40:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, refusal)
	default:
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// traceOf is the trace id in a traceparent.
func traceOf(traceparent string) string {
	if parts := strings.Split(traceparent, "-"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestSoak keeps callers, timers and queues busy while the gateway's weather changes. Memory, descriptors and threads stay flat, no message is lost, and
// nothing that the gateway has done is asked for again, unless its answer came too late to be seen.
func TestSoak(t *testing.T) {
	root := t.TempDir()
	hostJSON, err := os.ReadFile("../host.json")
	if err != nil {
		t.Fatal(err)
	}
	quick := strings.Replace(string(hostJSON), `"extensions": {`, `"extensions": { "queues": { "visibilityTimeout": "00:00:05", "maxDequeueCount": 20 },`, 1)
	if err := os.WriteFile(filepath.Join(root, "host.json"), []byte(quick), 0o644); err != nil {
		t.Fatal(err)
	}
	writeFunction(t, root, "get", trigger{kind: "httpTrigger"})
	writeFunction(t, root, "wrapped", trigger{kind: "httpTrigger", wrapped: true})
	writeFunction(t, root, "queue", trigger{bindings: triggers[4].bindings})
	writeFunction(t, root, "tick", trigger{bindings: `{"type":"timerTrigger","name":"e","schedule":"*/20 * * * * *"}`, retry: true})
	if err := stage(root); err != nil {
		t.Fatal(err)
	}
	gateway := &soakGateway{done: map[string]int{}, traces: map[string]string{}, keys: map[string]string{}, random: rand.New(rand.NewPCG(*soakSeed, 0))}
	server := httptest.NewServer(gateway)
	t.Cleanup(server.Close)
	environ := append(newTokens(t).settings(), "PATH="+os.Getenv("PATH"), "FUNCTIONS_WORKER_RUNTIME=custom", "AzureWebJobsStorage=UseDevelopmentStorage=true",
		"TargetApp=api://relayed", "TargetTenantID="+tokenTenant, "FunctionIdentity=RunAs=App", "ApimKey="+primaryKey, "ApimUrl="+server.URL, "ApimTimeout=500ms")
	var unforeseen atomic.Pointer[string]
	var late sync.Map // trace ids of runs whose answer did not come within the budget
	h := startHostOn(t, host.Config{Root: root, Environ: environ, Speed: 20, History: 50, OnLog: func(e host.LogEntry) {
		if strings.Contains(e.Text, `"msg":"panic"`) || strings.Contains(e.Text, "DATA RACE") || strings.Contains(e.Text, "exited with code") {
			text := e.Text
			unforeseen.CompareAndSwap(nil, &text)
		}
		if strings.Contains(e.Text, `"problem":"budget-spent"`) {
			if m := traceInLog.FindStringSubmatch(e.Text); m != nil {
				late.Store(m[1], true)
			}
		}
	}})
	if code, body, err := send([]string{"GET", "http://" + h.Addr() + "/api/get?id=first"}); err != nil || code != 200 {
		t.Fatalf("before it begins: %d %s (%v)", code, body, err)
	}

	end := time.Now().Add(*soakDuration)
	var group sync.WaitGroup
	var calls, messages atomic.Int64
	for n := range 6 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(*soakSeed, uint64(n+1)))
			for i := 0; time.Now().Before(end); i++ {
				id := fmt.Sprintf("http-%d-%d", n, i)
				method, path, body := "POST", "get", `@{"ID":"`+id+`"}`
				if r.IntN(3) == 0 {
					path = "wrapped"
				}
				code, text, err := send([]string{method, "http://" + h.Addr() + "/api/" + path, body})
				calls.Add(1)
				gateway.mu.Lock()
				done := gateway.done[id]
				gateway.mu.Unlock()
				if err != nil {
					t.Errorf("%s: %v", id, err)
				}
				if code == 200 && done != 1 || code != 200 && code != 504 && done != 0 {
					t.Errorf("%s: the caller got %d, the gateway has done it %d time(s): %.100s", id, code, done, text)
				}
			}
		})
	}
	group.Go(func() {
		for i := 0; time.Now().Before(end); i++ {
			id := fmt.Sprintf("message-%d", i)
			if _, err := h.Fire("queue", host.Event{Input: text(`{"ID":"` + id + `"}`)}); err != nil {
				t.Error(err)
			}
			messages.Add(1)
			time.Sleep(20 * time.Millisecond) // the pace of the messages
		}
	})
	var samples []footprint
	group.Go(func() {
		for time.Now().Before(end) {
			samples = append(samples, footprintOf(root))
			gateway.weather.Store(int32(len(samples) % 2))
			time.Sleep(*soakDuration / 40)
		}
	})
	group.Wait()
	gateway.weather.Store(0)

	// Nothing lost: each message was done in the end. Nothing doubled: once.
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		missing, twice, tooLate := 0, 0, 0
		gateway.mu.Lock()
		for i := range messages.Load() {
			id := fmt.Sprintf("message-%d", i)
			// Done, with an answer that came too late, is done again: with the same idempotency key, which the gateway has looked at.
			_, excused := late.Load(gateway.traces[id])
			switch n := gateway.done[id]; {
			case n == 0:
				missing++
			case n == 2 && excused:
				tooLate++
			case n > 1:
				twice++
			}
		}
		gateway.mu.Unlock()
		if twice > 0 {
			t.Errorf("%d messages were done more than once", twice)
			break
		}
		if missing == 0 {
			t.Logf("%d messages were done again, since the answer came after the budget", tooLate)
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d of %d messages were lost", missing, messages.Load())
			break
		}
	}
	for _, f := range gateway.faults {
		t.Error(f)
	}
	if f := unforeseen.Load(); f != nil {
		t.Errorf("the log has %s", *f)
	}
	last := footprintOf(root)
	t.Logf("%s, %d HTTP calls, %d messages; handler: %v after a fifth, %v at the end", *soakDuration, calls.Load(), messages.Load(), samples[len(samples)/5], last)
	early := samples[len(samples)/5]
	if early.rss == 0 || last.rss > early.rss*3/2+16<<10 || last.descriptors > early.descriptors+40 || last.threads > early.threads+16 {
		t.Errorf("not flat: %v after a fifth, %v at the end", early, last)
	}
}

var traceInLog = regexp.MustCompile(`"trace_id":"([0-9a-f]{32})"`)

// footprint is what a process holds, from /proc.
type footprint struct{ rss, descriptors, threads int } // rss in KiB

func (f footprint) String() string {
	return fmt.Sprintf("%d KiB, %d descriptors, %d threads", f.rss, f.descriptors, f.threads)
}

var statusLine = regexp.MustCompile(`(?m)^(VmRSS|Threads):\s+(\d+)`)

func footprintOf(root string) (f footprint) {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		command, _ := os.ReadFile(file)
		if !strings.HasPrefix(string(command), root) {
			continue
		}
		dir := filepath.Dir(file)
		text, _ := os.ReadFile(filepath.Join(dir, "status"))
		for _, m := range statusLine.FindAllStringSubmatch(string(text), -1) {
			n, _ := strconv.Atoi(m[2])
			if m[1] == "VmRSS" {
				f.rss += n
			} else {
				f.threads += n
			}
		}
		entries, _ := os.ReadDir(filepath.Join(dir, "fd"))
		f.descriptors += len(entries)
	}
	return f
}
