package policy

import (
	"bytes"
	"html"
	"strings"
)

// API Management stores a policy in one of two forms: "xml", where the C# of policy expressions is
// escaped, and "rawxml", which the portal shows, where quotes, < and && of an expression stand as
// they are in attributes and texts
// (https://learn.microsoft.com/azure/api-management/api-management-policy-expressions,
// https://learn.microsoft.com/rest/api/apimanagement/policy/get, parameter format).
// escapeExpressions turns the second form into the first, line for line.

// escapeExpressions returns the document with every expression escaped, so that it is XML where the
// rest of it is. The error is an expression that has no end.
func escapeExpressions(file string, data []byte) ([]byte, *Error) {
	x := &escaper{file: file, in: string(data)}
	for x.at < len(x.in) && x.fault == nil {
		x.text()
	}
	return x.out.Bytes(), x.fault
}

type escaper struct {
	file  string
	in    string
	at    int // what is before it has been written
	out   bytes.Buffer
	fault *Error
	// begun reports whether the text of the element at hand has begun with something but blanks.
	begun bool
}

// copyTo writes the input up to an index as it is.
func (x *escaper) copyTo(end int) {
	x.out.WriteString(x.in[x.at:end])
	x.at = end
}

// copyThrough writes the input up to and including the next occurrence of a text, or all of it.
func (x *escaper) copyThrough(text string) {
	end := len(x.in)
	if i := strings.Index(x.in[x.at:], text); i >= 0 {
		end = x.at + i + len(text)
	}
	x.copyTo(end)
}

func (x *escaper) noEnd(at int) {
	x.fault = &Error{
		File: x.file, Line: 1 + strings.Count(x.in[:at], "\n"),
		Text: "expression has no end: a bracket or quote that opens behind the @ is not closed",
	}
}

// text takes one step outside tags.
func (x *escaper) text() {
	rest := x.in[x.at:]
	switch {
	case strings.HasPrefix(rest, "<!--"):
		x.copyThrough("-->")
	case strings.HasPrefix(rest, "<![CDATA["):
		x.begun = true
		x.copyThrough("]]>")
	case strings.HasPrefix(rest, "<?"):
		x.copyThrough("?>")
	case strings.HasPrefix(rest, "<!"):
		x.copyThrough(">")
	case rest[0] == '<':
		x.tag()
		x.begun = false
	case opens(rest):
		x.textExpression()
	default:
		x.begun = x.begun || !blank(rest[0])
		x.copyTo(x.at + 1)
	}
}

// textExpression takes what may be an expression in a text. Elsewhere than at the beginning of the
// text "@(" may be plain text.
func (x *escaper) textExpression() {
	begun := x.begun
	x.begun = true
	next := strings.IndexByte(x.in[x.at:], '<')
	if next < 0 {
		next = len(x.in) - x.at
	}
	if escaped := x.in[x.at : x.at+next]; complete(escaped) {
		x.out.WriteString(escape(escaped))
		x.at += next
		return
	}
	if end, ok := codeEnd(x.in, x.at+1); ok {
		x.out.WriteString(escape(x.in[x.at:end]))
		x.at = end
		return
	}
	if !begun {
		x.noEnd(x.at)
		return
	}
	x.copyTo(x.at + 1)
}

// tag takes one tag.
func (x *escaper) tag() {
	for x.copyTo(x.at + 1); x.at < len(x.in) && x.fault == nil; {
		switch c := x.in[x.at]; c {
		case '>':
			x.copyTo(x.at + 1)
			return
		case '<': // the tag before has no end, which the XML reader says better
			return
		case '"', '\'':
			x.value(c)
		default:
			x.copyTo(x.at + 1)
		}
	}
}

// value takes one attribute's value; the quote that opens it is at hand.
func (x *escaper) value(quote byte) {
	begin := x.at + 1
	length := strings.IndexByte(x.in[begin:], quote)
	if length < 0 {
		x.copyTo(len(x.in))
		return
	}
	end := begin + length
	content := x.in[begin:end]
	first := firstOpening(content)
	if first < 0 {
		x.copyTo(end + 1)
		return
	}
	plain := x.closes(end)
	if !plain || !complete(content[first:]) {
		if raw, ok := x.rawEnd(begin, quote); ok {
			end = raw
		} else if !plain {
			x.noEnd(begin + first)
			return
		}
	}
	x.copyTo(begin)
	x.out.WriteString(escape(x.in[begin:end]))
	x.at = end
	x.copyTo(end + 1)
}

// rawEnd returns where the quote stands that closes a value whose expressions hold quotes as they
// are.
func (x *escaper) rawEnd(begin int, quote byte) (int, bool) {
	for i := begin; i < len(x.in); i++ {
		switch {
		case opens(x.in[i:]):
			end, ok := codeEnd(x.in, i+1)
			if !ok {
				return 0, false
			}
			i = end - 1
		case x.in[i] == quote:
			return i, x.closes(i)
		}
	}
	return 0, false
}

