package app

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// segment is one piece of a request path between slashes: the text that the host compares, and
// where each of its characters stands in the escaped text that arrived, so that a value can be cut
// out of it undecoded.
type segment struct {
	raw   string
	text  []rune
	start []int // offset in raw of each character of text, and len(raw) at the end
}

// decodeSegment decodes as Kestrel does (dotnet/aspnetcore src/Shared/UrlDecoder): escaped UTF-8
// becomes its character, %2F stays as it is, and so does every escape that is no valid UTF-8. Of
// "%252F" it makes "%2F", once, never a slash.
func decodeSegment(raw string) segment {
	return decodeInto(raw, make([]rune, 0, len(raw)), make([]int, 0, len(raw)+1))
}

// decodeInto is decodeSegment with the memory for text and start.
func decodeInto(raw string, text []rune, start []int) segment {
	s := segment{raw: raw, text: text, start: start}
	for i := 0; i < len(raw); {
		s.start = append(s.start, i)
		if raw[i] == '%' {
			if r, n := decodeEscapes(raw[i:]); n > 0 && r != '/' {
				s.text = append(s.text, r)
				i += n
				continue
			}
			s.text = append(s.text, '%')
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(raw[i:])
		s.text = append(s.text, r)
		i += n
	}
	s.start = append(s.start, len(raw))
	return s
}

// decodeEscapes reads one character of escaped UTF-8 at the beginning of s and returns how many
// bytes of s it took, 0 if there is none.
func decodeEscapes(s string) (rune, int) {
	var buf [utf8.UTFMax]byte
	for n := range buf {
		at := 3 * n
		if len(s) < at+3 || s[at] != '%' {
			return 0, 0
		}
		hi, lo := hexDigit(s[at+1]), hexDigit(s[at+2])
		if hi < 0 || lo < 0 {
			return 0, 0
		}
		buf[n] = byte(hi<<4 | lo)
		if utf8.FullRune(buf[:n+1]) {
			r, size := utf8.DecodeRune(buf[:n+1])
			if r == utf8.RuneError && size <= 1 {
				return 0, 0
			}
			return r, at + 3
		}
	}
	return 0, 0
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// fold maps a character as .NET's OrdinalIgnoreCase does: simple upper case, except that no letter
// outside ASCII becomes one of ASCII (the dotless i, the long s). strings.EqualFold is no
// substitute: for it the Kelvin sign is a k.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}
	if up := unicode.ToUpper(r); up >= utf8.RuneSelf {
		return up
	}
	return r
}

func foldEqual(a, b []rune) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

// foldText is text in the form in which two names or routes are equal for the host.
func foldText(text string) string { return strings.Map(fold, text) }

// utf16Len is the length that .NET counts.
func utf16Len(text string) int {
	n := 0
	for _, r := range text {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

func decimalText(n int64) string { return strconv.FormatInt(n, 10) }

// escapeSegment escapes a text so that it is one segment of a path and decodes to itself.
func escapeSegment(text string) string { return url.PathEscape(text) }
