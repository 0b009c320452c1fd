package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
	sandbox "apimrelay/sandbox/identity"
)

const (
	runAz  = "RunAs=Developer;DeveloperTool=AzureCli"
	runAzd = "RunAs=Developer;DeveloperTool=AzureDeveloperCli"
)

func contextWithin(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(t.Context(), d, fmt.Errorf("no answer within %s: %w", d, context.DeadlineExceeded))
}

// tools puts the sandbox's az and azd first on PATH.
func tools(t *testing.T, s *sandbox.Server) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	dir := t.TempDir()
	if err := sandbox.InstallCLI(dir, server.URL, exe); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

// script makes one tool that is a shell script.
func script(t *testing.T, name, body string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestDeveloperTools(t *testing.T) {
	s := sandbox.New(sandbox.Config{})
	tools(t, s)
	for _, connection := range []string{runAz, runAzd} {
		for _, tenant := range []string{"", sandbox.TenantID} {
			facts := fetch(t, fetcher(t, connection, identity.Env{TenantID: tenant}))
			if facts.Scope != "user_impersonation" || facts.TenantID != sandbox.TenantID {
				t.Errorf("%s: %+v", connection, facts)
			}
		}
	}
	var asked []string
	for _, r := range s.History(0) {
		asked = append(asked, r.Method+" "+r.Path)
	}
	want := []string{
		"az account get-access-token -o json --resource " + sandbox.APIURI,
		"az account get-access-token -o json --resource " + sandbox.APIURI + " --tenant " + sandbox.TenantID,
		"azd auth token -o json --no-prompt --scope " + sandbox.APIURI + "/.default",
		"azd auth token -o json --no-prompt --scope " + sandbox.APIURI + "/.default --tenant-id " + sandbox.TenantID,
	}
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("called\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
}

// azidentity starts a Python program for each token; the source keeps it until five minutes before its end.
func TestATokenOfAToolIsKept(t *testing.T) {
	s := sandbox.New(sandbox.Config{})
	tools(t, s)
	var sources identity.Sources
	source := sources.Source(parsed(t, runAz), sandbox.APIURI, sandbox.TenantID)
	for range 5 {
		if _, err := source.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.History(0)); n != 1 {
		t.Errorf("az ran %d times for 5 calls, want once", n)
	}
	if st := source.State(); st.ExpiresOn.Sub(st.RefreshAt) != 5*time.Minute {
		t.Errorf("refreshed %s before the end, want 5m0s", st.ExpiresOn.Sub(st.RefreshAt))
	}
}

func TestFailuresOfTheToolsAreToldApart(t *testing.T) {
	out := func(config *sandbox.Config) { config.Developer = &sandbox.Developer{SignedOut: true} }
	noConsent := func(config *sandbox.Config) {
		config.Developer = &sandbox.Developer{NoConsent: true}
		config.Resources = []sandbox.Resource{{ClientID: sandbox.APIClientID, URIs: []string{sandbox.APIURI}, Version: 2, Scopes: []string{"user_impersonation"}}}
	}
	const login = "az login --tenant "
	for _, tc := range []struct {
		name, connection, resource, tenant string
		set                                func(*sandbox.Config)
		kind                               token.Kind
		text, hint                         string
	}{
		{name: "not logged in", set: out, kind: token.Refused, text: "az: not logged in", hint: "az login"},
		{name: "not logged in, a tenant wanted", tenant: sandbox.TenantID, set: out, kind: token.Refused, text: "az: not logged in", hint: login + sandbox.TenantID},
		{name: "azd: not logged in", connection: runAzd, tenant: sandbox.TenantID, set: out, kind: token.Refused, text: "azd: not logged in", hint: "azd auth login --tenant-id " + sandbox.TenantID},
		{name: "a tenant that the account does not belong to", tenant: sandbox.OtherTenantID, kind: token.Refused, text: "az: the developer's account is not in the tenant: AADSTS50020", hint: login + sandbox.OtherTenantID},
		{name: "a tenant that does not exist", tenant: guidT, kind: token.Refused, text: "az: there is no such tenant: AADSTS90002", hint: "correct TargetTenantID"},
		{name: "the tool is not consented", tenant: sandbox.TenantID, set: noConsent, kind: token.Refused, text: "az: nobody has consented to the tool: AADSTS65001",
			hint: login + sandbox.TenantID + " --scope " + sandbox.APIURI + "/.default"},
		{name: "a resource that does not exist", resource: "api://nobody", kind: token.Refused, text: "az: the tenant does not know TargetApp: AADSTS500011", hint: "correct TargetApp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var config sandbox.Config
			if tc.set != nil {
				tc.set(&config)
			}
			tools(t, sandbox.New(config))
			if tc.connection == "" {
				tc.connection = runAz
			}
			if tc.resource == "" {
				tc.resource = sandbox.APIURI
			}
			f, err := parsed(t, tc.connection).Fetch(tc.resource, identity.Env{TenantID: tc.tenant})
			if err != nil {
				t.Fatal(err)
			}
			_, err = f(t.Context())
			wantError(t, err, tc.kind, tc.text, tc.hint)
		})
	}
}

func TestOddToolsAreNamed(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		env        map[string]string
		kind       token.Kind
		text, hint string
	}{
		{"silent", "exit 1", nil, token.Unavailable, "az failed: exit status 1", "see what it says: az account get-access-token"},
		{"a banner for JSON", "echo hello", nil, token.Unavailable, "something other than a token in JSON", "see what it prints: az account get-access-token"},
		{"no network", `echo "ERROR: HTTPSConnectionPool(host='login.microsoftonline.com', port=443): Max retries exceeded" >&2; exit 1`, nil, token.Unavailable, "Max retries exceeded", ""},
		{"an interpreter that is not there", "exec no-such-program", nil, token.Refused, "az is missing", "aka.ms/azure-cli"},
		{"in a function app", "exit 127", map[string]string{"WEBSITE_INSTANCE_ID": "x"}, token.Refused, "az is missing", "a function app in Azure has no az: use RunAs=App"},
		{"a code that passes", `echo "ERROR: AADSTS90033: A transient error has occurred." >&2; exit 1`, nil, token.Unavailable, "Entra is busy or has a fault: AADSTS90033", "wait a minute"},
		{"a code that is not known", `echo "ERROR: AADSTS999: No." >&2; exit 1`, nil, token.Refused, "az: AADSTS999: No", ""},
		{"a sign-in that is too old", `echo "ERROR: AADSTS700082: The refresh token has expired due to inactivity." >&2; exit 1`, nil, token.Refused, "the developer's sign-in has ended", "az login --scope api://orders/.default"},
		{"no account chosen", `echo "ERROR: No subscription found. Run 'az account set' to select a subscription." >&2; exit 1`, nil, token.Refused, "not logged in", "az login"},
		{"a tenant that the authority does not know", `printf 'ERROR: The command failed with an unexpected error. Here is the traceback:\nERROR: Unable to get authority configuration for https://login.microsoftonline.com/x.\nTraceback (most recent call last):\n' >&2; exit 1`,
			nil, token.Refused, "az: there is no such tenant: Unable to get authority configuration", "correct TargetTenantID, or: az login"},
		{"a token on stderr", `echo "debug eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.sig" >&2; exit 1`, nil, token.Unavailable, "debug REDACTED", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			script(t, "az", tc.body)
			f, err := parsed(t, runAz).Fetch("api://orders", identity.Env{Lookup: lookup(tc.env)})
			if err != nil {
				t.Fatal(err)
			}
			_, err = f(t.Context())
			wantError(t, err, tc.kind, tc.text, tc.hint)
		})
	}
}

