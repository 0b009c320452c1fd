package host

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apimrelay/internal/poll"
)

// lives says what each recorded life needs beyond its host.json, its functions and its clients;
// what is not here needs nothing.
var lives = map[string]life{
	"E-app-offline": {play: func(l *stage) {
		l.playClients()
		l.file("app_offline.htm", "closed")
		l.awaitEnd(0, time.Minute)
	}},
	"E-appinsights-forwarding": {before: setting(
		"APPLICATIONINSIGHTS_CONNECTION_STRING=InstrumentationKey=11111111-2222-3333-4444-555555555555")},
	"E-appinsights-wrapped": {before: setting(
		"APPLICATIONINSIGHTS_CONNECTION_STRING=InstrumentationKey=11111111-2222-3333-4444-555555555555")},
	"E-concurrency": {loose: true, shape: withoutConnections, play: func(l *stage) {
		l.sideBySide(20, "/api/hello")
		l.waitForAll()
		conns := map[int]bool{}
		for _, e := range l.events() {
			if e.Ev == "request" {
				conns[e.Conn] = true
			}
		}
		if len(conns) != 20 {
			l.differ("connections to the handler: want 20, got %d", len(conns))
		}
	}},
	"E-console-during-request":           {loose: true}, // stdout and stderr are two pipes
	"E-console":                          {before: consoleScript},
	"E-console-stderr-errors-only-false": {before: consoleScript},
	"E-environment": {before: environmentBefore(
		`{"defaultExecutablePath":"handler"}`), play: environment},
	"E-environment-settings": {before: environmentBefore(
		`{"defaultExecutablePath":"handler"}`), play: environment},
	"E-environment-arguments": {before: environmentBefore(`{"defaultExecutablePath":"handler","workingDirectory":"sub/dir",
		"arguments":["--a","two words","\"quote","%NOT_SET%","%MY_APP_SETTING%","$HOME","back\\slash","é","--x=1"]}`), play: environment},
	"E-environment-workerpath": {before: environmentBefore(
		`{"defaultExecutablePath":"python3","arguments":["-u"],"defaultWorkerPath":"handler","workerArguments":["w1"]}`,
		"python3", interpreter), play: environment},
	"E-exe-absolute": {before: func(l *stage) {
		dir := l.t.TempDir()
		exe, err := os.Executable()
		if err == nil {
			err = os.Symlink(exe, filepath.Join(dir, "elsewhere"))
		}
		if err != nil {
			l.t.Fatal(err)
		}
		l.file("host.json", strings.ReplaceAll(string(l.r.HostJSON),
			"<build>/out/capture/handler.py", filepath.Join(dir, "elsewhere")))
	}},
	"E-exe-missing": {speed: 100, play: func(l *stage) {
		began := time.Now()
		got := ask(l.host.Addr(), l.r.Client[0], 15*time.Second)
		if took := time.Duration(float64(
			time.Since(began)) * l.cfg.Speed); took < 130*time.Second || took > 150*time.Second {
			l.differ("the request waited %s, want 135 s", took)
		}
		l.diffs = append(l.diffs, compareAnswer(l.r.ClientGot[0], got)...)
		l.awaitEnd(0, time.Minute)
	}},
	"E-exe-on-path":           {before: onPath},
	"E-workerpath":            {before: onPath},
	"E-appservice-forwarding": {before: setting("WEBSITE_INSTANCE_ID=0123456789abcdef")},
	"E-appservice-wrapped":    {before: setting("WEBSITE_INSTANCE_ID=0123456789abcdef")},
	"E-exit0-at-start": {speed: 50, before: exitWith(0, 0), play: func(l *stage) {
		l.diffs = append(l.diffs, compareAnswer(l.r.ClientGot[0],
			ask(l.host.Addr(), l.r.Client[0], 400*time.Millisecond))...)
		poll.Until(l.t, "the second life", func() bool { return len(kinds(l.events())) >= 4 })
	}},
	"E-exit1-at-start": {before: func(l *stage) {
		exitWith(1, 0.1)(l)
		l.sc.Stderr = "fatal error: cannot start\nsecond line\n"
	}, play: func(l *stage) { l.awaitEnd(0, 20*time.Second) }},
	"E-exit200-at-start": {before: exitWith(200, 1), play: func(l *stage) {
		poll.Until(l.t, "the fourth life", func() bool { return len(kinds(l.events())) >= 7 })
	}, shape: firstOf(7)},
	"E-file-change": {play: func(l *stage) {
		l.playClients()
		touch := func(path string) {
			path = filepath.Join(l.root, path)
			later := time.Now().Add(time.Second)
			if err := os.Chtimes(path, later, later); err != nil {
				l.t.Fatal(err)
			}
		}
		port := l.host.inside().worker.port
		for i, path := range []string{"host.json", "hello/function.json"} {
			touch(path)
			poll.Until(l.t, "the next handler",
				func() bool { return len(requests(l.events(), true)) >= 3+i })
			if next := l.host.inside().worker.port; next == port {
				l.differ("the port stayed after a change of %s", path)
			} else {
				port = next
			}
		}
		l.file("hello/other.txt", "x")
		touch("handler")
		time.Sleep(300 * time.Millisecond)
	}},
	"E-fn-bad-route":           {shape: firstOf(2)},
	"E-fn-route-leading-slash": {},
	"E-fn-disabled-by-setting": {before: setting("AzureWebJobs.off.Disabled=1")},
	"E-folder-badjson":         {before: folder("badjson/function.json", `{"bin`)},
	"E-folder-bom":             {before: folder("bom/function.json", "\ufeff"+anyHTTP)},
	"E-folder-comments": {before: folder("cm/function.json",
		"// a comment\n"+anyHTTP+"/* another */")},
	"E-folder-deep":        {before: folder("deep/er/function.json", anyHTTP)},
	"E-folder-dot":         {before: folder(".dot/function.json", anyHTTP)},
	"E-folder-emptyfolder": {before: folder("nothing/readme.txt", "")},
	"E-folder-excluded": {before: folder("excl/function.json",
		strings.TrimSuffix(anyHTTP, "}")+`,"excluded":true}`)},
	"E-folder-scriptfile": {before: folder("sf/function.json",
		strings.TrimSuffix(anyHTTP, "}")+`,"scriptFile":"run.py"}`)},
	"E-folder-space": {before: folder("with space/function.json", anyHTTP)},
	"E-hang-neighbour": {loose: true, shape: withoutConnections, play: func(l *stage) {
		poll.Until(l.t, "the handler", func() bool { return len(requests(l.events(), true)) > 0 })
		done := make(chan *clientGot, 2)
		send := func(target string) {
			done <- ask(l.host.Addr(), clientRequest{RequestLine: "GET " + target + " HTTP/1.1",
				Headers: [][2]string{{"Host", "localhost:7139"}}}, 15*time.Second)
		}
		go send("/api/hello")
		time.Sleep(360 * time.Millisecond)
		go send("/api/items/one")
		for range 2 {
			if g := <-done; g.statusLine != "HTTP/1.1 500 Internal Server Error" {
				l.differ("a caller got %q", g.statusLine)
			}
		}
		l.waitForAll()
	}},
	"E-http-limits": {shape: withoutConnections, play: func(l *stage) {
		codes := map[string]int{}
		for _, g := range l.sideBySide(5, "/api/hello") {
			code := strings.Split(g.statusLine, " ")[1]
			codes[code]++
			switch has := func(name string) bool {
				return slices.ContainsFunc(g.headers,
					func(h [2]string) bool { return strings.EqualFold(h[0], name) })
			}; {
			case code == "429" && (!has("X-FUNCTION-SCALEOUT") || has("X-Custom")):
				l.differ("another header on 429: %v", g.headers)
			case code == "200" && !has("X-Custom"):
				l.differ("another header on 200: %v", g.headers)
			}
		}
		if codes["200"] != 2 || codes["429"] != 3 {
			l.differ("want two answers 200 and three 429, got %v", codes)
		}
		l.waitForAll()
	}},
	"E-idle-connection": {speed: 100, play: func(l *stage) {
		l.playClients()
		began := time.Now()
		closed := func() bool {
			return slices.ContainsFunc(l.events(),
				func(e event) bool { return e.Ev == "connClosed" })
		}
		if closed() {
			l.differ("the connection was not kept")
		}
		poll.Until(l.t, "the connection to be closed", closed)
		if took := time.Duration(float64(time.Since(began)) * l.cfg.Speed); took < 60*time.Second ||
			took > 90*time.Second {
			l.differ("the idle connection was closed after %s, want 74 s", took)
		}
	}},
	"E-initialization-timeout": {before: func(l *stage) { l.sc.NeverListen = true },
		play: func(l *stage) { l.awaitEnd(9*time.Second, 16*time.Second) }},
	"E-never-listens": {speed: 30, before: func(l *stage) {
		l.sc.NeverListen = true
		// a pause of a millisecond would be stretched by a busy machine
		l.cfg.Durations.ProbePause = 560 * time.Millisecond
	}, play: func(l *stage) {
		l.diffs = append(l.diffs, compareAnswer(l.r.ClientGot[0],
			ask(l.host.Addr(), l.r.Client[0], 1500*time.Millisecond))...)
		l.awaitEnd(20*time.Second, 160*time.Second)
	}},
	"E-probe-late-listen": {before: func(l *stage) { l.sc.ListenAfter = 3 }},
	"E-request-before-ready": {before: func(l *stage) { l.sc.ListenAfter = 4 },
		play: clientAtOnce},
	"E-probe-hangs":               {play: clientAtOnce},
	"E-request-tracing-coretools": {before: setting("FUNCTIONS_CORETOOLS_ENVIRONMENT=true")},
	"E-runtime-dotnet": {before: func(l *stage) {
		l.cfg.Environ = slices.DeleteFunc(l.cfg.Environ,
			func(s string) bool { return strings.HasPrefix(s, "FUNCTIONS_WORKER_RUNTIME=") })
	}},
	"E-sigint":                 {before: catching, play: func(l *stage) { l.signalHost("INT") }},
	"E-sigterm":                {before: catching, play: func(l *stage) { l.signalHost("TERM") }},
	"E-sigkill-host":           {before: catching, play: func(l *stage) { l.signalHost("KILL") }},
	"E-sigterm-in-flight":      {play: func(l *stage) { l.stopInFlight() }},
	"E-sigterm-in-flight-long": {speed: 50, play: func(l *stage) { l.stopInFlight() }},
	"E-two-hosts-same-app":     {play: func(l *stage) { l.twoHosts(false) }},
	"E-two-hosts-same-app-2":   {play: func(l *stage) { l.twoHosts(true) }, shape: firstOf(8)},
}

