package settings

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/identity"
	"apimrelay/internal/hostfile"
)

const (
	defaultAttempts  = 3
	greatestAttempts = 10
)

// shown is a value that is no secret in a length fit for one line.
func shown(text string) string {
	const most = 80
	if utf8.RuneCountInString(text) > most {
		return string([]rune(text)[:most]) + "…"
	}
	return text
}

// unresolved tells, and records, that the platform left a reference in place of the value.
func (r reading) unresolved() bool {
	prefix := app.Unresolved(r.text)
	if prefix != "" {
		r.faultOf(cause.SettingsReference, "give the app's identity the right to read it, and check the reference in the portal", "want the value itself, got an unresolved %s…) reference", prefix)
	}
	return prefix != ""
}

// bracketed tells a text that stands in brackets as a whole: <…>, {…} or […], with none of the same kind inside.
func bracketed(text string) bool {
	for _, pair := range []string{"<>", "{}", "[]"} {
		if len(text) >= 2 && text[0] == pair[0] && text[len(text)-1] == pair[1] && !strings.ContainsAny(text[1:len(text)-1], pair) {
			return true
		}
	}
	return false
}

// placeholder tells, and records, that text from a document was left in.
func (r reading) placeholder() bool {
	found := ""
	switch r.setting {
	case keySetting, keySecondarySetting:
		if bracketed(r.text) {
			found = "the whole value"
		}
	case authoritySetting, certificateSetting:
		if bracketed(r.text) {
			found = "the whole value"
		}
	case headersSetting: // braces are JSON there
		if strings.Contains(r.text, "<") && angled().MatchString(r.text) {
			found = "a part of the value"
		}
	case identitySetting:
		if key := identity.Placeholder(r.text, bracketed); key != "" {
			found = "the value of " + key
		}
	case "ApimUrl":
		// Braces are expressions there, whose names hold no blank.
		if strings.ContainsAny(r.text, "<>") || strings.Contains(r.text, "{") && blankInBraces().MatchString(r.text) {
			found = "a part of the URL"
		}
	default:
		if strings.Contains(r.text, "<") && angled().MatchString(r.text) || strings.Contains(r.text, "{") && braced().MatchString(r.text) {
			found = shown(strconv.Quote(r.text))
		}
	}
	if found == "" {
		return false
	}
	r.faultOf(cause.SettingsPlaceholder, "put the real value in its place", "want the real value, got a placeholder: %s", found)
	return true
}

// Most values hold no bracket, and then none of these is compiled.
var (
	blankInBraces = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{[^{}]*[ \t][^{}]*\}`) })
	angled        = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`<[^<>]+>`) })
	braced        = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{[^{}]+\}`) })
)

func (r reading) targetApp() string {
	text := r.text
	if len(text) > len("/.default") && strings.EqualFold(text[len(text)-len("/.default"):], "/.default") {
		text = text[:len(text)-len("/.default")]
	}
	switch {
	case strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		r.fault("write the App ID URI, for instance api://<client id>", "want an App ID URI or a client id without blanks, got %q", shown(text))
		return ""
	case strings.HasSuffix(text, "/user_impersonation"):
		r.fault("remove /user_impersonation", "want an App ID URI or a client id, got one with a delegated scope behind it: %q", shown(text))
		return ""
	}
	return text
}

func (r reading) tenant() string {
	if !identity.IsGUID(r.text) {
		r.fault("write the Directory (tenant) ID that the portal shows for the tenant", "want a GUID, got %q", shown(r.text))
		return ""
	}
	return strings.ToLower(r.text)
}

// key judges a subscription key without showing it.
func (r reading) key() bool {
	raw := r.f.text.get(r.setting)
	switch {
	case strings.ContainsAny(raw, "\r\n"):
		r.fault("enter the key anew, without the line break", "want a key in one line, got one with a line break")
		return false
	case strings.ContainsFunc(r.text, func(c rune) bool { return c < ' ' || c > '~' }):
		r.fault("enter the key anew", "want a key of printable ASCII characters, got one with others")
		return false
	case strings.Contains(r.text, " "):
		r.fault("enter the key anew", "want a key without blanks, got one with a blank inside")
		return false
	}
	if raw != r.text {
		r.warn("enter the key anew, without blanks around it", "blanks around the key are ignored")
	}
	if first, last := r.text[0], r.text[len(r.text)-1]; first == last && (first == '"' || first == '\'') {
		r.warn("enter the key without quotes, if they are not part of it", "the key stands in quotes, which are sent with it")
	}
	return true
}

