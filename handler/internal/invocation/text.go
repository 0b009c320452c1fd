package invocation

import (
	"unicode/utf16"
	"unicode/utf8"
)

// plainByte tells which bytes stand for themselves in a JSON text: all but a quote, a backslash and
// control characters.
var plainByte = func() (table [256]bool) {
	for c := range table {
		table[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return table
}()

// plain returns how many bytes at the beginning of b stand for themselves in a JSON text.
func plain(b []byte) int {
	for i, c := range b {
		if !plainByte[c] {
			return i
		}
	}
	return len(b)
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

// text unescapes the text whose opening quote is behind us and appends it to dst. Half a surrogate
// pair becomes U+FFFD. A limit of 0 or more bounds the length of the result: past it the error is
// ErrTooLarge. Without a reader dst may be s.buf[s.pos:s.pos]: an escape is never shorter than what
// it stands for, so that writing never overtakes reading.
func (s *scanner) text(dst []byte, limit int) ([]byte, error) {
	for {
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

// unquote unescapes, in place, a JSON text known to be valid, quotes included.
func unquote(quoted []byte) []byte {
	s := scanner{buf: quoted, pos: 1}
	text, _ := s.text(quoted[1:1], -1)
	return text
}
