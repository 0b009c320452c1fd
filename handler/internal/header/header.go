// Package header knows what may stand in an HTTP message's header.
package header

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

// ASCII reports whether a text is ASCII alone, which is all that the host takes in a field's value
// (recordings D-ans-header-utf8, P-ans-header-utf8).
func ASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}
