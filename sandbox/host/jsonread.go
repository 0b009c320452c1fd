package host

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jreader reads one value as Newtonsoft's JsonTextReader: comments, single quotes, bare names, trailing commas, NaN and Infinity, hexadecimal and
// octal numbers, raw line breaks in strings. What stands behind the value is left alone.
type jreader struct {
	s     string
	at    int
	depth int
	most  int // that depth may be; 0 is maxJSONDepth
	dates bool
}

// The depth at which JsonMediaTypeFormatter stops (System.Net.Http.Formatting, FormattingUtilities.DefaultMaxDepth).
const maxJSONDepth = 256

// The depth at which a JsonTextReader stops by itself (Newtonsoft.Json 13, JsonReader.MaxDepth): what JObject.Parse reads, such as a caller's body.
const plainJSONDepth = 64

// parseJSON reads the first value of s. nothing is true for a text without any value (empty, blanks, comments).
func parseJSON(s string, dates bool) (v *jvalue, nothing bool, err error) {
	r := &jreader{s: strings.TrimPrefix(s, "\ufeff"), dates: dates}
	if err := r.blank(); err != nil {
		return nil, false, err
	}
	if r.at >= len(r.s) {
		return nil, true, nil
	}
	v, err = r.value()
	return v, false, err
}

// parseWhole is parseJSON for files: something must be there, and nothing but blanks and comments behind it.
func parseWhole(s string) (*jvalue, error) {
	r := &jreader{s: strings.TrimPrefix(s, "\ufeff")}
	if err := r.blank(); err != nil {
		return nil, err
	}
	if r.at >= len(r.s) {
		return nil, fmt.Errorf("the text is empty")
	}
	v, err := r.value()
	if err != nil {
		return nil, err
	}
	if err := r.blank(); err != nil {
		return nil, err
	}
	if r.at < len(r.s) {
		return nil, r.bad("additional text encountered after finished reading JSON content")
	}
	return v, nil
}

func (r *jreader) bad(what string) error {
	line := 1 + strings.Count(r.s[:min(r.at, len(r.s))], "\n")
	return fmt.Errorf("line %d: %s", line, what)
}

func (r *jreader) peek() byte {
	if r.at < len(r.s) {
		return r.s[r.at]
	}
	return 0
}

// blank skips white space and comments.
func (r *jreader) blank() error {
	for r.at < len(r.s) {
		switch c := r.s[r.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			r.at++
		case c == '/':
			switch rest := r.s[r.at:]; {
			case strings.HasPrefix(rest, "/*"):
				end := strings.Index(rest[2:], "*/")
				if end < 0 {
					return r.bad("unexpected end while parsing comment")
				}
				r.at += end + 4
			case strings.HasPrefix(rest, "//"):
				end := strings.IndexByte(rest, '\n')
				if end < 0 {
					end = len(rest)
				}
				r.at += end
			default:
				return r.bad("error parsing comment")
			}
		case c >= utf8.RuneSelf && strings.HasPrefix(r.s[r.at:], "\u00a0"):
			r.at += 2
		default:
			return nil
		}
	}
	return nil
}

func (r *jreader) value() (*jvalue, error) {
	if err := r.blank(); err != nil {
		return nil, err
	}
	if c := r.peek(); c == '{' || c == '[' {
		if r.depth++; r.depth > cmp.Or(r.most, maxJSONDepth) {
			return nil, r.bad("the reader's MaxDepth has been exceeded")
		}
		defer func() { r.depth-- }()
	}
	switch c := r.peek(); {
	case c == '{':
		return r.object()
	case c == '[':
		return r.array()
	case c == '"' || c == '\'':
		s, err := r.str()
		if err != nil {
			return nil, err
		}
		if r.dates {
			if d, ok := parseDate(s); ok {
				return &jvalue{kind: jdate, s: s, date: d}, nil
			}
		}
		return jtext(s), nil
	case c == '-' || c == '.' || (c >= '0' && c <= '9'):
		return r.number()
	}
	for _, w := range []struct {
		word  string
		value jvalue
	}{
		{"true", jvalue{kind: jbool, b: true}}, {"false", jvalue{kind: jbool}}, {"null", jvalue{}}, {"undefined", jvalue{}},
		{"NaN", jvalue{kind: jfloat, f: math.NaN(), s: "NaN"}}, {"Infinity", jvalue{kind: jfloat, f: math.Inf(1), s: "Infinity"}},
	} {
		if strings.HasPrefix(r.s[r.at:], w.word) && r.separated(r.at+len(w.word)) {
			r.at += len(w.word)
			v := w.value
			return &v, nil
		}
	}
	return nil, r.bad("unexpected character encountered while parsing value: " + r.here())
}

func (r *jreader) here() string {
	c, _ := utf8.DecodeRuneInString(r.s[min(r.at, len(r.s)):])
	return strconv.QuoteRune(c)
}

// separated tells whether a word may end in front of at.
func (r *jreader) separated(at int) bool {
	return at >= len(r.s) || strings.IndexByte(" \t\r\n,]})/", r.s[at]) >= 0
}

