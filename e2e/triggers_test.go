package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
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

	"apimrelay/sandbox/host"
)

// trigger is a row of docs/triggers.md.
type trigger struct {
	title, kind string
	bindings    string // of function.json; %s is a name of its own for each outcome
	method      string // HTTP: the caller's
	wrapped     bool   // HTTP: comes as POST /<function>, since it has a second output
	retry       bool   // the examples' retry policy, three more runs
	runs        int    // of one event that fails each time
	played      bool   // the host's stand-in makes those runs, so that all calls are counted; for the others they are multiplied
	event       host.Event
	again       string // who runs it again, and what becomes of it in the end
}

// The number of runs is the default of the service or its extension (learn.microsoft.com "Azure Functions error handling and retries", "Azure Queue storage
// trigger", "Azure Blob storage trigger", "Service Bus dead-letter queues", "Event Grid message delivery and retry"; recordings F-queue-fail, C-timer-retry).
var triggers = []trigger{
	{title: "HTTP, GET, HEAD, PUT, DELETE", kind: "httpTrigger", method: "GET", runs: 1, played: true, again: "the caller, if it likes"},
	{title: "HTTP, POST, PATCH", kind: "httpTrigger", method: "POST", runs: 1, played: true, again: "the caller, if it likes"},
	{title: "HTTP, POST, wrapped", kind: "httpTrigger", method: "POST", wrapped: true, runs: 1, played: true, again: "the caller, if it likes"},
	{title: "timer, with `retry`", kind: "timerTrigger", bindings: `{"type":"timerTrigger","name":"e","schedule":"0 0 0 1 1 *"}`, retry: true, runs: 4, played: true,
		again: "the host, by the function's retry policy (`maxRetryCount` 3); then, and without a policy at once, the tick is lost"},
	{title: "queue", kind: "queueTrigger", bindings: `{"type":"queueTrigger","name":"e","queueName":"%s","connection":"AzureWebJobsStorage"}`, runs: 5, played: true,
		event: host.Event{Input: text(`{"a":1}`)}, again: "the host, five runs in all (`maxDequeueCount`); then the message is on `<queue>-poison`"},
	{title: "Service Bus", kind: "serviceBusTrigger", bindings: `{"type":"serviceBusTrigger","name":"e","queueName":"%s","connection":"AzureWebJobsStorage"}`, runs: 10,
		event: host.Event{Input: text(`{"a":1}`)}, again: "Service Bus, ten deliveries in all (the queue's max delivery count); then the message is in the dead-letter queue"},
	{title: "Event Hubs, with `retry`", kind: "eventHubTrigger", bindings: `{"type":"eventHubTrigger","name":"e","eventHubName":"%s","connection":"AzureWebJobsStorage"}`, retry: true,
		runs: 4, played: true, event: host.Event{Many: []string{`{"a":1}`, `{"a":2}`}},
		again: "the host, by the function's retry policy; then, and without a policy at once, the batch is skipped"},
	{title: "Event Grid", kind: "eventGridTrigger", bindings: `{"type":"eventGridTrigger","name":"e"}`, runs: 30, event: host.Event{Input: text(`{"id":"1","data":{}}`)},
		again: "Event Grid, 30 deliveries in all within 24 hours; then the event is dead-lettered or dropped"},
	{title: "blob", kind: "blobTrigger", bindings: `{"type":"blobTrigger","name":"e","path":"%s/{name}","connection":"AzureWebJobsStorage"}`, runs: 5,
		event: host.Event{Input: text("text")}, again: "the host, five runs in all; then a message is on `webjobs-blobtrigger-poison`"},
	{title: "Cosmos DB, with `retry`", kind: "cosmosDBTrigger", bindings: `{"type":"cosmosDBTrigger","name":"e","containerName":"%s","databaseName":"d","connection":"AzureWebJobsStorage"}`,
		retry: true, runs: 4, played: true, event: host.Event{Many: []string{`{"id":"1"}`}},
		again: "the host, by the function's retry policy; then, and without a policy at once, the changes are skipped"},
	{title: "Kafka, with `retry`", kind: "kafkaTrigger", bindings: `{"type":"kafkaTrigger","name":"e","topic":"%s","brokerList":"b","consumerGroup":"g"}`, retry: true, runs: 4, played: true,
		event: host.Event{Input: text(`{"Value":"x"}`)}, again: "the host, by the function's retry policy; then, and without a policy at once, the event is skipped"},
}

func text(s string) *string { return &s }

