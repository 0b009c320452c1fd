package identity_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"apimrelay/handler/internal/identity"
	sandbox "apimrelay/sandbox/identity"
)

// TestProxy runs TestProxyChild in a process of its own: net/http reads HTTP_PROXY once per
// process. The identity endpoint listens on an address that is not loopback, which Go would never
// proxy.
func TestProxy(t *testing.T) {
	address := ownAddress(t)
	var mu sync.Mutex
	var proxied []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		proxied = append(proxied, r.URL.String()+" "+r.Header.Get("X-IDENTITY-HEADER"))
	}))
	defer proxy.Close()
	s := sandbox.New(sandbox.Config{})
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("listening on this machine's address: %v", err)
	}
	server := &http.Server{Handler: s.Handler()}
	go func() { _ = server.Serve(l) }()
	defer server.Close()

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestProxyChild$", "-test.v")
	cmd.Env = append(s.Environment("http://"+l.Addr().String()), "HTTP_PROXY="+proxy.URL,
		"IDENTITY_TEST_CHILD=1", "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "child: done") {
		t.Fatalf("the child: %v\n%s", err, out)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(proxied) != 1 || proxied[0] != "http://gateway.example/orders " {
		t.Fatalf("the proxy saw %q, want the gateway's request alone", proxied)
	}
	if n := len(s.History(0)); n != 1 {
		t.Fatalf("the identity endpoint saw %d requests, want 1", n)
	}
}

func TestProxyChild(t *testing.T) {
	if os.Getenv("IDENTITY_TEST_CHILD") == "" {
		t.Skip("runs as a child of TestProxy")
	}
	if facts := fetch(t, fetcher(t, "RunAs=App",
		identity.Env{Lookup: os.LookupEnv})); facts.TenantID != sandbox.TenantID {
		t.Fatalf("%+v", facts)
	}
	// A call to a gateway with net/http's own transport shows that the proxy is in force in this
	// process.
	resp, err := http.Get("http://gateway.example/orders")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	t.Log("child: done")
}

// ownAddress is an address of this machine that is not loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}
