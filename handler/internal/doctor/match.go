package doctor

import (
	"regexp"
	"strings"

	"apimrelay/handler/internal/token"
	"sync"
)

// fragments find the entry of the catalogue that an error of package identity, or of a log line, belongs to: the first whose words all occur. They are
// fixed pieces of foreign messages, or identity's own words; never whole sentences, since Entra adds ids and re-words now and then.
var fragments = []struct {
	anchor string
	words  []string // lower case
}{
	{"identity-endpoint-missing", []string{"has no identity endpoint"}},
	{"identity-endpoint-half", []string{"half an identity endpoint"}},
	{"identity-endpoint-half", []string{"identity_endpoint is no url"}},
	{"identity-endpoint-half", []string{"identity_endpoint or identity_header is not set"}},
	{"identity-not-attached", []string{"managed identity found for"}},
	{"identity-not-attached", []string{"no msi found for"}},
	{"identity-not-attached", []string{"identity not found"}},
	{"identity-throttled", []string{"answered 429"}},
	{"resource-refused", []string{"fetching the aad token"}},
	{"identity-header", []string{"identity endpoint", "answered 401"}},
	{"identity-header", []string{"identity endpoint", "answered 403"}},
	{"identity-endpoint-hangs", []string{"identity endpoint", "did not answer in time"}},
	{"identity-answer-html", []string{"text/html"}},
	{"identity-answer-html", []string{"an html page"}},
	{"identity-answer-empty", []string{"holds no token"}},
	{"identity-answer", []string{"identity endpoint", "answered 200 with"}},
	{"identity-endpoint-down", []string{"asking the identity endpoint"}},
	{"identity-platform", []string{"identity endpoint", "answered 5"}},
	{"az-missing", []string{"no such executable on path"}},
	{"az-missing", []string{"executable not found on path"}},
	{"az-signed-out", []string{"not logged in"}},
	{"az-slow", []string{"az did not answer in time"}},
	{"az-slow", []string{"azd did not answer in time"}},
	{"az-slow", []string{"signal: killed"}},
	{"az-output", []string{"printed something other than a token"}},
	{"az-failed", []string{"az failed"}},
	{"az-failed", []string{"azd failed"}},
	{"target-app-form", []string{"a character that a command line must not"}},
	{"target-app-form", []string{"invalid scope"}},
	{"target-app-form", []string{"the resource is empty"}},
	{"certificate-missing", []string{"loading the certificate"}},
	{"workload-missing", []string{"no workload identity here"}},
	{"workload-missing", []string{"reading the federated token"}},
	{"authority-form", []string{"azure_authority_host is no address"}},
	{"authority-form", []string{"issuer", "does not match"}},
	{"authority-certificate", []string{"x509:"}},
	{"authority-unreachable", []string{"asking the authority"}},
	{"authority-unreachable", []string{"the authority", "did not answer in time"}},
	{"token-tenant", []string{"comes from tenant"}},
	{"token-time", []string{"the token ended"}},
	{"token-time", []string{"the token has", "left, at least"}},
}

// codes are Entra's error numbers (learn.microsoft.com "Microsoft Entra authentication and authorization error codes").
var codes = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"7000215": "client-secret-wrong", "7000222": "client-secret-expired", "7000229": "client-no-principal", "7000112": "client-disabled",
		"700016": "client-unknown", "700027": "client-certificate", "700024": "federated-credential", "700211": "federated-credential",
		"700212": "federated-credential", "700213": "federated-credential", "90002": "tenant-unknown", "900023": "tenant-unknown",
		"500011": "resource-unknown", "650057": "resource-not-listed", "65001": "consent-missing", "90094": "consent-missing", "65002": "tool-not-authorized",
		"50105": "person-not-assigned", "501051": "assignment-required", "50076": "sign-in-blocked", "50079": "sign-in-blocked", "53003": "sign-in-blocked",
		"530032": "sign-in-blocked", "700082": "sign-in-expired", "70043": "sign-in-expired", "50173": "sign-in-expired", "50020": "account-of-another-tenant",
		"50034": "account-of-another-tenant", "90072": "account-of-another-tenant", "70011": "target-app-form", "1002012": "target-app-form",
		"50196": "identity-throttled",
	}
})

var aadsts = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`AADSTS(\d+)`) })

// identityAnchor names a failure to get a token by its text.
func identityAnchor(text string) string {
	if m := aadsts().FindStringSubmatch(text); m != nil {
		if anchor := codes()[m[1]]; anchor != "" {
			return anchor
		}
		return "entra-refused"
	}
	low := strings.ToLower(text)
	for _, f := range fragments {
		if all(low, f.words) {
			return f.anchor
		}
	}
	return "token-unavailable"
}

func all(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// messageAnchor names a refused token by the gateway's message, where the policy lets the cause through (learn.microsoft.com "Error handling in API Management
// policies", and the numbers of Microsoft.IdentityModel's messages); "" where it hides it.
func messageAnchor(message string, f token.Facts) string {
	low := strings.ToLower(message)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(low, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("idx10214", "claim value mismatch: aud"):
		return "token-audience"
	case has("idx10205"):
		if f.Version != "" && strings.Contains(low, "/v2.0") != (f.Version == "2.0") {
			return "issuer-version"
		}
		if f.Version == "1.0" && strings.Contains(low, "/v2.0") || f.Version == "2.0" && strings.Contains(low, "sts.windows.net") {
			return "issuer-version"
		}
		return "token-issuer"
	case has("idx10222", "idx10223", "idx10225"):
		return "token-time"
	case has("idx10500", "idx10501", "idx10503", "idx10504", "idx10511", "idx20803"):
		return "token-signature"
	case has("missing the following claims") && has("roles"), has("claim roles value of", "claim value mismatch: roles"):
		return roleAnchor(f.Roles, f.Scope)
	case has("missing the following claims", "claim value mismatch"), has("claim ") && has(" is not allowed"):
		return "token-claim"
	case has("jwt not present", "idx12741"):
		return "token-format"
	}
	return ""
}
