package app

import (
	"encoding/json"
	"net/url"
	"path"
	"strings"
	"testing"

	"apimrelay/internal/recording"
)

// exchanged is an exchange of the real host, as far as this package's tests read it.
type exchanged struct {
	Name         string                     `json:"name"`
	HostJSON     json.RawMessage            `json:"hostJson"`
	FunctionJSON map[string]json.RawMessage `json:"functionJson"`
	Client       recording.List[exchange]   `json:"client"`
	Received     recording.List[exchange]   `json:"received"`
	ClientGot    recording.List[answer]     `json:"clientGot"`
}

type exchange struct {
	RequestLine string `json:"requestLine"`
	Headers     [][2]string
	Body        any `json:"body"`
}

type answer struct {
	StatusLine string `json:"statusLine"`
}

func (e exchange) target() (method, path string) {
	fields := strings.Fields(e.RequestLine)
	path, _, _ = strings.Cut(fields[1], "?")
	return fields[0], path
}

func readRecordings(t *testing.T) []exchanged {
	t.Helper()
	return recording.Load[exchanged](t,
		"[AP]-route-*", "D-route-*", "E-fn-*", "E-folder-*", "E-prefix-*", "?-retfn*",
		"A-path-double-slash", "A-wrong-method-head", "D-bothout-forward", "D-noout-forward",
		"D-outside-prefix", "D-path-double-slash", "D-unknown-route", "D-wrong-method",
		"E-precedence-methods", "P-noout")
}

func (r exchanged) load(t *testing.T) *App {
	f := files{"host.json": string(r.HostJSON)}
	for name, content := range r.FunctionJSON {
		f[name+"/function.json"] = string(content)
	}
	m := map[string]string{}
	if r.Name == "E-fn-disabled-by-setting" {
		m["AzureWebJobs.off.Disabled"] = "1"
	}
	return Load(stage(t, f), settings(m))
}

// Recordings whose folder on trial is not listed in functionJson; TestFolders rebuilds it.
func folderOnly(name string) bool { return strings.HasPrefix(name, "E-folder-") }

func TestForwardedAndProxiedRequestsFindTheRecordedFunction(t *testing.T) {
	seen := 0
	for _, r := range readRecordings(t) {
		if r.Name[0] != 'D' && r.Name[0] != 'P' || len(r.Received) != 1 ||
			r.Received[0].RequestLine == "" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			a := r.load(t)
			if len(r.FunctionJSON) != 1 {
				t.Fatalf("the recording lists %d functions", len(r.FunctionJSON))
			}
			f := a.Functions[0]
			noFaults(t, a)
			method, path := r.Received[0].target()
			if wrapped := method == "POST" && path == "/"+f.Name; wrapped != f.Wrapped {
				t.Fatalf("the host sent %s, so wrapped is %t, got %t", r.Received[0].RequestLine,
					wrapped, f.Wrapped)
			}
			if f.Wrapped {
				return
			}
			m, ok := a.Match(method, path)
			if !ok || m.Function != f {
				t.Fatalf("%s %s: want %s, got none", method, path, f.Name)
			}
			for name, value := range m.Values {
				if !strings.Contains(path, value) {
					t.Errorf("value of %s is %q, which is not as it arrived in %q", name, value,
						path)
				}
			}
			if f.Route.CatchAll != "" && !strings.HasSuffix(path, m.Values[f.Route.CatchAll]) {
				t.Errorf("the remainder %q is not the end of %q", m.Values[f.Route.CatchAll], path)
			}
		})
		seen++
	}
	if seen < 15 {
		t.Errorf("only %d recordings were tried", seen)
	}
}

func TestRequestsThatTheHostKeptFromTheHandlerFitNoFunction(t *testing.T) {
	seen := 0
	for _, r := range readRecordings(t) {
		if r.Name[0] == 'E' || len(r.Received) > 0 && r.Received[0].RequestLine != "" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			a := r.load(t)
			noFaults(t, a)
			method, escaped := r.Client[0].target()
			// The host resolves dot segments, escaped ones too, before it looks for a route.
			if dots := strings.ReplaceAll(escaped, "%2e", "."); dots != escaped {
				escaped = path.Clean(dots)
			}
			if m, ok := a.Match(method, escaped); ok {
				t.Errorf("%s %s: the host answered %q itself, got %s", method, escaped,
					r.ClientGot[0].StatusLine, m.Function.Name)
			}
		})
		seen++
	}
	if seen < 8 {
		t.Errorf("only %d recordings were tried", seen)
	}
}

