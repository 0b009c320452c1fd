package policy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// unknown is a value of a statement that is known only when a request comes.
type unknown struct {
	of    string // "audience", "issuer", ...: the check that needs it
	claim int    // for "claim": which of the claims
	line  int
	why   string
}

// settled is a statement whose named values are filled in, without the values that are not known.
type settled struct {
	element *element
	unknown []unknown
}

// judged says which check needs what stands in an attribute or element, by its name. Attributes that
// are not listed change no verdict.
var judged = map[string]string{
	"header-name": "token", "query-parameter-name": "token", "token-value": "token",
	"require-scheme": "scheme", "clock-skew": "expires", "require-expiration-time": "expires",
	"url": "issuer", "tenant-id": "issuer", "authentication-endpoint": "issuer", "issuer": "issuer",
	"audience": "audience", "name": "claim", "match": "claim", "separator": "claim", "value": "claim",
}

// settle fills in the named values of a statement that checks a token.
func (w *walker) settle(e *element) settled {
	s := settled{}
	claims := -1
	var visit func(e *element, in string) *element
	visit = func(e *element, in string) *element {
		if e.name == "claim" {
			claims++
		}
		check := func(name string) string {
			if name == "application-id" {
				if in == "client-application-ids" {
					return "caller"
				}
				return "audience"
			}
			return judged[name]
		}
		c := &element{name: e.name, file: e.file, line: e.line}
		for _, a := range e.attrs {
			value, why := w.value(a.value)
			if why == "" {
				c.attrs = append(c.attrs, attribute{a.name, value, a.line})
				continue
			}
			s.unknown = append(s.unknown, unknown{check(a.name), claims, expressionLine(a.value, a.line), why})
		}
		value, why := w.value(e.text)
		if why != "" {
			s.unknown = append(s.unknown, unknown{check(e.name), claims, expressionLine(e.text, e.line), why})
			return nil
		}
		c.text = value
		for _, child := range e.children {
			if settled := visit(child, e.name); settled != nil {
				c.children = append(c.children, settled)
			}
		}
		return c
	}
	s.element = visit(e, "")
	return s
}

// value fills in the named values of a text. why says why it is not known; "" means that it is.
func (w *walker) value(text string) (value, why string) {
	if expression(text) {
		return "", "an expression decides it"
	}
	value = reference().ReplaceAllStringFunc(text, func(whole string) string {
		name := strings.TrimSpace(whole[2 : len(whole)-2])
		value, there := w.values[name]
		switch {
		case why != "":
		case !there:
			why = "the named value " + clip(name) + " was not given"
		case strings.TrimSpace(value) == "":
			why = "the named value " + clip(name) + " is blank"
		case expression(value), holds(value):
			why = "the named value " + clip(name) + " is an expression"
		}
		return value
	})
	if why == "" && firstOpening(value) >= 0 {
		why = "an expression decides it"
	}
	return value, why
}

// of returns the values that a check needs and that are not known; claim counts for "claim" alone.
func (s settled) of(check string, claim int) []unknown {
	var all []unknown
	for _, u := range s.unknown {
		if u.of == check && (check != "claim" || u.claim == claim) {
			all = append(all, u)
		}
	}
	return all
}

