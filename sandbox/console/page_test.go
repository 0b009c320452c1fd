package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"apimrelay/sandbox/console"
)

// api is a management API that answers from memory and records what the page does.
type api struct {
	mu          sync.Mutex
	invocations []any
	faults      []map[string]any // of identity
	hostFaults  []map[string]any
	did         []string
	events      chan string
	hold        chan struct{} // where set, the next overview is answered as it is now, once hold is closed
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", console.Page())
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /invocations", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		answer(w, a.invocations)
	})
	mux.HandleFunc("GET /overview", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		hold, faults, hostFaults := a.hold, a.faults, a.hostFaults
		a.hold = nil
		a.mu.Unlock()
		if hold != nil {
			<-hold
		}
		answer(w, map[string]any{
			"where": "host http://127.0.0.1:7071 · gateway http://127.0.0.1:7072",
			"functions": []any{
				map[string]any{"name": "relay", "trigger": "http", "methods": []string{"GET"}, "path": "/api/relay/hello", "detail": "GET relay/{*path}"},
				map[string]any{"name": "poll", "trigger": "timer", "detail": "0 */5 * * * *"},
				map[string]any{"name": "orders", "trigger": "queue", "sample": `{"id":1}`},
			},
			"stand_ins": []any{
				map[string]any{"name": "host", "faults": []string{"latency", "hang", "status", "clock-skew", "missed-tick"}, "help": console.FaultHelp["host"], "places": []string{"handler", "caller"}, "on": hostFaults},
				map[string]any{"name": "identity", "faults": []string{"latency", "role-missing", "status"}, "help": console.FaultHelp["identity"], "places": []string{"endpoint", "issuer", "cli"}, "on": faults},
				map[string]any{"name": "gateway", "faults": []string{"latency", "hang"}, "on": []any{}},
			},
			"people": []any{
				map[string]any{"name": "system", "kind": "system-assigned", "client_id": "b1", "roles": map[string]any{"api": []string{"Api.Read"}}},
				map[string]any{"name": "stranger", "kind": "user-assigned", "client_id": "d1", "roles": map[string]any{}},
			},
			"roles": []string{"Api.Read", "Api.Write"}, "resource": "api://x",
			"actions": []any{map[string]any{"id": "forget", "label": "Forget tokens", "help": "", "path": "/identity/forget"}},
		})
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "retry: 100\n\n")
		http.NewResponseController(w).Flush()
		for {
			select {
			case text := <-a.events:
				io.WriteString(w, text)
				http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	change := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.did = append(a.did, r.Method+" "+r.URL.RequestURI()+" "+string(body))
		if list, ok := map[string]*[]map[string]any{"/faults/identity": &a.faults, "/faults/host": &a.hostFaults}[r.URL.Path]; ok {
			*list = []map[string]any{}
			if r.Method == "POST" {
				one := map[string]any{}
				json.Unmarshal(body, &one)
				*list = append(*list, one)
			}
		}
		if r.URL.Path == "/reset" {
			a.invocations = []any{}
		}
		w.WriteHeader(http.StatusNoContent)
	}
	mux.HandleFunc("POST /", change)
	mux.HandleFunc("DELETE /", change)
	return mux
}

func (a *api) done() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.did, "\n")
}

func (a *api) didAll(lines []string) bool {
	done := a.done() + "\n"
	for _, line := range lines {
		if !strings.Contains(done, line+"\n") {
			return false
		}
	}
	return true
}

