package invocation

import (
	"errors"
	"fmt"
	"io"
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
	if len(s.buf)-s.pos >= len(word) && string(s.buf[s.pos:s.pos+len(word)]) == word {
		s.pos += len(word)
		return nil
	}
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
