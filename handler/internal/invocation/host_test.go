package invocation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"apimrelay/handler/internal/header"
)

// hosted is what the caller of an HTTP function gets.
type hosted struct {
	status int
	header http.Header // without Date, Server and framing
	body   string
}

// host is the host's reading of an answer to a wrapped HTTP call, written from the recordings of group B, to which
// TestHostAgreesWithRecordings holds it. It knows bodies that are no objects or arrays: the encoder writes texts only.
func host(outputs []Output, envelope []byte) hosted {
	failed := hosted{status: 500, header: http.Header{}}
	var e struct {
		Outputs     map[string]json.RawMessage
		Logs        []any
		ReturnValue json.RawMessage
	}
	if !utf8.Valid(envelope) || json.Unmarshal(bytes.TrimPrefix(envelope, []byte("\uFEFF")), &e) != nil {
		return failed
	}
	hasReturn := len(e.ReturnValue) > 0 && string(e.ReturnValue) != "null"
	named := slices.IndexFunc(outputs, func(o Output) bool { return o.HTTP() && o.Name != returnName })
	returned := slices.ContainsFunc(outputs, func(o Output) bool { return o.HTTP() && o.Name == returnName })
	switch {
	case returned && hasReturn:
		var text string
		if json.Unmarshal(e.ReturnValue, &text) == nil {
			if b, err := base64.StdEncoding.DecodeString(text); err == nil {
				return hosted{200, http.Header{}, string(b)}
			}
			return response([]byte(text))
		}
		var object map[string]any
		if json.Unmarshal(e.ReturnValue, &object) == nil && object["body"] != nil {
			return response(e.ReturnValue)
		}
		return hosted{200, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, string(e.ReturnValue)}
	case named >= 0 && e.Outputs != nil:
		raw, ok := e.Outputs[outputs[named].Name]
		if !ok {
			return hosted{200, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, "{}"}
		}
		var text string
		if json.Unmarshal(raw, &text) == nil {
			raw = []byte(text)
		}
		return response(raw)
	}
	return hosted{status: 204, header: http.Header{}}
}

func property(object map[string]any, name string) any {
	for k, v := range object {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

func response(raw []byte) hosted {
	var object map[string]any
	if json.Unmarshal(raw, &object) != nil || object == nil {
		return hosted{status: 500, header: http.Header{}}
	}
	h := hosted{status: 200, header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}}
	switch status := property(object, "statusCode").(type) {
	case float64:
		h.status = int(status)
	case string:
		if n, err := strconv.Atoi(status); err == nil {
			h.status = n
		}
	}
	names, values := inOrder(raw, "headers")
	for i, name := range names {
		text, ok := dotNet(values[i])
		if !ok || !header.Token(name) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }) {
			return hosted{status: 500, header: http.Header{}}
		}
		if strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding") {
			return hosted{status: broken, header: http.Header{}}
		}
		if _, twice := h.header[http.CanonicalHeaderKey(name)]; !twice || strings.EqualFold(name, "Content-Type") {
			h.header.Set(name, strings.Trim(text, " \t")) // what a client makes of the line
		}
	}
	kind, _, _ := strings.Cut(h.header.Get("Content-Type"), "; charset=")
	h.header.Set("Content-Type", kind+"; charset=utf-8")
	h.body, _ = dotNet(property(object, "body"))
	if h.status == 204 || h.status == 205 || h.status == 304 || h.status < 200 && h.status >= 100 {
		h.body = ""
	}
	return h
}

// broken stands for an answer that the client cannot read.
const broken = -1

// inOrder returns the members of an object inside an object, as written.
func inOrder(raw []byte, name string) (names []string, values []any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	_, _ = d.Token()
	for d.More() {
		key, _ := d.Token()
		if !strings.EqualFold(key.(string), name) {
			var skipped any
			_ = d.Decode(&skipped)
			continue
		}
		if first, _ := d.Token(); first != json.Delim('{') {
			return nil, nil
		}
		for d.More() {
			key, _ := d.Token()
			var value any
			_ = d.Decode(&value)
			names, values = append(names, key.(string)), append(values, value)
		}
		return names, values
	}
	return nil, nil
}

// dotNet is a JSON value as .NET makes a text of it; false for null, arrays and objects.
func dotNet(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		if len(v) >= 19 && len(v) <= 40 && v[10] == 'T' {
			for _, layout := range []string{"2006-01-02T15:04:05.9999999Z07:00", "2006-01-02T15:04:05.9999999", "2006-01-02T15:04:05.9999999Z0700"} {
				if t, err := time.Parse(layout, v); err == nil {
					return t.UTC().Format("01/02/2006 15:04:05"), true
				}
			}
		}
		return v, true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case bool:
		return map[bool]string{true: "True", false: "False"}[v], true
	}
	return "", false
}

// TestHostAgreesWithRecordings holds the model to what the host did.
func TestHostAgreesWithRecordings(t *testing.T) {
	seen := 0
	for name, r := range loadAll(t, "B-*") {
		body, ok := r.Answered.Body.(string)
		want, ok2 := r.ClientGot.Body.(string)
		if !ok || !ok2 {
			t.Errorf("%s: want a text as body", name)
			continue
		}
		outputs := []Output{}
		for _, function := range r.FunctionJSON {
			for _, b := range function.Bindings {
				if b.Direction == "out" {
					outputs = append(outputs, Output{Type: b.Type, Name: b.Name})
				}
			}
		}
		got := host(outputs, []byte(body))
		contentType, _, _ := strings.Cut(r.Answered.header("Content-Type"), ";")
		if r.Answered.Status < 200 || r.Answered.Status > 299 || contentType != ContentType && contentType != "text/json" {
			got = hosted{status: 500, header: http.Header{}}
		}
		if got.status == broken {
			continue
		}
		header := http.Header{}
		for _, h := range r.ClientGot.Headers {
			switch h[0] {
			case "Date", "Server", "Transfer-Encoding", "Content-Length":
			default:
				header.Add(h[0], h[1])
			}
		}
		got.header.Del("Date")
		got.header.Del("Server")
		if r.ClientGot.Status == 500 && want == "" {
			header = http.Header{} // those before the bad one
		}
		if got.status != r.ClientGot.Status || got.body != want && !strings.HasPrefix(r.Client.RequestLine, "HEAD") || !equal(header, got.header) {
			t.Errorf("%s: want %d %v %q, got %d %v %q", name, r.ClientGot.Status, header, want, got.status, got.header, got.body)
		}
		seen++
	}
	if seen < 40 {
		t.Errorf("want at least 40 recordings, got %d", seen)
	}
}

func equal(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if a.Get(name) != b.Get(name) {
			return false
		}
	}
	return true
}
