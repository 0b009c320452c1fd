package invocation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// SyntaxError says that an invocation is no JSON, or not of the shape that the host sends. It names a place, and never what stands there:
// that is a caller's data.
type SyntaxError struct {
	Offset int64  // bytes from the beginning of what was read
	Want   string // what the place should hold
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("decoding the invocation: at byte %d: want %s", e.Offset, e.Want)
}

// maxDepth bounds the nesting of arrays and objects, as encoding/json does.
const maxDepth = 10_000

// scanner walks over JSON once, from a slice or from a reader through a window, and checks all of its grammar (RFC 8259) on the way, but not
// that it is UTF-8: whoever keeps a text checks that. It keeps nothing by itself. With a nil reader buf is the whole input, and texts may
// be unescaped in place.
//
// encoding/json has no such mode: its Decoder holds each value in full before it hands it out, so that a body of 10 MiB in an envelope
// stands in memory three times.
type scanner struct {
	r     io.Reader
	buf   []byte // window; buf[pos:] is unread
	pos   int
	base  int64 // offset of buf[0] in the input
	stack []byte
	key   []byte // scratch for names
	kept  *[]byte
	from  int // where keeping began in the window
}

func (s *scanner) fail(want string) error {
	return &SyntaxError{Offset: s.base + int64(s.pos), Want: want}
}

