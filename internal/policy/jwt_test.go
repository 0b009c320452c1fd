package policy_test

import (
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"apimrelay/internal/policy"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

const open2 = `<openid-config url="` + metadataV2 + `" />`

// jwtPolicy is a validate-jwt with these attributes and children behind the v2 metadata.
func jwtPolicy(t *testing.T, attributes, children string) *policy.Policy {
	t.Helper()
	return inbound(t, `<validate-jwt header-name="Authorization" `+attributes+`>`+open2+children+`</validate-jwt>`)
}

func TestValidateJWT(t *testing.T) {
	set := func(name string, value any) jwt.MapClaims { return with(func(c jwt.MapClaims) { c[name] = value }) }
	without := func(name string) jwt.MapClaims { return with(func(c jwt.MapClaims) { delete(c, name) }) }
	claim := func(attributes string, values ...string) string {
		text := `<required-claims><claim ` + attributes + `>`
		for _, v := range values {
			text += "<value>" + v + "</value>"
		}
		return text + "</claim></required-claims>"
	}
	rows := []struct {
		name                 string
		attributes, children string
		claims               jwt.MapClaims
		reason, message      string // "" passes
	}{
		{"a good token", "", "", good(), "", ""},
		{"without audiences any audience passes", "", "", set("aud", "api://other"), "", ""},
		{"without audiences a token without one passes", "", "", without("aud"), "", ""},
		{"the default skew is nothing, for exp", "", "", set("exp", now.Unix()-1), "TokenExpired",
			"IDX10223: Lifetime validation failed. The token is expired. ValidTo (UTC): '2026-11-24 11:59:59Z', Current time (UTC): '2026-11-24 12:00:00Z'."},
		{"the second of the expiry still counts", "", "", set("exp", now.Unix()), "", ""},
		{"the default skew is nothing, for nbf", "", "", set("nbf", now.Unix()+1), "TokenExpired",
			"IDX10222: Lifetime validation failed. The token is not yet valid. ValidFrom (UTC): '2026-11-24 12:00:01Z', Current time (UTC): '2026-11-24 12:00:00Z'."},
		{"a skew of five seconds", `clock-skew="5"`, "", set("nbf", now.Unix()+5), "", ""},
		{"exp is asked for by default", "", "", without("exp"), "JwtInvalid", "IDX10225: Lifetime validation failed. The token is missing an Expiration Time."},
		{"exp need not be there when the policy says so", `require-expiration-time="false"`, "", without("exp"), "", ""},
		{"an exp that is there counts all the same", `require-expiration-time="false"`, "", set("exp", 1), "TokenExpired", ""},
		{"an exp beyond all years", "", "", set("exp", 1e300), "JwtInvalid", ""},
		{"another audience", "", "<audiences><audience>a</audience><audience>b</audience></audiences>", set("aud", "c"), "TokenAudienceNotAllowed",
			"IDX10214: Audience validation failed. Audiences: 'c'. Did not match: validationParameters.ValidAudience: '' or validationParameters.ValidAudiences: 'a, b'."},
		{"the second audience fits", "", "<audiences><audience>a</audience><audience> b </audience></audiences>", set("aud", "b"), "", ""},
		{"audiences compare by case", "", "<audiences><audience>A</audience></audiences>", set("aud", "a"), "TokenAudienceNotAllowed", ""},
		{"an issuer beside the metadata's", "", "<issuers><issuer>" + issuerV1 + "</issuer></issuers>", set("iss", issuerV1), "", ""},
		{"the metadata's issuer still counts then", "", "<issuers><issuer>" + issuerV1 + "</issuer></issuers>", good(), "", ""},
		{"a v1 token under v2 metadata", "", "", set("iss", issuerV1), "TokenIssuerNotAllowed",
			"IDX10205: Issuer validation failed. Issuer: '" + issuerV1 + "'. Did not match: validationParameters.ValidIssuer: '' or validationParameters.ValidIssuers: '" + issuerV2 + "'."},
		{"an issuer without its slash", "", "<issuers><issuer>" + issuerV1 + "</issuer></issuers>", set("iss", strings.TrimRight(issuerV1, "/")), "TokenIssuerNotAllowed", ""},
		{"match is all by default", "", claim(`name="roles"`, "A", "B"), set("roles", []string{"A"}), "TokenClaimValueNotAllowed", "Claim roles value of A is not allowed."},
		{"all of them are there", "", claim(`name="roles"`, "A", "B"), set("roles", []string{"B", "C", "A"}), "", ""},
		{"match any takes one", "", claim(`name="roles" match="any"`, "A", "B"), set("roles", []string{"B"}), "", ""},
		{"a claim without values must only be there", "", claim(`name="oid"`), good(), "", ""},
		{"a claim without values that is not there", "", claim(`name="x"`), good(), "TokenClaimNotFound", "JWT token is missing the following claims: x"},
		{"scp as one text does not split by itself", "", claim(`name="scp" match="any"`, "read"), set("scp", "read write"), "TokenClaimValueNotAllowed", "Claim scp value of read write is not allowed."},
		{"scp splits at a separator", "", claim(`name="scp" match="any" separator=" "`, "write"), set("scp", "read  write"), "", ""},
		{"a separator leaves an array alone", "", claim(`name="roles" separator=","`, "a,b"), set("roles", []string{"a,b"}), "", ""},
		{"a number as a claim", "", claim(`name="n"`, "5"), set("n", 5), "", ""},
		{"a boolean as a claim", "", claim(`name="b"`, "true"), set("b", true), "", ""},
		{"null is no claim", "", claim(`name="z"`), set("z", nil), "TokenClaimNotFound", ""},
		{"an object as a claim", "", claim(`name="o" match="any"`, "x"), set("o", map[string]any{"x": 1}), "TokenClaimValueNotAllowed", `Claim o value of {"x":1} is not allowed.`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			v := jwtPolicy(t, row.attributes, row.children).Evaluate(bearer(sign(t, row.claims)))
			if row.reason == "" {
				if !v.Pass || len(refusals(v)) > 0 || v.Request.Header.Get("Authorization") == "" {
					t.Errorf("want a pass with the header left alone, got %+v", v.Error)
				}
				return
			}
			if v.Pass || v.Error == nil || v.Error.Reason != row.reason || row.message != "" && v.Error.Message != row.message {
				t.Fatalf("want %s %s, got %+v", row.reason, row.message, v.Error)
			}
			if want := policy.ErrorBody(401, v.Error.Message); v.Answer.Status != 401 || v.Answer.Body != want {
				t.Errorf("without a text of its own the policy shows the cause: want %s, got %d %s", want, v.Answer.Status, v.Answer.Body)
			}
		})
	}
}

