package identity_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
	sandbox "apimrelay/sandbox/identity"
	"apimrelay/sandbox/loopback"
)

// TestRealAzureCLI signs the real Azure CLI in to the sandbox's issuer, in a cloud of its own, and gets a token through it. APIMRELAY_REAL_AZ is the path
// of the az to use; its folder of settings is a temporary one. The CLI is signed in as an app registration: its issuer plays no browser.
func TestRealAzureCLI(t *testing.T) {
	az := os.Getenv("APIMRELAY_REAL_AZ")
	if az == "" {
		t.Skip("APIMRELAY_REAL_AZ names no az: make test-az installs one")
	}
	s := sandbox.New(sandbox.Config{})
	cert, ca, err := loopback.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", s.Issuer())
	// At sign-in az lists the subscriptions of the account (Azure Resource Manager, "Subscriptions - List"): there are none.
	mux.HandleFunc("/subscriptions", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"value":[]}`)
	})
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()

	dir := t.TempDir()
	bundle := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(bundle, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AZURE_CONFIG_DIR": dir, "REQUESTS_CA_BUNDLE": bundle, "AZURE_CORE_COLLECT_TELEMETRY": "false", "AZURE_CORE_INSTANCE_DISCOVERY": "false",
		"AZURE_CORE_ONLY_SHOW_ERRORS": "true", "AZURE_CORE_NO_COLOR": "true", "PATH": filepath.Dir(az) + ":/usr/bin:/bin",
	} {
		t.Setenv(name, value)
	}
	run := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, az, args...).CombinedOutput(); err != nil {
			for _, r := range s.History(0) {
				t.Logf("the sandbox saw %s %s: %d %s", r.Method, r.Path, r.Status, r.Cause)
			}
			t.Fatalf("az %s: %v\n%s", args[0], err, strings.ReplaceAll(string(out), s.ClientSecret(sandbox.AppClientID), "REDACTED"))
		}
	}
	source := func(resource, tenant string) (*token.Source, error) {
		var sources identity.Sources
		source := sources.Source(parsed(t, runAz), resource, tenant)
		_, err := source.Token(t.Context())
		return source, err
	}

	_, err = source(sandbox.APIURI, "")
	wantError(t, err, token.Refused, "az: not logged in", "az login")

	run("cloud", "register", "--name", "sandbox", "--skip-endpoint-discovery", "--endpoint-active-directory", server.URL, "--endpoint-resource-manager", server.URL,
		"--endpoint-management", "https://management.core.windows.net/", "--endpoint-active-directory-resource-id", "https://management.core.windows.net/")
	run("cloud", "set", "--name", "sandbox")
	run("login", "--service-principal", "--username", sandbox.AppClientID, "--password", s.ClientSecret(sandbox.AppClientID), "--tenant", sandbox.TenantID, "--allow-no-subscriptions")

	good, err := source(sandbox.APIURI, sandbox.TenantID)
	if err != nil {
		t.Fatal(err)
	}
	if f := good.State().Facts; f.ClientID != sandbox.AppClientID || f.TenantID != sandbox.TenantID || len(f.Roles) != 1 {
		t.Fatalf("%+v", f)
	}
	_, err = source("api://nobody", sandbox.TenantID)
	wantError(t, err, token.Refused, "the tenant does not know TargetApp: AADSTS500011", "TargetApp")
	_, err = source(sandbox.APIURI, guidT)
	wantError(t, err, token.Refused, "az: there is no such tenant: Unable to get authority configuration", "az login --tenant "+guidT)
}
