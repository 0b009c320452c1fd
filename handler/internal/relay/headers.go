package relay

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/target"
)

// EventKey begins the Idempotency-Key of every event. No caller can send such a key: whoever may
// call a function could otherwise send the key of an event that is still to come, and the backend
// would take that event for a repetition.
const EventKey = "event-"

const idempotencyKey = "Idempotency-Key"

// dropEventKeys removes keys of events from a caller's header, and reports whether there was one.
// A second spelling of the name, which some servers read as the same, goes whatever its value is.
func dropEventKeys(h http.Header) (dropped bool) {
	for name, lines := range h {
		if name == idempotencyKey && !slices.ContainsFunc(lines, holdsEventKey) {
			continue
		}
		if header.Same(name, idempotencyKey) {
			delete(h, name)
			dropped = true
		}
	}
	return dropped
}

// holdsEventKey reports whether a reader of the field may find the key of an event in it: alone, in
// a list, or in quotes, as the draft for the field has it (draft-ietf-httpapi-idempotency-key-header).
func holdsEventKey(line string) bool {
	for item := range strings.SplitSeq(line, ",") {
		item = strings.TrimLeft(item, " \t\"")
		if len(item) >= len(EventKey) && strings.EqualFold(item[:len(EventKey)], EventKey) {
			return true
		}
	}
	return false
}

// passed is the part of a caller's header that goes on to the gateway. keyHeader is the API's own name for the subscription key, "" for none. Where the
// caller named no agent, net/http is kept from naming itself.
func passed(h http.Header, keyHeader string) http.Header {
	out := make(http.Header) // of what comes in most is dropped, and eight names fit into the smallest map
	for name, values := range h {
		if !header.Stripped(name, keyHeader) {
			out[name] = values
		}
	}
	header.DropNamed(out, h["Connection"])
	lines := out["User-Agent"]
	agent, _ := header.CallersAgent(lines)
	switch {
	case agent == "":
		out["User-Agent"] = nobody
	case len(lines) != 1 || lines[0] != agent:
		out["User-Agent"] = []string{agent}
	}
	return out
}

// nobody is the value with which http.Request.Write leaves User-Agent out.
var nobody = []string{""}

// cleanAnswer takes from an answer's header what would turn the whole answer into a 500 in the host (values outside ASCII: recordings D-ans-header-utf8,
// P-ans-header-utf8; a Location is escaped instead) and what gives our credentials back to the caller. It returns the names of what it dropped.
func cleanAnswer(h http.Header, secrets []string) (dropped []string) {
	for name, values := range h {
		if harmless(name, values, secrets) {
			continue
		}
		keep, leaks, label := values[:0], nameHolds(name, secrets), name
		if leaks {
			label = "(a name that holds a secret)"
		}
		for i, value := range values {
			if !header.ASCII(value) && name == "Location" {
				value = target.EscapeLocation(value)
				values[i] = value
			}
			if leaks || !header.ASCII(value) || holds(value, secrets) {
				dropped = append(dropped, label)
				continue
			}
			keep = append(keep, value)
		}
		if len(keep) == 0 && len(values) > 0 {
			delete(h, name)
		} else {
			h[name] = keep
		}
	}
	return dropped
}

// cleanTrailer does the same for an answer's trailers, which besides may hold nothing that concerns
// framing, routing or credentials (RFC 9110 6.5.1).
func cleanTrailer(h http.Header, secrets []string) (dropped []string) {
	for name := range h {
		if header.Stripped(name, "") {
			delete(h, name)
			dropped = append(dropped, name)
		}
	}
	return append(dropped, cleanAnswer(h, secrets)...)
}

// harmless tells the fields that stay as they are: nearly all.
func harmless(name string, values, secrets []string) bool {
	for _, value := range values {
		if !header.ASCII(value) || holds(value, secrets) {
			return false
		}
	}
	return !nameHolds(name, secrets)
}

// nameHolds is holds for the name of a field, which net/http writes in letters of its own.
func nameHolds(name string, secrets []string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(secrets, func(s string) bool { return holds(name, []string{strings.ToLower(s)}) })
}

// holds tells whether text contains one of the secrets, plain or percent-encoded.
func holds(text string, secrets []string) bool {
	for _, s := range secrets {
		if s == "" || len(text) < len(s) {
			continue
		}
		if strings.Contains(text, s) {
			return true
		}
	}
	if !strings.Contains(text, "%") {
		return false
	}
	plain := target.Unescape(text)
	query, err := url.QueryUnescape(text)
	for _, s := range secrets {
		if s != "" && (strings.Contains(plain, s) || err == nil && strings.Contains(query, s)) {
			return true
		}
	}
	return false
}