func TestWhereTheTokenIs(t *testing.T) {
	token := sign(t, good())
	rows := []struct {
		name, attributes string
		change           func(*policy.Input)
		reason           string
	}{
		{"Authorization without a required scheme takes any", `header-name="Authorization"`, func(in *policy.Input) { in.Request.Header.Set("Authorization", "Token "+token) }, ""},
		{"and none", `header-name="authorization"`, func(in *policy.Input) { in.Request.Header.Set("Authorization", token) }, ""},
		{"a scheme in other case", `header-name="Authorization" require-scheme="Bearer"`, func(in *policy.Input) { in.Request.Header.Set("Authorization", "bearer "+token) }, ""},
		{"another header holds the bare token", `header-name="X-Token"`, func(in *policy.Input) { in.Request.Header.Set("X-Token", token) }, ""},
		{"another header with a scheme", `header-name="X-Token" require-scheme="Bearer"`, func(in *policy.Input) { in.Request.Header.Set("X-Token", "Bearer "+token) }, "JwtInvalid"},
		{"a query parameter", `query-parameter-name="t"`, func(in *policy.Input) { in.Request.RawQuery = "a=b&t=" + token }, ""},
		{"no query parameter", `query-parameter-name="t"`, func(in *policy.Input) { in.Request.RawQuery = "tt=" + token }, "TokenNotPresent"},
		{"an empty query parameter", `query-parameter-name="t"`, func(in *policy.Input) { in.Request.RawQuery = "t=" }, "TokenNotPresent"},
		{"a token in the policy itself", `token-value="` + token + `"`, func(*policy.Input) {}, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := inbound(t, `<validate-jwt `+row.attributes+`>`+open2+`</validate-jwt>`)
			in := bearer("")
			in.Request.Header.Del("Authorization")
			row.change(&in)
			v := p.Evaluate(in)
			if got := reason(v); got != row.reason {
				t.Errorf("want %q, got %q: %+v", row.reason, got, v.Error)
			}
			if row.reason == "TokenNotPresent" && v.Answer.Body != `{ "statusCode": 401, "message": "JWT not present." }` {
				t.Errorf("answer: got %s", v.Answer.Body)
			}
		})
	}
}

