package host

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// envelope is a wrapped answer: {"Outputs":{…},"Logs":[…],"ReturnValue":…}.
type envelope struct {
	outputs *jvalue // an object, or nil
	logs    []string
	ret     *jvalue // nil: absent or null
}

// readEnvelope reads the handler's answer to a wrapped request. A nil envelope without an error is an answer that means nothing: the host waits
// for ever (recordings E-hang-*). Source: DefaultHttpWorkerService.cs, HttpScriptInvocationResult.cs, System.Net.Http.Formatting
// JsonMediaTypeFormatter.
func readEnvelope(in *incoming, body []byte) (*envelope, error) {
	if in.status < 200 || in.status > 299 {
		e := newException(httpRequestException, "Response status code does not indicate success: %d (%s).", in.status, in.phrase())
		e.status = in.status
		return nil, e
	}
	invalid := newException(invalidOperation, "Invalid HttpResponseMessage:\n%s", in.dump(body))
	// HttpContentExtensions.ReadAsAsync answers the default for an empty body before it looks for a formatter, and only for Content-Length 0.
	if len(body) == 0 && !in.hdr.has("Content-Encoding") {
		return nil, nil
	}
	media, params, _ := strings.Cut(in.hdr.get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if media != "application/json" && media != "text/json" || in.hdr.has("Content-Encoding") && !strings.EqualFold(in.hdr.get("Content-Encoding"), "identity") {
		return nil, invalid
	}
	text, ok := decodeAnswer(body, params)
	if !ok {
		return nil, invalid
	}
	v, nothing, err := parseJSON(text, true)
	if err != nil {
		return nil, invalid
	}
	if nothing || v.kind == jnull {
		return nil, nil
	}
	e, err := envelopeOf(v, text)
	if err != nil {
		return nil, invalid
	}
	return e, nil
}

// decodeAnswer knows UTF-8 and UTF-16, the encodings of the JSON formatter; malformed text fails. Another charset is read as UTF-8.
func decodeAnswer(body []byte, params string) (string, bool) {
	if strings.Contains(strings.ToLower(params), "utf-16") {
		return decodeBody(append([]byte{0xff, 0xfe}, body...)), len(body)%2 == 0
	}
	return string(body), utf8.Valid(body)
}

// envelopeOf fills the three properties, in any case; a property that occurs again adds to what is there, as where Newtonsoft reuses a collection.
func envelopeOf(v *jvalue, text string) (*envelope, error) {
	if v.kind != jobject {
		return nil, fmt.Errorf("want an object")
	}
	e := &envelope{}
	for _, m := range allMembers(text) {
		switch strings.ToLower(m.name) {
		case "outputs":
			switch m.value.kind {
			case jnull:
				e.outputs = nil
			case jobject:
				if e.outputs == nil {
					e.outputs = &jvalue{kind: jobject}
				}
				for _, o := range m.value.members {
					e.outputs.set(o.name, o.value)
				}
			default:
				return nil, fmt.Errorf("reading Outputs: want an object")
			}
		case "logs":
			switch m.value.kind {
			case jnull:
				e.logs = nil
			case jarray:
				for _, item := range m.value.items {
					if !item.scalar() {
						return nil, fmt.Errorf("reading Logs: want strings")
					}
					if item.kind == jnull {
						e.logs = append(e.logs, "[null]") // what the logger makes of a null message
						continue
					}
					e.logs = append(e.logs, item.raw())
				}
			default:
				return nil, fmt.Errorf("reading Logs: want an array")
			}
		case "returnvalue":
			e.ret = m.value
			if e.ret.kind == jnull {
				e.ret = nil
			}
		}
	}
	return e, nil
}

// allMembers lists the members of the object in text, repeated names included, which a jvalue keeps once.
func allMembers(text string) []jmember {
	r := &jreader{s: strings.TrimPrefix(text, "\ufeff"), dates: true}
	var out []jmember
	if r.blank() != nil || r.peek() != '{' {
		return nil
	}
	r.at++
	for {
		if r.blank() != nil || r.peek() == '}' {
			return out
		}
		name, err := r.name()
		if err != nil || r.blank() != nil {
			return out
		}
		r.at++
		v, err := r.value()
		if err != nil {
			return out
		}
		out = append(out, jmember{name, v})
		if done, err := r.next('}'); err != nil || done {
			return out
		}
	}
}

// phrase is the reason phrase as HttpResponseMessage has it.
func (in *incoming) phrase() string {
	if in.reason != "" {
		return in.reason
	}
	return reasonPhrase(in.status)
}

// dump is HttpResponseMessage.ToString(): headers of the answer first, then those of its content.
func (in *incoming) dump(body []byte) string {
	version := "1.1"
	if in.http10 {
		version = "1.0"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "StatusCode: %d, ReasonPhrase: '%s', Version: %s, Content: System.Net.Http.HttpConnectionResponseContent, Headers:\n{",
		in.status, in.phrase(), version)
	var content headers
	for _, f := range in.hdr {
		if contentHeaders[strings.ToLower(f.name)] {
			content = append(content, f)
			continue
		}
		fmt.Fprintf(&b, "\n  %s: %s", f.name, f.value)
	}
	if !content.has("Content-Length") {
		content.add("Content-Length", fmt.Sprint(len(body)))
	}
	for _, f := range content {
		fmt.Fprintf(&b, "\n  %s: %s", f.name, f.value)
	}
	b.WriteString("\n}")
	return b.String()
}

// The headers that .NET keeps with the content (System.Net.Http/Headers/KnownHeaders.cs).
var contentHeaders = map[string]bool{"allow": true, "content-disposition": true, "content-encoding": true, "content-language": true,
	"content-length":   true,
	"content-location": true, "content-md5": true, "content-range": true, "content-type": true, "expires": true, "last-modified": true}
