package hostfile

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The depths at which readers stop: JsonMediaTypeFormatter's (System.Net.Http.Formatting,
// FormattingUtilities.DefaultMaxDepth), and a JsonTextReader's own (Newtonsoft.Json 13,
// JsonReader.MaxDepth), which is JObject.Parse's.
const (
	FormatterDepth = 256
	ReaderDepth    = 64
)

// Options say how a text is read. The zero value reads as JObject.Parse does, but leaves dates
// texts.
type Options struct {
	Dates    bool // texts that look like dates become Dates (DateParseHandling.DateTime)
	Depth    int  // of nesting at most; ReaderDepth when 0
	Repeated bool // repeated names of the outermost object all stay, not the last one's value alone
}

// Error is a place in a text that cannot be read, or not be used. It quotes no value.
type Error struct {
	File   string // its path; "" where the text is no file
	Line   int    // from 1
	Member string // its path, such as bindings[0].queueName; "" outside of any
	Cause  string
}

// Error is one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ": ")
	}
	fmt.Fprintf(&b, "line %d: ", e.Line)
	if e.Member != "" {
		b.WriteString(e.Member + ": ")
	}
	b.WriteString(e.Cause)
	return b.String()
}

// errNothing is returned for a text without any value.
var errNothing = errors.New("the text is empty")

// Parse reads a text that is one value and nothing else, as the host reads its files with
// Newtonsoft.Json: comments, trailing commas, single quotes, names without quotes, raw line breaks
// in texts, hexadecimal and octal numbers, NaN and Infinity, any Unicode white space and a byte
// order mark are fine. Its errors are *Error. Source: JamesNK/Newtonsoft.Json,
// Src/Newtonsoft.Json/JsonTextReader.cs.
func Parse(text string, o Options) (*Value, error) {
	r := newReader(text, o)
	v, err := r.first()
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, r.bad(errNothing.Error())
	}
	if err := r.blank(); err != nil {
		return nil, err
	}
	if r.at < len(r.s) {
		return nil, r.bad("want nothing behind the end of the JSON text")
	}
	return v, nil
}

// ParseFirst reads the first value of a text and leaves alone what stands behind it. The value is
// nil where there is none: the text is empty, blank or all comments. Its errors are *Error.
func ParseFirst(text string, o Options) (*Value, error) { return newReader(text, o).first() }

type reader struct {
	s       string
	at      int
	o       Options
	depth   int
	path    []string // of the value that is read: names, and [n] for items
	line    int      // of counted
	counted int
}

func newReader(text string, o Options) *reader {
	return &reader{s: strings.TrimPrefix(text, "\ufeff"), o: o, line: 1}
}

func (r *reader) first() (*Value, error) {
	if err := r.blank(); err != nil || r.at >= len(r.s) {
		return nil, err
	}
	return r.value()
}

// lineHere is the line of the reader's place. A line ends with \n, \r\n or \r.
func (r *reader) lineHere() int {
	for ; r.counted < min(r.at, len(r.s)); r.counted++ {
		switch r.s[r.counted] {
		case '\n':
			r.line++
		case '\r':
			if r.counted+1 >= len(r.s) || r.s[r.counted+1] != '\n' {
				r.line++
			}
		}
	}
	return r.line
}

func (r *reader) bad(cause string) error {
	return &Error{Line: r.lineHere(), Member: pathText(r.path), Cause: cause}
}