func reason(v policy.Verdict) string {
	if v.Error == nil {
		return ""
	}
	return v.Error.Reason
}

func TestKeysOfThePolicyItself(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	inline := `<key id="h">` + base64.StdEncoding.EncodeToString(secret) + `</key>`
	public := keyPair()[0].PublicKey
	modulus := `<key id="k1" n="` + base64.RawURLEncoding.EncodeToString(public.N.Bytes()) + `" e="` +
		base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()) + `" />`
	rows := []struct {
		name, keys string
		token      string
		reason     string
	}{
		{"HS256 with the key", inline, signWith(t, jwt.SigningMethodHS256, secret, "h", good()), ""},
		{"HS512 with the key, no kid", inline, signWith(t, jwt.SigningMethodHS512, secret, "", good()), ""},
		{"HS256 with another key", inline, signWith(t, jwt.SigningMethodHS256, []byte("another"), "h", good()), "TokenSignatureInvalid"},
		{"RS256 where only a symmetric key is known", inline, sign(t, good()), "TokenSignatureKeyNotFound"},
		{"RS256 with modulus and exponent", modulus, sign(t, good()), ""},
		{"RS512", modulus, signWith(t, jwt.SigningMethodRS512, keyPair()[0], "k1", good()), ""},
		{"PS256", modulus, signWith(t, jwt.SigningMethodPS256, keyPair()[0], "", good()), ""},
		{"PS512, which the gateway does not take", modulus, signWith(t, jwt.SigningMethodPS512, keyPair()[0], "k1", good()), "TokenSignatureInvalid"},
		{"a kid that no key has, with a fitting key", modulus, signWith(t, jwt.SigningMethodRS256, keyPair()[0], "other", good()), ""},
		{"a certificate", `<key id="k1" certificate-id="c" />`, sign(t, good()), ""},
		{"a certificate that is not there", `<key id="k1" certificate-id="d" />`, sign(t, good()), "TokenSignatureKeyNotFound"},
		{"both kinds", inline + modulus, sign(t, good()), ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := inbound(t, `<validate-jwt header-name="Authorization"><issuer-signing-keys>`+row.keys+`</issuer-signing-keys></validate-jwt>`)
			in := bearer(row.token)
			in.Keys, in.Certificates = nil, map[string]crypto.PublicKey{"c": &public}
			v := p.Evaluate(in)
			if got := reason(v); got != row.reason {
				t.Errorf("want %q, got %q: %+v", row.reason, got, v.Error)
			}
			if rule := ruleOf(t, v, "issuer"); rule.Result != policy.NotChecked {
				t.Errorf("without metadata and issuers the issuer is not checked, got %+v", rule)
			}
		})
	}
}

