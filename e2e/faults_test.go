package e2e

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/sandbox/host"
)

// way is a column of docs/faults.md: how an invocation comes.
type way struct {
	trigger
	forwarded bool
	then      string // what becomes of an event whose last run failed
}

var ways = []way{
	{trigger: trigger{title: "GET, proxied", kind: "httpTrigger", method: "GET", runs: 1}},
	{trigger: trigger{title: "POST, proxied", kind: "httpTrigger", method: "POST", runs: 1}},
	{trigger: trigger{title: "GET, forwarded", kind: "httpTrigger", method: "GET", runs: 1}, forwarded: true},
	{trigger: trigger{title: "POST, wrapped", kind: "httpTrigger", method: "POST", runs: 1, wrapped: true}},
	{trigger: trigger{title: "timer with `retry`", kind: "timerTrigger", bindings: triggers[3].bindings, retry: true, runs: 4}, then: "next tick"},
	{trigger: trigger{title: "timer without `retry`", kind: "timerTrigger", bindings: triggers[3].bindings, runs: 1}, then: "lost"},
	{trigger: trigger{title: "queue", kind: "queueTrigger", bindings: triggers[4].bindings, runs: 5, event: host.Event{Input: text(`{"a":1}`)}}, then: "poison queue"},
	{trigger: trigger{title: "Event Hubs batch with `retry`", kind: "eventHubTrigger", bindings: triggers[6].bindings, retry: true, runs: 4, event: host.Event{Many: []string{`{"a":1}`, `{"a":2}`}}}, then: "skipped"},
}

// trouble is a row: what goes wrong.
type trouble struct {
	name, title string
	identity    string // last digits of the fourth group of the client id, which the fake endpoint goes by
	url         string // instead of a gateway's
	gateway     http.HandlerFunc
	tls, kill   bool
	giveUp      bool // the host does, after a moment
	timeout     string
}

