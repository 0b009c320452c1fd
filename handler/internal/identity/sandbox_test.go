package identity_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
	sandbox "apimrelay/sandbox/identity"
	"apimrelay/sandbox/loopback"
)

// TestMain lets the test binary be the pretended az and azd: the script that the sandbox installs calls it with the tool's name first.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && (os.Args[1] == "az" || os.Args[1] == "azd") {
		os.Exit(sandbox.RunCLI(context.Background(), os.Args[2], os.Args[1], os.Args[3:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// tenant starts the stand-in of a tenant with its identity endpoint over http, and makes it the app's own.
func tenant(t *testing.T, cfg sandbox.Config) *sandbox.Server {
	t.Helper()
	s := sandbox.New(cfg)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.ClearFault("") }) // lets go of hanging requests
	for _, pair := range s.Environment(server.URL) {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	return s
}

// issuer starts the tenant's issuer over TLS; env trusts it and points there.
func issuer(t *testing.T, s *sandbox.Server) identity.Env {
	t.Helper()
	cert, pem, err := loopback.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s.Issuer())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that does not trust it is a test
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.ClearFault("") })
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("the sandbox's certificate is no PEM")
	}
	return identity.Env{RootCAs: roots, Lookup: lookup(map[string]string{"AZURE_AUTHORITY_HOST": server.URL + "/"})}
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
}

func parsed(t *testing.T, s string) identity.Connection {
	t.Helper()
	c, _, err := identity.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fetcher returns the connection's Fetch for the sandbox's API.
func fetcher(t *testing.T, connection string, env identity.Env) token.Fetch {
	t.Helper()
	f, err := parsed(t, connection).Fetch(sandbox.APIURI, env)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func fetch(t *testing.T, f token.Fetch) token.Facts {
	t.Helper()
	tok, err := f(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	facts, err := token.ReadFacts(tok.Value)
	if err != nil {
		t.Fatal(err)
	}
	if d := tok.ExpiresOn.Sub(facts.ExpiresOn).Abs(); d > time.Second {
		t.Fatalf("the answer's end and the claim differ by %s", d)
	}
	return facts
}

// gap is what a hint must have filled in.
var gap = regexp.MustCompile(`\{[a-z]+\}`)

// wantError asserts kind, texts and form of an error, and that it holds no secret.
func wantError(t *testing.T, err error, kind token.Kind, text, hint string, secrets ...string) *token.Error {
	t.Helper()
	var e *token.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %T %v, want *token.Error", err, err)
	}
	if e.Kind != kind || !strings.Contains(e.Error(), text) || !strings.Contains(token.Hint(err), hint) {
		t.Fatalf("%s: %q, hint %q\nwant %s with %q, hint %q", e.Kind, e, e.Hint, kind, text, hint)
	}
	if e.Code == "" {
		t.Errorf("%q names no cause", e)
	}
	if strings.ContainsAny(e.Error()+e.Hint, "\n\r") || gap.MatchString(e.Error()+e.Hint) || len(e.Error()) > 700 {
		t.Fatalf("%q, hint %q: want one bounded line without gaps", e, e.Hint)
	}
	for _, s := range append(secrets, "eyJ") {
		if strings.Contains(e.Error()+e.Hint, s) {
			t.Fatalf("%q, hint %q holds %q", e, e.Hint, s)
		}
	}
	return e
}

// answering starts an identity endpoint of one handler's making, for what the sandbox does not do.
func answering(t *testing.T, h http.HandlerFunc) identity.Env {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "hdr-canary")
	return identity.Env{Lookup: os.LookupEnv}
}
