package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"apimrelay/internal/poll"
	"apimrelay/sandbox/identity"
)

// TestMain lets the test binary be a handler, the smallest that the stand-ins can be tried with: it has nothing of the real one.
func TestMain(m *testing.M) {
	if os.Getenv("SANDBOX_TEST_HANDLER") != "" && os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT") != "" {
		plainHandler()
	}
	os.Exit(m.Run())
}

// plainHandler gets a token for each invocation and calls the gateway with it.
func plainHandler() {
	call := func(w http.ResponseWriter, r *http.Request, path string) (int, []byte) {
		var token struct {
			Value string `json:"access_token"`
		}
		q := url.Values{"api-version": {"2019-08-01"}, "resource": {os.Getenv("TargetApp")}}
		if _, id, ok := strings.Cut(os.Getenv("FunctionIdentity"), "AppId="); ok {
			q.Set("client_id", id)
		}
		req, _ := http.NewRequest("GET", os.Getenv("IDENTITY_ENDPOINT")+"?"+q.Encode(), nil)
		req.Header.Set("X-IDENTITY-HEADER", os.Getenv("IDENTITY_HEADER"))
		if res, err := http.DefaultClient.Do(req); err == nil {
			json.NewDecoder(res.Body).Decode(&token)
			res.Body.Close()
		}
		id := r.Header.Get("X-Azure-Functions-Invocationid")
		if id == "" {
			id = r.Header.Get("X-Azure-Functions-InvocationId")
		}
		trace := fmt.Sprintf("%032x", time.Now().UnixNano())
		req, _ = http.NewRequest(r.Method, os.Getenv("ApimUrl")+path, nil)
		if path == "" {
			req.Method = "GET"
		}
		req.Header.Set("Authorization", "Bearer "+token.Value)
		req.Header.Set("Ocp-Apim-Subscription-Key", os.Getenv("ApimKey"))
		req.Header.Set("traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
		res, err := http.DefaultClient.Do(req)
		upstream := 0
		if err == nil {
			upstream = res.StatusCode
		}
		defer fmt.Printf("{\"level\":\"INFO\",\"msg\":\"invocation\",\"invocation_id\":%q,\"trace_id\":%q,\"attempts\":1,\"upstream_status\":%d}\n", id, trace, upstream)
		if err != nil {
			return http.StatusBadGateway, []byte(err.Error())
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, body
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /poll", func(w http.ResponseWriter, r *http.Request) {
		status, _ := call(w, r, "")
		w.Header().Set("Content-Type", "application/json")
		if status >= 300 {
			w.WriteHeader(500)
		}
		io.WriteString(w, `{"Outputs":{},"Logs":[],"ReturnValue":null}`)
	})
	relay := func(w http.ResponseWriter, r *http.Request) {
		path := "/" + r.PathValue("path")
		if r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
		status, body := call(w, r, path)
		w.WriteHeader(status)
		w.Write(body)
	}
	mux.HandleFunc("/api/relay", relay)
	mux.HandleFunc("/api/relay/{path...}", relay)
	http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), mux)
	os.Exit(1)
}

// stage makes a script root as the project's, with this test binary as the handler, and a folder with the policies.
func stage(t *testing.T) (root string, flags []string) {
	t.Helper()
	root = t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(root, "handler")); err != nil {
		t.Fatal(err)
	}
	project := ".."
	copyFile(t, filepath.Join(project, "host.json"), filepath.Join(root, "host.json"))
	for _, name := range []string{"relay", "poll"} {
		copyFile(t, filepath.Join(project, "functions", name, "function.json"), filepath.Join(root, name, "function.json"))
	}
	policies := filepath.Join(project, "deploy", "policies")
	return root, []string{"-root", root, "-settings", filepath.Join(root, "local.settings.json"), "-addr", "127.0.0.1:0", "-console-addr", "127.0.0.1:0",
		"-policy", filepath.Join(policies, "api.xml"), "-write-policy", filepath.Join(policies, "operation-write.xml")}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func environ() []string {
	// Leftovers of a developer's shell that must not reach the handler.
	return append(os.Environ(), "SANDBOX_TEST_HANDLER=1", "IDENTITY_ENDPOINT=http://192.0.2.1/", "targetapp=api://elsewhere", "poll__ApimUrl=http://192.0.2.1/", "MSI_ENDPOINT=x")
}

