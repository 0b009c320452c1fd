package app

import (
	"errors"
	"fmt"
	"strings"
)

// Route is the route template of an HTTP function, prefix included, by the rules of ASP.NET Core's
// inline route templates.
type Route struct {
	Template string   // as the host builds it: prefix, slash, route
	Params   []string // names of its parameters in lower case, in order, the catch-all's included
	CatchAll string   // name of the catch-all parameter in lower case; "" = none

	segments [][]part
}

// has tells whether the template has a parameter of this name, in any case.
func (r *Route) has(name string) bool {
	for _, p := range r.Params {
		if strings.EqualFold(p, name) {
			return true
		}
	}
	return false
}

// part is a literal, or a parameter where name is not empty.
type part struct {
	literal     []rune // {{ and }} undone
	name        string // lower case
	catchAll    bool
	optional    bool
	fallback    string // its default
	hasFallback bool
	constraints []constraint
}

func (p part) param() bool { return p.name != "" }

// parseTemplate reads a route template, or says why ASP.NET Core would refuse it (dotnet/aspnetcore
// src/Http/Routing/src/Patterns/RoutePatternParser.cs and RouteParameterParser.cs,
// ParameterPolicyActivator.cs).
func parseTemplate(template string) (*Route, error) {
	rest := template
	switch {
	case strings.HasPrefix(rest, "~/"):
		rest = rest[2:]
	case strings.HasPrefix(rest, "/"):
		rest = rest[1:]
	case strings.HasPrefix(rest, "~"):
		return nil, errors.New(`a template must not begin with "~" unless "/" follows`)
	}
	route := &Route{Template: template}
	for rest != "" {
		if rest[0] == '/' {
			return nil, errors.New(`two slashes stand side by side`)
		}
		parts, n, err := route.parseSegment(rest)
		if err != nil {
			return nil, err
		}
		if err := checkSegment(parts); err != nil {
			return nil, err
		}
		route.segments = append(route.segments, parts)
		rest = strings.TrimPrefix(rest[n:], "/")
	}
	for i, parts := range route.segments {
		for _, p := range parts {
			if p.catchAll && i < len(route.segments)-1 {
				return nil, fmt.Errorf("the catch-all parameter {*%s} is not the last segment",
					p.name)
			}
		}
	}
	return route, nil
}

// parseSegment reads up to the next slash outside braces and returns how far it came.
func (r *Route) parseSegment(text string) ([]part, int, error) {
	var parts []part
	var literal strings.Builder
	flush := func() error {
		if literal.Len() == 0 {
			return nil
		}
		if strings.Contains(literal.String(), "?") {
			return fmt.Errorf("the literal %q holds a question mark", literal.String())
		}
		parts = append(parts, part{literal: []rune(literal.String())})
		literal.Reset()
		return nil
	}
	i := 0
	for i < len(text) && text[i] != '/' {
		c := text[i]
		if (c == '{' || c == '}') && i+1 < len(text) && text[i+1] == c {
			literal.WriteByte(c)
			i += 2
			continue
		}
		switch c {
		case '}':
			return nil, 0, errors.New(`a "}" has no "{" before it`)
		case '{':
			if err := flush(); err != nil {
				return nil, 0, err
			}
			inside, n, err := cutParameter(text[i:])
			if err != nil {
				return nil, 0, err
			}
			p, err := parseParameter(inside)
			if err != nil {
				return nil, 0, err
			}
			if r.has(p.name) {
				return nil, 0, fmt.Errorf("the parameter %q stands twice", p.name)
			}
			r.Params = append(r.Params, p.name)
			if p.catchAll {
				r.CatchAll = p.name
			}
			parts = append(parts, p)
			i += n
		default:
			literal.WriteByte(c)
			i++
		}
	}
	return parts, i, flush()
}