// outcome is a column: what the gateway does to each call.
type outcome struct {
	name, title string
	settings    map[string]string
	answer      http.HandlerFunc // nil: nobody listens
}

const refusal = `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`

var outcomes = []outcome{
	{name: "ok", title: "2xx", answer: status(200, `{"done":true}`)},
	{name: "missing", title: "4xx", answer: status(404, `{"statusCode":404,"message":"Resource not found"}`)},
	{name: "final", title: "422, with an output `refused`", answer: status(422, `{"message":"no such sku"}`)},
	{name: "refused", title: "401, token", answer: status(401, refusal)},
	{name: "locked", title: "401, key", answer: status(401, `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`)},
	{name: "throttled", title: "429", answer: status(429, `{"statusCode":429,"message":"Rate limit is exceeded. Try again in 1 seconds."}`)},
	{name: "broken", title: "500", answer: status(500, `{"error":"x"}`)},
	{name: "busy", title: "502, 503, 504", answer: status(503, `{"error":"x"}`)},
	{name: "gone", title: "no connection"},
	{name: "silent", title: "budget spent", settings: map[string]string{"ApimTimeout": "500ms"}, answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// function is the name of a cell's function: a letter for the row, then the outcome.
func functionOf(row int, o outcome) string { return string(rune('a'+row)) + o.name }

// TestTriggers runs every trigger into every outcome, with the built handler below the host's stand-in, and compares docs/triggers.md with what happened.
// Each function has a gateway of its own, since functions share a retry budget for each gateway, and an identity of its own, since a refused token is
// renewed once a minute at most.
func TestTriggers(t *testing.T) {
	root := t.TempDir()
	tokens := newTokens(t)
	environ := append(tokens.settings(), "PATH="+os.Getenv("PATH"), "FUNCTIONS_WORKER_RUNTIME=custom", "AzureWebJobsStorage=UseDevelopmentStorage=true",
		"TargetApp=api://relayed", "TargetTenantID="+tokenTenant, "FunctionIdentity=RunAs=App", "ApimKey="+primaryKey, "ApimKeySecondary="+secondaryKey,
		"AzureFunctionsJobHost__functionTimeout=01:00:00") // the host's clock runs fast here, the handler's does not
	spies := map[string]*spy{}
	nobody := httptest.NewServer(nil)
	nobody.Close()
	for row, tr := range triggers {
		for column, o := range outcomes {
			name := functionOf(row, o)
			written := tr
			if o.name == "final" && tr.kind != "httpTrigger" {
				written.bindings += `,{"type":"blob","direction":"out","name":"refused","path":"refused/{rand-guid}","connection":"AzureWebJobsStorage"}`
			}
			writeFunction(t, root, name, written)
			// Where nobody listens an address of its own keeps each function's retry budget apart: all of 127.0.0.0/8 is this machine.
			gateway := strings.Replace(nobody.URL, "127.0.0.1", fmt.Sprintf("127.0.%d.1", row), 1)
			if o.answer != nil {
				spies[name] = newSpy(o.answer)
				t.Cleanup(spies[name].server.Close)
				gateway = spies[name].server.URL
			}
			environ = append(environ, name+"__ApimUrl="+gateway, fmt.Sprintf("%s__FunctionIdentity=RunAs=App;AppId=00000000-0000-4000-8000-%06d%06d", name, row, column))
			for setting, value := range o.settings {
				environ = append(environ, name+"__"+setting+"="+value)
			}
		}
	}
	if err := stage(root); err != nil {
		t.Fatal(err)
	}
	var log logBook
	h := startHostOn(t, host.Config{Root: root, Environ: environ, OnLog: log.add, Speed: 100, History: 4 * len(triggers) * len(outcomes)})

	cells := make([][]cell, len(triggers))
	var wait sync.WaitGroup
	for row := range triggers {
		cells[row] = make([]cell, len(outcomes))
		wait.Go(func() { // one row after the other's cells: the machine may have two cores
			for column, o := range outcomes {
				cells[row][column] = run(t, h, &log, spies, row, o)
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		t.Logf("faults: %s", log.of(`"msg":"fault"`))
		return
	}
	compareTable(t, cells)
}

func writeFunction(t *testing.T, root, name string, tr trigger) {
	t.Helper()
	bindings := strings.ReplaceAll(tr.bindings, "%s", name)
	if tr.kind == "httpTrigger" {
		bindings = `{"type":"httpTrigger","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}`
		if tr.wrapped {
			bindings += `,{"type":"blob","direction":"out","name":"copy","path":"copies/{rand-guid}","connection":"AzureWebJobsStorage"}`
		}
	}
	text := `{"bindings":[` + bindings + `]`
	if tr.retry {
		text += `,"retry":{"strategy":"fixedDelay","maxRetryCount":3,"delayInterval":"00:00:10"}`
	}
	dir := filepath.Join(root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "function.json"), []byte(text+"}"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// cell is what one trigger and one outcome came to.
type cell struct {
	told  string // the status that the caller gets, or that the host is told
	calls int    // of one run, at most
	total int    // of all runs of one event, at most
}

func (c cell) String() string {
	if c.total > c.calls {
		return fmt.Sprintf("%s, %d → %d", c.told, c.calls, c.total)
	}
	return fmt.Sprintf("%s, %d", c.told, c.calls)
}

var (
	toldStatus  = regexp.MustCompile(`Response status code does not indicate success: (\d+)`)
	logAttempts = regexp.MustCompile(`"attempts":(\d+)`)
)

func run(t *testing.T, h *host.Host, log *logBook, spies map[string]*spy, row int, o outcome) cell {
	tr, name := triggers[row], functionOf(row, o)
	var c cell
	if tr.method != "" {
		args := []string{tr.method, "http://" + h.Addr() + "/api/" + name}
		if tr.method == "POST" {
			args = append(args, `@{"a":1}`)
		}
		code, text, err := send(args)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return c
		}
		c.told = strconv.Itoa(code)
		if m := regexp.MustCompile(`"code":"([a-z-]+)"`).FindStringSubmatch(text); m != nil {
			c.told += " `" + m[1] + "`"
		}
	} else {
		fired, err := h.Fire(name, tr.event)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return c
		}
		select {
		case <-fired.Done():
		case <-time.After(2 * patience):
			t.Errorf("%s does not end", name)
			return c
		}
		c.told = "200"
		if err := fired.Err(); err != nil {
			c.told = "no status"
			for _, i := range h.History() {
				if m := toldStatus.FindStringSubmatch(i.Error); i.Function == name && m != nil {
					c.told = m[1]
				}
			}
		}
	}
	// The handler's own line says how many attempts each run made; the gateway must have seen as many.
	runs, seen, first := 1, 0, 0
	if c.told != "200" && tr.played {
		runs = tr.runs
	}
	deadline := time.Now().Add(patience)
	var lines []string
	for len(lines) < runs && time.Now().Before(deadline) {
		lines = nil
		for line := range strings.SplitSeq(log.of(`"function":"`+name+`"`), "\n") {
			if strings.Contains(line, `"msg":"invocation"`) {
				lines = append(lines, line)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	if len(lines) != runs {
		t.Errorf("%s: want %d run(s), got %d:\n%s", name, runs, len(lines), strings.Join(lines, "\n"))
		return c
	}
	for i, line := range lines {
		n := 0
		if m := logAttempts.FindStringSubmatch(line); m != nil {
			n, _ = strconv.Atoi(m[1])
		}
		if i == 0 {
			first = n
		}
		seen += n
		c.calls = max(c.calls, n)
	}
	if s := spies[name]; s != nil && len(s.seen()) != seen {
		t.Errorf("%s: the gateway saw %d calls, the log says %d", name, len(s.seen()), seen)
	}
	c.total = c.calls
	if c.told != "200" {
		c.total = c.calls * tr.runs
	}
	// A token is renewed once a minute at most: here the runs follow each other faster, and those after the first make one call each.
	if o.name == "refused" && seen == first+runs-1 {
		return c
	}
	if tr.played && seen != c.total {
		t.Errorf("%s: want %d calls in %d run(s), got %d:\n%s", name, c.total, runs, seen, strings.Join(lines, "\n"))
	}
	return c
}

// TestMixedOutcomes holds the most that one run can make: three tries, another key and another token.
func TestMixedOutcomes(t *testing.T) {
	byName := map[string]http.HandlerFunc{}
	for _, o := range outcomes {
		byName[o.name] = o.answer
	}
	var mu sync.Mutex
	turns := []string{"busy", "locked", "throttled", "refused", "ok"}
	gateway := newSpy(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if len(turns) == 0 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		turn := turns[0]
		turns = turns[1:]
		byName[turn](w, r)
	}))
	t.Cleanup(gateway.server.Close)
	root := t.TempDir()
	writeFunction(t, root, "q", triggers[4])
	if err := stage(root); err != nil {
		t.Fatal(err)
	}
	var log logBook
	h := startHostOn(t, host.Config{Root: root, OnLog: log.add, Environ: append(newTokens(t).settings(), "PATH="+os.Getenv("PATH"), "FUNCTIONS_WORKER_RUNTIME=custom",
		"AzureWebJobsStorage=UseDevelopmentStorage=true", "TargetApp=api://relayed", "TargetTenantID="+tokenTenant, "FunctionIdentity=RunAs=App", "ApimUrl="+gateway.server.URL,
		"ApimKey="+primaryKey, "ApimKeySecondary="+secondaryKey)})
	fired, err := h.Fire("q", triggers[4].event)
	if err != nil {
		t.Fatal(err)
	}
	if err := fired.Err(); err != nil {
		t.Fatalf("%v\n%s", err, log.of(""))
	}
	seen := gateway.seen()
	if len(seen) != 5 {
		t.Fatalf("want 5 calls, got %d", len(seen))
	}
	keys, bearers := map[string]bool{}, map[string]bool{}
	for i, call := range seen {
		keys[call.Header.Get("Idempotency-Key")], bearers[call.Header.Get("Authorization")] = true, true
		if key := call.Header.Get("Ocp-Apim-Subscription-Key"); (key == primaryKey) != (i < 2) {
			t.Errorf("call %d: want the primary key twice, then the secondary one", i+1)
		}
	}
	if len(keys) != 1 || len(bearers) != 2 {
		t.Errorf("want one idempotency key and two tokens, got %d and %d", len(keys), len(bearers))
	}
}

// compareTable holds docs/triggers.md to the cells, or writes them into it.
func compareTable(t *testing.T, cells [][]cell) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| trigger |")
	for _, o := range outcomes {
		b.WriteString(" " + o.title + " |")
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(outcomes)+1) + "\n")
	for row, tr := range triggers {
		b.WriteString("| " + tr.title + " |")
		for _, c := range cells[row] {
			b.WriteString(" " + c.String() + " |")
		}
		b.WriteString("\n")
	}
	table := b.String()
	b.Reset()
	b.WriteString("| trigger | who runs it again | runs | worst case |\n| --- | --- | --- | --- |\n")
	for row, tr := range triggers {
		worst := 0
		for _, c := range cells[row] {
			worst = max(worst, c.total)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d |\n", tr.title, tr.again, tr.runs, worst)
	}

	const file = "../docs/triggers.md"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for name, want := range map[string]string{"outcomes": table, "runs": b.String()} {
		begin, end := "<!-- "+name+": written by go test ./e2e -run TestTriggers -update -->\n", "<!-- end of "+name+" -->"
		_, rest, ok := strings.Cut(page, begin)
		have, _, ended := strings.Cut(rest, end)
		if !ok || !ended {
			t.Fatalf("%s: want %q and %q", file, begin, end)
		}
		if have != want && !*update {
			t.Errorf("%s is not what happens: go test ./e2e -run TestTriggers -update writes it anew. want\n%s\ngot\n%s", file, want, have)
		}
		page = strings.Replace(page, begin+have+end, begin+want+end, 1)
	}
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const tokenTenant = "11111111-0000-4000-8000-000000000001"

// tokens is an identity endpoint that gives another token each time, which Azure's does not: the worst case of a refused token.
type tokens struct {
	server *httptest.Server
	life   time.Duration
	count  atomic.Int64
}

func newTokens(t *testing.T) *tokens {
	t.Helper()
	k := &tokens{life: time.Hour}
	k.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-IDENTITY-HEADER") != identityKey {
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		now := time.Now()
		claims, _ := json.Marshal(map[string]any{"tid": tokenTenant, "aud": "api://relayed", "iat": now.Unix(), "exp": now.Add(k.life).Unix(), "jti": k.count.Add(1)})
		part := base64.RawURLEncoding.EncodeToString
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"access_token": part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part(claims) + ".c2ln", "expires_on": strconv.FormatInt(now.Add(k.life).Unix(), 10),
			"resource": r.FormValue("resource"), "token_type": "Bearer", "client_id": r.FormValue("client_id"),
		})
	}))
	t.Cleanup(k.server.Close)
	return k
}

func (k *tokens) settings() []string {
	return []string{"IDENTITY_ENDPOINT=" + k.server.URL + "/msi/token", "IDENTITY_HEADER=" + identityKey}
}
