package app

import (
	"net/url"
	"slices"
	"strings"
)

// Match finds the function that a proxied or forwarded request belongs to. escapedPath is the path
// as it arrived, query excluded, escapes and all; method is compared ignoring case. The rules are
// the host's: functions in order, the first whose template and methods fit. A function that only
// the master key can still run (Disabled) takes its requests all the same, since the host never
// hands them to another one. HEAD and OPTIONS are methods like any other (recordings
// A-wrong-method-head, A-wrong-method-options).
//
// The function may be one that comes wrapped, whose calls the host sends to POST /<Name> alone:
// such a request is nobody's.
func (a *App) Match(method, escapedPath string) (Match, bool) {
	path, ok := splitPath(escapedPath)
	if !ok {
		return Match{}, false
	}
	for _, f := range a.Functions {
		if f.Route == nil || f.absent || !f.takes(method) {
			continue
		}
		if m, ok := f.Route.match(path, f.loose); ok {
			m.Function = f
			return m, true
		}
	}
	return Match{}, false
}

// takes reports whether the function's methods include this one, in any case. No list means all.
func (f *Function) takes(method string) bool {
	return f.Methods == nil || slices.ContainsFunc(f.Methods,
		func(m string) bool { return strings.EqualFold(m, method) })
}

// requestPath is a request's path, cut up as dotnet/aspnetcore
// src/Http/Routing/src/PathTokenizer.cs does: one slash at the end is ignored.
type requestPath struct {
	raw      string
	segments []segment
	starts   []int // where each segment begins in raw
}

func splitPath(escaped string) (requestPath, bool) {
	if !strings.HasPrefix(escaped, "/") {
		return requestPath{}, false
	}
	n := strings.Count(escaped, "/")
	p := requestPath{raw: escaped, segments: make([]segment, 0, n)}
	// All segments share three pieces of memory, since this is done for each request.
	text, numbers := make([]rune, 0, len(escaped)), make([]int, 0, len(escaped)+2*n)
	p.starts, numbers = numbers[:0:n], numbers[n:n]
	for at := 1; at < len(escaped); {
		end := strings.IndexByte(escaped[at:], '/')
		if end < 0 {
			end = len(escaped) - at
		}
		s := decodeInto(escaped[at:at+end], text, numbers)
		text, numbers = text[len(s.text):len(s.text)], numbers[len(s.start):len(s.start)]
		p.segments = append(p.segments, s)
		p.starts = append(p.starts, at)
		at += end + 1
	}
	return p, true
}

// match follows dotnet/aspnetcore src/Http/Routing/src/Patterns/RoutePatternMatcher.cs and
// RouteConstraintMatcher.cs. With loose, constraints that we cannot judge as the host does hold
// always.
func (r *Route) match(path requestPath, loose bool) (Match, bool) {
	for i, parts := range r.segments {
		// Most templates fail here, before anything is allocated.
		if len(parts) == 1 && !parts[0].param() &&
			(i >= len(path.segments) || !foldEqual(parts[0].literal, path.segments[i].text)) {
			return Match{}, false
		}
	}
	values := make(map[string]string, len(r.Params))
	var decoded map[string]string // only constraints look at it
	if r.constrained() {
		decoded = make(map[string]string, len(r.Params))
	}
	m := Match{Values: values}
	i := 0
	for ; i < len(path.segments); i++ {
		seg := path.segments[i]
		// Even where a catch-all begins: "/api/rest//x" does not fit "rest/{*path}", while
		// "/api/rest/x//y" does.
		if len(seg.raw) == 0 || i >= len(r.segments) {
			return Match{}, false
		}
		parts := r.segments[i]
		if parts[0].catchAll {
			rest := path.raw[path.starts[i]:]
			values[parts[0].name] = rest
			if decoded != nil {
				decoded[parts[0].name] = string(decodeSegment(rest).text)
			}
			i = len(r.segments)
			break
		}
		if !matchSegment(parts, seg, values, decoded) {
			return Match{}, false
		}
	}
	for ; i < len(r.segments); i++ {
		p := r.segments[i][0]
		if len(r.segments[i]) > 1 || !p.param() || !p.catchAll && !p.optional && !p.hasFallback {
			return Match{}, false
		}
	}
	for _, parts := range r.segments {
		for _, p := range parts {
			if _, set := values[p.name]; p.param() && !set && p.hasFallback {
				values[p.name] = url.PathEscape(p.fallback)
				if decoded != nil {
					decoded[p.name] = p.fallback
				}
				if p.catchAll {
					values[p.name] = (&url.URL{Path: "/" + p.fallback}).EscapedPath()[1:]
				}
			}
			if !constraintsHold(p, decoded, loose) {
				return Match{}, false
			}
		}
	}
	return m, true
}

