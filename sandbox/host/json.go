package host

import (
	"math/big"
	"strconv"
	"strings"
	"time"
)

// The host reads every JSON text with Newtonsoft.Json, whose reader takes far more than JSON and changes some of it: strings that look like ISO
// dates become dates, numbers are read into long, BigInteger or double. encoding/json keeps neither the order of keys nor any of that.
// Sources: JamesNK/Newtonsoft.Json Src/Newtonsoft.Json/{JsonTextReader,JsonTextWriter,Utilities/DateTimeUtils,Utilities/DateTimeParser}.cs.

type jkind int

const (
	jnull jkind = iota
	jbool
	jint
	jfloat
	jstring
	jdate
	jarray
	jobject
)

// jvalue is a JToken.
type jvalue struct {
	kind    jkind
	b       bool
	n       *big.Int
	f       float64
	s       string // string: the text; date: the text as written, for readers that want a string; number: the digits as written
	date    jtime
	items   []*jvalue
	members []jmember
}

type jmember struct {
	name  string
	value *jvalue
}

// jtime is a DateTime: the moment, and what Kind its writer makes of it.
type jtime struct {
	t    time.Time
	zone byte // 'Z' UTC, 'L' local (the text had an offset), 0 unspecified
}

func jtext(s string) *jvalue { return &jvalue{kind: jstring, s: s} }

// get finds a member by its exact name.
func (v *jvalue) get(name string) *jvalue {
	if v == nil || v.kind != jobject {
		return nil
	}
	for i := range v.members {
		if v.members[i].name == name {
			return v.members[i].value
		}
	}
	return nil
}

// fold finds a member ignoring case; an exact name wins, as where Newtonsoft fills an object's properties.
func (v *jvalue) fold(name string) *jvalue {
	if got := v.get(name); got != nil {
		return got
	}
	if v == nil || v.kind != jobject {
		return nil
	}
	for i := range v.members {
		if strings.EqualFold(v.members[i].name, name) {
			return v.members[i].value
		}
	}
	return nil
}

// set puts a member; a name that exists keeps its place, as in a JObject.
func (v *jvalue) set(name string, value *jvalue) {
	for i := range v.members {
		if v.members[i].name == name {
			v.members[i].value = value
			return
		}
	}
	v.members = append(v.members, jmember{name, value})
}

// text is Convert.ToString of the value in the invariant culture: what a number, a bool or a date becomes where the host needs a string.
func (v *jvalue) text() string {
	switch v.kind {
	case jbool:
		if v.b {
			return "True"
		}
		return "False"
	case jint:
		return v.n.String()
	case jfloat:
		return formatDouble(v.f)
	case jstring:
		return v.s
	case jdate:
		return v.date.t.Format("01/02/2006 15:04:05")
	case jarray, jobject:
		return v.indented()
	}
	return ""
}

// raw is the value as a reader that asks for a string sees it: dates and numbers as written.
func (v *jvalue) raw() string {
	switch v.kind {
	case jdate, jint, jfloat:
		return v.s
	case jbool:
		return strconv.FormatBool(v.b)
	}
	return v.text()
}

func (v *jvalue) scalar() bool { return v.kind != jarray && v.kind != jobject }

// compact writes the value as JToken.ToString(Formatting.None).
func (v *jvalue) compact() string {
	var b strings.Builder
	v.write(&b, "", false)
	return b.String()
}

// indented writes the value as JToken.ToString(): two blanks, \n.
func (v *jvalue) indented() string {
	var b strings.Builder
	v.write(&b, "\n", true)
	return b.String()
}

