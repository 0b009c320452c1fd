package policy_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"apimrelay/internal/policy"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func TestGoodTokenPassesTheShippedPolicyAndItsCredentialsEndThere(t *testing.T) {
	p := merge(t, policy.Scopes{API: shipped(t, "api.xml")}, namedValues)
	in := bearer(sign(t, good()))
	in.Request.Header.Set("Ocp-Apim-Subscription-Key", "key")
	in.Request.Header.Set("Accept", "text/plain")
	in.Request.RawQuery = "a=%2f&Subscription-Key=key&b="
	v := p.Evaluate(in)
	if !v.Pass || !v.Forward || v.Answer != nil || v.Error != nil {
		t.Fatalf("want a pass to the backend, got %+v", v)
	}
	if diff := cmp.Diff(http.Header{"Accept": {"text/plain"}}, v.Request.Header); diff != "" {
		t.Errorf("header to the backend (-want +got):\n%s", diff)
	}
	if v.Request.RawQuery != "a=%2f&b=" {
		t.Errorf("query to the backend: want the rest byte for byte, got %q", v.Request.RawQuery)
	}
	if in.Request.Header.Get("Authorization") == "" || in.Request.RawQuery == "a=%2f&b=" {
		t.Error("the input was changed")
	}
	if v.Token == nil || v.Token.Issuer != issuerV2 || len(v.Token.Hash) != 12 {
		t.Errorf("token facts: got %+v", v.Token)
	}
}

func TestTheShippedPolicyTakesVersionOneTokensByItsNamedValueAlone(t *testing.T) {
	values := map[string]string{"openid-config-url": metadataV1, "client-id": clientID, "app-id-uri": appIDURI}
	p := merge(t, policy.Scopes{API: shipped(t, "api.xml")}, values)
	for _, aud := range []string{clientID, appIDURI} {
		v := p.Evaluate(bearer(sign(t, with(func(c jwt.MapClaims) { c["iss"], c["aud"], c["ver"] = issuerV1, aud, "1.0" }))))
		if !v.Pass {
			t.Errorf("aud %s: %v", aud, v.Error)
		}
	}
}

