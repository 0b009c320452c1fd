package token

import (
	"fmt"
	"strings"
	"time"

	"apimrelay/handler/internal/cause"
)

// held is an accepted token with what the warm path compares.
type held struct {
	value    string
	facts    Facts
	opaque   bool      // facts holds the hash alone
	received time.Time // wall clock
	end      time.Time // the real end of its life
	usable   int64     // handed out until then, in nanoseconds since 1970
	refresh  moveable  // from then on a caller starts a refresh; never after usable
}

// accept checks what a fetch brought and makes it ready to be handed out. What is wrong with a token that the gateway would refuse is doctor's
// to say; here only those are turned away that cannot work or must not be sent.
func accept(tok Token, tenantID string, now time.Time) (*held, *Error) {
	if tok.Value == "" {
		return nil, unavailable(cause.IdentityAnswerEmpty, "the answer holds no token")
	}
	if !bearer(tok.Value) {
		return nil, unavailable(cause.IdentityAnswer, "the answer is no token: %d bytes with characters that RFC 6750 does not allow", len(tok.Value))
	}
	facts, err := ReadFacts(tok.Value)
	h := &held{value: tok.Value, facts: facts, opaque: err != nil, received: now, end: tok.ExpiresOn}
	if !facts.ExpiresOn.IsZero() && (h.end.IsZero() || facts.ExpiresOn.Before(h.end)) {
		h.end = facts.ExpiresOn // the gateway goes by the claim
	}
	if h.end.IsZero() {
		return nil, unavailable(cause.IdentityAnswer, "the answer does not say when the token ends")
	}
	if longest := now.Add(longestLife); h.end.After(longest) {
		h.end = longest
	}
	switch left := h.end.Sub(now); {
	case left <= 0:
		return nil, unavailable(cause.TokenTime, "the token ended %s ago, on %s", (-left).Round(time.Second), h.end.UTC().Format(time.RFC3339))
	case left <= margin:
		return nil, unavailable(cause.TokenTime, "the token has %s left, at least %s are needed", left.Round(100*time.Millisecond), margin)
	}
	if !h.opaque && tenantID != "" && facts.TenantID != "" && !strings.EqualFold(facts.TenantID, tenantID) {
		return nil, &Error{
			Kind: Refused,
			Code: cause.TokenTenant,
			Err:  fmt.Errorf("the token comes from tenant %q, wanted %q", facts.TenantID, tenantID),
			Hint: "TargetTenantID names another tenant than the identity's own. A managed identity cannot change its tenant: correct the setting. For a developer: az login --tenant " + tenantID,
		}
	}
	h.usable = h.end.Add(-margin).UnixNano()
	h.refresh.Store(min(refreshAt(now, h.end, tok.RefreshOn).UnixNano(), h.usable))
	return h, nil
}

// bearer tells whether text can stand after "Bearer " in a header: RFC 6750 section 2.1, b64token.
func bearer(text string) bool {
	body := strings.TrimRight(text, "=")
	for i := range len(body) {
		c := body[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return body != ""
}
