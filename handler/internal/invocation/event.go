package invocation

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Content types of an event's body.
const (
	typeJSON   = "application/json"
	typeText   = "text/plain; charset=utf-8"
	typeBinary = "application/octet-stream"
)

// Binding is what function.json says about a function's trigger. Type is compared ignoring case,
// Name is the member of Data.
type Binding struct {
	Type, Name, DataType, Cardinality string
}

func (b Binding) is(triggerType string) bool { return strings.EqualFold(b.Type, triggerType) }

// many reports whether the host hands over several events at once: by function.json, else by the
// default of the trigger (learn.microsoft.com, Azure Functions triggers: many for Event Hubs, one
// for Service Bus and Kafka).
func (b Binding) many() bool {
	if b.Cardinality == "" {
		return b.is("eventHubTrigger")
	}
	return strings.EqualFold(b.Cardinality, "many")
}

func (b Binding) binary() bool { return strings.EqualFold(b.DataType, "binary") }

// Event is what a trigger other than HTTP brings: the trigger's data as a body, and metadata. Its
// methods change nothing; any number of goroutines may use one.
type Event struct {
	// Body is the data with the host's encoding undone: a JSON object or array as it is, text as
	// text, bytes as bytes. Several events at once are one JSON array. nil where the data is null.
	Body []byte
	// ContentType is application/json, text/plain; charset=utf-8 or application/octet-stream; ""
	// without a body.
	ContentType string

	trigger  Binding
	metadata []byte // a JSON object as it is written; nil where there is none
}

// Read reads the envelope of an event from a request of any framing. contentLength is the
// request's, in bytes; it is negative where the request has none, as the host's mostly do. More
// bytes than an envelope can hold are ErrTooLarge.
func Read(r io.Reader, contentLength int64, trigger Binding) (*Event, error) {
	if contentLength > maxEnvelope {
		return nil, ErrTooLarge
	}
	size := int64(4 << 10)
	if contentLength >= 0 {
		size = contentLength + 1 // so that the buffer does not grow to see the end
	}
	buf := make([]byte, 0, min(size, 16<<20)) // more only when that much has come
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > maxEnvelope {
			return nil, ErrTooLarge
		}
		if errors.Is(err, io.EOF) {
			return Decode(buf, trigger)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the invocation: after %d bytes: %w", len(buf), err)
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// Decode reads the envelope of an event. It takes envelope over: the data is unescaped in place, so
// that it never stands in memory twice. Members may come in any order. Unknown members are skipped,
// and of two with one name the last counts. A byte order mark is no fault. A *[SyntaxError] says
// that envelope is no JSON object in UTF-8; another error that it has no data for the trigger, or
// data that the trigger cannot have.
//
// The time is linear in the size of envelope, whatever stands in it.
func Decode(envelope []byte, trigger Binding) (*Event, error) {
	s := &scanner{buf: envelope}
	if err := s.skipBOM(); err != nil {
		return nil, err
	}
	var data, metadata []byte
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "Data":
			data, err = s.rawObject()
		case "Metadata":
			metadata, err = s.rawObject()
		default:
			err = s.skip()
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(envelope) {
		return nil, &SyntaxError{Offset: int64(firstInvalid(envelope)), Want: "UTF-8"}
	}
	raw, ok := find(data, trigger.Name)
	if !ok {
		return nil, fmt.Errorf("decoding the invocation: Data.%s: want the trigger's data, got nothing",
			trigger.Name)
	}
	e := &Event{trigger: trigger, metadata: metadata}
	if e.Body, e.ContentType, err = decode(raw, trigger); err != nil {
		return nil, err
	}
	return e, nil
}

// rawObject returns an object as it is written, without a reader. null is nil.
func (s *scanner) rawObject() ([]byte, error) {
	c, err := s.token("an object")
	if err != nil {
		return nil, err
	}
	from := s.pos
	switch c {
	case 'n':
		return nil, s.skip()
	case '{':
		err = s.skip()
		return s.buf[from:s.pos], err
	}
	return nil, s.fail("an object")
}

func firstInvalid(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// decode undoes the host's rendering of a value, and is the only place that does. An object is the
// value itself. Everything else is JSON written into a JSON text: a text once more, or an array, a
// number and so on. What is no JSON inside is a text that was encoded once: a date, a byte array in
// base64, and the text of extensions that hand the host a finished one (Azure/azure-functions-host,
// ScriptInvocationContextExtensions.cs; recordings F-queue-json, F-queue-array). raw is written
// over.
func decode(raw []byte, trigger Binding) (body []byte, contentType string, err error) {
	if raw[0] != '"' {
		return value(raw, trigger)
	}
	text := unquote(raw)
	if trigger.binary() && !trigger.many() {
		// Four digits are both base64 and a JSON number: the binding decides.
		if quoted(text) && valid(text) {
			text = unquote(text)
		}
		body, err := decodeBase64(text)
		if err != nil {
			return nil, "", fmt.Errorf("decoding the invocation: Data.%s: want base64, "+
				"since dataType is binary: %w", trigger.Name, err)
		}
		return body, typeBinary, nil
	}
	switch {
	case quoted(text) && valid(text):
		text = unquote(text)
		if trigger.many() && startsWith(text, "[") && valid(text) {
			return items(text), typeJSON, nil
		}
	case valid(text):
		return value(text, trigger)
	}
	if startsWith(text, "{[") && valid(text) {
		return text, typeJSON, nil
	}
	return text, typeText, nil
}

// value returns a JSON value that is no text as a body.
func value(raw []byte, trigger Binding) ([]byte, string, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case raw[0] == 'n':
		return nil, "", nil
	case raw[0] == '[' && trigger.many():
		return items(raw), typeJSON, nil
	}
	return raw, typeJSON, nil
}

// items takes the items of a batch that are texts holding a JSON object or array out of their
// quotes: the host writes each message of a batch as a text. Other texts stay texts. array is valid
// JSON, and is written over.
func items(array []byte) []byte {
	s := &scanner{buf: array}
	out := array[:0] // an item never gets longer
	var inner []byte
	_ = s.array(func() error {
		if len(out) == 0 {
			out = append(out, '[')
		} else {
			out = append(out, ',')
		}
		if _, err := s.token("a value"); err != nil {
			return err
		}
		from := s.pos
		if err := s.skip(); err != nil {
			return err
		}
		item := array[from:s.pos]
		if item[0] == '"' {
			// Not in place, since a text that holds anything else stays as it is.
			text := &scanner{buf: item, pos: 1}
			inner, _ = text.text(inner[:0], -1)
			if startsWith(inner, "{[") && valid(inner) {
				item = inner
			}
		}
		out = append(out, item...)
		return nil
	})
	if len(out) == 0 {
		out = append(out, '[')
	}
	return append(out, ']')
}

func quoted(text []byte) bool {
	return len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"'
}

// startsWith reports whether the first byte that is no white space is one of first.
func startsWith(text []byte, first string) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && strings.IndexByte(first, text[0]) >= 0
}