// fill moves the window on; io.EOF at the end of the input. Call it with the window used up.
func (s *scanner) fill() error {
	if s.r == nil {
		return io.EOF
	}
	if s.kept != nil {
		*s.kept = append(*s.kept, s.buf[s.from:s.pos]...)
		s.from = 0
	}
	s.base += int64(len(s.buf))
	s.pos = 0
	window := s.buf[:cap(s.buf)]
	s.buf = s.buf[:0]
	for range 100 {
		n, err := s.r.Read(window)
		if n > 0 {
			s.buf = window[:n]
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// next consumes one byte. want says what the end of the input is in place of.
func (s *scanner) next(want string) (byte, error) {
	if s.pos == len(s.buf) {
		if err := s.fill(); err != nil {
			return 0, s.ended(err, want)
		}
	}
	c := s.buf[s.pos]
	s.pos++
	return c, nil
}

func (s *scanner) ended(err error, want string) error {
	if errors.Is(err, io.EOF) {
		return s.fail(want + ", got the end")
	}
	return fmt.Errorf("reading the invocation: after %d bytes: %w", s.base+int64(s.pos), err)
}

// token returns the next byte that is no white space, and leaves it there.
func (s *scanner) token(want string) (byte, error) {
	for {
		for s.pos < len(s.buf) {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\r', '\n':
				s.pos++
			default:
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, s.ended(err, want)
		}
	}
}

// end wants nothing but white space until the end of the input.
func (s *scanner) end() error {
	for {
		for ; s.pos < len(s.buf); s.pos++ {
			switch s.buf[s.pos] {
			case ' ', '\t', '\r', '\n':
			default:
				return s.fail("the end")
			}
		}
		if err := s.fill(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return s.ended(err, "the end")
		}
	}
}

// skipBOM passes a UTF-8 byte order mark, which no JSON has and .NET may write.
func (s *scanner) skipBOM() error {
	for i, want := range []byte("\uFEFF") {
		if s.pos == len(s.buf) {
			if err := s.fill(); err != nil {
				return s.ended(err, "an object")
			}
		}
		if s.buf[s.pos] != want {
			if i > 0 {
				return s.fail("an object")
			}
			return nil
		}
		s.pos++
	}
	return nil
}

// object walks over one object. member is called for each name, which is valid until it returns or walks over another object; it must
// consume the value.
func (s *scanner) object(member func(name []byte) error) error {
	if c, err := s.token("an object"); err != nil {
		return err
	} else if c != '{' {
		return s.fail("an object")
	}
	s.pos++
	c, err := s.token("a name or a closing brace")
	if err != nil {
		return err
	}
	if c == '}' {
		s.pos++
		return nil
	}
	for {
		if c, err = s.token("a name"); err != nil {
			return err
		} else if c != '"' {
			return s.fail("a name")
		}
		s.pos++
		name, err := s.text(s.key[:0], -1)
		if err != nil {
			return err
		}
		s.key = name
		if err := s.colon(); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
		if c, err = s.token("a comma or a closing brace"); err != nil {
			return err
		}
		switch c {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.fail("a comma or a closing brace")
		}
	}
}

// array walks over one array; item must consume the value.
func (s *scanner) array(item func() error) error {
	if c, err := s.token("an array"); err != nil {
		return err
	} else if c != '[' {
		return s.fail("an array")
	}
	s.pos++
	c, err := s.token("a value or a closing bracket")
	if err != nil {
		return err
	}
	if c == ']' {
		s.pos++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if c, err = s.token("a comma or a closing bracket"); err != nil {
			return err
		}
		switch c {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.fail("a comma or a closing bracket")
		}
	}
}

func (s *scanner) colon() error {
	c, err := s.token("a colon")
	if err != nil {
		return err
	}
	if c != ':' {
		return s.fail("a colon")
	}
	s.pos++
	return nil
}

// skip passes one value, whatever it is.
func (s *scanner) skip() error {
	stack := s.stack[:0]
	defer func() { s.stack = stack[:0] }()
value:
	for {
		c, err := s.token("a value")
		if err != nil {
			return err
		}
		switch {
		case c == '"':
			s.pos++
			err = s.skipText()
		case c == '{' || c == '[':
			if len(stack) == maxDepth {
				return s.fail("less nesting")
			}
			s.pos++
			inner, err := s.token("a value or the end of this one")
			if err != nil {
				return err
			}
			if inner == c+2 { // '}' is '{' + 2, ']' is '[' + 2
				s.pos++
				break
			}
			stack = append(stack, c)
			if c == '{' {
				if err := s.skipName(); err != nil {
					return err
				}
			}
			continue value
		case c == '-' || '0' <= c && c <= '9':
			err = s.skipNumber()
		case c == 't':
			err = s.skipWord("true")
		case c == 'f':
			err = s.skipWord("false")
		case c == 'n':
			err = s.skipWord("null")
		default:
			err = s.fail("a value")
		}
		if err != nil {
			return err
		}
		for len(stack) > 0 {
			open := stack[len(stack)-1]
			c, err := s.token("a comma or the end of an object or array")
			if err != nil {
				return err
			}
			switch {
			case c == ',':
				s.pos++
				if open == '{' {
					if err := s.skipName(); err != nil {
						return err
					}
				}
				continue value
			case c == open+2:
				s.pos++
				stack = stack[:len(stack)-1]
			default:
				return s.fail("a comma or the end of an object or array")
			}
		}
		return nil
	}
}

func (s *scanner) skipName() error {
	c, err := s.token("a name")
	if err != nil {
		return err
	}
	if c != '"' {
		return s.fail("a name")
	}
	s.pos++
	if err := s.skipText(); err != nil {
		return err
	}
	return s.colon()
}

func (s *scanner) skipWord(word string) error {
	for i := range len(word) {
		c, err := s.next("the word " + word)
		if err != nil {
			return err
		}
		if c != word[i] {
			s.pos--
			return s.fail("the word " + word)
		}
	}
	return nil
}

// more reports whether another byte follows, for numbers: they alone may end with the input.
func (s *scanner) more() (byte, bool, error) {
	if s.pos == len(s.buf) {
		if err := s.fill(); errors.Is(err, io.EOF) {
			return 0, false, nil
		} else if err != nil {
			return 0, false, s.ended(err, "a number")
		}
	}
	return s.buf[s.pos], true, nil
}

func (s *scanner) digits() error {
	c, err := s.next("a digit")
	if err != nil {
		return err
	}
	if c < '0' || c > '9' {
		s.pos--
		return s.fail("a digit")
	}
	for {
		c, ok, err := s.more()
		if err != nil || !ok || c < '0' || c > '9' {
			return err
		}
		s.pos++
	}
}

func (s *scanner) skipNumber() error {
	if s.buf[s.pos] == '-' {
		s.pos++
	}
	c, ok, err := s.more()
	if err != nil {
		return err
	}
	if ok && c == '0' {
		s.pos++
	} else if err := s.digits(); err != nil {
		return err
	}
	if c, ok, err = s.more(); err != nil || !ok {
		return err
	}
	if c == '.' {
		s.pos++
		if err := s.digits(); err != nil {
			return err
		}
		if c, ok, err = s.more(); err != nil || !ok {
			return err
		}
	}
	if c|0x20 != 'e' {
		return nil
	}
	s.pos++
	if c, ok, err = s.more(); err != nil {
		return err
	}
	if ok && (c == '+' || c == '-') {
		s.pos++
	}
	return s.digits()
}

// special marks, by their highest bit, the first of eight bytes that do not stand for themselves in a JSON text: a quote, a backslash, a
// control character. Behind the first one the subtractions may mark others falsely.
func special(x uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, slash := x^(ones*'"'), x^(ones*'\\')
	return ((x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash) & highs
}

// plain returns how many bytes at the beginning of b stand for themselves in a JSON text.
func plain(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if found := special(binary.LittleEndian.Uint64(b[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// skipText passes a text whose opening quote is behind us.
func (s *scanner) skipText() error {
	for {
		s.pos += plain(s.buf[s.pos:])
		if s.pos == len(s.buf) {
			if err := s.fill(); err != nil {
				return s.ended(err, "a closing quote")
			}
			continue
		}
		c := s.buf[s.pos]
		s.pos++
		switch c {
		case '"':
			return nil
		case '\\':
			if _, err := s.escape(); err != nil {
				return err
			}
		default:
			s.pos--
			return s.fail("an escape instead of a control character")
		}
	}
}

// text unescapes the text whose opening quote is behind us and appends it to dst. Half a surrogate pair becomes U+FFFD. A limit of 0 or
// more bounds the length of the result: past it the error is ErrTooLarge. Without a reader dst may be s.buf[s.pos:s.pos]: an escape is
// never shorter than what it stands for, so that writing never overtakes reading.
func (s *scanner) text(dst []byte, limit int) ([]byte, error) {
	for {
		dst = s.shortRuns(dst)
		n := plain(s.buf[s.pos:])
		if limit >= 0 && len(dst)+n > limit {
			return dst, ErrTooLarge
		}
		dst = append(dst, s.buf[s.pos:s.pos+n]...)
		s.pos += n
		if s.pos == len(s.buf) {
			if err := s.fill(); err != nil {
				return dst, s.ended(err, "a closing quote")
			}
			continue
		}
		c := s.buf[s.pos]
		s.pos++
		switch c {
		case '"':
			return dst, nil
		case '\\':
			r, err := s.escape()
			if err != nil {
				return dst, err
			}
			for utf16.IsSurrogate(r) {
				// The second half decides: a pair, or a lost first half and something new.
				if s.pos == len(s.buf) {
					if err := s.fill(); err != nil {
						return dst, s.ended(err, "a closing quote")
					}
				}
				if s.buf[s.pos] != '\\' {
					r = utf8.RuneError
					break
				}
				s.pos++
				low, err := s.escape()
				if err != nil {
					return dst, err
				}
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					r = pair
					break
				}
				dst = utf8.AppendRune(dst, utf8.RuneError)
				r = low
			}
			dst = utf8.AppendRune(dst, r)
		default:
			s.pos--
			return dst, s.fail("an escape instead of a control character")
		}
	}
}

// shortRuns moves as much of a text as it can without growing dst or reading on, and stops before anything but plain bytes and escapes of
// one letter. It is what makes JSON inside a text, with a quote every few bytes, as fast to read as prose: such runs are too short for a
// call each.
func (s *scanner) shortRuns(dst []byte) []byte {
	out, n := dst[:cap(dst)], len(dst)
	src, pos := s.buf, s.pos
	for pos+8 <= len(src) && n+8 <= len(out) {
		x := binary.LittleEndian.Uint64(src[pos:])
		found := special(x)
		if found == 0 {
			binary.LittleEndian.PutUint64(out[n:], x)
			pos, n = pos+8, n+8
			continue
		}
		// One by one: in place, eight at once would write over what is still unread.
		for range bits.TrailingZeros64(found) / 8 {
			out[n] = src[pos]
			pos, n = pos+1, n+1
		}
		if src[pos] != '\\' || pos+1 == len(src) {
			break
		}
		letter := unescaped[src[pos+1]]
		if letter == 0 {
			break
		}
		out[n] = letter
		pos, n = pos+2, n+1
	}
	s.pos = pos
	return out[:n]
}

// unescaped is what an escape of one letter stands for.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads what follows a backslash.
func (s *scanner) escape() (rune, error) {
	c, err := s.next("an escape")
	if err != nil {
		return 0, err
	}
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return rune(unescaped[c]), nil
	case 'u':
		var r rune
		for range 4 {
			c, err := s.next("a hexadecimal digit")
			if err != nil {
				return 0, err
			}
			switch {
			case '0' <= c && c <= '9':
				c -= '0'
			case 'a' <= c && c <= 'f':
				c -= 'a' - 10
			case 'A' <= c && c <= 'F':
				c -= 'A' - 10
			default:
				s.pos--
				return 0, s.fail("a hexadecimal digit")
			}
			r = r<<4 | rune(c)
		}
		return r, nil
	}
	s.pos--
	return 0, s.fail("an escape")
}

// raw appends one value as it is written to dst.
func (s *scanner) raw(dst []byte) ([]byte, error) {
	if _, err := s.token("a value"); err != nil {
		return dst, err
	}
	s.kept, s.from = &dst, s.pos
	err := s.skip()
	s.kept = nil
	return append(dst, s.buf[s.from:s.pos]...), err
}

// valid reports whether text is exactly one JSON value with white space around it.
func valid(text []byte) bool {
	s := scanner{buf: text}
	return s.skip() == nil && s.end() == nil
}

// unquote unescapes, in place, a JSON text known to be valid, quotes included.
func unquote(quoted []byte) []byte {
	s := scanner{buf: quoted, pos: 1}
	text, _ := s.text(quoted[1:1], -1)
	return text
}