// Each row changes one thing of a request that passes. Each must be refused by the rule that watches it and by no other.
func TestEachSingleMutationIsRefusedByItsOwnRule(t *testing.T) {
	p := merge(t, policy.Scopes{API: shipped(t, "api.xml")}, namedValues)
	unsigned := signWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "k1", good())
	signed := sign(t, good())
	head, payload, signature := cut3(signed)
	publicDER, err := json.Marshal(keyPair()[0].N) // any form of the public key, as the attack on RS256 verifiers takes it
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(c jwt.MapClaims)) policy.Input { return bearer(sign(t, with(f))) }
	raw := func(value string) policy.Input {
		in := bearer("")
		in.Request.Header["Authorization"] = []string{value}
		return in
	}
	rows := []struct {
		name   string
		in     policy.Input
		check  string
		reason string
	}{
		{"no header", func() policy.Input { in := bearer(""); in.Request.Header.Del("Authorization"); return in }(), "token", "TokenNotPresent"},
		{"an empty header", raw(""), "token", "TokenNotPresent"},
		{"the scheme Basic", raw("Basic " + signed), "scheme", "TokenNotPresent"},
		{"no scheme", raw(signed), "scheme", "TokenNotPresent"},
		{"a scheme and no token", raw("Bearer "), "token", "TokenNotPresent"},
		{"no token at all", raw("Bearer opaque"), "format", "JwtInvalid"},
		{"two headers", func() policy.Input {
			in := bearer(signed)
			in.Request.Header.Add("Authorization", "Bearer "+signed)
			return in
		}(), "format", "JwtInvalid"},
		{"alg none", bearer(unsigned), "signature", "TokenSignatureInvalid"},
		{"alg None, written otherwise, with a signature", bearer(segment(`{"alg":"nOnE","kid":"k1"}`) + "." + payload + "." + signature), "signature", "TokenSignatureInvalid"},
		{"alg HS256 keyed with the public key", bearer(signWith(t, jwt.SigningMethodHS256, publicDER, "k1", good())), "signature", "TokenSignatureKeyNotFound"},
		{"alg RS384, which the gateway does not take", bearer(signWith(t, jwt.SigningMethodRS384, keyPair()[0], "k1", good())), "signature", "TokenSignatureInvalid"},
		{"an unknown alg", bearer(segment(`{"alg":"XY1","kid":"k1"}`) + "." + payload + "." + signature), "signature", "TokenSignatureInvalid"},
		{"another key under the same kid", bearer(signWith(t, jwt.SigningMethodRS256, keyPair()[1], "k1", good())), "signature", "TokenSignatureInvalid"},
		{"another key under its own kid", bearer(signWith(t, jwt.SigningMethodRS256, keyPair()[1], "k2", good())), "signature", "TokenSignatureKeyNotFound"},
		{"a signature of another token", bearer(head + "." + payload + "." + lastSegment(sign(t, with(func(c jwt.MapClaims) { c["x"] = 1 })))), "signature", "TokenSignatureInvalid"},
		{"no signature", bearer(head + "." + payload + "."), "signature", "TokenSignatureInvalid"},
		{"expired beyond the skew", change(func(c jwt.MapClaims) { c["exp"] = now.Add(-61 * time.Second).Unix() }), "expires", "TokenExpired"},
		{"no exp", change(func(c jwt.MapClaims) { delete(c, "exp") }), "expires", "JwtInvalid"},
		{"exp that is no number", change(func(c jwt.MapClaims) { c["exp"] = "tomorrow" }), "format", "JwtInvalid"},
		{"nbf beyond the skew", change(func(c jwt.MapClaims) { c["nbf"] = now.Add(61 * time.Second).Unix() }), "not-before", "TokenExpired"},
		{"another audience", change(func(c jwt.MapClaims) { c["aud"] = "api://other" }), "audience", "TokenAudienceNotAllowed"},
		{"an audience with a slash more", change(func(c jwt.MapClaims) { c["aud"] = appIDURI + "/" }), "audience", "TokenAudienceNotAllowed"},
		{"no audience", change(func(c jwt.MapClaims) { delete(c, "aud") }), "audience", "TokenAudienceNotAllowed"},
		{"a v1 issuer", change(func(c jwt.MapClaims) { c["iss"] = issuerV1 }), "issuer", "TokenIssuerNotAllowed"},
		{"another tenant", change(func(c jwt.MapClaims) { c["iss"] = strings.Replace(issuerV2, "aaaa", "bbbb", 1) }), "issuer", "TokenIssuerNotAllowed"},
		{"no issuer", change(func(c jwt.MapClaims) { delete(c, "iss") }), "issuer", "TokenIssuerNotAllowed"},
		{"another role", change(func(c jwt.MapClaims) { c["roles"] = []string{"Api.Write"} }), "claim roles", "TokenClaimValueNotAllowed"},
		{"the role in other case", change(func(c jwt.MapClaims) { c["roles"] = []string{"api.read"} }), "claim roles", "TokenClaimValueNotAllowed"},
		{"no role in the list", change(func(c jwt.MapClaims) { c["roles"] = []string{} }), "claim roles", "TokenClaimValueNotAllowed"},
		{"no roles", change(func(c jwt.MapClaims) { delete(c, "roles") }), "claim roles", "TokenClaimNotFound"},
		{"a developer's token", change(func(c jwt.MapClaims) { delete(c, "roles"); c["scp"] = "user_impersonation" }), "claim roles", "TokenClaimNotFound"},
	}
	whys := map[string]string{}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			v := p.Evaluate(row.in)
			if v.Pass || v.Error == nil || v.Answer == nil {
				t.Fatalf("want a refusal, got %+v", v)
			}
			if diff := cmp.Diff([]string{row.check}, refusals(v)); diff != "" {
				t.Errorf("rules that refused (-want +got):\n%s", diff)
			}
			if v.Error.Reason != row.reason || v.Error.Source != "validate-jwt" || v.Error.Scope != "api" || v.Error.Section != "inbound" {
				t.Errorf("LastError: want reason %s, got %+v", row.reason, *v.Error)
			}
			if want := `{ "statusCode": 401, "message": "` + articleText + `" }`; v.Answer.Body != want || v.Answer.Status != 401 || len(want) != 85 {
				t.Errorf("answer: want 401 %s, got %d %s", want, v.Answer.Status, v.Answer.Body)
			}
			if v.Answer.Header.Get("Content-Type") != "application/json" || v.Answer.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("answer's header: got %v", v.Answer.Header)
			}
			rule := ruleOf(t, v, row.check)
			if rule.Why == "" || len(rule.Fixes) == 0 || rule.Line == 0 || rule.File != "api.xml" {
				t.Errorf("want a cause, a fix and a place, got %+v", rule)
			}
			noSecret(t, v, row.in)
			whys[row.name] = rule.Check + ": " + rule.Why
		})
	}
	if whys["no roles"] == whys["a developer's token"] || whys["no roles"] == whys["another role"] || whys["a v1 issuer"] == whys["another tenant"] {
		t.Errorf("causes that differ have the same explanation: %v", whys)
	}
}

