package policy

import (
	"strconv"
	"time"
)

// forwardRequest is <forward-request>: https://learn.microsoft.com/azure/api-management/forward-request-policy
// Of its attributes only the time-out has an effect here: the gateway streams, follows no redirect and passes error statuses on, which is what
// the defaults of the others ask for.
var forwardRequest = kind{
	name: "forward-request", sections: []Section{Backend}, build: buildForward,
	spec: &spec{
		attrs: []attrSpec{
			{name: "timeout", check: number(0, 86400)}, {name: "timeout-ms", check: number(0, 86400000)},
			{name: "continue-timeout", check: number(0, 86400)}, {name: "http-version", check: oneOf("1", "2or1", "2")},
			{name: "follow-redirects", check: boolean}, {name: "buffer-request-body", check: boolean}, {name: "buffer-response", check: boolean},
			{name: "fail-on-error-status-code", check: boolean}, {name: "id"},
		},
		more: func(e *element) Errors {
			if _, seconds := e.lookup("timeout"); seconds {
				if _, millis := e.lookup("timeout-ms"); millis {
					return Errors{e.fault("element <forward-request> has both timeout and timeout-ms: want one")}
				}
			}
			return nil
		},
	},
}

const defaultTimeout = 300 * time.Second

type forward struct{ timeout time.Duration }

func buildForward(e *element) (statement, Errors) {
	f := forward{defaultTimeout}
	if n, err := strconv.Atoi(e.attr("timeout")); err == nil {
		f.timeout = time.Duration(n) * time.Second
	}
	if n, err := strconv.Atoi(e.attr("timeout-ms")); err == nil {
		f.timeout = time.Duration(n) * time.Millisecond
	}
	return f, nil
}

func (f forward) run(e *evaluation) bool {
	e.verdict.Forward, e.verdict.Timeout = true, f.timeout
	e.note(Rule{Result: Done, Why: "to the backend, which has " + f.timeout.String() + " to answer"})
	return true
}
