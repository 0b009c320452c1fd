// Package header reads the fields of an HTTP message's header, and knows what may stand in one.
package header

import (
	"net/http"
	"net/textproto"
	"strings"
)

// Token tells whether text is a token of RFC 9110 5.6.2: a method, or the name of a field.
func Token(name string) bool {
	for i := range len(name) {
		if !tokenBytes[name[i]] {
			return false
		}
	}
	return name != ""
}

var tokenBytes = func() (is [256]bool) {
	for c := 'a'; c <= 'z'; c++ {
		is[c], is[c-'a'+'A'] = true, true
	}
	for _, c := range "0123456789!#$%&'*+-.^_`|~" {
		is[c] = true
	}
	return is
}()

// Printable tells whether a field may have the value: net/http refuses control characters but the tab.
func Printable(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// Fields reads the lines of a header, each with its CR LF, as net/http does (net/textproto, ReadMIMEHeader; net/http, fixPragmaCacheControl), without
// copying their values. It reports false for what is not written plainly: lines that are folded or end otherwise, names that are no tokens, values that are not
// printable. Such a header is for net/http to judge.
func Fields(text string) (http.Header, bool) {
	n := strings.Count(text, "\n")
	h := make(http.Header, n)
	values := make([]string, n)
	for i := range n {
		end := strings.IndexByte(text, '\n')
		if end < 1 || text[end-1] != '\r' {
			return nil, false
		}
		name, value, ok := strings.Cut(text[:end-1], ":")
		text = text[end+1:]
		value = strings.Trim(value, " \t")
		if !ok || !Token(name) || !Printable(value) { // a folded line begins with a blank, which is no token
			return nil, false
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if earlier := h[name]; earlier != nil {
			h[name] = append(earlier, value)
			continue
		}
		values[i] = value
		h[name] = values[i : i+1 : i+1]
	}
	if pragma := h["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" {
		if _, ok := h["Cache-Control"]; !ok {
			h["Cache-Control"] = []string{"no-cache"} // RFC 9111 5.4
		}
	}
	return h, text == ""
}

// Length reads the value of a Content-Length field, in bytes, where it is written plainly: digits alone.
func Length(value string) (int64, bool) {
	if value == "" || len(value) > 18 { // more than 18 digits may be more than an int64
		return 0, false
	}
	var n int64
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return 0, false
		}
		n = 10*n + int64(value[i]-'0')
	}
	return n, true
}

// Host tells names and addresses with or without a port, written plainly.
func Host(host string) bool {
	for i := range len(host) {
		switch b := host[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', strings.IndexByte("-._:[]", b) >= 0:
		default:
			return false
		}
	}
	return host != ""
}