// headers reads "Name: value; Name: value", or a JSON object for values that hold a semicolon. Values
// are never shown: they may be secrets of the backend's.
func (r reading) headers() http.Header {
	h := http.Header{}
	if strings.HasPrefix(r.text, "{") {
		r.headerObject(h)
		return h
	}
	for i, pair := range strings.Split(r.text, ";") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, ":")
		if !ok {
			r.fault(`write pairs such as Api-Version: v2, separated by semicolons, or, where a value holds one, `+
				`JSON such as {"Accept": "application/json;v=2.0"}`, "pair %d: want Name: value, got no colon", i+1)
			continue
		}
		r.header(h, fmt.Sprintf("pair %d", i+1), strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h
}

// headerObject reads the JSON form.
func (r reading) headerObject(h http.Header) {
	const hint = `write a JSON object of texts such as {"Accept": "application/json;v=2.0"}`
	d := json.NewDecoder(strings.NewReader(r.text))
	_, _ = d.Token() // the brace that opens it
	for i := 1; d.More(); i++ {
		name, err := d.Token()
		if err != nil {
			r.fault(hint, "member %d: want a JSON object of texts, got no name", i)
			return
		}
		value, err := d.Token()
		text, isText := value.(string)
		if err != nil || !isText {
			r.fault(hint, "member %d: want a text as the value of the header, got something else", i)
			return
		}
		r.header(h, fmt.Sprintf("member %d", i), name.(string), strings.TrimSpace(text))
	}
	if _, err := d.Token(); err != nil || d.More() {
		r.fault(hint, "want one JSON object of texts, got one without its end, or more behind it")
	}
}

// header adds one fixed header.
func (r reading) header(h http.Header, place, name, value string) {
	const hint = "write pairs such as Api-Version: v2, separated by semicolons"
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case !header.Token(name):
		r.fault(hint, "%s: want the name of a header, got other characters", place)
	case !header.Fixed(name) || strings.EqualFold(name, strings.TrimSpace(r.f.text.get(keyHeaderSetting))):
		r.fault("remove it: the relay sees to such headers by itself",
			"%s: want a header that carries no credential and is not the connection's or one that the relay writes, got %s",
			place, canonical)
	case value == "" || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }):
		r.fault(hint, "%s: want a value of printable ASCII characters for %s", place, canonical)
	case h[canonical] != nil:
		r.fault("remove one of the two", "%s: want each header once, got %s again", place, canonical)
	default:
		h[canonical] = []string{value}
	}
}

func (r reading) timeout() time.Duration {
	d, err := time.ParseDuration(r.text)
	if err != nil && strings.Contains(r.text, ":") { // a whole number would be days
		d, err = hostfile.ParseTimeSpan(r.text)
	}
	if err != nil || d <= 0 {
		r.fault("write a duration such as 30s or 00:00:30", "want a duration above zero such as 30s or 00:00:30, got %q", shown(r.text))
		return 0
	}
	return d
}

func (r reading) attempts() int {
	n, err := strconv.Atoi(r.text)
	if err != nil || n < 1 || n > greatestAttempts {
		r.fault("write a whole number, 1 for no retry", "want a whole number from 1 to %d, got %q", greatestAttempts, shown(r.text))
		return defaultAttempts
	}
	return n
}

func (r reading) statuses() []int {
	var list []int
	for field := range strings.SplitSeq(r.text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 300 || n > 599 {
			r.fault("write statuses separated by commas, for instance 404,409", "want statuses from 300 to 599 separated by commas, got %q", shown(r.text))
			return nil
		}
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}
