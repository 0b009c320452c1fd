package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

// newManagement is a API API over an identity stand-in, with a recorded way to fire.
func newManagement(t *testing.T) (*API, *httptest.Server, *[]string) {
	t.Helper()
	var fired []string
	tenant := identity.New(identity.Config{})
	m := &API{
		Board: &Board{}, Identity: tenant, tick: 5 * time.Millisecond, StandIns: []StandIn{IdentityStandIn(tenant)},
		Functions: []Function{{Name: "poll", Trigger: "timer"}},
		Actions:   []Action{{ID: "forget", Label: "Forget", Path: "/forget", Do: func() error { tenant.Forget(); return nil }}},
		Fire: func(_ context.Context, name string, f host.Firing) (Fired, error) {
			if name != "poll" {
				return Fired{}, fmt.Errorf("firing %s: %w", name, ErrNoFunction)
			}
			text := ""
			if input := f.Event().Input; input != nil {
				text = *input
			}
			fired = append(fired, name+" "+text)
			return Fired{Status: 202}, nil
		},
	}
	server := httptest.NewServer(m.Handler())
	t.Cleanup(server.Close)
	return m, server, &fired
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
	text := new(strings.Builder)
	bufio.NewReader(res.Body).WriteTo(text)
	return res.StatusCode, text.String()
}

func TestManagementAPI(t *testing.T) {
	m, server, fired := newManagement(t)
	m.Board.change("one", func(i *Invocation) { i.Function, i.Outcome = "poll", "succeeded" })
	m.Board.change("two", func(i *Invocation) { i.Function, i.Outcome = "relay", "failed" })
	steps := []struct {
		name, method, path, body string
		status                   int
		part                     string
	}{
		{"the list is newest first", "GET", "/invocations", "", 200, `[{"id":"two"`},
		{"one invocation", "GET", "/invocations/one", "", 200, `"function":"poll"`},
		{"one that is not kept", "GET", "/invocations/none", "", 404, "none"},
		{"faults of each stand-in", "GET", "/faults", "", 200, `"name":"identity"`},
		{"a fault is switched on", "POST", "/faults/identity", `{"name":"latency","delay_ms":5}`, 204, ""},
		{"it shows", "GET", "/overview", "", 200, `"on":[{"name":"latency","delay_ms":5}]`},
		{"a misspelt one is refused", "POST", "/faults/identity", `{"name":"latensy"}`, 400, "want one of"},
		{"an unknown key is refused", "POST", "/faults/identity", `{"name":"hang","x":1}`, 400, "unknown field"},
		{"an unknown stand-in", "POST", "/faults/printer", `{}`, 404, "printer"},
		{"it is switched off", "DELETE", "/faults/identity?name=latency", "", 204, ""},
		{"it is gone", "GET", "/overview", "", 200, `"on":[]`},
		{"a timer is fired", "POST", "/functions/poll", "", 200, `"status":202`},
		{"a timer is fired with text", "POST", "/functions/poll", `{"input":"hello"}`, 200, `"status":202`},
		{"an event's JSON stays as it is", "POST", "/functions/poll", `{"input":{"a": 1}}`, 200, `"status":202`},
		{"an unknown function", "POST", "/functions/nope", "", 404, "no such function"},
		{"a body that is no object", "POST", "/functions/poll", `[]`, 400, "want a JSON object"},
		{"an Action", "POST", "/forget", "", 204, ""},
		{"identity's own API", "GET", "/identity/people", "", 200, `"name":"stranger"`},
		{"the page", "GET", "/", "", 200, "<title>Sandbox console</title>"},
		{"everything is cleared", "POST", "/reset", "", 204, ""},
		{"nothing is left", "GET", "/invocations", "", 200, "[]"},
	}
	for _, step := range steps {
		status, body := send(t, step.method, server.URL+step.path, step.body)
		if status != step.status || !strings.Contains(body, step.part) {
			t.Errorf("%s: status %d, body %s", step.name, status, body)
		}
	}
	want := "poll |poll hello|poll {\"a\": 1}"
	if got := strings.Join(*fired, "|"); got != want {
		t.Errorf("fired %q, want %q", got, want)
	}
}

func TestManagementRefusesOtherOriginsAndHosts(t *testing.T) {
	_, server, fired := newManagement(t)
	for name, change := range map[string]func(*http.Request){
		"another page":         func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
		"a name that rebinds":  func(r *http.Request) { r.Host = "evil.example" },
		"a page on other port": func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") },
	} {
		for _, path := range []string{"/functions/poll", "/reset", "/faults/identity"} {
			req, _ := http.NewRequest("POST", server.URL+path, strings.NewReader(`{}`))
			change(req)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 403 {
				t.Errorf("%s: POST %s: status %d, want 403", name, path, res.StatusCode)
			}
		}
	}
	if len(*fired) != 0 {
		t.Errorf("fired %v", *fired)
	}
}

func TestEventsTellOfInvocationsAndFaults(t *testing.T) {
	m, server, _ := newManagement(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", server.URL+"/events", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	next := func() (event, data string) {
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = name
			}
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return event, text
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return "", ""
	}
	lines.Scan() // the stream has begun, so the store has a listener
	m.Board.change("one", func(i *Invocation) { i.Function = "poll" })
	event, data := next()
	var inv Invocation
	if err := json.Unmarshal([]byte(data), &inv); err != nil || event != "invocation" || inv.ID != "one" || inv.Outcome != "running" {
		t.Errorf("event %q: %s: %v", event, data, err)
	}
	if err := m.Identity.SetFault(identity.Fault{Name: identity.Hang}); err != nil {
		t.Fatal(err)
	}
	if event, _ := next(); event != "state" {
		t.Errorf("event %q, want state", event)
	}
}

func TestStoreForgetsTheOldest(t *testing.T) {
	s := &Board{}
	for i := range keptInvocations + 5 {
		s.change(fmt.Sprint(i), func(*Invocation) {})
	}
	all := s.All()
	if len(all) != keptInvocations || all[0].ID != fmt.Sprint(keptInvocations+4) {
		t.Errorf("%d kept, newest %s", len(all), all[0].ID)
	}
	if _, ok := s.Get("0"); ok {
		t.Error("the oldest is kept")
	}
}
