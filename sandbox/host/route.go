package host

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A route template of ASP.NET Core's template matcher, which the host uses one function after
// another: there is no precedence between templates. Sources: dotnet/aspnetcore
// src/Http/Routing/src/Template/TemplateMatcher.cs,
// src/Http/Routing/src/Patterns/RoutePatternParser.cs, src/Http/Routing/src/Constraints; recordings
// A-route-*, E-precedence-*.
type template struct {
	segments []segment
}

type segment []routePart

type routePart struct {
	literal     string // of a literal; "" for a parameter
	name        string
	optional    bool
	catchAll    bool
	def         string
	hasDefault  bool
	constraints []constraint
}

type constraint func(value string) bool

type routeValue struct {
	name    string
	value   string
	missing bool // an optional parameter without a value
}

func parseTemplate(s string) (*template, error) {
	switch { // RoutePatternParser.cs, TrimPrefix
	case strings.HasPrefix(s, "~/"):
		s = s[2:]
	case strings.HasPrefix(s, "/"):
		s = s[1:]
	case strings.HasPrefix(s, "~"):
		return nil,
			hostErrorf(
				"The route template cannot start with a '~' character unless followed by a '/'. (Parameter 'routeTemplate')")
	}
	t := &template{}
	if s = strings.TrimSuffix(s, "/"); s == "" {
		return t, nil
	}
	for text := range strings.SplitSeq(s, "/") {
		if text == "" {
			return nil,
				hostErrorf(
					"The route template separator character '/' cannot appear consecutively. It must be separated by either a parameter or a literal value. (Parameter 'routeTemplate')")
		}
		seg, err := parseSegment(text)
		if err != nil {
			return nil, err
		}
		if n := len(t.segments); n > 0 && t.segments[n-1][0].catchAll {
			return nil,
				hostErrorf(
					"A catch-all parameter can only appear as the last segment of the route template. (Parameter 'routeTemplate')")
		}
		for _, p := range seg {
			for _, earlier := range t.names() {
				if p.name != "" && strings.EqualFold(earlier, p.name) {
					return nil, hostErrorf(
						"The route parameter name '%s' appears more than one time in the route template. (Parameter 'routeTemplate')", p.name)
				}
			}
		}
		t.segments = append(t.segments, seg)
	}
	return t, nil
}

func (t *template) names() []string {
	var out []string
	for _, s := range t.segments {
		for _, p := range s {
			if p.name != "" {
				out = append(out, p.name)
			}
		}
	}
	return out
}

const incomplete = "There is an incomplete parameter in the route template. Check that each '{' character has a matching '}' character. (Parameter 'routeTemplate')"

func parseSegment(text string) (segment, error) {
	var seg segment
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			seg = append(seg, routePart{literal: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "{{") || strings.HasPrefix(text[i:], "}}"):
			literal.WriteByte(text[i])
			i += 2
		case text[i] == '}':
			return nil, hostErrorf("%s", incomplete)
		case text[i] == '{':
			end := closing(text[i:])
			if end < 0 {
				return nil, hostErrorf("%s", incomplete)
			}
			flush()
			if len(seg) > 0 && seg[len(seg)-1].name != "" {
				return nil,
					hostErrorf(
						"A path segment cannot contain two consecutive parameters. (Parameter 'routeTemplate')")
			}
			p, err := parseParameter(strings.NewReplacer("{{", "{", "}}", "}").Replace(
				text[i+1 : i+end]))
			if err != nil {
				return nil, err
			}
			seg = append(seg, p)
			i += end + 1
		default:
			literal.WriteByte(text[i])
			i++
		}
	}
	flush()
	for i, p := range seg {
		if strings.Contains(p.literal, "?") {
			return nil,
				hostErrorf(
					"The literal section '%s' is invalid. Literal sections cannot contain the '?' character. (Parameter 'routeTemplate')", p.literal)
		}
		if p.catchAll && len(seg) > 1 {
			return nil,
				hostErrorf(
					"A path segment that contains more than one section, such as a literal section or a parameter, cannot contain a catch-all parameter. (Parameter 'routeTemplate')")
		}
		if p.optional && len(seg) > 1 && (i != len(seg)-1 || seg[i-1].literal != ".") {
			return nil,
				hostErrorf(
					"In the segment '%s', the optional parameter '%s' is preceded by an invalid segment. (Parameter 'routeTemplate')", text, p.name)
		}
	}
	return seg, nil
}

