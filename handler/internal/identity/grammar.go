package identity

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pair is one Key=Value of a connection string, unquoted.
type pair struct {
	key, value string
	quoted     bool // the value stood in quotes
}

// split takes a connection string apart as .NET's DbConnectionOptions does (the ADO.NET grammar,
// which AzureServiceTokenProviderFactory.cs copied):
//
//	string = *( ";" / blank ) *( key *blank "=" *blank value *blank ( ";" / end ) *( ";" / blank ) )
//	key    = any characters but "=" and control characters; "==" stands for "=";
//	         blanks inside and ";" are allowed
//	value  = '"' … '"' with "" for one / "'" … "'" with '' for one /
//	         bare: no ";", no quote at its start or end, may hold "=" and inner blanks
//
// Its errors name positions, never text: a secret that was not quoted may stand anywhere.
func split(s string) ([]pair, error) {
	var pairs []pair
	for {
		s = strings.TrimLeftFunc(s, func(r rune) bool { return r == ';' || blank(r) })
		if s == "" {
			return pairs, nil
		}
		key, rest, err := splitKey(s)
		if err != nil {
			return nil, fmt.Errorf("pair %d: %w", len(pairs)+1, err)
		}
		begin := strings.TrimLeftFunc(rest, blank)
		value, rest, err := splitValue(rest)
		if err != nil {
			return nil, fmt.Errorf("pair %d: %w", len(pairs)+1, err)
		}
		quoted := begin != "" && (begin[0] == '"' || begin[0] == '\'')
		pairs = append(pairs, pair{key, value, quoted})
		s = rest
	}
}

// blank is \s of .NET's regular expressions.
func blank(r rune) bool { return unicode.IsSpace(r) }

// splitKey reads up to the "=" that ends the key.
func splitKey(s string) (key, rest string, err error) {
	var b strings.Builder
	gap := "" // blanks that belong to the key only if more of it follows
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case strings.HasPrefix(s[i:], "=="):
			b.WriteString(gap + "=")
			gap, n = "", 2
		case r == '=':
			if b.Len() == 0 {
				return "", "", fmt.Errorf("want a key before the =, got none")
			}
			return b.String(), s[i+1:], nil
		case blank(r):
			gap += s[i : i+n]
		case unicode.IsControl(r):
			return "", "", fmt.Errorf("want a key, got a control character")
		case r == utf8.RuneError && n == 1:
			return "", "", fmt.Errorf("want text in UTF-8, got a byte that is none")
		default:
			b.WriteString(gap + s[i:i+n])
			gap = ""
		}
		i += n
	}
	if strings.Contains(b.String(), "=") {
		return "", "", fmt.Errorf("want Key=Value, got == after the key: " +
			"a value that begins with = must stand in quotes")
	}
	return "", "", fmt.Errorf("want Key=Value, got no =")
}

// splitValue reads a value and the ";" or the end of the string behind it.
func splitValue(s string) (value, rest string, err error) {
	s = strings.TrimLeftFunc(s, blank)
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		value, rest, ok := unquote(s)
		if !ok {
			return "", "", fmt.Errorf("want a closing quote, got none")
		}
		rest = strings.TrimLeftFunc(rest, blank)
		if rest != "" && rest[0] != ';' {
			return "", "", fmt.Errorf("want ; after the closing quote, got more text: a quote " +
				"inside a quoted value must be doubled")
		}
		return value, rest, nil
	}
	value, rest = s, ""
	if i := strings.IndexByte(s, ';'); i >= 0 {
		value, rest = s[:i], s[i:]
	}
	value = strings.TrimRightFunc(value, blank)
	for i, r := range value {
		if unicode.IsControl(r) && !blank(r) {
			return "", "", fmt.Errorf("want visible characters outside quotes, got a control " +
				"character")
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(value[i:]); n == 1 {
				return "", "", fmt.Errorf("want text in UTF-8, got a byte that is none")
			}
		}
	}
	if strings.HasSuffix(value, `"`) || strings.HasSuffix(value, "'") {
		return "", "", fmt.Errorf(
			"want quotes at both ends of a value or at none, got one at its end")
	}
	return value, rest, nil
}

// unquote reads a value that begins with a quote; the same quote doubled stands for one.
func unquote(s string) (value, rest string, ok bool) {
	quote := s[:1]
	var b strings.Builder
	for s = s[1:]; ; s = s[1:] {
		i := strings.Index(s, quote)
		if i < 0 || strings.ContainsRune(s[:i], 0) {
			return "", "", false
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		if !strings.HasPrefix(s, quote) {
			return b.String(), s, true
		}
		b.WriteString(quote)
	}
}
