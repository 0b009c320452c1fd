package app

import (
	"slices"
	"strings"
)

// findOverlaps compares the routes of all functions that the host loads, pair by pair in its order.
//
// A function whose every request fits an earlier one can never be reached: a fault that names both.
// Where a request may fit both, the pair becomes an Overlap. If that depends on a constraint of the
// earlier one that we cannot judge as the host does, nobody here can say which of the two a request
// belongs to: the earlier one is at fault and takes, refusing, whatever it might take.
func (a *App) findOverlaps() {
	for i, second := range a.Functions {
		if second.Route == nil || second.absent || len(second.Methods) == 0 && second.Methods != nil {
			continue
		}
		left := second.Methods // those that no earlier function takes all requests of
		var hiddenBy []*Function
		for _, first := range a.Functions[:i] {
			if first.Route == nil || first.absent || !methodsMeet(first.Methods, second.Methods) ||
				!meet(first.Route, second.Route) {
				continue
			}
			a.Overlaps = append(a.Overlaps, Overlap{First: first, Second: second,
				Methods: shared(first.Methods, second.Methods)})
			if !covers(first.Route, second.Route) {
				if text := first.Route.loose(); text != "" {
					first.loose = true
					first.fault("route %q overlaps with %q of %s, and which of the two a request fits depends on "+
						"the constraint %s, which only the host can judge: %s and %s could be taken for each other",
						"give the two routes different literal segments", first.Route.Template,
						second.Route.Template, second.Name, text, first.Name, second.Name)
				}
				continue
			}
			if first.Methods == nil {
				left, hiddenBy = []string{}, append(hiddenBy, first)
				break
			}
			if left != nil {
				rest := slices.DeleteFunc(slices.Clone(left),
					func(m string) bool { return slices.Contains(first.Methods, m) })
				if len(rest) < len(left) {
					left, hiddenBy = rest, append(hiddenBy, first)
				}
			}
		}
		if left != nil && len(left) == 0 && len(hiddenBy) > 0 {
			second.Unreachable = true
			second.fault("route %q can never be reached: every request for it goes to %s, first by name (%s)",
				"rename the folder so that it sorts before the other, or change one of the routes",
				second.Route.Template, names(hiddenBy), templates(hiddenBy))
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

// least is the number of segments that a path needs at least to fit: what can be left out at the
// end is a parameter alone in its segment that is optional, has a default or is the catch-all.
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

// meet reports whether a path can fit both routes. It errs on the side of true: constraints that we
// cannot judge count as kept, and of two segments that mix literals and parameters only the ends
// are compared.
func meet(a, b *Route) bool {
	for n := max(a.least(), b.least()); n <= max(a.most(), b.most()); n++ {
		all := true
		for i := 0; i < n && all; i++ {
			all = partsMeet(a.at(i), b.at(i))
		}
		if all {
			return true
		}
	}
	return false
}

func partsMeet(a, b []part) bool {
	switch {
	case a == nil || b == nil:
		return false
	case a[0].catchAll || b[0].catchAll:
		return true
	case len(a) == 1 && !a[0].param():
		return takes(b, string(a[0].literal))
	case len(b) == 1 && !b[0].param():
		return takes(a, string(b[0].literal))
	case len(a) == 1 && len(b) == 1:
		return len(a[0].constraints) == 0 || len(b[0].constraints) == 0 ||
			slices.ContainsFunc(slices.Concat(samples, edges(a[0]), edges(b[0])),
				func(text string) bool { return takes(a, text) && takes(b, text) })
	}
	head := func(a, b []part) bool { return prefixes(a[0].literal, b[0].literal) }
	tail := func(a, b []part) bool {
		return prefixes(reversed(a[len(a)-1].literal), reversed(b[len(b)-1].literal))
	}
	return head(a, b) && tail(a, b)
}

// prefixes reports whether one of two texts begins with the other, which an absent one always does.
func prefixes(a, b []rune) bool {
	n := min(len(a), len(b))
	return foldEqual(a[:n], b[:n])
}

func reversed(text []rune) []rune {
	text = slices.Clone(text)
	slices.Reverse(text)
	return text
}

// takes reports whether a segment's parts take a plain text.
func takes(parts []part, text string) bool {
	values, decoded := map[string]string{}, map[string]string{}
	return matchSegment(parts, decodeSegment(escapeSegment(text)), values, decoded) &&
		!slices.ContainsFunc(parts, func(p part) bool { return p.param() && !constraintsHold(p, decoded, true) })
}

// samples are values of which one keeps any two constraints that can be kept together, but for their
// arguments: edges adds those.
var samples = []string{"x", "1", "0", "-1", "abc", "true", "false", "1.5", "12345", "a.b", "2026-01-02",
	"00000000000000000000000000000000", "0f8fad5b-d9cb-469f-a165-70867728950e",
	"ffffffffffffffffffffffffffffffff", "9999999999", "99999999999999999999", "1e5"}

// edges are values on the edges of what a parameter's constraints ask for.
func edges(p part) []string {
	var list []string
	for _, c := range p.constraints {
		open := strings.IndexByte(c.text, '(')
		if open < 0 || c.kind == "regex" {
			continue
		}
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
	}
	return list
}

// covers reports whether every path that fits b certainly fits a, too: where each segment of a is
// the same as that of b, or a parameter or catch-all without a constraint.
func covers(a, b *Route) bool {
	if b.least() < a.least() || a.CatchAll == "" && (b.CatchAll != "" || b.most() > a.most()) {
		return false
	}
	for i := range b.most() {
		pa := a.at(i)
		if pa == nil || !coversParts(pa, b.at(i)) {
			return false
		}
	}
	// What b leaves out, a leaves out too; a default of a would have to keep its constraints.
	return !slices.ContainsFunc(a.segments[min(b.least(), a.most()):],
		func(parts []part) bool { return parts[0].hasFallback && len(parts[0].constraints) > 0 })
}

func coversParts(a, b []part) bool {
	if a[0].catchAll || len(a) == 1 && a[0].param() && !b[0].catchAll {
		if len(a[0].constraints) == 0 {
			return true
		}
	}
	return slices.EqualFunc(a, b, func(a, b part) bool {
		return a.param() == b.param() && a.catchAll == b.catchAll && a.optional == b.optional &&
			foldEqual(a.literal, b.literal) && slices.EqualFunc(a.constraints, b.constraints,
			func(a, b constraint) bool { return a.text == b.text })
	})
}