// cutParameter returns what stands between the braces at the beginning of text, doubled braces
// undone, and the length with the braces.
func cutParameter(text string) (string, int, error) {
	unclosed := errors.New(`a "{" has no "}" after it`)
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '{':
			if i+1 == len(text) {
				return "", 0, unclosed
			}
			if text[i+1] != '{' {
				return "", 0, errors.New(`a "{" inside a parameter has to be doubled`)
			}
			i++
		case '}':
			if i+1 < len(text) && text[i+1] == '}' {
				i++
				continue
			}
			inside := strings.ReplaceAll(text[1:i], "}}", "}")
			return strings.ReplaceAll(inside, "{{", "{"), i + 1, nil
		}
	}
	return "", 0, unclosed
}

// parseParameter reads "name", "name?", "name=5", "name:int?", "*path", "**path" and so on.
func parseParameter(inside string) (part, error) {
	var p part
	text := inside
	switch {
	case strings.HasPrefix(text, "**"):
		p.catchAll, text = true, text[2:]
	case strings.HasPrefix(text, "*"):
		p.catchAll, text = true, text[1:]
	}
	if strings.HasSuffix(text, "?") {
		p.optional, text = true, text[:len(text)-1]
	}
	if p.catchAll && p.optional {
		return p, fmt.Errorf("the catch-all parameter {%s} must not be optional", inside)
	}
	// A name may begin with a delimiter: "{=x}" is a parameter called "=x".
	end := len(text)
	for i := 1; i < len(text); i++ {
		if text[i] == ':' || text[i] == '=' {
			end = i
			break
		}
	}
	p.name = strings.ToLower(text[:end])
	if p.name == "" || strings.ContainsAny(p.name, "/{}?*") {
		return p, fmt.Errorf("%q is no name for a parameter", text[:end])
	}
	constraints, fallback, hasFallback := cutConstraints(text[end:])
	p.fallback, p.hasFallback = fallback, hasFallback
	if p.optional && p.hasFallback {
		return p, fmt.Errorf("the parameter %q is optional and has a default", p.name)
	}
	for _, text := range constraints {
		c, err := parseConstraint(text)
		if err != nil {
			return p, fmt.Errorf("the parameter %q: %w", p.name, err)
		}
		p.constraints = append(p.constraints, c)
	}
	return p, nil
}

// cutConstraints splits ":int:min(5)=7" into the constraints and the default. A colon or an equals
// sign inside parentheses belongs to the argument as long as any ")" follows, even one of a later
// constraint: so does the original.
func cutConstraints(text string) (constraints []string, fallback string, hasFallback bool) {
	add := func(c string) {
		if c != "" {
			constraints = append(constraints, c)
		}
	}
	for text != "" {
		if text[0] == '=' {
			return constraints, text[1:], true
		}
		text = strings.TrimPrefix(text, ":")
		inside, i := false, 0
		for ; i < len(text); i++ {
			c := text[i]
			if !inside {
				if c == ':' || c == '=' {
					break
				}
				inside = c == '('
				continue
			}
			if c == ')' && (i+1 == len(text) || text[i+1] == ':' || text[i+1] == '=') {
				i++
				break
			}
			if c == ':' || c == '=' {
				closing := strings.IndexByte(text[i+1:], ')')
				if closing < 0 {
					break
				}
				i += 1 + closing
			}
		}
		add(text[:i])
		text = text[i:]
	}
	return constraints, "", false
}

// checkSegment holds the rules for segments of several parts.
func checkSegment(parts []part) error {
	for i, p := range parts {
		switch {
		case !p.param():
		case p.catchAll && len(parts) > 1:
			return fmt.Errorf("the catch-all parameter {*%s} shares its segment with other text",
				p.name)
		case i > 0 && parts[i-1].param():
			return fmt.Errorf("the parameters %q and %q stand side by side with nothing between "+
				"them", parts[i-1].name, p.name)
		case p.optional && len(parts) > 1:
			if i < len(parts)-1 {
				return fmt.Errorf("the optional parameter %q is not the end of its segment", p.name)
			}
			if string(parts[i-1].literal) != "." {
				return fmt.Errorf("only a period can stand before the optional parameter %q in "+
					"one segment", p.name)
			}
		}
	}
	return nil
}
