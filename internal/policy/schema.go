package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// spec says what an element may hold. The specs stand beside the elements, one file each; this file holds documents against them.
type spec struct {
	attrs    []attrSpec
	children []childSpec
	// ordered: the children keep the order of the list, as API Management's schema wants it.
	ordered bool
	text    textKind
	// statements: the children are statements, which more checks.
	statements bool
	// more checks what a list cannot say. It also runs on documents whose named values are not filled in yet.
	more func(e *element) Errors
}

type attrSpec struct {
	name     string
	required bool
	blank    bool                     // a value of blanks means something
	check    func(value string) error // nil: any text that is not blank
}

type childSpec struct {
	name     string
	spec     *spec
	min, max int // max 0: any number
}

type textKind int

const (
	noText   textKind = iota
	needText          // a value that is not blank
	anyText           // taken as written
)

const noExpressions = "C# policy expressions are not interpreted here"

// holds reports whether a text has a named value in it that is still to be filled in: its type cannot be checked yet.
func holds(text string) bool { return strings.Contains(text, "{{") }

func expression(text string) bool {
	text = strings.TrimSpace(text)
	return strings.HasPrefix(text, "@(") || strings.HasPrefix(text, "@{")
}

// check holds one element and all below it against its spec.
func (s *spec) check(e *element) Errors {
	faults := s.checkAttributes(e)
	counts := map[string]int{}
	last := -1
	for _, c := range e.children {
		if s.statements {
			break
		}
		i := slices.IndexFunc(s.children, func(k childSpec) bool { return k.name == c.name })
		if i < 0 {
			faults = append(faults, c.fault("unknown element <%s> in <%s>: want %s", c.name, e.name, s.childNames()))
			continue
		}
		kind := s.children[i]
		counts[c.name]++
		if kind.max > 0 && counts[c.name] > kind.max {
			faults = append(faults, c.fault("element <%s> stands more than %d times in <%s>", c.name, kind.max, e.name))
		}
		if s.ordered && i < last {
			faults = append(faults, c.fault("element <%s> must stand before <%s> in <%s>: the order is %s", c.name, s.children[last].name, e.name,
				s.childNames()))
		}
		last = max(last, i)
		faults = append(faults, kind.spec.check(c)...)
	}
	for _, kind := range s.children {
		if counts[kind.name] < kind.min {
			faults = append(faults, e.fault("element <%s> needs a <%s>", e.name, kind.name))
		}
	}
	switch blank := strings.TrimSpace(e.text) == ""; {
	case s.text == noText && !blank:
		faults = append(faults, e.fault("text in <%s>: want none", e.name))
	case s.text == needText && blank:
		faults = append(faults, e.fault("element <%s> is blank", e.name))
	case s.text != noText && expression(e.text):
		faults = append(faults, e.fault("expression in <%s>: %s", e.name, noExpressions))
	}
	if s.more != nil {
		faults = append(faults, s.more(e)...)
	}
	return faults
}

func (s *spec) checkAttributes(e *element) Errors {
	var faults Errors
	for _, a := range e.attrs {
		fault := func(format string, args ...any) {
			faults = append(faults, &Error{File: e.file, Line: a.line, Text: fmt.Sprintf("attribute %q of <%s> ", a.name, e.name) +
				fmt.Sprintf(format, args...)})
		}
		i := slices.IndexFunc(s.attrs, func(k attrSpec) bool { return k.name == a.name })
		switch {
		case i < 0:
			if len(s.attrs) == 0 {
				fault("is unknown: the element takes none")
			} else {
				fault("is unknown: want one of %s", s.attrNames())
			}
		case expression(a.value):
			fault("is an expression: %s", noExpressions)
		case holds(a.value):
		case a.value == "", !s.attrs[i].blank && strings.TrimSpace(a.value) == "":
			fault("is blank")
		case s.attrs[i].check != nil:
			if err := s.attrs[i].check(a.value); err != nil {
				fault("is %q: %v", a.value, err)
			}
		}
	}
	for _, k := range s.attrs {
		if _, there := e.lookup(k.name); k.required && !there {
			faults = append(faults, e.fault("element <%s> needs the attribute %q", e.name, k.name))
		}
	}
	return faults
}

func (s *spec) childNames() string {
	if len(s.children) == 0 {
		return "no element here"
	}
	names := make([]string, len(s.children))
	for i, c := range s.children {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

func (s *spec) attrNames() string {
	names := make([]string, len(s.attrs))
	for i, a := range s.attrs {
		names[i] = a.name
	}
	return strings.Join(names, ", ")
}

func boolean(value string) error {
	if value != "true" && value != "false" {
		return fmt.Errorf("want true or false")
	}
	return nil
}

func number(low, high int) func(string) error {
	return func(value string) error {
		if n, err := strconv.Atoi(value); err != nil || n < low || n > high {
			return fmt.Errorf("want a whole number from %d to %d", low, high)
		}
		return nil
	}
}

func oneOf(values ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(values, value) {
			return fmt.Errorf("want %s", strings.Join(values, ", "))
		}
		return nil
	}
}

// headerName takes what RFC 9110 calls a token; net/http would panic or drop anything else.
func headerName(value string) error {
	for _, c := range []byte(value) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return fmt.Errorf("want the name of a header")
		}
	}
	return nil
}

// headerValue refuses line breaks and other control characters.
func headerValue(e *element) Errors {
	for _, c := range []byte(strings.TrimSpace(e.text)) {
		if (c < ' ' && c != '\t') || c == 0x7f {
			return Errors{e.fault("value in <%s> holds a control character", e.name)}
		}
	}
	return nil
}

// notInterpreted refuses an attribute that API Management knows and this package does not: silence would be a different policy.
func notInterpreted(string) error { return fmt.Errorf("this attribute is not interpreted here") }