func catching(l *stage) { l.sc.CatchSignals = true }

// clientAtOnce does not wait for the handler.
func clientAtOnce(l *stage) {
	got := ask(l.host.Addr(), l.r.Client[0], 15*time.Second)
	l.diffs = append(l.diffs, compareAnswer(l.r.ClientGot[0], got)...)
	l.waitForAll()
}

// twoHosts starts another host on the same StatusDir, the place of the storage account; the second
// of them to start never gets the lock.
func (l *stage) twoHosts(first bool) {
	dir := l.t.TempDir()
	l.host.Stop()
	l.clearEvents()
	l.clearLog()
	other := newRig(l.t, l.r.HostJSON, l.r.FunctionJSON)
	other.write(script{Speed: l.cfg.Speed, Answered: l.sc.Answered})
	cfg := other.config()
	cfg.Speed, cfg.StatusDir = l.cfg.Speed, dir
	l.cfg.StatusDir = dir
	if first {
		l.start(l.cfg)
		poll.Until(l.t, "two ticks", func() bool { return len(requests(l.events(), false)) >= 2 })
		l.host.Stop()
		l.most = len(l.r.Received)
		return
	}
	other.start(cfg)
	poll.Until(l.t, "a tick", func() bool { return len(requests(other.events(), false)) >= 1 })
	l.start(l.cfg)
	poll.Until(l.t, "the handler", func() bool { return len(requests(l.events(), true)) >= 1 })
	before := len(requests(other.events(), false))
	poll.Until(l.t, "another tick",
		func() bool { return len(requests(other.events(), false)) >= before+2 })
}

