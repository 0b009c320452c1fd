package policy

import (
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// validateJWT is <validate-jwt>: https://learn.microsoft.com/azure/api-management/validate-jwt-policy
var validateJWT = kind{
	name: "validate-jwt", sections: []Section{Inbound}, build: buildValidateJWT,
	spec: &spec{
		attrs: []attrSpec{
			{name: "header-name", check: headerName}, {name: "query-parameter-name"}, {name: "token-value"},
			{name: "failed-validation-httpcode", check: number(200, 599)}, {name: "failed-validation-error-message"},
			{name: "require-expiration-time", check: boolean}, {name: "require-scheme"}, {name: "require-signed-tokens", check: boolean},
			{name: "clock-skew", check: number(0, 1<<31-1)}, {name: "output-token-variable-name"}, {name: "id"},
		},
		ordered: true,
		children: []childSpec{
			{name: "openid-config", spec: &spec{attrs: []attrSpec{
				{name: "url", required: true, check: metadataAddress}, {name: "validate-connectivity", check: boolean},
			}}},
			{name: "issuer-signing-keys", max: 1, spec: &spec{children: []childSpec{{name: "key", min: 1, spec: signingKeySpec}}}},
			{name: "decryption-keys", max: 1, spec: &spec{children: []childSpec{{name: "key", min: 1, spec: decryptionKeySpec}}}},
			{name: "audiences", max: 1, spec: listOf("audience")},
			{name: "issuers", max: 1, spec: listOf("issuer")},
			{name: "required-claims", max: 1, spec: requiredClaimsSpec},
		},
		more: oneTokenSource(true),
	},
}

func listOf(name string) *spec {
	return &spec{children: []childSpec{{name: name, min: 1, spec: &spec{text: needText}}}}
}

var requiredClaimsSpec = &spec{children: []childSpec{{name: "claim", min: 1, spec: &spec{
	attrs: []attrSpec{
		{name: "name", required: true}, {name: "match", check: oneOf("all", "any")}, {name: "separator", blank: true},
	},
	children: []childSpec{{name: "value", spec: &spec{text: needText}}},
}}}}

var (
	signingKeySpec = &spec{
		attrs: []attrSpec{{name: "id"}, {name: "certificate-id"}, {name: "n"}, {name: "e"}}, text: anyText, more: oneKey,
	}
	decryptionKeySpec = &spec{attrs: []attrSpec{{name: "certificate-id"}}, text: anyText, more: oneKey}
)

// oneKey holds a key to one of its three forms: base64 text, a certificate, modulus and exponent.
func oneKey(e *element) Errors {
	forms := 0
	if strings.TrimSpace(e.text) != "" {
		forms++
	}
	if e.attr("certificate-id") != "" {
		forms++
	}
	if e.attr("n") != "" || e.attr("e") != "" {
		forms++
		if e.attr("n") == "" || e.attr("e") == "" {
			return Errors{e.fault("element <key> needs both n and e")}
		}
	}
	if forms != 1 {
		return Errors{e.fault("element <key> needs one of base64 text, certificate-id, or n and e")}
	}
	return nil
}

// oneTokenSource asks for one of the attributes that say where the token is.
func oneTokenSource(required bool) func(e *element) Errors {
	return func(e *element) Errors {
		found := 0
		for _, name := range []string{"header-name", "query-parameter-name", "token-value"} {
			if _, there := e.lookup(name); there {
				found++
			}
		}
		if found > 1 || required && found == 0 {
			return Errors{e.fault("element <%s> needs exactly one of header-name, query-parameter-name, token-value: got %d", e.name, found)}
		}
		return nil
	}
}

func metadataAddress(value string) error {
	if u, err := url.Parse(value); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("want the complete address of a discovery document, https://…%s", wellKnown)
	}
	return nil
}

// validator is a validate-jwt or validate-azure-ad-token, ready to run.
type validator struct {
	header, query, literal string // where the token is: one of them
	status                 int
	text                   string // failed-validation-error-message, "" shows the cause
	requireExpiry          bool
	requireSigned          bool
	scheme                 string
	skew                   time.Duration
	metadata               []string // addresses
	keys                   []inlineKey
	audiences, issuers     []string
	claims                 []claimRule
	entra                  *entraRule // validate-azure-ad-token only
}

type inlineKey struct {
	id, certificate string
	secret          []byte
	public          *rsa.PublicKey
}

type claimRule struct {
	name, separator string
	any             bool
	values          []string
}

func buildValidateJWT(e *element) (statement, Errors) {
	v := &validator{
		header: http.CanonicalHeaderKey(e.attr("header-name")), query: e.attr("query-parameter-name"), literal: e.attr("token-value"),
		status: http.StatusUnauthorized, text: e.attr("failed-validation-error-message"),
		requireExpiry: e.attr("require-expiration-time") != "false", requireSigned: e.attr("require-signed-tokens") != "false",
		scheme: e.attr("require-scheme"), audiences: texts(e.child("audiences"), "audience"), issuers: texts(e.child("issuers"), "issuer"),
		claims: buildClaims(e),
	}
	if n, err := strconv.Atoi(e.attr("failed-validation-httpcode")); err == nil {
		v.status = n
	}
	if n, err := strconv.Atoi(e.attr("clock-skew")); err == nil {
		v.skew = time.Duration(n) * time.Second
	}
	for _, c := range e.each("openid-config") {
		v.metadata = append(v.metadata, c.attr("url"))
	}
	var faults Errors
	for _, c := range e.child("issuer-signing-keys").each("key") {
		key, fault := buildKey(c)
		if fault != nil {
			faults = append(faults, fault)
		}
		v.keys = append(v.keys, key)
	}
	for _, c := range e.child("decryption-keys").each("key") {
		if _, err := base64.StdEncoding.DecodeString(strings.TrimSpace(c.text)); err != nil {
			faults = append(faults, c.fault("text of <key> is not base64"))
		}
	}
	return v, faults
}

// buildKey reads one signing key. Errors do not repeat the text: it is a secret where it is symmetric.
func buildKey(e *element) (inlineKey, *Error) {
	k := inlineKey{id: e.attr("id"), certificate: e.attr("certificate-id")}
	var err error
	switch {
	case e.attr("n") != "":
		if k.public, err = rsaKey(e.attr("n"), e.attr("e")); err != nil {
			return k, e.fault("key: %v", err)
		}
	case k.certificate == "":
		if k.secret, err = base64.StdEncoding.DecodeString(strings.TrimSpace(e.text)); err != nil || len(k.secret) == 0 {
			return k, e.fault("text of <key> is not base64")
		}
	}
	return k, nil
}

func buildClaims(e *element) []claimRule {
	var claims []claimRule
	for _, c := range e.child("required-claims").each("claim") {
		claims = append(claims, claimRule{
			name: c.attr("name"), separator: c.attr("separator"), any: c.attr("match") == "any", values: values(c),
		})
	}
	return claims
}

func texts(e *element, name string) []string {
	var all []string
	for _, c := range e.each(name) {
		all = append(all, strings.TrimSpace(c.text))
	}
	return all
}
