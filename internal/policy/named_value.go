package policy

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Named values are letters, digits, periods, dashes and underscores (the display name's pattern in the namedValues resource,
// https://learn.microsoft.com/azure/templates/microsoft.apimanagement/service/namedvalues).
var reference = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{\{([^{}]*)\}\}`) })

var valueName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._-]+$`) })

// fill returns a copy of the tree with its named values filled in. A value is plain text: it is not searched for further references, and
// because it is put in after the XML is parsed it needs no escaping and cannot add elements.
func fill(e *element, values map[string]string) (*element, Errors) {
	var faults Errors
	replace := func(text string, line int) string {
		done := reference().ReplaceAllStringFunc(text, func(whole string) string {
			name := strings.TrimSpace(whole[2 : len(whole)-2])
			value, there := values[name]
			problem := ""
			switch {
			case !valueName().MatchString(name):
				problem = fmt.Sprintf("%q is no name of a named value: want letters, digits, '.', '-' and '_'", name)
			case !there:
				problem = fmt.Sprintf("named value %q is not defined", name)
			case strings.TrimSpace(value) == "":
				// A blank one would turn a check into no check.
				problem = fmt.Sprintf("named value %q is blank", name)
			case expression(value):
				problem = fmt.Sprintf("named value %q is an expression: %s", name, noExpressions)
			case holds(value):
				problem = fmt.Sprintf("named value %q refers to another named value: want plain text", name)
			}
			if problem != "" {
				faults = append(faults, &Error{File: e.file, Line: line, Text: problem})
			}
			return value
		})
		if len(faults) == 0 && holds(done) {
			faults = append(faults, &Error{File: e.file, Line: line, Text: "\"{{\" without \"}}\": want {{name}}"})
		}
		return done
	}
	copied := &element{name: e.name, file: e.file, line: e.line}
	for _, a := range e.attrs {
		copied.attrs = append(copied.attrs, attribute{a.name, replace(a.value, a.line), a.line})
	}
	copied.text = replace(e.text, e.line)
	for _, c := range e.children {
		child, more := fill(c, values)
		copied.children = append(copied.children, child)
		faults = append(faults, more...)
	}
	return copied, faults
}