// closes reports whether a quote can be the end of an attribute's value: more of the tag follows.
func (x *escaper) closes(quote int) bool {
	if quote+1 >= len(x.in) {
		return false
	}
	c := x.in[quote+1]
	return blank(c) || c == '/' || c == '>' || c == '?'
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// opens reports whether a text begins with an expression's opening.
func opens(s string) bool { return len(s) > 1 && s[0] == '@' && (s[1] == '(' || s[1] == '{') }

// firstOpening returns the index of the first opening of an expression, or -1.
func firstOpening(s string) int {
	for i := range len(s) {
		if opens(s[i:]) {
			return i
		}
	}
	return -1
}

// complete reports whether a text in escaped form begins with a whole expression.
func complete(escaped string) bool {
	code := html.UnescapeString(escaped)
	_, ok := codeEnd(code, 1)
	return ok
}

// escape writes what XML reserves as references. References that stand there already stay.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '<':
			b.WriteString("&lt;")
		case c == '"':
			b.WriteString("&quot;")
		case c == '\'':
			b.WriteString("&apos;")
		case c == '&' && !isReference(s[i:]):
			b.WriteString("&amp;")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isReference reports whether a text begins with a reference that XML knows.
func isReference(s string) bool {
	name, _, found := strings.Cut(s[1:min(len(s), 12)], ";")
	if !found {
		return false
	}
	switch name {
	case "amp", "lt", "gt", "quot", "apos":
		return true
	}
	digits, hex := strings.CutPrefix(name, "#x")
	if !hex {
		var number bool
		if digits, number = strings.CutPrefix(name, "#"); !number {
			return false
		}
	}
	for _, c := range digits {
		if c < '0' || c > '9' && (!hex || c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return digits != ""
}

// codeEnd returns the index behind the bracket that closes the one at i of C# code. It knows where
// brackets do not count: in comments, in characters, and in texts of every kind that C# has, whose
// interpolations hold code again
// (https://learn.microsoft.com/dotnet/csharp/language-reference/language-specification/lexical-structure).
func codeEnd(s string, i int) (int, bool) {
	return codeEndBelow(s, i, maxDepth)
}

func codeEndBelow(s string, i, depth int) (int, bool) {
	var open []byte
	for i < len(s) {
		switch c := s[i]; c {
		case '(':
			open = append(open, ')')
		case '[':
			open = append(open, ']')
		case '{':
			open = append(open, '}')
		case ')', ']', '}':
			if len(open) == 0 || open[len(open)-1] != c {
				return 0, false
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				return i + 1, true
			}
		case '/':
			if end, ok := commentEnd(s, i); ok {
				i = end
				continue
			}
		case '\'':
			if end, ok := characterEnd(s, i); ok {
				i = end
				continue
			}
		case '"', '@', '$':
			end, isText, ok := textEnd(s, i, depth)
			if !ok {
				return 0, false
			}
			if isText {
				i = end
				continue
			}
		}
		i++
	}
	return 0, false
}

func commentEnd(s string, i int) (int, bool) {
	for opening, closing := range map[string]string{"//": "\n", "/*": "*/"} {
		if strings.HasPrefix(s[i:], opening) {
			end := strings.Index(s[i+2:], closing)
			if end < 0 {
				return len(s), true
			}
			return i + 2 + end + len(closing), true
		}
	}
	return 0, false
}

// characterEnd takes 'x', '\” and '\u0041'.
func characterEnd(s string, i int) (int, bool) {
	rest := s[i+1 : min(len(s), i+14)]
	begin := 1
	if strings.HasPrefix(rest, `\`) {
		begin = 2
	}
	if len(rest) <= begin {
		return 0, false
	}
	end := strings.IndexByte(rest[begin:], '\'')
	if end < 0 || strings.Contains(rest[:begin+end], "\n") {
		return 0, false
	}
	if begin == 1 && len([]rune(rest[:begin+end])) != 1 {
		return 0, false
	}
	return i + 1 + begin + end + 1, true
}

// textEnd returns the index behind a text that begins at i with a quote, @ or $. isText is false
// where none begins there; ok is false where it has no end.
func textEnd(s string, i, depth int) (end int, isText, ok bool) {
	verbatim, interpolated := false, false
	for ; i < len(s) && (s[i] == '@' || s[i] == '$'); i++ {
		verbatim = verbatim || s[i] == '@'
		interpolated = interpolated || s[i] == '$'
	}
	if i >= len(s) || s[i] != '"' {
		return 0, false, true
	}
	if !verbatim && strings.HasPrefix(s[i:], `"""`) {
		return rawTextEnd(s, i)
	}
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' && verbatim && strings.HasPrefix(s[i:], `""`):
			i++
		case c == '"':
			return i + 1, true, true
		case c == '\\' && !verbatim:
			i++
		case c == '\n' && !verbatim:
			return 0, true, false
		case interpolated && (strings.HasPrefix(s[i:], "{{") || strings.HasPrefix(s[i:], "}}")):
			i++
		case interpolated && c == '{':
			if depth == 0 {
				return 0, true, false
			}
			hole, ok := codeEndBelow(s, i, depth-1)
			if !ok {
				return 0, true, false
			}
			i = hole - 1
		}
	}
	return 0, true, false
}

// rawTextEnd takes a text between three or more quotes.
func rawTextEnd(s string, i int) (end int, isText, ok bool) {
	quotes := len(s[i:]) - len(strings.TrimLeft(s[i:], `"`))
	if quotes > 3 && quotes%2 == 0 { // an empty text of its own kind, or several: nothing is inside
		return i + quotes, true, true
	}
	closing := strings.Index(s[i+quotes:], s[i:i+quotes])
	if closing < 0 {
		return 0, true, false
	}
	return i + quotes + closing + quotes, true, true
}

// expressionLine returns the line of the first expression in a text that begins on a line.
func expressionLine(text string, line int) int {
	return line + strings.Count(text[:max(0, firstOpening(text))], "\n")
}
