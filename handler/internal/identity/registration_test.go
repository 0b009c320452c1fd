package identity_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"software.sslmate.com/src/go-pkcs12"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
	sandbox "apimrelay/sandbox/identity"
)

const registration = "RunAs=App;AppId=" + sandbox.AppClientID + ";TenantId=" + sandbox.TenantID

func TestClientSecret(t *testing.T) {
	s := sandbox.New(sandbox.Config{})
	env := issuer(t, s)
	f := fetcher(t, registration+";AppKey="+s.ClientSecret(sandbox.AppClientID), env)
	for range 2 {
		if facts := fetch(t, f); facts.ClientID != sandbox.AppClientID || facts.Roles[0] != "Api.Read" {
			t.Fatalf("%+v", facts)
		}
	}
	asked := 0
	for _, r := range s.History(0) {
		switch r.Kind {
		case "client secret":
			asked++
		case "metadata":
		default:
			t.Errorf("an unexpected request: %+v", r)
		}
	}
	if asked != 2 {
		t.Errorf("%d requests for 2 fetches: a cache answered", asked)
	}
}

func TestRefusalsOfEntra(t *testing.T) {
	expired := sandbox.Application{ClientID: "5a9d0b0c-0000-4000-8000-00000000e500", Secrets: []sandbox.Secret{{ID: "x", Value: "old-canary-secret", Expires: time.Now().Add(-time.Hour)}}}
	app := sandbox.Application{ClientID: sandbox.AppClientID, Secrets: []sandbox.Secret{{ID: "y", Value: "new-canary-secret"}}}
	const good = registration + ";AppKey=new-canary-secret"
	for _, tc := range []struct {
		name, connection, resource string
		fault                      *sandbox.Fault
		kind                       token.Kind
		text, hint                 string
		retryAfter                 time.Duration
	}{
		{name: "a wrong secret", connection: registration + ";AppKey=bad-canary-secret", kind: token.Refused, text: "the client secret is wrong: AADSTS7000215", hint: "put the password into AppKey"},
		{name: "an expired secret", connection: "RunAs=App;AppId=" + expired.ClientID + ";TenantId=" + sandbox.TenantID + ";AppKey=old-canary-secret", kind: token.Refused,
			text: "the client secret has expired: AADSTS7000222", hint: "az ad app credential reset --id "},
		{name: "an unknown client id", connection: "RunAs=App;AppId=" + guidA + ";TenantId=" + sandbox.TenantID + ";AppKey=x-canary-secret", kind: token.Refused,
			text: "the tenant does not know the client id: AADSTS700016", hint: "correct AppId or TenantId"},
		{name: "an unknown tenant", connection: "RunAs=App;AppId=" + guidA + ";TenantId=" + guidT + ";AppKey=x-canary-secret", kind: token.Refused,
			text: "there is no such tenant: AADSTS90002", hint: "correct TargetTenantID or TenantId"},
		{name: "an unknown resource", connection: good, resource: "api://nobody", kind: token.Refused, text: "the tenant does not know TargetApp: AADSTS500011", hint: "correct TargetApp"},
		{name: "503", connection: good, fault: &sandbox.Fault{Name: sandbox.Status, Status: 503, RetryAfter: "9"}, kind: token.Unavailable, text: "answered 503", retryAfter: 9 * time.Second},
		{name: "garbage for metadata", connection: good, fault: &sandbox.Fault{Name: sandbox.Garbage}, kind: token.Unavailable, text: "answered 200 with something unusable"},
		{name: "a connection that is reset", connection: good, fault: &sandbox.Fault{Name: sandbox.Reset}, kind: token.Unavailable, text: "asking the authority https://127.0.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := sandbox.New(sandbox.Config{Applications: []sandbox.Application{expired, app}})
			env := issuer(t, s)
			if tc.fault != nil {
				if err := s.SetFault(*tc.fault); err != nil {
					t.Fatal(err)
				}
			}
			if tc.resource == "" {
				tc.resource = sandbox.APIURI
			}
			f, err := parsed(t, tc.connection).Fetch(tc.resource, env)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f(t.Context())
			if e := wantError(t, err, tc.kind, tc.text, tc.hint, "canary"); e.RetryAfter != tc.retryAfter || strings.Contains(e.Error(), "Trace ID") {
				t.Errorf("%q, RetryAfter %s, want %s", e, e.RetryAfter, tc.retryAfter)
			}
		})
	}
}

func TestAnAuthorityThatIsNotTrusted(t *testing.T) {
	env := issuer(t, sandbox.New(sandbox.Config{}))
	env.RootCAs = nil
	_, err := fetcher(t, registration+";AppKey=canary-secret", env)(t.Context())
	wantError(t, err, token.Unavailable, "certificate", "SSL_CERT_FILE", "canary")
}

