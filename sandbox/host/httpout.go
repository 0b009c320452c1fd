package host

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// httpReply turns an envelope into what the caller gets.
// Sources: Azure/azure-functions-host src/WebJobs.Script/Binding/Http/HttpBinding.cs, RawScriptResult.cs,
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
			return raw(&response{body: jtext("{}")}), nil
		}
		return status(http.StatusNoContent), nil
	}
	v := e.outputs.get(named.name)
	if v == nil {
		return raw(&response{body: &jvalue{kind: jobject}}), nil
	}
	r, err := responseOf(v)
	if err != nil {
		return nil, err
	}
	return raw(r), nil
}

// response is an HttpOutputBindingResponse.
type response struct {
	status  string
	body    *jvalue
	headers []jmember
}

// responseOf reads Outputs.<name>: an object, or a string that holds one.
func responseOf(v *jvalue) (*response, error) {
	failed := newException(invalidOperation, "Failed while trying to Deserialize to httpOutputBindingResponse. Output is not in expected format")
	if v.kind == jstring || v.kind == jdate {
		inner, nothing, err := parseJSON(v.s, true)
		if err != nil || nothing || inner.kind != jobject {
			return nil, failed
		}
		v = inner
	}
	if v.kind != jobject {
		if class := map[jkind]string{jint: "System.Int64", jfloat: "System.Double", jbool: "System.Boolean"}[v.kind]; class != "" {
			failed.inner = newException("System.ArgumentException",
				"Could not cast or convert from %s to Microsoft.Azure.WebJobs.Script.Workers.Http.HttpOutputBindingResponse.", class)
		}
		return nil, failed
	}
	r := &response{}
	if s := v.fold("statusCode"); s != nil {
		if !s.scalar() {
			return nil, failed
		}
		r.status = s.text()
	}
	r.body = v.fold("body")
	if h := v.fold("headers"); h != nil && h.kind != jnull {
		if h.kind != jobject {
			return nil, failed
		}
		r.headers = h.members
	}
	return r, nil
}

// returnReply is $return with an http binding: an object with a body key is the response, any other object is the body; text is decoded where it
// is base64.
func returnReply(v *jvalue) (*reply, error) {
	if v.kind == jstring {
		if inner, nothing, err := parseJSON(v.s, true); err == nil && !nothing && inner.kind == jobject && inner.fold("body") != nil {
			v = inner
		}
	}
	if v.kind == jobject && v.fold("body") != nil {
		r, err := responseOf(v)
		if err != nil {
			return nil, err
		}
		return raw(r), nil
	}
	if v.kind == jstring {
		if decoded, ok := fromBase64(v.s); ok {
			return &reply{status: 200, hdr: http.Header{}, body: decoded, chunked: true}, nil
		}
	}
	return raw(&response{body: v}), nil
}

// plainReply is a function without http output: ASP.NET sends the ReturnValue by itself (recordings A-noout, B-noout-with-return-object).
func plainReply(v *jvalue) *reply {
	switch {
	case v == nil:
		return status(http.StatusNoContent)
	case v.kind == jstring:
		return &reply{status: 200, hdr: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, body: []byte(v.s)}
	}
	return &reply{status: 200, hdr: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body: []byte(v.compact())}
}

// raw is RawScriptResult: headers one by one, then status, content type and body. A header that cannot be set ends it with a 500 that keeps what
// was set.
func raw(r *response) *reply {
	out := &reply{status: 200, hdr: http.Header{}, chunked: true}
	contentType, length, encoded := "", "", false
	for _, m := range r.headers {
		lower := strings.ToLower(m.name)
		if m.value.kind == jnull {
			return failedReply(out, contentType)
		}
		value := m.value.text()
		if !httpguts.ValidHeaderFieldName(m.name) || notForHTTP(value) {
			return failedReply(out, contentType)
		}
		switch {
		case lower == "content-type":
			contentType = value
			continue
		case out.hdr[http.CanonicalHeaderKey(m.name)] != nil:
			continue // the first of names that differ by case only
		case lower == "content-length":
			if _, err := strconv.ParseUint(value, 10, 62); err != nil {
				return failedReply(out, contentType)
			}
			length = value
		case lower == "transfer-encoding":
			encoded = true
		}
		out.hdr.Set(m.name, value)
	}
	// int.TryParse with NumberStyles.Integer (HttpBinding.cs, TryParseStatusCode).
	if n, err := strconv.ParseInt(strings.TrimSpace(r.status), 10, 32); err == nil {
		out.status = int(n)
	}
	out.hdr.Set("Content-Type", withUTF8(contentType))
	if r.body != nil && r.body.kind != jnull {
		out.body = []byte(r.body.text())
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

// withUTF8 is what the output formatter makes of a content type: utf-8 takes the place of any other charset, or is appended; one that says utf-8, in
// whatever case, stays as it is (dotnet/aspnetcore src/Mvc/Mvc.Core/src/Formatters/MediaType.cs, ReplaceEncoding; recordings B-string-octet,
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
