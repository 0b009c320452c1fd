package policy

import (
	"cmp"
	"io"
	"slices"
)

// Section names the four parts of a policy document.
type Section string

// The sections, in the order in which a request meets them.
const (
	Inbound  Section = "inbound"
	Backend  Section = "backend"
	Outbound Section = "outbound"
	OnError  Section = "on-error"
)

var sections = []Section{Inbound, Backend, Outbound, OnError}

// Document is one policy file: well-formed, its named values not filled in yet. It is immutable and
// safe for concurrent use. The zero value has no section, so that every section inherits.
type Document struct {
	// Name is what Read or Parse was given, usually the path of the file.
	Name     string
	sections map[Section]*element
	fragment bool // the root is <fragment>: its statements stand in the section inbound
}

// Read reads a policy document or a policy fragment in either form in which API Management hands it
// out, "xml" or "rawxml", whatever statements it holds. Name stands in front of every error, as a
// file's path does. The error is an Errors: the document is no XML, or its root is neither <policies>
// nor <fragment>.
func Read(name string, r io.Reader) (*Document, error) {
	root, faults := parseXML(name, r)
	if len(faults) > 0 {
		return nil, faults
	}
	d := &Document{Name: name, sections: map[Section]*element{}}
	switch root.name {
	case "policies":
		for _, s := range sections {
			d.sections[s] = root.child(string(s))
		}
		for _, e := range root.children {
			if !slices.Contains(sections, Section(e.name)) {
				faults = append(faults, e.fault("unknown element <%s> in <policies>: want inbound, backend, outbound, on-error",
					e.name))
			}
		}
	case "fragment":
		d.sections[Inbound], d.fragment = root, true
	default:
		return nil, Errors{root.fault("root element is <%s>: want <policies> or <fragment>", root.name)}
	}
	return d, faults.or()
}

// Parse reads a policy document that is to be interpreted, in either form that Read takes.
//
// It is strict, since what is not interpreted would be a policy that behaves differently here than
// there: unknown elements and attributes, elements out of order, statements in a section that does not
// take them, values of the wrong type and C# expressions are errors. All of them are returned together,
// as Errors. Values that hold named values ({{name}}) are checked by Merge.
func Parse(name string, r io.Reader) (*Document, error) {
	root, faults := parseXML(name, r)
	if len(faults) > 0 {
		return nil, faults
	}
	d := &Document{Name: name, sections: map[Section]*element{}}
	if root.name != "policies" {
		return nil, Errors{root.fault("root element is <%s>: want <policies>", root.name)}
	}
	allowed := spec{}
	for _, s := range sections {
		allowed.children = append(allowed.children, childSpec{name: string(s), spec: sectionSpec(s), max: 1})
	}
	faults = append(root.namespaces(), allowed.check(root)...)
	for _, e := range root.children {
		d.sections[Section(e.name)] = e
	}
	slices.SortStableFunc(faults, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	return d, faults.or()
}

// namespaces returns the namespaces of an element and of all below it.
func (e *element) namespaces() Errors {
	all := slices.Clone(e.foreign)
	for _, c := range e.children {
		all = append(all, c.namespaces()...)
	}
	return all
}
