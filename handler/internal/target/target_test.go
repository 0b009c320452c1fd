package target

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ url, want string }{
		"no scheme":                        {"contoso.azure-api.net/orders", "no scheme"},
		"host and port taken for a scheme": {"localhost:8080/x", "no scheme"},
		"an address without scheme":        {"127.0.0.1:8080/x", "no scheme"},
		"nothing":                          {"", "no scheme"},
		"another scheme":                   {"ftp://contoso.azure-api.net/", `want https, got "ftp"`},
		"user information":                 {"https://me:secret@contoso.azure-api.net/", "user information"},
		"plain http to a public name":      {"http://contoso.azure-api.net/", "plain http to contoso.azure-api.net"},
		"plain http to a private address":  {"http://10.0.0.4/", "plain http to 10.0.0.4"},
		"http to a name like loopback":     {"http://localhost.example.com/", "plain http"},
		"no host":                          {"https:///orders", "host"},
		"only a port":                      {"https://:443/", "host"},
		"a blank in the host":              {"https://con toso/", "host"},
		"a broken port":                    {"https://contoso:x/", "host"},
		"an expression in the host":        {"https://{tenant}.azure-api.net/", "expression before the path"},
		"an expression as scheme":          {"{scheme}://contoso/", "no scheme"},
		"a fragment":                       {"https://contoso/orders#top", "fragment"},
		"a line break":                     {"https://contoso/orders\n", "control character 0x0a at position 23"},
		"a broken escape":                  {"https://contoso/100%", "broken escape"},
		"a broken escape in the query":     {"https://contoso/?a=%zz", "broken escape"},
		"dot dot":                          {"https://contoso/a/../b", `".."`},
		"dot dot escaped":                  {"https://contoso/a/%2e%2E/b", `".."`},
		"an open brace":                    {"https://contoso/{id", "{ without }"},
		"a closing brace":                  {"https://contoso/id}", "} without {"},
		"an empty expression":              {"https://contoso/{}", "want a name"},
		"an unknown date format":           {"https://contoso/{DateTime:QQ}", "unknown specifier"},
		"a format where none belongs":      {"https://contoso/{id:int}", "only DateTime and rand-guid"},
		"an unknown guid format":           {"https://contoso/{rand-guid:Q}", "N, D, B or P"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(c.url)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Parse(%q) = %v, want an error with %q", c.url, err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows what may be secret: %v", err)
			}
		})
	}
}

func TestTargetNames(t *testing.T) {
	target, err := Parse("https://contoso/{a}/x-{B}.json/{rand-guid}?q={a}&w={sys.utcnow}&d={DateTime:yyyy}&l={{no}}")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "B", "sys.utcnow"}, target.Names()); diff != "" {
		t.Error(diff)
	}
	if got, want := target.Redacted(), "https://contoso/{a}/x-{B}.json/{rand-guid}"; got != want {
		t.Errorf("Redacted() = %q, want %q", got, want)
	}
}

