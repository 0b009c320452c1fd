// Package target is ApimUrl: where a function's calls go. It parses the URL, fills in the values of an
// invocation and keeps them from leaving the place that ApimUrl gives them.
package target

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Target is a parsed ApimUrl: scheme and host that nothing can change, a path and a query that may hold binding expressions.
// It is made by [Parse], never changes and may be used by any number of goroutines.
type Target struct {
	scheme, host string
	path         []piece // from the first slash on; its texts are escaped
	query        []pair
}

// A piece is literal text or one {expression}.
type piece struct {
	text string // literal, escaped as it goes out
	name string // expression's name as written; "" = literal
	form string // what stands behind its colon, as in {DateTime:yyyy}
}

// A pair is one item of the query, between two ampersands.
type pair []piece

// Parse reads an ApimUrl such as https://contoso.azure-api.net/orders/v1/{id}?expand={what}.
//
// It refuses what could only fail or leak later: no scheme, another scheme than http and https, plain http to anything that is not loopback, user
// information, a fragment, control characters, broken escapes, "." and ".." in the path, an expression before the path and one that is not closed.
// Errors never hold the URL, since its query may carry a secret.
func Parse(apimURL string) (*Target, error) {
	for i := range len(apimURL) {
		if c := apimURL[i]; c < 0x20 || c == 0x7f {
			return nil, fmt.Errorf("parsing the url: control character 0x%02x at position %d", c, i+1)
		}
	}
	scheme, rest, ok := strings.Cut(apimURL, "://")
	if !ok || strings.ContainsAny(scheme, "/?#{") {
		return nil, errors.New("parsing the url: no scheme: want https:// in front")
	}
	scheme = strings.ToLower(scheme)
	if scheme != "https" && scheme != "http" {
		return nil, fmt.Errorf("parsing the url: scheme: want https, got %q", scheme)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, rest := rest[:end], rest[end:]
	switch {
	case strings.ContainsAny(host, "{}"):
		return nil, errors.New("parsing the url: expression before the path: want {…} in path and query only")
	case strings.Contains(host, "@"):
		return nil, errors.New("parsing the url: user information before the host: want none")
	}
	u, err := url.Parse(scheme + "://" + host)
	if err != nil || u.Hostname() == "" || u.Host != host || strings.ContainsAny(host, " \"<>\\^`|%") {
		return nil, errors.New("parsing the url: host: want a name or an address, with :port where it is not the usual one")
	}
	if scheme == "http" && !Loopback(u.Hostname()) {
		return nil, fmt.Errorf("parsing the url: plain http to %s: want https, since the token would travel in clear", u.Hostname())
	}
	if strings.Contains(rest, "#") {
		return nil, errors.New("parsing the url: fragment (#…): want none, write a # in a value as %23")
	}
	path, query, _ := strings.Cut(rest, "?")
	t := &Target{scheme: scheme, host: host}
	if t.path, err = pieces(path, escapePath); err != nil {
		return nil, err
	}
	for segment := range strings.SplitSeq(path, "/") {
		if dots(segment) {
			return nil, errors.New("parsing the url: path: \".\" or \"..\" as a segment")
		}
	}
	for item := range strings.SplitSeq(query, "&") {
		if item == "" {
			continue
		}
		p, err := pieces(item, escapeQuery)
		if err != nil {
			return nil, err
		}
		t.query = append(t.query, p)
	}
	return t, nil
}

// pieces splits text at its {expressions}. "{{" and "}}" stand for one brace, as in the host's own binding expressions
// (Azure/azure-webjobs-sdk src/Microsoft.Azure.WebJobs.Host/Bindings/Path/BindingTemplateParser.cs).
func pieces(text string, escape func(string) string) ([]piece, error) {
	var out []piece
	var literal strings.Builder
	flush := func() error {
		if literal.Len() == 0 {
			return nil
		}
		if _, err := url.PathUnescape(literal.String()); err != nil {
			return errors.New("parsing the url: broken escape: want % followed by two hexadecimal digits")
		}
		out = append(out, piece{text: escape(literal.String())})
		literal.Reset()
		return nil
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case (c == '{' || c == '}') && i+1 < len(text) && text[i+1] == c:
			literal.WriteByte(c)
			i++
		case c == '}':
			return nil, errors.New("parsing the url: } without {: want {name}, or }} for the character itself")
		case c == '{':
			end := strings.IndexByte(text[i:], '}')
			if end < 0 {
				return nil, errors.New("parsing the url: { without }: want {name}, or {{ for the character itself")
			}
			if err := flush(); err != nil {
				return nil, err
			}
			name, form, _ := strings.Cut(text[i+1:i+end], ":")
			p := piece{name: strings.TrimSpace(name), form: form}
			if err := p.check(); err != nil {
				return nil, err
			}
			out = append(out, p)
			i += end
		default:
			literal.WriteByte(c)
		}
	}
	return out, flush()
}