func TestTheSkewOfTheShippedPolicyIsAMinute(t *testing.T) {
	p := merge(t, policy.Scopes{API: shipped(t, "api.xml")}, namedValues)
	for name, claims := range map[string]jwt.MapClaims{
		"a token that ended a minute ago": with(func(c jwt.MapClaims) { c["exp"] = now.Add(-time.Minute).Unix() }),
		"a token that begins in a minute": with(func(c jwt.MapClaims) { c["nbf"] = now.Add(time.Minute).Unix() }),
		"a token without nbf":             with(func(c jwt.MapClaims) { delete(c, "nbf") }),
		"times with fractions":            with(func(c jwt.MapClaims) { c["exp"] = float64(now.Unix()) + 0.5 }),
		"the App ID URI as the audience":  with(func(c jwt.MapClaims) { c["aud"] = appIDURI }),
		"several audiences and one fits":  with(func(c jwt.MapClaims) { c["aud"] = []string{"x", clientID} }),
		"several roles and one fits":      with(func(c jwt.MapClaims) { c["roles"] = []string{"Api.Write", "Api.Read"} }),
		"a role that is a text, no array": with(func(c jwt.MapClaims) { c["roles"] = "Api.Read" }),
		"claims that nobody asks for":     with(func(c jwt.MapClaims) { c["x"] = map[string]any{"y": []int{1}} }),
	} {
		if v := p.Evaluate(bearer(sign(t, claims))); !v.Pass {
			t.Errorf("%s: %+v", name, v.Error)
		}
	}
}

func TestWritingNeedsBothRolesAndTheCheckComesBeforeTheHeaderIsRemoved(t *testing.T) {
	p := merge(t, policy.Scopes{API: shipped(t, "api.xml"), Operation: shipped(t, "operation-write.xml")}, namedValues)
	for _, row := range []struct {
		name  string
		roles []string
		pass  bool
		scope string
	}{
		{"reader and writer", []string{"Api.Read", "Api.Write"}, true, ""},
		{"reader alone", []string{"Api.Read"}, false, "operation"},
		{"writer alone", []string{"Api.Write"}, false, "api"},
	} {
		v := p.Evaluate(bearer(sign(t, with(func(c jwt.MapClaims) { c["roles"] = row.roles }))))
		if v.Pass != row.pass {
			t.Errorf("%s: want pass %v, got %+v", row.name, row.pass, v.Error)
			continue
		}
		if !row.pass && (v.Error.Scope != row.scope || !slices.Equal(refusals(v), []string{"claim roles"})) {
			t.Errorf("%s: want scope %q refused by the role alone, got %+v %v", row.name, row.scope, v.Error, refusals(v))
		}
		if row.pass && v.Request.Header.Get("Authorization") != "" {
			t.Errorf("%s: the token goes on to the backend", row.name)
		}
	}
}

func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func cut3(token string) (string, string, string) {
	parts := strings.Split(token, ".")
	return parts[0], parts[1], parts[2]
}

func lastSegment(token string) string { _, _, s := cut3(token); return s }

// noSecret looks for pieces of the token in all that a verdict shows.
func noSecret(t *testing.T, v policy.Verdict, in policy.Input) {
	t.Helper()
	shown, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range in.Request.Header["Authorization"] {
		for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '.' }) {
			if len(word) > 10 && strings.Contains(string(shown), word) {
				t.Errorf("the verdict shows a piece of the token")
			}
		}
	}
}