// signalHost runs the host as a process of its own and sends it a signal.
func (l *stage) signalHost(name string) {
	l.host.Stop()
	l.clearEvents()
	l.clearLog()
	p := startHostProcess(l)
	poll.Until(l.t, "the handler",
		func() bool { return slices.ContainsFunc(l.events(), func(e event) bool { return e.Ev == "answered" }) })
	time.Sleep(50 * time.Millisecond)
	handler := l.events()[0].Pid
	began := time.Now()
	p.signal(l.t, name)
	code := p.wait(l.t)
	if took := time.Since(began); took > 3*time.Second {
		l.differ("the host ended after %s", took)
	}
	want, lives := 0, false
	if name == "KILL" {
		want, lives = -1, true
	}
	if code != want {
		l.differ("exit code: want %d, got %d", want, code)
	}
	time.Sleep(100 * time.Millisecond)
	if isAlive(handler) != lives {
		l.differ("the handler lives: want %v", lives)
	}
	if lives {
		killProcess(handler)
	}
	if slices.ContainsFunc(l.events(), func(e event) bool { return e.Ev == "caught" }) {
		l.differ("the handler got a signal")
	}
	if bytes.Contains(p.stderr.Bytes(), []byte("panic")) {
		l.differ("the host said: %s", p.stderr.String())
	}
}