func pathText(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if i > 0 && !strings.HasPrefix(p, "[") {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

func (r *reader) peek() byte {
	if r.at < len(r.s) {
		return r.s[r.at]
	}
	return 0
}

// white skips white space.
func (r *reader) white() {
	for r.at < len(r.s) {
		c, size := utf8.DecodeRuneInString(r.s[r.at:])
		if !unicode.IsSpace(c) {
			return
		}
		r.at += size
	}
}

// blank skips white space and comments.
func (r *reader) blank() error {
	for {
		r.white()
		if r.peek() != '/' {
			return nil
		}
		switch rest := r.s[r.at:]; {
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return r.bad("want */ at the end of the comment")
			}
			r.at += end + 4
		case strings.HasPrefix(rest, "//"):
			end := strings.IndexAny(rest, "\r\n")
			if end < 0 {
				end = len(rest)
			}
			r.at += end
		default:
			return r.bad("want // or /* at the beginning of a comment")
		}
	}
}

// words are the values that are neither in quotes nor numbers.
var words = []struct {
	word  string
	value Value
}{
	{"true", Value{Kind: Bool, Bool: true}},
	{"false", Value{Kind: Bool}},
	{"null", Value{}},
	{"undefined", Value{}},
	{"NaN", Value{Kind: Float, Float: math.NaN(), Str: "NaN"}},
	{"Infinity", Value{Kind: Float, Float: math.Inf(1), Str: "Infinity"}},
	{"-Infinity", Value{Kind: Float, Float: math.Inf(-1), Str: "-Infinity"}},
}

func (r *reader) value() (*Value, error) {
	if err := r.blank(); err != nil {
		return nil, err
	}
	line := r.lineHere()
	v, err := r.valueHere()
	if err != nil {
		return nil, err
	}
	v.Line = line
	return v, nil
}

func (r *reader) valueHere() (*Value, error) {
	c := r.peek()
	if c == '{' || c == '[' {
		if r.depth++; r.depth > cmp.Or(r.o.Depth, ReaderDepth) {
			return nil, r.bad(fmt.Sprintf("want no more than %d objects and arrays within each other",
				cmp.Or(r.o.Depth, ReaderDepth)))
		}
		defer func() { r.depth-- }()
		if c == '{' {
			return r.object()
		}
		return r.array()
	}
	if c == '"' || c == '\'' {
		s, err := r.text()
		if err != nil {
			return nil, err
		}
		if r.o.Dates {
			if d, ok := parseDate(s); ok {
				return &Value{Kind: Date, Str: s, Date: d}, nil
			}
		}
		return Text(s), nil
	}
	for _, w := range words {
		if strings.HasPrefix(r.s[r.at:], w.word) && r.separated(r.at+len(w.word)) {
			r.at += len(w.word)
			v := w.value
			return &v, nil
		}
	}
	switch {
	case c == '-' || c == '.' || '0' <= c && c <= '9':
		return r.number()
	case r.at >= len(r.s):
		return nil, r.bad("want a value, got the end of the text")
	}
	return nil, r.bad("want a value: a text in quotes, a number, true, false, null, an object " +
		"or an array")
}

// separated reports whether a word or a number may end in front of at.
func (r *reader) separated(at int) bool {
	if at >= len(r.s) {
		return true
	}
	c, _ := utf8.DecodeRuneInString(r.s[at:])
	return unicode.IsSpace(c) || strings.ContainsRune(",]})/", c)
}

func (r *reader) object() (*Value, error) {
	v := &Value{Kind: Object}
	keep := r.o.Repeated && r.depth == 1
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
		r.white() // no comment may stand here
		if r.peek() != ':' {
			if r.missingColon() && printable(name) {
				r.path = append(r.path, name)
			}
			return nil, r.bad("want a colon behind the name")
		}
		r.at++
		r.path = append(r.path, shown(name))
		member, err := r.value()
		if err != nil {
			return nil, err
		}
		if keep {
			v.Members = append(v.Members, Member{name, member})
		} else {
			v.Set(name, member)
		}
		done, err := r.next('}')
		if err != nil || done {
			return v, err
		}
		r.path = r.path[:len(r.path)-1]
	}
}

// missingColon reports whether the text that was read is a name whose colon alone is missing, and
// no value that stands in a name's place, which an error must not show: behind a name comes a
// value, and behind that no colon.
func (r *reader) missingColon() bool {
	look := *r
	look.path = nil
	if look.peek() == '=' {
		look.at++
	}
	if _, err := look.value(); err != nil {
		return false
	}
	look.white()
	return look.peek() != ':'
}

// printable reports whether a name looks like one: a value in its place, say a key, mostly does
// not.
func printable(name string) bool {
	return len(name) > 0 && len(name) <= 128 && !strings.ContainsFunc(name, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_-.:$@ ", c)
	})
}

