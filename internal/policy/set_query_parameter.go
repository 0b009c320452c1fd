package policy

import (
	"fmt"
	"net/url"
	"strings"
)

// setQueryParameter is <set-query-parameter>: https://learn.microsoft.com/azure/api-management/set-query-parameter-policy
var setQueryParameter = kind{
	name: "set-query-parameter", sections: []Section{Inbound, Backend}, build: buildSetQueryParameter,
	spec: &spec{
		attrs: []attrSpec{
			{name: "name", required: true}, {name: "exists-action", check: oneOf("override", "skip", "append", "delete")}, {name: "id"},
		},
		children: []childSpec{{name: "value", spec: &spec{text: anyText}}},
		more:     needValue,
	},
}

type queryChange struct {
	name   string
	action string
	values []string
}

func buildSetQueryParameter(e *element) (statement, Errors) {
	return queryChange{e.attr("name"), action(e), values(e)}, nil
}

func (q queryChange) run(e *evaluation) bool {
	kept, found := withoutQuery(e.request.RawQuery, q.name)
	present, done := "absent", fmt.Sprintf("set (%d values)", len(q.values))
	if found {
		present = "present"
	}
	switch {
	case q.action == "delete" && found:
		e.request.RawQuery, done = kept, "removed"
	case q.action == "delete", q.action == "skip" && found:
		done = "left as it was"
	case q.action == "append":
		e.request.RawQuery = withQuery(e.request.RawQuery, q.name, q.values)
	default:
		e.request.RawQuery = withQuery(kept, q.name, q.values)
	}
	e.note(Rule{Check: q.name, Result: Done, Want: q.action, Got: present, Why: done})
	return true
}

// withoutQuery removes every parameter of that name, escaped or not and in any case, and leaves the rest of a raw query byte for byte, so that
// nothing else is rewritten on the way to the backend. It reports whether there was one.
func withoutQuery(raw, name string) (string, bool) {
	if raw == "" {
		return raw, false
	}
	var kept []string
	found := false
	for part := range strings.SplitSeq(raw, "&") {
		if is, _ := queryName(part); strings.EqualFold(is, name) {
			found = true
			continue
		}
		kept = append(kept, part)
	}
	if !found {
		return raw, false
	}
	return strings.Join(kept, "&"), true
}

// Query returns the first parameter of that name, in any case, decoded.
func Query(raw, name string) (string, bool) {
	for part := range strings.SplitSeq(raw, "&") {
		if is, value := queryName(part); part != "" && strings.EqualFold(is, name) {
			if text, err := url.QueryUnescape(value); err == nil {
				return text, true
			}
			return value, true
		}
	}
	return "", false
}

func queryName(part string) (name, value string) {
	name, value, _ = strings.Cut(part, "=")
	if text, err := url.QueryUnescape(name); err == nil {
		name = text
	}
	return name, value
}

func withQuery(raw, name string, values []string) string {
	for _, v := range values {
		if raw != "" {
			raw += "&"
		}
		raw += url.QueryEscape(name) + "=" + url.QueryEscape(v)
	}
	return raw
}
