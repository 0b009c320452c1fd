package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What net/http has to say by package log is a line like all others, and what a gateway says out of turn is in none: it may be anybody's answer.
func TestWhatAGatewaySaysOutOfTurnIsNotLogged(t *testing.T) {
	gateway, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	go func() {
		for {
			c, err := gateway.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n"+primaryKey[:14])
				}
			}()
		}
	}()
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"opaque","expires_on":"4102444800","resource":"x","token_type":"Bearer"}`)
	}))
	defer identity.Close()
	port, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, number, _ := net.SplitHostPort(port.Addr().String())
	_ = port.Close()

	dir := t.TempDir()
	if err := stage(filepath.Join(dir, "app"), "relay"); err != nil {
		t.Fatal(err)
	}
	s := &session{dir: dir, programs: map[string]*program{}, settings: map[string]string{
		"FUNCTIONS_CUSTOMHANDLER_PORT": number, "FUNCTIONS_APP_ROOT_PATH": filepath.Join(dir, "app"), "IDENTITY_ENDPOINT": identity.URL, "IDENTITY_HEADER": identityKey,
		"TargetApp": "api://orders", "TargetTenantID": "5a9d0b0c-0000-4000-8000-000000000001", "FunctionIdentity": "RunAs=App",
		"ApimUrl": "http://" + gateway.Addr().String() + "/orders", "ApimKey": primaryKey,
	}}
	defer s.close()
	p, err := s.start("handler", "handler")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		status, _, err := send([]string{"GET", "http://127.0.0.1:" + number + "/api/relay/1"})
		if err == nil && status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("want 200, got %d, %v:\n%s", status, err, p.out.String())
		}
	}
	if _, err := p.await(regexp.MustCompile(`"level":"WARN","msg":"net/http reports a problem","text":"Unsolicited response received on idle HTTP channel"`), 1); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(p.out.String()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("want JSON alone, got %q", line)
		}
	}
	for _, leak := range s.leaks() {
		t.Errorf("the %s", leak)
	}
}
