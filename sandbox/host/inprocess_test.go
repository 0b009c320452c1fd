package host

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/internal/poll"
	"apimrelay/internal/secret"
)

// inProcess starts a host whose handler is h, in this process on the port that host.json fixes; the
// process that the host starts does nothing.
func inProcess(t *testing.T, flags, functions string, change func(*Config), h http.Handler) *rig {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	r := newRig(t, hostJSONOf(fmt.Sprintf(`,"port":%d%s`, ln.Addr().(*net.TCPAddr).Port, flags)),
		json.RawMessage(functions))
	r.write(script{NeverListen: true})
	cfg := r.config()
	if change != nil {
		change(&cfg)
	}
	r.start(cfg)
	return r
}

func TestAProxiedCallerWhoHangsUpEndsTheExchange(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	r := inProcess(t, `,"enableProxyingHttpRequest":true`, helloFunction, nil,
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/" {
				return
			}
			close(began)
			<-req.Context().Done()
			close(ended)
		}))
	conn, err := net.Dial("tcp", r.host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /api/hello HTTP/1.1\r\nHost: x\r\n\r\n")
	<-began
	_ = conn.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the handler was not told")
	}
}

func TestAProxiedAnswerMayComeBeforeTheUploadIsOver(t *testing.T) {
	r := inProcess(t, `,"enableProxyingHttpRequest":true`, helloFunction, nil,
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path != "/" {
				_ = http.NewResponseController(w).EnableFullDuplex()
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				_, _ = io.WriteString(w, "too much")
			}
		}))
	conn, err := net.Dial("tcp", r.host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn,
		"POST /api/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome")
	got := clientGot{framing: "none"}
	got.read(bufio.NewReader(conn), "POST")
	if got.statusLine != "HTTP/1.1 413 Request Entity Too Large" || string(got.body) != "too much" {
		t.Errorf("got %q, %q, %v, %v", got.statusLine, got.body, got.headers, got.err)
	}
}

