package host

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Forwarding: the host's HttpClient copies the request, reads the whole answer and copies that.
// Sources: Azure/azure-functions-host DefaultHttpWorkerService.ProcessHttpInAndOutInvocationRequest, HttpRequestExtensions.ToHttpRequestMessage;
// dotnet/runtime System.Net.Http; recordings D-*.

// Headers that HttpClient writes in a case of its own, beyond those that Kestrel has normalized (System.Net.Http/Headers/KnownHeaders.cs).
var dotnetKnown = func() map[string]string {
	m := map[string]string{}
	for _, n := range strings.Fields(`Accept-Patch Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods
		Access-Control-Allow-Origin Access-Control-Expose-Headers Access-Control-Max-Age Age Alt-Svc Alt-Used Content-Security-Policy Cookie2 ETag Expect-CT
		Link Location P3P Proxy-Authenticate Proxy-Connection Proxy-Support Public-Key-Pins Referrer-Policy Refresh Retry-After Sec-WebSocket-Accept
		Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version Server Server-Timing Set-Cookie Set-Cookie2
		Strict-Transport-Security TSV Trailer Vary WWW-Authenticate X-AspNet-Version X-Cache X-Content-Duration X-Content-Type-Options X-Frame-Options
		X-MSEdge-Ref X-Powered-By X-Request-ID X-UA-Compatible X-XSS-Protection Allow Content-Disposition Content-Encoding Content-Language
		Content-Location Content-MD5 Content-Range Expires Last-Modified`) {
		m[strings.ToLower(n)] = n
	}
	return m
}()

func dotnetName(name string) string {
	if n, ok := dotnetKnown[strings.ToLower(name)]; ok {
		return n
	}
	return name
}

// joined is one header line for all values of a name, with HttpClient's separators.
func joined(g named) string {
	switch strings.ToLower(g.name) {
	case "cookie":
		return strings.Join(g.values, "; ")
	case "user-agent", "server":
		return strings.Join(g.values, " ")
	}
	return strings.Join(g.values, ", ")
}

// mustHaveBody tells whether HttpClient writes Content-Length: 0 for a request without content.
func mustHaveBody(method string) bool {
	switch strings.ToUpper(method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete, http.MethodConnect:
		return false
	}
	return true
}

func (in *instance) forwardedRequest(req *request, fn *function, id string, body []byte) (*outgoing, error) {
	o := &outgoing{method: req.method, target: forwardPath(req.path) + req.query.rewrite()}
	if in.cfg.legacyWorker {
		o.target = "/" + fn.name + req.query.rewrite()
	}
	for _, g := range req.hdr.groups() {
		lower := strings.ToLower(g.name)
		if contentHeaders[lower] || lower == "transfer-encoding" {
			continue
		}
		value := joined(g)
		if lower == "connection" {
			if value = forwardedConnection(req.hdr); value == "" {
				continue
			}
		}
		if !isASCII(value) {
			return nil, newException(httpRequestException, "Request headers must contain only ASCII characters.")
		}
		o.hdr.add(dotnetName(g.name), value)
	}
	if req.chunked {
		return nil, newException(httpRequestException, "An error occurred while sending the request.").because(newException(invalidOperation,
			"'Transfer-Encoding: chunked' header can not be used when content object is not specified."))
	}
	appendValue(&o.hdr, versionHeader, hostVersion, ", ")
	appendValue(&o.hdr, idHeader, id, ", ")
	appendValue(&o.hdr, "User-Agent", agent, " ")
	in.trace(&o.hdr, req, traceForwarded)
	switch {
	case len(body) > 0:
		o.hdr.add("Content-Length", strconv.Itoa(len(body)))
		if t := req.hdr.get("Content-Type"); t != "" {
			o.hdr.add("Content-Type", t)
		}
		o.pieces = [][]byte{body}
	case mustHaveBody(req.method):
		o.hdr.add("Content-Length", "0")
	}
	return o, nil
}

// forwardedConnection is what of Connection passes: close, keep-alive and Upgrade (recordings D-req-hop-headers, D-req-connection-upgrade).
func forwardedConnection(hdr headers) string {
	var kept []string
	for _, t := range hdr.tokens("Connection") {
		if slices.Contains([]string{"close", "keep-alive", "upgrade"}, strings.ToLower(t)) {
			kept = append(kept, t)
		}
	}
	return strings.Join(kept, ", ")
}

// appendValue adds the host's own value behind the caller's (recording D-req-fake-host-headers).
func appendValue(hdr *headers, name, value, separator string) {
	for i := range *hdr {
		if strings.EqualFold((*hdr)[i].name, name) {
			(*hdr)[i].value += separator + value
			return
		}
	}
	hdr.add(name, value)
}

