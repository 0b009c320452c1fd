package gateway_test

import (
	"bufio"
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apimrelay/sandbox/gateway"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// running is a Run in the background.
type running struct {
	url, key string
	lines    chan string // of stdout
	stop     func() int
}

// line returns the next line of stdout.
func (r running) line(t *testing.T) string {
	t.Helper()
	select {
	case line := <-r.lines:
		return line
	case <-time.After(10 * time.Second):
		t.Fatal("no line on stdout")
		return ""
	}
}

func run(t *testing.T, manage func(*gateway.Gateway) http.Handler, args ...string) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	out, in := io.Pipe()
	var stderr strings.Builder
	status := make(chan int, 1)
	r := running{lines: make(chan string, 100), stop: func() int { cancel(); return <-status }}
	go func() {
		status <- gateway.RunManaged(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), in, &stderr, manage)
		in.Close()
	}()
	go func() {
		defer close(r.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.lines <- lines.Text()
		}
	}()
	for {
		words := strings.Fields(r.line(t))
		if len(words) == 0 {
			t.Fatalf("it ended with %d: %s", <-status, stderr.String())
		}
		switch words[0] {
		case "gateway":
			r.url = strings.TrimRight(words[1], "/")
		case "primary":
			r.key = words[2]
		case "backend":
			return r
		}
	}
}

func TestRunServesTheShippedPolicy(t *testing.T) {
	i := newIssuer(t, true)
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})))
	values := write(t, "values.json", `{"openid-config-url": "`+i.metadata()+`", "client-id": "`+clientID+`", "app-id-uri": "api://x"}`)
	policies := "../../deploy/policies/"
	r := run(t, nil, "-policy", policies+"api.xml", "-named-values", values, "-ca", ca, "-path", "orders",
		"-operation", "GET /*", "-operation", "POST /*="+policies+"operation-write.xml")
	if len(r.key) != 32 || !strings.HasSuffix(r.url, "/orders") {
		t.Fatalf("want a generated key and the API's path, got %q %q", r.key, r.url)
	}
	token := i.token(t, time.Now(), nil)
	if got := send(t, "GET", r.url+"/1", credentials(r.key, token)); got.status != 200 {
		t.Errorf("GET: got %d %s", got.status, got.body)
	}
	if line := r.line(t); line != "GET /orders/1 -> 200 by backend, key primary of sandbox" {
		t.Errorf("line: got %s", line)
	}
	if got := send(t, "POST", r.url+"/1", credentials(r.key, token)); got.status != 401 {
		t.Errorf("POST without Api.Write: got %d", got.status)
	}
	if line := r.line(t); !strings.Contains(line, "POST /orders/1 -> 401 by policy") || !strings.Contains(line, "claim roles: the caller has other roles") {
		t.Errorf("line: got %s", line)
	}
	if status := r.stop(); status != 0 {
		t.Errorf("stopped: want status 0, got %d", status)
	}
}

func TestRunWithItsDefaultsAndAManagementAPI(t *testing.T) {
	manage := func(g *gateway.Gateway) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { g.Reset(); w.WriteHeader(http.StatusNoContent) })
	}
	r := run(t, manage, "-key", "given", "-json", "-manage", "127.0.0.1:0")
	if r.key != "as" {
		t.Errorf("a key that was given is not repeated, got %q", r.key)
	}
	address, ok := strings.CutPrefix(r.line(t), "management ")
	if !ok || !strings.HasPrefix(address, "http://127.0.0.1:") {
		t.Fatalf("address: got %s", address)
	}
	if got := send(t, "POST", address, nil); got.status != 204 {
		t.Errorf("management: got %d", got.status)
	}
	if got := send(t, "GET", r.url+"/x", credentials("given", "")); got.status != 200 {
		t.Errorf("got %d", got.status)
	}
	if line := r.line(t); !strings.HasPrefix(line, `{"id":"`) || !strings.Contains(line, `"key":"primary"`) {
		t.Errorf("-json: got %s", line)
	}
	r.stop()
}

func TestRunRefuses(t *testing.T) {
	shipped := "../../deploy/policies/api.xml"
	rows := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"a public address", []string{"-addr", "0.0.0.0:0"}, 1, "loopback only"},
		{"a host by name", []string{"-addr", "gateway.example:0"}, 1, "loopback only"},
		{"an unknown flag", []string{"-polcy", "x"}, 2, "flag provided but not defined"},
		{"an argument", []string{"x"}, 2, `unexpected argument "x"`},
		{"-manage where there is no management", []string{"-manage", "127.0.0.1:0"}, 2, "not defined"},
		{"a policy that is not there", []string{"-policy", "/nowhere.xml"}, 1, "reading a policy: open /nowhere.xml"},
		{"a policy with a fault", []string{"-policy", write(t, "p.xml", "<policies>\n<inbound>\n<cors/></inbound></policies>")}, 1, "p.xml:3: statement <cors> is not interpreted here"},
		{"named values that are missing", []string{"-policy", shipped}, 1, `named value "client-id" is not defined`},
		{"named values that are no object", []string{"-named-values", write(t, "v.json", "[]")}, 1, "v.json: line 1: want an object"},
		{"one that is a list", []string{"-named-values", write(t, "v.json", "{\n\"a\": []}")}, 1, "v.json: line 2: a: want a text"},
		{"one that stands twice", []string{"-named-values", write(t, "v.json", "{\"a\": \"1\",\n\"a\": \"2\"}")}, 1, "v.json: line 2: a: the name stands twice"},
		{"a backend without scheme", []string{"-backend", "localhost:80"}, 1, `backend "localhost:80": want http://`},
		{"an operation without method", []string{"-operation", "/x"}, 1, `operation "/x": want "METHOD /TEMPLATE"`},
		{"a certificate that is none", []string{"-ca", write(t, "ca.pem", "x")}, 1, "want certificates in PEM"},
		{"a key with a line break", []string{"-key", "a\nb"}, 1, "not printable ASCII"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			var stdout, stderr strings.Builder
			if status := gateway.Run(ctx, row.args, &stdout, &stderr); status != row.status || !strings.Contains(stderr.String(), row.want) {
				t.Errorf("want %d with %s, got %d\n%s", row.status, row.want, status, stderr.String())
			}
		})
	}
	var stdout, stderr strings.Builder
	if status := gateway.Run(t.Context(), []string{"-h"}, &stdout, &stderr); status != 0 || !strings.Contains(stderr.String(), "-named-values FILE") {
		t.Errorf("-h: got %d %s", status, stderr.String())
	}
}