func TestTokensWithoutSignature(t *testing.T) {
	none := signWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", good())
	if got := reason(jwtPolicy(t, "", "").Evaluate(bearer(none))); got != "TokenSignatureInvalid" {
		t.Errorf("by default a signature is asked for: got %q", got)
	}
	lax := jwtPolicy(t, `require-signed-tokens="false"`, "")
	if v := lax.Evaluate(bearer(none)); !v.Pass {
		t.Errorf("require-signed-tokens=false takes alg none: got %+v", v.Error)
	}
	if got := reason(lax.Evaluate(bearer(signWith(t, jwt.SigningMethodRS256, keyPair()[1], "k1", good())))); got != "TokenSignatureInvalid" {
		t.Errorf("a signature that is there must fit all the same: got %q", got)
	}
	head, payload, _ := cut3(sign(t, good()))
	if got := reason(lax.Evaluate(bearer(head + "." + payload + "."))); got != "TokenSignatureInvalid" {
		t.Errorf("RS256 with its signature cut off is no unsigned token: got %q", got)
	}
}

func TestKeysThatCouldNotBeFetched(t *testing.T) {
	p := jwtPolicy(t, "", "")
	in := bearer(sign(t, good()))
	in.Keys = nil
	if v := p.Evaluate(in); v.Error == nil || v.Error.Message != "IDX20803: Unable to obtain configuration from: '"+metadataV2+"'." {
		t.Errorf("without metadata: got %+v", v.Error)
	}
	known := keys()[metadataV2]
	known.Err = errors.New("issuer is down")
	in.Keys = map[string]policy.Metadata{metadataV2: known}
	if v := p.Evaluate(in); !v.Pass {
		t.Errorf("keys of an earlier fetch serve on: got %+v", v.Error)
	}
	two := inbound(t, `<validate-jwt header-name="Authorization">`+open2+`<openid-config url="`+metadataV1+`" /></validate-jwt>`)
	delete(in.Keys, metadataV2)
	in.Keys[metadataV1] = keys()[metadataV1]
	if got := reason(two.Evaluate(in)); got != "TokenIssuerNotAllowed" {
		t.Errorf("the keys of one metadata must not vouch for the issuer of another: got %q", got)
	}
	in.Keys[metadataV2] = keys()[metadataV2]
	for _, issuer := range []string{issuerV1, issuerV2} {
		in.Request.Header.Set("Authorization", "Bearer "+sign(t, with(func(c jwt.MapClaims) { c["iss"] = issuer })))
		if v := two.Evaluate(in); !v.Pass {
			t.Errorf("two openid-configs take either version: %s: got %+v", issuer, v.Error)
		}
	}
}

func TestTheIssuerOfMultiTenantMetadataIsATemplateThatNoTokenCarries(t *testing.T) {
	const common = "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"
	in := bearer(sign(t, good()))
	in.Keys = map[string]policy.Metadata{common: {Issuer: "https://login.microsoftonline.com/{tenantid}/v2.0", Keys: keys()[metadataV2].Keys}}
	v := inbound(t, `<validate-jwt header-name="Authorization"><openid-config url="`+common+`" /></validate-jwt>`).Evaluate(in)
	if rule := ruleOf(t, v, "issuer"); reason(v) != "TokenIssuerNotAllowed" || !strings.Contains(rule.Why, "a template") {
		t.Errorf("got %+v", rule)
	}
	v = inbound(t, `<validate-jwt header-name="Authorization"><openid-config url="`+common+`" /><issuers><issuer>`+issuerV2+`</issuer></issuers></validate-jwt>`).Evaluate(in)
	if !v.Pass {
		t.Errorf("with the issuer listed: got %+v", v.Error)
	}
}

func TestAnEncryptedTokenIsRefusedAndSaysWhy(t *testing.T) {
	v := jwtPolicy(t, "", "").Evaluate(bearer("a.b.c.d.e"))
	if rule := ruleOf(t, v, "format"); reason(v) != "JwtInvalid" || !strings.Contains(rule.Why, "encrypted") {
		t.Errorf("got %+v", rule)
	}
}

func TestAStatusAndTextOfThePolicy(t *testing.T) {
	p := jwtPolicy(t, `failed-validation-httpcode="403" failed-validation-error-message="No &quot;way&quot; &lt;here&gt;" id="gate"`, "")
	in := bearer("x")
	v := p.Evaluate(in)
	if want := `{ "statusCode": 403, "message": "No \"way\" <here>" }`; v.Answer.Status != 403 || v.Answer.Body != want {
		t.Errorf("want 403 %s, got %d %s", want, v.Answer.Status, v.Answer.Body)
	}
	if v.Error.PolicyID != "gate" || v.Error.Path != "validate-jwt" || !strings.HasPrefix(v.Error.Message, "IDX12741") {
		t.Errorf("LastError keeps the cause: got %+v", v.Error)
	}
}

