package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const federatedApp = "5a9d0b0c-0000-4000-8000-0000000000e7"

func assertionForm(client, assertion string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {APIURI + "/.default"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion}}
}

// managedToken is what the identity endpoint gives the reader for a resource.
func managedToken(t *testing.T, s *Server, base, resource string) string {
	t.Helper()
	req, _ := http.NewRequest("GET", base+"/msi/token?api-version=2019-08-01&client_id="+ReaderClientID+"&resource="+url.QueryEscape(resource), nil)
	req.Header.Set("X-IDENTITY-HEADER", s.Header())
	status, body := do(t, req)
	if status != 200 {
		t.Fatalf("status %d: %v", status, body)
	}
	return body["access_token"].(string)
}

// A managed identity's token is the assertion of an application in another tenant.
func TestATokenOfAManagedIdentityIsAnAssertion(t *testing.T) {
	home := issuerOf(TenantID)
	reader := derivedID(ReaderClientID)
	for name, tc := range map[string]struct {
		flag, tenant, resource string
		want                   string // "" = a token
	}{
		"it fits":                {OtherTenantID + "/" + federatedApp + "=" + home + "," + reader, OtherTenantID, exchangeURI, ""},
		"another issuer":         {OtherTenantID + "/" + federatedApp + "=" + issuerOf(OtherTenantID) + "," + reader, OtherTenantID, exchangeURI, "AADSTS700211"},
		"another subject":        {OtherTenantID + "/" + federatedApp + "=" + home + "," + ReaderClientID, OtherTenantID, exchangeURI, "AADSTS700213"},
		"another audience":       {OtherTenantID + "/" + federatedApp + "=" + home + "," + reader, OtherTenantID, APIURI, "AADSTS700212"},
		"the application's home": {OtherTenantID + "/" + federatedApp + "=" + home + "," + reader, TenantID, exchangeURI, "AADSTS700016"},
		"no such tenant":         {federatedApp + "=" + home + "," + reader, OtherTenantID, exchangeURI, "AADSTS90002"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{}
			if err := cfg.federate(tc.flag); err != nil {
				t.Fatal(err)
			}
			s, server := start(t, cfg)
			status, body := post(t, server.URL+"/"+tc.tenant+"/oauth2/v2.0/token", assertionForm(federatedApp, managedToken(t, s, server.URL, tc.resource)))
			if tc.want != "" {
				if text, _ := body["error_description"].(string); !strings.HasPrefix(text, tc.want+":") {
					t.Fatalf("want %s, got %d %v", tc.want, status, body)
				}
				return
			}
			if status != 200 {
				t.Fatalf("want a token, got %d %v", status, body)
			}
			claims := jwt.MapClaims{}
			if _, _, err := jwt.NewParser().ParseUnverified(body["access_token"].(string), claims); err != nil {
				t.Fatal(err)
			}
			if claims["tid"] != OtherTenantID || claims["azp"] != federatedApp || claims["iss"] != issuerOf(OtherTenantID) || claims["roles"] == nil {
				t.Errorf("want a token of the application in the other tenant, got %v", claims)
			}
			if doc := get(t, server.URL+"/"+OtherTenantID+"/v2.0/.well-known/openid-configuration"); doc["issuer"] != issuerOf(OtherTenantID) {
				t.Errorf("want metadata of the other tenant, got %v", doc["issuer"])
			}
		})
	}
}

func TestAnApplicationWithoutACredentialSaysSo(t *testing.T) {
	s, server := start(t, Config{})
	_, body := post(t, server.URL+"/"+TenantID+"/oauth2/v2.0/token", assertionForm(AppClientID, managedToken(t, s, server.URL, exchangeURI)))
	if text, _ := body["error_description"].(string); !strings.HasPrefix(text, "AADSTS70021:") {
		t.Errorf("want AADSTS70021, got %v", body)
	}
}

func TestAFlagThatIsNoCredentialIsRefused(t *testing.T) {
	for _, text := range []string{"", "x", federatedApp, federatedApp + "=issuer", "app=issuer,subject", "x/" + federatedApp + "=i,s", federatedApp + "=,s", federatedApp + "=i,"} {
		if err := new(Config).federate(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestAPretendedClustersTokenGetsOne(t *testing.T) {
	cfg := Config{}
	if err := cfg.federate(AppClientID + "=" + clusterIssuer + "," + clusterSubject); err != nil {
		t.Fatal(err)
	}
	s, server := start(t, cfg)
	file := filepath.Join(t.TempDir(), "token")
	if err := s.writeWorkloadToken(file); err != nil {
		t.Fatal(err)
	}
	assertion, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := post(t, server.URL+"/"+TenantID+"/oauth2/v2.0/token", assertionForm(AppClientID, string(assertion))); status != 200 {
		t.Errorf("want a token, got %d %v", status, body)
	}
}

// MSAL.NET writes moments as texts, PS256 and x5t#S256 in every request with a certificate.
func TestAnAssertionAsDotnetWritesIt(t *testing.T) {
	key, cert := selfSigned(t)
	sum := sha256.Sum256(cert.Raw)
	_, server := start(t, Config{Applications: []Application{{Name: "app", ClientID: AppClientID, Certificates: []*x509.Certificate{cert}}}})
	address := server.URL + "/" + TenantID + "/oauth2/v2.0/token"
	now := time.Now()
	for name, tc := range map[string]struct {
		begins, ends time.Time
		want         string
	}{
		"now":     {now, now.Add(10 * time.Minute), ""},
		"ended":   {now.Add(-time.Hour), now.Add(-30 * time.Minute), "AADSTS700024"},
		"not yet": {now.Add(time.Hour), now.Add(2 * time.Hour), "AADSTS700024"},
	} {
		token := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.MapClaims{"aud": address, "iss": AppClientID, "sub": AppClientID, "jti": "1",
			"nbf": strconv.FormatInt(tc.begins.Unix(), 10), "exp": strconv.FormatInt(tc.ends.Unix(), 10)})
		token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
		assertion, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		status, body := post(t, address, assertionForm(AppClientID, assertion))
		if text, _ := body["error_description"].(string); (status == 200) != (tc.want == "") || !strings.HasPrefix(text, tc.want) {
			t.Errorf("%s: want %q, got %d %v", name, tc.want, status, body)
		}
	}
}

func TestOfSeveralIdsTheFirstDecides(t *testing.T) {
	s, server := start(t, Config{})
	for range 20 {
		req, _ := http.NewRequest("GET", server.URL+"/msi/token?api-version=2019-08-01&resource="+url.QueryEscape(APIURI)+"&mi_res_id=x&client_id="+ReaderClientID, nil)
		req.Header.Set("X-IDENTITY-HEADER", s.Header())
		if status, body := do(t, req); status != 200 {
			t.Fatalf("want 200 each time, got %d %v", status, body)
		}
	}
}

func TestAnOldVersionIsRefusedByItsName(t *testing.T) {
	s, server := start(t, Config{})
	req, _ := http.NewRequest("GET", server.URL+"/msi/token?api-version=2017-09-01&resource="+url.QueryEscape(APIURI), nil)
	req.Header.Set("Secret", s.Header())
	if status, body := do(t, req); status != 400 || !strings.Contains(s.History(0)[0].Cause, `api-version "2017-09-01" is not played`) {
		t.Errorf("want 400 by the version's name, got %d %v, %s", status, body, s.History(0)[0].Cause)
	}
}
