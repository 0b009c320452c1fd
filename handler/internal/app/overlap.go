package app

import (
	"slices"
	"strings"
)

// findOverlaps compares the routes of all functions that the host loads, pair by pair in its order.
//
// A function whose every request fits an earlier one can never be reached: a fault that names both. Where only some do, the pair becomes an
// Overlap; but if it depends on a constraint of the earlier one that we cannot judge as the host does, nobody here can say which of the two a
// request belongs to, so that the earlier one is at fault and takes, refusing, whatever it might take.
func (a *App) findOverlaps() {
	for i, second := range a.Functions {
		if second.Route == nil || second.absent || len(second.Methods) == 0 && second.Methods != nil {
			continue
		}
		left := second.Methods // those that no earlier function takes all requests of
		var hiddenBy []*Function
		for _, first := range a.Functions[:i] {
			if first.Route == nil || first.absent || !methodsMeet(first.Methods, second.Methods) {
				continue
			}
			example, meets := meeting(first.Route, second.Route)
			if !meets {
				continue
			}
			covers := covers(first.Route, second.Route)
			o := Overlap{First: first, Second: second, Methods: shared(first.Methods, second.Methods), Example: example}
			a.Overlaps = append(a.Overlaps, o)
			if text := first.Route.loose(); text != "" && !covers {
				first.loose = true
				first.fault("route %q overlaps with %q of %s, and which of the two a request fits depends on the constraint %s, which only the host can judge: "+
					"%s and %s could be taken for each other", "give the two routes different literal segments", first.Route.Template, second.Route.Template, second.Name,
					text, first.Name, second.Name)
			}
			if !covers {
				continue
			}
			if first.Methods == nil {
				left, hiddenBy = []string{}, append(hiddenBy, first)
				break
			}
			if left != nil {
				rest := slices.DeleteFunc(slices.Clone(left), func(m string) bool { return slices.Contains(first.Methods, m) })
				if len(rest) < len(left) {
					left, hiddenBy = rest, append(hiddenBy, first)
				}
			}
		}
		if left != nil && len(left) == 0 && len(hiddenBy) > 0 {
			second.Unreachable = true
			second.fault("route %q can never be reached: every request for it goes to %s, first by name (%s)",
				"rename the folder so that it sorts before the other, or change one of the routes", second.Route.Template, names(hiddenBy), templates(hiddenBy))
		}
	}
}

func templates(functions []*Function) string {
	var list []string
	for _, f := range functions {
		list = append(list, f.Route.Template)
	}
	return strings.Join(list, ", ")
}

// shared returns the methods that both take, nil for all.
func shared(a, b []string) []string {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), func(m string) bool { return !slices.Contains(b, m) })
}

// loose returns the first constraint that we cannot judge as the host does, "" for none.
func (r *Route) loose() string {
	for _, parts := range r.segments {
		for _, p := range parts {
			for _, c := range p.constraints {
				if c.loose {
					return c.text
				}
			}
		}
	}
	return ""
}

// least is the number of segments that a path needs at least to fit: what can be left out at the end is a parameter alone in its segment that is
// optional, has a default or is the catch-all.
func (r *Route) least() int {
	n := len(r.segments)
	for n > 0 && len(r.segments[n-1]) == 1 {
		if p := r.segments[n-1][0]; !p.param() || !p.optional && !p.hasFallback && !p.catchAll {
			break
		}
		n--
	}
	return n
}

// most is the number of segments that a path can have at most; the catch-all counts as one more than any.
func (r *Route) most() int { return len(r.segments) }

// at returns the parts for segment i of a path; the catch-all's for all that it takes.
func (r *Route) at(i int) []part {
	if i < len(r.segments) {
		return r.segments[i]
	}
	if r.CatchAll != "" {
		return r.segments[len(r.segments)-1]
	}
	return nil
}

// meeting looks for a path that fits both routes, constraints that we cannot judge taken as kept. It tries each number of segments, and for each
// segment texts that the two parts of the templates suggest, and asks the matcher itself in the end.
func meeting(a, b *Route) (string, bool) {
	for n := max(a.least(), b.least()); n <= max(a.most(), b.most()); n++ {
		var path strings.Builder
		for i := range n {
			text, ok := segmentForBoth(a.at(i), b.at(i))
			if !ok {
				path.Reset()
				break
			}
			path.WriteString("/" + text)
		}
		if n > 0 && path.Len() == 0 {
			continue
		}
		escaped := path.String()
		if escaped == "" {
			escaped = "/"
		}
		if fits(a, escaped) && fits(b, escaped) {
			return escaped, true
		}
	}
	return "", false
}

func fits(r *Route, escaped string) bool {
	p, ok := splitPath(escaped)
	if !ok {
		return false
	}
	_, ok = r.match(p, true)
	return ok
}

// segmentForBoth returns an escaped text that fits both parts, ok false where it finds none.
func segmentForBoth(a, b []part) (string, bool) {
	if a == nil || b == nil {
		return "", false
	}
	if len(a) == 1 && len(b) == 1 && !a[0].param() && !b[0].param() { // as most are; nothing else fits a literal
		text := escapeSegment(string(a[0].literal))
		return text, fitsParts(a, text) && fitsParts(b, text)
	}
	for _, text := range append(suggestions(a, b), suggestions(b, a)...) {
		if fitsParts(a, text) && fitsParts(b, text) {
			return text, true
		}
	}
	return "", false
}