func TestValidateAzureADToken(t *testing.T) {
	const caller = "22222222-2222-2222-2222-222222222222"
	set := func(name string, value any) jwt.MapClaims { return with(func(c jwt.MapClaims) { c[name] = value }) }
	v1 := with(func(c jwt.MapClaims) {
		delete(c, "azp")
		c["appid"], c["iss"], c["aud"], c["ver"] = caller, issuerV1, appIDURI, "1.0"
	})
	children := "<client-application-ids><application-id>" + caller + "</application-id></client-application-ids>" +
		"<audiences><audience>" + clientID + "</audience><audience>" + appIDURI + "</audience></audiences>" +
		`<required-claims><claim name="roles" match="any"><value>Api.Read</value></claim></required-claims>`
	rows := []struct {
		name, attributes, children string
		claims                     jwt.MapClaims
		reason                     string
	}{
		{"a v2 token", "", children, good(), ""},
		{"a v1 token", "", children, v1, ""},
		{"another caller", "", children, set("azp", "33333333-3333-3333-3333-333333333333"), "TokenClaimValueNotAllowed"},
		{"no caller", "", children, with(func(c jwt.MapClaims) { delete(c, "azp") }), "TokenClaimValueNotAllowed"},
		{"another audience", "", children, set("aud", "x"), "TokenAudienceNotAllowed"},
		{"no role", "", children, with(func(c jwt.MapClaims) { delete(c, "roles") }), "TokenClaimNotFound"},
		{"another tenant", "", children, set("iss", "https://sts.windows.net/bbbbbbbb-0000-0000-0000-000000000000/"), "TokenIssuerNotAllowed"},
		{"expired", "", children, set("exp", now.Unix()-1), "TokenExpired"},
		{"no exp", "", children, with(func(c jwt.MapClaims) { delete(c, "exp") }), "JwtInvalid"},
		{"a backend application id counts as an audience", "", "<backend-application-ids><application-id>" + clientID + "</application-id></backend-application-ids>", good(), ""},
		{"also as api://", "", "<backend-application-ids><application-id>" + clientID + "</application-id></backend-application-ids>", set("aud", "api://"+clientID), ""},
		{"nothing but the tenant", "", "", good(), ""},
		{"the endpoint given, without scheme", `authentication-endpoint="login.microsoftonline.com"`, children, good(), ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			v := inbound(t, `<validate-azure-ad-token tenant-id="`+tenant+`" `+row.attributes+`>`+row.children+`</validate-azure-ad-token>`).Evaluate(bearer(sign(t, row.claims)))
			if got := reason(v); got != row.reason {
				t.Errorf("want %q, got %q: %+v", row.reason, got, v.Error)
			}
			if row.reason != "" && v.Error.Source != "validate-azure-ad-token" {
				t.Errorf("source: got %s", v.Error.Source)
			}
		})
	}
	any := inbound(t, `<validate-azure-ad-token tenant-id="organizations" header-name="X-Token"><audiences><audience>`+clientID+`</audience></audiences></validate-azure-ad-token>`)
	list := []policy.Key{{ID: "k1", Public: keyPair()[0].Public()}}
	in := bearer("")
	in.Request.Header = http.Header{"X-Token": {sign(t, good())}}
	in.Keys = map[string]policy.Metadata{}
	for _, need := range any.Needs(in.Request) {
		in.Keys[need.URL] = policy.Metadata{Issuer: "https://login.microsoftonline.com/{tenantid}/v2.0", Keys: list}
		if need.KeyID != "k1" {
			t.Errorf("Needs: want the token's kid, got %+v", need)
		}
	}
	if v := any.Evaluate(in); !v.Pass || len(in.Keys) != 2 {
		t.Errorf("organizations takes every tenant's issuer: %d metadata addresses, got %+v", len(in.Keys), v.Error)
	}
	_, err := policy.Merge(policy.Scopes{API: parse(t, "p.xml", `<policies><inbound><validate-azure-ad-token tenant-id="a/b" /></inbound></policies>`)}, nil)
	if err == nil || !strings.Contains(err.Error(), `p.xml:1: attribute "tenant-id" is "a/b"`) {
		t.Errorf("a tenant that is none: got %v", err)
	}
}

