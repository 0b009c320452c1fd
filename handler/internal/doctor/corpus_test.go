package doctor

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"apimrelay/sandbox/gateway"
	sandbox "apimrelay/sandbox/identity"
	"apimrelay/sandbox/loopback"
)

// row is a failure that people met, with one set-up that has it and no other.
type row struct {
	id, name string
	anchor   string // "" = cannot be told from inside, see why
	why      string
	set      func(s *stage)
	line     string // a log line instead of a set-up
}

// corpus: settings (S), managed identity (M), Entra (E), the gateway and the token it sees (A).
var corpus = []row{
	{id: "S1", name: "envconfig finds no TARGETAPP on Linux", why: "settings reads names in any spelling"},
	{id: "S2", name: "settings silently empty on Linux", why: "the same"},
	{id: "S3", name: "works on Windows, fails on Linux", why: "the same"},
	{id: "S4", name: "the connection string has no value behind a key", anchor: "identity-string", set: func(s *stage) { s.settings["FunctionIdentity"] = "RunAs=App;AppId" }},
	{id: "S5", name: "a stray word swallows the next pair", anchor: "identity-string", set: func(s *stage) {
		s.settings["FunctionIdentity"] = "RunAs=App;Foo;AppId=" + sandbox.ReaderClientID
	}},
	{id: "S6", name: "an unresolved Key Vault reference", anchor: "settings-reference", set: func(s *stage) {
		s.settings["ApimKey"] = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/key)"
	}},
	{id: "S7", name: "a placeholder", anchor: "settings-placeholder", set: func(s *stage) { s.settings["TargetApp"] = "api://{client id}" }},
	{id: "S8", name: "blanks around the key", anchor: "key-form", set: func(s *stage) { s.broken = func(s *stage) { s.settings["ApimKey"] += " " } }},
	{id: "S9", name: "a line break in the key", anchor: "key-form", set: func(s *stage) { s.settings["ApimKey"] = "0123456789abcdef\n" }},
	{id: "S10", name: "ApimUrl without a scheme", anchor: "url-form", set: func(s *stage) { s.settings["ApimUrl"] = "contoso.azure-api.net/orders" }},
	{id: "S11", name: "a setting for a function that does not exist", anchor: "settings-stray", set: func(s *stage) { s.settings["Pol__ApimUrl"] = "https://x" }},
	{id: "S12", name: "a function's own setting is misspelt", anchor: "settings-stray", set: func(s *stage) { s.settings["poll__ApimUrll"] = "https://x" }},

	{id: "M1", name: "an identity that is not attached", anchor: "identity-not-attached", set: func(s *stage) {
		s.settings["FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.DetachedClientID
	}},
	{id: "M2", name: "AZURE_CLIENT_ID changes the host's identity", anchor: "host-identity", set: func(s *stage) {
		s.broken = func(s *stage) { s.t.Setenv("AZURE_CLIENT_ID", sandbox.APIClientID) }
	}},
	{id: "M3", name: "no identity endpoint", anchor: "identity-endpoint-missing", set: func(s *stage) {
		s.broken = func(s *stage) { s.t.Setenv("IDENTITY_ENDPOINT", ""); s.t.Setenv("IDENTITY_HEADER", "") }
	}},
	{id: "M4", name: "nothing listens at the identity endpoint", anchor: "identity-endpoint-down", set: func(s *stage) {
		s.broken = func(s *stage) { s.t.Setenv("IDENTITY_ENDPOINT", "http://"+closedPort(s.t)+"/msi/token") }
	}},
	{id: "M5", name: "the identity endpoint hangs", anchor: "identity-endpoint-hangs", set: identityFault(sandbox.Fault{Name: sandbox.Hang})},
	{id: "M6", name: "IDENTITY_HEADER is wrong", anchor: "identity-header", set: func(s *stage) {
		s.broken = func(s *stage) { s.t.Setenv("IDENTITY_HEADER", "another") }
	}},
	{id: "M7", name: "TargetApp is misspelt", anchor: "resource-refused", set: func(s *stage) { s.settings["TargetApp"] = "api://5a9d0b0c-0000-4000-8000-00000000ffff" }},
	{id: "M7 platform", name: "the platform has a fault", anchor: "identity-platform", set: identityFault(sandbox.Fault{Name: sandbox.Status, Status: 503})},
	{id: "M8", name: "an assignment is demanded and missing", anchor: "resource-refused", set: func(s *stage) {
		s.settings["FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.StrangerClientID
		s.broken = func(s *stage) { must(s.t, s.identity.RequireAssignment(sandbox.APIURI, true)) }
	}},
	{id: "M9", name: "the identity was deleted and made anew", anchor: "client-unknown", set: func(s *stage) {
		s.endpoint = answers(400, "application/json", `{"statusCode":400,"message":"AADSTS700016: Application with identifier 'x' was not found in the directory 'y'."}`)
	}},
	{id: "M10", name: "the metadata service of a virtual machine says 400", why: "identity never asks it"},
	{id: "M11", name: "the metadata service wants a header", why: "identity never asks it"},
	{id: "M12", name: "too many requests for tokens", anchor: "identity-throttled", set: identityFault(sandbox.Fault{Name: sandbox.Status, Status: 429, RetryAfter: "7"})},
	{id: "M13", name: "the endpoint answers in the format of 2017", anchor: "identity-answer", set: func(s *stage) {
		s.endpoint = endpointAnswers(`{"access_token":"eyJ0.eyJ9.c2ln","expires_on":"09/14/2017 00:00:00 PM +00:00","resource":"r","token_type":"Bearer"}`)
	}},
	{id: "M14", name: "a proxy answers with a page", anchor: "identity-answer-html", set: identityFault(sandbox.Fault{Name: sandbox.HTML})},
	{id: "M15", name: "the answer holds no token", anchor: "identity-answer-empty", set: identityFault(sandbox.Fault{Name: sandbox.EmptyToken})},

	{id: "E1", name: "the client secret is wrong", anchor: "client-secret-wrong", set: func(s *stage) {
		s.registration(nil, nil)
		s.tenant.Applications[0].Secrets[0].Value = "another"
	}},
	{id: "E2", name: "the client secret has expired", anchor: "client-secret-expired", set: func(s *stage) {
		s.registration(nil, nil)
		s.tenant.Applications[0].Secrets[0].Expires = time.Now().Add(-time.Hour)
	}},
	{id: "E3", name: "no client_assertion or client_secret", why: "azidentity always sends one"},
	{id: "E4", name: "no service principal in the tenant", anchor: "client-no-principal", set: registered("7000229", "The client application is missing service principal in the tenant.")},
	{id: "E5", name: "the application is disabled", anchor: "client-disabled", set: func(s *stage) {
		s.registration(nil, nil)
		s.tenant.Applications[0].Disabled = true
	}},
	{id: "E6", name: "the client id is not in the tenant", anchor: "client-unknown", set: func(s *stage) {
		s.registration(nil, nil)
		s.tenant.Applications[0].ClientID = "5a9d0b0c-0000-4000-8000-00000000eeee"
	}},
	{id: "E7", name: "the certificate is not registered", anchor: "client-certificate", set: registered("700027", "The certificate used to sign the client assertion is not registered.")},
	{id: "E8", name: "the federated subject does not match", anchor: "federated-credential", set: registered("700213", "No matching federated identity record found.")},
	{id: "E9", name: "the tenant does not exist", anchor: "tenant-unknown", set: func(s *stage) {
		s.settings["TargetTenantID"] = "5a9d0b0c-0000-4000-8000-0000000000ee"
		s.developer("")
	}},
	{id: "E10", name: "the tenant is neither a GUID nor a domain", anchor: "tenant-unknown", set: registered("900023", "Specified tenant identifier is neither a valid DNS name, nor a valid external domain.")},
	{id: "E11", name: "the resource is not found", anchor: "resource-unknown", set: func(s *stage) {
		s.settings["TargetApp"] = "api://5a9d0b0c-0000-4000-8000-00000000ffff"
		s.registration(nil, nil)
	}},
	{id: "E12", name: "the resource is not among the permissions", anchor: "resource-not-listed", set: refused("650057", "Invalid resource.")},
	{id: "E13", name: "nobody consented to the CLI", anchor: "consent-missing", set: func(s *stage) {
		s.developer("")
		s.tenant.Resources = []sandbox.Resource{{Name: "api", ClientID: sandbox.APIClientID, URIs: []string{sandbox.APIURI}, Version: 2, Scopes: []string{"u"}}}
		s.tenant.Developer = &sandbox.Developer{NoConsent: true}
	}},
	{id: "E14", name: "a tool of Microsoft is not authorized", anchor: "tool-not-authorized", set: refused("65002", "Consent between first party application and first party resource must be configured.")},
	{id: "E15", name: "the person is not assigned", anchor: "person-not-assigned", set: func(s *stage) {
		s.developer("")
		broken := s.broken
		s.broken = func(s *stage) { broken(s); must(s.t, s.identity.RequireAssignment(sandbox.APIURI, true)) }
	}},
	{id: "E16", name: "the registration is not assigned", anchor: "assignment-required", set: func(s *stage) {
		s.registration(nil, nil)
		s.tenant.Applications[0].Roles = nil
		broken := s.broken
		s.broken = func(s *stage) { broken(s); must(s.t, s.identity.RequireAssignment(sandbox.APIURI, true)) }
	}},
	{id: "E17", name: "Conditional Access", anchor: "sign-in-blocked", set: refused("53003", "Access has been blocked by Conditional Access policies.")},
	{id: "E18", name: "the refresh token has expired", anchor: "sign-in-expired", set: refused("700082", "The refresh token has expired due to inactivity.")},
	{id: "E19", name: "a guest's account", anchor: "account-of-another-tenant", set: func(s *stage) {
		s.settings["TargetTenantID"] = sandbox.OtherTenantID
		s.developer("")
	}},
	{id: "E20", name: "an account that does not exist in the tenant", anchor: "account-of-another-tenant", set: refused("50034", "The user account does not exist in the directory.")},
	{id: "E21", name: "a delegated scope instead of the resource", anchor: "target-app-form", set: func(s *stage) { s.settings["TargetApp"] = sandbox.APIURI + "/user_impersonation" }},
	{id: "E22", name: "`resource` sent to the v2 endpoint", why: "azidentity sends a scope"},
	{id: "E23", name: "a malformed request", why: "a fault of the client's code"},
	{id: "E24", name: "the client asks in a loop", anchor: "identity-throttled",
		line: `{"time":"2026-11-25T10:00:00Z","level":"ERROR","msg":"invocation","function":"poll","status":500,"problem":"identity-unavailable","cause":"identity-throttled","error":"getting a token: too many requests: AADSTS50196: The server terminated an operation because it encountered a client request loop."}`},
	{id: "E25", name: "an administrator has to consent", anchor: "consent-missing", set: refused("90094", "Admin consent is required.")},
	{id: "E26", name: "az is not installed", anchor: "az-missing", set: func(s *stage) {
		s.developer("true")
		broken := s.broken
		s.broken = func(s *stage) { broken(s); s.t.Setenv("PATH", s.t.TempDir()) }
	}},
	{id: "E27", name: "nobody is signed in to az", anchor: "az-signed-out", set: func(s *stage) {
		s.developer("")
		s.tenant.Developer = &sandbox.Developer{SignedOut: true}
	}},
	{id: "E28", name: "az does not answer in time", anchor: "az-slow", set: func(s *stage) { s.developer("exec sleep 20"); s.options.times.token = time.Second }},
	{id: "E29", name: "az dies silently", anchor: "az-failed", set: func(s *stage) { s.developer("exit 1") }},
	{id: "E30", name: "az prints a banner", anchor: "az-output", set: func(s *stage) { s.developer("echo hello, an extension") }},
	{id: "E31", name: "TargetApp holds a quote", anchor: "target-app-form", set: func(s *stage) { s.settings["TargetApp"] = "api://o'brien"; s.developer("") }},
	{id: "E32", name: "a request for another tenant than the credential's", why: "identity makes one credential for each tenant"},
	{id: "E33", name: "an authority without https", anchor: "authority-form", set: func(s *stage) {
		s.registration(nil, nil)
		broken := s.broken
		s.broken = func(s *stage) { broken(s); s.t.Setenv("AZURE_AUTHORITY_HOST", "http://127.0.0.1:1/") }
	}},
	{id: "E34", name: "the authority does not resolve", anchor: "authority-unreachable", set: func(s *stage) {
		s.registration(nil, nil)
		broken := s.broken
		s.broken = func(s *stage) { broken(s); s.t.Setenv("AZURE_AUTHORITY_HOST", "https://login.invalid/") }
	}},
	{id: "E35", name: "the authority names another issuer", anchor: "authority-form", set: func(s *stage) {
		s.registration(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "openid-configuration") {
					base := "https://" + r.Host
					fmt.Fprintf(w, `{"issuer":"https://elsewhere.example/x","authorization_endpoint":"%s/a","token_endpoint":"%s/t","jwks_uri":"%s/k"}`, base, base, base)
					return
				}
				next.ServeHTTP(w, r)
			})
		}, nil)
	}},
	{id: "E36", name: "the authority's certificate is not trusted", anchor: "authority-certificate", set: func(s *stage) {
		cert, _, err := loopback.NewCertificate()
		must(s.t, err)
		s.registration(nil, &cert)
	}},

	{id: "A1", name: "the API reads the key from another header", anchor: "key-missing", set: func(s *stage) { s.api(func(a *gateway.API) { a.KeyHeader = "X-Key" }) }},
	{id: "A2", name: "a key that was regenerated", anchor: "key-invalid", set: func(s *stage) {
		s.broken = func(s *stage) {
			_, err := s.gate.RotateKey("sandbox", gateway.Primary)
			must(s.t, err)
		}
	}},
	{id: "A2 suspended", name: "a suspended subscription", anchor: "key-invalid", set: func(s *stage) {
		s.broken = func(s *stage) { must(s.t, s.gate.SetState("sandbox", gateway.Suspended)) }
	}},
	{id: "A3", name: "the token is refused, and nothing is known of the policy", anchor: "token-refused", set: func(s *stage) {
		s.settings["TargetRole"] = ""
		s.settings["FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.StrangerClientID
	}},
	{id: "A4", name: "a token of version 1 and metadata of version 2", anchor: "issuer-version", set: func(s *stage) {
		s.version(1)
		s.policy, s.values = shipped(s.t), entraValues(2)
		s.metadata("/v2.0")
	}},
	{id: "A4 mirrored", name: "a token of version 2 and metadata of version 1", anchor: "issuer-version", set: func(s *stage) {
		s.policy, s.values = shipped(s.t), entraValues(1)
		s.metadata("")
	}},
	{id: "A5", name: "the policy lists the other form of the audience", anchor: "token-audience", set: func(s *stage) {
		s.policy, s.values = shipped(s.t), entraValues(2)
		s.values["client-id"] = sandbox.APIURI
		s.front = withToken(answers(401, "application/json", `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`))
	}},
	{id: "A6", name: "the role was not granted", anchor: "role-missing", set: func(s *stage) {
		s.settings["FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.StrangerClientID
	}},
	{id: "A7", name: "another role was granted", anchor: "role-other", set: func(s *stage) {
		s.tenant.Identities = []sandbox.ManagedIdentity{{Name: "other", ClientID: sandbox.ReaderClientID, Roles: sandbox.Assignments{sandbox.APIClientID: {"api.read"}}}}
	}},
	{id: "A8", name: "a developer's token has no roles", anchor: "role-user", set: func(s *stage) { s.developer("") }},
	{id: "A9", name: "the gateway's clock is behind", anchor: "token-time", set: func(s *stage) {
		s.front = skewed(-10 * time.Minute)
		s.broken = func(s *stage) { must(s.t, s.gate.SetFaults(gateway.Faults{ClockSkewSeconds: -600})) }
	}},
	{id: "A10", name: "the gateway does not know the signing key", anchor: "token-signature", set: func(s *stage) {
		s.policy, s.values = shipped(s.t), entraValues(2)
		s.broken = func(s *stage) {
			s.send("warm the gateway's metadata")
			_, err := s.identity.RotateKeys(false)
			must(s.t, err)
			s.identity.Forget()
		}
	}},
	{id: "A11", name: "the backend refuses", anchor: "not-the-gateways", set: func(s *stage) { s.settings["ApimUrl"] = ""; s.below("/status/401") }},
	{id: "A12", name: "an ip-filter", anchor: "refusal-unclear", set: func(s *stage) {
		s.api(func(a *gateway.API) {
			a.Policy = parsePolicy(s.t, "filter.xml", strings.Replace(shipped(s.t), "<base />", `<base /><ip-filter action="allow"><address>192.0.2.1</address></ip-filter>`, 1))
		})
	}},
	{id: "A13", name: "the quota is spent", anchor: "quota-spent", set: func(s *stage) {
		s.front = withToken(answers(403, "application/json", `{ "statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 07:01:20." }`))
	}},
	{id: "A14", name: "the rate limit", anchor: "rate-limited", set: func(s *stage) {
		s.front = withToken(answers(429, "application/json", `{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds." }`))
	}},
	{id: "A15", name: "a path that no operation has", anchor: "operation-unknown", set: func(s *stage) {
		s.broken = func(s *stage) { s.settings["ApimUrl"] = strings.TrimSuffix(s.settings["ApimUrl"], apiPath) + "/order" }
	}},
	{id: "A15 method", name: "an operation with another method", anchor: "operation-unknown", set: func(s *stage) {
		s.api(func(a *gateway.API) {
			a.Operations = []gateway.Operation{{Name: "write", Method: "POST", Template: "/*"}}
		})
	}},
	{id: "A16", name: "the backend says 404", anchor: "backend-not-found", set: func(s *stage) { s.below("/status/404") }},
	{id: "A17", name: "the gateway does not reach its backend", anchor: "gateway-error", set: func(s *stage) { s.gateway.Backend = "http://" + closedPort(s.t) }},
	{id: "A18", name: "a front door's page", anchor: "front-door", set: func(s *stage) { s.front = answers(502, "text/html", "<html>502 Bad Gateway</html>") }},
	{id: "A19", name: "the gateway's name does not resolve", anchor: "gateway-name", set: func(s *stage) { s.settings["ApimUrl"] = "https://contoso.invalid/orders" }},
	{id: "A20", name: "the gateway takes no connections", anchor: "gateway-connection", set: func(s *stage) { s.settings["ApimUrl"] = "https://" + closedPort(s.t) + "/orders" }},
	{id: "A21", name: "the developer portal", anchor: "portal", set: func(s *stage) { s.front = answers(200, "text/html; charset=utf-8", "<html>portal</html>") }},
	{id: "A22", name: "a body above the tier's limit", anchor: "too-large",
		line: `{"time":"2026-11-25T10:00:00Z","level":"INFO","msg":"invocation","function":"poll","way":"proxied","method":"POST","path":"/api/orders","status":413,"upstream_status":413,"attempts":1,"key":"primary"}`},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// closedPort is an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func identityFault(f sandbox.Fault) func(s *stage) {
	return func(s *stage) {
		s.broken = func(s *stage) {
			f.On = sandbox.ToEndpoint
			must(s.t, s.identity.SetFault(f))
		}
	}
}

func registered(code, text string) func(s *stage) {
	return func(s *stage) { s.registration(entra(401, code, text), nil) }
}

func refused(code, text string) func(s *stage) { return func(s *stage) { s.refusedBy(code, text) } }

// endpointAnswers keeps the issuer, which the gateway needs.
func endpointAnswers(body string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		other := answers(200, "application/json", body)(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/msi/") {
				other.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// skewed dates answers by the gateway's clock, as a real one does.
func skewed(by time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
			next.ServeHTTP(w, r)
		})
	}
}