func invocation(id, function string, refused bool) map[string]any {
	rule := map[string]any{"file": "deploy/policies/api.xml", "line": 53, "statement": "validate-jwt", "check": "claim roles", "result": "pass", "want": "Api.Read", "got": "Api.Read"}
	inv := map[string]any{
		"id": id, "function": function, "trigger": "http", "way": "proxied", "request": "GET /api/relay/<b>hello</b>", "started": "2026-11-25T09:00:00Z",
		"duration_ms": 12.5, "outcome": "succeeded", "status": 200, "trace_id": "0af7651916cd43dd8448eb211c80319c",
		"token": map[string]any{"hash": "a1b2c3d4e5f6", "ver": "2.0", "iss": "https://login.microsoftonline.com/t/v2.0", "aud": "a1", "roles": []string{"Api.Read"}, "caller": "b1", "name": "system",
			"issued": "2026-11-25T08:00:00Z", "expires": "2026-11-26T08:05:00Z", "source": "identity endpoint"},
		"log": []any{map[string]any{"time": "2026-11-25T09:00:00Z", "level": "Information", "text": "Executed 'Functions.relay'"}},
		"spans": []any{
			map[string]any{"name": function, "kind": "function", "start_ms": 0, "duration_ms": 12.5},
			map[string]any{"name": "token", "kind": "token", "start_ms": 1, "duration_ms": 3},
			map[string]any{"name": "gateway", "kind": "gateway", "start_ms": 4.5, "duration_ms": 7, "note": "200 OK"},
			map[string]any{"name": "backend", "kind": "backend", "start_ms": 8, "duration_ms": 2, "note": "200 OK"},
		},
	}
	call := map[string]any{"started": "2026-11-25T09:00:00Z", "duration_ms": 7, "method": "GET", "path": "/sample/hello", "operation": "read", "key": "accepted", "key_ok": true,
		"rules": []any{rule}, "status": 200, "bytes": 120, "backend": map[string]any{"method": "GET", "url": "sample backend", "status": 200, "duration_ms": 2}}
	if refused {
		rule["result"], rule["got"], rule["why"], rule["fixes"] = "refuse", "", "the token has no roles", []string{"registration: grant the app role Api.Read"}
		inv["status"], inv["cause"] = 401, "policy: validate-jwt: the token has no roles"
		call["status"] = 401
		delete(call, "backend")
	}
	inv["calls"] = []any{call}
	return inv
}

// browser starts Chromium. Without one the test is skipped, except where CI is true: there it has to run.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Chromium on PATH: install it (Debian: apt-get install chromium)")
		}
		t.Skip("no Chromium on PATH: install it to test the console (Debian: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(60*time.Second))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(stop)
	if err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page threw: %v", e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			if e.Type == "error" {
				t.Errorf("the page logged an error: %v", e.Args)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func run(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// pollingTime is how long a state of the page may take: far longer than it does, for a machine that is busy with other things.
const pollingTime = 60 * time.Second

// eventually polls an expression of the page until it is true.
func eventually(t *testing.T, ctx context.Context, what, expression string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void]("Boolean("+expression+")", chromedp.WithPollingTimeout(pollingTime))); err != nil {
		page, _ := chromedp.Run(ctx, chromedp.Text("body"))
		t.Fatalf("%s: %v\n%s", what, err, page)
	}
}