func (p piece) check() error {
	if p.name == "" || strings.ContainsAny(p.name, "{}/?&=% ") {
		return fmt.Errorf("parsing the url: expression {%s}: want a name", p.name)
	}
	switch {
	case strings.EqualFold(p.name, dateTimeName):
		if _, err := dateTime(time.Time{}, p.form); err != nil {
			return fmt.Errorf("parsing the url: expression {%s:%s}: %w", p.name, p.form, err)
		}
	case strings.EqualFold(p.name, randGUIDName):
		if p.form != "" && !strings.ContainsAny(p.form, "NDBPndbp") || len(p.form) > 1 {
			return fmt.Errorf("parsing the url: expression {%s:%s}: want N, D, B or P behind the colon", p.name, p.form)
		}
	case p.form != "":
		return fmt.Errorf("parsing the url: expression {%s:%s}: only DateTime and rand-guid take a format", p.name, p.form)
	}
	return nil
}

// Names lists the binding expressions that need a value from the trigger, each once and as written, in order. Those that the relay makes by itself
// ({rand-guid}, {DateTime}) are left out.
func (t *Target) Names() []string {
	var names []string
	for p := range t.pieces {
		own := strings.EqualFold(p.name, dateTimeName) || strings.EqualFold(p.name, randGUIDName)
		if p.name != "" && !own && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, p.name) }) {
			names = append(names, p.name)
		}
	}
	return names
}

func (t *Target) pieces(yield func(piece) bool) {
	for _, p := range t.path {
		if !yield(p) {
			return
		}
	}
	for _, item := range t.query {
		for _, p := range item {
			if !yield(p) {
				return
			}
		}
	}
}

// Host is host and port as they stand in ApimUrl: the gateway's name.
func (t *Target) Host() string { return t.host }

// Scheme is https, or http to a loopback address.
func (t *Target) Scheme() string { return t.scheme }

// Redacted is the URL without its query, with expressions as written: fit for logs and reports.
func (t *Target) Redacted() string {
	var b strings.Builder
	b.WriteString(t.scheme + "://" + t.host)
	for _, p := range t.path {
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		b.WriteString("{" + p.name + "}")
	}
	return b.String()
}

// Values are what an invocation brings to fill a Target in.
type Values struct {
	// Named holds a text for each name in lower case. A name that is missing is an optional route parameter which the caller left out.
	Named map[string]string
	// Escaped tells that Named came out of a request's path and is still escaped as it arrived. Otherwise the texts are plain: trigger metadata.
	Escaped bool
	// CatchAll is the name in lower case of the route's catch-all parameter; "" where it has none. Its remainder stands in Named, too.
	CatchAll string
	// Event makes an empty or missing value in the path an error: a message without the property would otherwise reach another operation.
	Event bool
	// Now and GUID serve {DateTime} and {rand-guid}: one of each for all attempts of an invocation. Zero values are made where needed.
	Now  time.Time
	GUID string
}

