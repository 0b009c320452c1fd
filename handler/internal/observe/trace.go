package observe

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"
)

// Trace is one span's place in a distributed trace, as W3C Trace Context has it (https://www.w3.org/TR/trace-context/). The zero Trace is
// no trace. A Trace is a value: copies are independent and safe to use anywhere.
type Trace struct {
	TraceID [16]byte // the same for all spans of a trace
	SpanID  [8]byte  // this span; what is called by it sees it as its parent
	Parent  [8]byte  // span that came in; zero where this one begins the trace
	Flags   byte     // trace-flags: 1 sampled, 2 random trace id
	State   string   // tracestate as it came in, several lines joined; "" where there was none or a broken one
}

const (
	flagSampled = 0x01
	flagRandom  = 0x02
)

// Continue returns a new span below the one that the header names. Where the header holds no valid traceparent, or more than one, ok is
// false and nothing else of the header counts either, as the specification asks.
func Continue(header http.Header) (t Trace, ok bool) {
	lines := header["Traceparent"]
	if len(lines) != 1 {
		return Trace{}, false
	}
	if t, ok = ParseTraceparent(lines[0]); !ok {
		return Trace{}, false
	}
	t.State = ParseTracestate(header["Tracestate"])
	t.Parent = t.SpanID
	t.SpanID = newSpanID()
	return t, true
}

// NewTrace begins a trace. It is not marked as sampled: that is the specification's default for a component that records nothing itself
// (section 3.2.2.5.1.1); export marks the traces that it records. The ids are random enough to be unique, and no secret.
func NewTrace() Trace {
	t := Trace{Flags: flagRandom, SpanID: newSpanID()}
	for t.TraceID == ([16]byte{}) {
		put64(t.TraceID[:8], rand.Uint64())
		put64(t.TraceID[8:], rand.Uint64())
	}
	return t
}

// Child returns a new span below t, for instance one attempt of a call.
func (t Trace) Child() Trace {
	t.Parent, t.SpanID = t.SpanID, newSpanID()
	return t
}

// Valid reports whether t can be written as a traceparent.
func (t Trace) Valid() bool { return t.TraceID != [16]byte{} && t.SpanID != [8]byte{} }

// Inject replaces traceparent and tracestate of a request that t makes; baggage and other headers are not touched. An invalid Trace leaves
// the header alone.
func (t Trace) Inject(header http.Header) {
	if !t.Valid() {
		return
	}
	header["Traceparent"] = []string{t.Traceparent()}
	if t.State != "" {
		header["Tracestate"] = []string{t.State}
	} else {
		delete(header, "Tracestate")
	}
}

// Traceparent returns the header's value, version 00. Flags that version does not know are not passed on.
func (t Trace) Traceparent() string {
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, t.TraceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, t.SpanID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, []byte{t.Flags & (flagSampled | flagRandom)})
	return string(b)
}

// TraceIDString returns the id as logs and queries write it: 32 lower-case hexadecimal digits.
func (t Trace) TraceIDString() string { return hex.EncodeToString(t.TraceID[:]) }

// ParseTraceparent reads the value of one traceparent header: version 00 exactly, later versions by their first four fields (W3C Trace
// Context, sections 3.2 and 4.3). Version ff, capitals, ids of zeros and any other length are invalid.
func ParseTraceparent(value string) (t Trace, ok bool) {
	if len(value) < 55 || value[2] != '-' || value[35] != '-' || value[52] != '-' {
		return Trace{}, false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], value[:2]) || !lowerHex(t.TraceID[:], value[3:35]) || !lowerHex(t.SpanID[:], value[36:52]) ||
		!lowerHex(flags[:], value[53:55]) || version[0] == 0xff || !t.Valid() {
		return Trace{}, false
	}
	if len(value) > 55 && (version[0] == 0 || value[55] != '-') {
		return Trace{}, false
	}
	t.Flags = flags[0] & (flagSampled | flagRandom)
	return t, true
}

func lowerHex(dst []byte, src string) bool {
	for i := range dst {
		hi, lo := nibble(src[2*i]), nibble(src[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// ParseTracestate joins the lines of a tracestate header and checks them against the specification's grammar (section 3.3): at most 32
// members, keys and values of the letters and lengths allowed, no key twice. A list that breaks it is discarded as a whole, "" is
// returned, and the traceparent stays good.
func ParseTracestate(lines []string) string {
	var list string
	switch len(lines) {
	case 0:
		return ""
	case 1:
		list = lines[0]
	default:
		list = strings.Join(lines, ",")
	}
	var keys [32]string
	n := 0
	for rest, more := list, true; more; {
		var member string
		member, rest, more = strings.Cut(rest, ",")
		if member = strings.Trim(member, " \t"); member == "" {
			continue
		}
		key, value, found := strings.Cut(member, "=")
		if !found || n == len(keys) || !validKey(key) || !validValue(value) {
			return ""
		}
		for _, k := range keys[:n] {
			if k == key {
				return ""
			}
		}
		keys[n] = key
		n++
	}
	if n == 0 {
		return ""
	}
	return strings.Trim(list, " \t")
}

func validKey(key string) bool {
	tenant, system, multi := strings.Cut(key, "@")
	if !multi {
		return len(key) <= 256 && key != "" && lower(key[0]) && keyChars(key)
	}
	return tenant != "" && len(tenant) <= 241 && (lower(tenant[0]) || digit(tenant[0])) && keyChars(tenant) &&
		system != "" && len(system) <= 14 && lower(system[0]) && keyChars(system)
}

func lower(c byte) bool { return 'a' <= c && c <= 'z' }
func digit(c byte) bool { return '0' <= c && c <= '9' }

func keyChars(s string) bool {
	for i := range len(s) {
		if c := s[i]; !lower(c) && !digit(c) && c != '_' && c != '-' && c != '*' && c != '/' {
			return false
		}
	}
	return true
}

// validValue wants printable ASCII without comma and equals sign, at most 256 characters; blanks around it were cut as the list's own.
func validValue(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == ',' || c == '=' {
			return false
		}
	}
	return true
}

func newSpanID() (id [8]byte) {
	for id == ([8]byte{}) {
		put64(id[:], rand.Uint64())
	}
	return id
}

func put64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (56 - 8*i))
	}
}
