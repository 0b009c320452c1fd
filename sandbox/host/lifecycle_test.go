package host

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

// life is how a recording that is a host's life of its own is played: what is set before the start,
// and what is done after it.
type life struct {
	speed  float64                        // 0: replaySpeed
	before func(l *stage)                 // files, script, settings
	play   func(l *stage)                 // instead of sending the clients one after another
	loose  bool                           // events come in no certain order
	shape  func(events []string) []string // what of the events is compared
	// log lines of the recording that belong to the one before
	skip int
}

// stage is one life being played.
type stage struct {
	*rig
	r     *recording
	cfg   Config
	sc    script
	diffs []string
	skip  int
	most  int // requests of the handler that are compared, where ticks go on; 0: all
}

func (l *stage) differ(format string, args ...any) {
	l.diffs = append(l.diffs, fmt.Sprintf(format, args...))
}

func replayLife(t *testing.T, r *recording) []string {
	spec := lives[r.Name]
	hostJSON, functionJSON := r.HostJSON, r.FunctionJSON
	if len(hostJSON) == 0 || string(hostJSON) == "null" {
		hostJSON = json.RawMessage(
			`{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}`)
		functionJSON = json.RawMessage(helloFunction)
	}
	l := &stage{rig: newRig(t, hostJSON, functionJSON), r: r, skip: spec.skip}
	l.cfg = l.config()
	if l.cfg.Speed = spec.speed; spec.speed == 0 {
		l.cfg.Speed = replaySpeed
	}
	l.sc = script{Speed: l.cfg.Speed, Answered: parseAnswer(t, r)}
	if spec.before != nil {
		spec.before(l)
	}
	l.write(l.sc)
	l.start(l.cfg)
	if spec.play != nil {
		spec.play(l)
	} else {
		l.playClients()
	}
	l.compareLife(spec)
	return l.diffs
}

const helloFunction = `{"hello":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]}}`

// playClients sends the recorded requests one after another.
func (l *stage) playClients() {
	if len(l.r.Client) == 0 {
		l.waitForAll()
		return
	}
	poll.Until(l.t, "the handler", func() bool {
		return len(requests(l.events(), true)) > 0 || l.host.inside().worker == nil ||
			l.host.inside().fault != ""
	})
	for i, c := range l.r.Client {
		if c.RequestLine == "" {
			poll.Until(l.t, "the end of the host", func() bool {
				select {
				case <-l.host.Done():
					return true
				default:
					return false
				}
			})
			continue
		}
		wait := 15 * time.Second
		if strings.Contains(l.r.ClientGot[i].Error, "timed out") {
			wait = time.Duration(float64(l.r.ClientGot[i].MS) / l.cfg.Speed * float64(
				time.Millisecond))
		}
		if i > 0 {
			l.settle()
		}
		if strings.Contains(l.r.Name, "silent-close") {
			// as the recorder did; a request within the close itself would meet it
			time.Sleep(30 * time.Millisecond)
		}
		got := ask(l.host.Addr(), c, wait)
		l.diffs = append(l.diffs, compareAnswer(l.r.ClientGot[i], got)...)
	}
	l.waitForAll()
}

// settle lets an exit that follows an answer happen, and a new handler get ready.
func (l *stage) settle() {
	if !strings.HasPrefix(l.r.Name, "E-exit") && !strings.HasPrefix(l.r.Name, "E-killed") &&
		!strings.HasPrefix(l.r.Name, "E-crash") {
		return
	}
	poll.Until(l.t, "the exit", func() bool {
		events := l.events()
		return len(events) > 0 && slices.ContainsFunc(events,
			func(e event) bool { return e.Ev == "exit" || e.Ev == "selfsignal" })
	})
	poll.Until(l.t, "the end of the process", func() bool { return !isAlive(l.events()[0].Pid) })
	time.Sleep(60 * time.Millisecond)
}

