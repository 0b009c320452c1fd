// Package secret holds the one type for values that must never be seen: subscription keys, client secrets, the identity header.
//
// It is a package of its own, below settings, because relay and identity hold such values too and settings reads both of theirs.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// String is a text that every way of printing shows as REDACTED: fmt's verbs, encoding/json, log/slog and text marshalling.
// The zero value is the empty secret. Reveal is the only way to the text, so that a search for it finds every use.
// It cannot be compared with ==; compare what Reveal returns.
type String struct {
	// A pointer, because fmt reads unexported fields of a foreign struct by reflection, past every method: it then prints an address.
	text *string
	_    [0]func()
}

// New wraps text.
func New(text string) String { return String{text: &text} }

// Reveal returns the text itself. Hand it to a request header or a credential, never to a message.
func (s String) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty tells whether there is nothing to hide.
func (s String) Empty() bool { return s.Reveal() == "" }

const redacted = "REDACTED"

// String implements fmt.Stringer.
func (String) String() string { return redacted }

// Format implements fmt.Formatter, so that no verb reaches the field: %d would print it past String and GoString.
func (String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (String) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (String) LogValue() slog.Value { return slog.StringValue(redacted) }
