package policy

import (
	"net/http"
	"strconv"
	"strings"
)

// returnResponse is <return-response>: https://learn.microsoft.com/azure/api-management/return-response-policy
// Its children may stand in any order: the service takes them so, whatever the reference asks for.
var returnResponse = kind{
	name: "return-response", sections: sections, build: buildReturnResponse,
	spec: &spec{
		attrs: []attrSpec{{name: "response-variable-name", check: notInterpreted}, {name: "id"}},
		children: []childSpec{
			{name: "set-status", max: 1, spec: &spec{
				attrs: []attrSpec{{name: "code", required: true, check: number(200, 599)}, {name: "reason"}},
			}},
			{name: "set-header", spec: setHeader.spec},
			{name: "set-body", max: 1, spec: &spec{
				attrs: []attrSpec{{name: "template", check: notInterpreted}, {name: "xsi-nil", check: notInterpreted}}, text: anyText,
			}},
		},
	},
}

type cannedResponse struct {
	status int
	reason string
	header []headerChange
	body   string
}

func buildReturnResponse(e *element) (statement, Errors) {
	r := cannedResponse{status: http.StatusOK}
	for _, c := range e.children {
		switch c.name {
		case "set-status":
			r.status, _ = strconv.Atoi(c.attr("code")) // checked by the spec
			r.reason = c.attr("reason")
		case "set-header":
			r.header = append(r.header, headerChange{http.CanonicalHeaderKey(c.attr("name")), action(c), values(c)})
		case "set-body":
			r.body = strings.TrimSpace(c.text)
		}
	}
	return r, nil
}

func (r cannedResponse) run(e *evaluation) bool {
	answer := &Response{Status: r.status, Reason: r.reason, Header: http.Header{}, Body: r.body}
	for _, h := range r.header {
		h.apply(answer.Header)
	}
	e.verdict.Answer = answer
	e.note(Rule{Result: Done, Got: strconv.Itoa(r.status), Why: "the policy answers itself: the request goes no further"})
	return false
}