// click clicks an element as a pointer would, once it is there, shown and not covered by another; in one step of the page, which may draw the element
// anew or move it at any time.
func click(t *testing.T, ctx context.Context, selector string) {
	t.Helper()
	eventually(t, ctx, selector+" can be clicked", fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		if (!e) return false;
		e.scrollIntoView({ block: "center" });
		const box = e.getBoundingClientRect();
		if (!e.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2))) return false;
		e.click();
		return true;
	})()`, selector))
}

// listenToWhatIsSaid keeps all that the page says, which it shows for some seconds only; said asks for a part of it.
func listenToWhatIsSaid(t *testing.T, ctx context.Context) {
	t.Helper()
	run(t, ctx, chromedp.Evaluate[chromedp.Void](`(() => {
		window.heard = [document.getElementById("said").textContent];
		new MutationObserver(() => window.heard.push(document.getElementById("said").textContent)).observe(document.getElementById("said"), { childList: true });
	})()`))
}

func said(part string) string {
	return fmt.Sprintf(`window.heard.some(text => text.includes(%q))`, part)
}

// shot keeps a screenshot in the folder CONSOLE_SHOTS, where set, for eyes.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("CONSOLE_SHOTS")
	if dir == "" {
		return
	}
	take := chromedp.FullScreenshot(100)
	if name == "whole" {
		take = chromedp.CaptureScreenshot() // what a screen shows; the one in docs
	}
	png, err := chromedp.Run(ctx, take)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConsoleInChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("drives a browser")
	}
	ctx := browser(t)
	a := &api{events: make(chan string, 8), faults: []map[string]any{}, hostFaults: []map[string]any{}, invocations: []any{invocation("one", "relay", false)}}
	server := httptest.NewServer(a.handler())
	t.Cleanup(server.Close)
	t.Cleanup(func() { chromedp.Cancel(ctx) }) // before the server, which waits for the stream's end

	run(t, ctx, chromedp.EmulateViewport(1280, 800), chromedp.Navigate(server.URL))
	eventually(t, ctx, "the list is drawn", `document.querySelectorAll("#list > li").length === 1 && document.getElementById("connection").textContent === "live"`)
	eventually(t, ctx, "a path that looks like HTML stays text", `document.querySelector(".request").textContent.includes("<b>hello</b>") && !document.querySelector("#list b")`)

	eventually(t, ctx, "nothing reads null or undefined", `!/null|undefined|NaN|\[object/.test(document.body.innerText)`)
	// Live: a refused invocation arrives on top without a reload.
	data, _ := json.Marshal(invocation("two", "relay", true))
	a.events <- fmt.Sprintf("event: invocation\ndata: %s\n\n", data)
	eventually(t, ctx, "the new one is on top and says why", `document.querySelector("#list > li .cause")?.textContent.includes("no roles")`)

	// By keyboard alone: open it.
	run(t, ctx, chromedp.Focus("#list > li:first-child .summary"), chromedp.KeyEvent(kb.Enter))
	eventually(t, ctx, "Enter opens it", `document.querySelector("#list .summary").getAttribute("aria-expanded") === "true" && !document.querySelector("#list .detail").hidden`)
	eventually(t, ctx, "the rule that refused is marked, with its line and a fix",
		`(() => { const r = document.querySelector("tr.refuse"); return r && r.textContent.includes("api.xml:53") && r.textContent.includes("grant the app role") })()`)
	eventually(t, ctx, "the waterfall has a bar for each part, the later ones further right",
		`(() => { const b = [...document.querySelectorAll("#list > li:first-child .track i")].map(i => i.getBoundingClientRect()); return b.length === 4 && b[1].left > b[0].left && b[3].left > b[2].left && b[0].width > b[3].width })()`)
	eventually(t, ctx, "it stays open when it changes, and keeps the focus", `document.activeElement.classList.contains("summary")`)
	eventually(t, ctx, "nothing reads null or undefined", `!/null|undefined|NaN|\[object/.test(document.body.innerText)`)
	shot(t, ctx, "light")
	checkAxe(t, ctx, "light")

	// Deliveries of one message are one group; filters show what fits alone.
	for n := 1; n <= 2; n++ {
		inv := invocation(fmt.Sprintf("m%d", n), "a-function-with-quite-a-long-name-indeed", true)
		inv["trigger"], inv["group"], inv["turn"] = "queue", "message", fmt.Sprintf("delivery %d of 5", n)
		data, _ := json.Marshal(inv)
		a.events <- fmt.Sprintf("event: invocation\ndata: %s\n\n", data)
	}
	tick := invocation("tick", "poll", false)
	tick["tick"] = true
	data, _ = json.Marshal(tick)
	a.events <- fmt.Sprintf("event: invocation\ndata: %s\n\n", data)
	eventually(t, ctx, "two deliveries are one group, the newest on top",
		`[...document.querySelectorAll("#list > li")].some(li => li.querySelectorAll(".run").length === 2 && li.textContent.includes("2 deliveries of one message") &&
			li.querySelector(".run").textContent.includes("delivery 2 of 5"))`)
	shownRows := `[...document.querySelectorAll("#list .run")].filter(r => r.offsetParent).length`
	eventually(t, ctx, "all are shown", shownRows+` === 5`)
	click(t, ctx, "#hide-ticks")
	eventually(t, ctx, "the tick is hidden", shownRows+` === 4 && document.getElementById("count").textContent === "4 of 5"`)
	click(t, ctx, "#hide-ticks")
	run(t, ctx, chromedp.Focus("#filter-text"), chromedp.SendKeys("#filter-text", "DELIVERY 2"))
	eventually(t, ctx, "the text filters", shownRows+` === 1`)
	choose := func(id, value string) {
		run(t, ctx, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(
			`(() => { const e = document.getElementById(%q); e.value = %q; e.dispatchEvent(new Event("input", { bubbles: true })) })()`, id, value)))
	}
	choose("filter-text", "")
	choose("filter-outcome", "well")
	eventually(t, ctx, "the outcome filters", shownRows+` === 2`)
	choose("filter-function", "poll")
	eventually(t, ctx, "the function filters", shownRows+` === 1`)
	choose("filter-outcome", "refused")
	eventually(t, ctx, "nothing fits, and it says so", shownRows+` === 0 && document.getElementById("empty").textContent.includes("None fits")`)
	choose("filter-outcome", "")
	choose("filter-function", "")

	// Fire a timer, an event and a request.
	listenToWhatIsSaid(t, ctx)
	run(t, ctx, chromedp.Focus("#fire-poll"), chromedp.KeyEvent(" "))
	eventually(t, ctx, "the page says so", said("poll was fired"))
	click(t, ctx, "#fire-orders")
	eventually(t, ctx, "the page says so", said("orders was fired"))
	click(t, ctx, "#fire-relay")
	eventually(t, ctx, "the page says so", said("relay was fired"))
	// Flip a fault on and off, with its parameters.
	run(t, ctx, chromedp.SetValue("#status", "429"), chromedp.SetValue("#retry", "7"))
	click(t, ctx, "#fault-identity-status")
	eventually(t, ctx, "the fault is on", `document.getElementById("fault-identity-status").getAttribute("aria-pressed") === "true"`)
	click(t, ctx, "#fault-identity-status")
	eventually(t, ctx, "the fault is off", `document.getElementById("fault-identity-status").getAttribute("aria-pressed") === "false"`)
	// An overview that a later one has overtaken does not count: it is from before.
	hold := make(chan struct{})
	a.mu.Lock()
	a.hold = hold
	a.mu.Unlock()
	click(t, ctx, "#fire-poll")
	for held := func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.hold == nil }; !held(); {
		if ctx.Err() != nil {
			t.Fatal("no overview was asked for")
		}
		time.Sleep(time.Millisecond)
	}
	click(t, ctx, "#fault-identity-status")
	eventually(t, ctx, "the fault is on", `document.getElementById("fault-identity-status").getAttribute("aria-pressed") === "true"`)
	run(t, ctx, chromedp.Evaluate[chromedp.Void](`window.overviews = performance.getEntriesByType("resource").filter(e => e.name.endsWith("/overview")).length`))
	close(hold)
	eventually(t, ctx, "the overtaken one is there",
		`performance.getEntriesByType("resource").filter(e => e.name.endsWith("/overview")).length > window.overviews`)
	run(t, ctx, chromedp.Evaluate[chromedp.Void](`fetch("/overview").then(answer => answer.text()).then(() => undefined)`, chromedp.EvalAwaitPromise))
	eventually(t, ctx, "the fault is still on", `document.getElementById("fault-identity-status").getAttribute("aria-pressed") === "true"`)
	click(t, ctx, "#fault-identity-status")
	eventually(t, ctx, "the fault is off again", `document.getElementById("fault-identity-status").getAttribute("aria-pressed") === "false"`)
	// One of the host, for one function and on one side, by keyboard; what is chosen stays when the buttons are drawn anew.
	run(t, ctx, chromedp.SetValue("#place-host", "caller"), chromedp.SetValue("#fault-function", "relay"), chromedp.SetValue("#times", "3"),
		chromedp.Focus("#fault-host-latency"), chromedp.KeyEvent(" "))
	eventually(t, ctx, "the fault is on", `document.getElementById("fault-host-latency").getAttribute("aria-pressed") === "true"`)
	eventually(t, ctx, "it says what it is", `document.getElementById("fault-host-latency").title === "2000 ms, 3 times, at caller, for relay"`)
	eventually(t, ctx, "the focus stays", `document.activeElement.id === "fault-host-latency"`)
	run(t, ctx, chromedp.KeyEvent(" "))
	eventually(t, ctx, "the fault is off", `document.getElementById("fault-host-latency").getAttribute("aria-pressed") === "false"`)
	run(t, ctx, chromedp.SetValue("#delay", "-5000"))
	click(t, ctx, "#fault-host-clock-skew")
	eventually(t, ctx, "the clock is off", `document.getElementById("fault-host-clock-skew").getAttribute("aria-pressed") === "true"`)
	run(t, ctx, chromedp.SetValue("#delay", "2000"))
	click(t, ctx, "#fault-host-missed-tick")
	eventually(t, ctx, "the tick is missed", `document.getElementById("fault-host-missed-tick").getAttribute("aria-pressed") === "true"`)
	eventually(t, ctx, "what is chosen stays", `document.getElementById("place-host").value === "caller" && document.getElementById("fault-function").value === "relay"`)
	click(t, ctx, "#role-stranger-Api\\.Read")
	click(t, ctx, "#action-forget")
	eventually(t, ctx, "the page says so", said("Forget tokens"))
	want := []string{
		`POST /functions/poll {"input":""}`, `POST /functions/orders {"input":"{\"id\":1}"}`, `POST /functions/relay {"method":"GET","path":"/api/relay/hello"}`,
		`POST /faults/identity {"name":"status","times":0,"status":429,"retry_after":"7"}`, `DELETE /faults/identity?name=status `,
		`POST /faults/host {"name":"latency","times":3,"delay_ms":2000,"on":"caller","function":"relay"}`, `DELETE /faults/host?name=latency `,
		`POST /faults/host {"name":"clock-skew","times":0,"delay_ms":-5000}`, `POST /faults/host {"name":"missed-tick","times":3,"delay_ms":2000,"function":"relay"}`,
		`POST /identity/roles {"client_id":"d1","resource":"api://x","grant":["Api.Read"]}`, `POST /identity/forget `,
	}
	// The page says what it did when one answer is there; another request may still be on its way.
	for deadline := time.Now().Add(pollingTime); !a.didAll(want) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	for _, line := range want {
		if !strings.Contains(a.done()+"\n", line+"\n") {
			t.Errorf("the page did not send %q; it sent\n%s", line, a.done())
		}
	}

	// Dark and narrow: nothing sticks out.
	run(t, ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
		})
		return err
	}))
	eventually(t, ctx, "dark has a dark page", `getComputedStyle(document.body).backgroundColor === "rgb(20, 23, 28)"`)
	shot(t, ctx, "dark")
	checkAxe(t, ctx, "dark")
	run(t, ctx, chromedp.EmulateViewport(320, 740))
	eventually(t, ctx, "no sideways scrolling at 320 pixels", `document.documentElement.scrollWidth <= 320`)
	shot(t, ctx, "narrow")

	eventually(t, ctx, "it stands still", `document.getAnimations().length === 0`)
	checkNames(t, ctx)
	checkAxe(t, ctx, "dark and narrow")
	click(t, ctx, "#reset")
	eventually(t, ctx, "cleared", `document.querySelectorAll("#list > li").length === 0 && !document.getElementById("empty").hidden`)
}

func ask(t *testing.T, ctx context.Context, expression string) []string {
	t.Helper()
	list, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](expression))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// checkAxe runs axe-core (https://github.com/dequelabs/axe-core) on the page as it is.
func checkAxe(t *testing.T, ctx context.Context, state string) {
	t.Helper()
	script, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	// What is new fades in, and has too little contrast until then.
	run(t, ctx, chromedp.Evaluate[chromedp.Void](string(script)+"; undefined"),
		chromedp.Evaluate[chromedp.Void](`window.found = null; document.getAnimations().forEach(a => a.finish()); axe.run().then(r => { window.found = r.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.html)) }); undefined`))
	eventually(t, ctx, "axe has run", `window.found`)
	for _, violation := range ask(t, ctx, `window.found`) {
		t.Errorf("%s: %s", state, violation)
	}
}

// checkNames asks that everything that can be operated has a name, and that ids are unique and colors readable.
func checkNames(t *testing.T, ctx context.Context) {
	t.Helper()
	nameless := ask(t, ctx, `[...document.querySelectorAll("button, input, select, textarea, a")].filter(e => !e.offsetParent ? false :
		!(e.getAttribute("aria-label") || e.textContent.trim() || e.closest("label")?.textContent.trim())).map(e => e.outerHTML)`)
	if len(nameless) > 0 {
		t.Errorf("without a name: %v", nameless)
	}
	twice := ask(t, ctx, `(() => { const ids = [...document.querySelectorAll("[id]")].map(e => e.id); return ids.filter((id, i) => ids.indexOf(id) !== i) })()`)
	if len(twice) > 0 {
		t.Errorf("ids that stand twice: %v", twice)
	}
	// WCAG 2 AA: 4.5 to 1 for text. Backgrounds are opaque or inherited.
	pale := ask(t, ctx, `(() => {
		const rgb = (s) => s.match(/[\d.]+/g).map(Number);
		const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
		const back = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c } return [255, 255, 255] };
		return [...document.querySelectorAll("body *")].filter(e => e.offsetParent && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).filter(e => {
			const [a, b] = [light(rgb(getComputedStyle(e).color)), light(back(e))].sort((x, y) => y - x);
			return (a + .05) / (b + .05) < 4.5;
		}).map(e => e.tagName + "." + e.className + " " + e.textContent.slice(0, 30));
	})()`)
	if len(pale) > 0 {
		t.Errorf("text with too little contrast: %v", pale)
	}
}

func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	w := httptest.NewRecorder()
	console.Page().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "script-src 'self'") {
		t.Errorf("Content-Security-Policy %q", csp)
	}
	for _, name := range []string{"index.html", "app.js", "style.css"} {
		text, err := os.ReadFile("assets/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, scheme := range []string{"http://", "https://"} {
			if strings.Contains(string(text), scheme) {
				t.Errorf("%s holds an address: %s", name, scheme)
			}
		}
	}
}
