package host

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"apimrelay/internal/hostfile"
)

// httpReply turns an envelope into what the caller gets. Sources: Azure/azure-functions-host
// src/WebJobs.Script/Binding/Http/HttpBinding.cs, RawScriptResult.cs,
// Workers/Http/HttpOutputBindingResponse.cs; recordings B-*.
func httpReply(fn *function, e *envelope) (*reply, error) {
	var named, returned *binding
	for _, b := range fn.outputs() {
		switch {
		case b.name == "$return":
			returned = b
		case b.is("http") && named == nil:
			named = b
		}
	}
	switch {
	case returned != nil && returned.is("http"):
		if e.ret == nil {
			if named == nil {
				return status(http.StatusNoContent), nil
			}
			break
		}
		return returnReply(e.ret)
	case named == nil:
		return plainReply(e.ret), nil
	}
	if e.outputs == nil {
		if e.ret != nil {
			return raw(&response{body: hostfile.Text("{}")}), nil
		}
		return status(http.StatusNoContent), nil
	}
	v := e.outputs.Get(named.name)
	if v == nil {
		return raw(&response{body: &hostfile.Value{Kind: hostfile.Object}}), nil
	}
	r, err := responseOf(v)
	if err != nil {
		return nil, err
	}
	return raw(r), nil
}

// answerJSON reads JSON within an answer; nil where there is nothing.
func answerJSON(text string) (*hostfile.Value, error) {
	return hostfile.ParseFirst(text, hostfile.Options{Dates: true, Depth: hostfile.FormatterDepth})
}

// response is an HttpOutputBindingResponse.
type response struct {
	status  string
	body    *hostfile.Value
	headers []hostfile.Member
}

// responseOf reads Outputs.<name>: an object, or a string that holds one.
func responseOf(v *hostfile.Value) (*response, error) {
	failed := newException(invalidOperation,
		"Failed while trying to Deserialize to httpOutputBindingResponse. Output is not in expected format")
	if v.Kind == hostfile.String || v.Kind == hostfile.Date {
		inner, err := answerJSON(v.Str)
		if err != nil || inner == nil || inner.Kind != hostfile.Object {
			return nil, failed
		}
		v = inner
	}
	if v.Kind != hostfile.Object {
		if class := map[hostfile.Kind]string{hostfile.Int: "System.Int64",
			hostfile.Float: "System.Double", hostfile.Bool: "System.Boolean"}[v.Kind]; class != "" {
			failed.inner = newException("System.ArgumentException",
				"Could not cast or convert from %s to Microsoft.Azure.WebJobs.Script.Workers.Http.HttpOutputBindingResponse.", class)
		}
		return nil, failed
	}
	r := &response{}
	if s := v.Fold("statusCode"); s != nil {
		if !s.Scalar() {
			return nil, failed
		}
		r.status = s.Text()
	}
	r.body = v.Fold("body")
	if h := v.Fold("headers"); h != nil && h.Kind != hostfile.Null {
		if h.Kind != hostfile.Object {
			return nil, failed
		}
		r.headers = h.Members
	}
	return r, nil
}

// returnReply is $return with an http binding: an object with a body key is the response, any other
// object is the body; text is decoded where it is base64.
func returnReply(v *hostfile.Value) (*reply, error) {
	if v.Kind == hostfile.String {
		if inner, err := answerJSON(v.Str); err == nil && inner != nil &&
			inner.Kind == hostfile.Object && inner.Fold("body") != nil {
			v = inner
		}
	}
	if v.Kind == hostfile.Object && v.Fold("body") != nil {
		r, err := responseOf(v)
		if err != nil {
			return nil, err
		}
		return raw(r), nil
	}
	if v.Kind == hostfile.String {
		if decoded, ok := fromBase64(v.Str); ok {
			return &reply{status: 200, hdr: http.Header{}, body: decoded, chunked: true}, nil
		}
	}
	return raw(&response{body: v}), nil
}

// plainReply is a function without http output: ASP.NET sends the ReturnValue by itself (recordings
// A-noout, B-noout-with-return-object).
func plainReply(v *hostfile.Value) *reply {
	switch {
	case v == nil:
		return status(http.StatusNoContent)
	case v.Kind == hostfile.String:
		return &reply{status: 200, hdr: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
			body: []byte(v.Str)}
	}
	return &reply{status: 200,
		hdr:  http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		body: []byte(compact(v))}
}

// raw is RawScriptResult: headers one by one, then status, content type and body. A header that
// cannot be set ends it with a 500 that keeps what was set.
func raw(r *response) *reply {
	out := &reply{status: 200, hdr: http.Header{}, chunked: true}
	contentType, length, encoded := "", "", false
	for _, m := range r.headers {
		lower := strings.ToLower(m.Name)
		if m.Value.Kind == hostfile.Null {
			return failedReply(out, contentType)
		}
		value := invariant(m.Value)
		if !httpguts.ValidHeaderFieldName(m.Name) || notForHTTP(value) {
			return failedReply(out, contentType)
		}
		switch {
		case lower == "content-type":
			contentType = value
			continue
		case out.hdr[http.CanonicalHeaderKey(m.Name)] != nil:
			continue // the first of names that differ by case only
		case lower == "content-length":
			if _, err := strconv.ParseUint(value, 10, 62); err != nil {
				return failedReply(out, contentType)
			}
			length = value
		case lower == "transfer-encoding":
			encoded = true
		}
		out.hdr.Set(m.Name, value)
	}
	// int.TryParse with NumberStyles.Integer (HttpBinding.cs, TryParseStatusCode).
	if n, err := strconv.ParseInt(strings.TrimSpace(r.status), 10, 32); err == nil {
		out.status = int(n)
	}
	out.hdr.Set("Content-Type", withUTF8(contentType))
	if r.body != nil && r.body.Kind != hostfile.Null {
		out.body = []byte(invariant(r.body))
	}
	switch n, _ := strconv.Atoi(length); {
	case length != "" && n < len(out.body):
		out.framing = cut
	case length != "" && n > len(out.body):
		out.framing = cutBody
	case encoded:
		out.framing = bare
	}
	return out
}

func failedReply(so *reply, contentType string) *reply {
	if contentType != "" {
		so.hdr.Set("Content-Type", contentType)
	}
	so.hdr.Del("Content-Length")
	so.hdr.Del("Transfer-Encoding")
	return &reply{status: http.StatusInternalServerError, hdr: so.hdr}
}

// withUTF8 is what the output formatter makes of a content type: utf-8 takes the place of any other
// charset, or is appended; one that says utf-8, in whatever case, stays as it is (dotnet/aspnetcore
// src/Mvc/Mvc.Core/src/Formatters/MediaType.cs, ReplaceEncoding; recordings B-string-octet,
// B-string-latin1, B-string-html).
func withUTF8(contentType string) string {
	if contentType == "" {
		return "text/plain; charset=utf-8"
	}
	parts := splitOutsideQuotes(contentType, ';')
	for i, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		if charset := blank(value); strings.EqualFold(blank(name), "charset") && charset != "" {
			if !strings.EqualFold(charset, "utf-8") {
				parts[i+1] = name + "=" + strings.Replace(value, charset, "utf-8", 1)
			}
			return strings.Join(parts, ";")
		}
	}
	return contentType + "; charset=utf-8"
}

func splitOutsideQuotes(s string, separator byte) []string {
	var out []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			out, start = append(out, s[start:i]), i+1
		}
	}
	return append(out, s[start:])
}