var troubles = []trouble{
	{name: "patience", title: "the identity endpoint answers 429", identity: "8001", gateway: status(200, `{}`)},
	{name: "refused", title: "the identity is refused a token", identity: "8002", gateway: status(200, `{}`)},
	{name: "name", title: "the gateway's name has no address", url: "https://nobody..example/api"},
	{name: "closed", title: "nobody listens", url: "http://127.0.9.1:1"},
	{name: "certificate", title: "the certificate is not trusted", tls: true, gateway: status(200, `{}`)},
	{name: "hangsup", title: "the connection ends without an answer", gateway: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	{name: "cut", title: "the answer is cut short", gateway: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}},
	{name: "server", title: "the gateway answers 500", gateway: status(500, `{}`)},
	{name: "busy", title: "the gateway answers 503", gateway: status(503, `{}`)},
	{name: "silent", title: "no answer in time", timeout: "1s", gateway: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	{name: "giveup", title: "the host abandons the first exchange", giveUp: true},
	{name: "kill", title: "the handler is killed during the first call", kill: true},
}

// faultyTokens is an identity endpoint that is in trouble for some identities.
func faultyTokens(t *testing.T) []string {
	good := newTokens(t)
	target, _ := url.Parse(good.server.URL)
	pass := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }, ErrorLog: log.New(io.Discard, "", 0)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch id := r.URL.Query().Get("client_id"); {
		case strings.Contains(id, "-8001-"):
			w.Header().Set("Retry-After", "20")
			w.WriteHeader(http.StatusTooManyRequests)
		case strings.Contains(id, "-8002-"):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"statusCode":400,"message":"no such identity"}`)
		default:
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return []string{"IDENTITY_ENDPOINT=" + server.URL + "/msi/token", "IDENTITY_HEADER=" + identityKey}
}

// TestFaults runs each trouble into each way in, with the built handler below the host's stand-in, and compares docs/faults.md with what happened. An event
// is lost only where its trigger has no redelivery, which a line at start says; nothing is done twice without an idempotency key.
func TestFaults(t *testing.T) {
	// An app for each host, and one for the handlers that are killed: each start asks for the tokens of all its functions.
	roots := [3]string{t.TempDir(), t.TempDir(), t.TempDir()}
	environ := append(faultyTokens(t), "PATH="+os.Getenv("PATH"), "FUNCTIONS_WORKER_RUNTIME=custom", "AzureWebJobsStorage=UseDevelopmentStorage=true",
		"TargetApp=api://relayed", "TargetTenantID="+tokenTenant, "FunctionIdentity=RunAs=App", "ApimKey="+primaryKey)
	spies := map[string]*spy{}
	var killer atomic.Pointer[func()]
	for row, f := range troubles {
		for column, w := range ways {
			name := functionIn(column, f)
			switch {
			case f.kill:
				writeFunction(t, roots[2], name, w.trigger)
			case w.forwarded:
				writeFunction(t, roots[1], name, w.trigger)
			default:
				writeFunction(t, roots[0], name, w.trigger)
			}
			gateway := f.url
			// A name or address, and so a retry budget, for each column.
			gateway = strings.Replace(strings.Replace(gateway, ".9.", fmt.Sprintf(".%d.", 10+column), 1), "nobody", fmt.Sprint("nobody-", column), 1)
			answer := f.gateway
			if f.kill || f.giveUp {
				var first atomic.Bool
				answer = func(w http.ResponseWriter, r *http.Request) {
					if first.CompareAndSwap(false, true) {
						if f.kill {
							(*killer.Load())()
						}
						<-r.Context().Done()
						return
					}
					status(200, `{}`)(w, r)
				}
			}
			switch {
			case f.tls:
				server := httptest.NewUnstartedServer(answer)
				server.Config.ErrorLog = log.New(io.Discard, "", 0)
				server.StartTLS()
				t.Cleanup(server.Close)
				gateway = server.URL
			case answer != nil:
				spies[name] = newSpy(answer)
				t.Cleanup(spies[name].server.Close)
				gateway = spies[name].server.URL
			}
			identity := "8000"
			if f.identity != "" {
				identity = f.identity
			}
			environ = append(environ, name+"__ApimUrl="+gateway, fmt.Sprintf("%s__FunctionIdentity=RunAs=App;AppId=00000000-0000-4000-%s-%06d%06d", name, identity, row, column))
			if f.timeout != "" {
				environ = append(environ, name+"__ApimTimeout="+f.timeout)
			}
		}
	}
	// With the default, no pause, the host may use up a message's deliveries while the handler starts again.
	hostJSON, err := os.ReadFile("../host.json")
	if err != nil {
		t.Fatal(err)
	}
	paused := strings.Replace(string(hostJSON), `"extensions": {`, `"extensions": { "queues": { "visibilityTimeout": "00:00:10" },`, 1)
	if err := os.WriteFile(filepath.Join(roots[2], "host.json"), []byte(paused), 0o644); err != nil || paused == string(hostJSON) {
		t.Fatalf("host.json without extensions: %v", err)
	}
	for _, root := range roots {
		if err := stage(root); err != nil {
			t.Fatal(err)
		}
	}
	start := func(root string, forwarded bool, book *logBook) *host.Host {
		return startHostOn(t, host.Config{Root: root, Environ: environ, OnLog: book.add, Speed: 20, History: 2000, Switches: host.Switches{NoProxying: forwarded}})
	}
	var logs [2]logBook
	hosts := [2]*host.Host{start(roots[0], false, &logs[0]), start(roots[1], true, &logs[1])}
	cells := make(map[string]string)
	var mu sync.Mutex
	var wait sync.WaitGroup
	for column, w := range ways {
		for _, f := range troubles {
			if f.kill {
				continue
			}
			wait.Go(func() {
				which := map[bool]int{true: 1}[w.forwarded]
				c := suffer(t, hosts[which], &logs[which], spies, column, f)
				mu.Lock()
				cells[functionIn(column, f)] = c
				mu.Unlock()
			})
		}
	}
	wait.Wait()
	killed := troubles[len(troubles)-1]
	for column, w := range ways {
		// A host of its own: three ends of the handler end the host.
		var book logBook
		h := start(roots[2], w.forwarded, &book)
		kill := func() { killNewest(t, roots[2]) }
		killer.Store(&kill)
		cells[functionIn(column, killed)] = suffer(t, h, &book, spies, column, killed)
		h.Stop()
	}
	for column, w := range ways {
		book := &logs[map[bool]int{true: 1}[w.forwarded]]
		if said := strings.Contains(book.of("no retry policy"), functionIn(column, troubles[0])); said != (w.then == "lost") {
			t.Errorf("%s: said at start that events may be lost: %t", w.title, said)
		}
	}
	if !t.Failed() {
		compareFaults(t, cells)
	}
}

func functionIn(column int, f trouble) string { return string(rune('a'+column)) + f.name }

// killNewest kills the handler of this root that this process has started last.
func killNewest(t *testing.T, root string) {
	newest, at := 0, 0
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		began, _ := strconv.Atoi(fields[19])
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if fields[1] == strconv.Itoa(os.Getpid()) && strings.HasPrefix(string(command), root) && (began > at || began == at && pid > newest) {
			newest, at = pid, began
		}
	}
	if newest == 0 {
		t.Error("no handler to kill")
		return
	}
	if handler, err := os.FindProcess(newest); err == nil {
		_ = handler.Kill()
	}
}

var (
	levelOf   = regexp.MustCompile(`"level":"([A-Z]+)"`)
	problemIn = regexp.MustCompile(`"code":"([a-z-]+)"`)
)

// suffer makes one call or event, lets the host repeat it as it does, and says what became of it.
func suffer(t *testing.T, h *host.Host, book *logBook, spies map[string]*spy, column int, f trouble) string {
	w, name := ways[column], functionIn(column, f)
	told, ok := "", true
	if f.giveUp {
		if err := h.SetFault(host.Fault{Name: host.FaultReset, On: host.ToHandler, Function: name, DelayMS: 2000, Times: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if w.method != "" {
		args := []string{w.method, "http://" + h.Addr() + "/api/" + name}
		if w.method == "POST" {
			args = append(args, `@{"a":1}`)
		}
		code, body, err := send(args)
		switch m := problemIn.FindStringSubmatch(body); {
		case err != nil:
			told = "connection reset"
		case m != nil:
			told = fmt.Sprintf("%d `%s`", code, m[1])
		default:
			told = strconv.Itoa(code)
		}
	} else {
		fired, err := h.Fire(name, w.event)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return ""
		}
		select {
		case <-fired.Done():
		case <-time.After(2 * patience):
			t.Errorf("%s does not end", name)
			return ""
		}
		ok = fired.Err() == nil
	}
	runs, calls := 0, 0
	var failedRuns int
	for _, i := range h.History() {
		if i.Function == name {
			runs++
			if i.Status == host.Failed {
				failedRuns++
			}
		}
	}
	// The lines come by the handler's standard output, behind the answer.
	var levels []string
	want := runs
	if f.kill {
		want = 0 // who is killed writes nothing; who comes after it and ends well does
		if ok && (w.method == "" || told == "200") {
			want = 1
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		levels, calls = nil, 0
		for line := range strings.SplitSeq(book.of(`"function":"`+name+`"`), "\n") {
			if strings.Contains(line, `"msg":"invocation"`) {
				levels = append(levels, levelOf.FindStringSubmatch(line)[1])
				if m := logAttempts.FindStringSubmatch(line); m != nil {
					n, _ := strconv.Atoi(m[1])
					calls += n
				}
			}
		}
		if len(levels) >= want {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: %d lines for %d runs", name, len(levels), runs)
			break
		}
	}
	slices.Sort(levels)
	levels = slices.Compact(levels)
	if s := spies[name]; s != nil {
		seen := s.seen()
		if f.kill {
			calls = len(seen)
		}
		if len(seen) != calls {
			t.Errorf("%s: the gateway saw %d calls, the log says %d", name, len(seen), calls)
		}
		for _, one := range seen {
			key := one.Header.Get("Idempotency-Key")
			if w.method == "" && (key == "" || key != seen[0].Header.Get("Idempotency-Key")) {
				t.Errorf("%s: a repeated event without the same idempotency key", name)
			}
		}
		if w.method == "POST" && len(seen) > 1 {
			t.Errorf("%s: a POST was sent %d times", name, len(seen))
		}
	}
	if w.method == "" {
		switch {
		case ok && failedRuns > 0:
			told = fmt.Sprintf("failed %s, then done", times(failedRuns))
		case ok:
			told = "done"
		default:
			told = fmt.Sprintf("failed %s: %s", times(failedRuns), w.then)
		}
	}
	level := strings.Join(levels, ", ")
	if level == "" {
		level = "the host's line only"
	}
	return fmt.Sprintf("%s; %s; %s", told, count(calls, "call"), level)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return strconv.Itoa(n) + " times"
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

const faultsHead = `# What becomes of a call when something breaks

Written by ` + "`go test ./e2e -run TestFaults -update`" + `, which runs the built handler below the Functions host's stand-in. A cell says three things:
what the caller gets, or what becomes of the event; how many calls were made in all its runs; and the level of the
handler's log lines.

An event is **lost** only if its trigger has no redelivery and its function.json no ` + "`retry`" + `. A line at start names each
such function. An event that is sent twice carries the same ` + "`Idempotency-Key`" + `. A caller's POST is never sent twice.

In the last row the queue's ` + "`visibilityTimeout`" + ` (host.json, ` + "`extensions.queues`" + `) is ten seconds.
The default is none: then the host may use up all five deliveries of a message while the handler starts again.

`

// compareFaults holds docs/faults.md to the cells, or writes it.
func compareFaults(t *testing.T, cells map[string]string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(faultsHead)
	for _, part := range [][2]int{{0, 4}, {4, len(ways)}} {
		b.WriteString("|")
		for _, w := range ways[part[0]:part[1]] {
			b.WriteString(" | " + w.title)
		}
		b.WriteString(" |\n|" + strings.Repeat(" --- |", part[1]-part[0]+1) + "\n")
		for _, f := range troubles {
			b.WriteString("| " + f.title)
			for column := part[0]; column < part[1]; column++ {
				b.WriteString(" | " + cells[functionIn(column, f)])
			}
			b.WriteString(" |\n")
		}
		b.WriteString("\n")
	}
	want := strings.TrimSuffix(b.String(), "\n")
	for line := range strings.SplitSeq(want, "\n") {
		if strings.HasPrefix(line, "| ") && strings.Contains(line, "lost") {
			if cell := strings.Split(line, " | "); strings.Contains(strings.Join(slices.Delete(cell, 2, 3), ""), "lost") {
				t.Errorf("an event with redelivery is lost: %s", line)
			}
		}
	}
	const file = "../docs/faults.md"
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have, _ := os.ReadFile(file); string(have) != want {
		t.Errorf("%s is not what happens: go test ./e2e -run TestFaults -update writes it anew. want\n%s", file, want)
	}
}