func fitsParts(parts []part, escaped string) bool {
	values, decoded := map[string]string{}, map[string]string{}
	if parts[0].catchAll {
		decoded[parts[0].name] = string(decodeSegment(escaped).text)
	} else if !matchSegment(parts, decodeSegment(escaped), values, decoded) {
		return false
	}
	return !slices.ContainsFunc(parts, func(p part) bool { return p.param() && !constraintsHold(p, decoded, true) })
}

// samples are values, one of which fits any pair of constraints that can be kept together, but for arguments; those add their own.
var samples = []string{"x", "1", "0", "-1", "abc", "true", "1.5", "12345", "a.b", "2026-01-02", "00000000000000000000000000000000",
	"0f8fad5b-d9cb-469f-a165-70867728950e", "ffffffffffffffffffffffffffffffff", "9999999999", "99999999999999999999", "1e5"}

// suggestions returns escaped texts for the parts, with the parameters filled from samples, from the arguments of their constraints and from the
// literals of the other parts.
func suggestions(parts, other []part) []string {
	fill := slices.Clone(samples)
	if len(other) > 1 {
		var b strings.Builder
		for _, p := range other {
			if p.param() {
				b.WriteString("x")
			} else {
				b.WriteString(string(p.literal))
			}
		}
		fill = append(fill, b.String())
		for _, p := range other {
			if !p.param() {
				fill = append(fill, "x"+string(p.literal), string(p.literal)+"x", "x"+string(p.literal)+"x")
			}
		}
	}
	for _, p := range append(slices.Clone(parts), other...) {
		if p.hasFallback {
			fill = append(fill, p.fallback)
		}
		for _, c := range p.constraints {
			fill = append(fill, c.samples()...)
		}
	}
	var texts []string
	for _, value := range fill {
		var b strings.Builder
		for _, p := range parts {
			if p.param() {
				b.WriteString(value)
			} else {
				b.WriteString(string(p.literal))
			}
		}
		texts = append(texts, escapeSegment(b.String()))
	}
	return texts
}

// samples are values on the edges of a constraint's arguments.
func (c constraint) samples() []string {
	open := strings.IndexByte(c.text, '(')
	if open < 0 || c.kind == "regex" {
		return nil
	}
	var list []string
	numbers, _ := integers(c.text[open+1:len(c.text)-1], true)
	for _, n := range numbers {
		if c.kind == "min" || c.kind == "max" || c.kind == "range" {
			list = append(list, decimalText(n), strings.Repeat("0", 32)+decimalText(n))
			continue
		}
		const longest = 300
		for _, sample := range []string{"x", "1", "0"} {
			list = append(list, strings.Repeat(sample, int(min(max(n, 1), longest))))
		}
	}
	return list
}

// covers tells whether every path that fits b fits a, too. It answers false where it does not know.
func covers(a, b *Route) bool {
	// The catch-all's constraints judge several segments at once.
	for _, r := range []*Route{a, b} {
		if r.CatchAll != "" && len(r.segments[len(r.segments)-1][0].constraints) > 0 {
			return false
		}
	}
	if b.least() < a.least() || b.CatchAll != "" && a.CatchAll == "" || a.CatchAll == "" && b.most() > a.most() {
		return false
	}
	for i := range b.most() {
		pa, pb := a.at(i), b.at(i)
		if pa == nil || !coversParts(pa, pb) {
			return false
		}
	}
	// Where b leaves a segment out, a must be able to do the same, its default included.
	for i := b.least(); i < a.most(); i++ {
		p := a.segments[i][0]
		if p.hasFallback && len(p.constraints) > 0 {
			return false
		}
	}
	return true
}

func coversParts(a, b []part) bool {
	if a[0].catchAll {
		return true
	}
	if b[0].catchAll {
		return false
	}
	switch {
	case len(b) == 1 && !b[0].param():
		return fitsExactly(a, string(b[0].literal))
	case len(a) == 1 && a[0].param():
		return len(a[0].constraints) == 0 || len(b) == 1 && constraintsCover(a[0].constraints, b[0].constraints)
	case len(a) == 1 || len(a) != len(b):
		return false
	}
	for i := range a {
		same := a[i].param() == b[i].param() && a[i].optional == b[i].optional && foldEqual(a[i].literal, b[i].literal)
		if !same || a[i].param() && !constraintsCover(a[i].constraints, b[i].constraints) {
			return false
		}
	}
	return true
}

// fitsExactly tells whether a literal fits parts without any doubt.
func fitsExactly(parts []part, literal string) bool {
	for _, p := range parts {
		if slices.ContainsFunc(p.constraints, func(c constraint) bool { return c.loose }) {
			return false
		}
	}
	return fitsParts(parts, escapeSegment(literal))
}

// wider lists for a constraint those that every value of it keeps, too.
var wider = map[string][]string{
	"int":     {"long", "decimal", "double", "float", "required", "nonfile"},
	"long":    {"decimal", "double", "float", "required", "nonfile"},
	"decimal": {"required"},
	"bool":    {"required", "nonfile"},
	"guid":    {"required", "nonfile"},
	"double":  {"float", "required"},
	"float":   {"double", "required"},
	"alpha":   {"nonfile"},
	"file":    {"required"},
}

// constraintsCover tells whether whatever keeps all of b keeps all of a.
func constraintsCover(a, b []constraint) bool {
	for _, ca := range a {
		if ca.kind == "required" {
			continue // a parameter of a segment is never empty
		}
		if !slices.ContainsFunc(b, func(cb constraint) bool {
			return strings.EqualFold(ca.text, cb.text) && (ca.kind != "regex" || ca.text == cb.text) || slices.Contains(wider[cb.kind], ca.kind)
		}) {
			return false
		}
	}
	return true
}