// forward makes the exchange of a forwarded call.
func (inv *invocation) forward(ctx context.Context, body []byte) (*reply, error) {
	in := inv.in
	in.worker.await(ctx)
	if err := inv.holdUp(ctx); err != nil {
		return nil, err
	}
	o, err := in.forwardedRequest(inv.req, inv.fn, inv.id, body)
	if err != nil {
		return nil, err
	}
	ctx, stop := inv.endanger(ctx, o)
	defer stop()
	answer, err := in.worker.client.send(ctx, o)
	if err != nil {
		return nil, err
	}
	text, err := answer.all()
	in.worker.caughtUp()
	if err != nil {
		return nil, err
	}
	return forwardedReply(inv.req, answer, text), nil
}

// forwardedReply copies an answer: headers of the message, then those of the content. One that Kestrel does not take ends it with a 500 that
// keeps the handler's reason phrase (recordings D-ans-header-utf8, D-ans-disposition-utf8).
func forwardedReply(req *request, in *incoming, body []byte) *reply {
	r := &reply{status: in.status, reason: in.phrase(), body: body}
	var message, content headers
	for _, f := range in.hdr {
		if contentHeaders[strings.ToLower(f.name)] {
			content = append(content, f)
		} else {
			message = append(message, f)
		}
	}
	framing := in.hdr.tokens("Transfer-Encoding")
	for _, f := range append(message, content...) {
		lower := strings.ToLower(f.name)
		switch {
		case lower == "location":
			f.value = escapeURI(f.value)
		case f.value == "", lower == "content-length", lower == "transfer-encoding" && len(framing) == 1:
			continue
		}
		if !isASCII(f.value) || strings.ContainsFunc(f.value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return &reply{status: http.StatusInternalServerError, reason: r.reason, hdr: r.hdr}
		}
		for _, v := range parsedValues(lower, f.value) {
			r.hdr.add(dotnetName(f.name), v)
		}
	}
	switch {
	case req.method == http.MethodHead || in.status == http.StatusNotModified:
		if in.hdr.has("Content-Length") {
			r.hdr.add("Content-Length", in.hdr.get("Content-Length"))
		}
	case in.status == http.StatusNoContent:
	case in.status == http.StatusResetContent && len(body) > 0:
		r.status, r.framing = http.StatusInternalServerError, headerOnly
		r.hdr.add("Content-Length", strconv.Itoa(len(body)))
	case len(framing) > 1:
		r.framing = bare
		r.hdr.add("Content-Length", strconv.Itoa(len(body)))
	default:
		r.hdr.add("Content-Length", strconv.Itoa(len(body)))
	}
	return r
}

// parsedValues is what HttpHeaders hands out of one line: the items of a list whose grammar .NET knows, and Cache-Control in its own order.
func parsedValues(lower, value string) []string {
	switch lower {
	case "accept-ranges", "allow", "connection", "content-encoding", "content-language", "pragma", "trailer", "transfer-encoding", "upgrade", "vary", "via",
		"warning":
		return splitList(value)
	case "www-authenticate", "proxy-authenticate":
		return splitChallenges(value)
	case "server":
		return splitProducts(value)
	case "cache-control":
		return []string{cacheControl(value)}
	}
	return []string{value}
}

func splitList(s string) []string {
	var out []string
	quoted, start := false, 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] == '"' {
			quoted = !quoted
		}
		if i == len(s) || s[i] == ',' && !quoted {
			if item := strings.TrimSpace(s[start:i]); item != "" {
				out = append(out, item)
			}
			start = i + 1
		}
	}
	return out
}

// splitChallenges keeps the parameters of a challenge together: an item of the form name=value belongs to the one before.
func splitChallenges(s string) []string {
	var out []string
	for _, item := range splitList(s) {
		name, _, isParam := strings.Cut(item, "=")
		if isParam && len(out) > 0 && !strings.Contains(strings.TrimSpace(name), " ") {
			out[len(out)-1] += ", " + item
			continue
		}
		out = append(out, item)
	}
	return out
}

func splitProducts(s string) []string {
	var out []string
	depth, start := 0, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && s[i] == '(':
			depth++
		case i < len(s) && s[i] == ')':
			depth--
		case i == len(s) || s[i] == ' ' && depth == 0:
			if i > start {
				out = append(out, s[start:i])
			}
			start = i + 1
		}
	}
	return out
}

// cacheControl is CacheControlHeaderValue.ToString (recording D-ans-headers: no-cache="x", max-age=0, private).
func cacheControl(value string) string {
	order := []string{"no-store", "no-transform", "only-if-cached", "public", "must-revalidate", "proxy-revalidate", "no-cache", "max-age",
		"s-maxage", "max-stale",
		"min-fresh", "private"}
	items := splitList(value)
	place := func(item string) int {
		name, _, _ := strings.Cut(strings.ToLower(item), "=")
		if i := slices.Index(order, strings.TrimSpace(name)); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(items, func(a, b string) int { return place(a) - place(b) })
	return strings.Join(items, ", ")
}