// buffer is written by Run and read by the test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func TestOnceShowsTheWayOfEachCall(t *testing.T) {
	_, flags := stage(t)
	var stdout, stderr buffer
	status := run(t.Context(), append(flags, "-once"), environ(), &stdout, &stderr)
	out := stdout.String()
	if status != 0 {
		t.Fatalf("exit status %d\n%s\n%s", status, out, stderr.String())
	}
	for _, want := range []string{
		"1. an HTTP request to relay", "GET /api/relay/hello?who=you  ->  200 OK", "http, proxied, function relay, invocation ",
		"user-assigned identity reader, audience " + identity.APIClientID + ", roles Api.Read, version 2.0", "fetched during this call from managed identity in",
		"accepted: primary key of subscription sandbox, from the header", "pass     api.xml:29   validate-jwt, signature: ", "backend   GET sample backend  ->  200",
		"2. a timer tick of poll", "timer, wrapped, function poll",
		"3. the same request by an identity without the app role", "user-assigned identity stranger", "no roles", "refuse   api.xml:29   validate-jwt, claim roles", "fix: ",
		"backend   not called", "answer    401 Unauthorized: the policy refused",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(out, "eyJ") {
		t.Error("the output holds a token")
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// up runs the sandbox and returns the address of its console.
func up(t *testing.T, flags []string) (console string, stdout *buffer, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stdout = &buffer{}
	stderr := &buffer{}
	exit := make(chan int, 1)
	go func() { exit <- run(ctx, append([]string{"console"}, flags...), environ(), stdout, stderr) }()
	stopped := false
	stop = func() int {
		stopped = true
		cancel()
		return <-exit
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if _, rest, ok := strings.Cut(stdout.String(), "Console:  "); ok {
			address, _, _ := strings.Cut(rest, "\n")
			return strings.TrimSuffix(address, "/"), stdout, stop
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("the sandbox is not up: %s %s", stdout.String(), stderr.String())
	return "", nil, nil
}

// eventually reads an address until what it answers fits.
func eventually(t *testing.T, address string, fits func(string) bool) string {
	t.Helper()
	body := ""
	poll.Until(t, "GET "+address, func() bool { _, body = send(t, "GET", address, ""); return fits(body) })
	return body
}

func TestConsoleDrivesEverything(t *testing.T) {
	_, flags := stage(t)
	console, stdout, stop := up(t, flags)
	if status, body := send(t, "POST", console+"/functions/relay", `{"path":"/api/relay/orders/1?x=2"}`); status != 200 || !strings.Contains(body, `"status":200`) {
		t.Fatalf("firing relay: %d %s", status, body)
	}
	has := func(parts ...string) func(string) bool {
		return func(body string) bool {
			for _, part := range parts {
				if !strings.Contains(body, part) {
					return false
				}
			}
			return true
		}
	}
	eventually(t, console+"/invocations", has(`"request":"GET /api/relay/orders/1?x=2"`, `"name":"gateway"`, `"name":"backend"`, `"name":"token"`, `"roles":["Api.Read"]`))
	if status, body := send(t, "POST", console+"/functions/poll", ""); status != 200 {
		t.Fatalf("firing poll: %d %s", status, body)
	}
	eventually(t, console+"/invocations", has(`"function":"poll"`))
	eventually(t, console+"/invocations", func(body string) bool { return !strings.Contains(body, `"outcome":"running"`) })

	// A fault of the gateway is the cause that is shown.
	send(t, "POST", console+"/faults/gateway", `{"name":"status","status":503,"times":1}`)
	send(t, "POST", console+"/functions/relay", "")
	eventually(t, console+"/invocations", has("fault of the gateway: status"))
	// So are those of the host: the caller sees it, and a call that is held shows while it is.
	for _, fault := range []string{`{"name":"reset","on":"handler","function":"relay","times":1}`, `{"name":"garbage","times":1}`} {
		if status, body := send(t, "POST", console+"/faults/host", fault); status != 204 {
			t.Fatalf("%s: %d %s", fault, status, body)
		}
		send(t, "POST", console+"/functions/relay", "")
	}
	eventually(t, console+"/invocations", has("fault of the host: garbage on the caller's side", "fault of the host: reset on the handler's side"))
	send(t, "POST", console+"/faults/host", `{"name":"hang"}`)
	held := make(chan string, 1)
	go func() {
		_, body := send(t, "POST", console+"/functions/relay", "")
		held <- body
	}()
	eventually(t, console+"/invocations", has(`"outcome":"running"`, `"cause":"fault of the host: hang on the handler's side"`))
	send(t, "DELETE", console+"/faults/host", "")
	if body := <-held; !strings.Contains(body, `"status":200`) {
		t.Errorf("the held call: %s", body)
	}
	if _, body := send(t, "POST", console+"/host/keys/function/rotate", ""); body != "" {
		t.Errorf("a rotated key is answered: %s", body)
	}
	// A clock that is off hides no call of the gateway.
	send(t, "POST", console+"/faults/gateway", `{"name":"clock-skew","delay_ms":-20000}`)
	send(t, "POST", console+"/faults/host", `{"name":"clock-skew","delay_ms":7200000}`)
	send(t, "POST", console+"/functions/relay", `{"path":"/api/relay/skewed"}`)
	eventually(t, console+"/invocations", has(`"path":"/sample/skewed"`))
	send(t, "DELETE", console+"/faults/gateway", "")
	send(t, "DELETE", console+"/faults/host", "")
	// The role is taken; the platform's cache keeps the token until told to forget.
	send(t, "POST", console+"/identity/roles", `{"client_id":"`+identity.ReaderClientID+`","resource":"`+identity.APIURI+`","revoke":["Api.Read"]}`)
	if _, body := send(t, "POST", console+"/functions/relay", ""); !strings.Contains(body, `"status":200`) {
		t.Errorf("with a cached token: %s", body)
	}
	send(t, "POST", console+"/identity/forget", "")
	if _, body := send(t, "POST", console+"/functions/relay", ""); !strings.Contains(body, `"status":401`) {
		t.Errorf("with a new token: %s", body)
	}
	eventually(t, console+"/invocations", has("the policy refused at validate-jwt: claim roles"))
	// A rotated key is refused before the policy.
	send(t, "POST", console+"/gateway/subscriptions/sandbox/keys/primary/rotate", "")
	send(t, "POST", console+"/functions/relay", "")
	body := eventually(t, console+"/invocations", has("the gateway refused the subscription key"))
	if strings.Contains(body, "eyJ") {
		t.Error("the API holds a token")
	}
	poll.Until(t, "the line of a refused call", func() bool { return strings.Contains(stdout.String(), "ms: the policy refused at validate-jwt") })
	if status, _ := send(t, "POST", console+"/reset", ""); status != 204 {
		t.Errorf("reset: %d", status)
	}
	if _, body := send(t, "GET", console+"/invocations", ""); body != "[]\n" {
		t.Errorf("after a reset: %s", body)
	}
	if _, body := send(t, "GET", console+"/overview", ""); strings.Contains(body, `"name":"status","status"`) {
		t.Errorf("after a reset: %s", body)
	}
	if status := stop(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestEachFaultAtStartIsOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name   string
		change func(t *testing.T, root string, flags []string) []string
		status int
		want   []string
	}{
		{"no app", func(_ *testing.T, root string, f []string) []string { return append(f, "-root", root+"/none") }, 1, []string{"no app in", "make app"}},
		{"no handler", func(t *testing.T, root string, f []string) []string { os.Remove(root + "/handler"); return f }, 1, []string{"no handler", "make app"}},
		{"a handler that cannot be executed", func(t *testing.T, root string, f []string) []string {
			os.Remove(root + "/handler")
			os.WriteFile(root+"/handler", []byte("text"), 0o644)
			return f
		}, 1, []string{"cannot be executed", "chmod +x"}},
		{"no function", func(t *testing.T, root string, f []string) []string {
			os.RemoveAll(root + "/relay")
			os.RemoveAll(root + "/poll")
			return f
		}, 1, []string{"no function in"}},
		{"the port is in use", func(_ *testing.T, _ string, f []string) []string { return append(f, "-addr", taken.Addr().String()) }, 1, []string{"address already in use", "-addr"}},
		{"the console's port is in use", func(_ *testing.T, _ string, f []string) []string {
			return append(f, "-console-addr", taken.Addr().String())
		}, 1, []string{"address already in use", "-console-addr"}},
		{"an address that is not loopback", func(_ *testing.T, _ string, f []string) []string { return append(f, "-addr", "0.0.0.0:0") }, 1, []string{"loopback only"}},
		{"no policy", func(_ *testing.T, root string, f []string) []string { return append(f, "-policy", root+"/none.xml") }, 1, []string{"no policy in", "-policy"}},
		{"a broken policy", func(t *testing.T, root string, f []string) []string {
			os.WriteFile(root+"/broken.xml", []byte("<policies>\n  <inbound>\n    <validate-jwtt />\n  </inbound>\n</policies>\n"), 0o644)
			return append(f, "-policy", root+"/broken.xml")
		}, 1, []string{"the policy is broken", "broken.xml:3"}},
		{"a named value that is not there", func(t *testing.T, root string, f []string) []string {
			os.WriteFile(root+"/named.xml", []byte("<policies>\n  <inbound>\n    <set-header name=\"a\" exists-action=\"override\">\n      <value>{{nope}}</value>\n    </set-header>\n  </inbound>\n</policies>\n"), 0o644)
			return append(f, "-policy", root+"/named.xml")
		}, 1, []string{"the policy cannot be used", "named.xml:4", "nope"}},
		{"az without settings", func(_ *testing.T, root string, f []string) []string {
			return append(f, "-identity", "az", "-settings", root+"/none.json")
		}, 1, []string{"none.json", "local.settings.json.example"}},
		{"a real gateway for the sandbox's tokens", func(_ *testing.T, _ string, f []string) []string { return append(f, "-gateway", "real") }, 2, []string{"needs -identity az"}},
		{"an unknown identity", func(_ *testing.T, _ string, f []string) []string { return append(f, "-identity", "me") }, 2, []string{"want sandbox or az"}},
		{"a stray word", func(_ *testing.T, _ string, f []string) []string { return append(f, "start") }, 2, []string{"unknown argument \"start\""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root, flags := stage(t)
			var stdout, stderr buffer
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			status := run(ctx, append(test.change(t, root, flags), "-once"), environ(), &stdout, &stderr)
			text := stderr.String()
			if status != test.status || strings.Count(strings.TrimSpace(text), "\n") > 0 {
				t.Errorf("exit status %d, want %d and one line:\n%s", status, test.status, text)
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("the line lacks %q: %s", want, text)
				}
			}
		})
	}
}

func TestOnceFailsWhenTheHandlerDoes(t *testing.T) {
	root, flags := stage(t)
	os.Remove(filepath.Join(root, "handler"))
	script := "#!/bin/sh\necho cannot start >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(root, "handler"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr buffer
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if status := run(ctx, append(flags, "-once"), environ(), &stdout, &stderr); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if !strings.Contains(stderr.String(), "cannot start") {
		t.Errorf("the handler's own words are lost:\n%s", stderr.String())
	}
}

func TestRealIdentityAndGatewayTakeTheUsersSettings(t *testing.T) {
	root, flags := stage(t)
	settings := filepath.Join(root, "local.json")
	os.WriteFile(settings, []byte(`{"IsEncrypted":false,"Values":{"targetapp":"api://mine","TargetTenantID":"5a9d0b0c-0000-4000-8000-000000000009","ApimUrl":"http://127.0.0.1:9/x","ApimKey":"k","PollSchedule":"0 0 0 1 1 *"}}`), 0o644)
	o, err := parseFlags(append(flags, "-identity", "az", "-gateway", "real", "-settings", settings), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	tools := t.TempDir()
	if err := os.WriteFile(filepath.Join(tools, "az"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Nothing but the settings that lead to the real things is given.
	b, err := start(o, []string{"PATH=" + tools, "SANDBOX_TEST_HANDLER=1", "IDENTITY_ENDPOINT=http://192.0.2.1/"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	got := strings.Join(b.environ, "\n")
	for _, want := range []string{"targetapp=api://mine", "ApimUrl=http://127.0.0.1:9/x", "FunctionIdentity=RunAs=Developer;DeveloperTool=AzureCli", "PollSchedule=0 0 0 1 1 *"} {
		if !strings.Contains("\n"+got+"\n", "\n"+want+"\n") {
			t.Errorf("the handler's environment lacks %q", want)
		}
	}
	if strings.Contains(got, "IDENTITY_ENDPOINT=") {
		t.Errorf("leftovers of the shell reach the handler")
	}
}

func TestBrokenSettingsFile(t *testing.T) {
	for name, text := range map[string]string{"encrypted": `{"IsEncrypted":true,"Values":{}}`, "not JSON": `Values`, "a list": `{"Values":{"A":[]}}`} {
		file := filepath.Join(t.TempDir(), "local.settings.json")
		os.WriteFile(file, []byte(text), 0o644)
		if _, err := userSettings(file, nil); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSubcommands(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"help":           {[]string{"help"}, 0, "sandbox gateway"},
		"host help":      {[]string{"host", "-h"}, 0, "-manage"},
		"identity help":  {[]string{"identity", "-h"}, 0, "-tls-addr"},
		"gateway help":   {[]string{"gateway", "-h"}, 0, "-manage"},
		"az without URL": {[]string{"az"}, 2, "identity stand-in"},
	} {
		var stdout, stderr buffer
		if status := run(t.Context(), test.args, nil, &stdout, &stderr); status != test.status || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s: exit status %d: %s", name, status, stderr.String())
		}
	}
}

func send(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}
