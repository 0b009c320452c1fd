package observe

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A line is written for each invocation, and by slog's JSON handler that costs more than anything else that is done for a call but to send and receive:
// it has encoding/json write each number with a fraction, and sees to groups and replacements that no line here has. So the kinds of values that these
// lines have are written here, in the same way (TestLinesAreSlogs); a record with any other is slog's.

var linePool = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// appendRecord appends a record as slog's JSON handler writes it, with the line's end. It reports false for one that holds anything unusual.
func appendRecord(b []byte, record slog.Record) (line []byte, ok bool) {
	b = append(b, '{')
	if !record.Time.IsZero() {
		b = append(b, `"time":"`...)
		b = record.Time.Round(0).AppendFormat(b, time.RFC3339Nano)
		b = append(b, `",`...)
	}
	b = append(b, `"level":`...)
	b = appendQuoted(b, record.Level.String())
	b = append(b, `,"msg":`...)
	b = appendQuoted(b, record.Message)
	ok = true
	record.Attrs(func(a slog.Attr) bool {
		b, ok = appendAttr(b, a)
		return ok
	})
	return append(b, "}\n"...), ok
}

// appendAttr appends a comma and the attribute.
func appendAttr(b []byte, a slog.Attr) ([]byte, bool) {
	if a.Key == "" {
		return b, false
	}
	value, start := a.Value.Resolve(), len(b)
	b = append(b, ',')
	b = appendQuoted(b, a.Key)
	b = append(b, ':')
	switch value.Kind() {
	case slog.KindString:
		return appendQuoted(b, value.String()), true
	case slog.KindInt64:
		return strconv.AppendInt(b, value.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(b, value.Uint64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(b, value.Bool()), true
	case slog.KindFloat64:
		f := value.Float64()
		if f != 0 && (f < 1e-6 || f >= 1e21) { // those encoding/json writes in another form, or not at all; negative ones nobody has
			return b, false
		}
		return strconv.AppendFloat(b, f, 'f', -1, 64), f == f
	case slog.KindGroup:
		b = append(b, '{')
		before := len(b)
		for _, member := range value.Group() {
			var ok bool
			if b, ok = appendAttr(b, member); !ok {
				return b, false
			}
		}
		if len(b) == before {
			return b[:start], true // a group of nothing is left out
		}
		b = append(b[:before], b[before+1:]...) // the first comma
		return append(b, '}'), true
	}
	return b, false
}

// appendQuoted appends a JSON text.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendEscaped leaves <, > and & as they are, as slog does, and writes backspaces and form feeds by their numbers.
func appendEscaped(b []byte, s string) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	b = append(b, '"')
	for {
		end := strings.IndexAny(s, "\b\f")
		if end < 0 {
			end = len(s)
		}
		text.Reset()
		_ = encoder.Encode(s[:end]) // a text never fails
		b = append(b, text.Bytes()[1:text.Len()-2]...)
		if end == len(s) {
			return append(b, '"')
		}
		if s[end] == '\b' {
			b = append(b, `\u0008`...)
		} else {
			b = append(b, `\u000c`...)
		}
		s = s[end+1:]
	}
}
