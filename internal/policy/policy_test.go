package policy_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"apimrelay/internal/policy"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tenant      = "aaaaaaaa-0000-0000-0000-000000000000"
	clientID    = "11111111-1111-1111-1111-111111111111"
	appIDURI    = "api://" + tenant + "/orders"
	metadataV2  = "https://login.microsoftonline.com/" + tenant + "/v2.0/.well-known/openid-configuration"
	metadataV1  = "https://login.microsoftonline.com/" + tenant + "/.well-known/openid-configuration"
	issuerV2    = "https://login.microsoftonline.com/" + tenant + "/v2.0"
	issuerV1    = "https://sts.windows.net/" + tenant + "/"
	articleText = "Unauthorized. Access token is missing or invalid."
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// keyPair makes keys once: generating them is the slow part of these tests.
var keyPair = sync.OnceValue(func() [2]*rsa.PrivateKey {
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

// good returns the claims of a managed identity's v2 token with the role.
func good() jwt.MapClaims {
	return jwt.MapClaims{
		"aud": clientID, "iss": issuerV2, "iat": now.Add(-time.Hour).Unix(), "nbf": now.Add(-time.Hour).Unix(), "exp": now.Add(time.Hour).Unix(),
		"azp": "22222222-2222-2222-2222-222222222222", "azpacr": "2", "oid": "33333333-3333-3333-3333-333333333333",
		"roles": []string{"Api.Read"}, "sub": "33333333-3333-3333-3333-333333333333", "tid": tenant, "ver": "2.0",
	}
}

func with(change func(c jwt.MapClaims)) jwt.MapClaims {
	c := good()
	change(c)
	return c
}

func signWith(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func sign(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	return signWith(t, jwt.SigningMethodRS256, keyPair()[0], "k1", claims)
}

func keys() map[string]policy.Metadata {
	list := []policy.Key{{ID: "k1", Public: keyPair()[0].Public()}}
	return map[string]policy.Metadata{metadataV2: {Issuer: issuerV2, Keys: list}, metadataV1: {Issuer: issuerV1, Keys: list}}
}

func bearer(token string) policy.Input {
	return policy.Input{
		Request: policy.Request{Method: "GET", Path: "/orders", Header: http.Header{"Authorization": {"Bearer " + token}}, RemoteAddr: "192.0.2.7:4711"},
		Now:     now, Keys: keys(),
	}
}

var namedValues = map[string]string{"openid-config-url": metadataV2, "client-id": clientID, "app-id-uri": appIDURI}

func parse(t *testing.T, name, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(name, strings.NewReader(text))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return d
}

func shipped(t *testing.T, name string) *policy.Document {
	t.Helper()
	f, err := os.Open("../../deploy/policies/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := policy.Parse(name, f)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return d
}

func merge(t *testing.T, s policy.Scopes, values map[string]string) *policy.Policy {
	t.Helper()
	p, err := policy.Merge(s, values)
	if err != nil {
		t.Fatalf("Merge: %v", err)
	}
	return p
}

// inbound makes a policy of statements.
func inbound(t *testing.T, statements string) *policy.Policy {
	t.Helper()
	return merge(t, policy.Scopes{API: parse(t, "test.xml", "<policies><inbound>"+statements+"</inbound></policies>")}, namedValues)
}

// refusals lists the checks that refused.
func refusals(v policy.Verdict) []string {
	var all []string
	for _, r := range v.Rules {
		if r.Result == policy.Refuse {
			all = append(all, r.Check)
		}
	}
	return all
}

func ruleOf(t *testing.T, v policy.Verdict, check string) policy.Rule {
	t.Helper()
	for _, r := range v.Rules {
		if r.Check == check {
			return r
		}
	}
	t.Fatalf("no rule %q in the trace: %+v", check, v.Rules)
	return policy.Rule{}
}
