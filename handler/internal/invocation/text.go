package invocation

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

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
		run := bits.TrailingZeros64(found) / 8
		if s.r != nil {
			binary.LittleEndian.PutUint64(out[n:], x) // of which run bytes stay
		} else {
			copy(out[n:n+run], src[pos:]) // in place, eight at once would write over what is still unread
		}
		pos, n = pos+run, n+run
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

// unquote unescapes, in place, a JSON text known to be valid, quotes included.
func unquote(quoted []byte) []byte {
	s := scanner{buf: quoted, pos: 1}
	text, _ := s.text(quoted[1:1], -1)
	return text
}
