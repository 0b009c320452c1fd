package invocation

import (
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"apimrelay/handler/internal/header"
)

// CannotCarryError says what of an answer the host's envelope for HTTP has no place for. Proxied and forwarded calls carry all of it.
type CannotCarryError struct {
	What string // one of the Carry constants, or what an output cannot hold
}

func (e *CannotCarryError) Error() string {
	return "answering the host: cannot carry " + e.What
}

// What a CannotCarryError names.
const (
	CarryBinary   = "a body that is not UTF-8 text"
	CarryEncoding = "a compressed body (Content-Encoding)"
	CarryCharset  = "a body in a charset other than UTF-8"
	CarryCookies  = "more than one Set-Cookie"
	CarryDate     = "a body that is nothing but a date and time: the host writes it in another form"
	CarryStatus   = "a status below 200 or above 999"
	CarryNoOutput = "a status other than 2xx, since the function has no http output"
)

// headerField is one header field with its one value.
type headerField struct{ name, value string }

// carries checks everything but the header's values.
func carries(answered bool, status int, header http.Header, body *Body) error {
	switch {
	case !answered && (status < 200 || status > 299):
		return &CannotCarryError{CarryNoOutput}
	case !answered:
		return nil
	case status < 200 || status > 999:
		return &CannotCarryError{CarryStatus}
	case len(header["Set-Cookie"]) > 1:
		return &CannotCarryError{CarryCookies}
	case body.Len() == 0:
		return nil
	}
	for _, coding := range header["Content-Encoding"] {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return &CannotCarryError{CarryEncoding}
		}
	}
	switch {
	case !body.text():
		return &CannotCarryError{CarryBinary}
	case rewritten(string(body.head())):
		return &CannotCarryError{CarryDate}
	case !sameCharset(header.Get("Content-Type"), body):
		return &CannotCarryError{CarryCharset}
	}
	return nil
}

// sameCharset reports whether a body stays what its label says: the host replaces any charset by utf-8, and adds it where there is none
// (recordings B-string-latin1, B-string-octet).
func sameCharset(contentType string, body *Body) bool {
	_, parameters, _ := mime.ParseMediaType(contentType)
	charset := strings.ToLower(parameters["charset"])
	switch charset {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return true
	}
	if !strings.HasPrefix(charset, "iso-8859-") && !strings.HasPrefix(charset, "windows-125") {
		return false
	}
	return body.ascii()
}

// carried returns the header's fields as the host takes them, in order of name, and the names of those that it would fail over: one bad
// value makes the whole answer a 500 (recordings B-date-header, B-headers-bad-name, B-headers-newline). A Location outside ASCII was escaped by the
// relay, as it is for every way.
func carried(h http.Header) (fields []headerField, dropped []string) {
	for name, values := range h {
		if connection(name, h) {
			continue
		}
		value := joined(values)
		switch {
		case value == "":
		case !header.Token(name) || !header.Printable(value) || !header.ASCII(value):
			dropped = append(dropped, name)
		case rewritten(value):
			// A blank in front is no part of a value to whoever reads the header (RFC 9110, section 5.5), and to the host it is what
			// makes the text no date.
			fields = append(fields, headerField{name, " " + value})
		default:
			fields = append(fields, headerField{name, value})
		}
	}
	slices.SortFunc(fields, func(a, b headerField) int { return strings.Compare(a.name, b.name) })
	slices.Sort(dropped)
	return fields, dropped
}

// joined is a field's lines as one, without blank ones.
func joined(values []string) string {
	if len(values) == 1 && strings.TrimSpace(values[0]) != "" {
		return values[0]
	}
	return strings.Join(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return strings.TrimSpace(v) == "" }), ", ")
}

// connection reports whether a field belongs to the connection, or describes a framing that the host makes anew: a Content-Length loses
// the body, a Transfer-Encoding breaks the framing (recordings B-headers-content-length, B-headers-transfer-encoding).
func connection(name string, h http.Header) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return name == "Content-Length" || header.HopByHop(name, h)
}

// maxDate is the length of the longest text that Json.NET takes for a date.
const maxDate = 40

// rewritten reports whether the host would take a text for a date and write it in another form: Json.NET's default for texts that are
// nothing but an ISO 8601 date and time, or /Date(…)/ (JamesNK/Newtonsoft.Json, Utilities/DateTimeUtils.cs and DateTimeParser.cs;
// recordings B-date-string, B-date-header). Impossible dates, which it would leave alone, count as dates here.
func rewritten(text string) bool {
	if strings.HasPrefix(text, "/Date(") && len(text) <= maxDate {
		return strings.HasSuffix(text, ")/")
	}
	const pattern = "0000-00-00T00:00:00"
	if len(text) < len(pattern) || len(text) > maxDate {
		return false
	}
	if !matches(text[:len(pattern)], pattern) {
		return false
	}
	rest := text[len(pattern):]
	if strings.HasPrefix(rest, ".") {
		digits := strings.TrimLeft(rest[1:], "0123456789")
		if len(digits) == len(rest)-1 {
			return false
		}
		rest = digits
	}
	switch {
	case rest == "", rest == "Z", rest == "z":
		return true
	case rest[0] == '+' || rest[0] == '-':
		rest = rest[1:]
		return matches(rest, "00") || matches(rest, "0000") || matches(rest, "00:00")
	}
	return false
}

// matches compares with a pattern in which 0 stands for any digit.
func matches(text, pattern string) bool {
	if len(text) != len(pattern) {
		return false
	}
	for i := range len(pattern) {
		if c := text[i]; pattern[i] == '0' && (c < '0' || c > '9') || pattern[i] != '0' && c != pattern[i] {
			return false
		}
	}
	return true
}
