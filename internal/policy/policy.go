// Package policy reads API Management's policy documents and evaluates them on a plain request value, rule by rule.
//
// Parse reads one file; Merge joins the documents of the scopes through <base /> and fills in named values; Evaluate runs the result on a
// request and returns what the gateway would do with it, with a trace that says for each rule what was wanted, what was found and which change
// on which side would make it pass. The gateway stand-in and `doctor -policy` use the same code, so that a policy is explained by what
// enforces it.
//
// The package has no listeners, files, network or clock: keys, time and counters are handed in. Tokens and keys never reach a trace.
//
// Statements: validate-jwt, validate-azure-ad-token, set-header, set-query-parameter, rate-limit, return-response, check-header, ip-filter,
// forward-request, base; each in the file of its name. What differs from the real thing:
//
//   - No C# expressions, and no statements but these; both are errors with file and line, as are unknown elements and attributes.
//   - Encrypted tokens (five segments) are refused: decryption-keys are read and checked for form only.
//   - Named values are put in after the XML is parsed, so that they need no XML escaping and cannot add elements.
//   - A section that a document leaves out inherits, as one that holds <base /> alone.
//   - rate-limit counts in a sliding window in memory; the real counters are spread over the gateway's units and less exact.
//   - A header that stands several times is joined with commas before validate-jwt reads it.
//   - Where validate-jwt has several faults, the error is the first in the order in which Microsoft.IdentityModel checks (signature, life,
//     audience, issuer) with claims last; the trace shows all of them.
//   - validate-azure-ad-token takes both issuers of its tenant; whether the real one does is not documented.
//   - The default texts of the answers are those of the documented LastError messages; the real ones may be shorter.
package policy

import (
	"cmp"
	"slices"
)

// Scope says where a document is attached.
type Scope string

// The scopes, from the widest to the narrowest. The names are those of LastError.Scope
// (https://learn.microsoft.com/azure/api-management/api-management-error-handling-policies).
const (
	Global    Scope = "global"
	Product   Scope = "product"
	API       Scope = "api"
	Operation Scope = "operation"
)

// Scopes holds the documents that apply to one operation called through one product. A nil one inherits everything.
type Scopes struct {
	Global, Product, API, Operation *Document
}

// Policy is the merged policy of one operation. It is immutable and safe for concurrent use.
type Policy struct {
	sections map[Section][]placed
}

// placed is a statement with the place where it stands.
type placed struct {
	statement statement
	name, id  string
	scope     Scope
	section   Section
	file      string
	line      int
}

// Merge joins the documents of the scopes, each <base /> replaced by the same section of the next wider scope, and fills in named values.
// Without a global document the section backend of the widest scope is <forward-request />, as in a new API Management service.
//
// An unresolved, blank or nested named value is an error with file and line, and so is whatever Parse could not check before the values were
// there. All errors are returned together, as Errors.
func Merge(scopes Scopes, namedValues map[string]string) (*Policy, error) {
	m := merger{values: namedValues}
	p := &Policy{sections: map[Section][]placed{}}
	chain := []link{{Global, scopes.Global}, {Product, scopes.Product}, {API, scopes.API}, {Operation, scopes.Operation}}
	for _, s := range sections {
		var below []placed
		if s == Backend {
			below = []placed{{statement: forward{timeout: defaultTimeout}, name: forwardRequest.name, scope: Global, section: s, file: "default"}}
		}
		for _, l := range chain {
			below = m.section(l, s, below)
		}
		p.sections[s] = below
	}
	slices.SortStableFunc(m.faults, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	if len(m.faults) > 0 {
		return nil, m.faults
	}
	return p, nil
}

type link struct {
	scope    Scope
	document *Document
}

type merger struct {
	values map[string]string
	faults Errors
}

// section returns the statements of one section at one scope; below are those of the wider one.
func (m *merger) section(l link, s Section, below []placed) []placed {
	if l.document == nil || l.document.sections[s] == nil {
		return below
	}
	e, faults := fill(l.document.sections[s], m.values)
	if len(faults) == 0 {
		faults = sectionSpec(s).check(e)
	}
	if len(faults) > 0 {
		m.faults = append(m.faults, faults...)
		return nil
	}
	var merged []placed
	for _, c := range e.children {
		k := kindOf(c.name)
		if k == &base {
			merged = append(merged, below...)
			continue
		}
		if k.scopes != nil && !slices.Contains(k.scopes, l.scope) {
			m.faults = append(m.faults, c.fault("statement <%s> may not stand at the %s scope", c.name, l.scope))
			continue
		}
		built, faults := k.build(c)
		m.faults = append(m.faults, faults...)
		merged = append(merged, placed{statement: built, name: c.name, id: c.attr("id"), scope: l.scope, section: s, file: c.file, line: c.line})
	}
	return merged
}
