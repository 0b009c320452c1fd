package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keyFunc finds keys the way a gateway does: metadata, key set, kid.
func keyFunc(t *testing.T, base string) jwt.Keyfunc {
	t.Helper()
	doc := get(t, base+"/"+TenantID+"/v2.0/.well-known/openid-configuration")
	set := get(t, doc["jwks_uri"].(string))
	return func(token *jwt.Token) (any, error) {
		for _, k := range set["keys"].([]any) {
			key := k.(map[string]any)
			if key["kid"] == token.Header["kid"] {
				n, _ := base64.RawURLEncoding.DecodeString(key["n"].(string))
				e, _ := base64.RawURLEncoding.DecodeString(key["e"].(string))
				return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
			}
		}
		return nil, fmt.Errorf("no key %v", token.Header["kid"])
	}
}

func get(t *testing.T, url string) map[string]any {
	t.Helper()
	req, _ := http.NewRequest("GET", url, nil)
	status, body := do(t, req)
	if status != 200 {
		t.Fatalf("GET %s: status %d: %v", url, status, body)
	}
	return body
}

func post(t *testing.T, url string, form url.Values) (int, map[string]any) {
	t.Helper()
	req, _ := http.NewRequest("POST", url, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, req)
}

func TestMetadata(t *testing.T) {
	_, server := start(t, Config{})
	for _, test := range []struct{ name, path, issuer, token string }{
		{"v1", TenantID, "https://sts.windows.net/" + TenantID + "/", "/oauth2/token"},
		{"v2", TenantID + "/v2.0", "https://login.microsoftonline.com/" + TenantID + "/v2.0", "/oauth2/v2.0/token"},
		{"common has a template", "common/v2.0", "https://login.microsoftonline.com/{tenantid}/v2.0", "/oauth2/v2.0/token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := get(t, server.URL+"/"+test.path+"/.well-known/openid-configuration")
			if doc["issuer"] != test.issuer || !strings.HasSuffix(doc["token_endpoint"].(string), test.token) || doc["authorization_endpoint"] == nil {
				t.Errorf("document: %v", doc)
			}
			if keys := get(t, doc["jwks_uri"].(string))["keys"].([]any); len(keys) != 1 {
				t.Errorf("%d keys, want 1", len(keys))
			}
		})
	}
}

func TestKeysAreFreshAtEachStart(t *testing.T) {
	a, b := New(Config{}), New(Config{})
	if string(a.KeySet()) == string(b.KeySet()) {
		t.Error("two servers share their keys")
	}
}

func TestTokenEndpoint(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	cfg := Config{Now: c.Now, Applications: []Application{
		{Name: "app", ClientID: AppClientID, Secrets: []Secret{{Value: "old-1", Expires: c.now.Add(-time.Hour)}, {Value: "good-1"}}, Roles: Assignments{APIClientID: {"Api.Read"}}},
		{Name: "off", ClientID: "5a9d0b0c-0000-4000-8000-0000000000e5", Disabled: true, Secrets: []Secret{{Value: "x"}}},
		{Name: "bare", ClientID: "5a9d0b0c-0000-4000-8000-0000000000e7", Secrets: []Secret{{Value: "x"}}},
	}}
	s, server := start(t, cfg)
	tests := []struct {
		name, tenant, change string // change: name=value, "" value removes
		v1, assignment       bool
		status               int
		kind                 string
		code                 float64
	}{
		{"a secret is good for a token", TenantID, "", false, false, 200, "", 0},
		{"the OpenID scopes beside it are dropped", TenantID, "scope=" + APIURI + "/.default openid offline_access profile", false, false, 200, "", 0},
		{"v1 takes a resource", TenantID, "resource=" + APIURI, true, false, 200, "", 0},
		{"wrong secret", TenantID, "client_secret=wrong", false, false, 401, "invalid_client", 7000215},
		{"expired secret", TenantID, "client_secret=old-1", false, false, 401, "invalid_client", 7000222},
		{"no secret", TenantID, "client_secret=", false, false, 401, "invalid_client", 7000218},
		{"unknown client", TenantID, "client_id=" + ReaderClientID, false, false, 400, "unauthorized_client", 700016},
		{"disabled client", TenantID, "client_id=5a9d0b0c-0000-4000-8000-0000000000e5", false, false, 400, "unauthorized_client", 7000112},
		{"unknown tenant", OtherTenantID, "", false, false, 400, "invalid_request", 90002},
		{"a tenant that is no name", "sand box", "", false, false, 400, "invalid_request", 900023},
		{"unknown resource", TenantID, "scope=api://nobody/.default", false, false, 400, "invalid_resource", 500011},
		{"scope without /.default", TenantID, "scope=" + APIURI, false, false, 400, "invalid_scope", 1002012},
		{"two resources", TenantID, "scope=a/.default b/.default", false, false, 400, "invalid_scope", 70011},
		{"v2 with a resource", TenantID, "resource=x", false, false, 400, "invalid_request", 901002},
		{"a password grant", TenantID, "grant_type=password", false, false, 400, "unsupported_grant_type", 70003},
		{"assignment required and none there", TenantID, "client_id=5a9d0b0c-0000-4000-8000-0000000000e7&client_secret=x", false, true, 400, "invalid_grant", 501051},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.RequireAssignment(APIURI, test.assignment)
			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {AppClientID}, "client_secret": {"good-1"}, "scope": {APIURI + "/.default"}}
			for pair := range strings.SplitSeq(test.change, "&") {
				if name, value, ok := strings.Cut(pair, "="); ok {
					form.Set(name, value)
				}
			}
			path := "/oauth2/v2.0/token"
			if test.v1 {
				path = "/oauth2/token"
			}
			status, body := post(t, server.URL+"/"+url.PathEscape(test.tenant)+path, form)
			if status != test.status {
				t.Fatalf("status %d, want %d: %v", status, test.status, body)
			}
			if status == 200 {
				claims := claimsOf(t, server.URL, body["access_token"].(string))
				life := time.Duration(claims["exp"].(float64)-claims["iat"].(float64)) * time.Second
				if claims["azpacr"] != "1" || life < time.Hour || life > 90*time.Minute {
					t.Errorf("azpacr %v, life %v", claims["azpacr"], life)
				}
				return
			}
			codes := body["error_codes"].([]any)
			if body["error"] != test.kind || codes[0] != test.code ||
				!strings.HasPrefix(body["error_description"].(string), fmt.Sprintf("AADSTS%.0f: ", test.code)) {
				t.Errorf("body: %v", body)
			}
			for _, name := range []string{"timestamp", "trace_id", "correlation_id"} {
				if body[name] == "" || body[name] == nil {
					t.Errorf("no %s in %v", name, body)
				}
			}
		})
	}
}