func TestTheTraceSaysWhichChangeOnWhichSideHelps(t *testing.T) {
	audiences := "<audiences><audience>" + clientID + "</audience><audience>" + appIDURI + "</audience></audiences>"
	uriOnly := "<audiences><audience>api://" + clientID + "</audience></audiences>"
	roles := `<required-claims><claim name="roles" match="any"><value>Api.Read</value></claim></required-claims>`
	set := func(name string, value any) jwt.MapClaims { return with(func(c jwt.MapClaims) { c[name] = value }) }
	rows := []struct {
		name, children, check string
		claims                jwt.MapClaims
		why                   string
		fixes                 map[policy.Side]string // a piece of the change
	}{
		{"v1 token, v2 metadata", "", "issuer", set("iss", issuerV1), "the token is of version 1, the policy's metadata of version 2", map[policy.Side]string{
			policy.SideRegistration: "requestedAccessTokenVersion to 2", policy.SidePolicy: "to " + metadataV1}},
		{"another tenant", "", "issuer", set("iss", "https://login.microsoftonline.com/bbbbbbbb-0000-0000-0000-000000000000/v2.0"),
			"the token comes from tenant bbbbbbbb-0000-0000-0000-000000000000, the policy trusts " + tenant, map[policy.Side]string{policy.SideCaller: "managed identity"}},
		{"a stranger's issuer", "", "issuer", set("iss", "https://accounts.example"), "an issuer that the policy does not trust", map[policy.Side]string{policy.SidePolicy: "<issuer>https://accounts.example</issuer>"}},
		{"a GUID where the URI is listed", uriOnly, "audience", good(), "v2 tokens always carry the client id", map[policy.Side]string{
			policy.SidePolicy: "<audience>" + clientID + "</audience>", policy.SideRegistration: "requestedAccessTokenVersion to 1"}},
		{"a URI where the GUID is listed", "<audiences><audience>" + clientID + "</audience></audiences>", "audience", set("aud", "api://"+clientID), "the policy lists the client id",
			map[policy.Side]string{policy.SidePolicy: "<audience>api://" + clientID, policy.SideCaller: "TargetApp to " + clientID}},
		{"a slash", audiences, "audience", set("aud", appIDURI+"/"), "a slash at its end", map[policy.Side]string{policy.SideCaller: appIDURI}},
		{"a scope as audience", audiences, "audience", set("aud", appIDURI+"/.default"), "a scope's ending", map[policy.Side]string{policy.SideCaller: "drop /.default"}},
		{"case", audiences, "audience", set("aud", strings.ToUpper(appIDURI)), "differs in case", map[policy.Side]string{policy.SideCaller: appIDURI}},
		{"a token for Graph", audiences, "audience", set("aud", "https://graph.microsoft.com"), "for Microsoft Graph", map[policy.Side]string{policy.SideCaller: "TargetApp"}},
		{"another API", audiences, "audience", set("aud", "api://other"), "for another API", map[policy.Side]string{policy.SideCaller: "TargetApp"}},
		{"an unassigned role", roles, "claim roles", with(func(c jwt.MapClaims) { delete(c, "roles") }), "not assigned, or the token is older", map[policy.Side]string{policy.SideRegistration: "assign the app role Api.Read"}},
		{"a developer", roles, "claim roles", with(func(c jwt.MapClaims) { delete(c, "roles"); c["scp"] = "x" }), "the token is a user's", map[policy.Side]string{
			policy.SideRegistration: "User among its allowed member types", policy.SideCaller: "as an application"}},
		{"case of a role", roles, "claim roles", set("roles", []string{"API.READ"}), "differs in case", map[policy.Side]string{policy.SidePolicy: "API.READ"}},
		{"another role", roles, "claim roles", set("roles", []string{"Api.Admin"}), "other roles", map[policy.Side]string{policy.SideRegistration: "Api.Read", policy.SidePolicy: "Api.Admin"}},
		{"just expired", "", "expires", set("exp", now.Unix()-30), "ended 30s ago", map[policy.Side]string{policy.SidePolicy: "clock-skew", policy.SideCaller: "new token"}},
		{"long expired", "", "expires", set("exp", now.Unix()-7200), "ended 2h0m0s ago", map[policy.Side]string{policy.SideCaller: "new token"}},
		{"not yet", "", "not-before", set("nbf", now.Unix()+3), "begins in 3s", map[policy.Side]string{policy.SidePolicy: "clock-skew, now 0s"}},
		{"a scope list without separator", `<required-claims><claim name="scp"><value>a</value></claim></required-claims>`, "claim scp", set("scp", "a b"), "a separator would split", nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			rule := ruleOf(t, jwtPolicy(t, "", row.children).Evaluate(bearer(sign(t, row.claims))), row.check)
			if rule.Result != policy.Refuse || !strings.Contains(rule.Why, row.why) {
				t.Errorf("want a refusal because %q, got %+v", row.why, rule)
			}
			got := map[policy.Side]string{}
			for _, f := range rule.Fixes {
				got[f.Side] += f.Change + "\n"
			}
			for side, piece := range row.fixes {
				if !strings.Contains(got[side], piece) {
					t.Errorf("want a fix on the side %s with %q, got %v", side, piece, got)
				}
			}
		})
	}
}