// waitForAll waits until as many requests, log lines and events are there as recorded, or a while.
func (l *stage) waitForAll() {
	want := logLines(l.r)[l.skip:]
	deadline := time.Now().Add(3 * time.Second)
	for time.Now().Before(deadline) {
		if len(entryLines(l.entries())) >= len(want) && len(requests(l.events(), true)) >= len(
			l.r.Received) && len(kinds(l.events())) >= len(l.wantedEvents()) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// compared are the events that the scripted handler notes as the recorder did.
var compared = map[string]bool{"start": true, "listening": true, "request": true, "answered": true,
	"exit": true, "closedByUs": true,
	"neverListen": true, "selfsignal": true}

// kinds writes events down as the order of what happened: in which life of the handler, on which
// connection.
func kinds(events []event) []string {
	var out []string
	pids := map[int]int{}
	for _, e := range events {
		if !compared[e.Ev] {
			continue
		}
		if pids[e.Pid] == 0 {
			pids[e.Pid] = len(pids) + 1
		}
		s := fmt.Sprintf("life %d: %s", pids[e.Pid], e.Ev)
		if e.Ev == "request" || e.Ev == "answered" {
			s += fmt.Sprintf(" connection %d, request %d", e.Conn, e.Nth)
		}
		if e.Ev == "exit" {
			s += fmt.Sprintf(" %d", e.Code)
		}
		out = append(out, s)
	}
	return out
}

func (l *stage) wantedEvents() []string { return kinds(l.r.Events) }

func (l *stage) compareLife(spec life) {
	want, got := logLines(l.r)[spec.skip:], entryLines(l.entries())
	if spec.loose {
		slices.Sort(want)
		slices.Sort(got)
	}
	if strings.HasPrefix(l.r.Name, "E-fn-") && len(want) > 0 && strings.Contains(want[0],
		"Error indexing") || l.r.Name[0] != 'E' && len(got) > len(want) {
		got = got[:min(len(got), len(want))] // the recorder stopped looking after so many
	}
	defer func() { l.diffs = append(l.diffs, compareLog(want, got)...) }()
	recd := requests(l.events(), true)
	var wantReqs []recordedRequest
	for _, w := range l.r.Received {
		name := strings.TrimPrefix(strings.Split(w.RequestLine, " ")[1], "/")
		if l.r.Name[0] != 'C' || name == "" || l.r.holds("Function."+name) {
			wantReqs = append(wantReqs, w)
		}
	}
	if l.r.Name[0] != 'E' && (len(wantReqs) == 0 || wantReqs[0].RequestLine != "GET / HTTP/1.1") {
		recd = requests(l.events(), false)
	}
	if l.most > 0 {
		recd = recd[:min(l.most, len(recd))]
		got = got[:min(len(got), len(want))]
	}
	if spec.loose {
		slices.SortStableFunc(recd, func(a, b *received) int {
			return strings.Compare(a.RequestLine+varies(string(a.Body)),
				b.RequestLine+varies(string(b.Body)))
		})
		slices.SortStableFunc(wantReqs, func(a, b recordedRequest) int {
			return strings.Compare(a.RequestLine+varies(
				string(recordedBody(a.Body, a.BodyBase64, 0))),
				b.RequestLine+varies(string(recordedBody(b.Body, b.BodyBase64, 0))))
		})
	}
	if len(l.r.Argv) > 0 {
		return // environment compares all that is recorded
	}
	if len(recd) < len(wantReqs) || len(recd) > len(wantReqs) && l.r.Name[0] == 'E' {
		l.differ("handler got another number of requests: want %d, got %d", len(wantReqs),
			len(recd))
	}
	for i, w := range wantReqs {
		if i < len(recd) {
			l.diffs = append(l.diffs, compareReceived(w, recd[i])...)
		}
	}
	if l.r.Name[0] != 'E' || len(l.r.Events) == 0 {
		return
	}
	wantEv, gotEv := l.wantedEvents(), kinds(l.events())
	if spec.shape != nil {
		wantEv, gotEv = spec.shape(wantEv), spec.shape(gotEv)
	}
	if slicesDiffer(wantEv, gotEv) {
		l.differ("another course of events:\n\twant %s\n\tgot  %s",
			strings.Join(wantEv, "\n\t     "), strings.Join(gotEv, "\n\t     "))
	}
	if strings.Contains(l.r.Note, "host exit code: 0;") {
		select {
		case <-l.host.Done():
		case <-time.After(2 * time.Second):
			if !l.host.stopping() {
				l.differ("the host did not end")
			}
		}
	}
}

// withoutConnections leaves out on which connection things happened, for requests that run side by
// side.
func withoutConnections(events []string) []string {
	at := regexp.MustCompile(` connection \d+, request \d+`)
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = at.ReplaceAllString(e, "")
	}
	slices.Sort(out)
	return out
}

func firstOf(n int) func([]string) []string {
	return func(events []string) []string { return events[:min(n, len(events))] }
}

func setting(pairs ...string) func(*stage) {
	return func(l *stage) { l.cfg.Environ = append(l.cfg.Environ, pairs...) }
}

func folder(files ...string) func(*stage) {
	return func(l *stage) {
		for i := 0; i < len(files); i += 2 {
			l.file(files[i], files[i+1])
		}
	}
}

const (
	anyHTTP    = `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]}`
	okEnvelope = `"{\"Outputs\": {\"res\": {\"statusCode\": 200, \"body\": \"ok\"}}, \"Logs\": [\"a log line\"], \"ReturnValue\": null}"`
)

// sideBySide sends requests at once.
func (l *stage) sideBySide(n int, target string) []*clientGot {
	poll.Until(l.t, "the handler", func() bool { return len(requests(l.events(), true)) > 0 })
	out := make([]*clientGot, n)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			out[i] = ask(l.host.Addr(), clientRequest{RequestLine: "GET " + target + " HTTP/1.1",
				Headers: [][2]string{{"Host", "localhost:7160"}}}, 15*time.Second)
		})
	}
	wg.Wait()
	return out
}