func TestAssertions(t *testing.T) {
	key, cert := selfSigned(t)
	otherKey, otherCert := selfSigned(t)
	cfg := Config{Applications: []Application{{
		Name: "app", ClientID: AppClientID, Certificates: []*x509.Certificate{cert}, Roles: Assignments{APIClientID: {"Api.Read"}},
		Federated: []FederatedCredential{{Issuer: "https://cluster.example", Subject: "system:serviceaccount:ns:app", Keys: []any{otherKey.Public()}}},
	}}}
	s := New(cfg)
	server := httptest.NewTLSServer(s.Issuer())
	defer server.Close()
	endpoint := server.URL + "/" + TenantID + "/oauth2/v2.0/token"
	own := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{"iss": AppClientID, "sub": AppClientID, "aud": endpoint, "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
		if change != nil {
			change(c)
		}
		return c
	}
	foreign := func(change func(jwt.MapClaims)) jwt.MapClaims {
		return own(func(c jwt.MapClaims) {
			c["iss"], c["sub"], c["aud"] = "https://cluster.example", "system:serviceaccount:ns:app", "api://AzureADTokenExchange"
			if change != nil {
				change(c)
			}
		})
	}
	tests := []struct {
		name   string
		key    *rsa.PrivateKey
		cert   *x509.Certificate
		claims jwt.MapClaims
		code   float64
	}{
		{"a registered certificate is good for a token", key, cert, own(nil), 0},
		{"an unregistered certificate", otherKey, otherCert, own(nil), 700027},
		{"another key behind a registered thumbprint", otherKey, cert, own(nil), 700027},
		{"an assertion of yesterday", key, cert, own(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-24 * time.Hour).Unix() }), 700024},
		{"an assertion for somebody else", key, cert, own(func(c jwt.MapClaims) { c["aud"] = "https://other.example/token" }), 50027},
		{"a federated assertion is good for a token", otherKey, nil, foreign(nil), 0},
		{"an unknown issuer", otherKey, nil, foreign(func(c jwt.MapClaims) { c["iss"] = "https://else.example" }), 700211},
		{"another audience", otherKey, nil, foreign(func(c jwt.MapClaims) { c["aud"] = "api://else" }), 700212},
		{"a subject that differs in case", otherKey, nil, foreign(func(c jwt.MapClaims) { c["sub"] = "system:serviceaccount:NS:app" }), 700213},
		{"a federated assertion signed by another key", key, nil, foreign(nil), 700027},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token := jwt.NewWithClaims(jwt.SigningMethodRS256, test.claims)
			if test.cert != nil {
				sum := sha1.Sum(test.cert.Raw)
				token.Header["x5t"] = base64.RawURLEncoding.EncodeToString(sum[:])
			}
			assertion, err := token.SignedString(test.key)
			if err != nil {
				t.Fatal(err)
			}
			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {AppClientID}, "scope": {APIURI + "/.default"}, "client_assertion": {assertion},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
			res, err := server.Client().PostForm(endpoint, form)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var body map[string]any
			if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if test.code == 0 {
				if res.StatusCode != 200 || body["access_token"] == "" {
					t.Errorf("status %d: %v", res.StatusCode, body)
				}
				return
			}
			if codes, _ := body["error_codes"].([]any); len(codes) != 1 || codes[0] != test.code {
				t.Errorf("status %d: %v, want AADSTS%.0f", res.StatusCode, body, test.code)
			}
		})
	}
}

func selfSigned(t *testing.T) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}
