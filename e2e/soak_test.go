package e2e

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/sandbox/host"
)

var (
	soakDuration = flag.Duration("soak.duration", 10*time.Second, "how long the soak test goes on")
	soakSeed     = flag.Uint64("soak.seed", 1, "`seed` of the soak test")
)

// TestSoak keeps callers, timers and queues busy while the weather of gateway and identity endpoint changes. Memory, goroutines, descriptors and threads stay
// flat; no message is lost; what was done is asked for again only where its answer was lost, and a message then with the same idempotency key.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("ten seconds of changing weather")
	}
	root := t.TempDir()
	hostJSON, err := os.ReadFile("../host.json")
	if err != nil {
		t.Fatal(err)
	}
	// The host's clock is fast here: five seconds are a quarter of one. A message never reaches the poison queue.
	quick := strings.Replace(string(hostJSON), `"extensions": {`, `"extensions": { "queues": { "visibilityTimeout": "00:00:05", "maxDequeueCount": 100000 },`, 1)
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
	phase := min(*soakDuration/40, 10*time.Second) // of the weather, and between two samples
	gateway := newSoakGateway(*soakSeed)
	server := httptest.NewServer(gateway)
	t.Cleanup(server.Close)
	environ := append(soakTokens(t, gateway), "PATH="+os.Getenv("PATH"), "FUNCTIONS_WORKER_RUNTIME=custom", "AzureWebJobsStorage=UseDevelopmentStorage=true",
		"TargetApp=api://relayed", "TargetTenantID="+tokenTenant, "FunctionIdentity=RunAs=App", "ApimKey="+primaryKey, "ApimUrl="+server.URL, "ApimTimeout=500ms",
		traceRuntime(phase))
	var unforeseen atomic.Pointer[string]
	var late sync.Map // trace ids of runs whose answer did not come within the budget
	var trace runtimeTrace
	h := startHostOn(t, host.Config{Root: root, Environ: environ, Speed: 20, History: 50, OnLog: func(e host.LogEntry) {
		if trace.add(e.Text) {
			return
		}
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
	wasLate := func(trace string) bool { _, ok := late.Load(trace); return ok }
	if code, body, err := send([]string{"GET", "http://" + h.Addr() + "/api/get?id=first"}); err != nil || code != 200 {
		t.Fatalf("before it begins: %d %s (%v)", code, body, err)
	}
	gateway.take("first")

	begin := time.Now()
	end := begin.Add(*soakDuration)
	var group sync.WaitGroup
	var calls, again, messages atomic.Int64
	for n := range 6 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(*soakSeed, uint64(n+1)))
			for i := 0; time.Now().Before(end); i++ {
				id := fmt.Sprintf("http-%d-%d", n, i)
				request := []string{"POST", "http://" + h.Addr() + "/api/get", `@{"ID":"` + id + `"}`}
				switch r.IntN(4) {
				case 0:
					request = []string{"GET", "http://" + h.Addr() + "/api/get?id=" + id}
				case 1:
					request[1] = "http://" + h.Addr() + "/api/wrapped"
				case 2: // an upload that the envelope's memory is borrowed for
					request = []string{"POST", "http://" + h.Addr() + "/api/wrapped?id=" + id, "@" + strings.Repeat("u", 70<<10+r.IntN(100<<10))}
				}
				code, text, err := send(request)
				calls.Add(1)
				all := gateway.take(id)
				if err != nil && (len(all) == 0 || all[len(all)-1].fate != fateCut) { // the cut goes through to a caller who was promised more
					t.Errorf("%s %s: %v: %+v", request[0], id, err, all)
				} else if fault := checkCall(request[0], code, all, wasLate); fault != "" {
					t.Errorf("%s %s: the caller got %d: %s: %+v: %.100s", request[0], id, code, fault, all, text)
				}
				again.Add(int64(max(0, doneOf(all)-1)))
			}
		})
	}
	group.Go(func() {
		for i := 0; time.Now().Before(end); i++ {
			if _, err := h.Fire("queue", host.Event{Input: text(fmt.Sprintf(`{"ID":"message-%d"}`, i))}); err != nil {
				t.Error(err)
			}
			messages.Add(1)
			time.Sleep(20 * time.Millisecond) // the pace of the messages
		}
	})
	var samples []footprint
	group.Go(func() {
		for time.Now().Before(end) {
			time.Sleep(phase) // the pace of the weather
			f := footprintOf(root)
			f.at = time.Since(begin)
			trace.fill(&f)
			samples = append(samples, f)
			gateway.weather.Store(int32(len(samples) % 2))
		}
	})
	group.Wait()
	gateway.weather.Store(0)

	missing := 0
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		missing = 0
		for i := range messages.Load() {
			if doneOf(gateway.seen(fmt.Sprint("message-", i))) == 0 {
				missing++
			}
		}
		if missing == 0 || time.Now().After(deadline) {
			break
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d messages were lost", missing, messages.Load())
	}
	h.Stop() // what was running ends; nothing comes any more
	repeats, repeated := map[string]int{}, 0
	for i := range messages.Load() {
		id := fmt.Sprint("message-", i)
		all := gateway.take(id)
		reasons, fault := explain(all, true, wasLate)
		if fault != "" {
			t.Errorf("%s: %s: %+v", id, fault, all)
		}
		repeated += min(1, len(reasons))
		for _, reason := range reasons {
			repeats[reason]++
		}
	}
	// What the handler gave up may be done after all, when its caller knows no more than that: 504.
	for id, all := range gateway.work {
		for _, a := range all {
			if !wasLate(a.trace) {
				t.Errorf("%s: a request that came after its end: %+v", id, a)
			}
		}
	}
	for _, f := range gateway.faults {
		t.Error(f)
	}
	if len(gateway.ticks) == 0 {
		t.Error("no timer ran")
	}
	if f := unforeseen.Load(); f != nil {
		t.Errorf("the log has %s", *f)
	}
	t.Logf("%s: %d HTTP calls, %d messages, %d ticks; nothing lost", *soakDuration, calls.Load(), messages.Load(), len(gateway.ticks))
	t.Logf("%d messages and %d GET calls came again after they had been done; each message with the same idempotency key, and because:", repeated, again.Load())
	for _, reason := range slices.Sorted(maps.Keys(repeats)) {
		t.Logf("%6d  %s", repeats[reason], reason)
	}
	for _, fate := range slices.Sorted(maps.Keys(gateway.fates)) {
		t.Logf("the gateway: %7d  %s", gateway.fates[fate], fate)
	}
	for i, s := range samples {
		if i%max(1, len(samples)/12) == 0 || i == len(samples)-1 {
			t.Logf("%8s  %s", s.at.Round(100*time.Millisecond), s)
		}
	}
	judge(t, samples)
}

func doneOf(all []arrival) (n int) {
	for _, a := range all {
		if a.done {
			n++
		}
	}
	return n
}

// checkCall holds what a caller was told against what the gateway did. A GET may be sent again when its answer was lost; a POST is done once at most.
func checkCall(method string, code int, all []arrival, late func(string) bool) string {
	done := doneOf(all)
	switch {
	case method == "POST" && done > 1:
		return "a POST was done more than once"
	case code == http.StatusOK && (done == 0 || !all[len(all)-1].done || all[len(all)-1].lost):
		return "it was not done"
	case code != http.StatusOK && code != http.StatusGatewayTimeout && done > 0 && !all[len(all)-1].lost && all[len(all)-1].done:
		return "it was done"
	}
	_, fault := explain(all, false, late)
	return fault
}

// soakTokens is an identity endpoint with tokens of a short life, which is down half of the time in bad weather. It returns the settings that lead to it.
func soakTokens(t *testing.T, gateway *soakGateway) []string {
	good := newTokens(t)
	good.life = 40 * time.Second
	var count atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gateway.weather.Load() == 1 && count.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		good.server.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return []string{"IDENTITY_ENDPOINT=" + server.URL + "/msi/token", "IDENTITY_HEADER=" + identityKey}
}