func exitWith(code int, delay float64) func(*stage) {
	return func(l *stage) { l.sc.ExitAtStart, l.sc.ExitDelay = &code, delay }
}

// consoleScript writes the lines of recording E-console: first those of stdout, up to the one that
// says it is of stderr.
func consoleScript(l *stage) {
	var out, errs strings.Builder
	into := &out
	for _, line := range l.r.HostLog {
		if line[1] != consoleCategory {
			continue
		}
		if line[2] == "plain stderr line" {
			into = &errs
		}
		into.WriteString(strings.TrimSuffix(line[2], "\n") + "\n")
	}
	l.sc.Stdout = out.String() + "LanguageWorkerConsoleLog[INFO] prefixed\n"
	l.sc.Stderr = errs.String() + "LanguageWorkerConsoleLog stderr prefixed\n"
	l.sc.PauseBetween = true
}

func (l *stage) stopInFlight() {
	poll.Until(l.t, "the handler", func() bool { return len(requests(l.events(), true)) > 0 })
	got := make(chan *clientGot, 1)
	go func() {
		got <- ask(l.host.Addr(), clientRequest{RequestLine: "GET /api/hello HTTP/1.1",
			Headers: [][2]string{{"Host", "localhost:7120"}}},
			15*time.Second)
	}()
	poll.Until(l.t, "the request", func() bool { return len(requests(l.events(), false)) > 0 })
	began := time.Now()
	l.host.Stop()
	took := time.Duration(float64(time.Since(began)) * l.cfg.Speed)
	g := <-got
	if l.r.Name == "E-sigterm-in-flight" {
		if g.statusLine != "HTTP/1.1 200 OK" || took < 4*time.Second || took > 20*time.Second {
			l.differ("the running invocation: got %q, the host ended after %s", g.statusLine, took)
		}
		return
	}
	if g.err == nil || took < 29*time.Second || took > 40*time.Second {
		l.differ("the running invocation: want it cut after 30 s, got %q (%v) after %s",
			g.statusLine, g.err, took)
	}
}