func TestTargetURL(t *testing.T) {
	at := time.Date(2018, 2, 16, 17, 59, 55, 0, time.FixedZone("x", 3600))
	rest := func(s string) Values {
		return Values{Named: map[string]string{"path": s}, Escaped: true, CatchAll: "path"}
	}
	named := func(kv ...string) Values {
		v := Values{Named: map[string]string{}, Escaped: true}
		for i := 0; i < len(kv); i += 2 {
			v.Named[kv[i]] = kv[i+1]
		}
		return v
	}
	event := func(kv ...string) Values {
		v := named(kv...)
		v.Escaped, v.Event, v.Now, v.GUID = false, true, at, "6f9619ff-8b86-4011-b42d-00cf4fc964ff"
		return v
	}
	for name, c := range map[string]struct {
		target string
		values Values
		query  string
		want   string
	}{
		"the remainder is appended":                    {"https://h/orders/v1", rest("a/b"), "", "https://h/orders/v1/a/b"},
		"one slash joins":                              {"https://h/orders/", rest("a"), "", "https://h/orders/a"},
		"an empty remainder adds nothing":              {"https://h/orders", rest(""), "", "https://h/orders"},
		"an empty remainder leaves the slash":          {"https://h/orders/", rest(""), "", "https://h/orders/"},
		"no path at all":                               {"https://h", rest("a"), "", "https://h/a"},
		"a trailing slash stays":                       {"https://h/o", rest("a/"), "", "https://h/o/a/"},
		"an inner double slash stays":                  {"https://h/o", rest("a//b"), "", "https://h/o/a//b"},
		"escapes stay":                                 {"https://h/o", rest("Z%C3%BCrich%20a%252Fb%2fc%3F"), "", "https://h/o/Z%C3%BCrich%20a%252Fb%2fc%3F"},
		"characters of a path stay":                    {"https://h/o", rest("a;b=1,2@c:!$&'()*~+[]"), "", "https://h/o/a;b=1,2@c:!$&'()*~+[]"},
		"others are escaped":                           {"https://h/o", rest("a\"b<c>^{d}|é"), "", "https://h/o/a%22b%3Cc%3E%5E%7Bd%7D%7C%C3%A9"},
		"ApimUrl names the remainder":                  {"https://h/o/{path}/x", rest("a/b"), "", "https://h/o/a/b/x"},
		"a segment":                                    {"https://h/o/{id}", named("id", "a%2Fb"), "", "https://h/o/a%2Fb"},
		"names ignore case":                            {"https://h/o/{ID}", named("id", "7"), "", "https://h/o/7"},
		"part of a segment":                            {"https://h/o/x-{id}.json", named("id", "7"), "", "https://h/o/x-7.json"},
		"an absent parameter drops its segment":        {"https://h/o/{id}/lines", named(), "", "https://h/o/lines"},
		"an absent parameter at the end":               {"https://h/o/{id}", named(), "", "https://h/o"},
		"an absent parameter drops its pair":           {"https://h/o?a=1&id={id}&b=2", named(), "", "https://h/o?a=1&b=2"},
		"a value in the query is escaped for it":       {"https://h/o?id={id}", named("id", "a&b=c+d%20e"), "", "https://h/o?id=a%26b%3Dc%2Bd%20e"},
		"own query first":                              {"https://h/o?v=1", rest(""), "b=2&a=1", "https://h/o?v=1&b=2&a=1"},
		"the caller's query byte for byte":             {"https://h/o", rest(""), "a=1&&a=2&flag&e=%zz&p=x+y;z&u=%C3%A9", "https://h/o?a=1&&a=2&flag&e=%zz&p=x+y;z&u=%C3%A9"},
		"code is dropped":                              {"https://h/o", rest(""), "a=1&code=K&b=2", "https://h/o?a=1&b=2"},
		"code in another case":                         {"https://h/o", rest(""), "CODE=K", "https://h/o"},
		"code with escapes":                            {"https://h/o", rest(""), "c%6Fde=K&%63ode=L&a=1", "https://h/o?a=1"},
		"code without a value":                         {"https://h/o", rest(""), "code", "https://h/o"},
		"a subscription key is dropped":                {"https://h/o", rest(""), "Subscription-Key=K&a=1", "https://h/o?a=1"},
		"what only looks like code stays":              {"https://h/o", rest(""), "zipcode=1&code2=2&a=code", "https://h/o?zipcode=1&code2=2&a=code"},
		"a raw # does not end the query":               {"https://h/o", rest(""), "a=#b", "https://h/o?a=%23b"},
		"a value of an event is escaped":               {"https://h/o/{name}?n={name}", event("name", "a/b?c#d e%é"), "", "https://h/o/a%2Fb%3Fc%23d%20e%25%C3%A9?n=a%2Fb%3Fc%23d+e%25%C3%A9"},
		"an event's empty value may be in the query":   {"https://h/o?n={name}", event("name", ""), "", "https://h/o?n="},
		"a random guid":                                {"https://h/{rand-guid}/{RAND-GUID:N}", event(), "", "https://h/6f9619ff-8b86-4011-b42d-00cf4fc964ff/6f9619ff8b864011b42d00cf4fc964ff"},
		"the date, as in blob names":                   {"https://h/{DateTime}", event(), "", "https://h/2018-02-16T16-59-55Z"},
		"the date in a format":                         {"https://h/{datetime:yyyy}/{datetime:MM-dd}", event(), "", "https://h/2018/02-16"},
		"braces in the path":                           {"https://h/{{id}}/x", event(), "", "https://h/%7Bid%7D/x"},
		"loopback may be plain http":                   {"http://127.0.0.1:8080/o", rest("a"), "", "http://127.0.0.1:8080/o/a"},
		"an address of IPv6":                           {"http://[::1]:8080/o", rest("a"), "", "http://[::1]:8080/o/a"},
		"a percent sign escaped twice with no meaning": {"https://h/o", rest("100%25"), "", "https://h/o/100%25"},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := Parse(c.target)
			if err != nil {
				t.Fatal(err)
			}
			u, err := target.URL(c.values, c.query)
			if err != nil {
				t.Fatal(err)
			}
			if got := u.String(); got != c.want {
				t.Errorf("URL = %s\nwant  %s", got, c.want)
			}
			if got, want := u.RequestURI(), strings.TrimPrefix(strings.TrimPrefix(c.want, target.scheme+"://"), target.host); got != want && want != "" {
				t.Errorf("request line has %s, want %s", got, want)
			}
		})
	}
}