func (s *stage) api(change func(*gateway.API)) {
	a := gateway.API{Name: "orders", Path: apiPath, Policy: parsePolicy(s.t, "api.xml", shipped(s.t))}
	change(&a)
	s.gateway.APIs = []gateway.API{a}
}

func (s *stage) version(v int) {
	s.tenant.Resources = []sandbox.Resource{{Name: "api", ClientID: sandbox.APIClientID, URIs: []string{sandbox.APIURI}, Version: v}}
}

// metadata has the gateway trust the metadata of one version, whatever the tokens are.
func (s *stage) metadata(version string) { s.metadataOf(sandbox.TenantID, version) }

func (s *stage) metadataOf(tenant, version string) {
	s.front = func(next http.Handler) http.Handler {
		values := map[string]string{"openid-config-url": s.address + "/" + tenant + version + "/.well-known/openid-configuration",
			"client-id": sandbox.APIClientID, "app-id-uri": sandbox.APIURI}
		primary, _, err := s.gate.Keys("sandbox")
		must(s.t, err)
		g, err := gateway.New(gateway.Config{
			APIs: []gateway.API{{Name: "orders", Path: apiPath, Policy: parsePolicy(s.t, "api.xml", shipped(s.t))}}, NamedValues: values,
			Subscriptions: []gateway.Subscription{{Name: "sandbox", Product: "sandbox", Primary: primary}},
		})
		must(s.t, err)
		s.t.Cleanup(func() { _ = g.Close() })
		return g
	}
}

