package invocation

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// RefusedOutput is the name of the output binding that gets events which no repetition can make
// succeed. The host ignores the case of a binding's name.
const RefusedOutput = "refused"

// Refusal is why an event will never succeed.
type Refusal struct {
	Function   string
	Invocation string // the host's id
	At         time.Time
	Status     int    // of the backend's answer; 0 = none came
	Code       string // of our own problem; "" = the backend answered
	Reason     string // for people
}

// refused is the object in the output. Its members are stable: programs read them.
type refused struct {
	Function   string                     `json:"function"`
	Invocation string                     `json:"invocation,omitempty"`
	At         time.Time                  `json:"at"`
	Status     int                        `json:"status,omitempty"`
	Code       string                     `json:"code,omitempty"`
	Reason     string                     `json:"reason"`
	Deliveries int                        `json:"deliveries,omitempty"`
	Event      map[string]json.RawMessage `json:"event,omitempty"`
	Data       json.RawMessage            `json:"data,omitempty"`
	DataBase64 []byte                     `json:"dataBase64,omitempty"`
}

// Refused returns the object that stands in the output named refused: JSON in UTF-8 on one line,
// with the event's data so that it can be sent again. Text stands in data as a text, JSON as JSON, a
// batch as an array, and bytes stand in dataBase64.
func (e *Event) Refused(r Refusal) []byte {
	out := refused{
		Function: r.Function, Invocation: r.Invocation, At: r.At.UTC(), Status: r.Status, Code: r.Code,
		Reason: r.Reason, Deliveries: e.deliveries(),
	}
	for _, id := range e.ids() {
		if out.Event == nil {
			out.Event = map[string]json.RawMessage{}
		}
		out.Event[id.name] = plainJSON(id.value)
	}
	switch e.ContentType {
	case "":
	case typeJSON:
		out.Data = e.Body
	case typeText:
		out.Data = quote(string(e.Body))
	default:
		out.DataBase64 = e.Body
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		// Only data that is no JSON could do that, and Decode has checked it.
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// plainJSON is a value of metadata without the host's second encoding: a JSON value, or a text.
func plainJSON(value string) json.RawMessage {
	var text string
	if json.Unmarshal([]byte(value), &text) == nil {
		value = text // an array or object that stands in a text
	}
	if json.Valid([]byte(value)) {
		return json.RawMessage(value)
	}
	return quote(value)
}

func quote(text string) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // cannot fail: a text
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// deliveries is how often the event was delivered, this time included; 0 where the host does not
// tell.
func (e *Event) deliveries() int {
	for _, name := range []string{"DequeueCount", "DeliveryCount"} {
		if raw, ok := find(e.metadata, name); ok {
			text, _ := decodeValue(raw)
			if n, err := strconv.Atoi(text); err == nil && n > 0 {
				return n
			}
		}
	}
	if raw, ok := find(e.metadata, "RetryContext"); ok {
		text, _ := dig(raw, "RetryCount")
		if n, err := strconv.Atoi(text); err == nil && n >= 0 {
			return n + 1
		}
	}
	return 0
}

// longestReason bounds a reason, in bytes.
const longestReason = 1 << 10

// Reason is what an answer's body says about a refusal: the text that a JSON object gives as
// message, detail or title, otherwise the first KiB of the body. What is no UTF-8 becomes U+FFFD.
func Reason(body []byte) string {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) == nil {
		for _, name := range []string{"message", "detail", "title"} {
			var text string
			if json.Unmarshal(object[name], &text) == nil && strings.TrimSpace(text) != "" {
				return shorten(text)
			}
		}
	}
	return shorten(strings.TrimSpace(string(body)))
}

// shorten cuts a text between two characters.
func shorten(text string) string {
	if len(text) > longestReason {
		end := longestReason
		for end > longestReason-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
