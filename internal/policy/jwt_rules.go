package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// presented is what a request brings where the policy looks for a token.
type presented struct {
	there  bool
	scheme string // only of Authorization
	token  string
}

// present finds the token in a request.
func (v *validator) present(r Request) presented {
	switch {
	case v.query != "":
		value, there := Query(r.RawQuery, v.query)
		return presented{there: there && value != "", token: value}
	case v.literal != "":
		return presented{there: true, token: v.literal}
	}
	value := strings.TrimSpace(strings.Join(r.Header[v.header], ","))
	p := presented{there: value != "", token: value}
	// A scheme is documented for Authorization only; in any other header the value is the bare token, as observed in
	// MicrosoftDocs/azure-docs#108628.
	if v.header == "Authorization" {
		isScheme := func(s string) bool { return strings.EqualFold(s, value) }
		if scheme, rest, found := strings.Cut(value, " "); found {
			p.scheme, p.token = scheme, strings.TrimSpace(rest)
		} else if slices.ContainsFunc(schemes, isScheme) || isScheme(v.scheme) {
			p = presented{scheme: value} // net/http cuts the blank of "Bearer "
		}
	}
	return p
}

// place says where the policy looks, for traces.
func (v *validator) where() string {
	switch {
	case v.query != "":
		return "query parameter " + v.query
	case v.literal != "":
		return "the policy's token-value"
	}
	return "header " + v.header
}

// run checks the token. The first check that fails makes the answer; the trace has all of them, in the order in which
// Microsoft.IdentityModel's ValidateToken does them.
func (v *validator) run(e *evaluation) bool {
	var failed *outcome
	record := func(o outcome) bool {
		e.note(o.rule)
		if o.rule.Result == Refuse && failed == nil {
			failed = &o
		}
		return o.rule.Result != Refuse
	}
	t := v.open(e, record)
	if t != nil {
		e.verdict.Token = t.facts()
		record(v.signature(e, t))
		record(v.expires(e, t))
		record(v.notBefore(e, t))
		record(v.audience(t))
		record(v.issuer(e, t))
		if v.entra != nil {
			record(v.application(t))
		}
		for _, c := range v.claims {
			record(c.check(t))
		}
	}
	if failed == nil {
		return true
	}
	text := v.text
	if text == "" {
		text = failed.message
	}
	e.refuse(failed.reason, failed.message, ErrorResponse(v.status, text))
	return false
}

// open finds the token and takes it apart: checks "token", "scheme" and "format". It returns nil where there is nothing to check further.
func (v *validator) open(e *evaluation, record func(outcome) bool) *token {
	if e.Claims != nil {
		record(outcome{rule: Rule{Check: "token", Result: NotChecked, Why: "only the token's claims are known here"}})
		t, err := fromClaims(e.Claims)
		if err != nil {
			record(formatFault(err))
			return nil
		}
		return t
	}
	p := v.present(*e.request)
	if !p.there {
		record(outcome{
			rule: Rule{
				Check: "token", Result: Refuse, Want: "a token in " + v.where(), Got: "none", Why: "the request has no token where the policy looks",
				Fixes: []Fix{{SideCaller, "send the token in " + v.where()}},
			},
			reason: "TokenNotPresent", message: "JWT not present.",
		})
		return nil
	}
	record(outcome{rule: Rule{Check: "token", Result: Pass, Want: "a token in " + v.where(), Got: "present"}})
	right := true
	if v.header == "Authorization" {
		right = record(v.checkScheme(p))
	}
	t, err := readToken(p.token)
	if err == nil {
		record(outcome{rule: Rule{Check: "format", Result: Pass, Want: "three segments, JSON in base64url", Got: "three segments"}})
		return t
	}
	if !right {
		// With another scheme it need not be a token at all.
		record(outcome{rule: Rule{Check: "format", Result: NotRun, Why: "the scheme is not the one the policy wants"}})
		return nil
	}
	o := formatFault(err)
	if before, _, found := strings.Cut(p.token, " "); found && strings.EqualFold(before, "Bearer") {
		o.rule.Why = "the header holds a scheme before the token"
		o.rule.Fixes = []Fix{{SideCaller, "send the bare token: only Authorization takes a scheme"}}
	}
	record(o)
	return nil
}

func formatFault(err error) outcome {
	return outcome{
		rule: Rule{Check: "format", Result: Refuse, Want: "three segments, JSON in base64url", Got: "something else", Why: err.Error(),
			Fixes: []Fix{{SideCaller, "send the access token as the identity endpoint gave it"}}},
		reason: "JwtInvalid", message: "IDX12741: JWT must have three segments (JWS) or five segments (JWE).",
	}
}

