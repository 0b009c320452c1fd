package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The console draws the trace of an invocation: what the host, the handler, the gateway and the backend took, one within the other. The handler's part
// comes from the spans that it exports.
func TestTheConsoleDrawsTheTrace(t *testing.T) {
	policies, err := filepath.Abs("../deploy/policies")
	if err != nil {
		t.Fatal(err)
	}
	s := &session{dir: t.TempDir(), settings: map[string]string{}, programs: map[string]*program{}}
	t.Cleanup(func() {
		s.close()
		for _, leak := range s.leaks() {
			t.Errorf("the %s", leak)
		}
	})
	if err := stage(filepath.Join(s.dir, "app"), "relay", "poll", "health"); err != nil {
		t.Fatal(err)
	}
	sandbox, err := s.start("sandbox", "sandbox", "console", "-root", "app", "-addr", "127.0.0.1:0", "-console-addr", "127.0.0.1:0",
		"-policy", filepath.Join(policies, "api.xml"), "-write-policy", filepath.Join(policies, "operation-write.xml"))
	if err != nil {
		t.Fatal(err)
	}
	at, err := sandbox.await(regexp.MustCompile(`Console: +(\S+)`), 1)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, body string) string {
		t.Helper()
		status, text, err := send([]string{method, at[1] + path, "@" + body})
		if err != nil || status > 299 {
			t.Fatalf("%s %s: %d, %v\n%s", method, path, status, err, text)
		}
		_, answer, _ := strings.Cut(text, "\n\n")
		return answer
	}
	ask("POST", "faults/gateway", `{"name":"status","status":503,"retry_after":"0","times":1}`)
	ask("POST", "functions/relay", `{"method":"GET","path":"/api/relay/hello"}`)

	type span struct {
		Kind, Name, Note string
		Start            float64 `json:"start_ms"`
		Took             float64 `json:"duration_ms"`
	}
	type invocation struct {
		Function string
		Trace    string `json:"trace_id"`
		Spans    []span
	}
	want := "function relay, handler handler 200, request request 503, gateway gateway 503, " +
		"request request 2 200, gateway gateway, again 200, backend backend 200"
	var got string
	var last invocation
	for deadline := time.Now().Add(patience); got != want; time.Sleep(20 * time.Millisecond) {
		var all []invocation
		if err := json.Unmarshal([]byte(ask("GET", "invocations", "")), &all); err != nil {
			t.Fatal(err)
		}
		for _, inv := range all {
			if inv.Function != "relay" {
				continue
			}
			// A token is fetched when the handler starts; whether the first call still waits for it is not what is asked here.
			inv.Spans = slices.DeleteFunc(inv.Spans, func(s span) bool { return s.Kind == "token" })
			var parts []string
			for _, s := range inv.Spans {
				status, _, _ := strings.Cut(s.Note, " ")
				if s.Kind == "function" {
					status = ""
				}
				parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Kind, s.Name, status)))
			}
			got, last = strings.Join(parts, ", "), inv
		}
		if time.Now().After(deadline) {
			t.Fatalf("want %s\ngot  %s", want, got)
		}
	}
	if len(last.Trace) != 32 {
		t.Errorf("want a trace id, got %q", last.Trace)
	}
	// Each begins within the one around it. It may end later: a request's span ends with the answer's header, a gateway's record with its body.
	for inner, outer := range map[int]int{1: 0, 2: 1, 3: 2, 4: 1, 5: 4, 6: 5} {
		in, out := last.Spans[inner], last.Spans[outer]
		if in.Start < out.Start-1 || in.Start > out.Start+out.Took {
			t.Errorf("want %s to begin within %s, got %+v and %+v", in.Name, out.Name, in, out)
		}
	}
}
