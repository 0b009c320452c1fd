package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/settings"
	"apimrelay/internal/policy"
	"apimrelay/sandbox/gateway"
	sandbox "apimrelay/sandbox/identity"
	"apimrelay/sandbox/loopback"
)

// certificate is what TLS stand-ins show. The system's pool is read once for the process, so it is trusted from the start.
var certificate tls.Certificate

func TestMain(m *testing.M) {
	// The test binary is the pretended az: the script that the sandbox installs calls it with the tool's name first.
	if len(os.Args) > 2 && (os.Args[1] == "az" || os.Args[1] == "azd") {
		os.Exit(sandbox.RunCLI(context.Background(), os.Args[2], os.Args[1], os.Args[3:], os.Stdout, os.Stderr))
	}
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		log.Fatal(err)
	}
	cert, pem, err := loopback.NewCertificate()
	if err != nil {
		log.Fatal(err)
	}
	certificate = cert
	file := filepath.Join(dir, "trusted.pem")
	if err := os.WriteFile(file, pem, 0o600); err != nil {
		log.Fatal(err)
	}
	_ = os.Setenv("SSL_CERT_FILE", file)
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// Canaries: no output may hold them.
const (
	canaryKey    = "canary0key0of0the0subscription00"
	canaryHeader = "canary-identity-header"
	canarySecret = "canary~client~secret~value~0000000"
)

// stage is a whole set-up of stand-ins and the app's settings: healthy until a row breaks it.
type stage struct {
	t        *testing.T
	tenant   sandbox.Config
	gateway  gateway.Config
	settings map[string]string
	policy   string            // text of -policy; "" = none
	values   map[string]string // its named values
	files    map[string]string // of the script root

	// endpoint and front stand before the stand-ins, for what they do not do.
	endpoint, front func(http.Handler) http.Handler
	broken          func(s *stage) // after everything has started

	identity *sandbox.Server
	gate     *gateway.Gateway
	address  string // of identity
	options  Options
	report   *Report
}

const apiPath = "/orders"

