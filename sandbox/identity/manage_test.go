package identity

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apimrelay/internal/poll"
)

func TestManage(t *testing.T) {
	s := New(Config{})
	steps := []struct {
		name, method, path, body string
		status                   int
		check                    func() bool
	}{
		{"a fault is set", "POST", "/faults", `{"name":"status","status":503,"retry_after":"2","times":1}`, 204, func() bool { return len(s.Faults()) == 1 }},
		{"an unknown fault is refused", "POST", "/faults", `{"name":"nope"}`, 400, func() bool { return len(s.Faults()) == 1 }},
		{"an unknown key is refused", "POST", "/faults", `{"name":"hang","tims":1}`, 400, func() bool { return len(s.Faults()) == 1 }},
		{"text is refused", "POST", "/faults", `hang`, 400, func() bool { return len(s.Faults()) == 1 }},
		{"a fault is cleared", "DELETE", "/faults?name=status", "", 204, func() bool { return len(s.Faults()) == 0 }},
		{"a role is granted", "POST", "/roles", `{"client_id":"` + StrangerClientID + `","resource":"` + APIURI + `","grant":["Api.Read"]}`, 204,
			func() bool { return len(s.People()[3].Roles["api"]) == 1 }},
		{"a role is taken", "POST", "/roles", `{"client_id":"` + StrangerClientID + `","resource":"` + APIURI + `","revoke":["Api.Read"]}`, 204,
			func() bool { return len(s.People()[3].Roles["api"]) == 0 }},
		{"nobody has that id", "POST", "/roles", `{"client_id":"x","resource":"` + APIURI + `","grant":["Api.Read"]}`, 400, nil},
		{"an identity is attached", "POST", "/attach", `{"client_id":"` + DetachedClientID + `","attached":true}`, 204, func() bool { return !s.People()[4].Unattached }},
		{"the developer signs out", "POST", "/developer", `{"signed_in":false}`, 204, func() bool { return s.People()[6].Unattached }},
		{"keys are rotated", "POST", "/keys/rotate?keep=1", "", 200, func() bool { return len(s.keys) == 2 }},
		{"everything is reset", "POST", "/reset", "", 204, func() bool { return len(s.History(0)) == 0 }},
	}
	w := httptest.NewRecorder()
	if s.Manage().ServeHTTP(w, httptest.NewRequest("GET", "/faults", nil)); !strings.Contains(w.Body.String(), `"on":[]`) {
		t.Errorf("no fault is on, and yet: %s", w.Body)
	}
	for _, step := range steps {
		w := httptest.NewRecorder()
		s.Manage().ServeHTTP(w, httptest.NewRequest(step.method, step.path, strings.NewReader(step.body)))
		if w.Code != step.status || step.check != nil && !step.check() {
			t.Errorf("%s: status %d, body %s", step.name, w.Code, w.Body)
		}
	}
}

// syncBuffer is written by Run and read by the test.
type syncBuffer struct {
	clock
	b bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func TestRunServesUntilTold(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "tenant.json")
	os.WriteFile(config, []byte(`{"Resources":[{"Name":"orders","ClientID":"`+APIClientID+`","URIs":["api://orders"]}]}`), 0o644)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var stdout, stderr syncBuffer
	exit := make(chan int, 1)
	go func() {
		exit <- Run(ctx, []string{"-addr", ":0", "-tls-addr", ":0", "-manage", ":0", "-header", "h", "-config", config, "-ca", filepath.Join(dir, "ca.pem"), "-az", dir}, &stdout, &stderr)
	}()
	poll.Until(t, "the lines of the start", func() bool { return strings.Contains(stdout.String(), "# az and azd") })
	endpoint, _, ok := strings.Cut(strings.TrimPrefix(stdout.String(), "IDENTITY_ENDPOINT="), "\n")
	if !ok {
		t.Fatalf("stdout %s, stderr %s", stdout.String(), stderr.String())
	}
	req, _ := http.NewRequest("GET", endpoint+"?"+query("resource", "api://orders"), nil)
	req.Header.Set("X-IDENTITY-HEADER", "h")
	if status, body := do(t, req); status != 200 || body["resource"] != "api://orders" {
		t.Errorf("status %d: %v", status, body)
	}
	if pem, _ := os.ReadFile(filepath.Join(dir, "ca.pem")); !bytes.Contains(pem, []byte("BEGIN CERTIFICATE")) {
		t.Error("no certificate was written")
	}
	cancel()
	if status := <-exit; status != 0 {
		t.Errorf("exit status %d: %s", status, stderr.String())
	}
}

func TestRunRefusesBadInput(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	os.WriteFile(bad, []byte(`{"Resurces":[]}`), 0o644)
	for name, args := range map[string][]string{
		"an address that is not loopback": {"-addr", "0.0.0.0:0"}, "no file": {"-config", filepath.Join(dir, "none.json")},
		"a misspelt key": {"-config", bad}, "a stray word": {"serve"}, "an unknown flag": {"-nope"}, "half a pair": {"-certificate", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := Run(t.Context(), args, &stdout, &stderr); status == 0 || stderr.Len() == 0 {
				t.Errorf("exit status %d, stderr %q", status, &stderr)
			}
		})
	}
}
