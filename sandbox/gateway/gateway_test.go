package gateway_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/internal/policy"
	"apimrelay/internal/poll"
	"apimrelay/internal/secret"
	"apimrelay/sandbox/gateway"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tenant   = "aaaaaaaa-0000-0000-0000-000000000000"
	clientID = "11111111-1111-1111-1111-111111111111"
	primary  = "primary-key"
	another  = "secondary-key"
)

// issuer is a fake of an OpenID Connect issuer. It counts fetches of its key set.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	key     *rsa.PrivateKey
	kid     string
	broken  bool
	fetches atomic.Int32
}

var testKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

func newIssuer(t *testing.T, tls bool) *issuer {
	t.Helper()
	i := &issuer{key: testKeys()[0], kid: "k1"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /"+tenant+"/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.broken {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.name(), "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetches.Add(1)
		enc := base64.RawURLEncoding.EncodeToString
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{
			"kty": "RSA", "use": "sig", "kid": i.kid, "n": enc(i.key.N.Bytes()), "e": enc(big.NewInt(int64(i.key.E)).Bytes()),
		}}})
	})
	if tls {
		i.Server = httptest.NewUnstartedServer(mux)
		i.Config.ErrorLog = log.New(io.Discard, "", 0) // a test has a client that does not trust it
		i.StartTLS()
	} else {
		i.Server = httptest.NewServer(mux)
	}
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) name() string     { return i.URL + "/" + tenant + "/v2.0" }
func (i *issuer) metadata() string { return i.name() + "/.well-known/openid-configuration" }

// roll replaces the signing key.
func (i *issuer) roll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.kid = testKeys()[1], "k2"
}

func (i *issuer) setBroken(broken bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.broken = broken
}

