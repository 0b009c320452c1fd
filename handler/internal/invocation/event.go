package invocation

import (
	"bytes"
	"fmt"
	"strings"
)

// Content types of an event's body.
const (
	typeJSON   = "application/json"
	typeText   = "text/plain; charset=utf-8"
	typeBinary = "application/octet-stream"
)

// Binding is what function.json says about a function's trigger. Type is compared ignoring case, Name is the member of Data.
type Binding struct {
	Type, Name, DataType, Cardinality string
}

func (b Binding) is(triggerType string) bool { return strings.EqualFold(b.Type, triggerType) }

// many reports whether the host hands over several events at once: by function.json, else by the default of the trigger
// (learn.microsoft.com, Azure Functions triggers: many for Event Hubs, one for Service Bus and Kafka).
func (b Binding) many() bool {
	if b.Cardinality == "" {
		return b.is("eventHubTrigger")
	}
	return strings.EqualFold(b.Cardinality, "many")
}

func (b Binding) binary() bool { return strings.EqualFold(b.DataType, "binary") }

// Event is what a trigger other than HTTP brings: the trigger's data as a body, and values for the expressions of a URL.
type Event struct {
	// Body is the data with the host's encoding undone: a JSON object or array as it is, text as text, bytes as bytes. Several events at
	// once are one JSON array. nil where the data is null.
	Body        []byte
	ContentType string // application/json, text/plain; charset=utf-8 or application/octet-stream; "" without a body

	call    *Call
	trigger Binding
}

// Event returns what the trigger brought. The result is the same at each call for one binding name.
func (c *Call) Event(trigger Binding) (*Event, error) {
	if done, ok := c.events[trigger.Name]; ok {
		return done.event, done.err
	}
	raw, ok := find(c.data, trigger.Name)
	var result eventResult
	if ok {
		result.event = &Event{call: c, trigger: trigger}
		result.event.Body, result.event.ContentType, result.err = decode(raw, trigger)
		if result.err != nil {
			result.event = nil
		}
	} else {
		result.err = fmt.Errorf("decoding the invocation: Data.%s: want the trigger's data, got nothing", trigger.Name)
	}
	if c.events == nil {
		c.events = make(map[string]eventResult, 1)
	}
	c.events[trigger.Name] = result
	return result.event, result.err
}

// decode undoes the host's rendering of a value, and is the only place that does. An object is the value. Everything else is JSON written
// into a JSON text: a text once more, or an array, a number and so on. What is no JSON inside is a text that was encoded once: a date, a
// byte array in base64, and the text of extensions that hand the host a finished one
// (Azure/azure-functions-host, ScriptInvocationContextExtensions.cs; recordings F-queue-json, F-queue-array). raw is written over.
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
			return nil, "", fmt.Errorf("decoding the invocation: Data.%s: want base64, since dataType is binary: %w", trigger.Name, err)
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

// items takes the items of a batch that are texts holding a JSON object or array out of their quotes, in place: the host writes messages
// of several at once as texts. Other texts stay texts. array is valid JSON.
func items(array []byte) []byte {
	s := &scanner{buf: array}
	out := array[:0]
	var scratch []byte
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
			// Not in place: only what is valid inside replaces the quoted form.
			inner := &scanner{buf: item, pos: 1}
			scratch, _ = inner.text(scratch[:0], -1)
			if startsWith(scratch, "{[") && valid(scratch) {
				item = scratch
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
