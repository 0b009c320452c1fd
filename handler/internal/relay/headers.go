package relay

import (
	"net/http"
	"net/url"
	"strings"
)

// DefaultKeyHeader is where API Management looks for the subscription key unless the API renamed it
// (learn.microsoft.com "Subscriptions in Azure API Management").
const DefaultKeyHeader = "Ocp-Apim-Subscription-Key"

// stripped are headers of the caller, the platform or the host that end here, in net/http's canonical form: credentials, what Easy Auth and the front
// ends add and backends believe, and what belongs to one connection. Values are the reason.
//
// They are removed by name. What a caller's Connection header names is removed, too (by ReverseProxy), but nothing relies on that: the host has dropped
// Connection by then and passes on what it named (recordings D-req-hop-headers, P-req-hop-headers).
var stripped = map[string]string{
	"Authorization":            "the caller's credential",
	"Proxy-Authorization":      "the caller's credential",
	"Apim-Debug-Authorization": "opens the gateway's trace",
	"X-Functions-Key":          "the function's key",
	"Cookie":                   "the caller's session with the Function App",
	"X-Zumo-Auth":              "Easy Auth's session token",
	"X-Identity-Header":        "opens the identity endpoint",

	"X-Ms-Invocation-Id":   "the host's, or a caller's imitation",
	"X-Original-Url":       "front end; some backends route by it",
	"X-Rewrite-Url":        "some backends route by it",
	"Disguised-Host":       "front end",
	"Client-Ip":            "front end",
	"X-Client-Ip":          "front end",
	"X-Client-Port":        "front end",
	"Was-Default-Hostname": "front end",
	"Forwarded":            "the way to the Function App, no business of the gateway's",

	"X-Http-Method-Override": "would turn a permitted method into another",
	"X-Http-Method":          "would turn a permitted method into another",
	"X-Method-Override":      "would turn a permitted method into another",

	"Connection":         "one connection",
	"Proxy-Connection":   "one connection",
	"Keep-Alive":         "one connection",
	"Proxy-Authenticate": "one connection",
	"Te":                 "one connection",
	"Trailer":            "net/http writes it",
	"Transfer-Encoding":  "net/http writes it",
	"Upgrade":            "no WebSocket",
	"Http2-Settings":     "goes with Upgrade",
	"Content-Length":     "net/http writes it",
	"Host":               "the target's",
}

// strippedPrefixes are families of such headers, in lower case. The sources: learn.microsoft.com "Work with user identities in Azure App Service
// authentication" (x-ms-client-principal*, x-ms-token-*); recordings D-forwarded-headers and E-appservice-forwarding for the rest.
var strippedPrefixes = []string{
	"ocp-apim-", "x-ms-client-principal", "x-ms-token-", "x-arr-", "x-appservice-", "x-waws-", "x-site-", "x-azure-functions-", "x-forwarded-",
}

// strip removes from h whatever must not reach the gateway. keyHeader is the API's own name for the subscription key, "" for none.
func strip(h http.Header, keyHeader string) {
	for name := range h {
		if strippedHeader(name, keyHeader) {
			delete(h, name)
		}
	}
	if agent, ok := h["User-Agent"]; ok {
		if own, _ := CallersAgent(agent); own != "" {
			agent[0] = own
			h["User-Agent"] = agent[:1]
		} else {
			delete(h, "User-Agent")
		}
	}
}

func strippedHeader(name, keyHeader string) bool {
	if _, ok := stripped[name]; ok || name == "" || keyHeader != "" && strings.EqualFold(name, keyHeader) {
		return true
	}
	switch name[0] {
	case 'O', 'X', 'o', 'x': // every family begins so; most names are done here
	default:
		return false
	}
	for _, prefix := range strippedPrefixes {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
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

// Token tells whether text is a token of RFC 9110 5.6.2: a method, or the name of a header.
func Token(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
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
				value = escape(value, asciiPrintable)
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

// asciiPrintable is what escape leaves alone in a Location: everything but bytes outside ASCII.
var asciiPrintable = func() string {
	var b []byte
	for c := byte(0x20); c < 0x7f; c++ {
		b = append(b, c)
	}
	return string(b)
}()

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