func newStage(t *testing.T) *stage {
	t.Helper()
	return &stage{
		t: t, tenant: sandbox.Config{Header: canaryHeader},
		settings: map[string]string{
			"TargetApp": sandbox.APIURI, "TargetTenantID": sandbox.TenantID, "FunctionIdentity": "RunAs=App;AppId=" + sandbox.ReaderClientID,
			"TargetRole": "Api.Read", "ApimKey": canaryKey, "FUNCTIONS_WORKER_RUNTIME": "custom", "AzureWebJobsStorage": "UseDevelopmentStorage=true",
		},
		files: map[string]string{
			"host.json":          `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"},"enableForwardingHttpRequest":true,"enableProxyingHttpRequest":true}}`,
			"poll/function.json": `{"bindings":[{"type":"timerTrigger","direction":"in","name":"timer","schedule":"0 */5 * * * *"}],"retry":{"strategy":"fixedDelay","maxRetryCount":1,"delayInterval":"00:00:10"}}`,
		},
		options: Options{times: times{
			whole: 6 * time.Second, dial: time.Second, token: 3 * time.Second, control: 2 * time.Second, name: 2 * time.Second, connect: time.Second, probe: 2 * time.Second,
		}},
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parsePolicy(t *testing.T, name, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(name, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shipped is the policy that is deployed.
func shipped(t *testing.T) string { return readFile(t, "../../../deploy/policies/api.xml") }

// entraValues are the named values of a deployment in Entra, whose issuer follows from the metadata's address.
func entraValues(version int) map[string]string {
	address := "https://login.microsoftonline.com/" + sandbox.TenantID
	if version == 2 {
		address += "/v2.0"
	}
	return map[string]string{"openid-config-url": address + "/.well-known/openid-configuration", "client-id": sandbox.APIClientID, "app-id-uri": sandbox.APIURI}
}

func quiet(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	return s
}

// start brings the stand-ins up and makes the settings point to them.
func (s *stage) start() {
	s.t.Helper()
	t := s.t
	s.identity = sandbox.New(s.tenant)
	handler := s.identity.Handler()
	if s.endpoint != nil {
		handler = s.endpoint(handler)
	}
	server := quiet(handler)
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.identity.ClearFault("") })
	s.address = server.URL
	for _, pair := range s.identity.Environment(server.URL) {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	for _, name := range []string{"AZURE_CLIENT_ID", "AZURE_AUTHORITY_HOST", "WEBSITE_SITE_NAME", "WEBSITE_INSTANCE_ID", "HTTPS_PROXY", "HTTP_PROXY"} {
		t.Setenv(name, "")
	}

	c := s.gateway
	if c.APIs == nil {
		c.APIs = []gateway.API{{Name: "orders", Path: apiPath, Policy: parsePolicy(t, "api.xml", shipped(t))}}
	}
	if c.NamedValues == nil {
		c.NamedValues = map[string]string{
			"openid-config-url": server.URL + s.identity.MetadataPath(sandbox.APIURI), "client-id": sandbox.APIClientID, "app-id-uri": sandbox.APIURI,
		}
	}
	g, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.gate = g
	t.Cleanup(func() { _ = g.Close() })
	front := http.Handler(g)
	if s.front != nil {
		front = s.front(front)
	}
	gate := quiet(front)
	gate.Start()
	t.Cleanup(gate.Close)
	if _, set := s.settings["ApimUrl"]; !set {
		s.settings["ApimUrl"] = gate.URL + apiPath
	}
	if s.settings["ApimKey"] == canaryKey {
		primary, _, err := g.Keys("sandbox")
		if err != nil {
			t.Fatal(err)
		}
		s.settings["ApimKey"] = primary.Reveal()
	}
}

// run starts everything, breaks it, and walks it.
func (s *stage) run() *Report {
	s.t.Helper()
	s.start()
	if s.broken != nil {
		s.broken(s)
	}
	s.report = Run(s.t.Context(), s.load())
	s.free()
	return s.report
}

func (s *stage) load() Options {
	s.t.Helper()
	root := s.t.TempDir()
	for name, text := range s.files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	var environ []string
	for name, value := range s.settings {
		environ = append(environ, name+"="+value)
	}
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "PATH"} {
		environ = append(environ, name+"="+os.Getenv(name))
	}
	slices.Sort(environ)
	o := s.options
	o.Settings = settings.Load(settings.Index(environ), app.Load(root, settings.Index(environ).App))
	o.Lookup = os.LookupEnv
	if s.policy != "" {
		d, err := policy.Read("their.xml", strings.NewReader(s.policy))
		if err != nil {
			s.t.Fatal(err)
		}
		o.Policies = &Policies{Sources: policy.Sources{Scopes: policy.Scopes{API: d}}, NamedValues: s.values}
	}
	return o
}

// free lets go of hanging requests, so that servers can close.
func (s *stage) free() {
	s.identity.ClearFault("")
	_ = s.gate.SetFaults(gateway.Faults{})
}

// anchors are the distinct causes that a report names.
func anchors(r *Report) []string {
	var all []string
	for _, one := range r.Checks {
		if (one.Status == Finding || one.Status == Warning) && !slices.Contains(all, string(one.Anchor)) {
			all = append(all, string(one.Anchor))
		}
	}
	slices.Sort(all)
	return all
}

// table is a report as people see it.
func table(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteTable(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// tool installs the pretended az, or a script in its place, as the only one on the PATH.
func (s *stage) tool(script string) {
	s.t.Helper()
	dir := s.t.TempDir()
	if script == "" {
		program, err := os.Executable()
		if err == nil {
			err = sandbox.InstallCLI(dir, s.address, program)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	} else if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.t.Setenv("PATH", dir+string(os.PathListSeparator)+"/usr/bin"+string(os.PathListSeparator)+"/bin")
}

// developer signs in with az instead of the platform.
func (s *stage) developer(script string) {
	s.settings["FunctionIdentity"] = "RunAs=Developer;DeveloperTool=AzureCli"
	before := s.broken
	s.broken = func(s *stage) {
		s.t.Setenv("IDENTITY_ENDPOINT", "")
		s.t.Setenv("IDENTITY_HEADER", "")
		s.tool(script)
		if before != nil {
			before(s)
		}
	}
}

// refusedBy has az fail with one of Entra's codes.
func (s *stage) refusedBy(code, text string) {
	s.developer(fmt.Sprintf("echo 'ERROR: AADSTS%s: %s Trace ID: 1 Correlation ID: 2 Timestamp: 3' >&2; exit 1", code, text))
}

// registration signs in as an app registration, at the sandbox's issuer over TLS.
func (s *stage) registration(wrap func(http.Handler) http.Handler, cert *tls.Certificate) {
	s.settings["FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.AppClientID + ";TenantId=" + sandbox.TenantID + ";AppKey=" + canarySecret
	s.tenant.Applications = []sandbox.Application{{
		Name: "app", ClientID: sandbox.AppClientID, Secrets: []sandbox.Secret{{ID: "0", Value: canarySecret}},
		Roles: sandbox.Assignments{sandbox.APIClientID: {"Api.Read"}},
	}}
	before := s.broken
	s.broken = func(s *stage) {
		h := s.identity.Issuer()
		if wrap != nil {
			h = wrap(h)
		}
		server := quiet(h)
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		if cert != nil {
			server.TLS.Certificates[0] = *cert
		}
		server.StartTLS()
		s.t.Cleanup(server.Close)
		s.t.Setenv("AZURE_AUTHORITY_HOST", server.URL+"/")
		if before != nil {
			before(s)
		}
	}
}

// entra answers every request for a token with a code.
func entra(status int, code, text string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":"AADSTS%s: %s Trace ID: a Correlation ID: b Timestamp: c"}`, code, text)
		})
	}
}

// answers puts one answer in place of a stand-in's.
func answers(status int, contentType, body string) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
}

// whoever calls with a token gets the answer.
func withToken(then func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		other := then(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				other.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// probes are the requests that the gateway has seen, of which there must be n or it waits for them: a record is written after its answer.
func (s *stage) probes(n int) []gateway.Record {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if seen := s.gate.History(); len(seen) >= n || time.Now().After(deadline) {
			return seen
		}
	}
}
