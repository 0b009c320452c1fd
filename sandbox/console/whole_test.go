package console_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// output is written by the sandbox and read by the test.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.b.Write(p) }
func (o *output) String() string              { o.mu.Lock(); defer o.mu.Unlock(); return o.b.String() }

// TestConsoleOnTheWholeSandbox drives the page over the real handler, so that page and API cannot drift apart.
func TestConsoleOnTheWholeSandbox(t *testing.T) {
	if testing.Short() {
		t.Skip("drives a browser")
	}
	page := browser(t)
	project, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	program := filepath.Join(t.TempDir(), "sandbox")
	for out, pkg := range map[string]string{filepath.Join(root, "handler"): "./handler", program: "./sandbox"} {
		build := exec.Command("go", "build", "-o", out, pkg)
		build.Dir = project
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", pkg, err, out)
		}
	}
	if err := os.CopyFS(root, os.DirFS(filepath.Join(project, "functions"))); err != nil {
		t.Fatal(err)
	}
	hostJSON, err := os.ReadFile(filepath.Join(project, "host.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "host.json"), hostJSON, 0o644); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(root, "local.settings.json")
	for folder, example := range map[string]string{"OrdersWriter": "http-write", "OrderMessages": "queue"} {
		if err := os.CopyFS(filepath.Join(root, folder), os.DirFS(filepath.Join(project, "deploy", "examples", example))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(settings, []byte(`{"Values": {
		"OrdersWriter__ApimUrl": "https://contoso.azure-api.net/orders", "OrdersWriter__FunctionIdentity": "RunAs=App;AppId=writer",
		"OrderMessages__ApimUrl": "https://contoso.azure-api.net/messages", "OrdersStorage": "UseDevelopmentStorage=true", // no identity that may write
	}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	policies := filepath.Join(project, "deploy", "policies")
	var stdout, stderr output
	sandbox := exec.Command(program, "console", "-root", root, "-settings", settings, "-addr", "127.0.0.1:0", "-console-addr", "127.0.0.1:0",
		"-policy", filepath.Join(policies, "api.xml"), "-write-policy", filepath.Join(policies, "operation-write.xml"))
	sandbox.Stdout, sandbox.Stderr = &stdout, &stderr
	if err := sandbox.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sandbox.Process.Signal(os.Interrupt); _ = sandbox.Wait() })
	var address string
	for deadline := time.Now().Add(pollingTime); address == ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the sandbox is not up: %s%s", stdout.String(), stderr.String())
		}
		if _, rest, ok := strings.Cut(stdout.String(), "Console:  "); ok {
			address, _, _ = strings.Cut(rest, "\n")
		}
	}

	run(t, page, chromedp.EmulateViewport(1200, 1560), chromedp.Navigate(address))
	eventually(t, page, "the page is live", `document.getElementById("connection").textContent === "live" && document.getElementById("fire-relay")`)
	click(t, page, "#fire-relay")
	eventually(t, page, "a good call", `[...document.querySelectorAll("#list .summary")].some(b => b.textContent.includes("relay") && b.querySelector(".outcome").textContent === "200")`)
	click(t, page, "#fire-poll")
	eventually(t, page, "a tick", `[...document.querySelectorAll("#list .summary")].some(b => b.textContent.includes("poll") && b.querySelector(".outcome").textContent === "succeeded")`)

	// A function of one's own writes, with a header and a body; the answer is there to read.
	click(t, page, "form:has(#fire-OrdersWriter) details summary")
	run(t, page, chromedp.SetValue("#header-OrdersWriter", "X-Own: seen"), chromedp.SetValue("#body-OrdersWriter", `{"n":1}`))
	click(t, page, "#fire-OrdersWriter")
	eventually(t, page, "its answer", `(() => { const a = document.getElementById("answer-OrdersWriter").textContent; return a.includes("Answer: 200") && /content-type: application/i.test(a) && a.includes("/orders/hello") })()`)
	// A message that nobody may write is delivered five times, as one group, and then lies in the poison queue.
	click(t, page, "#fire-OrderMessages")
	eventually(t, page, "five deliveries are one group", `[...document.querySelectorAll("#list > li")].some(li => li.querySelectorAll(".run").length === 5 && li.textContent.includes("delivery 5 of 5") && li.textContent.includes("claim roles"))`)
	eventually(t, page, "the poison queue has it", `[...document.querySelectorAll("#outputs li")].some(li => li.textContent.includes("orders-poison") && li.textContent.includes("poison queue"))`)
	checkAxe(t, page, "the whole sandbox")

	// A call that the host holds shows so, and goes on when the fault is switched off.
	click(t, page, "#fault-host-hang")
	eventually(t, page, "the fault is on", `document.getElementById("fault-host-hang").getAttribute("aria-pressed") === "true"`)
	click(t, page, "#fire-poll")
	eventually(t, page, "it is held", `[...document.querySelectorAll("#list .summary")].some(b => b.textContent.includes("poll") && b.textContent.includes("fault of the host: hang") && b.querySelector(".outcome").textContent === "running")`)
	click(t, page, "#fault-host-hang")
	eventually(t, page, "it goes on", `[...document.querySelectorAll("#list .summary")].every(b => b.querySelector(".outcome").textContent !== "running")`)

	// The role is taken, the platform forgets, the handler starts anew: now the policy refuses.
	click(t, page, `#role-reader-Api\.Read`)
	eventually(t, page, "the role is taken", `document.getElementById("role-reader-Api.Read").getAttribute("aria-pressed") === "false"`)
	listenToWhatIsSaid(t, page)
	click(t, page, "#action-rotate-signing")
	click(t, page, "#action-restart")
	eventually(t, page, "the buttons say so", said("Restart the handler"))
	refused := `[...document.querySelectorAll("#list .summary")].find(b => b.textContent.includes("relay") && b.querySelector(".outcome").textContent === "401" && b.textContent.includes("claim roles"))`
	for deadline := time.Now().Add(pollingTime); ; {
		click(t, page, "#fire-relay")
		if err := chromedp.Do(page, chromedp.Poll[chromedp.Void]("Boolean("+refused+")", chromedp.WithPollingTimeout(time.Second))); err == nil {
			break
		}
		if time.Now().After(deadline) {
			text, _ := chromedp.Run(page, chromedp.Text("main"))
			t.Fatalf("no call is refused:\n%s", text)
		}
	}
	run(t, page, chromedp.Evaluate[chromedp.Void](`(`+refused+`).click()`))
	eventually(t, page, "the rule that refused stands there with its line", `[...document.querySelectorAll("tr.refuse")].some(r => /api\.xml:\d+/.test(r.textContent) && r.textContent.includes("roles"))`)
	eventually(t, page, "and what it was refused for", `document.querySelector("#list .detail:not([hidden])").textContent.includes("reader")`)
	eventually(t, page, "nothing reads null or undefined", `!/null|undefined|NaN|\[object/.test(document.body.innerText)`)
	if os.Getenv("CONSOLE_SHOTS") != "" {
		eventually(t, page, "it stands still", `document.getAnimations().length === 0 && document.getElementById("said").textContent === ""`)
		run(t, page, chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`))
		shot(t, page, "whole")
	}
	if html, err := chromedp.Run(page, chromedp.OuterHTML("html")); err != nil || strings.Contains(html, "eyJ") {
		t.Errorf("the page holds a token, or could not be read: %v", err)
	}
}
