package policy

import (
	"fmt"
	"net/http"
	"strings"
)

// setHeader is <set-header>: https://learn.microsoft.com/azure/api-management/set-header-policy
var setHeader = kind{
	name: "set-header", sections: sections, build: buildSetHeader,
	spec: &spec{
		attrs: []attrSpec{
			{name: "name", required: true, check: headerName}, {name: "exists-action", check: oneOf("override", "skip", "append", "delete")},
			{name: "id"},
		},
		children: []childSpec{{name: "value", spec: &spec{text: anyText, more: headerValue}}},
		more:     needValue,
	},
}

// needValue holds for headers and query parameters: only a delete needs no value.
func needValue(e *element) Errors {
	if e.attr("exists-action") != "delete" && !holds(e.attr("exists-action")) && e.child("value") == nil {
		return Errors{e.fault("element <%s> needs a <value>, unless exists-action is \"delete\"", e.name)}
	}
	return nil
}

type headerChange struct {
	name   string
	action string
	values []string
}

func buildSetHeader(e *element) (statement, Errors) {
	return headerChange{http.CanonicalHeaderKey(e.attr("name")), action(e), values(e)}, nil
}

// action is the exists-action; override where it is absent.
func action(e *element) string {
	if a := e.attr("exists-action"); a != "" {
		return a
	}
	return "override"
}

func values(e *element) []string {
	var all []string
	for _, v := range e.each("value") {
		all = append(all, strings.TrimSpace(v.text))
	}
	return all
}

func (h headerChange) run(e *evaluation) bool {
	present, done := h.apply(e.header())
	// Values are not shown: they may come from secret named values.
	e.note(Rule{Check: h.name, Result: Done, Want: h.action, Got: present, Why: done})
	return true
}

// apply changes a header and says what was there and what was done.
func (h headerChange) apply(header http.Header) (present, done string) {
	present = "absent"
	if len(header[h.name]) > 0 {
		present = "present"
	}
	return present, h.change(header, present == "present")
}

func (h headerChange) change(header http.Header, present bool) string {
	switch {
	case h.action == "delete" && present:
		delete(header, h.name)
		return "removed"
	case h.action == "delete", h.action == "skip" && present:
		return "left as it was"
	case h.action == "append":
		header[h.name] = append(header[h.name], h.values...)
	default:
		header[h.name] = append([]string(nil), h.values...)
	}
	return fmt.Sprintf("set (%d values)", len(h.values))
}