func TestAProxiedUpgradeBecomesATunnel(t *testing.T) {
	r := inProcess(t, `,"enableProxyingHttpRequest":true`, helloFunction, nil,
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Upgrade") != "echo" {
				return
			}
			c, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c,
				"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, _ := rw.ReadString('\n')
			_, _ = io.WriteString(c, "echo "+line)
		}))
	conn, err := net.Dial("tcp", r.host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn,
		"GET /api/hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(conn)
	head, err := http.ReadResponse(br, nil)
	if err != nil || head.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(head, err)
	}
	_, _ = io.WriteString(conn, "hi\n")
	if line, err := br.ReadString('\n'); line != "echo hi\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestEventsHaveTheShapesOfTheirTriggers(t *testing.T) {
	const functions = `{
		"bus":  {"bindings":[{"type":"serviceBusTrigger","direction":"in","name":"m","queueName":"q","connection":"c"}]},
		"busm": {"bindings":[{"type":"serviceBusTrigger","direction":"in","name":"m","queueName":"q","connection":"c","cardinality":"many"}]},
		"hubs": {"bindings":[{"type":"eventHubTrigger","direction":"in","name":"e","eventHubName":"h","connection":"c"}]},
		"hub1": {"bindings":[{"type":"eventHubTrigger","direction":"in","name":"e","eventHubName":"h","connection":"c","cardinality":"one"}]},
		"grid": {"bindings":[{"type":"eventGridTrigger","direction":"in","name":"e"}]},
		"docs": {"bindings":[{"type":"cosmosDBTrigger","direction":"in","name":"d"}]},
		"blob": {"bindings":[{"type":"blobTrigger","direction":"in","name":"b","path":"in/{name}.{ext}","connection":"c"}]},
		"bin":  {"bindings":[{"type":"blobTrigger","direction":"in","name":"b","path":"in/{name}","dataType":"binary","connection":"c"}]},
		"odd":  {"bindings":[{"type":"mqttTrigger","direction":"in","name":"x"}]}
	}`
	bodies := make(chan string, 1)
	r := inProcess(t, "", functions, nil,
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{}")
			if req.URL.Path != "/" {
				bodies <- string(body)
			}
		}))
	input := func(s string) Event { return Event{Input: &s} }
	for _, tc := range []struct {
		function string
		event    Event
		data     string
		metadata map[string]string // rendered values that must be there
	}{
		{"bus", input(`{"a":1,"MessageId":"mine"}`),
			`{"m":"\"{\\\"a\\\":1,\\\"MessageId\\\":\\\"mine\\\"}\""}`,
			map[string]string{"DeliveryCount": `"1"`, "SequenceNumber": `"1"`,
				"MessageId": `"\"mine\""`, "a": `"\"1\""`,
				"ApplicationProperties": "{}"}},
		{"busm", Event{Many: []string{"a", "b"}}, `{"m":"[\"a\",\"b\"]"}`,
			map[string]string{"SequenceNumberArray": `"[1,2]"`, "DeliveryCountArray": `"[1,1]"`}},
		{"hubs", Event{Many: []string{`{"a":1}`, "x"}}, `{"e":"[\"{\\\"a\\\":1}\",\"x\"]"}`,
			map[string]string{"SequenceNumberArray": `"[0,1]"`, "PropertiesArray": `"[{},{}]"`}},
		{"hub1", input("one"), `{"e":"\"one\""}`, map[string]string{"SequenceNumber": `"0"`,
			"Properties": "{}"}},
		{"grid", input(`{"id":"1","data":{"k":"v"}}`), `{"e":{"id":"1","data":{"k":"v"}}}`,
			map[string]string{"data": `{"k":"v"}`}},
		{"docs", Event{Many: []string{`{"id":"1"}`}}, `{"d":"[{\"id\":\"1\"}]"}`, nil},
		{"blob", Event{Input: ptr("text"), Metadata: map[string]string{"name": "a", "ext": "txt"}},
			`{"b":"\"text\""}`,
			map[string]string{"name": `"\"a\""`, "ext": `"\"txt\""`,
				"Uri": `"\"https://sandbox.blob.core.windows.net/in/a.txt\""`}},
		{"bin", input("\xff\x00"), `{"b":"/wA="}`, nil},
		{"odd", input("hi"), `{"x":"\"hi\""}`, nil},
	} {
		t.Run(tc.function, func(t *testing.T) {
			fired, err := r.host.Fire(tc.function, tc.event)
			if err != nil {
				t.Fatal(err)
			}
			if err := fired.Err(); err != nil {
				t.Fatal(err)
			}
			var body struct {
				Data     json.RawMessage
				Metadata map[string]json.RawMessage
			}
			if err := json.Unmarshal([]byte(<-bodies), &body); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.data, string(body.Data)); d != "" {
				t.Error(d)
			}
			for name, want := range tc.metadata {
				if got := string(body.Metadata[name]); got != want {
					t.Errorf("Metadata.%s: want %s, got %s", name, want, got)
				}
			}
			if body.Metadata["sys"] == nil {
				t.Error("no sys")
			}
		})
	}
	if _, err := r.host.Fire("nobody", Event{}); err == nil {
		t.Error("a function that is not there was fired")
	}
	if got := len(r.host.History()); got != 9 {
		t.Errorf("history holds %d invocations", got)
	}
}

func ptr(s string) *string { return &s }

func TestOneCallFailsAtItsTimeAndTakesTheHandlerAlong(t *testing.T) {
	g := newRig(t, hostJSONOf(""), json.RawMessage(rulesApp))
	g.write(script{Speed: replaySpeed,
		Answered: answer{Raw: "HTTP/1.1 200 R\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"}})
	cfg := g.config()
	cfg.Speed = replaySpeed
	g.start(cfg)
	got := ask(g.host.Addr(), askText("GET /api/hello"), 10*time.Second)
	if got.statusLine != "HTTP/1.1 500 Internal Server Error" {
		t.Errorf("got %q, %v", got.statusLine, got.err)
	}
	poll.Until(t, "the next handler", func() bool { return len(requests(g.events(), true)) == 3 })
	h := g.host.History()
	if len(h) != 1 || h[0].Status != Failed || !strings.Contains(h[0].Error,
		"Timeout value of 00:00:10 was exceeded") || h[0].HTTP != 500 {
		t.Errorf("history: %+v", h)
	}
}

func TestAnExitWithZeroIsNoticedByLaterHosts(t *testing.T) {
	zero := 0
	g := newRig(t, hostJSONOf(""), json.RawMessage(rulesApp))
	a := wrappedAnswer(`{"Outputs":{"res":{"body":"ok"}}}`)
	a.ExitAfter = &zero
	g.write(script{Speed: replaySpeed, Answered: a})
	cfg := g.config()
	cfg.Speed, cfg.Switches.RestartOnExitZero = replaySpeed, true
	g.start(cfg)
	for i := range 4 { // more than three: it is not counted
		got := ask(g.host.Addr(), askText("GET /api/hello"), 10*time.Second)
		if string(got.body) != "ok" {
			t.Fatalf("call %d: %q, %v", i, got.statusLine, got.err)
		}
		poll.Until(t, "the next handler", func() bool {
			return len(kindsOf(g.events(), "start")) == i+2 &&
				len(requests(g.events(), true)) == 2*i+3
		})
	}
}