// invocations are the wrapped calls of a recording: function, and the caller's request as the
// envelope tells it.
type invocation struct {
	function, method, path string
	params                 map[string]*string
}

func (r exchanged) invocations(t *testing.T) []invocation {
	t.Helper()
	var all []invocation
	for _, e := range r.Received {
		body, ok := e.Body.(string)
		if !ok || !strings.HasPrefix(body, `{"Data":{"req"`) {
			continue
		}
		var envelope struct {
			Data struct {
				Req struct {
					URL    string `json:"Url"`
					Method string
					Params map[string]*string
				} `json:"req"`
			}
		}
		if err := json.Unmarshal([]byte(body), &envelope); err != nil {
			t.Fatal(err)
		}
		req := envelope.Data.Req
		_, rest, _ := strings.Cut(req.URL, "://")
		target, _, _ := strings.Cut(rest[strings.IndexByte(rest, '/'):], "?")
		_, function := e.target()
		all = append(all, invocation{strings.TrimPrefix(function, "/"), req.Method, target,
			req.Params})
	}
	return all
}

func TestWrappedInvocationsFindTheRecordedFunctionAndParameters(t *testing.T) {
	seen := 0
	for _, r := range readRecordings(t) {
		if folderOnly(r.Name) {
			continue
		}
		for _, i := range r.invocations(t) {
			seen++
			t.Run(r.Name, func(t *testing.T) {
				a := r.load(t)
				m, ok := a.Match(i.method, i.path)
				if !ok || m.Function.Name != i.function {
					t.Fatalf("%s %s: want %s, got %v", i.method, i.path, i.function, m.Function)
				}
				for name, want := range i.params {
					got, set := m.Values[name]
					decoded, err := url.PathUnescape(strings.ReplaceAll(got, "%2F", "%252F"))
					if set != (want != nil) || want != nil && (err != nil || decoded != *want) {
						t.Errorf("parameter %s: got %q (set %t), the host had %v", name, got, set,
							want)
					}
				}
			})
		}
	}
	if seen < 20 {
		t.Errorf("only %d invocations were tried", seen)
	}
}

func TestFaultsAreThoseThatTheHostFound(t *testing.T) {
	tests := []struct {
		recording string
		app       string // words of the app's fault
		function  string // the function in error
		words     string
		wins      string // the request that another function gets all the same
	}{
		{recording: "E-fn-bad-authlevel", function: "bad", words: "authLevel"},
		{recording: "E-fn-bad-route", app: "503 to everything", function: "bad", words: "{"},
		{recording: "E-fn-route-leading-slash", app: "503 to everything", function: "ls",
			words: "two slashes"},
		{recording: "E-fn-route-admin", function: "em", words: "admin or runtime"},
		{recording: "E-fn-same-route", function: "dup2", words: "dup1 already", wins: "dup1"},
	}
	all := readRecordings(t)
	for _, test := range tests {
		t.Run(test.recording, func(t *testing.T) {
			for _, r := range all {
				if r.Name != test.recording {
					continue
				}
				a := r.load(t)
				if test.app == "" && len(a.Faults) > 0 {
					t.Errorf("app: %v", a.Faults)
				} else if test.app != "" {
					oneFault(t, a.Faults, test.app, test.function)
				}
				f := function(t, a, test.function)
				oneFault(t, f.Faults, test.words)
				if test.wins != "" {
					if m, ok := a.Match("GET", "/api/same"); !ok || m.Function.Name != test.wins {
						t.Errorf("GET /api/same: got %v, want %s", m.Function, test.wins)
					}
				}
				for _, other := range a.Functions {
					if other != f && len(other.Faults) > 0 {
						t.Errorf("%s fails, too: %v", other.Name, other.Faults)
					}
				}
				return
			}
			t.Fatal("no such recording")
		})
	}
}

func TestADisabledFunctionKeepsItsRoute(t *testing.T) {
	for _, r := range readRecordings(t) {
		if r.Name == "E-fn-disabled-by-setting" {
			a := r.load(t)
			if f := function(t, a, "off"); !f.Disabled || len(f.Faults) > 0 {
				t.Errorf("off: disabled %t, faults %v", f.Disabled, f.Faults)
			}
			if m, ok := a.Match("GET", "/api/off"); !ok || m.Function.Name != "off" {
				t.Error("the master key's request finds no function")
			}
		}
		if r.Name == "E-fn-disabled" && function(t, r.load(t), "off").Disabled {
			t.Error(`"disabled": true in function.json has no effect in the host`)
		}
	}
}