func (r *Route) constrained() bool {
	for _, parts := range r.segments {
		for _, p := range parts {
			if len(p.constraints) > 0 {
				return true
			}
		}
	}
	return false
}

func constraintsHold(p part, decoded map[string]string, loose bool) bool {
	value, set := decoded[p.name]
	if !set && p.optional {
		return true
	}
	for _, c := range p.constraints {
		if loose && c.loose {
			continue
		}
		// Only a catch-all can be without a value here, and of the constraints only "nonfile" puts
		// up with that.
		if !set && c.kind != "nonfile" || set && !c.holds(value) {
			return false
		}
	}
	return true
}

func matchSegment(parts []part, seg segment, values, decoded map[string]string) bool {
	if len(parts) == 1 {
		if parts[0].param() {
			values[parts[0].name] = seg.raw
			if decoded != nil {
				decoded[parts[0].name] = string(seg.text)
			}
			return true
		}
		return foldEqual(parts[0].literal, seg.text)
	}
	last := len(parts) - 1
	if parts[last].optional {
		if matchParts(parts, last, seg, values, decoded) {
			return true
		}
		// Without the optional parameter its period goes, too; but "name." is no match for
		// "{name}.{ext?}".
		if seg.text[len(seg.text)-1] == '.' {
			return false
		}
		return matchParts(parts, last-2, seg, values, decoded)
	}
	return matchParts(parts, last, seg, values, decoded)
}

// matchParts fits the parts up to and including last to one segment as the original does: from the
// right, each literal at its last place, each parameter at least one character, nothing tried
// twice. Only a literal that ends the whole segment has to reach the end of the text: of
// "a{x}b.{ext?}" without its extension the b may have anything behind it.
func matchParts(parts []part, last int, seg segment, values, decoded map[string]string) bool {
	type span struct {
		name     string
		from, to int
	}
	var found []span
	end := len(seg.text)
	pending := ""
	for i := last; i >= 0; i-- {
		p := parts[i]
		if p.param() {
			pending = p.name
			if i == 0 {
				found = append(found, span{pending, 0, end})
				end = 0
			}
			continue
		}
		limit := end
		if pending != "" {
			limit--
		}
		at := lastIndexFold(seg.text[:max(limit, 0)], p.literal)
		// The original gives up, too, where nothing is left before a literal that still has to
		// come.
		if limit <= 0 || at < 0 || i == len(parts)-1 && at+len(p.literal) != len(seg.text) {
			return false
		}
		if pending != "" {
			found = append(found, span{pending, at + len(p.literal), end})
			pending = ""
		}
		end = at
	}
	if end != 0 && !parts[0].param() {
		return false
	}
	if slices.ContainsFunc(found, func(s span) bool { return s.from >= s.to }) {
		return false
	}
	for _, s := range found {
		values[s.name] = seg.raw[seg.start[s.from]:seg.start[s.to]]
		if decoded != nil {
			decoded[s.name] = string(seg.text[s.from:s.to])
		}
	}
	return true
}

func lastIndexFold(text, literal []rune) int {
	for at := len(text) - len(literal); at >= 0; at-- {
		if foldEqual(text[at:at+len(literal)], literal) {
			return at
		}
	}
	return -1
}

// Match fits a path to this function's route alone: a wrapped call names its function, and the host
// has chosen it already. escapedPath is as for [App.Match].
func (f *Function) Match(escapedPath string) (Match, bool) {
	path, ok := splitPath(escapedPath)
	if !ok || f.Route == nil {
		return Match{}, false
	}
	m, ok := f.Route.match(path, f.loose)
	m.Function = f
	return m, ok
}