func (l *stage) awaitEnd(atLeast, atMost time.Duration) {
	began := time.Now()
	select {
	case <-l.host.Done():
	case <-time.After(20 * time.Second):
		l.differ("the host did not end")
		return
	}
	if took := time.Duration(float64(time.Since(began)) * l.cfg.Speed); took < atLeast ||
		took > atMost {
		l.differ("the host ended after %s: want %s to %s", took, atLeast, atMost)
	}
	l.waitForAll()
}

// environment compares argv, working directory and the variables of E-environment*.
func environment(l *stage) {
	poll.Until(l.t, "the handler", func() bool { return len(l.events()) > 0 })
	e := l.events()[0]
	here := func(s string) string { return strings.ReplaceAll(s, l.root, "<app>") }
	var argv []string
	for _, a := range e.Argv {
		argv = append(argv, here(a))
	}
	if l.r.Name == "E-environment-workerpath" {
		// a script's argv begins with what the interpreter was told
		argv[0] = strings.TrimPrefix(argv[0], "<app>/")
	}
	if slicesDiffer(l.r.Argv, argv) {
		l.differ("another argv:\n\twant %q\n\tgot  %q", l.r.Argv, argv)
	}
	if here(e.Cwd) != l.r.Cwd {
		l.differ("another working directory: want %s, got %s", l.r.Cwd, here(e.Cwd))
	}
	got := map[string]string{}
	for _, pair := range e.Environ {
		k, v, _ := strings.Cut(pair, "=")
		got[k] = here(v)
	}
	for name, value := range l.r.Env {
		if slices.Contains(l.r.Add, name) && strings.HasSuffix(name, "_PORT") {
			value = fmt.Sprint(l.host.inside().worker.port)
		}
		if g, ok := got[name]; !ok || varies(g) != varies(value) {
			l.differ("another variable %s: want %q, got %q", name, value, g)
		}
		delete(got, name)
	}
	for _, own := range []string{scriptVariable, "GOCOVERDIR", "PWD", "SHLVL", "_"} {
		delete(got, own)
	}
	if len(got) > 0 {
		l.differ("variables that the host does not set: %v", got)
	}
	for _, name := range l.r.Add {
		if !slices.ContainsFunc(e.Environ,
			func(s string) bool { return strings.HasPrefix(s, name+"=") }) {
			l.differ("the host did not add %s", name)
		}
	}
}

func environmentBefore(description string, more ...string) func(*stage) {
	return func(l *stage) {
		l.file("host.json", `{"version":"2.0","customHandler":{"description":`+description+`}}`)
		if err := os.MkdirAll(filepath.Join(l.root, "sub/dir"), 0o755); err != nil {
			l.t.Fatal(err)
		}
		l.sc.PrintEnvironment = true
		l.cfg.Environ = []string{l.cfg.Environ[0]}
		for name, value := range l.r.Env {
			if slices.Contains(l.r.Add, name) {
				continue
			}
			l.cfg.Environ = append(l.cfg.Environ, name+"="+strings.ReplaceAll(value, "<app>",
				l.root))
		}
		for i := 0; i < len(more); i += 2 {
			l.file(more[i], more[i+1])
			if err := os.Chmod(filepath.Join(l.root, more[i]), 0o755); err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

// interpreter stands for python3: it drops -u and becomes the script, under the name that it was
// told.
const interpreter = "#!/bin/bash\n[ \"$1\" = -u ] && shift\nname=$1; shift\ncase $name in /*) ;; *) name=./$name ;; esac\nexec -a \"${name#./}\" \"$name\" \"$@\"\n"

func onPath(l *stage) {
	dir := l.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "python3"), []byte(interpreter), 0o755); err != nil {
		l.t.Fatal(err)
	}
	for i, pair := range l.cfg.Environ {
		if strings.HasPrefix(pair, "PATH=") {
			l.cfg.Environ[i] = "PATH=" + dir + ":" + os.Getenv("PATH")
		}
	}
}