// cannotTell makes a rule one that nobody can tell, and says which lines decide it.
func cannotTell(r Rule, unknown []unknown) Rule {
	r.Result, r.Fixes = CannotTell, nil
	var why []string
	for _, u := range unknown {
		if text := fmt.Sprintf("line %d: %s", u.line, u.why); !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	r.Why = strings.Join(why, "; ")
	return r
}

// token judges validate-jwt and validate-azure-ad-token.
func (w *walker) token(e *element, under []branch) []Rule {
	s := w.settle(e)
	if unknown := s.of("token", 0); len(unknown) > 0 {
		return []Rule{cannotTell(Rule{Check: "token", Want: "a token from elsewhere than the policy says in words"}, unknown)}
	}
	built, faults := kindOf(e.name).build(s.element)
	v := built.(*validator)
	if v.header == "" && v.query == "" && v.literal == "" {
		return []Rule{{Check: "token", Result: CannotTell, Why: "the statement does not say where the token is: " +
			"want header-name, query-parameter-name or token-value"}}
	}
	all := w.disorder(e)
	for _, f := range faults {
		s.unknown = append(s.unknown, unknown{of: "issuer", line: f.Line, why: f.Text})
	}
	if rule, replaced := w.replaced(v.header, "token", under); replaced {
		return append(all, rule)
	}
	if v.query != "" || v.literal != "" {
		return append(all, elsewhere(v, w.in.Request))
	}
	verdict := &Verdict{}
	v.run(&evaluation{Input: w.in, verdict: verdict, request: &w.in.Request})
	claim := -1
	for _, r := range verdict.Rules {
		switch {
		case strings.HasPrefix(r.Check, "claim "):
			claim++
			r = s.claim(r, claim, v.claims[claim])
			r.Check = strings.TrimSpace(r.Check) // a name that is not known
		case r.Check == "not-before":
			r = s.open(r, "expires")
		default:
			r = s.open(r, r.Check)
		}
		all = append(all, r)
	}
	return all
}

// open makes a rule one that nobody can tell where a value that is not known could let the token pass.
func (s settled) open(r Rule, check string) Rule {
	unknown := s.of(check, 0)
	if len(unknown) > 0 && (r.Result == Refuse || r.Result == NotChecked) {
		return cannotTell(r, unknown)
	}
	return r
}

// claim is open for the rule of a required claim: a value that is not known can also refuse it. A
// claim that the token lacks is refused whatever the values are.
func (s settled) claim(r Rule, number int, c claimRule) Rule {
	unknown := s.of("claim", number)
	switch {
	case len(unknown) == 0, r.Result == Refuse && r.Got == list(nil) && c.name != "":
		return r
	case r.Result == Pass && c.any && len(c.values) > 0, r.Result == Refuse && !c.any && c.matchKnown(unknown):
		return r
	}
	return cannotTell(r, unknown)
}

// matchKnown reports whether only values are unknown, so that a value that is missing already is
// certain to be wanted.
func (c claimRule) matchKnown(unknown []unknown) bool {
	return c.name != "" && len(c.values) > 0 && len(unknown) > 0
}

// elsewhere judges a check that does not read a header.
func elsewhere(v *validator, r Request) Rule {
	rule := Rule{Check: "token", Want: "a token in " + v.where()}
	if _, there := Query(r.RawQuery, v.query); v.query != "" && !there {
		rule.Result, rule.Got = Refuse, "none there"
		rule.Why = "the relay sends the token in the header Authorization only"
		rule.Fixes = []Fix{{SidePolicy, "look for the token in header-name=\"Authorization\""}}
		return rule
	}
	rule.Result, rule.Why = CannotTell, "what is checked is not the relay's token"
	return rule
}

// replaced judges a header that a statement before the check sets or removes. It notes what may
// happen, and returns the rule where it is certain.
func (w *walker) replaced(header, check string, under []branch) (Rule, bool) {
	certain, possible := w.before(header, under)
	for _, c := range possible {
		text := "it may set " + header + " before a check reads it"
		if c.removes {
			text = "it may remove " + header + " before a check reads it"
		}
		w.note(Note{Place: c.place, When: when(c.under), Text: text})
	}
	if certain == nil {
		return Rule{}, false
	}
	behind := []Fix{{SidePolicy, fmt.Sprintf("move <%s> of line %d behind the check", certain.place.Statement, certain.place.Line)}}
	r := Rule{Check: check, Want: "what the caller sent in " + header, Fixes: behind}
	what := fmt.Sprintf("<%s> of line %d", certain.place.Statement, certain.place.Line)
	if certain.removes {
		r.Result, r.Got, r.Why = Refuse, "none", what+" removes "+header+" before the check"
		w.note(Note{Place: certain.place, When: when(certain.under), Text: "it removes " + header + " before a check reads it"})
		return r, true
	}
	r.Result, r.Why = CannotTell, what+" sets "+header+" before the check: it checks another value than the caller's"
	w.note(Note{Place: certain.place, When: when(certain.under), Text: "it sets " + header + " before a check reads it"})
	return r, true
}

// disorder is the rule about the order of children, where the service insists on one.
func (w *walker) disorder(e *element) []Rule {
	k := kindOf(e.name).spec
	if !k.ordered {
		return nil
	}
	last, name := -1, ""
	for _, c := range e.children {
		i := slices.IndexFunc(k.children, func(s childSpec) bool { return s.name == c.name })
		if i >= 0 && i < last {
			return []Rule{{
				Check: "order", Result: Refuse, Want: k.childNames(), Got: c.name + " behind " + name,
				Why:   fmt.Sprintf("API Management does not take the children in this order (line %d)", c.line),
				Fixes: []Fix{{SidePolicy, "put <" + c.name + "> before <" + name + ">"}},
			}}
		}
		if i > last {
			last, name = i, c.name
		}
	}
	return nil
}

// frontEnds are headers that a front end in front of the gateway sets. The relay removes them from
// what callers send, since they vouch for something
// (https://learn.microsoft.com/azure/frontdoor/front-door-http-headers-protocol).
var frontEnds = []string{
	"X-Azure-Fdid", "X-Azure-Clientip", "X-Azure-Socketip", "X-Azure-Ref", "X-Fd-Healthprobe",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
}

// header judges check-header. Values are never shown: an API's owner may keep a shared secret there.
func (w *walker) header(e *element, under []branch) Rule {
	name, why := w.value(e.attr("name"))
	if why != "" {
		return cannotTell(Rule{Check: "header"}, []unknown{{line: e.line, why: why}})
	}
	r := Rule{Check: name, Want: "a value", Got: "none"}
	name = http.CanonicalHeaderKey(name)
	if rule, replaced := w.replaced(name, r.Check, under); replaced {
		return rule
	}
	var wanted []string
	var open []unknown
	for _, c := range e.each("value") {
		value, why := w.value(c.text)
		if why != "" {
			open = append(open, unknown{line: expressionLine(c.text, c.line), why: why})
			continue
		}
		wanted = append(wanted, strings.TrimSpace(value))
	}
	if n := len(wanted) + len(open); n > 0 {
		r.Want = fmt.Sprintf("one of %d values", n)
	}
	if w.in.Claims != nil {
		r.Result, r.Got, r.Why = NotChecked, "", "only the token's claims are known here"
		return r
	}
	got, there := w.in.Request.Header[name]
	fold, _ := w.value(e.attr("ignore-case"))
	value := strings.Join(got, ",")
	fits := slices.ContainsFunc(wanted, func(want string) bool {
		return value == want || strings.EqualFold(fold, "true") && strings.EqualFold(value, want)
	})
	switch {
	case !there && slices.Contains(frontEnds, name):
		r.Result = CannotTell
		r.Why = "a front end such as Azure Front Door sets " + r.Check + ", and only if ApimUrl leads there: " +
			"the relay never sends it"
	case !there:
		r.Result = CannotTell
		r.Why = "the relay itself does not send " + r.Check + ": only a caller's passes, or one in ApimHeaders"
	case r.Want == "a value" || fits:
		r.Result, r.Got = Pass, "present"
	case len(open) > 0:
		r.Got = "present"
		return cannotTell(r, open)
	default:
		r.Result, r.Got, r.Why = Refuse, "another value", "the header's value is not listed"
		r.Fixes = []Fix{{SideCaller, "send the header " + name + " with a value that the policy lists (setting ApimHeaders)"}}
	}
	return r
}