func (r *jreader) object() (*jvalue, error) {
	v := &jvalue{kind: jobject}
	r.at++
	for {
		if err := r.blank(); err != nil {
			return nil, err
		}
		if r.peek() == '}' {
			r.at++
			return v, nil
		}
		name, err := r.name()
		if err != nil {
			return nil, err
		}
		if err := r.blank(); err != nil {
			return nil, err
		}
		if r.peek() != ':' {
			return nil, r.bad("invalid character after parsing property name, want ':', got " + r.here())
		}
		r.at++
		member, err := r.value()
		if err != nil {
			return nil, err
		}
		v.set(name, member)
		done, err := r.next('}')
		if err != nil || done {
			return v, err
		}
	}
}

func (r *jreader) array() (*jvalue, error) {
	v := &jvalue{kind: jarray}
	r.at++
	for {
		if err := r.blank(); err != nil {
			return nil, err
		}
		if r.peek() == ']' {
			r.at++
			return v, nil
		}
		item, err := r.value()
		if err != nil {
			return nil, err
		}
		v.items = append(v.items, item)
		done, err := r.next(']')
		if err != nil || done {
			return v, err
		}
	}
}

// next reads what stands between items: a comma, or the end.
func (r *jreader) next(end byte) (bool, error) {
	if err := r.blank(); err != nil {
		return false, err
	}
	switch r.peek() {
	case ',':
		r.at++
		return false, nil
	case end:
		r.at++
		return true, nil
	}
	if r.at >= len(r.s) {
		return false, r.bad("unexpected end of content")
	}
	return false, r.bad("after parsing a value an unexpected character was encountered: " + r.here())
}

func (r *jreader) name() (string, error) {
	if c := r.peek(); c == '"' || c == '\'' {
		return r.str()
	}
	start := r.at
	for r.at < len(r.s) {
		c, size := utf8.DecodeRuneInString(r.s[r.at:])
		if c != '_' && c != '$' && !('a' <= c|0x20 && c|0x20 <= 'z') && !('0' <= c && c <= '9') && c < 0x80 {
			break
		}
		r.at += size
	}
	if r.at == start {
		return "", r.bad("invalid property identifier character: " + r.here())
	}
	return r.s[start:r.at], nil
}

func (r *jreader) str() (string, error) {
	quote := r.s[r.at]
	r.at++
	var b strings.Builder
	var high rune // a first half of a surrogate pair that waits for its second
	flush := func() {
		if high != 0 {
			b.WriteRune(utf8.RuneError)
			high = 0
		}
	}
	for r.at < len(r.s) {
		c := r.s[r.at]
		if c == quote {
			r.at++
			flush()
			return b.String(), nil
		}
		if c != '\\' {
			flush()
			end := r.at
			for end < len(r.s) && r.s[end] != quote && r.s[end] != '\\' {
				end++
			}
			b.WriteString(r.s[r.at:end])
			r.at = end
			continue
		}
		if r.at+1 >= len(r.s) {
			break
		}
		esc := r.s[r.at+1]
		r.at += 2
		if esc == 'u' {
			if r.at+4 > len(r.s) {
				return "", r.bad("unexpected end while parsing Unicode escape sequence")
			}
			n, err := strconv.ParseUint(r.s[r.at:r.at+4], 16, 16)
			if err != nil {
				return "", r.bad("invalid Unicode escape sequence: \\u" + r.s[r.at:r.at+4])
			}
			r.at += 4
			switch u := rune(n); {
			case u >= 0xd800 && u < 0xdc00:
				flush()
				high = u
			case u >= 0xdc00 && u < 0xe000 && high != 0:
				b.WriteRune((high-0xd800)<<10 + (u - 0xdc00) + 0x10000)
				high = 0
			case u >= 0xdc00 && u < 0xe000:
				b.WriteRune(utf8.RuneError)
			default:
				flush()
				b.WriteRune(u)
			}
			continue
		}
		flush()
		at := strings.IndexByte(`bfnrt"'\/`, esc)
		if at < 0 {
			return "", r.bad("bad JSON escape sequence: \\" + string(rune(esc)))
		}
		b.WriteByte("\b\f\n\r\t\"'\\/"[at])
	}
	return "", r.bad("unterminated string")
}

func (r *jreader) number() (*jvalue, error) {
	start := r.at
	if strings.HasPrefix(r.s[r.at:], "-Infinity") {
		r.at += len("-Infinity")
		return &jvalue{kind: jfloat, f: math.Inf(-1), s: "-Infinity"}, nil
	}
	for r.at < len(r.s) && strings.IndexByte("-+0123456789abcdefABCDEFxX.", r.s[r.at]) >= 0 {
		r.at++
	}
	text := r.s[start:r.at]
	if !r.separated(r.at) {
		return nil, r.bad("unexpected character encountered while parsing number: " + r.here())
	}
	digits := text
	base := 10
	if len(text) > 1 && text[0] == '0' && !strings.ContainsAny(text, ".eE") || strings.HasPrefix(strings.ToLower(text), "0x") {
		base, digits = 8, text[1:]
		if digits[0] == 'x' || digits[0] == 'X' {
			base, digits = 16, digits[1:]
		}
	}
	if n, ok := new(big.Int).SetString(digits, base); ok && digits[0] != '+' {
		return &jvalue{kind: jint, n: n, s: text}, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) || strings.ContainsAny(text, "xX+") && !strings.ContainsAny(text, "eE") {
		return nil, r.bad("input string '" + text + "' is not a valid number")
	}
	return &jvalue{kind: jfloat, f: f, s: text}, nil
}
