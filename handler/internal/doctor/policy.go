package doctor

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
	"apimrelay/internal/policy"
)

// Policies are what the token is held against, as far as a person has it.
type Policies struct {
	Sources     policy.Sources
	NamedValues map[string]string
	// Faults are those of documents that cannot be read: each is a finding.
	Faults []error
}

// checkPolicy holds the token against the policies, rule by rule. Signing keys are unknown here,
// and what a rule asks of a request is not all known.
func checkPolicy(_ context.Context, v *visit) []outcome {
	if v.o.Policies == nil {
		return one(notRun("no policy was given: -policy FILE"))
	}
	if len(v.o.Policies.Faults) > 0 {
		var all []outcome
		for _, fault := range v.o.Policies.Faults {
			all = append(all, find(cause.PolicyUnreadable, fault.Error(), v.fill()))
		}
		return all
	}
	h := output[*held](v, "token")
	if h == nil {
		return one(notRun("needs: " + v.waits["token"].check.title))
	}
	header := http.Header{"Authorization": {"Bearer " + h.value}}
	for name, values := range v.f.Headers {
		header[name] = values
	}
	if v.f.KeyHeader != "" && len(v.f.Keys) > 0 {
		header[http.CanonicalHeaderKey(v.f.KeyHeader)] = []string{v.f.Keys[0].Reveal()}
	}
	in := policy.Input{Request: policy.Request{Method: v.route.method, Header: header}, Now: v.o.Now()}
	if v.f.Target != nil {
		if u, err := v.f.Target.URL(v.route.values, ""); err == nil {
			in.Request.Path, in.Request.RawQuery = u.EscapedPath(), u.RawQuery
		}
	}
	return v.explain(v.o.Policies.Sources.Judge(v.o.Policies.NamedValues, in), h.facts)
}

// explain makes an outcome of each rule, and of whatever may change what they come to.
func (v *visit) explain(j policy.Judgement, f token.Facts) []outcome {
	var all []outcome
	for _, r := range j.Rules {
		all = append(all, v.explainRule(r, f))
	}
	for _, n := range j.Notes {
		all = append(all, v.explainNote(cause.PolicyBeforeCheck, n))
	}
	for _, n := range j.Unknown {
		o := v.explainNote(cause.PolicyUnknown, n)
		if j.Checks { // what is judged stands by itself
			o.status, o.anchor, o.fix = NotRun, "", ""
		}
		all = append(all, o)
	}
	switch {
	case j.Always:
	case j.Checks:
		all = append(all, warn(cause.PolicyUnknown,
			"where none of these conditions holds, nothing here checks the token", v.fill()).titled("a condition"))
	case len(j.Unknown)+len(j.Notes)+len(j.Skipped) > 0:
		all = append(all, warn(cause.PolicyUnknown,
			"no statement that is judged here checks a token: whether one is wanted cannot be told", v.fill()).
			titled("a check of the token"))
	default:
		all = append(all, warn(cause.PolicyNoToken, "the policy checks no token", v.fill()))
	}
	if len(j.Skipped) > 0 {
		all = append(all, notRun("not looked at: "+places(j.Skipped)).titled("other statements of the policy"))
	}
	return all
}

func (v *visit) explainNote(code cause.Code, n policy.Note) outcome {
	return warn(code, n.Text, v.fill()).titled(title(n.Place, "", n.When))
}

// title names a statement, or one rule of it, by file and line.
func title(p policy.Place, check, when string) string {
	text := fmt.Sprintf("%s:%d <%s>", p.File, p.Line, p.Statement)
	if check != "" {
		text += " " + check
	}
	if when != "" {
		text += ", " + when
	}
	return text
}

// places lists statements by their lines.
func places(all []policy.Place) string {
	several := slices.ContainsFunc(all, func(p policy.Place) bool { return p.File != all[0].File })
	words := make([]string, len(all))
	for i, p := range all {
		words[i] = fmt.Sprintf("%s (line %d)", p.Statement, p.Line)
		if several {
			words[i] = fmt.Sprintf("%s (%s line %d)", p.Statement, filepath.Base(p.File), p.Line)
		}
	}
	return strings.Join(words, ", ")
}

// explainRule makes the outcome of one rule. A refusal that a condition decides is a warning.
func (v *visit) explainRule(r policy.Rule, f token.Facts) outcome {
	var saw []string
	if r.Want != "" {
		saw = append(saw, "want "+r.Want+", got "+orNone(r.Got))
	}
	if r.Why != "" {
		saw = append(saw, r.Why)
	}
	o := outcome{
		title: title(policy.Place{Statement: r.Statement, File: r.File, Line: r.Line}, r.Check, r.When),
		saw:   strings.Join(saw, ": "),
	}
	switch r.Result {
	case policy.Pass, policy.Done:
		o.status = OK
	case policy.CannotTell:
		o.status, o.anchor, o.saw = Warning, cause.PolicyUnknown, "cannot tell: "+r.Why
		o.fix = cause.Of(o.anchor).FixFor(v.fill())
	case policy.Refuse:
		var sides []string
		for _, fix := range r.Fixes {
			sides = append(sides, "on the side of the "+string(fix.Side)+": "+fix.Change)
		}
		o.status, o.anchor, o.fix = Finding, ruleAnchor(r, f), strings.Join(sides, "; or ")
		if r.When != "" {
			o.status = Warning
		}
		if r.Check == "claim roles" { // the command is worth more than the sentence
			fill := v.fill()
			if f.ObjectID != "" {
				fill["object"] = f.ObjectID
			}
			if r.Value != "" {
				fill["role"] = r.Value
			}
			o.fix += "; or by command: " + cause.Of(o.anchor).FixFor(fill)
		}
	default:
		o.status = NotRun
	}
	return o
}

// ruleAnchor names a refused rule in the catalogue.
func ruleAnchor(r policy.Rule, f token.Facts) cause.Code {
	if r.Statement == "check-header" {
		return cause.PolicyHeader
	}
	switch r.Check {
	case "audience":
		return cause.TokenAudience
	case "issuer":
		switch r.Differs {
		case "version":
			return cause.IssuerVersion
		case "tenant":
			return cause.TokenTenant
		}
		return cause.TokenIssuer
	case "expires", "not-before":
		return cause.TokenTime
	case "caller":
		return cause.TokenCaller
	case "signature":
		return cause.TokenSignature
	case "order":
		return cause.PolicyOrder
	case "claim roles":
		return roleAnchor(f.Roles, f.Scope)
	case "token", "scheme", "format":
		return cause.TokenFormat
	}
	return cause.TokenClaim
}
