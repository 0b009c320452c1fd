package host

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

const managedApp = `{
	"hello":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"admin"},{"type":"http","direction":"out","name":"res"}]},
	"queue":{"bindings":[{"type":"queueTrigger","direction":"in","name":"m","queueName":"q","connection":"c"}]},
	"hub":{"bindings":[{"type":"eventHubTrigger","direction":"in","name":"e","eventHubName":"h","connection":"c"}]}
}`

func TestManage(t *testing.T) {
	var mu sync.Mutex
	var got []string
	r := inProcess(t, "", managedApp, nil,
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body := new(bytes.Buffer)
			_, _ = body.ReadFrom(req.Body)
			mu.Lock()
			got = append(got, req.URL.Path+" "+body.String())
			mu.Unlock()
			w.Header().Set("Content-Type", "application/json")
			if req.URL.Path == "/queue" {
				w.WriteHeader(http.StatusInternalServerError)
			}
			_, _ = w.Write([]byte(`{"Outputs":{"res":{"body":"hi"}}}`))
		}))
	handlerGot := func(part string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(strings.Join(got, "\n"), part)
		}
	}
	rotated := map[string]string{}
	api := r.host.Manage(func(name, key string) { rotated[name] = key })
	ask := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	for _, step := range []struct {
		name, method, path, body string
		status                   int
		part                     string
		check                    func() bool // in the end
	}{
		{"the functions", "GET", "/functions", "", 200,
			`{"name":"queue","trigger":"queueTrigger","way":"wrapped"}`, nil},
		{"nothing has run", "GET", "/invocations", "", 200, "[]", nil},
		{"a fault is set", "POST", "/faults",
			`{"name":"status","status":503,"retry_after":"2","function":"hello","times":1}`, 204,
			"", nil},
		{"it shows", "GET", "/faults", "", 200,
			`"on":[{"name":"status","on":"caller","function":"hello","status":503,"retry_after":"2","times":1}]`, nil},
		{"an unknown one is refused", "POST", "/faults", `{"name":"nope"}`, 400,
			"want one of latency, hang", nil},
		{"an unknown key is refused", "POST", "/faults", `{"name":"hang","tims":1}`, 400,
			"unknown field", nil},
		{"text is refused", "POST", "/faults", `hang`, 400, "want a JSON object", nil},
		{"a call meets it", "POST", "/functions/hello", `{"path":"/api/hello"}`, 200,
			`{"status":503,"body":"Function host is not running."}`, nil},
		{"the next does not, and has a key for every level", "POST", "/functions/Hello",
			`{"path":"/api/hello","method":"PUT"}`, 200, `{"status":200,"body":"hi"}`, nil},
		{"a call that the fault breaks off", "POST", "/faults", `{"name":"reset","times":1}`, 204,
			"", nil},
		{"tells what a caller sees", "POST", "/functions/hello", `{"path":"/api/hello"}`, 502,
			"calling the host", nil},
		{"an HTTP function needs a path", "POST", "/functions/hello", ``, 502,
			"want one that begins with /", nil},
		{"an unknown function", "POST", "/functions/nobody", "", 404, "no such function", nil},
		{"a batch with metadata", "POST", "/functions/hub",
			`{"many":["a",{"b":1}],"metadata":{"PartitionContext":"p"}}`, 200,
			`"status":202,"id":"`,
			handlerGot(`\"{\\\"b\\\":1}\"`)},
		{"a message", "POST", "/functions/queue", `{"input":{"n":1}}`, 200, `"status":202`,
			func() bool { return len(r.host.Outputs()) == 1 }},
		{"was delivered until it is poison", "GET", "/invocations", "", 200, "DequeueCount: 5",
			nil},
		{"and lies in the poison queue", "GET", "/outputs", "", 200,
			`"target":"q-poison","body":"{\"n\":1}"`, nil},
		{"a key is rotated and not answered", "POST", "/keys/master/rotate", "", 204, "",
			func() bool { return len(rotated["master"]) > 20 }},
		{"calls go on with it", "POST", "/functions/hello", `{"path":"/api/hello"}`, 200,
			`"status":200`, nil},
		{"no such key", "POST", "/keys/system/rotate", "", 400, "want function, host or master",
			nil},
		{"a fault that stays", "POST", "/faults", `{"name":"hang"}`, 204, "", nil},
		{"is cleared", "DELETE", "/faults?name=hang", "", 204, "",
			func() bool { return len(r.host.Faults()) == 0 }},
		{"the handler starts anew", "POST", "/restart", "", 204, "", nil},
		{"everything is forgotten", "POST", "/reset", "", 204, "",
			func() bool { return len(r.host.History())+len(r.host.Outputs()) == 0 }},
	} {
		status, body := ask(step.method, step.path, step.body)
		if status != step.status || !strings.Contains(body, step.part) {
			t.Errorf("%s: status %d, body %s", step.name, status, body)
		}
		for _, key := range []string{testFunctionKey, testHostKey, testMasterKey,
			rotated["master"]} {
			if key != "" && strings.Contains(body, key) {
				t.Errorf("%s: a key shows: %s", step.name, body)
			}
		}
		if step.check != nil {
			poll.Until(t, step.name, step.check)
		}
	}
}

