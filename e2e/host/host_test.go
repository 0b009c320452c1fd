// Package host_test plays the handler on a Functions host, any host: the stand-in of this project,
// Core Tools, or the host's own program. It sees what a caller and a gateway see, and what the host
// prints.
//
//	go test ./e2e/host                            the stand-in, and a func that is the stand-in
//	go test ./e2e/host -host func                 Azure Functions Core Tools, func on PATH
//	go test ./e2e/host -host 'PROGRAM {root} {port}'
//
// {root} is the script root, {port} where callers are served. A host that asks for keys prints them
// as `sandbox host` does, or HOST_FUNCTION_KEY and HOST_MASTER_KEY say them; one that asks for none
// is not tried with keys. Queues need what AzureWebJobsStorage names, Azurite on this machine by
// default.
package host_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var hostCommand = flag.String("host", "",
	"`command` of a host with {root} and {port} in it, or func")

// checkout is the project's root, seen from this folder.
const checkout = "../.."

// program builds a program of the project, once.
func program(t *testing.T, name string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if path := builds.done[name]; path != "" {
		return path
	}
	dir, err := os.MkdirTemp("", "host-suite-")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+exeSuffix())
	build := exec.Command("go", "build", "-o", path, "./"+name)
	build.Dir = checkout
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	if builds.done == nil {
		builds.done = map[string]string{}
	}
	builds.done[name] = path
	return path
}

var builds struct {
	sync.Mutex
	done map[string]string
}

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

func TestMain(m *testing.M) {
	flag.Parse()
	if root := os.Getenv(fakeFunc); root != "" {
		playFunc()
		return
	}
	code := m.Run()
	for _, path := range builds.done {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// fakeFunc makes this test's program func: it holds the program that plays the host.
const fakeFunc = "HOST_SUITE_FUNC"

// playFunc is `func start --port N` on the script root in the working directory; like func it asks
// for no keys.
func playFunc() {
	args := os.Args[1:]
	if len(args) != 3 || args[0] != "start" || args[1] != "--port" {
		fmt.Fprintf(os.Stderr, "func: want start --port N, got %q\n", args)
		os.Exit(2)
	}
	host := exec.Command(os.Getenv(fakeFunc), "host", "-no-auth", "-root", ".", "-addr",
		"127.0.0.1:"+args[2])
	host.Env = slices.DeleteFunc(os.Environ(),
		func(s string) bool { return strings.HasPrefix(s, fakeFunc+"=") })
	host.Stdout, host.Stderr, host.Stdin = os.Stdout, os.Stderr, os.Stdin
	if err := execOver(host); err != nil {
		fmt.Fprintln(os.Stderr, "func:", err)
		os.Exit(1)
	}
}

// app is what a script root differs by.
type app struct {
	flags   map[string]any // of customHandler
	timeout string         // functionTimeout
	without string         // a setting that is missing
}

// running is a host on a script root.
type running struct {
	t       *testing.T
	root    string
	base    string // http://127.0.0.1:port
	gateway *gateway
	cmd     *exec.Cmd
	out     *output
	// how the host calls a function with one HTTP output: proxied, forwarded or wrapped
	way        string
	keys       bool // it asks for keys
	functionK  string
	masterK    string
	forEnviron []string
	stopped    bool
}

// output is what the host prints, safe for concurrent use.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

const (
	httpBindings = `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"function",` +
		`"methods":["get","post","put","head"],"route":"rw/{*path}"},{"type":"http","direction":"out","name":"res"}]}`
	queueBindings = `{"bindings":[{"type":"queueTrigger","direction":"in","name":"message","queueName":"orders",` +
		`"connection":"AzureWebJobsStorage"}]}`
)

// start stages a script root, starts the host on it and waits until it answers.
func start(t *testing.T, a app) *running {
	t.Helper()
	r := &running{t: t, root: t.TempDir(), gateway: newGateway(t), out: &output{}}
	r.stage(a)
	port := freePort(t)
	r.base = "http://127.0.0.1:" + port
	command := *hostCommand
	dir := checkout
	switch command {
	case "":
		r.cmd = exec.Command(program(t, "sandbox"), "host", "-root", r.root, "-addr",
			"127.0.0.1:"+port)
	case "func":
		if _, err := exec.LookPath("func"); err != nil {
			t.Fatal("there is no func on PATH: install Azure Functions Core Tools, or name a host: " +
				"HOST='build/sandbox host -root {root} -addr 127.0.0.1:{port}'")
		}
		r.cmd, dir = exec.Command("func", "start", "--port", port), r.root
	default:
		words := strings.Fields(strings.NewReplacer("{root}", r.root, "{port}", port).Replace(
			command))
		r.cmd = exec.Command(words[0], words[1:]...)
	}
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = dir, r.out, r.out
	r.cmd.Env = append(os.Environ(), r.forEnviron...)
	r.cmd.WaitDelay = 5 * time.Second
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stopNow)
	r.await("the host", 2*time.Minute, func() bool {
		res, err := http.Get(r.base + "/api/health")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK || a.without != "" &&
			res.StatusCode == http.StatusServiceUnavailable
	})
	r.learnKeys()
	if a.without != "" {
		return r
	}
	if res := r.get("/api/rw/echo"); res.status != http.StatusOK {
		t.Fatalf("the first call: %d %s\n%s", res.status, res.body, r.out)
	}
	r.await("the way of the first call in the log", 10*time.Second, func() bool {
		if m := wayInLog.FindStringSubmatch(r.out.String()); m != nil {
			r.way = m[1]
		}
		return r.way != ""
	})
	return r
}

var wayInLog = regexp.MustCompile(`way\\*":\s*\\*"(proxied|forwarded|wrapped)`)

func (r *running) stage(a app) {
	r.t.Helper()
	put := func(path string, content []byte, mode os.FileMode) {
		r.t.Helper()
		path = filepath.Join(r.root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, content, mode); err != nil {
			r.t.Fatal(err)
		}
	}
	get := func(path string) []byte {
		r.t.Helper()
		content, err := os.ReadFile(path)
		if err != nil {
			r.t.Fatal(err)
		}
		return content
	}
	var host map[string]any
	if err := json.Unmarshal(get(filepath.Join(checkout, "host.json")), &host); err != nil {
		r.t.Fatal(err)
	}
	custom := host["customHandler"].(map[string]any)
	for name, value := range a.flags {
		custom[name] = value
	}
	if a.timeout != "" {
		host["functionTimeout"] = a.timeout
	}
	text, _ := json.Marshal(host)
	put("host.json", text, 0o644)
	for _, name := range []string{"poll", "doctor", "health"} {
		put(name+"/function.json", get(filepath.Join(checkout, "functions", name, "function.json")),
			0o644)
	}
	put("rw/function.json", []byte(httpBindings), 0o644)
	put("orders/function.json", []byte(queueBindings), 0o644)
	put("handler"+exeSuffix(), get(program(r.t, "handler")), 0o755)
	storage := os.Getenv("AzureWebJobsStorage")
	if storage == "" {
		storage = "UseDevelopmentStorage=true"
	}
	settings := map[string]string{
		"FUNCTIONS_WORKER_RUNTIME": "custom", "AzureWebJobsStorage": storage,
		"AzureWebJobsSecretStorageType": "files",
		"TargetApp":                     "api://host-suite", "TargetTenantID": tenant,
		"FunctionIdentity": "RunAs=App",
		"ApimUrl":          r.gateway.url + "/up", "ApimKey": gatewayKey, "PollSchedule": "0 0 0 1 1 *",
		"IDENTITY_ENDPOINT": r.gateway.url + "/token", "IDENTITY_HEADER": identityHeader,
	}
	delete(settings, a.without)
	for name, value := range settings {
		r.forEnviron = append(r.forEnviron, name+"="+value)
	}
	local, _ := json.Marshal(map[string]any{"IsEncrypted": false, "Values": settings})
	put("local.settings.json", local, 0o600)
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

var keyInOutput = regexp.MustCompile(`(function|master) key of this run: (\S+)`)

// learnKeys finds out whether the host asks for keys, and which.
func (r *running) learnKeys() {
	r.functionK, r.masterK = os.Getenv("HOST_FUNCTION_KEY"), os.Getenv("HOST_MASTER_KEY")
	for _, m := range keyInOutput.FindAllStringSubmatch(r.out.String(), -1) {
		if m[1] == "function" {
			r.functionK = m[2]
		} else {
			r.masterK = m[2]
		}
	}
	res, err := http.Get(r.base + "/api/doctor")
	if err != nil {
		r.t.Fatal(err)
	}
	_ = res.Body.Close()
	r.keys = res.StatusCode == http.StatusUnauthorized
	if r.keys && (r.functionK == "" || r.masterK == "") {
		r.t.Fatal(
			"the host asks for keys and prints none: set HOST_FUNCTION_KEY and HOST_MASTER_KEY")
	}
}

// stopNow ends the host as a person does, and then by force, once.
func (r *running) stopNow() {
	if r.stopped {
		return
	}
	r.stopped = true
	ended := make(chan struct{})
	go func() { _ = r.cmd.Wait(); close(ended) }()
	if runtime.GOOS != "windows" {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(40 * time.Second):
			r.t.Error("the host did not end within 40 s of SIGTERM")
		}
	}
	_ = r.cmd.Process.Kill()
	<-ended
	if r.t.Failed() {
		r.t.Logf("the host printed:\n%s", r.out)
	}
	for name, secret := range map[string]string{"subscription key": gatewayKey,
		"identity header": identityHeader, "token": signature} {
		if strings.Contains(r.out.String(), secret) {
			r.t.Errorf("the %s is in the host's output", name)
		}
	}
}

func (r *running) await(what string, most time.Duration, cond func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(most); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %s in vain for %s\n%s", most, what, r.out)
		}
	}
}

