package token_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/token"
)

func TestReadFacts(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	for _, tc := range []struct {
		name   string
		claims map[string]any
		want   token.Facts
	}{
		{"a managed identity's token, version 1.0", map[string]any{"aud": "api://orders",
			"iss": "https://sts.windows.net/" + tenant + "/", "iat": 1795429500, "nbf": 1795429500,
			"exp": 1795516200, "appid": "client", "oid": "object", "roles": []string{"Api.Read"},
			"tid": tenant, "ver": "1.0"},
			token.Facts{Audience: []string{"api://orders"}, Issuer: "https://sts.windows.net/" +
				tenant + "/", IssuedAt: at(1795429500), NotBefore: at(1795429500),
				ExpiresOn: at(1795516200), ClientID: "client", ObjectID: "object",
				Roles: []string{"Api.Read"}, TenantID: tenant, Version: "1.0"}},
		{"a developer's token, version 2.0", map[string]any{"aud": []string{"a", "b"}, "azp": "az",
			"scp": "user_impersonation", "ver": "2.0", "idtyp": "user"},
			token.Facts{Audience: []string{"a", "b"}, ClientID: "az", Scope: "user_impersonation",
				Version: "2.0"}},
		{"a single role that is no array", map[string]any{"roles": "Api.Read"},
			token.Facts{Roles: []string{"Api.Read"}}},
		{"claims of an unexpected type count as absent", map[string]any{"aud": 7,
			"roles": []any{1, "Api.Read", nil}, "tid": []string{"x"}, "exp": "soon", "iat": -1,
			"nbf": 1e300, "ver": "1.0"},
			token.Facts{Roles: []string{"Api.Read"}, Version: "1.0"}},
		{"seconds with a fraction", map[string]any{"exp": 1795516200.75},
			token.Facts{ExpiresOn: at(1795516200)}},
		{"a name in other letters is another claim (RFC 7519 section 10.1.1)",
			map[string]any{"TID": tenant, "Exp": 1795516200}, token.Facts{}},
		{"no claims at all", map[string]any{}, token.Facts{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tok := jwt(tc.claims)
			tc.want.Hash = token.Hash(tok)
			got, err := token.ReadFacts(tok)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestReadFactsOfOpaqueTokens(t *testing.T) {
	payload := base64.RawURLEncoding.EncodeToString([]byte(`["canary"]`))
	for _, tok := range []string{"", "canary", "canary.canary", "a.b.c.d.canary", "x.???.y", "x." +
		payload + ".y", "x..y"} {
		got, err := token.ReadFacts(tok)
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: error %v", tok, err)
		}
		if diff := cmp.Diff(token.Facts{Hash: token.Hash(tok)}, got); diff != "" {
			t.Errorf("%q: %s", tok, diff)
		}
	}
	if h := token.Hash("abc"); h != "ba7816bf8f01" { // FIPS 180-2, the digest of "abc"
		t.Errorf("hash %q", h)
	}
}

func TestFactsInALogHoldNoToken(t *testing.T) {
	tok := jwt(map[string]any{"tid": tenant, "aud": "api://orders", "exp": 1795516200,
		"preferred_username": "jo@contoso.com"})
	f, err := token.ReadFacts(tok)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "token", f)
	fmt.Fprintf(&out, "%v %+v %#v", f, f, f)
	for _, part := range strings.Split(tok, ".") {
		if strings.Contains(out.String(), part) {
			t.Fatalf("a part of the token is in %s", out.String())
		}
	}
	if strings.Contains(out.String(), "contoso") || !strings.Contains(out.String(),
		`"aud":"api://orders"`) || !strings.Contains(out.String(), `"exp":"2026-11-24T10:30:00Z"`) {
		t.Fatalf("%s", out.String())
	}
}

func FuzzReadFacts(f *testing.F) {
	f.Add(jwt(map[string]any{"aud": "a", "exp": 1}))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, tok string) {
		facts, err := token.ReadFacts(tok)
		if facts.Hash != token.Hash(tok) {
			t.Fatal("no hash")
		}
		if err != nil && len(tok) > 8 && strings.Contains(err.Error(), tok) {
			t.Fatal("the token is in the error")
		}
		_ = facts.LogValue()
	})
}