// shown is a name in an error's path.
func shown(name string) string {
	if printable(name) {
		return name
	}
	return "?"
}

func (r *reader) array() (*Value, error) {
	v := &Value{Kind: Array}
	r.at++
	for {
		if err := r.blank(); err != nil {
			return nil, err
		}
		if r.peek() == ']' {
			r.at++
			return v, nil
		}
		r.path = append(r.path, "["+strconv.Itoa(len(v.Items))+"]")
		item, err := r.value()
		if err != nil {
			return nil, err
		}
		v.Items = append(v.Items, item)
		done, err := r.next(']')
		if err != nil || done {
			return v, err
		}
		r.path = r.path[:len(r.path)-1]
	}
}

// next reads what stands behind a member or an item: a comma, or the end, with which its name
// leaves the path.
func (r *reader) next(end byte) (bool, error) {
	if err := r.blank(); err != nil {
		return false, err
	}
	switch r.peek() {
	case ',':
		r.at++
		return false, nil
	case end:
		r.at++
		r.path = r.path[:len(r.path)-1]
		return true, nil
	}
	got := ""
	if r.at >= len(r.s) {
		got = ", got the end of the text"
	}
	return false, r.bad(fmt.Sprintf("want a comma or %c behind the value%s", end, got))
}

func (r *reader) name() (string, error) {
	if c := r.peek(); c == '"' || c == '\'' {
		return r.text()
	}
	start := r.at
	for r.at < len(r.s) {
		c, size := utf8.DecodeRuneInString(r.s[r.at:])
		if c != '_' && c != '$' && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			break
		}
		r.at += size
	}
	if r.at == start {
		if r.at >= len(r.s) {
			return "", r.bad("want a name or }, got the end of the text")
		}
		return "", r.bad("want a name or }")
	}
	return r.s[start:r.at], nil
}

// text reads a text in quotes of either kind.
func (r *reader) text() (string, error) {
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
			if b.Len() == 0 && end < len(r.s) && r.s[end] == quote { // nearly every text
				s := r.s[r.at:end]
				r.at = end + 1
				return s, nil
			}
			b.WriteString(r.s[r.at:end])
			r.at = end
			continue
		}
		if r.at+1 >= len(r.s) {
			break
		}
		escape := r.s[r.at+1]
		r.at += 2
		if escape == 'u' {
			if r.at+4 > len(r.s) {
				return "", r.bad(`want four hexadecimal digits behind \u`)
			}
			n, err := strconv.ParseUint(r.s[r.at:r.at+4], 16, 16)
			if err != nil {
				return "", r.bad(`want four hexadecimal digits behind \u`)
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
		i := strings.IndexByte(`bfnrt"'\/`, escape)
		if i < 0 {
			return "", r.bad(`want one of b f n r t u " ' \ / behind the \ of an escape`)
		}
		b.WriteByte("\b\f\n\r\t\"'\\/"[i])
	}
	return "", r.bad("want a quote at the end of the text that begins here or above")
}

func (r *reader) number() (*Value, error) {
	start := r.at
	for r.at < len(r.s) && strings.IndexByte("-+0123456789abcdefABCDEFxX.", r.s[r.at]) >= 0 {
		r.at++
	}
	text := r.s[start:r.at]
	bad := func() (*Value, error) {
		return nil, r.bad("want a number, got something else that begins like one")
	}
	if !r.separated(r.at) {
		return bad()
	}
	digits, base := text, 10
	if len(text) > 1 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X') {
		base, digits = 16, text[2:]
	} else if len(text) > 1 && text[0] == '0' && !strings.ContainsAny(text, ".eE") {
		base, digits = 8, text[1:]
	}
	signed := digits != "" && (digits[0] == '+' || digits[0] == '-' && base != 10)
	if n, ok := new(big.Int).SetString(digits, base); ok && !signed {
		return &Value{Kind: Int, Int: n, Str: text}, nil
	}
	if base != 10 || strings.ContainsAny(text, "xX") || text[0] == '+' {
		return bad()
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return bad()
	}
	return &Value{Kind: Float, Float: f, Str: text}, nil
}