// token makes a good token for the clock's time.
func (i *issuer) token(t *testing.T, now time.Time, change func(jwt.MapClaims)) string {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	claims := jwt.MapClaims{
		"iss": i.name(), "aud": clientID, "roles": []string{"Api.Read"}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "tid": tenant,
		"azp": "22222222-2222-2222-2222-222222222222", "ver": "2.0",
	}
	if change != nil {
		change(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = i.kid
	text, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// clock is a clock that tests turn.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) forward(d time.Duration) { c.offset.Add(int64(d)) }

func document(t *testing.T, file string) *policy.Document {
	t.Helper()
	f, err := os.Open("../../deploy/policies/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := policy.Parse(file, f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func parse(t *testing.T, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse("test.xml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// inFlight counts requests in any gateway of these tests. A streamed answer reaches its caller before the gateway has made its record.
var inFlight atomic.Int32

// idle waits until every request has its record.
func idle(t *testing.T) {
	t.Helper()
	poll.Until(t, "the end of each request", func() bool { return inFlight.Load() == 0 })
}

// start serves a gateway on loopback. A configuration without subscriptions gets the two known keys.
func start(t *testing.T, c gateway.Config) (*gateway.Gateway, *httptest.Server) {
	t.Helper()
	if c.Subscriptions == nil {
		product := "sandbox"
		if len(c.Products) > 0 {
			product = c.Products[0].Name
		}
		c.Subscriptions = []gateway.Subscription{
			{Name: "sub", Product: product, Primary: secret.New(primary), Secondary: secret.New(another)},
		}
	}
	g, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inFlight.Add(1)
		defer inFlight.Add(-1)
		g.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { _ = g.Close(); server.Close() })
	return g, server
}

// withPolicy is a gateway with the shipped policy and an issuer.
func withPolicy(t *testing.T, i *issuer, c gateway.Config) (*gateway.Gateway, *httptest.Server) {
	t.Helper()
	c.APIs = []gateway.API{{Name: "orders", Path: "orders", Policy: document(t, "api.xml"), ServiceURL: c.Backend, Operations: []gateway.Operation{
		{Name: "read", Method: "GET", Template: "/{id}"}, {Name: "write", Method: "POST", Template: "/*", Policy: document(t, "operation-write.xml")},
	}}}
	c.NamedValues = map[string]string{"openid-config-url": i.metadata(), "client-id": clientID, "app-id-uri": "api://" + clientID}
	return start(t, c)
}

type reply struct {
	status int
	header http.Header
	body   string
}

func send(t *testing.T, method, url string, header http.Header) reply {
	t.Helper()
	return sendBody(t, method, url, header, nil)
}

func sendBody(t *testing.T, method, url string, header http.Header, body io.Reader) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	idle(t)
	return reply{answer.StatusCode, answer.Header, string(text)}
}

func credentials(key, token string) http.Header {
	h := http.Header{}
	if key != "" {
		h.Set("Ocp-Apim-Subscription-Key", key)
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

func last(t *testing.T, g *gateway.Gateway) gateway.Record {
	t.Helper()
	idle(t)
	h := g.History()
	if len(h) == 0 {
		t.Fatal("no request in the history")
	}
	return h[len(h)-1]
}

func TestTheOrderIsRouteKeyPolicyBackend(t *testing.T) {
	i := newIssuer(t, false)
	g, server := withPolicy(t, i, gateway.Config{})
	good := i.token(t, time.Now(), nil)
	realm := `AzureApiManagementKey realm="` + server.URL + `/orders",name="Ocp-Apim-Subscription-Key",type="header"`
	const (
		missing = `{ "statusCode": 401, "message": "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API." }`
		invalid = `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`
		refused = `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`
		noRoute = `{ "statusCode": 404, "message": "Resource not found" }`
	)
	for body, length := range map[string]int{missing: 152, invalid: 143, refused: 85, noRoute: 54} {
		if len(body) != length {
			t.Fatalf("the captured length is %d, got %d: %s", length, len(body), body)
		}
	}
	rows := []struct {
		name, method, path, key, token string
		status                         int
		body, authenticate, stage      string
	}{
		{"no such API, without a key", "GET", "/other/1", "", "", 404, noRoute, "", "route"},
		{"no such operation", "GET", "/orders/1/2", primary, good, 404, noRoute, "", "route"},
		{"a wrong method is no 405", "DELETE", "/orders/1", primary, good, 404, noRoute, "", "route"},
		{"no key comes before the token", "GET", "/orders/1", "", good, 401, missing, realm, "key"},
		{"a wrong key", "GET", "/orders/1", "wrong", good, 401, invalid, realm, "key"},
		{"a good key and no token", "GET", "/orders/1", primary, "", 401, refused, "", "policy"},
		{"a good key and a bad token", "GET", "/orders/1", another, "x.y.z", 401, refused, "", "policy"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g.Reset()
			got := send(t, row.method, server.URL+row.path, credentials(row.key, row.token))
			if got.status != row.status || got.body != row.body || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("want %d %s, got %d %s %s", row.status, row.body, got.status, got.header.Get("Content-Type"), got.body)
			}
			if is := got.header.Get("WWW-Authenticate"); is != row.authenticate {
				t.Errorf("WWW-Authenticate: want %q, got %q", row.authenticate, is)
			}
			if record := last(t, g); record.Stage != row.stage || record.Status != row.status || record.Error == nil {
				t.Errorf("record: want stage %s and an error, got %+v", row.stage, record)
			}
		})
	}
}

func TestAGoodCallReachesTheBackendWithoutItsCredentials(t *testing.T) {
	i := newIssuer(t, false)
	g, server := withPolicy(t, i, gateway.Config{})
	token := i.token(t, time.Now(), nil)
	header := credentials(primary, token)
	header.Set("X-Forwarded-For", "192.0.2.1")
	got := send(t, "GET", server.URL+"/orders/a%2Fb?x=%20&subscription-key="+primary+"&y", header)
	if got.status != 200 {
		t.Fatalf("want 200, got %d %s", got.status, got.body)
	}
	var echo gateway.Echo
	if err := json.Unmarshal([]byte(got.body), &echo); err != nil {
		t.Fatal(err)
	}
	if echo.Path != "/a%2Fb" || echo.Query != "x=%20&y" || echo.Method != "GET" {
		t.Errorf("the backend got %s %s?%s", echo.Method, echo.Path, echo.Query)
	}
	for _, name := range []string{"Authorization", "Ocp-Apim-Subscription-Key"} {
		if _, there := echo.Headers[name]; there {
			t.Errorf("the backend got %s", name)
		}
	}
	if echo.Headers["X-Forwarded-For"] == nil || echo.Headers["User-Agent"][0] != "Go-http-client/1.1" {
		t.Errorf("the backend lacks headers of the caller: %v", echo.Headers)
	}
	record := last(t, g)
	if record.Subscription != "sub" || record.Key != "primary" || record.KeyFrom != "header" || record.BackendStatus != 200 || record.API != "orders" ||
		record.Operation != "read" || record.Token == nil || len(record.Rules) < 8 {
		t.Errorf("record: got %+v", record)
	}
	shown, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range append(strings.Split(token, "."), primary) {
		if strings.Contains(string(shown), part) {
			t.Errorf("the record shows a credential: %s", shown)
		}
	}
}
