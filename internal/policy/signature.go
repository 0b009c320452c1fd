package policy

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms that the gateway takes, by the kind of key (https://learn.microsoft.com/azure/api-management/validate-jwt-policy#usage-notes).
// A token's header never chooses the kind: an HS256 token signed with a public RSA key finds no key here.
var (
	byPublicKey = []string{"RS256", "RS512", "PS256"}
	bySecret    = []string{"HS256", "HS384", "HS512"}
)

// candidate is a key that may have signed a token: *rsa.PublicKey or []byte.
type candidate struct {
	id  string
	key any
}

// outcome is the result of one check: reason and message are LastError's.
type outcome struct {
	rule            Rule
	reason, message string
}

// signature checks the token's signature with the keys of metadata, certificates and the policy itself.
func (v *validator) signature(e *evaluation, t *token) outcome {
	o := outcome{rule: Rule{
		Check: "signature", Want: "signed by a key of the policy's metadata",
		Got: "alg " + orNone(clip(t.algorithm)) + ", kid " + orNone(clip(t.keyID)),
	}}
	if len(v.metadata) == 0 {
		o.rule.Want = "signed by a key of the policy"
	}
	if e.Offline {
		o.rule.Result, o.rule.Why = NotChecked, "signing keys are not known here"
		return o
	}
	refuse := func(reason, message, why string, fixes ...Fix) outcome {
		o.rule.Result, o.rule.Why, o.rule.Fixes = Refuse, why, fixes
		o.reason, o.message = reason, message
		return o
	}
	if t.algorithm == "" || strings.EqualFold(t.algorithm, "none") || len(t.signature) == 0 {
		if !v.requireSigned && strings.EqualFold(t.algorithm, "none") && len(t.signature) == 0 {
			o.rule.Result, o.rule.Why = NotChecked, "the token is not signed and the policy does not ask for it"
			return o
		}
		return refuse("TokenSignatureInvalid", "IDX10504: Unable to validate signature, token does not have a signature.", "the token is not signed",
			Fix{SideCaller, "send the token as the issuer made it"})
	}
	if !slices.Contains(byPublicKey, t.algorithm) && !slices.Contains(bySecret, t.algorithm) {
		return refuse("TokenSignatureInvalid", "IDX10511: Signature validation failed. The algorithm is not supported.",
			"the gateway does not take the algorithm", Fix{SideCaller, "get a token that is signed with RS256, as Entra signs"})
	}
	candidates, missing := v.candidates(e, t.algorithm)
	if len(candidates) == 0 {
		if len(missing) > 0 {
			return refuse("TokenSignatureKeyNotFound", "IDX20803: Unable to obtain configuration from: '"+missing[0].url+"'.",
				"the gateway has no keys: "+missing[0].cause, Fix{SidePolicy, "give an openid-config address that the gateway can reach"})
		}
		return refuse("TokenSignatureKeyNotFound", "IDX10500: Signature validation failed. No security keys were provided to validate the signature.",
			"the policy has no key for this algorithm", Fix{SidePolicy, "trust the issuer by <openid-config>"})
	}
	var named []candidate
	for _, c := range candidates {
		if c.id == "" || t.keyID == "" || strings.EqualFold(c.id, t.keyID) {
			named = append(named, c)
		}
	}
	if slices.ContainsFunc(named, t.signedBy) {
		o.rule.Result = Pass
		return o
	}
	if len(named) > 0 {
		return refuse("TokenSignatureInvalid",
			fmt.Sprintf("IDX10511: Signature validation failed. Keys tried: %d. kid: '%s'.", len(named), clip(t.keyID)), "the signature does not fit the key", Fix{SideCaller, "send the token as the issuer made it: it was changed, or signed by somebody else"})
	}
	// Microsoft.IdentityModel then tries every key (TryAllIssuerSigningKeys).
	if slices.ContainsFunc(candidates, t.signedBy) {
		o.rule.Result, o.rule.Why = Pass, "no key has the token's kid, but one fits the signature"
		return o
	}
	why := fmt.Sprintf("none of %d keys has the token's kid", len(candidates))
	fixes := []Fix{
		{SideCaller, "get the token from the issuer that the policy trusts"},
		{SidePolicy, "after a key rollover wait: the gateway fetches keys again for an unknown kid, at most every 5 minutes"},
	}
	return refuse("TokenSignatureKeyNotFound",
		fmt.Sprintf("IDX10501: Signature validation failed. Unable to match key: kid: '%s'.", clip(t.keyID)), why, fixes...)
}

// signedBy reports whether a key fits the token's signature.
func (t *token) signedBy(c candidate) bool {
	method := jwt.GetSigningMethod(t.algorithm)
	return method != nil && method.Verify(t.signed, t.signature, c.key) == nil
}

type missingKeys struct{ url, cause string }

// candidates collects the keys that fit the algorithm's kind.
func (v *validator) candidates(e *evaluation, algorithm string) (all []candidate, missing []missingKeys) {
	secret := slices.Contains(bySecret, algorithm)
	for _, k := range v.keys {
		switch {
		case secret && k.secret != nil:
			all = append(all, candidate{k.id, k.secret})
		case !secret && k.public != nil:
			all = append(all, candidate{k.id, k.public})
		case !secret && k.certificate != "":
			if public, ok := e.Certificates[k.certificate].(*rsa.PublicKey); ok {
				all = append(all, candidate{k.id, public})
			}
		}
	}
	if secret {
		return all, nil
	}
	for _, address := range v.metadata {
		m, there := e.Keys[address]
		if m.Err == nil && !there {
			m.Err = errors.New("the metadata was not fetched")
		}
		if m.Err != nil {
			missing = append(missing, missingKeys{address, m.Err.Error()})
		}
		for _, k := range m.Keys {
			if public, ok := k.Public.(*rsa.PublicKey); ok {
				all = append(all, candidate{k.ID, public})
			}
		}
	}
	return all, missing
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