func TestNoValueLeavesThePath(t *testing.T) {
	for _, rest := range []string{
		"..", ".", "../x", "a/../..", "a/./b", "%2e%2e/x", "%2E./x", ".%2e", "..%2Fx", "a%2F..%2Fb", "%252e%252e/x", "..%252Fx", "..%5Cx", `..\x`, `a\b`,
		"/x", "//evil.example/x", "a/..%2f..", "..;/x", ".;a/x",
	} {
		target, _ := Parse("https://h/fixed")
		if u, err := target.URL(Values{Named: map[string]string{"p": rest}, Escaped: true, CatchAll: "p"}, ""); err == nil {
			t.Errorf("remainder %q gives %s, want it refused", rest, u)
		}
	}
	for _, value := range []string{"", ".", "..", "%2e%2e", `..\..`, "../x"} {
		target, _ := Parse("https://h/fixed/{id}/x")
		if u, err := target.URL(Values{Named: map[string]string{"id": value}, Event: true}, ""); err == nil {
			t.Errorf("an event's value %q gives %s, want it refused", value, u)
		}
	}
	// Pieces of which each is harmless may meet.
	for _, c := range []struct{ template, a, b, want string }{
		{"{a}{b}", ".", ".", ""},
		{"{a}..{b}", "x%2F", "%2Fy", ""},
		{"{a}..{b}", "%5C", "%5Cy", ""},
		{"{a}..{b}", "x%252F", "%252Fy", ""},
		{".{a}", "%5Cx", "", ""},
		{"%2e{a}", "%2Fx", "", ""},
		{"{a}..{b}", "v1", "v2", "https://h/fixed/v1..v2"},
		{".{a}", "well-known", "", "https://h/fixed/.well-known"},
		{"{a}.{b}", "x", "json", "https://h/fixed/x.json"},
		{"{a}%20{b}", "x%2Fy", "z", "https://h/fixed/x%2Fy%20z"},
	} {
		target, err := Parse("https://h/fixed/" + c.template)
		if err != nil {
			t.Fatal(err)
		}
		u, err := target.URL(Values{Named: map[string]string{"a": c.a, "b": c.b}, Escaped: true}, "")
		switch {
		case (err != nil) != (c.want == ""):
			t.Errorf("%s with %q and %q gives %v (%v), want %q", c.template, c.a, c.b, u, err, c.want)
		case err == nil && u.String() != c.want:
			t.Errorf("%s with %q and %q gives %s, want %s", c.template, c.a, c.b, u, c.want)
		}
	}
}