// closing finds the brace that ends the parameter at the start of s; doubled braces belong to a
// regular expression.
func closing(s string) int {
	for i := 1; i < len(s); i++ {
		if s[i] == '{' || s[i] == '}' {
			if i+1 < len(s) && s[i+1] == s[i] {
				i++
				continue
			}
			if s[i] == '{' {
				return -1
			}
			return i
		}
	}
	return -1
}

func parseParameter(s string) (routePart, error) {
	var p routePart
	s = strings.TrimSpace(s)
	for strings.HasPrefix(s, "*") {
		p.catchAll, s = true, s[1:]
	}
	name := s
	if i := strings.IndexAny(s, ":=?"); i >= 0 {
		name = s[:i]
	}
	rest := s[len(name):]
	p.name = strings.TrimSpace(name)
	if p.name == "" || strings.ContainsAny(p.name, "/{}*?") {
		return p,
			hostErrorf("The route parameter name '%s' is invalid. (Parameter 'routeTemplate')",
				name)
	}
	for rest != "" {
		switch rest[0] {
		case '?':
			if rest != "?" {
				return p,
					hostErrorf(
						"The route parameter name '%s' is invalid. (Parameter 'routeTemplate')", s)
			}
			p.optional, rest = true, ""
		case '=':
			p.hasDefault, p.def = true, rest[1:]
			if d, ok := strings.CutSuffix(p.def, "?"); ok {
				return p,
					hostErrorf(
						"An optional parameter cannot have default value: %s. (Parameter 'routeTemplate')", d)
			}
			rest = ""
		default:
			text := rest[1:]
			end := constraintEnd(text)
			c, err := parseConstraint(text[:end])
			if err != nil {
				return p, err
			}
			p.constraints = append(p.constraints, c)
			rest = text[end:]
		}
	}
	if p.catchAll && p.optional {
		return p,
			hostErrorf(
				"A catch-all parameter cannot be marked optional. (Parameter 'routeTemplate')")
	}
	return p, nil
}

// constraintEnd is where the constraint at the start of s ends: at : = or a last ?, none of them
// inside parentheses.
func constraintEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ':', '=':
			if depth == 0 {
				return i
			}
		case '?':
			if depth == 0 && i == len(s)-1 {
				return i
			}
		}
	}
	return len(s)
}

func parseConstraint(s string) (constraint, error) {
	name, args, hasArgs := strings.Cut(s, "(")
	args = strings.TrimSuffix(args, ")")
	num := func(s string) int64 { n, _ := strconv.ParseInt(strings.TrimSpace(s), 10, 64); return n }
	integer := func(bits int) constraint {
		return func(v string) bool { _, err := strconv.ParseInt(v, 10, bits); return err == nil }
	}
	float := func(v string) bool {
		_, err := strconv.ParseFloat(strings.ReplaceAll(v, ",", ""), 64)
		return err == nil && !strings.ContainsAny(v, "xXpP_")
	}
	length := func(lo, hi int64) constraint {
		return func(v string) bool { n := int64(len([]rune(v))); return n >= lo && n <= hi }
	}
	between := func(lo, hi int64) constraint {
		return func(
			v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			return err == nil && n >= lo && n <= hi
		}
	}
	const most = 1<<63 - 1
	lo, hi, two := strings.Cut(args, ",")
	switch strings.ToLower(name) {
	case "int":
		return integer(32), nil
	case "long":
		return integer(64), nil
	case "bool":
		return func(
				v string) bool {
				return strings.EqualFold(v, "true") || strings.EqualFold(v, "false")
			},
			nil
	case "datetime":
		return isDateTime, nil
	case "decimal", "double", "float":
		return float, nil
	case "guid":
		return isGUID, nil
	case "alpha":
		return regexp.MustCompile(`^[A-Za-z]*$`).MatchString, nil
	case "required":
		return func(v string) bool { return v != "" }, nil
	case "minlength":
		return length(num(args), most), nil
	case "maxlength":
		return length(0, num(args)), nil
	case "length":
		if two {
			return length(num(lo), num(hi)), nil
		}
		return length(num(args), num(args)), nil
	case "min":
		return between(num(args), most), nil
	case "max":
		return between(-most-1, num(args)), nil
	case "range":
		return between(num(lo), num(hi)), nil
	case "regex":
		re, err := regexp.Compile("(?i)" + args)
		if err != nil {
			return nil,
				fmt.Errorf("the expression of the constraint '%s' is none that Go's regexp knows",
					s)
		}
		return re.MatchString, nil
	case "file":
		return func(
				v string) bool {
				return strings.Contains(v[strings.LastIndexByte(v, '/')+1:], ".")
			},
			nil
	case "nonfile":
		return func(
				v string) bool {
				return !strings.Contains(v[strings.LastIndexByte(v, '/')+1:], ".")
			},
			nil
	}
	if hasArgs {
		name = s
	}
	return nil,
		hostErrorf(
			"The constraint reference '%s' could not be resolved to a type. Register the constraint type with 'RouteOptions.ConstraintMap'.", name)
}