func TestAnAuthorityWithoutTLSIsRefused(t *testing.T) {
	_, err := parsed(t, registration+";AppKey=canary-secret").Fetch("api://orders", identity.Env{Lookup: lookup(map[string]string{"AZURE_AUTHORITY_HOST": "http://127.0.0.1:1/"})})
	wantError(t, err, token.Refused, "want https://", "AZURE_AUTHORITY_HOST", "canary")
}

// certificate makes a self-signed certificate and its thumbprint, as App Service names it: SHA-1 in upper case.
func certificate(t *testing.T) (*x509.Certificate, *rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(der)
	return cert, key, strings.ToUpper(hex.EncodeToString(sum[:]))
}

func pemOf(t *testing.T, cert *x509.Certificate, key *rsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
}

func TestClientCertificate(t *testing.T) {
	cert, key, thumbprint := certificate(t)
	s := sandbox.New(sandbox.Config{Applications: []sandbox.Application{{ClientID: sandbox.AppClientID, Certificates: []*x509.Certificate{cert},
		Roles: sandbox.Assignments{sandbox.APIClientID: {"Api.Read"}}}}})
	env := issuer(t, s)
	pfx := func(e *pkcs12.Encoder, password string) []byte {
		data, err := e.Encode(key, cert, nil, password)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	other, otherKey, _ := certificate(t)
	connection := registration + ";CertificateStoreLocation=CurrentUser;CertificateThumbprint="
	for _, tc := range []struct {
		name, file, asked string
		data              []byte
		text              string // "" = a token
	}{
		{"PEM under App Service's name", thumbprint + ".p12", thumbprint, pemOf(t, cert, key), ""},
		{"PEM under its own", thumbprint + ".pem", thumbprint, pemOf(t, cert, key), ""},
		{"PFX as Windows writes it", thumbprint + ".p12", thumbprint, pfx(pkcs12.LegacyRC2, ""), ""},
		{"PFX as OpenSSL 3 writes it", thumbprint + ".p12", thumbprint, pfx(pkcs12.Modern, ""), ""},
		{"a thumbprint in lower case", thumbprint + ".p12", strings.ToLower(thumbprint), pfx(pkcs12.Modern, ""), ""},
		{"PFX with a password", thumbprint + ".p12", thumbprint, pfx(pkcs12.Modern, "pw-canary"), "protected by a password"},
		{"a certificate without its key", thumbprint + ".p12", thumbprint, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), "neither PEM nor PFX"},
		{"garbage", thumbprint + ".p12", thumbprint, []byte("garbage-canary"), "neither PEM nor PFX"},
		{"another certificate", "AB.p12", thumbprint, pemOf(t, cert, key), "not among the 1 file of"},
		{"a certificate that is not registered", thumbprint + ".p12", thumbprint, pemOf(t, other, otherKey), "the certificate is not accepted: AADSTS700027"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := env
			env.CertificateFolder = t.TempDir()
			if err := os.WriteFile(filepath.Join(env.CertificateFolder, tc.file), tc.data, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := parsed(t, connection+tc.asked).Fetch(sandbox.APIURI, env)
			if err == nil && tc.text != "" {
				_, err = f(t.Context())
			}
			if tc.text != "" {
				wantError(t, err, token.Refused, tc.text, "", "canary")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if facts := fetch(t, f); facts.ClientID != sandbox.AppClientID {
				t.Fatalf("%+v", facts)
			}
			// Renewed on disk: read again at the next fetch.
			if err := os.Remove(filepath.Join(env.CertificateFolder, tc.file)); err != nil {
				t.Fatal(err)
			}
			_, err = f(t.Context())
			wantError(t, err, token.Refused, "not among the 0 files", "WEBSITE_LOAD_CERTIFICATES")
		})
	}
}

func TestACertificateElsewhereIsRefused(t *testing.T) {
	c := parsed(t, registration+";CertificateStoreLocation=CurrentUser;CertificateThumbprint=AB")
	_, err := c.Fetch("api://orders", identity.Env{CertificateFolder: filepath.Join(t.TempDir(), "none")})
	wantError(t, err, token.Refused, "no certificate folder of App Service", "use a managed identity")
}

func TestWorkloadIdentity(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := sandbox.New(sandbox.Config{Applications: []sandbox.Application{{ClientID: sandbox.AppClientID, Roles: sandbox.Assignments{sandbox.APIClientID: {"Api.Write"}},
		Federated: []sandbox.FederatedCredential{{Issuer: "https://cluster.example", Subject: "system:serviceaccount:default:relay", Keys: []any{key.Public()}}}}}})
	env := issuer(t, s)
	file := filepath.Join(t.TempDir(), "token")
	platform := func(subject string) {
		t.Helper()
		text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": "https://cluster.example", "sub": subject, "aud": "api://AzureADTokenExchange",
			"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, _ := env.Lookup("AZURE_AUTHORITY_HOST")
	all := map[string]string{"AZURE_AUTHORITY_HOST": host, "AZURE_CLIENT_ID": sandbox.AppClientID, "AZURE_TENANT_ID": sandbox.TenantID, "AZURE_FEDERATED_TOKEN_FILE": file}
	env.Lookup = lookup(all)
	platform("system:serviceaccount:default:relay")
	f := fetcher(t, "RunAs=Workload", env)
	if facts := fetch(t, f); facts.ClientID != sandbox.AppClientID || facts.Roles[0] != "Api.Write" {
		t.Fatalf("%+v", facts)
	}
	platform("system:serviceaccount:default:other") // the platform rotates the file: azidentity alone would read it again after ten minutes
	_, err = f(t.Context())
	wantError(t, err, token.Refused, "AADSTS700213", "compare issuer, subject and audiences")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = f(t.Context())
	wantError(t, err, token.Refused, "is empty", "RunAs=App")

	platform("system:serviceaccount:default:relay")
	delete(all, "AZURE_CLIENT_ID")
	delete(all, "AZURE_TENANT_ID")
	fetch(t, fetcher(t, "RunAs=Workload;AppId="+sandbox.AppClientID+";TenantId="+sandbox.TenantID, env))
	_, err = parsed(t, "RunAs=Workload").Fetch("api://orders", env)
	wantError(t, err, token.Refused, "AZURE_CLIENT_ID, AZURE_TENANT_ID not set", "a function app uses RunAs=App")
}

func TestAHangingAuthorityEndsWithTheContext(t *testing.T) {
	s := sandbox.New(sandbox.Config{})
	env := issuer(t, s)
	if err := s.SetFault(sandbox.Fault{Name: sandbox.Hang}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextWithin(t, 100*time.Millisecond)
	defer cancel()
	_, err := fetcher(t, registration+";AppKey=canary-secret", env)(ctx)
	wantError(t, err, token.Unavailable, "did not answer in time", "", "canary")
}

// An application of another tenant proves itself with the token of a managed identity.
func TestFederatedIdentity(t *testing.T) {
	const application = "5a9d0b0c-0000-4000-8000-0000000000e7"
	const connection = "RunAs=App;AppId=" + application + ";TenantId=" + sandbox.OtherTenantID + ";FederatedIdentity="
	s := sandbox.New(sandbox.Config{Applications: []sandbox.Application{{
		Name: "partner", ClientID: application, Tenants: []string{sandbox.OtherTenantID}, Roles: sandbox.Assignments{sandbox.APIClientID: {"Api.Read"}},
		Federated: []sandbox.FederatedCredential{{Issuer: "https://login.microsoftonline.com/" + sandbox.TenantID + "/v2.0", Subject: "0b7ec700-0000-4000-8000-0000000000c2"}},
	}}})
	env := issuer(t, s)
	endpoint := httptest.NewServer(s.Endpoint())
	t.Cleanup(endpoint.Close)
	t.Setenv("IDENTITY_ENDPOINT", endpoint.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", s.Header())
	authority := env.Lookup
	env.Lookup = func(name string) (string, bool) {
		if value, ok := authority(name); ok {
			return value, ok
		}
		return os.LookupEnv(name)
	}
	facts := fetch(t, fetcher(t, connection+sandbox.ReaderClientID, env))
	if facts.TenantID != sandbox.OtherTenantID || facts.ClientID != application || !slices.Equal(facts.Roles, []string{"Api.Read"}) {
		t.Errorf("want the application's token of the other tenant, got tenant %s, client %s, roles %v", facts.TenantID, facts.ClientID, facts.Roles)
	}
	for _, tc := range []struct {
		name, connection, hint string
		want                   cause.Code
	}{
		{"an identity that is not attached", connection + sandbox.DetachedClientID, "FederatedIdentity must be the client id", cause.IdentityNotAttached},
		{"an identity without a credential", connection + sandbox.WriterClientID, "az ad app federated-credential list --id " + application, cause.FederatedCredential},
		{"a tenant that does not know the application", strings.Replace(connection, sandbox.OtherTenantID, sandbox.TenantID, 1) + sandbox.ReaderClientID, "", cause.ClientUnknown},
	} {
		_, err := fetcher(t, tc.connection, env)(t.Context())
		if e := wantError(t, err, token.Refused, "", tc.hint, s.Header()); e.Code != tc.want {
			t.Errorf("%s: want %s, got %s: %v", tc.name, tc.want, e.Code, e)
		}
	}
	if _, err := parsed(t, connection+sandbox.ReaderClientID).Fetch(sandbox.APIURI, identity.Env{}); token.CodeOf(err) != cause.IdentityEndpointMissing {
		t.Errorf("without an endpoint: want identity-endpoint-missing, got %v", err)
	}
}
