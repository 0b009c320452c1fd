package policy

import "strings"

// NamedValue is one place where a document refers to a named value.
type NamedValue struct {
	Name, File string
	Line       int
}

// NamedValues lists the references of the document in its order, repeated ones included.
func (d *Document) NamedValues() []NamedValue {
	var found []NamedValue
	collect := func(text, file string, line int) {
		for _, m := range reference().FindAllStringSubmatch(text, -1) {
			found = append(found, NamedValue{Name: strings.TrimSpace(m[1]), File: file, Line: line})
		}
	}
	var walk func(e *element)
	walk = func(e *element) {
		for _, a := range e.attrs {
			collect(a.value, e.file, a.line)
		}
		collect(e.text, e.file, e.line)
		for _, c := range e.children {
			walk(c)
		}
	}
	for _, s := range sections {
		if e := d.sections[s]; e != nil {
			walk(e)
		}
	}
	return found
}
