package header

import (
	"net/http"
	"slices"
	"strings"
)

// DefaultKey is where API Management looks for the subscription key unless the API renamed it
// (learn.microsoft.com "Subscriptions in Azure API Management").
const DefaultKey = "Ocp-Apim-Subscription-Key"

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
	"Subscription-Key":         credential, // a subscription key under the name of the query's parameter

	"X-Ms-Invocation-Id":   platform, // the host's, or a caller's imitation
	"X-Rewrite-Url":        platform, // some backends route by it
	"Disguised-Host":       platform,
	"Client-Ip":            platform,
	"X-Client-Ip":          platform,
	"X-Client-Port":        platform,
	"Was-Default-Hostname": platform,
	"Forwarded":            platform, // the way to the Function App, no business of the gateway's

	// What front ends vouch with, and backends believe
	// (learn.microsoft.com "Protocol support for HTTP headers in Azure Front Door"; the manuals of
	// Cloudflare, Akamai, Envoy, nginx and IIS's Application Request Routing).
	"X-Azure-Fdid":        platform,
	"X-Azure-Clientip":    platform,
	"X-Azure-Socketip":    platform,
	"X-Azure-Ref":         platform,
	"X-Real-Ip":           platform,
	"True-Client-Ip":      platform,
	"Cf-Connecting-Ip":    platform,
	"X-Cluster-Client-Ip": platform,
	"Front-End-Https":     platform,
	"X-Ms-Original-Url":   platform,

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
	{"x-original-", platform}, {"x-envoy-", platform}, {"x-ssl-", platform},
}

// written are headers that a caller may send, but that the relay writes over, or net/http for it.
var written = []string{"Expect", "Idempotency-Key", "Traceparent", "Tracestate"}

// Fixed tells whether a function may have a fixed header of this name, in any case: not one that carries a credential, not one that belongs to the
// connection, and none that the relay sets. What the platform adds to requests is not among them: who sets it for a function means it.
func Fixed(name string) bool {
	name = hyphens(http.CanonicalHeaderKey(name))
	k := kindOf(name)
	return (k == 0 || k == platform) && !slices.Contains(written, name)
}

// Stripped reports whether a caller's header ends here. keyHeader is the API's own name for the
// subscription key, "" for none.
func Stripped(name, keyHeader string) bool {
	return name == "" || keyHeader != "" && Same(name, keyHeader) || kindOf(hyphens(name)) != 0
}

// Same reports whether two names of header fields are the same for a server that reads an underscore
// as a hyphen, as those of CGI and WSGI do.
func Same(a, b string) bool { return len(a) == len(b) && strings.EqualFold(hyphens(a), hyphens(b)) }

// hyphens is a name with hyphens for underscores, in net/http's canonical form where it has any.
func hyphens(name string) string {
	if !strings.Contains(name, "_") {
		return name
	}
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// kindOf tells why a caller's header of this canonical name ends here, 0 for one that passes.
func kindOf(name string) kind {
	if k, ok := stripped[name]; ok || name == "" {
		return k
	}
	if strings.HasSuffix(strings.ToLower(name), "-client-cert") {
		return platform
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