func (v *jvalue) write(b *strings.Builder, indent string, pretty bool) {
	inner := indent
	if pretty {
		inner += "  "
	}
	switch v.kind {
	case jnull:
		b.WriteString("null")
	case jbool:
		b.WriteString(strconv.FormatBool(v.b))
	case jint:
		b.WriteString(v.n.String())
	case jfloat:
		b.WriteString(jsonDouble(v.f))
	case jstring:
		writeJSONString(b, v.s)
	case jdate:
		b.WriteString(`"` + v.date.iso() + `"`)
	case jarray:
		if len(v.items) == 0 {
			b.WriteString("[]")
			return
		}
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(inner)
			item.write(b, inner, pretty)
		}
		b.WriteString(indent + "]")
	case jobject:
		if len(v.members) == 0 {
			b.WriteString("{}")
			return
		}
		b.WriteByte('{')
		for i, m := range v.members {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(inner)
			writeJSONString(b, m.name)
			b.WriteByte(':')
			if pretty {
				b.WriteByte(' ')
			}
			m.value.write(b, inner, pretty)
		}
		b.WriteString(indent + "}")
	}
}

// writeJSONString escapes as Newtonsoft's default StringEscapeHandling: control characters, quote, backslash, U+0085, U+2028, U+2029, nothing else
// (recording A-control-characters: U+007F, <, & and ' stay).
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
func (d jtime) iso() string {
	out := d.t.Format("2006-01-02T15:04:05") + ticksFraction(d.t)
	switch d.zone {
	case 'Z':
		out += "Z"
	case 'L':
		out += d.t.Format("-07:00")
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

// formatDouble is double.ToString(InvariantCulture) of .NET Core 3.0 and later: the shortest text that reads back the same, with an exponent from
// 1E+15 on and below 1E-05.
func formatDouble(f float64) string {
	if f > 1.7976931348623157e308 {
		return "Infinity"
	}
	if f < -1.7976931348623157e308 {
		return "-Infinity"
	}
	if f != f {
		return "NaN"
	}
	if f == 0 {
		if strconv.FormatFloat(f, 'g', -1, 64)[0] == '-' {
			return "-0"
		}
		return "0"
	}
	e := strconv.FormatFloat(f, 'E', -1, 64)
	mantissa, exponent, _ := strings.Cut(e, "E")
	exp, _ := strconv.Atoi(exponent)
	if exp >= 15 || exp < -5 {
		sign := "+"
		if exp < 0 {
			sign, exp = "-", -exp
		}
		return mantissa + "E" + sign + zeroPad(exp, 2)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

func jsonDouble(f float64) string {
	s := formatDouble(f)
	switch s {
	case "Infinity", "-Infinity", "NaN":
		return `"` + s + `"`
	}
	if !strings.ContainsAny(s, ".E") {
		s += ".0"
	}
	return s
}

// parseDate reads a text as Newtonsoft's DateParseHandling.DateTime does; ok is false for everything that stays a string.
func parseDate(s string) (jtime, bool) {
	if strings.HasPrefix(s, "/Date(") && strings.HasSuffix(s, ")/") {
		digits := s[6 : len(s)-2]
		zone := byte('Z')
		if at := strings.LastIndexAny(digits, "+-"); at > 0 {
			digits, zone = digits[:at], 'L'
		}
		ms, err := strconv.ParseInt(digits, 10, 64)
		return jtime{time.UnixMilli(ms).UTC(), zone}, err == nil
	}
	if len(s) < 19 || len(s) > 40 || s[0] < '0' || s[0] > '9' || s[10] != 'T' {
		return jtime{}, false
	}
	t, err := time.Parse("2006-01-02T15:04:05", s[:19])
	if err != nil {
		return jtime{}, false
	}
	rest := s[19:]
	if strings.HasPrefix(rest, ".") {
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 1 || n > 8 {
			return jtime{}, false
		}
		ticks, _ := strconv.Atoi((rest[1:n] + "0000000")[:7])
		t, rest = t.Add(time.Duration(ticks)*100), rest[n:]
	}
	switch {
	case rest == "":
		return jtime{t, 0}, true
	case rest == "Z" || rest == "z":
		return jtime{t, 'Z'}, rest == "Z"
	}
	for _, layout := range []string{"-07:00", "-0700", "-07"} {
		if z, err := time.Parse(layout, rest); err == nil {
			_, offset := z.Zone()
			return jtime{t.Add(-time.Duration(offset) * time.Second), 'L'}, true
		}
	}
	return jtime{}, false
}
