package doctor

import (
	"strings"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

// fragments find the entry of the catalogue that an error of package identity, or of a log line, belongs to: the first whose words all occur. They are
// fixed pieces of foreign messages, or identity's own words; never whole sentences, since Entra adds ids and re-words now and then.
var fragments = []struct {
	anchor cause.Code
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

// identityAnchor names a failure to get a token by its text.
func identityAnchor(text string) cause.Code {
	if code, _ := cause.OfAADSTS(text); code != "" {
		return code
	}
	low := strings.ToLower(text)
	for _, f := range fragments {
		if all(low, f.words) {
			return f.anchor
		}
	}
	return cause.TokenUnavailable
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
func messageAnchor(message string, f token.Facts) cause.Code {
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
		return cause.TokenAudience
	case has("idx10205"):
		if f.Version != "" && strings.Contains(low, "/v2.0") != (f.Version == "2.0") {
			return cause.IssuerVersion
		}
		if f.Version == "1.0" && strings.Contains(low, "/v2.0") || f.Version == "2.0" && strings.Contains(low, "sts.windows.net") {
			return cause.IssuerVersion
		}
		return cause.TokenIssuer
	case has("idx10222", "idx10223", "idx10225"):
		return cause.TokenTime
	case has("idx10500", "idx10501", "idx10503", "idx10504", "idx10511", "idx20803"):
		return cause.TokenSignature
	case has("missing the following claims") && has("roles"), has("claim roles value of", "claim value mismatch: roles"):
		return roleAnchor(f.Roles, f.Scope)
	case has("missing the following claims", "claim value mismatch"), has("claim ") && has(" is not allowed"):
		return cause.TokenClaim
	case has("jwt not present", "idx12741"):
		return cause.TokenFormat
	}
	return ""
}
