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

// dotnetMethod is HttpMethod.Normalize: a known method goes out in capitals, whatever the caller wrote (dotnet/runtime
// src/libraries/System.Net.Http/src/System/Net/Http/HttpMethod.cs); others stay (recording D-method-custom).
func dotnetMethod(method string) string {
	switch upper := strings.ToUpper(method); upper {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT":
		return upper
	}
	return method
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
	o := &outgoing{method: dotnetMethod(req.method), target: forwardPath(req.path) + req.query.rewrite()}
	if in.cfg.legacyWorker {
		o.target = "/" + fn.name + req.query.rewrite()
	}
	for _, g := range req.hdr.groups() {
		lower := strings.ToLower(g.name)
		if contentHeaders[lower] || lower == "transfer-encoding" || !isToken(g.name) {
			continue // TryAddWithoutValidation refuses what is no name, or a name of the content's
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
		// Content.Headers.Add reads the type: it goes out as .NET writes it, and one that is none ends the call (HttpRequestExtensions.cs,
		// ToHttpRequestMessage; recording D-post-json-charset holds one that reads the same).
		if t := strings.Join(req.hdr.values("Content-Type"), ","); t != "" {
			written, ok := withParameters(t, true)
			if !ok {
				return nil, newException("System.FormatException", "The format of value '%s' is invalid.", t)
			}
			o.hdr.add("Content-Type", written)
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
		case lower == "location" || lower == "content-location":
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