func TestOfflineTheSignatureIsNotCheckedAndTheRestIs(t *testing.T) {
	p := merge(t, policy.Scopes{API: shipped(t, "api.xml")}, namedValues)
	claims := map[string]any{
		"iss": issuerV2, "aud": clientID, "roles": []string{"Api.Read"}, "tid": tenant, "exp": now.Add(time.Hour).Unix(), "nbf": float64(now.Unix()), "ver": "2.0",
	}
	results := func(v policy.Verdict) string {
		var text []string
		for _, r := range v.Rules {
			if r.Statement == "validate-jwt" {
				text = append(text, fmt.Sprintf("%s: %s", r.Check, r.Result))
			}
		}
		return strings.Join(text, ", ")
	}
	v := p.Evaluate(policy.Input{Now: now, Claims: claims})
	want := "token: not checked, signature: not checked, expires: pass, not-before: pass, audience: pass, issuer: pass, claim roles: pass"
	if !v.Pass || results(v) != want {
		t.Errorf("claims alone:\nwant %s\ngot  %s", want, results(v))
	}
	claims["iss"] = issuerV1
	if v := p.Evaluate(policy.Input{Now: now, Claims: claims}); ruleOf(t, v, "issuer").Result != policy.Refuse {
		t.Errorf("the issuer follows from the metadata's address: got %+v", ruleOf(t, v, "issuer"))
	}
	in := bearer(signWith(t, jwt.SigningMethodRS256, keyPair()[1], "unknown", good()))
	in.Keys, in.Offline = nil, true
	v = p.Evaluate(in)
	want = "token: pass, scheme: pass, format: pass, signature: not checked, expires: pass, not-before: pass, audience: pass, issuer: pass, claim roles: pass"
	if !v.Pass || results(v) != want {
		t.Errorf("a token without keys:\nwant %s\ngot  %s", want, results(v))
	}
	local := map[string]string{"openid-config-url": "http://127.0.0.1:1/x/.well-known/openid-configuration", "client-id": clientID, "app-id-uri": appIDURI}
	v = merge(t, policy.Scopes{API: shipped(t, "api.xml")}, local).Evaluate(in)
	if rule := ruleOf(t, v, "issuer"); rule.Result != policy.NotChecked || !strings.Contains(rule.Want, "127.0.0.1") {
		t.Errorf("an address that is not Entra's tells no issuer: got %+v", rule)
	}
	if v := p.Evaluate(policy.Input{Now: now, Claims: map[string]any{"exp": "x"}}); v.Pass || reason(v) != "JwtInvalid" {
		t.Errorf("claims of the wrong type: got %+v", v.Error)
	}
}