func kindsOf(events []event, kind string) []event {
	var out []event
	for _, e := range events {
		if e.Ev == kind {
			out = append(out, e)
		}
	}
	return out
}

func TestAFileThatCannotBeRunIsNoHandler(t *testing.T) {
	for name, mode := range map[string]os.FileMode{"not executable": 0o644,
		"not a program": 0o755} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, json.RawMessage(
				`{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"text"}}}`),
				json.RawMessage(helloFunction))
			if err := os.WriteFile(filepath.Join(g.root, "text"), []byte("\x00\x01text"),
				mode); err != nil {
				t.Fatal(err)
			}
			cfg := g.config()
			cfg.Durations.ReadyWait = 50 * time.Millisecond
			g.start(cfg)
			if got := ask(g.host.Addr(), askText("GET /api/hello"),
				5*time.Second); got.statusLine != "HTTP/1.1 500 Internal Server Error" {
				t.Errorf("got %q, %v", got.statusLine, got.err)
			}
			poll.Until(t, "the end of the host", func() bool { return g.host.stopping() })
			found := false
			for _, e := range g.entries() {
				found = found || e.Level == Error && strings.HasPrefix(e.Text,
					"Failed to start Worker Channel. Process fileName: "+g.root+"/text")
			}
			if !found {
				t.Errorf("log: %v", g.entries())
			}
		})
	}
}