// managedProcess starts this binary as `sandbox host` with a management API.
func managedProcess(t *testing.T, r *rig) (host, manage string, stderr *syncBuffer, cmd *exec.Cmd) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stderr = &syncBuffer{}
	cmd = exec.Command(exe)
	cmd.Env = []string{hostVariable + "=" +
		strings.Join([]string{"-root", r.root, "-addr", "127.0.0.1:0", "-manage", "127.0.0.1:0"},
			"\n"),
		scriptVariable + "=" + filepath.Join(r.dir, "script.json"), "PATH=" + os.Getenv("PATH"),
		"FUNCTIONS_WORKER_RUNTIME=custom"}
	cmd.Stderr = stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	at := regexp.MustCompile(`serving \S+ on (http://\S+)\n.*management API: (http://\S+)\n`)
	poll.Until(t, "the host", func() bool { return at.MatchString(stderr.String()) })
	m := at.FindStringSubmatch(stderr.String())
	return m[1], m[2], stderr, cmd
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func statusOf(t *testing.T, method, url, body string, change func(*http.Request)) int {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestTheHostAloneIsManagedAndStopsWhenTold(t *testing.T) {
	r := newRig(t, hostJSONOf(""), json.RawMessage(helloFunction))
	r.write(script{Answered: answer{Default: &answer{Status: 200, Delay: 60},
		Probe: &answer{Status: 200}}})
	host, manage, stderr, cmd := managedProcess(t, r)
	for name, change := range map[string]func(*http.Request){
		"another page": func(
			r *http.Request) {
			r.Header.Set("Origin", "http://evil.example")
		},
		"a name that rebinds": func(r *http.Request) { r.Host = "evil.example" },
	} {
		if status := statusOf(t, "POST", manage+"/faults", `{"name":"hang"}`,
			change); status != 403 {
			t.Errorf("%s: status %d, want 403", name, status)
		}
	}
	if status := statusOf(t, "POST", manage+"/faults",
		`{"name":"status","status":429,"retry_after":"1","times":1}`, nil); status != 204 {
		t.Errorf("setting a fault: %d", status)
	}
	if status := statusOf(t, "GET", host+"/api/hello", "", nil); status != 429 {
		t.Errorf("a call that meets it: %d", status)
	}
	if status := statusOf(t, "POST", manage+"/keys/function/rotate", "", nil); status != 204 {
		t.Errorf("a rotated key: %d", status)
	}
	poll.Until(t, "the new key",
		func() bool { return strings.Contains(stderr.String(), "function key from now on: ") })
	go func() { // runs when the signal comes
		if res, err := http.Get(host + "/api/hello"); err == nil {
			res.Body.Close()
		}
	}()
	poll.Until(t, "the handler at work", func() bool { return len(requests(r.events(), false)) == 1 })
	began := time.Now()
	_ = cmd.Process.Signal(syscall.SIGINT)
	poll.Until(t, "why it waits", func() bool {
		return strings.Contains(stderr.String(),
			"1 running: waiting up to 30s, as the host does; Ctrl-C again ends at once")
	})
	_ = cmd.Process.Signal(syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit status %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("it still runs %s after the first signal", time.Since(began))
	}
}

func TestRunRefusesAddressesThatAreNotLoopback(t *testing.T) {
	r := newRig(t, hostJSONOf(""), json.RawMessage(helloFunction))
	for _, flag := range []string{"-addr", "-manage"} {
		var stderr bytes.Buffer
		args := []string{"-root", r.root, "-no-auth", "-addr", "127.0.0.1:0", flag, "0.0.0.0:0"}
		if status := Run(t.Context(), args, &bytes.Buffer{}, &stderr); status != 1 ||
			!strings.Contains(stderr.String(), "loopback only") {
			t.Errorf("%s: exit status %d: %s", flag, status, stderr.String())
		}
	}
}