// schemes may be shown in a trace; any other word might be a secret that stands in the wrong place.
var schemes = []string{"Bearer", "Basic", "Digest", "DPoP", "Negotiate", "NTLM", "SharedKey", "HMAC-SHA256", "AWS4-HMAC-SHA256"}

func (v *validator) checkScheme(p presented) outcome {
	o := outcome{rule: Rule{Check: "scheme", Result: Pass, Want: v.scheme, Got: "none"}}
	if p.scheme != "" {
		o.rule.Got = "another word"
		if i := slices.IndexFunc(schemes, func(s string) bool { return strings.EqualFold(s, p.scheme) }); i >= 0 {
			o.rule.Got = schemes[i]
		}
	}
	switch {
	case v.scheme == "":
		o.rule.Result, o.rule.Why = NotChecked, "the policy asks for no scheme"
	case !strings.EqualFold(v.scheme, p.scheme):
		o.rule.Result, o.rule.Why = Refuse, "the token has another scheme before it than the policy wants"
		o.rule.Fixes = []Fix{{SideCaller, "send \"Authorization: " + v.scheme + " <token>\""}}
		o.reason, o.message = "TokenNotPresent", "JWT not present."
	}
	return o
}

func (v *validator) expires(e *evaluation, t *token) outcome {
	o := outcome{rule: Rule{Check: "expires", Result: Pass, Want: "exp after " + stamp(e.Now.Add(-v.skew)), Got: "none"}}
	switch {
	case !t.hasExp && v.requireExpiry:
		o.rule.Result, o.rule.Why = Refuse, "the token has no expiry"
		o.rule.Fixes = []Fix{{SideCaller, "get a token with an exp claim; Entra's have one"}}
		o.reason, o.message = "JwtInvalid", "IDX10225: Lifetime validation failed. The token is missing an Expiration Time."
	case !t.hasExp:
		o.rule.Result, o.rule.Why = NotChecked, "the token has no expiry and the policy does not ask for one"
	case t.exp.Before(e.Now.Add(-v.skew)):
		late := e.Now.Sub(t.exp).Round(time.Second)
		o.rule.Result, o.rule.Got, o.rule.Why = Refuse, stamp(t.exp), fmt.Sprintf("the token ended %s ago by the gateway's clock", late)
		o.rule.Fixes = []Fix{{SideCaller, "get a new token before the old one ends; compare the clock with the answer's Date header"}}
		if late <= 5*time.Minute {
			o.rule.Fixes = append(o.rule.Fixes, Fix{SidePolicy, fmt.Sprintf("raise clock-skew, now %s", v.skew)})
		}
		o.reason = "TokenExpired"
		o.message = fmt.Sprintf("IDX10223: Lifetime validation failed. The token is expired. ValidTo (UTC): '%s', Current time (UTC): '%s'.",
			stamp(t.exp), stamp(e.Now))
	default:
		o.rule.Got = stamp(t.exp)
	}
	return o
}

