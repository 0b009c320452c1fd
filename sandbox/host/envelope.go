package host

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
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
func readEnvelope(answer *http.Response, body []byte) (*envelope, error) {
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		e := newException(httpRequestException, "Response status code does not indicate success: %d (%s).", answer.StatusCode, phrase(answer))
		e.status = answer.StatusCode
		return nil, e
	}
	invalid := newException(invalidOperation, "Invalid HttpResponseMessage:\n%s", dump(answer, body))
	// HttpContentExtensions.ReadAsAsync answers the default for an empty body before it looks for a formatter, and only for Content-Length 0.
	if len(body) == 0 && answer.Header["Content-Encoding"] == nil {
		return nil, nil
	}
	media, params, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if media != "application/json" && media != "text/json" || answer.Header["Content-Encoding"] != nil && !strings.EqualFold(answer.Header.Get("Content-Encoding"), "identity") {
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

// dump is HttpResponseMessage.ToString(): headers of the answer first, then those of its content.
func dump(answer *http.Response, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "StatusCode: %d, ReasonPhrase: '%s', Version: %d.%d, Content: System.Net.Http.HttpConnectionResponseContent, Headers:\n{",
		answer.StatusCode, phrase(answer), answer.ProtoMajor, answer.ProtoMinor)
	list := func(ofContent bool) {
		for _, name := range slices.Sorted(maps.Keys(answer.Header)) {
			if contentHeaders[name] == ofContent && name != "Content-Length" {
				fmt.Fprintf(&b, "\n  %s: %s", name, strings.Join(answer.Header[name], ", "))
			}
		}
	}
	list(false)
	list(true)
	fmt.Fprintf(&b, "\n  Content-Length: %d\n}", len(body))
	return b.String()
}
