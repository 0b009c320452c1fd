package host

import (
	"context"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Forwarding: the host's HttpClient copies the request, reads the whole answer and copies that.
// Sources: Azure/azure-functions-host
// DefaultHttpWorkerService.ProcessHttpInAndOutInvocationRequest,
// HttpRequestExtensions.ToHttpRequestMessage; recordings D-*.

// The headers that .NET keeps with the content (System.Net.Http/Headers/KnownHeaders.cs).
var contentHeaders = map[string]bool{"Allow": true, "Content-Disposition": true,
	"Content-Encoding": true, "Content-Language": true,
	"Content-Length": true, "Content-Location": true, "Content-Md5": true, "Content-Range": true,
	"Content-Type": true, "Expires": true,
	"Last-Modified": true}

// dotnetMethod is HttpMethod.Normalize: a known method goes out in capitals, whatever the caller
// wrote (dotnet/runtime src/libraries/System.Net.Http/src/System/Net/Http/HttpMethod.cs); others
// stay (recording D-method-custom).
func dotnetMethod(method string) string {
	switch upper := strings.ToUpper(method); upper {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT":
		return upper
	}
	return method
}

func (in *instance) forwardedRequest(req *request, fn *function, id string, body []byte) (*outgoing,
	error) {
	o := &outgoing{method: dotnetMethod(req.Method), target: forwardPath(req.path) +
		req.query.rewrite(), host: req.Host, hdr: http.Header{}}
	if in.cfg.legacyWorker {
		o.target = "/" + fn.name + req.query.rewrite()
	}
	for name, values := range req.hdr {
		if contentHeaders[name] || name == "Transfer-Encoding" || name == "Host" {
			continue // TryAddWithoutValidation refuses a name of the content's
		}
		value := joined(name, values)
		if name == "Connection" {
			if value = forwardedConnection(req.hdr); value == "" {
				continue
			}
		}
		if !isASCII(value) {
			return nil, newException(httpRequestException,
				"Request headers must contain only ASCII characters.")
		}
		o.hdr.Set(name, value)
	}
	if req.chunked() {
		return nil, newException(httpRequestException,
			"An error occurred while sending the request.").because(newException(invalidOperation,
			"'Transfer-Encoding: chunked' header can not be used when content object is not specified."))
	}
	appendValue(o.hdr, versionHeader, hostVersion, ", ")
	appendValue(o.hdr, idHeader, id, ", ")
	appendValue(o.hdr, "User-Agent", agent, " ")
	in.trace(o.hdr, req, traceForwarded)
	if len(body) == 0 {
		return o, nil
	}
	// Content.Headers.Add reads the type: one that is none ends the call (HttpRequestExtensions.cs,
	// ToHttpRequestMessage).
	if t := strings.Join(req.hdr.Values("Content-Type"), ","); t != "" {
		if _, _, err := mime.ParseMediaType(t); err != nil || !strings.Contains(t, "/") {
			return nil, newException("System.FormatException",
				"The format of value '%s' is invalid.", t)
		}
		o.hdr.Set("Content-Type", t)
	}
	o.body = body
	return o, nil
}

// forwardedConnection is what of Connection passes: close, keep-alive and Upgrade (recordings
// D-req-hop-headers, D-req-connection-upgrade).
func forwardedConnection(hdr http.Header) string {
	return strings.Join(slices.DeleteFunc(tokens(hdr, "Connection"), func(t string) bool {
		return !slices.Contains([]string{"close", "keep-alive", "upgrade"}, strings.ToLower(t))
	}), ", ")
}

// appendValue adds the host's own value behind the caller's (recording D-req-fake-host-headers).
func appendValue(hdr http.Header, name, value, separator string) {
	if have := hdr.Get(name); have != "" {
		value = have + separator + value
	}
	hdr.Set(name, value)
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
	text, err := readAll(answer)
	in.worker.caughtUp()
	if err != nil {
		return nil, err
	}
	return forwardedReply(inv.req, answer, text), nil
}

// forwardedReply copies an answer. One that Kestrel does not take ends it with a 500 (recordings
// D-ans-header-utf8, D-ans-disposition-utf8).
func forwardedReply(req *request, answer *http.Response, body []byte) *reply {
	r := &reply{status: answer.StatusCode, hdr: http.Header{}, body: body}
	for name, values := range answer.Header {
		if name == "Content-Length" {
			continue
		}
		for _, v := range values {
			switch {
			case name == "Location" || name == "Content-Location":
				v = escapeURI(v)
			case v == "":
				continue
			}
			if notForHTTP(v) {
				return status(http.StatusInternalServerError)
			}
			r.hdr.Add(name, v)
		}
	}
	if names := announced(answer); names != nil {
		r.hdr["Trailer"] = names
	}
	switch {
	case req.Method == http.MethodHead || answer.StatusCode == http.StatusNotModified:
		// Of a 304 the host reads a body of nothing.
		r.hdr["Content-Length"] = answer.Header["Content-Length"]
		if r.hdr["Content-Length"] == nil {
			delete(r.hdr, "Content-Length")
		}
	case answer.StatusCode == http.StatusNoContent:
	case answer.StatusCode == http.StatusResetContent && len(body) > 0:
		r.status, r.framing = http.StatusInternalServerError, headerOnly
		r.hdr.Set("Content-Length", strconv.Itoa(len(body)))
	default:
		r.hdr.Set("Content-Length", strconv.Itoa(len(body)))
	}
	return r
}
