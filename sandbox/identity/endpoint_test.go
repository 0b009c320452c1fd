package identity

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

// clock is a hand-moved one.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time          { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

func start(t *testing.T, cfg Config) (*Server, *httptest.Server) {
	t.Helper()
	s := New(cfg)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.ClearFault("") }) // lets hanging requests go
	return s, server
}

// ask asks the endpoint as azidentity does and returns status and body.
func ask(t *testing.T, s *Server, base, query string) (int, map[string]any) {
	t.Helper()
	req, _ := http.NewRequest("GET", base+"/msi/token?"+query, nil)
	req.Header.Set("X-IDENTITY-HEADER", s.Header())
	return do(t, req)
}

func do(t *testing.T, req *http.Request) (int, map[string]any) {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	var out map[string]any
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("status %d: body %q: %v", res.StatusCode, body, err)
	}
	return res.StatusCode, out
}

func query(pairs ...string) string {
	v := url.Values{"api-version": {"2019-08-01"}}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// claimsOf verifies a token with the key set that the server serves.
func claimsOf(t *testing.T, base, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithoutClaimsValidation()).ParseWithClaims(token, claims, keyFunc(t, base))
	if err != nil {
		t.Fatalf("verifying a token: %v", err)
	}
	return claims
}

func TestEndpointAnswersAsAppServiceDoes(t *testing.T) {
	tests := []struct {
		name, query string
		noHeader    bool
		status      int
		message     string // of the error body
		clientID    string
	}{
		{"no id means the system-assigned identity", query("resource", APIURI), false, 200, "", SystemClientID},
		{"a client id means a user-assigned identity", query("resource", APIURI, "client_id", ReaderClientID), false, 200, "", ReaderClientID},
		{"a client id in capitals is the same", query("resource", APIURI, "client_id", strings.ToUpper(ReaderClientID)), false, 200, "", ReaderClientID},
		{"an object id finds it too", query("resource", APIURI, "object_id", derivedID(ReaderClientID)), false, 200, "", ReaderClientID},
		{"its documented name is principal_id", query("resource", APIURI, "principal_id", derivedID(ReaderClientID)), false, 200, "", ReaderClientID},
		{"an ARM path finds it", query("resource", APIURI, "mi_res_id", New(Config{}).cfg.Identities[1].ResourceID), false, 200, "", ReaderClientID},
		{"the API's own client id is no identity", query("resource", APIURI, "client_id", APIClientID), false, 400, notAttached, ""},
		{"an object id is no client id", query("resource", APIURI, "client_id", derivedID(ReaderClientID)), false, 400, notAttached, ""},
		{"text that is no GUID has the same answer", query("resource", APIURI, "client_id", "reader"), false, 400, notAttached, ""},
		{"an empty client id is no system-assigned identity", query("resource", APIURI, "client_id", ""), false, 400, notAttached, ""},
		{"an identity that is not attached", query("resource", APIURI, "client_id", DetachedClientID), false, 400, notAttached, ""},
		{"an unknown resource", query("resource", APIURI+"x"), false, 500, noToken, ""},
		{"a scope is no resource", query("resource", APIURI+"/.default"), false, 500, noToken, ""},
		{"a delegated scope is no resource", query("resource", APIURI+"/user_impersonation"), false, 500, noToken, ""},
		{"Azure Resource Manager is always known", query("resource", "https://management.azure.com/"), false, 200, "", SystemClientID},
		{"no resource", query(), false, 400, "The parameter resource is missing.", ""},
		{"the header is missing", query("resource", APIURI), true, 401, "Unauthorized", ""},
		{"an old api-version", "api-version=2017-09-01&resource=x", false, 400, "The api-version is not supported.", ""},
	}
	s, server := start(t, Config{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, _ := http.NewRequest("GET", server.URL+"/msi/token?"+test.query, nil)
			if !test.noHeader {
				req.Header.Set("X-IDENTITY-HEADER", s.Header())
			}
			status, body := do(t, req)
			if status != test.status {
				t.Fatalf("status %d, want %d: %v", status, test.status, body)
			}
			if test.status != 200 {
				id, _ := body["correlationId"].(string)
				want := map[string]any{"statusCode": float64(test.status), "message": test.message, "correlationId": id}
				if diff := cmp.Diff(want, body); diff != "" || !isGUID(id) {
					t.Errorf("body (-want +got):\n%s", diff)
				}
				return
			}
			if body["client_id"] != test.clientID || body["token_type"] != "Bearer" {
				t.Errorf("client_id %v, token_type %v", body["client_id"], body["token_type"])
			}
			claims := claimsOf(t, server.URL, body["access_token"].(string))
			if got := strconv.FormatInt(int64(claims["exp"].(float64)), 10); body["expires_on"] != got {
				t.Errorf("expires_on %v, want %q as text", body["expires_on"], got)
			}
		})
	}
	if n := len(s.History(0)); n < len(tests) {
		t.Errorf("history holds %d requests, want %d at least", n, len(tests))
	}
}

func TestEndpointWithoutSystemAssignedIdentityRefusesNoID(t *testing.T) {
	s, server := start(t, Config{Identities: []ManagedIdentity{{Name: "only", ClientID: ReaderClientID}}})
	status, body := ask(t, s, server.URL, query("resource", APIURI))
	if status != 400 || body["message"] != notAttached {
		t.Errorf("got %d %v: one user-assigned identity is no substitute on App Service", status, body)
	}
}

