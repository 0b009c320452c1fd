package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"apimrelay/internal/policy"
)

// api is an API with its routes and merged policies.
type api struct {
	*API
	segments   []string // of the path
	service    *url.URL // nil: the sample backend
	operations []*operation
	products   []*Product // that hold the API
	// bare is the policy without product and operation, for errors before either is known.
	bare *policy.Policy
}

type operation struct {
	*Operation
	segments []string
	// policies by product, "" without one.
	policies map[string]*policy.Policy
}

func newAPI(c Config, a *API) (*api, error) {
	if a.KeyHeader == "" {
		a.KeyHeader = DefaultKeyHeader
	}
	if a.KeyQuery == "" {
		a.KeyQuery = DefaultKeyQuery
	}
	made := &api{API: a, segments: split(a.Path)}
	var faults []error
	service := a.ServiceURL
	if service == "" {
		service = c.Backend
	}
	if service != "" {
		u, err := parseService(service)
		faults = append(faults, err)
		made.service = u
	}
	merged := func(product, operation *policy.Document) *policy.Policy {
		p, err := policy.Merge(policy.Scopes{Global: c.Global, Product: product, API: a.Policy, Operation: operation}, c.NamedValues)
		faults = append(faults, err)
		return p
	}
	for i, p := range c.Products {
		if slices.Contains(p.APIs, a.Name) {
			made.products = append(made.products, &c.Products[i])
		}
	}
	made.bare = merged(nil, nil)
	operations := a.Operations
	if len(operations) == 0 {
		operations = []Operation{{Name: "any", Method: "*", Template: "/*"}}
	}
	for i := range operations {
		o := &operation{Operation: &operations[i], segments: split(operations[i].Template), policies: map[string]*policy.Policy{}}
		faults = append(faults, checkTemplate(a.Name, o))
		o.policies[""] = merged(nil, o.Policy)
		for _, p := range made.products {
			o.policies[p.Name] = merged(p.Policy, o.Policy)
		}
		made.operations = append(made.operations, o)
	}
	return made, distinct(faults)
}

// distinct joins errors once each: a fault of an API's policy shows in every operation's.
func distinct(faults []error) error {
	var kept []error
	seen := map[string]bool{}
	for _, f := range faults {
		if f == nil {
			continue
		}
		for line := range strings.SplitSeq(f.Error(), "\n") {
			if !seen[line] {
				seen[line] = true
				kept = append(kept, errors.New(line))
			}
		}
	}
	return errors.Join(kept...)
}

func checkTemplate(api string, o *operation) error {
	if o.Method == "" || !strings.HasPrefix(o.Template, "/") || strings.ContainsAny(o.Template, "?#") {
		return fmt.Errorf("API %q: operation %q: want a method and a template like /orders/{id}, got %q %q", api, o.Name, o.Method, o.Template)
	}
	for i, s := range o.segments {
		switch {
		case s == "*" && i == len(o.segments)-1:
		case strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") && strings.Count(s, "{") == 1:
		case strings.ContainsAny(s, "*{}"):
			return fmt.Errorf("API %q: operation %q: segment %q of the template: want text, {name}, or * at the end", api, o.Name, s)
		}
	}
	return nil
}

func split(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// route finds API and operation of a request. The API with the longest path wins, then the operation whose template is the most literal, segment by
// segment. Rest is the escaped path below the API's.
func (g *Gateway) route(method, escapedPath string) (found *api, o *operation, rest string) {
	for _, a := range g.apis {
		below, ok := cutPath(escapedPath, a.segments)
		if ok && (found == nil || len(a.segments) > len(found.segments)) {
			found, rest = a, below
		}
	}
	if found == nil {
		return nil, nil, ""
	}
	for _, candidate := range found.operations {
		if candidate.Method != "*" && !strings.EqualFold(candidate.Method, method) {
			continue
		}
		if candidate.fits(rest) && (o == nil || candidate.before(o)) {
			o = candidate
		}
	}
	return found, o, rest
}

// cutPath removes the API's segments from the front of a path.
func cutPath(escapedPath string, prefix []string) (string, bool) {
	rest := escapedPath
	for _, want := range prefix {
		got, after, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		if !sameSegment(got, want) {
			return "", false
		}
		if rest = "/" + after; len(after) == 0 && !strings.HasSuffix(escapedPath, "/") {
			rest = ""
		}
	}
	return rest, true
}

func sameSegment(escaped, want string) bool {
	got, err := url.PathUnescape(escaped)
	return err == nil && strings.EqualFold(got, want)
}

func (o *operation) fits(rest string) bool {
	rest = strings.TrimPrefix(rest, "/")
	for i, want := range o.segments {
		if want == "*" && i == len(o.segments)-1 {
			return true
		}
		if rest == "" {
			return false
		}
		var got string
		got, rest, _ = strings.Cut(rest, "/")
		if isParameter(want) && got != "" {
			continue
		}
		if !sameSegment(got, want) {
			return false
		}
	}
	return rest == ""
}

func isParameter(segment string) bool { return strings.HasPrefix(segment, "{") }

// before reports whether o is the more literal template.
func (o *operation) before(other *operation) bool {
	rank := func(s string) int {
		switch {
		case s == "*":
			return 2
		case isParameter(s):
			return 1
		}
		return 0
	}
	for i := range min(len(o.segments), len(other.segments)) {
		if a, b := rank(o.segments[i]), rank(other.segments[i]); a != b {
			return a < b
		}
	}
	if len(o.segments) != len(other.segments) {
		return len(o.segments) > len(other.segments)
	}
	return o.Method != "*" && other.Method == "*"
}
