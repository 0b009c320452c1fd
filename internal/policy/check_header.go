package policy

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// checkHeader is <check-header>: https://learn.microsoft.com/azure/api-management/check-header-policy
var checkHeader = kind{
	name: "check-header", sections: []Section{Inbound}, build: buildCheckHeader,
	spec: &spec{
		attrs: []attrSpec{
			{name: "name", required: true, check: headerName}, {name: "failed-check-httpcode", required: true, check: number(200, 599)},
			{name: "failed-check-error-message", required: true}, {name: "ignore-case", required: true, check: boolean}, {name: "id"},
		},
		children: []childSpec{{name: "value", spec: &spec{text: needText}}},
	},
}

type headerCheck struct {
	name    string
	status  int
	message string
	fold    bool
	values  []string
}

func buildCheckHeader(e *element) (statement, Errors) {
	status, _ := strconv.Atoi(e.attr("failed-check-httpcode")) // checked by the spec
	return headerCheck{
		name: http.CanonicalHeaderKey(e.attr("name")), status: status, message: e.attr("failed-check-error-message"),
		fold: strings.EqualFold(e.attr("ignore-case"), "true"), values: values(e),
	}, nil
}

func (h headerCheck) run(e *evaluation) bool {
	rule := Rule{Check: h.name, Result: Pass, Want: "a value", Got: "present"}
	if len(h.values) > 0 {
		rule.Want = fmt.Sprintf("one of %d values", len(h.values)) // not shown: an API's owner may keep a shared secret here
	}
	got := e.request.Header[h.name]
	value := strings.Join(got, ",")
	fits := len(h.values) == 0 || slices.ContainsFunc(h.values, func(want string) bool {
		return value == want || h.fold && strings.EqualFold(value, want)
	})
	fix := []Fix{{SideCaller, "send the header " + h.name + " with a value that the policy lists (setting ApimHeaders)"}}
	switch {
	case e.Claims != nil:
		rule.Result, rule.Got, rule.Why = NotChecked, "", "only the token's claims are known here"
	case len(got) == 0:
		rule.Result, rule.Got, rule.Why, rule.Fixes = Refuse, "absent", "the header is missing", fix
		e.note(rule)
		e.refuse("HeaderNotFound", fmt.Sprintf("Header %s was not found in the request. Access denied.", h.name), ErrorResponse(h.status, h.message))
		return false
	case !fits:
		rule.Result, rule.Got, rule.Why, rule.Fixes = Refuse, "another value", "the header's value is not listed", fix
		e.note(rule)
		// The service's message repeats the value; a trace of ours does not.
		e.refuse("HeaderValueNotAllowed", fmt.Sprintf("Header %s value is not allowed. Access denied.", h.name), ErrorResponse(h.status, h.message))
		return false
	}
	e.note(rule)
	return true
}