// answer is what a caller got.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
	err    error // the answer broke off
}

// code is the problem's, "" for an answer of another kind.
func (a answer) code() string {
	var problem struct{ Code string }
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
		return ""
	}
	_ = json.Unmarshal(a.body, &problem)
	return problem.Code
}

// call sends one request with the function's key; target is written as it stands, key replaces the
// key.
func (r *running) call(method, target string, body io.Reader, contentType string,
	key ...string) answer {
	r.t.Helper()
	res, began := r.send(method, target, body, contentType, key...)
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	a.body, a.err = io.ReadAll(res.Body)
	a.took = time.Since(began)
	return a
}

// get is call for a GET.
func (r *running) get(target string, key ...string) answer {
	r.t.Helper()
	return r.call(http.MethodGet, target, nil, "", key...)
}

func (r *running) send(method, target string, body io.Reader, contentType string, key ...string) (
	*http.Response, time.Time) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.base+"/", body)
	if err != nil {
		r.t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	req.URL.Opaque, req.URL.RawQuery = path, query
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header["X-Many"] = []string{"one", "two, three"}
	req.Header.Set("Authorization", "Bearer of-the-caller")
	switch {
	case len(key) > 0 && key[0] != "":
		req.Header.Set("x-functions-key", key[0])
	case len(key) == 0 && r.functionK != "":
		req.Header.Set("x-functions-key", r.functionK)
	}
	began := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s", method, target, err, r.out)
	}
	return res, began
}
