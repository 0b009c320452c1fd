package host

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"apimrelay/internal/hostfile"
)

// envelope is a wrapped answer: {"Outputs":{…},"Logs":[…],"ReturnValue":…}.
type envelope struct {
	outputs *hostfile.Value // an object, or nil
	logs    []string
	ret     *hostfile.Value // nil: absent or null
}

// readEnvelope reads the handler's answer to a wrapped request. A nil envelope without an error is
// an answer that means nothing: the host waits for ever (recordings E-hang-*). Source:
// DefaultHttpWorkerService.cs, HttpScriptInvocationResult.cs, System.Net.Http.Formatting
// JsonMediaTypeFormatter.
func readEnvelope(answer *http.Response, body []byte) (*envelope, error) {
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		e := newException(httpRequestException,
			"Response status code does not indicate success: %d (%s).", answer.StatusCode,
			phrase(answer))
		e.status = answer.StatusCode
		return nil, e
	}
	invalid := newException(invalidOperation, "Invalid HttpResponseMessage:\n%s",
		dump(answer, body))
	// HttpContentExtensions.ReadAsAsync answers the default for an empty body before it looks for a
	// formatter, and only for Content-Length 0.
	if len(body) == 0 && answer.Header["Content-Encoding"] == nil {
		return nil, nil
	}
	media, params, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if media != "application/json" && media != "text/json" ||
		answer.Header["Content-Encoding"] != nil &&
			!strings.EqualFold(answer.Header.Get("Content-Encoding"), "identity") {
		return nil, invalid
	}
	text, ok := decodeAnswer(body, params)
	if !ok {
		return nil, invalid
	}
	v, err := hostfile.ParseFirst(text, hostfile.Options{Dates: true,
		Depth: hostfile.FormatterDepth, Repeated: true})
	if err != nil {
		return nil, invalid
	}
	if v == nil || v.Kind == hostfile.Null {
		return nil, nil
	}
	e, err := envelopeOf(v)
	if err != nil {
		return nil, invalid
	}
	return e, nil
}

// decodeAnswer knows UTF-8 and UTF-16, the encodings of the JSON formatter; malformed text fails.
// Another charset is read as UTF-8.
func decodeAnswer(body []byte, params string) (string, bool) {
	if strings.Contains(strings.ToLower(params), "utf-16") {
		return hostfile.Decode(append([]byte{0xff, 0xfe}, body...)), len(body)%2 == 0
	}
	return string(body), utf8.Valid(body)
}

// envelopeOf fills the three properties from an object that kept its repeated names, in any case; a
// property that occurs again adds to what is there, as where Newtonsoft reuses a collection.
func envelopeOf(v *hostfile.Value) (*envelope, error) {
	if v.Kind != hostfile.Object {
		return nil, fmt.Errorf("want an object")
	}
	e := &envelope{}
	for _, m := range v.Members {
		switch strings.ToLower(m.Name) {
		case "outputs":
			switch m.Value.Kind {
			case hostfile.Null:
				e.outputs = nil
			case hostfile.Object:
				if e.outputs == nil {
					e.outputs = &hostfile.Value{Kind: hostfile.Object}
				}
				for _, o := range m.Value.Members {
					e.outputs.Set(o.Name, o.Value)
				}
			default:
				return nil, fmt.Errorf("reading Outputs: want an object")
			}
		case "logs":
			switch m.Value.Kind {
			case hostfile.Null:
				e.logs = nil
			case hostfile.Array:
				for _, item := range m.Value.Items {
					if !item.Scalar() {
						return nil, fmt.Errorf("reading Logs: want strings")
					}
					if item.Kind == hostfile.Null {
						e.logs = append(e.logs, "[null]") // what the logger makes of a null message
						continue
					}
					e.logs = append(e.logs, item.Written())
				}
			default:
				return nil, fmt.Errorf("reading Logs: want an array")
			}
		case "returnvalue":
			e.ret = m.Value
			if e.ret.Kind == hostfile.Null {
				e.ret = nil
			}
		}
	}
	return e, nil
}

// dump is HttpResponseMessage.ToString(): headers of the answer first, then those of its content.
func dump(answer *http.Response, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b,
		"StatusCode: %d, ReasonPhrase: '%s', Version: %d.%d, Content: System.Net.Http.HttpConnectionResponseContent, Headers:\n{",
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
