package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

// TestDocsNameEveryFaultAndCall holds docs/sandbox.md to the code.
func TestDocsNameEveryFaultAndCall(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "sandbox.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, name := range identity.FaultNames() {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the fault %s of identity is not in docs/sandbox.md", name)
		}
	}
	for _, name := range gateway.FaultNames() {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the fault %s of gateway is not in docs/sandbox.md", name)
		}
	}
	for _, name := range host.FaultNames() {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the fault %s of host is not in docs/sandbox.md", name)
		}
	}
	for _, id := range []string{identity.TenantID, identity.APIClientID, identity.SystemClientID, identity.ReaderClientID, identity.WriterClientID,
		identity.StrangerClientID, identity.DetachedClientID, identity.AppClientID} {
		if !strings.Contains(text, id) {
			t.Errorf("the id %s is not in docs/sandbox.md", id)
		}
	}
	// Every documented call is served: it may refuse what it is sent, but it knows the address.
	_, flags := stage(t)
	console, _, _ := up(t, flags)
	calls := regexp.MustCompile("(?m)^\\| `(GET|POST|DELETE) (/[^`?]*)").FindAllStringSubmatch(text, -1)
	if len(calls) < 20 {
		t.Fatalf("docs/sandbox.md lists %d calls", len(calls))
	}
	fill := strings.NewReplacer("{stand-in}", "identity", "host/keys/{key}", "host/keys/function", "{key}", "secondary", "{state}", "active", "functions/{name}", "functions/relay", "{name}", "sandbox")
	for _, call := range calls {
		method, path := call[1], fill.Replace(call[2])
		if path == "/events" || strings.Contains(path, "{id}") || path == "/host/restart" {
			continue
		}
		status, body := send(t, method, console+path, "{}")
		if status == 404 || status == 405 || strings.HasPrefix(body, "<!") {
			t.Errorf("%s %s: status %d: %s", method, path, status, body)
		}
	}
}