func TestKnownMetadataAddressesTellTheirIssuer(t *testing.T) {
	rows := map[string]string{
		"https://login.microsoftonline.com/" + tenant + "/v2.0":         "https://login.microsoftonline.com/" + tenant + "/v2.0",
		"https://login.microsoftonline.com/" + tenant:                   "https://sts.windows.net/" + tenant + "/",
		"https://login.microsoftonline.us/" + tenant + "/v2.0":          "https://login.microsoftonline.us/" + tenant + "/v2.0",
		"https://login.partner.microsoftonline.cn/" + tenant:            "https://sts.chinacloudapi.cn/" + tenant + "/",
		"https://login.microsoftonline.com/contoso.onmicrosoft.com":     "",
		"https://login.microsoftonline.com/common/v2.0":                 "",
		"https://login.example/" + tenant:                               "",
		"https://login.microsoftonline.com/" + tenant + "/v2.0/../else": "",
	}
	for address, issuer := range rows {
		p := inbound(t, `<validate-jwt header-name="Authorization"><openid-config url="`+address+`/.well-known/openid-configuration" /></validate-jwt>`)
		want := policy.Pass
		claims := with(func(c jwt.MapClaims) { c["iss"] = issuer })
		if issuer == "" {
			want, claims = policy.NotChecked, good()
		}
		if rule := ruleOf(t, p.Evaluate(policy.Input{Now: now, Claims: claims}), "issuer"); rule.Result != want {
			t.Errorf("%s: want %s, got %+v", address, want, rule)
		}
	}
}

func TestKeySetsAndDiscoveryDocuments(t *testing.T) {
	enc := base64.RawURLEncoding.EncodeToString
	public := keyPair()[0].PublicKey
	good := `{"kty":"RSA","use":"sig","kid":"a","n":"` + enc(public.N.Bytes()) + `","e":"AQAB"}`
	keys, err := policy.ParseKeySet([]byte(`{"keys":[{"kty":"EC","crv":"P-256"},{"kty":"RSA","use":"enc","n":"x"},` + good + `]}`))
	if err != nil || len(keys) != 1 || keys[0].ID != "a" || !public.Equal(keys[0].Public) {
		t.Errorf("keys of other kinds are skipped: got %v %v", keys, err)
	}
	short := make([]byte, 64)
	_, _ = rand.Read(short)
	for name, text := range map[string]string{
		"no JSON": "x", "no key": `{"keys":[]}`, "another kind only": `{"keys":[{"kty":"EC"}]}`, "no modulus": `{"keys":[{"kty":"RSA","e":"AQAB"}]}`,
		"a short modulus": `{"keys":[{"kty":"RSA","n":"` + enc(short) + `","e":"AQAB"}]}`, "exponent 1": strings.Replace(`{"keys":[`+good+`]}`, "AQAB", "AQ", 1),
		"a huge exponent": strings.Replace(`{"keys":[`+good+`]}`, "AQAB", "AQABAQAB", 1), "a bad certificate": `{"keys":[{"kty":"RSA","x5c":["AA=="]}]}`,
	} {
		if got, err := policy.ParseKeySet([]byte(text)); err == nil {
			t.Errorf("%s: want an error, got %v", name, got)
		}
	}
	issuer, address, err := policy.ParseDiscovery([]byte(`{"issuer":"i","jwks_uri":"j"}`))
	if diff := cmp.Diff([]string{"i", "j"}, []string{issuer, address}); diff != "" || err != nil {
		t.Errorf("discovery: %v %s", err, diff)
	}
	for _, text := range []string{"x", `{"issuer":"i"}`, `[]`} {
		if _, _, err := policy.ParseDiscovery([]byte(text)); err == nil {
			t.Errorf("%s: want an error", text)
		}
	}
}