// A PathError says why a caller's path, or a value for it, cannot be part of the upstream URL. Its text never holds the value.
type PathError struct{ Reason string }

func (e *PathError) Error() string { return "building the upstream url: " + e.Reason }

// URL fills the expressions in, appends the catch-all's remainder unless ApimUrl names it, and adds the caller's raw query behind ApimUrl's own,
// less `code` and `subscription-key`. Escapes stay as they arrived. Whatever the values hold, the result keeps ApimUrl's scheme, host and fixed path;
// a value that would change them is a [*PathError].
func (t *Target) URL(v Values, rawQuery string) (*url.URL, error) {
	path, err := t.fillPath(&v)
	if err != nil {
		return nil, err
	}
	query, err := t.fillQuery(&v, rawQuery)
	if err != nil {
		return nil, err
	}
	u := &url.URL{Scheme: t.scheme, Host: t.host, RawPath: path, RawQuery: query}
	// Path and RawPath must agree, or net/http encodes Path anew and loses what RawPath keeps apart: %2F from a slash.
	if u.Path, err = url.PathUnescape(path); err != nil {
		return nil, &PathError{Reason: "broken escape in the path"}
	}
	return u, nil
}

func (t *Target) fillPath(v *Values) (string, error) {
	named := v.CatchAll == ""
	if len(t.path) == 0 || len(t.path) == 1 && t.path[0].name == "" { // nothing to fill in, and Parse has looked at it
		path := ""
		if len(t.path) == 1 {
			path = t.path[0].text
		}
		return withRest(path, v, named)
	}
	var b strings.Builder
	var segment strings.Builder // of the segment being built, to drop it where an optional parameter is absent
	absent := false
	pieces, filled := 0, false // of the segment: what has met in it, and whether a value is among them
	endSegment := func() error {
		// Harmless pieces may meet: {a}{b} with "." and ".", {a}..{b} with separators that are escaped.
		if filled && pieces > 1 && !absent {
			if err := judge(segment.String()); err != nil {
				return err
			}
		}
		if absent {
			if s := b.String(); strings.HasSuffix(s, "/") {
				b.Reset()
				b.WriteString(strings.TrimSuffix(s, "/"))
			}
		} else {
			b.WriteString(segment.String())
		}
		segment.Reset()
		absent, pieces, filled = false, 0, false
		return nil
	}
	write := func(text string) {
		if text != "" {
			segment.WriteString(text)
			pieces++
		}
	}
	for _, p := range t.path {
		if p.name == "" {
			head, tail, slash := strings.Cut(p.text, "/")
			write(head)
			for slash {
				if err := endSegment(); err != nil {
					return "", err
				}
				b.WriteByte('/')
				head, tail, slash = strings.Cut(tail, "/")
				write(head)
			}
			continue
		}
		filled = true
		if v.CatchAll != "" && strings.EqualFold(p.name, v.CatchAll) {
			named = true
			rest, err := remainder(v.Named[v.CatchAll])
			if err != nil {
				return "", err
			}
			write(rest)
			continue
		}
		text, ok, err := v.text(p)
		if err != nil {
			return "", err
		}
		switch {
		case v.Event && text == "":
			return "", &PathError{Reason: fmt.Sprintf("{%s} is empty or missing: want a value for the path", p.name)}
		case !ok || text == "":
			absent = true
			continue
		}
		if !v.Escaped || own(p) {
			text = url.PathEscape(text)
		}
		if strings.Contains(text, "/") {
			return "", &PathError{Reason: fmt.Sprintf("{%s} holds a slash", p.name)}
		}
		if err := judge(text); err != nil {
			return "", err
		}
		write(escapePath(text))
	}
	if err := endSegment(); err != nil {
		return "", err
	}
	path := b.String()
	for s := range strings.SplitSeq(path, "/") {
		if dots(s) {
			return "", &PathError{Reason: "\".\" or \"..\" as a segment"}
		}
	}
	return withRest(path, v, named)
}

