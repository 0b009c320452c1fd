package doctor

import (
	"strings"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

// messageAnchor names a refused token by the gateway's message, where the policy lets the cause
// through (learn.microsoft.com "Error handling in API Management policies", and the numbers of
// Microsoft.IdentityModel's messages); "" where it hides it.
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