func TestFunctionsGoByNameAndMethod(t *testing.T) {
	const app = `{
		"proxy": {"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","route":"{*path}"},{"type":"http","direction":"out","name":"res"}]},
		"health":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","methods":["get"]},{"type":"http","direction":"out","name":"res"}]},
		"zed":   {"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","route":"zed/{x}"},{"type":"http","direction":"out","name":"res"}]}
	}`
	r := inProcess(t, "", app, nil, http.HandlerFunc(func(w http.ResponseWriter,
		req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"Outputs":{"res":{"body":%q}}}`, req.URL.Path)
	}))
	for line, want := range map[string]string{"GET /api/health": "/health",
		"POST /api/health": "/proxy", "GET /api/zed/1": "/proxy", "GET /api": "/proxy",
		"GET /api/": "/proxy"} {
		if got := ask(r.host.Addr(), askText(line), 5*time.Second); string(got.body) != want {
			t.Errorf("%s: want %s, got %q, %q", line, want, got.body, got.statusLine)
		}
	}
}

func TestKeysNeverShow(t *testing.T) {
	const app = `{"fkey":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"function"},{"type":"http","direction":"out","name":"res"}]}}`
	r := inProcess(t, "", app, nil, http.HandlerFunc(func(w http.ResponseWriter,
		req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}))
	for _, line := range []string{"GET /api/fkey?a=1&code=" + testFunctionKey,
		"GET /api/fkey?a=1&CODE=" + testMasterKey} {
		if got := ask(r.host.Addr(), askText(line),
			5*time.Second); got.statusLine != "HTTP/1.1 204 No Content" &&
			!strings.HasPrefix(got.statusLine, "HTTP/1.1 200") {
			t.Errorf("got %q", got.statusLine)
		}
	}
	shown := fmt.Sprintf("%+v %v %+v", r.host.History(), r.entries(), r.host.cfg)
	for _, key := range []string{testFunctionKey, testHostKey, testMasterKey} {
		if strings.Contains(shown, key) {
			t.Errorf("a key shows: %s", shown)
		}
	}
}

// TestTheAdminAPIMakesOneAttempt: a retry policy is the trigger's executor's, which a call through
// the admin API goes past (Azure/azure-webjobs-sdk src/Microsoft.Azure.WebJobs.Host/JobHost.cs,
// CallAsyncCore).
func TestTheAdminAPIMakesOneAttempt(t *testing.T) {
	bodies := make(chan string, 8)
	r := inProcess(t, "", `{"again":{"bindings":[{"type":"timerTrigger","direction":"in","name":"timer","schedule":"0 0 0 1 1 *"}],
		"retry":{"strategy":"fixedDelay","maxRetryCount":2,"delayInterval":"00:00:00.010"}}}`, func(cfg *Config) { cfg.OpenAuth = true },
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/again" {
				body, _ := io.ReadAll(req.Body)
				bodies <- string(body)
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
	got := ask(r.host.Addr(),
		askText("POST /admin/functions/again\nContent-Type: application/json\n\n{}"), 5*time.Second)
	if got.statusLine != "HTTP/1.1 202 Accepted" {
		t.Fatalf("got %q, %v", got.statusLine, got.err)
	}
	poll.Until(t, "the end of the run",
		func() bool { return strings.Contains(strings.Join(entryLines(r.entries()), "\n"), "(Failed,") })
	fired, err := r.host.Fire("again", Event{})
	if err != nil {
		t.Fatal(err)
	}
	if fired.Err() == nil || len(bodies) != 4 {
		t.Errorf("want one attempt by the admin API and three by the trigger, got %d in all",
			len(bodies))
	}
	for n := 0; len(bodies) > 0; n++ {
		if has := strings.Contains(<-bodies, `"RetryContext"`); has != (n > 0) {
			t.Errorf("attempt %d has a RetryContext: %v", n, has)
		}
	}
}

// TestCustomHeadersAreOnEveryAnswer: customHeaders of host.json are added where the answer has none
// of the name, whatever the way.
func TestCustomHeadersAreOnEveryAnswer(t *testing.T) {
	for _, flags := range []string{"", `,"enableForwardingHttpRequest":true`,
		`,"enableProxyingHttpRequest":true`} {
		// The flags stand inside customHandler; what follows closes it and opens the extensions.
		r := inProcess(t,
			flags+`},"extensions":{"http":{"customHeaders":{"X-Mine":"host","Vary":"host"}}`,
			helloFunction, nil,
			http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Vary", "handler")
				_, _ = io.WriteString(w,
					`{"Outputs":{"res":{"body":"x","headers":{"Vary":"handler"}}}}`)
			}))
		for path, vary := range map[string]string{"/api/hello": "handler", "/api/nothing": "host",
			"/": "host", "/admin/host/ping": "host"} {
			got := ask(r.host.Addr(), askText("GET "+path), 5*time.Second)
			if header(got.headers, "X-Mine") != "host" || header(got.headers, "Vary") != vary {
				t.Errorf("%s, %s: got %s, %v", flags, path, got.statusLine, got.headers)
			}
		}
	}
}

func TestKeysOfACaller(t *testing.T) {
	r := newRig(t, hostJSONOf(""), json.RawMessage(`{
		"key": {"bindings":[{"type":"httpTrigger","direction":"in","name":"req"},{"type":"http","direction":"out","name":"res"}]},
		"off": {"bindings":[{"type":"httpTrigger","direction":"in","name":"req"},{"type":"http","direction":"out","name":"res"}]}}`))
	r.write(script{Answered: wrappedAnswer(`{"Outputs":{"res":{"body":"ok"}}}`)})
	cfg := r.config()
	cfg.FunctionKey, cfg.MasterKey = secret.New("K"), secret.New("M")
	cfg.Environ = append(cfg.Environ, "AzureWebJobs_off_Disabled=true")
	r.start(cfg)
	for _, tc := range []struct{ name, ask, status string }{
		{"no key", "GET /api/key", "401 Unauthorized"},
		{"the query's", "GET /api/key?code=K", "200 OK"},
		{"the query's first", "GET /api/key?code=K&code=x", "200 OK"},
		{"not the query's second", "GET /api/key?code=x&CODE=K", "401 Unauthorized"},
		{"an empty header is a header", "GET /api/key?code=K\nx-functions-key: ",
			"401 Unauthorized"},
		{"the header's first line", "GET /api/key\nX-Functions-Key: K\nX-Functions-Key: x",
			"200 OK"},
		{"a key in another case", "GET /api/key?code=k", "401 Unauthorized"},
		{"disabled, without a key", "GET /api/off", "401 Unauthorized"},
		{"disabled, with a key", "GET /api/off?code=K", "404 Not Found"},
		{"disabled, with the master key", "GET /api/off?code=M", "200 OK"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ask(r.host.Addr(), askText(tc.ask),
				5*time.Second); got.statusLine != "HTTP/1.1 "+tc.status {
				t.Errorf("want %s, got %s, %v", tc.status, got.statusLine, got.err)
			}
		})
	}
}

// TestAnUploadThatBreaksOffFailsItsInvocation: the body is read while the function is bound
// (recordings A-req-over-limit, where that fails as well).
func TestAnUploadThatBreaksOffFailsItsInvocation(t *testing.T) {
	for _, flags := range []string{"", `,"enableForwardingHttpRequest":true`} {
		r := inProcess(t, flags, helloFunction, nil,
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		conn, err := net.Dial("tcp", r.host.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn,
			"POST /api/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
		_ = conn.Close()
		poll.Until(t, "the failure", func() bool {
			return strings.Contains(strings.Join(entryLines(r.entries()), "\n"),
				"Unexpected end of request content.")
		})
	}
}