func (v *validator) notBefore(e *evaluation, t *token) outcome {
	o := outcome{rule: Rule{Check: "not-before", Result: Pass, Want: "nbf up to " + stamp(e.Now.Add(v.skew)), Got: "none"}}
	if !t.hasNBF {
		o.rule.Result, o.rule.Why = NotChecked, "the token has no nbf"
		return o
	}
	o.rule.Got = stamp(t.nbf)
	if t.nbf.After(e.Now.Add(v.skew)) {
		o.rule.Result, o.rule.Why = Refuse, fmt.Sprintf("the token begins in %s by the gateway's clock", t.nbf.Sub(e.Now).Round(time.Second))
		o.rule.Fixes = []Fix{
			{SidePolicy, fmt.Sprintf("raise clock-skew, now %s: 60 seconds is usual", v.skew)},
			{SideCaller, "compare the clock with the answer's Date header"},
		}
		o.reason = "TokenExpired"
		o.message = fmt.Sprintf("IDX10222: Lifetime validation failed. The token is not yet valid. ValidFrom (UTC): '%s', Current time (UTC): '%s'.",
			stamp(t.nbf), stamp(e.Now))
	}
	return o
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func (v *validator) audience(t *token) outcome {
	got, _ := t.values("aud", "")
	o := outcome{rule: Rule{Check: "audience", Result: Pass, Want: "one of " + list(v.audiences), Got: list(got)}}
	switch {
	case len(v.audiences) == 0:
		o.rule.Result, o.rule.Want = NotChecked, ""
		o.rule.Why = "the policy lists no audiences: a token for any API of the issuer passes this rule"
	case !slices.ContainsFunc(got, func(one string) bool { return slices.Contains(v.audiences, one) }):
		o.rule.Result = Refuse
		o.rule.Why, o.rule.Fixes = explainAudience(got, v.audiences)
		o.reason = "TokenAudienceNotAllowed"
		o.message = fmt.Sprintf("IDX10214: Audience validation failed. Audiences: '%s'. Did not match: validationParameters.ValidAudience: '' or "+
			"validationParameters.ValidAudiences: '%s'.", clip(strings.Join(got, ", ")), strings.Join(v.audiences, ", "))
	}
	return o
}

func (v *validator) issuer(e *evaluation, t *token) outcome {
	allowed := slices.Clone(v.issuers)
	unknown := ""
	for _, address := range v.metadata {
		if m, there := e.Keys[address]; there && m.Issuer != "" {
			allowed = append(allowed, v.ofTenant(m.Issuer, t))
		} else if issuer, ok := issuerOf(address); ok && e.Offline {
			allowed = append(allowed, issuer)
		} else {
			unknown = address
		}
	}
	got, _ := t.claims["iss"].(string)
	o := outcome{rule: Rule{Check: "issuer", Result: Pass, Want: "one of " + list(allowed), Got: orNone(clip(got))}}
	switch {
	case slices.Contains(allowed, got) && got != "":
	case e.Offline && unknown != "":
		o.rule.Result, o.rule.Want = NotChecked, "the issuer in "+unknown
		o.rule.Why = "the metadata was not fetched, and its issuer does not follow from its address"
	case len(v.metadata) == 0 && len(v.issuers) == 0:
		o.rule.Result, o.rule.Want, o.rule.Why = NotChecked, "", "the policy names no issuer"
	default:
		o.rule.Result = Refuse
		o.rule.Why, o.rule.Fixes, o.rule.Differs = explainIssuer(got, allowed, v.metadata)
		if len(allowed) == 0 {
			// Never "not checked": with several openid-configs the keys of one would vouch for the issuer of another.
			o.rule.Why = "no issuer is known: the metadata was not fetched"
			o.rule.Fixes = []Fix{{SidePolicy, "give an openid-config address that the gateway can reach"}}
		}
		o.reason = "TokenIssuerNotAllowed"
		o.message = fmt.Sprintf("IDX10205: Issuer validation failed. Issuer: '%s'. Did not match: validationParameters.ValidIssuer: '' or "+
			"validationParameters.ValidIssuers: '%s'.", clip(got), strings.Join(allowed, ", "))
	}
	return o
}

// ofTenant fills the template of the multi-tenant metadata (common, organizations) with the token's tenant. Only validate-azure-ad-token does:
// validate-jwt compares the template as it stands, and so refuses every token unless issuers are listed.
func (v *validator) ofTenant(issuer string, t *token) string {
	tenant, _ := t.claims["tid"].(string)
	if v.entra == nil || !guid().MatchString(tenant) {
		return issuer
	}
	return strings.ReplaceAll(issuer, "{tenantid}", tenant)
}

func (c claimRule) check(t *token) outcome {
	got, there := t.values(c.name, c.separator)
	how := "every one of "
	if c.any {
		how = "one of "
	}
	o := outcome{rule: Rule{Check: "claim " + c.name, Result: Pass, Want: how + list(c.values), Got: list(got)}}
	switch len(c.values) {
	case 0:
		o.rule.Want = "any value"
	case 1:
		o.rule.Value = c.values[0]
	}
	has := func(want string) bool { return slices.Contains(got, want) }
	switch {
	case !there:
		o.rule.Result = Refuse
		o.reason, o.message = "TokenClaimNotFound", fmt.Sprintf("JWT token is missing the following claims: %s", c.name)
	case len(c.values) == 0:
		return o
	case c.any && !slices.ContainsFunc(c.values, has), !c.any && slices.ContainsFunc(c.values, func(want string) bool { return !has(want) }):
		o.rule.Result = Refuse
		o.reason = "TokenClaimValueNotAllowed"
		o.message = fmt.Sprintf("Claim %s value of %s is not allowed.", c.name, clip(strings.Join(got, ", ")))
	default:
		return o
	}
	o.rule.Why, o.rule.Fixes = c.explain(t, got, there)
	return o
}

// list writes values for a trace.
func list(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	short := make([]string, len(values))
	for i, v := range values {
		short[i] = clip(v)
	}
	return strings.Join(short, ", ")
}