// below puts a path behind ApimUrl.
func (s *stage) below(path string) {
	delete(s.settings, "ApimUrl")
	s.broken = func(s *stage) { s.settings["ApimUrl"] += path }
}

// send makes one good call, past the doctor.
func (s *stage) send(why string) {
	s.t.Helper()
	tok, err := s.identity.MintToken(sandbox.Mint{ClientID: sandbox.ReaderClientID})
	must(s.t, err)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.settings["ApimUrl"], nil)
	must(s.t, err)
	req.Header.Set("Authorization", "Bearer "+tok)
	req.Header.Set("Ocp-Apim-Subscription-Key", s.settings["ApimKey"])
	res, err := http.DefaultClient.Do(req)
	must(s.t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: want 200, got %d", why, res.StatusCode)
	}
}

// Each set-up must name its own cause and no other, at least once.
func TestEachFailureNamesItsOwnCause(t *testing.T) {
	named, used := map[string]bool{}, map[string]bool{}
	untold := 0
	for _, row := range corpus {
		// "A2 suspended" is another set-up of the row A2, which is named when all its set-ups are.
		id, _, _ := strings.Cut(row.id, " ")
		if row.anchor == "" {
			untold++
			if row.why == "" {
				t.Errorf("%s: want a reason why it cannot be told", row.id)
			}
			continue
		}
		if _, other := named[id]; !other {
			named[id] = true
		}
		used[row.anchor] = true
		named[id] = t.Run(row.id+" "+row.name, func(t *testing.T) {
			s := newStage(t)
			var report *Report
			if row.line != "" {
				s.start()
				var err error
				report, err = Explain(strings.NewReader(row.line), s.load())
				must(t, err)
			} else {
				row.set(s)
				report = s.run()
			}
			if got := anchors(report); !slices.Equal(got, []string{row.anchor}) {
				t.Fatalf("want %s alone, got %v\n%s", row.anchor, got, table(t, report))
			}
			for _, r := range report.Checks {
				if r.Status == Finding && (r.Saw == "" || r.Fix == "") {
					t.Errorf("%s: want what was seen and a fix, got %q and %q", r.ID, r.Saw, r.Fix)
				}
			}
			s.mustHoldNoSecret(report)
		}) && named[id]
	}
	score := 0
	for _, all := range named {
		if all {
			score++
		}
	}
	t.Logf("%d of %d rows named, by %d entries of the catalogue; %d more rows cannot be told from inside", score, len(named), len(used), untold)
}

// mustHoldNoSecret looks for every secret of the set-up in all forms of the output.
func (s *stage) mustHoldNoSecret(r *Report) {
	s.t.Helper()
	var json strings.Builder
	must(s.t, r.WriteJSON(&json))
	out := table(s.t, r) + json.String()
	for _, secret := range []string{canaryHeader, canarySecret, strings.TrimSpace(s.settings["ApimKey"]), os.Getenv("IDENTITY_HEADER"), "eyJ"} {
		if len(secret) >= 3 && strings.Contains(out, secret) {
			s.t.Errorf("the output holds the secret %.6s…:\n%s", secret, out)
		}
	}
}