// withRest appends the catch-all's remainder where ApimUrl does not name it.
func withRest(path string, v *Values, named bool) (string, error) {
	if named {
		return path, nil
	}
	rest, err := remainder(v.Named[v.CatchAll])
	if err != nil || rest == "" {
		return path, err
	}
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path + rest, nil
}

// remainder checks what a catch-all took: it may hold slashes, but not begin with one ("//" would meet, and an empty first segment hides what
// follows), also not in a reader's eyes that decodes it.
func remainder(rest string) (string, error) {
	for text, round := rest, 0; round < maxRounds; round++ {
		if strings.HasPrefix(text, "/") || strings.HasPrefix(text, `\`) {
			return "", &PathError{Reason: "the rest of the path begins with a slash"}
		}
		decoded := Unescape(text)
		if decoded == text {
			break
		}
		text = decoded
	}
	return escapePath(rest), judge(rest)
}

// maxRounds is how often a path may be escaped one escape within the other. The host adds one round at most.
const maxRounds = 8

// judge refuses a path or a value for it that could climb out of the fixed path in any reader's eyes. The host leaves a %2F as it is (recording
// A-route-name-id), so that "..%2F" is no dot segment to it (dotnet/aspnetcore src/Servers/Kestrel/Core/src/Internal/Http/PathNormalizer.cs), and proxied it
// escapes it once more (P-route-name-id). Behind the gateway a policy may decode the path and parse it anew. So the text is looked at as it is and after each
// decoding until nothing changes, with slashes and backslashes both as separators.
func judge(text string) error {
	if strings.Contains(text, `\`) {
		return &PathError{Reason: "backslash in the path"}
	}
	for round := 0; ; round++ {
		for segment := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == '\\' }) {
			if climbs(segment) {
				return &PathError{Reason: "\".\" or \"..\" as a segment"}
			}
		}
		decoded := Unescape(text)
		switch {
		case decoded == text:
			return nil
		case round == maxRounds:
			return &PathError{Reason: "escapes within escapes"}
		}
		text = decoded
	}
}

// climbs reports whether a reader may take a segment for "." or "..": one that ends a path at a
// question mark, a number sign or a NUL, parameters at a semicolon, that drops blanks and controls, or
// that reads overlong and fullwidth forms of a dot as one.
func climbs(segment string) bool {
	if i := strings.IndexAny(segment, "?#;\x00"); i >= 0 {
		segment = segment[:i]
	}
	if !strings.Contains(segment, ".") && strings.IndexFunc(segment, func(r rune) bool { return r >= 0x80 }) < 0 {
		return false // most segments
	}
	segment = otherDots.Replace(segment)
	segment = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == 0xa0 {
			return -1
		}
		return r
	}, segment)
	return segment == "." || segment == ".."
}

// otherDots are a fullwidth full stop, and a full stop in two, three and four bytes of UTF-8.
var otherDots = strings.NewReplacer("\uff0e", ".", "\xc0\xae", ".", "\xe0\x80\xae", ".", "\xf0\x80\x80\xae", ".")

// Unescape decodes each whole percent escape of a text and leaves everything else as it is.
func Unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// dots tells whether a segment, decoded once, is one of the two that walk the tree.
func dots(segment string) bool {
	if s, err := url.PathUnescape(segment); err == nil {
		segment = s
	}
	return segment == "." || segment == ".."
}

func (t *Target) fillQuery(v *Values, rawQuery string) (string, error) {
	rest := t.callersQuery(rawQuery)
	if len(t.query) == 0 {
		return rest, nil
	}
	var b strings.Builder
items:
	for _, item := range t.query {
		var text strings.Builder
		for _, p := range item {
			if p.name == "" {
				text.WriteString(p.text)
				continue
			}
			value, ok, err := v.text(p)
			switch {
			case err != nil:
				return "", err
			case !ok:
				continue items // an optional parameter that is absent takes its pair along
			case v.Escaped && !own(p):
				text.WriteString(escapeQueryValue(value))
			default:
				text.WriteString(url.QueryEscape(value))
			}
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(text.String())
	}
	if b.Len() > 0 && rest != "" {
		b.WriteByte('&')
	}
	b.WriteString(rest)
	return b.String(), nil
}

// callersQuery is the caller's query byte for byte, less the parameters that are credentials and those that ApimUrl itself fixes. Only what no request line can hold is escaped: control
// characters and blanks, which a wrapped call's JSON could bring, and a raw #, which would end the query.
func (t *Target) callersQuery(raw string) string {
	if raw == "" {
		return ""
	}
	clean := true
	for i := range len(raw) {
		clean = clean && raw[i] > ' ' && raw[i] != 0x7f && raw[i] != '#'
	}
	if !clean {
		raw = escape(raw, queryBytes())
	}
	for item := range strings.SplitSeq(raw, "&") {
		clean = clean && !t.strippedParameter(item)
	}
	if clean {
		return raw
	}
	var kept []string
	for item := range strings.SplitSeq(raw, "&") {
		if !t.strippedParameter(item) {
			kept = append(kept, item)
		}
	}
	return strings.Join(kept, "&")
}

// What escape leaves alone, besides letters and digits, in a text that is one already.
var (
	queryBytes = sync.OnceValue(func() string { return between('!', 0xff, "#\x7f") }) // of a query: all that it may hold on the wire, a percent sign that escapes nothing included
	ascii      = sync.OnceValue(func() string { return between(' ', '~', "") })       // of a Location: all of it
)

// between are the bytes from first to last without those of but.
func between(first, last byte, but string) string {
	var b []byte
	for c := int(first); c <= int(last); c++ {
		if strings.IndexByte(but, byte(c)) < 0 {
			b = append(b, byte(c))
		}
	}
	return string(b)
}

// strippedParameter tells the two parameters that are credentials of the caller: its function key (the host passes `code` on in every mode: recordings
// A-key-code, D-key-code, P-key-code) and a subscription key of its own. The name counts as every reader will see it: decoded and in any case.
func (t *Target) strippedParameter(item string) bool {
	name := parameterName(item)
	if strings.EqualFold(name, "code") || strings.EqualFold(name, "subscription-key") {
		return true
	}
	for _, own := range t.query {
		if len(own) > 0 && own[0].name == "" && strings.EqualFold(parameterName(own[0].text), name) {
			return true
		}
	}
	return false
}

// parameterName is the name of an item of a query as every reader will see it.
func parameterName(item string) string {
	name, _, _ := strings.Cut(item, "=")
	if decoded, err := url.QueryUnescape(name); err == nil {
		name = decoded
	} else {
		name = Unescape(name)
	}
	return strings.TrimSpace(name)
}

func (v *Values) text(p piece) (string, bool, error) {
	switch {
	case strings.EqualFold(p.name, randGUIDName):
		if v.GUID == "" {
			v.GUID = NewGUID()
		}
		return formatGUID(v.GUID, p.form), true, nil
	case strings.EqualFold(p.name, dateTimeName):
		if v.Now.IsZero() {
			v.Now = time.Now()
		}
		text, err := dateTime(v.Now, p.form)
		return text, true, err
	}
	text, ok := v.Named[strings.ToLower(p.name)]
	return text, ok, nil
}

func own(p piece) bool {
	return strings.EqualFold(p.name, randGUIDName) || strings.EqualFold(p.name, dateTimeName)
}

// Names of the two expressions that the host makes without the trigger's help (Azure/azure-webjobs-sdk
// src/Microsoft.Azure.WebJobs.Host/Bindings/Path/BindingParameterResolver.cs: RandGuidResolver, DateTimeResolver).
const (
	randGUIDName = "rand-guid"
	dateTimeName = "datetime"
)

// NewGUID makes a random GUID in the host's usual form: lower case, with hyphens.
func NewGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return GUID(b)
}

// GUID makes one, marked as random, of 16 bytes that are.
func GUID(b [16]byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// formatGUID renders a GUID in one of .NET's forms: D (with hyphens; the default), N (digits only), B (in braces), P (in parentheses).
func formatGUID(guid, form string) string {
	switch strings.ToUpper(form) {
	case "N":
		return strings.ReplaceAll(guid, "-", "")
	case "B":
		return "{" + guid + "}"
	case "P":
		return "(" + guid + ")"
	}
	return guid
}

// dateTime renders t in UTC by a .NET format string. The default is the host's, which fits into blob names: 2018-02-16T17-59-55Z
// (learn.microsoft.com "Azure Functions binding expression patterns", Create GUIDs and Current time). Only the usual custom specifiers are known.
func dateTime(t time.Time, form string) (string, error) {
	if form == "" {
		form = "yyyy-MM-ddTHH-mm-ssK"
	}
	t = t.UTC()
	var b strings.Builder
	for i := 0; i < len(form); {
		n := 1
		for i+n < len(form) && form[i+n] == form[i] {
			n++
		}
		layout, ok := dateTimeSpecifiers[form[i:i+n]]
		switch c := form[i]; {
		case ok:
			b.WriteString(t.Format(layout))
		case c == 'f' && n <= 7:
			b.WriteString(fmt.Sprintf("%09d", t.Nanosecond())[:n])
		case c == 'K' && n == 1:
			b.WriteByte('Z')
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' && c != 'T' && c != 'Z':
			return "", fmt.Errorf("date format: unknown specifier %q", form[i:i+n])
		default:
			b.WriteString(form[i : i+n])
		}
		i += n
	}
	return b.String(), nil
}

var dateTimeSpecifiers = map[string]string{
	"yyyy": "2006", "yy": "06", "MM": "01", "MMM": "Jan", "MMMM": "January", "dd": "02", "ddd": "Mon", "dddd": "Monday",
	"HH": "15", "hh": "03", "mm": "04", "ss": "05", "tt": "PM", "M": "1", "d": "2", "h": "3", "m": "4", "s": "5",
}

// escapePath makes text fit for the path of a request line: what RFC 3986 allows there and escapes that are whole stay byte for byte, slashes too; every
// other byte is escaped. Go keeps RawPath only where nothing is left to escape.
func escapePath(text string) string { return escape(text, "/:@!$&'()*+,;=~-._[]") }

// escapeQuery is the same for the query.
func escapeQuery(text string) string { return escape(text, "/:@!$&'()*+,;=~-._[]?") }

// escapeQueryValue makes a value out of a path fit for a query: characters that would end it or mean a blank are escaped, its escapes stay.
func escapeQueryValue(text string) string { return escape(text, "/:@!$'()*,;~-._") }

// EscapeLocation escapes what lies outside ASCII in the value of a Location header, and controls.
func EscapeLocation(text string) string { return escape(text, ascii()) }

func escape(text, keep string) string {
	clean := true
	for i := 0; i < len(text) && clean; i++ {
		clean = kept(text, i, keep)
	}
	if clean {
		return text
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if kept(text, i, keep) {
			b.WriteByte(text[i])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[text[i]>>4])
		b.WriteByte(digits[text[i]&15])
	}
	return b.String()
}

func kept(text string, i int, keep string) bool {
	c := text[i]
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	case c == '%' && i+2 < len(text) && hexDigit(text[i+1]) && hexDigit(text[i+2]):
		return true
	}
	return strings.IndexByte(keep, c) >= 0
}

func hexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// Loopback tells whether a host name, without port, can only mean this machine: localhost and what is below it (RFC 6761 6.3), 127.0.0.0/8, ::1.
func Loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
