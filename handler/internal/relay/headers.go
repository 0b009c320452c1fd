package relay

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// DefaultKeyHeader is where API Management looks for the subscription key unless the API renamed it
// (learn.microsoft.com "Subscriptions in Azure API Management").
const DefaultKeyHeader = "Ocp-Apim-Subscription-Key"

// A kind of header says why a caller's ends here.
type kind uint8

const (
	credential kind = iota + 1 // opens something; the relay alone sets such
	connection                 // belongs to one connection, or net/http writes it
	platform                   // front ends and the host add it; some backends believe it, or act on it
)

// stripped are headers of the caller, the platform or the host that end here, in net/http's canonical form.
//
// They are removed by name. What a caller's Connection header names is removed, too, but nothing relies on that: the host has dropped
// Connection by then and passes on what it named (recording D-req-hop-headers).
var stripped = map[string]kind{
	"Authorization":            credential,
	"Proxy-Authorization":      credential,
	"Apim-Debug-Authorization": credential, // opens the gateway's trace
	"X-Functions-Key":          credential,
	"Cookie":                   credential, // the caller's session with the Function App
	"X-Zumo-Auth":              credential, // Easy Auth's session token
	"X-Identity-Header":        credential, // opens the identity endpoint

	"X-Ms-Invocation-Id":   platform, // the host's, or a caller's imitation
	"X-Original-Url":       platform, // some backends route by it
	"X-Rewrite-Url":        platform, // some backends route by it
	"Disguised-Host":       platform,
	"Client-Ip":            platform,
	"X-Client-Ip":          platform,
	"X-Client-Port":        platform,
	"Was-Default-Hostname": platform,
	"Forwarded":            platform, // the way to the Function App, no business of the gateway's

	// Would turn a permitted method into another.
	"X-Http-Method-Override": platform,
	"X-Http-Method":          platform,
	"X-Method-Override":      platform,

	"Connection":         connection,
	"Proxy-Connection":   connection,
	"Keep-Alive":         connection,
	"Proxy-Authenticate": connection,
	"Te":                 connection,
	"Trailer":            connection,
	"Transfer-Encoding":  connection,
	"Upgrade":            connection, // no WebSocket
	"Http2-Settings":     connection, // goes with Upgrade
	"Content-Length":     connection,
	"Host":               connection, // the target's
}

// strippedPrefixes are families of such headers, in lower case. The sources: learn.microsoft.com "Work with user identities in Azure App Service
// authentication" (x-ms-client-principal*, x-ms-token-*); recordings D-forwarded-headers and E-appservice-forwarding for the rest.
var strippedPrefixes = []struct {
	prefix string
	kind   kind
}{
	{"ocp-apim-", credential}, {"x-ms-client-principal", credential}, {"x-ms-token-", credential},
	{"x-arr-", platform}, {"x-appservice-", platform}, {"x-waws-", platform}, {"x-site-", platform}, {"x-azure-functions-", platform}, {"x-forwarded-", platform},
}

// written are headers that a caller may send, but that the relay writes over, or net/http for it.
var written = []string{"Expect", "Idempotency-Key", "Traceparent", "Tracestate"}

// Fixed tells whether a function may have a fixed header of this name, in any case: not one that carries a credential, not one that belongs to the
// connection, and none that the relay sets. What the platform adds to requests is not among them: who sets it for a function means it.
func Fixed(name string) bool {
	name = http.CanonicalHeaderKey(name)
	k := kindOf(name)
	return (k == 0 || k == platform) && !slices.Contains(written, name)
}

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
		if sameName(name, idempotencyKey) {
			delete(h, name)
			dropped = true
		}
	}
	return dropped
}

// sameName reports whether two names of header fields are the same for a server that reads an
// underscore as a hyphen.
func sameName(a, b string) bool {
	return len(a) == len(b) && strings.EqualFold(strings.ReplaceAll(a, "_", "-"), b)
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
		if !strippedHeader(name, keyHeader) {
			out[name] = values
		}
	}
	dropNamed(out, h["Connection"])
	lines := out["User-Agent"]
	agent, _ := CallersAgent(lines)
	switch {
	case agent == "":
		out["User-Agent"] = nobody
	case len(lines) != 1 || lines[0] != agent:
		out["User-Agent"] = []string{agent}
	}
	return out
}

// dropNamed removes the headers that the lines of a Connection header name (RFC 9110 7.6.1).
func dropNamed(h http.Header, connection []string) {
	for _, line := range connection {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
}

// nobody is the value with which http.Request.Write leaves User-Agent out.
var nobody = []string{""}

func strippedHeader(name, keyHeader string) bool {
	return name == "" || keyHeader != "" && strings.EqualFold(name, keyHeader) || kindOf(name) != 0
}

// kindOf tells why a caller's header of this canonical name ends here, 0 for one that passes.
func kindOf(name string) kind {
	if k, ok := stripped[name]; ok || name == "" {
		return k
	}
	switch name[0] {
	case 'O', 'X', 'o', 'x': // every family begins so; most names are done here
	default:
		return 0
	}
	for _, family := range strippedPrefixes {
		if n := len(family.prefix); len(name) >= n && strings.EqualFold(name[:n], family.prefix) {
			return family.kind
		}
	}
	return 0
}

// agentMark begins the product that the host appends to User-Agent when it forwards (recording D-get-query).
const agentMark = "Azure-Functions-Host/"

// CallersAgent is what a caller sent as User-Agent, less the product that the host appends when it forwards, and only then; marked tells that it was there.
// A caller may send the same product. lines are the header's; none is "".
func CallersAgent(lines []string) (agent string, marked bool) {
	if len(lines) == 0 {
		return "", false
	}
	agent = lines[len(lines)-1]
	i := strings.LastIndex(agent, agentMark)
	if i < 0 || strings.ContainsAny(agent[i:], " \t") {
		return agent, false
	}
	return strings.TrimRight(agent[:i], " ,"), true
}

// cleanAnswer takes from an answer's header what would turn the whole answer into a 500 in the host (values outside ASCII: recordings D-ans-header-utf8,
// P-ans-header-utf8; a Location is escaped instead) and what gives our credentials back to the caller. It returns the names of what it dropped.
func cleanAnswer(h http.Header, secrets []string) (dropped []string) {
	for name, values := range h {
		if harmless(name, values, secrets) {
			continue
		}
		keep, leaks, label := values[:0], holds(name, secrets), name
		if leaks {
			label = "(a name that holds a secret)"
		}
		for i, value := range values {
			if !ascii(value) && name == "Location" {
				value = escape(value, printable())
				values[i] = value
			}
			if leaks || !ascii(value) || holds(value, secrets) {
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

// harmless tells the fields that stay as they are: nearly all.
func harmless(name string, values, secrets []string) bool {
	for _, value := range values {
		if !ascii(value) || holds(value, secrets) {
			return false
		}
	}
	return !holds(name, secrets)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
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
	plain := lenientUnescape(text)
	query, err := url.QueryUnescape(text)
	for _, s := range secrets {
		if s != "" && (strings.Contains(plain, s) || err == nil && strings.Contains(query, s)) {
			return true
		}
	}
	return false
}
