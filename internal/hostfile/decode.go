package hostfile

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Decode turns the bytes of a file or body into its text as File.ReadAllText and a StreamReader
// with UTF-8 do: a byte order mark tells UTF-8, UTF-16 and UTF-32, either end first, and is no part
// of the text; without one it is UTF-8. Malformed bytes become U+FFFD. Source: learn.microsoft.com,
// File.ReadAllText, "detects the encoding of a file based on the presence of byte order marks".
func Decode(b []byte) string {
	units := func(b []byte, at func([]byte) uint16) string {
		u := make([]uint16, 0, len(b)/2)
		for ; len(b) >= 2; b = b[2:] {
			u = append(u, at(b))
		}
		s := string(utf16.Decode(u))
		if len(b) > 0 {
			s += "\ufffd"
		}
		return s
	}
	switch {
	case len(b) >= 3 && b[0] == 0xef && b[1] == 0xbb && b[2] == 0xbf:
		b = b[3:]
	case len(b) >= 4 && b[0] == 0xff && b[1] == 0xfe && b[2] == 0 && b[3] == 0:
		return utf32(b[4:], binary.LittleEndian)
	case len(b) >= 4 && b[0] == 0 && b[1] == 0 && b[2] == 0xfe && b[3] == 0xff:
		return utf32(b[4:], binary.BigEndian)
	case len(b) >= 2 && b[0] == 0xff && b[1] == 0xfe:
		return units(b[2:], func(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 })
	case len(b) >= 2 && b[0] == 0xfe && b[1] == 0xff:
		return units(b[2:], func(b []byte) uint16 { return uint16(b[1]) | uint16(b[0])<<8 })
	}
	return DecodeUTF8(b)
}

func utf32(b []byte, order binary.ByteOrder) string {
	var s strings.Builder
	for ; len(b) >= 4; b = b[4:] {
		s.WriteRune(rune(order.Uint32(b)))
	}
	return s.String()
}

// DecodeUTF8 replaces each maximal malformed part by one U+FFFD, as .NET and WHATWG do; Go would
// write one for each byte.
func DecodeUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r != utf8.RuneError || size > 1 {
			s.WriteRune(r)
			b = b[size:]
			continue
		}
		s.WriteRune(utf8.RuneError)
		b = b[malformed(b):]
	}
	return s.String()
}

// malformed is the length of the maximal part of a sequence at the start of b that could still have
// become well-formed; at least 1.
func malformed(b []byte) int {
	lo, hi, need := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		need = 1
	case c >= 0xe0 && c <= 0xef:
		need = 2
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		need = 3
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	n := 1
	for ; n <= need && n < len(b) && b[n] >= lo && b[n] <= hi; n++ {
		lo, hi = 0x80, 0xbf
	}
	return n
}
