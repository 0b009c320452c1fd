package doctor

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
	"apimrelay/internal/policy"
)

// checkPolicy holds the token against the policy, rule by rule. Signing keys are unknown here, and what a rule asks of a request is not all known.
func checkPolicy(_ context.Context, v *visit) []outcome {
	if v.o.Policy == nil {
		return one(notRun("no policy was given: -policy FILE"))
	}
	h := output[*held](v, "token")
	header := http.Header{"Authorization": {"Bearer " + h.value}}
	for name, values := range v.f.Headers {
		header[name] = values
	}
	path := "/"
	if v.f.Target != nil {
		if u, err := v.f.Target.URL(v.route.values, ""); err == nil {
			path = u.EscapedPath()
		}
	}
	verdict := v.o.Policy.Evaluate(policy.Input{
		Request: policy.Request{Method: v.route.method, Path: path, Header: header}, Now: v.o.Now(), Offline: true,
	})
	return v.explain(verdict, h.facts)
}

// explain makes an outcome of each rule about the token.
func (v *visit) explain(verdict policy.Verdict, f token.Facts) []outcome {
	var all []outcome
	refused := false
	for _, r := range verdict.Rules {
		if !strings.HasPrefix(r.Statement, "validate-") || r.Check == "" && r.Result != policy.NotRun {
			continue
		}
		title := fmt.Sprintf("%s:%d <%s>", r.File, r.Line, r.Statement)
		if r.Check != "" {
			title += " " + r.Check
		}
		saw := ""
		if r.Want != "" {
			saw = "want " + r.Want + ", got " + orNone(r.Got)
		}
		if r.Why != "" {
			if saw != "" {
				saw += ": "
			}
			saw += r.Why
		}
		o := outcome{title: title, saw: saw}
		switch r.Result {
		case policy.Pass, policy.Done:
			o.status = OK
		case policy.Refuse:
			refused = true
			var sides []string
			for _, fix := range r.Fixes {
				sides = append(sides, "on the side of the "+string(fix.Side)+": "+fix.Change)
			}
			o.status, o.anchor, o.fix = Finding, ruleAnchor(r, f), strings.Join(sides, "; or ")
			if r.Check == "claim roles" { // the command is worth more than the sentence
				fill := v.fill()
				if f.ObjectID != "" {
					fill["object"] = f.ObjectID
				}
				if _, wanted, found := strings.Cut(r.Want, "one of "); found && !strings.Contains(wanted, ",") {
					fill["role"] = wanted
				}
				o.fix += "; or by command: " + cause.Of(o.anchor).FixFor(fill)
			}
		default:
			o.status = NotRun
		}
		all = append(all, o)
	}
	switch {
	case all == nil:
		return one(warn(cause.PolicyNoToken, "the policy checks no token", v.fill()))
	case !refused && !verdict.Pass:
		// Another statement ended it: check-header, ip-filter, which depend on the request.
		all = append(all, notRun("a statement that depends on the request refuses it here: "+verdict.Error.Source))
	}
	return all
}

// ruleAnchor names a refused rule in the catalogue.
func ruleAnchor(r policy.Rule, f token.Facts) cause.Code {
	switch r.Check {
	case "audience":
		return cause.TokenAudience
	case "issuer":
		switch {
		case strings.Contains(r.Why, "of version"):
			return cause.IssuerVersion
		case strings.Contains(r.Why, "comes from tenant"):
			return cause.TokenTenant
		}
		return cause.TokenIssuer
	case "expires", "not-before":
		return cause.TokenTime
	case "caller":
		return cause.TokenCaller
	case "signature":
		return cause.TokenSignature
	case "claim roles":
		return roleAnchor(f.Roles, f.Scope)
	case "token", "scheme", "format":
		return cause.TokenFormat
	}
	return cause.TokenClaim
}