func TestNoToolOnThePath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for connection, text := range map[string]string{runAz: "az is missing: no such executable on PATH", runAzd: "azd is missing"} {
		_, err := fetcher(t, connection, identity.Env{})(t.Context())
		wantError(t, err, token.Refused, text, "on the PATH of this process")
	}
}

func TestATimeOutIsNamedAsOne(t *testing.T) {
	script(t, "az", "exec sleep 60")
	ctx, cancel := contextWithin(t, 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := fetcher(t, runAz, identity.Env{})(ctx)
	e := wantError(t, err, token.Unavailable, "az did not answer in time", "by hand: az account get-access-token")
	if strings.Contains(e.Error(), "killed") || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 10*time.Second {
		t.Fatalf("after %s: %v", time.Since(begin), err)
	}
}

func TestNoCommandIsMadeOfAnOddResource(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	for _, resource := range []string{"api://a; touch " + marker, "api://a$(touch " + marker + ")", "api://a'b", "api://a?b"} {
		_, err := parsed(t, runAz).Fetch(resource, identity.Env{})
		wantError(t, err, token.Refused, "a character that a command line must not", "TargetApp")
	}
	_, err := parsed(t, runAz).Fetch("api://a", identity.Env{TenantID: "x; touch " + marker})
	wantError(t, err, token.Refused, "making a credential for az", "TargetTenantID")
	if _, err := os.Stat(marker); err == nil {
		t.Fatal("a command ran")
	}
}

// What settings has removed from the process environment is not handed to the child by another way.
func TestTheToolGetsTheProcessEnvironmentAndNothingElse(t *testing.T) {
	dump := filepath.Join(t.TempDir(), "env")
	script(t, "az", "env > "+dump+`; echo '{"accessToken":"opaque","expires_on":4102444800}'`)
	t.Setenv("MARKER_OF_THE_TEST", "1")
	env := identity.Env{Lookup: lookup(map[string]string{"ApimKey": "key-canary", "FunctionIdentity": "identity-canary"})}
	if _, err := fetcher(t, runAz, env)(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen, err := os.ReadFile(dump)
	if err != nil || !strings.Contains(string(seen), "MARKER_OF_THE_TEST=1") || strings.Contains(string(seen), "canary") {
		t.Fatalf("%v: the child saw\n%s", err, seen)
	}
}
