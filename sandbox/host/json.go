package host

import (
	"strconv"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
)

// The host writes JSON with Newtonsoft.Json. encoding/json writes numbers and dates otherwise.
// Source: JamesNK/Newtonsoft.Json, Src/Newtonsoft.Json/JsonTextWriter.cs.

// invariant is Convert.ToString of a value in the invariant culture: what a number, a bool or a
// date becomes where the host needs a string.
func invariant(v *hostfile.Value) string {
	if v.Scalar() {
		return v.Text()
	}
	return indented(v)
}

// compact writes the value as JToken.ToString(Formatting.None).
func compact(v *hostfile.Value) string {
	var b strings.Builder
	writeJSON(&b, v, "", false)
	return b.String()
}

// indented writes the value as JToken.ToString(): two blanks, \n.
func indented(v *hostfile.Value) string {
	var b strings.Builder
	writeJSON(&b, v, "\n", true)
	return b.String()
}

func writeJSON(b *strings.Builder, v *hostfile.Value, indent string, pretty bool) {
	inner := indent
	if pretty {
		inner += "  "
	}
	switch v.Kind {
	case hostfile.Null:
		b.WriteString("null")
	case hostfile.Bool:
		b.WriteString(strconv.FormatBool(v.Bool))
	case hostfile.Int:
		b.WriteString(v.Int.String())
	case hostfile.Float:
		b.WriteString(jsonDouble(v.Float))
	case hostfile.String:
		writeJSONString(b, v.Str)
	case hostfile.Date:
		b.WriteString(`"` + iso(v.Date) + `"`)
	case hostfile.Array:
		if len(v.Items) == 0 {
			b.WriteString("[]")
			return
		}
		b.WriteByte('[')
		for i, item := range v.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(inner)
			writeJSON(b, item, inner, pretty)
		}
		b.WriteString(indent + "]")
	case hostfile.Object:
		if len(v.Members) == 0 {
			b.WriteString("{}")
			return
		}
		b.WriteByte('{')
		for i, m := range v.Members {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(inner)
			writeJSONString(b, m.Name)
			b.WriteByte(':')
			if pretty {
				b.WriteByte(' ')
			}
			writeJSON(b, m.Value, inner, pretty)
		}
		b.WriteString(indent + "}")
	}
}

// writeJSONString escapes as Newtonsoft's default StringEscapeHandling: control characters, quote,
// backslash, U+0085, U+2028, U+2029, nothing else (recording A-control-characters: U+007F, <, & and
// ' stay).
func writeJSONString(b *strings.Builder, s string) {
	const hex = "0123456789abcdef"
	b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"':
			b.WriteString(`\"`)
		case '\\':
			b.WriteString(`\\`)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case 0x85, 0x2028, 0x2029:
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(hex[(r>>shift)&15])
			}
		default:
			if r < 0x20 {
				b.WriteString(`\u00`)
				b.WriteByte(hex[r>>4])
				b.WriteByte(hex[r&15])
				continue
			}
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

func quoteJSON(s string) string {
	var b strings.Builder
	writeJSONString(&b, s)
	return b.String()
}

// iso is the date as Newtonsoft writes it: no fraction where it is zero, and a zone by Kind.
func iso(d hostfile.DateTime) string {
	out := d.Time.Format("2006-01-02T15:04:05") + ticksFraction(d.Time)
	switch d.Zone {
	case 'Z':
		out += "Z"
	case 'L':
		out += d.Time.Format("-07:00")
	}
	return out
}

// ticksFraction is the fraction of the second in up to seven digits with its point, or nothing.
func ticksFraction(t time.Time) string {
	ticks := t.Nanosecond() / 100
	if ticks == 0 {
		return ""
	}
	return "." + strings.TrimRight(zeroPad(ticks, 7), "0")
}

func zeroPad(n, width int) string {
	s := strconv.Itoa(n)
	for len(s) < width {
		s = "0" + s
	}
	return s
}

func jsonDouble(f float64) string {
	s := hostfile.FormatDouble(f)
	switch s {
	case "Infinity", "-Infinity", "NaN":
		return `"` + s + `"`
	}
	if !strings.ContainsAny(s, ".E") {
		s += ".0"
	}
	return s
}