func isDateTime(v string) bool {
	for _, layout := range []string{"2006-01-02", "1/2/2006", "01/02/2006", "2006-01-02T15:04:05",
		"2006-01-02T15:04:05Z07:00", "2006-01-02 15:04:05",
		"1/2/2006 15:04:05", "1/2/2006 3:04:05 PM", "2006/01/02"} {
		if _, err := time.Parse(layout, v); err == nil {
			return true
		}
	}
	return false
}

var guidPattern = regexp.MustCompile(
	`^(?i:[0-9a-f]{32}|\{?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?|\([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\))$`)

func isGUID(v string) bool { return guidPattern.MatchString(v) }

// match tries the template on a decoded path without its leading slash; values come in the
// template's order.
func (t *template) match(path string) ([]routeValue, bool) {
	values := []routeValue{}
	parts := []string{}
	offset := []int{}
	for rest, at := path, 0; rest != ""; {
		seg, tail, more := strings.Cut(rest, "/")
		parts, offset = append(parts, seg), append(offset, at)
		at += len(seg) + 1
		rest = tail
		if more && tail == "" {
			break
		}
	}
	i := 0
	for ; i < len(parts); i++ {
		if i >= len(t.segments) {
			return nil, false
		}
		seg := t.segments[i]
		if seg[0].catchAll {
			break
		}
		if parts[i] == "" || !seg.match(parts[i], &values) {
			return nil, false
		}
	}
	for ; i < len(t.segments); i++ {
		p := t.segments[i][0]
		switch {
		case len(t.segments[i]) > 1 || p.name == "":
			return nil, false
		case p.catchAll:
			v := routeValue{name: p.name, missing: true}
			if i < len(parts) && path[offset[i]:] != "" {
				v.value, v.missing = path[offset[i]:], false
			} else if p.hasDefault {
				v.value, v.missing = p.def, false
			}
			values = append(values, v)
			if !v.missing && !p.accepts(v.value) {
				return nil, false
			}
			return values, true
		case p.hasDefault:
			values = append(values, routeValue{name: p.name, value: p.def})
		case p.optional:
			values = append(values, routeValue{name: p.name, missing: true})
		default:
			return nil, false
		}
	}
	return values, true
}

func (p routePart) accepts(v string) bool {
	for _, c := range p.constraints {
		if !c(v) {
			return false
		}
	}
	return true
}

// match takes one segment apart, from its end as the host's matcher does, so that a parameter is as
// long as it can be.
func (s segment) match(text string, values *[]routeValue) bool {
	if len(s) == 1 {
		p := s[0]
		if p.name == "" {
			return strings.EqualFold(p.literal, text)
		}
		*values = append(*values, routeValue{name: p.name, value: text})
		return p.accepts(text)
	}
	found := make([]routeValue, 0, len(s))
	rest := text
	for i := len(s) - 1; i >= 0; i-- {
		p := s[i]
		if p.name != "" {
			if i == 0 {
				if rest == "" || !p.accepts(rest) {
					return false
				}
				found = append(found, routeValue{name: p.name, value: rest})
				rest = ""
				continue
			}
			before := s[i-1].literal
			at := strings.LastIndex(strings.ToLower(rest), strings.ToLower(before))
			if at < 0 || at+len(before) >= len(rest) {
				if p.optional && (at < 0 || at+len(before) == len(rest)) && at < 0 {
					found = append(found, routeValue{name: p.name, missing: true})
					i-- // the point in front of a missing optional parameter is missing, too
					continue
				}
				return false
			}
			v := rest[at+len(before):]
			if !p.accepts(v) {
				return false
			}
			found = append(found, routeValue{name: p.name, value: v})
			rest = rest[:at+len(before)]
			continue
		}
		if len(rest) < len(p.literal) || !strings.EqualFold(rest[len(rest)-len(p.literal):],
			p.literal) {
			return false
		}
		rest = rest[:len(rest)-len(p.literal)]
	}
	if rest != "" {
		return false
	}
	for i := len(found) - 1; i >= 0; i-- {
		*values = append(*values, found[i])
	}
	return true
}
