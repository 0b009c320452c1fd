package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goodHost is a host.json without a fault.
const goodHost = `{"version": "2.0", "extensions": {"http": {"routePrefix": "api"}},
	"extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
	"customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableForwardingHttpRequest": true, "enableProxyingHttpRequest": true}}`

// files are a script root: contents by path.
type files map[string]string

func stage(t *testing.T, f files) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range f {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// settings is a lookup in a map as the host's configuration is: it ignores case, and has a colon where
// the environment has two underscores.
func settings(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for k, v := range m {
			if strings.EqualFold(strings.ReplaceAll(k, "__", ":"), name) {
				return v, true
			}
		}
		return "", false
	}
}

func load(t *testing.T, f files, m map[string]string) *App {
	t.Helper()
	if _, ok := f["host.json"]; !ok {
		f["host.json"] = goodHost
	}
	return Load(stage(t, f), settings(m))
}

// httpFunction is a function.json with an HTTP trigger and output; properties are further ones of the trigger.
func httpFunction(properties string) string {
	if properties != "" {
		properties = ", " + properties
	}
	return `{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req"` + properties + `},
		{"type": "http", "direction": "out", "name": "res"}]}`
}

func triggered(trigger string) string { return `{"bindings": [{"direction": "in", ` + trigger + `}]}` }

func function(t *testing.T, a *App, name string) *Function {
	t.Helper()
	for _, f := range a.Functions {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no function %s among %v", name, a.Functions)
	return nil
}

// oneFault fails the test unless faults is a single one that holds all the words.
func oneFault(t *testing.T, faults []Fault, words ...string) {
	t.Helper()
	if len(faults) != 1 {
		t.Fatalf("want one fault with %q, got %d: %v", words, len(faults), faults)
	}
	text := faults[0].String()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("fault %q lacks %q", text, w)
		}
	}
	if strings.ContainsAny(text, "\r\n") {
		t.Errorf("fault is not one line: %q", text)
	}
}

func noFaults(t *testing.T, a *App) {
	t.Helper()
	for _, f := range a.Faults {
		t.Errorf("app: %s", f)
	}
	for _, fn := range a.Functions {
		for _, f := range fn.Faults {
			t.Error(f)
		}
	}
}

func TestTheShippedAppHasNoFault(t *testing.T) {
	root := t.TempDir()
	repository := filepath.Join("..", "..", "..")
	if err := os.CopyFS(root, os.DirFS(filepath.Join(repository, "functions"))); err != nil {
		t.Fatal(err)
	}
	host, err := os.ReadFile(filepath.Join(repository, "host.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "host.json"), host, 0o644); err != nil {
		t.Fatal(err)
	}
	a := Load(root, settings(map[string]string{"PollSchedule": "0 */5 * * * *"}))
	noFaults(t, a)
	if len(a.Warnings) > 0 || len(a.Overlaps) > 0 {
		t.Errorf("warnings %v, overlaps %v", a.Warnings, a.Overlaps)
	}
	var got []string
	for _, f := range a.Functions {
		got = append(got, f.Name)
		if len(f.Warnings) > 0 {
			t.Errorf("%s: %v", f.Name, f.Warnings)
		}
		if wantWrapped := !f.HTTP(); f.Wrapped != wantWrapped {
			t.Errorf("%s: wrapped %t", f.Name, f.Wrapped)
		}
	}
	if want := "doctor health poll relay"; strings.Join(got, " ") != want {
		t.Errorf("functions %v, want %s", got, want)
	}
	if !a.Proxying || !a.Forwarding || !a.ExtensionBundle || a.RoutePrefix != "api" {
		t.Errorf("app %+v", a)
	}
	for path, want := range map[string]string{"/api/relay/a/b": "relay", "/api/relay": "relay", "/api/doctor": "doctor", "/api/health": "health"} {
		if m, ok := a.Match("GET", path); !ok || m.Function.Name != want {
			t.Errorf("GET %s: got %v, want %s", path, m.Function, want)
		}
	}
	if _, ok := a.Match("POST", "/api/relay/a"); ok {
		t.Error("POST /api/relay/a fits, although relay takes GET only")
	}
	if level := function(t, a, "doctor").Trigger.property("authLevel"); level != "admin" {
		t.Errorf("doctor: authLevel %v", level)
	}
}
