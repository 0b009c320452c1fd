package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzHostJSON wants comments between any two tokens to change nothing, faults of one line, and no panic, whatever host.json holds.
func FuzzHostJSON(f *testing.F) {
	f.Add(host("", ""))
	f.Add(host(`"functionTimeout": "00:00:07", "extensions": {"http": {"routePrefix": "a/b"}}`, `"enableProxyingHttpRequest": "True"`))
	f.Add(host(`"retry": {"strategy": "fixedDelay", "maxRetryCount": 3, "delayInterval": "00:00:05"}, "functions": ["a"]`, ""))
	f.Add("// top\n{\"version\": \"2.0\", /* in */ \"customHandler\": {\"description\": {\"defaultExecutablePath\": \"handler\",},}, }")
	f.Add(`{"version":2.0,"customHandler":[]}`)
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		read := func(text string) *App {
			if err := os.WriteFile(filepath.Join(root, "host.json"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			return Load(root, func(string) (string, bool) { return "", false })
		}
		a := read(text)
		for _, fault := range append(a.Faults, a.Warnings...) {
			if strings.ContainsAny(fault.Text, "\n\r") {
				t.Errorf("a fault of several lines: %q", fault.Text)
			}
		}
		if !json.Valid([]byte(text)) {
			return
		}
		b := read(commented(text))
		if len(a.Faults) != len(b.Faults) {
			t.Fatalf("%v without comments, %v with them", a.Faults, b.Faults)
		}
		plain := func(a *App) App {
			return App{RoutePrefix: a.RoutePrefix, Proxying: a.Proxying, Forwarding: a.Forwarding, FunctionTimeout: a.FunctionTimeout, ExtensionBundle: a.ExtensionBundle}
		}
		if diff := cmp.Diff(plain(a), plain(b), cmp.AllowUnexported(App{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

// commented puts a comment of either kind in front of each mark outside strings, but not of colons,
// where the host takes none.
func commented(text string) string {
	var b strings.Builder
	quoted, n := false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			b.WriteByte(c)
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte("{}[],", c) >= 0:
			if n++; n%2 == 0 {
				b.WriteString("/* \" , } */")
			} else {
				b.WriteString("// { \"\n")
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
