package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"apimrelay/internal/poll"
)

// raw asks the endpoint and returns what came, errors of the transport included.
func raw(s *Server, base string, wait time.Duration) (status int, header http.Header, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", base+"/msi/token?"+query("resource", APIURI), nil)
	req.Header.Set("X-IDENTITY-HEADER", s.Header())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

func TestRequestFaults(t *testing.T) {
	tests := []struct {
		fault Fault
		check func(t *testing.T, status int, header http.Header, body string, err error)
	}{
		{Fault{Name: Reset}, func(t *testing.T, _ int, _ http.Header, _ string, err error) {
			if err == nil || !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "EOF") {
				t.Errorf("error %v, want a reset", err)
			}
		}},
		{Fault{Name: ResetInBody}, func(t *testing.T, status int, _ http.Header, body string, err error) {
			if err == nil {
				t.Errorf("status %d, body %q, no error", status, body)
			}
		}},
		{Fault{Name: Hang}, func(t *testing.T, _ int, _ http.Header, _ string, err error) {
			if err == nil || !strings.Contains(err.Error(), "deadline") {
				t.Errorf("error %v, want a time-out", err)
			}
		}},
		{Fault{Name: Garbage}, func(t *testing.T, status int, _ http.Header, body string, _ error) {
			if status != 200 || json.Valid([]byte(body)) {
				t.Errorf("status %d, body %q", status, body)
			}
		}},
		{Fault{Name: HTML}, func(t *testing.T, status int, header http.Header, body string, _ error) {
			if status != 200 || header.Get("Content-Type") != "text/html" || !strings.HasPrefix(body, "<") {
				t.Errorf("status %d, %q, body %q", status, header.Get("Content-Type"), body)
			}
		}},
		{Fault{Name: Status, Status: 429, RetryAfter: "7"}, func(t *testing.T, status int, header http.Header, _ string, _ error) {
			if status != 429 || header.Get("Retry-After") != "7" {
				t.Errorf("status %d, Retry-After %q", status, header.Get("Retry-After"))
			}
		}},
		{Fault{Name: EmptyToken}, func(t *testing.T, status int, _ http.Header, body string, _ error) {
			if status != 200 || !strings.Contains(body, `"access_token":""`) {
				t.Errorf("status %d, body %q", status, body)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.fault.Name, func(t *testing.T) {
			s, server := start(t, Config{})
			test.fault.Times = 1
			if err := s.SetFault(test.fault); err != nil {
				t.Fatal(err)
			}
			status, header, body, err := raw(s, server.URL, 300*time.Millisecond)
			test.check(t, status, header, body, err)
			if status, _, body, err := raw(s, server.URL, 5*time.Second); status != 200 || err != nil || !strings.Contains(body, "eyJ") {
				t.Errorf("after one time: %d %q %v", status, body, err)
			}
		})
	}
}

func TestLatencyWaitsFirst(t *testing.T) {
	s, server := start(t, Config{})
	s.SetFault(Fault{Name: Latency, DelayMS: 60, On: ToEndpoint})
	begin := time.Now()
	status, _, _, err := raw(s, server.URL, 5*time.Second)
	if took := time.Since(begin); status != 200 || err != nil || took < 60*time.Millisecond {
		t.Errorf("status %d after %v: %v", status, took, err)
	}
}

func TestClearingLetsHangingRequestsGo(t *testing.T) {
	s, server := start(t, Config{})
	s.SetFault(Fault{Name: Hang})
	done := make(chan error, 1)
	go func() { _, _, _, err := raw(s, server.URL, time.Minute); done <- err }()
	poll.Until(t, "the request", func() bool { return len(s.History(0)) > 0 })
	s.SetFault(Fault{Name: ClockSkew, DelayMS: 1}) // another fault frees nothing
	s.ClearFault(ClockSkew)
	select {
	case <-done:
		t.Fatal("another fault freed the request")
	case <-time.After(50 * time.Millisecond):
	}
	s.ClearFault(Hang)
	select {
	case err := <-done:
		if err == nil {
			t.Error("a hanging request was answered")
		}
	case <-time.After(5 * time.Second):
		t.Error("the request still hangs")
	}
}

func TestTokenFaultsShowInTheNextToken(t *testing.T) {
	tests := []struct {
		fault Fault
		check func(claims jwt.MapClaims) bool
	}{
		{Fault{Name: ExpiredToken}, func(c jwt.MapClaims) bool { return c["exp"].(float64) < float64(time.Now().Unix()) }},
		{Fault{Name: WrongTenant}, func(c jwt.MapClaims) bool {
			return c["tid"] == OtherTenantID && strings.Contains(c["iss"].(string), OtherTenantID)
		}},
		{Fault{Name: RoleMissing}, func(c jwt.MapClaims) bool { _, ok := c["roles"]; return !ok }},
		{Fault{Name: ClockSkew, DelayMS: 600_000}, func(c jwt.MapClaims) bool {
			return c["nbf"].(float64) > float64(time.Now().Add(9*time.Minute).Unix())
		}},
		{Fault{Name: ShortLife, DelayMS: 5000}, func(c jwt.MapClaims) bool { return c["exp"].(float64)-c["iat"].(float64) <= 5 }},
	}
	for _, test := range tests {
		t.Run(test.fault.Name, func(t *testing.T) {
			s, server := start(t, Config{})
			_, body := ask(t, s, server.URL, query("resource", APIURI))
			if test.check(claimsOf(t, server.URL, body["access_token"].(string))) {
				t.Fatal("the token shows the fault before it is on")
			}
			s.SetFault(test.fault)
			_, body = ask(t, s, server.URL, query("resource", APIURI))
			if claims := claimsOf(t, server.URL, body["access_token"].(string)); !test.check(claims) {
				t.Errorf("claims %v do not show it", claims)
			}
			s.ClearFault(test.fault.Name)
			_, body = ask(t, s, server.URL, query("resource", APIURI))
			if test.check(claimsOf(t, server.URL, body["access_token"].(string))) {
				t.Error("cleared, the token still shows it")
			}
		})
	}
}

func TestSameTokenKeepsItPastItsEnd(t *testing.T) {
	c := &clock{now: time.Now()}
	s, server := start(t, Config{Now: c.Now, Life: time.Minute})
	_, body := ask(t, s, server.URL, query("resource", APIURI))
	s.SetFault(Fault{Name: SameToken})
	c.advance(2 * time.Minute)
	if _, again := ask(t, s, server.URL, query("resource", APIURI)); again["access_token"] != body["access_token"] {
		t.Error("another token")
	}
	s.ClearFault("")
	if _, again := ask(t, s, server.URL, query("resource", APIURI)); again["access_token"] == body["access_token"] {
		t.Error("cleared, the same token")
	}
}

func TestKeyRotation(t *testing.T) {
	s, server := start(t, Config{})
	old, err := s.MintToken(Mint{})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(token string) error {
		_, err := jwt.Parse(token, keyFunc(t, server.URL))
		return err
	}
	s.RotateKeys(true)
	if err := verify(old); err != nil {
		t.Errorf("after an announced rotation the old token is refused: %v", err)
	}
	s.RotateKeys(false)
	if verify(old) == nil {
		t.Error("after an abrupt rotation the old token is good")
	}
	fresh, _ := s.MintToken(Mint{})
	if err := verify(fresh); err != nil {
		t.Errorf("a new token is refused: %v", err)
	}
	s.SetFault(Fault{Name: StaleMetadata})
	s.RotateKeys(false)
	if fresh, _ = s.MintToken(Mint{}); verify(fresh) == nil {
		t.Error("a stale key set knows the new key")
	}
	s.ClearFault(StaleMetadata)
	if err := verify(fresh); err != nil {
		t.Errorf("the key set is stale still: %v", err)
	}
	if forged, _ := s.MintToken(Mint{OtherKey: true}); verify(forged) == nil {
		t.Error("a token of another key is good")
	}
}

func TestSetFaultRefusesWhatItDoesNotKnow(t *testing.T) {
	s := New(Config{})
	for _, f := range []Fault{{Name: "sloww"}, {Name: Hang, On: "gateway"}, {Name: Status}, {Name: Latency}, {Name: Hang, Times: -1}} {
		if err := s.SetFault(f); err == nil {
			t.Errorf("SetFault(%+v) is accepted", f)
		}
	}
	if len(s.Faults()) != 0 {
		t.Errorf("faults on: %v", s.Faults())
	}
}

// TestMain lets the test binary be the pretended az: InstallCLI's script calls it with "az" first.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && (os.Args[1] == "az" || os.Args[1] == "azd") {
		os.Exit(RunCLI(context.Background(), os.Args[2], os.Args[1], os.Args[3:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestCLI(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, command string
		set           func(*Server)
		exit          int
		stdout        string // part
		stderr        string // part
	}{
		{"signed in", "az account get-access-token -o json --resource " + APIURI, nil, 0, `"accessToken": "eyJ`, ""},
		{"the right tenant", "az account get-access-token -o json --resource " + APIURI + " --tenant " + TenantID, nil, 0, `"expires_on": `, ""},
		{"azd", "azd auth token -o json --no-prompt --scope " + APIURI + "/.default", nil, 0, `"token": "eyJ`, ""},
		{"signed out", "az account get-access-token -o json --resource " + APIURI, func(s *Server) { s.SignIn(false) }, 1, "", "ERROR: Please run 'az login' to setup account."},
		{"azd signed out", "azd auth token -o json --scope " + APIURI + "/.default", func(s *Server) { s.SetFault(Fault{Name: SignedOut}) }, 1, "", "azd auth login"},
		{"no consent", "az account get-access-token -o json --resource " + APIURI, func(s *Server) { s.SetFault(Fault{Name: NoConsent}) }, 1, "", "AADSTS65001: "},
		{"a tenant that does not exist", "az account get-access-token -o json --resource " + APIURI + " --tenant " + APIClientID, nil, 1, "", "AADSTS90002: "},
		{"a tenant without the account", "az account get-access-token -o json --resource " + APIURI + " --tenant " + OtherTenantID, nil, 1, "", "AADSTS50020: "},
		{"an unknown resource", "az account get-access-token -o json --resource api://nobody", nil, 1, "", "AADSTS500011: "},
		{"garbage", "az account get-access-token -o json --resource " + APIURI, func(s *Server) { s.SetFault(Fault{Name: Garbage, On: ToCLI}) }, 0, "banner", ""},
		{"another command", "az group list", nil, 2, "", "get-access-token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, server := start(t, Config{})
			dir := t.TempDir()
			if err := InstallCLI(dir, server.URL, exe); err != nil {
				t.Fatal(err)
			}
			if test.set != nil {
				test.set(s)
			}
			words := strings.Fields(test.command)
			var stdout, stderr bytes.Buffer
			c := exec.Command(dir+"/"+words[0], words[1:]...)
			c.Stdout, c.Stderr = &stdout, &stderr
			c.Run()
			if c.ProcessState.ExitCode() != test.exit || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("exit %d\nstdout %s\nstderr %s", c.ProcessState.ExitCode(), &stdout, &stderr)
			}
			if (test.stdout == "") != (stdout.Len() == 0) || (test.stderr == "") != (stderr.Len() == 0) {
				t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
			}
		})
	}
}

func TestDeveloperTokensAreDelegated(t *testing.T) {
	s, server := start(t, Config{})
	token := func() jwt.MapClaims {
		answer := s.Command(CommandLine{"az", []string{"account", "get-access-token", "--resource", APIURI}})
		var body map[string]any
		if err := json.Unmarshal([]byte(answer.Stdout), &body); err != nil {
			t.Fatalf("%+v: %v", answer, err)
		}
		return claimsOf(t, server.URL, body["accessToken"].(string))
	}
	claims := token()
	if claims["scp"] != "user_impersonation" || claims["azp"] != AzureCLIClientID || claims["azpacr"] != "0" || claims["roles"] != nil {
		t.Errorf("claims %v", claims)
	}
	s.Grant("developer", APIURI, "Api.Read")
	if roles, _ := token()["roles"].([]any); len(roles) != 1 {
		t.Errorf("roles %v after a grant", roles)
	}
}

func TestCLIRefusesWebPages(t *testing.T) {
	s := New(Config{})
	w := httptest.NewRecorder()
	s.Issuer().ServeHTTP(w, httptest.NewRequest("POST", "/cli", strings.NewReader(`{"program":"az","args":["account","get-access-token","--resource","`+APIURI+`"]}`)))
	if w.Code != 403 || strings.Contains(w.Body.String(), "eyJ") {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
}