// Whatever a caller sends, the result keeps scheme, host and fixed path, for a reader who decodes once or twice and takes both slashes for separators.
func FuzzTargetURL(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "%2e%2e%2fx", "//evil", "@evil", `\\evil\x`, "a%00b", "é", "..;x/y", "%25%32%65", "?x", "#y"} {
		f.Add(s, "code=1&a=2", true)
		f.Add(s, "", false)
	}
	f.Fuzz(func(t *testing.T, value, query string, catchAll bool) {
		target, err := Parse("https://contoso.example/fixed/part/{id}?own=1")
		if err != nil {
			t.Fatal(err)
		}
		v := Values{Named: map[string]string{"id": value}, Event: true}
		prefix := "/fixed/part/"
		if catchAll {
			v.CatchAll, v.Escaped, v.Event = "id", true, false
		}
		u, err := target.URL(v, query)
		if err != nil {
			return
		}
		again, err := url.Parse(u.Scheme + "://" + u.Host + u.RequestURI())
		if err != nil {
			t.Fatalf("%q, %q: the url does not parse: %v", value, query, err)
		}
		if again.Scheme != "https" || again.Host != "contoso.example" || again.User != nil || !strings.HasPrefix(again.EscapedPath(), prefix) {
			t.Fatalf("%q, %q: left the target: %s", value, query, again)
		}
		if !strings.HasPrefix(again.RawQuery, "own=1") {
			t.Fatalf("%q, %q: own query is not first: %s", value, query, again.RawQuery)
		}
		text := again.EscapedPath()
		for range 3 {
			for _, s := range strings.FieldsFunc(text, func(r rune) bool { return r == '/' || r == '\\' }) {
				if s == ".." || s == "." {
					t.Fatalf("%q: dots in %s", value, again.EscapedPath())
				}
			}
			if d, err := url.PathUnescape(text); err == nil {
				text = d
			}
		}
		for name := range again.Query() {
			if strings.EqualFold(name, "code") || strings.EqualFold(name, "subscription-key") {
				t.Fatalf("%q: %s reaches the gateway", query, name)
			}
		}
	})
}

// FuzzExpressions: whatever stands in ApimUrl behind its fixed part, and whatever the trigger brings for its expressions, the result keeps scheme, host and
// fixed path, has no segment of dots, and expressions leave the literal pieces between them where they are.
func FuzzExpressions(f *testing.F) {
	for _, template := range []string{"{id}", "{id}/x?q={name}", "a-{id}.{name}", "{DateTime:yyyy-MM-dd}/{rand-guid}", "{{id}}", "{id", "?{id}={name}", "{sys.utcnow}//{id}", "%2e{id}", "{id}#x"} {
		for _, value := range []string{"5", "../x", "%2e%2e", "a/b?c#d", `\..\`, "", "é\x00"} {
			f.Add(template, value, "n&m=1")
		}
	}
	const fixed = "https://contoso.example/fixed/part/"
	f.Fuzz(func(t *testing.T, template, first, second string) {
		target, err := Parse(fixed + template)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q: an error of several lines: %v", template, err)
			}
			return
		}
		v := Values{Named: map[string]string{}, Event: true, GUID: "0f8fad5b-d9cb-469f-a165-70867728950e", Now: time.Unix(1_800_000_000, 0)}
		for i, name := range target.Names() {
			v.Named[strings.ToLower(name)] = []string{first, second}[i%2]
		}
		u, err := target.URL(v, "")
		if err != nil {
			return
		}
		text := u.Scheme + "://" + u.Host + u.RequestURI()
		again, err := url.Parse(text)
		if err != nil || again.Scheme != "https" || again.Host != "contoso.example" || again.User != nil || again.Fragment != "" || !strings.HasPrefix(again.EscapedPath(), "/fixed/part/") {
			t.Fatalf("%q with %q and %q: left the target: %s (%v)", template, first, second, text, err)
		}
		path := again.EscapedPath()
		for range 3 {
			for _, s := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }) {
				if s == ".." || s == "." {
					t.Fatalf("%q with %q and %q: dots in %s", template, first, second, again.EscapedPath())
				}
			}
			if d, err := url.PathUnescape(path); err == nil {
				path = d
			}
		}
		own, _, _ := strings.Cut(template, "?")
		if slashes := strings.Count(own, "/"); !strings.ContainsAny(own, "{}") && strings.Count(again.EscapedPath(), "/") != slashes+3 || strings.Count(again.EscapedPath(), "/") > slashes+3 {
			t.Fatalf("%q with %q and %q: a value made a segment: %s", template, first, second, again.EscapedPath())
		}
		if _, query, _ := strings.Cut(template, "?"); strings.Count(again.RawQuery, "&") > strings.Count(query, "&") {
			t.Fatalf("%q with %q and %q: a value made a parameter: %s", template, first, second, again.RawQuery)
		}
	})
}