func TestPlatformCache(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	s, server := start(t, Config{Now: c.Now})
	token := func(q string) string {
		t.Helper()
		status, body := ask(t, s, server.URL, q)
		if status != 200 {
			t.Fatalf("status %d: %v", status, body)
		}
		return body["access_token"].(string)
	}
	q := query("resource", APIURI)
	first := token(q)
	if err := s.Grant(SystemClientID, APIURI, "Api.Write"); err != nil {
		t.Fatal(err)
	}
	c.advance(23 * time.Hour)
	if token(q) != first {
		t.Error("after 23 hours and a new role the token is another, want the platform's cache")
	}
	if slash := token(query("resource", APIURI+"/")); slash == first {
		t.Error("another spelling of the resource has the same token, want another entry of the cache")
	}
	c.advance(time.Hour + time.Minute)
	second := token(q)
	if second == first {
		t.Fatal("after 24 hours the token is the same")
	}
	if diff := cmp.Diff([]any{"Api.Read", "Api.Write"}, claimsOf(t, server.URL, second)["roles"]); diff != "" {
		t.Errorf("roles of the new token (-want +got):\n%s", diff)
	}
	s.Forget()
	if token(q) == second {
		t.Error("told to forget, the platform still has the token")
	}
}

func TestAssignmentRequiredIsTheOpaque500(t *testing.T) {
	s, server := start(t, Config{})
	if err := s.RequireAssignment(APIURI, true); err != nil {
		t.Fatal(err)
	}
	status, body := ask(t, s, server.URL, query("resource", APIURI, "client_id", StrangerClientID))
	if status != 500 || body["message"] != noToken {
		t.Errorf("without a role: %d %v", status, body)
	}
	last := s.History(0)[0]
	if !strings.HasPrefix(last.Cause, "AADSTS501051: ") {
		t.Errorf("history says %q, want AADSTS501051", last.Cause)
	}
	if status, _ := ask(t, s, server.URL, query("resource", APIURI)); status != 200 {
		t.Errorf("with a role: %d", status)
	}
}

func TestClaimsFollowTheResourcesVersion(t *testing.T) {
	v1 := Resource{Name: "one", ClientID: "5a9d0b0c-0000-4000-8000-0000000001a1", URIs: []string{"api://one"}}
	v2 := Resource{Name: "two", ClientID: "5a9d0b0c-0000-4000-8000-0000000002a2", URIs: []string{"api://two"}, Version: 2, Idtyp: true}
	pinned := Resource{Name: "pinned", ClientID: "5a9d0b0c-0000-4000-8000-0000000003a3", URIs: []string{"api://pinned"}, UseGUID: true}
	s, server := start(t, Config{
		Resources:  []Resource{v1, v2, pinned},
		Identities: []ManagedIdentity{{Name: "system", ClientID: SystemClientID, System: true, Roles: Assignments{v1.ClientID: {"R"}}}},
	})
	v1Issuer, v2Issuer := "https://sts.windows.net/"+TenantID+"/", "https://login.microsoftonline.com/"+TenantID+"/v2.0"
	oid := derivedID(SystemClientID)
	tests := []struct {
		name, resource string
		want           map[string]any
		absent         []string
	}{
		{"v1 names what was asked for", "api://one", map[string]any{
			"ver": "1.0", "iss": v1Issuer, "aud": "api://one", "appid": SystemClientID, "appidacr": "2", "idp": v1Issuer,
			"roles": []any{"R"}, "oid": oid, "sub": oid, "tid": TenantID,
		}, []string{"azp", "idtyp", "xms_mirid", "scp"}},
		{"v1 with the slash that was asked for", "api://one/", map[string]any{"aud": "api://one/"}, nil},
		{"v1 by client id", v1.ClientID, map[string]any{"aud": v1.ClientID}, nil},
		{"v1 with the client id pinned", "api://pinned", map[string]any{"aud": pinned.ClientID}, []string{"roles"}},
		{"v2 names the client id", "api://two", map[string]any{
			"ver": "2.0", "iss": v2Issuer, "aud": v2.ClientID, "azp": SystemClientID, "azpacr": "2", "idtyp": "app",
		}, []string{"appid", "idp", "roles"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, body := ask(t, s, server.URL, query("resource", test.resource))
			token := body["access_token"].(string)
			claims := claimsOf(t, server.URL, token)
			for name, want := range test.want {
				if diff := cmp.Diff(want, claims[name]); diff != "" {
					t.Errorf("claim %s (-want +got):\n%s", name, diff)
				}
			}
			for _, name := range test.absent {
				if _, ok := claims[name]; ok {
					t.Errorf("claim %s is there: %v", name, claims[name])
				}
			}
			parsed, _, _ := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
			if _, ok := parsed.Header["x5t"]; ok != (claims["ver"] == "1.0") {
				t.Errorf("header x5t present: %v in a token of version %v", ok, claims["ver"])
			}
		})
	}
}

func TestHistoryHoldsNoSecret(t *testing.T) {
	s, server := start(t, Config{Header: "header-canary-7f"})
	_, body := ask(t, s, server.URL, query("resource", APIURI))
	form := url.Values{"client_id": {AppClientID}, "client_secret": {s.ClientSecret(AppClientID)}, "grant_type": {"client_credentials"}, "scope": {APIURI + "/.default"}}
	_, granted := post(t, server.URL+"/"+TenantID+"/oauth2/v2.0/token", form)
	text, _ := json.Marshal(s.History(0))
	for name, secret := range map[string]string{
		"token": body["access_token"].(string), "other token": granted["access_token"].(string), "header": s.Header(), "client secret": s.ClientSecret(AppClientID),
	} {
		if strings.Contains(string(text), secret) {
			t.Errorf("history holds the %s", name)
		}
	}
	if len(s.History(0)) != 2 || s.History(0)[0].Token == nil || len(s.History(1)) != 1 {
		t.Errorf("history: %s", text)
	}
}
