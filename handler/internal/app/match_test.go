package app

import (
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOneTemplate(t *testing.T) {
	none := map[string]string(nil)
	tests := []struct {
		name, template, path string
		want                 map[string]string // nil = no match
	}{
		{"a literal", "api/hello", "/api/hello", map[string]string{}},
		{"another case", "api/hello", "/API/Hello", map[string]string{}},
		{"a trailing slash", "api/hello", "/api/hello/", map[string]string{}},
		{"two trailing slashes", "api/hello", "/api/hello//", none},
		{"an escaped literal", "api/hello", "/api/%68ello", map[string]string{}},
		{"a literal outside ASCII", "api/straße", "/api/stra%C3%9Fe", map[string]string{}},
		{"a literal outside ASCII in another case", "api/äpfel", "/api/%C3%84PFEL",
			map[string]string{}},
		{"the Kelvin sign is no k", "api/k", "/api/%E2%84%AA", none},
		{"the long s is no s", "api/s", "/api/%C5%BF", none},
		{"a segment more", "api/hello", "/api/hello/x", none},
		{"a segment less", "api/hello", "/api", none},
		{"an empty segment", "api/hello", "/api//hello", none},
		{"no slash in front", "api/hello", "api/hello", none},
		{"nothing", "api/hello", "", none},
		{"an escaped slash is no slash", "api/a/b", "/api/a%2Fb", none},
		{"a doubled brace", "api/{{x}}", "/api/%7Bx%7D", map[string]string{}},
		{"a parameter stays escaped", "api/{Name}", "/api/Z%C3%BCrich%20a%2Fb",
			map[string]string{"name": "Z%C3%BCrich%20a%2Fb"}},
		{"a parameter takes no slash", "api/{name}", "/api/a/b", none},
		{"a parameter is not empty", "api/{name}", "/api/", none},
		{"an optional parameter", "api/{a}/{b?}", "/api/x/y", map[string]string{"a": "x",
			"b": "y"}},
		{"an optional parameter that is absent", "api/{a}/{b?}", "/api/x",
			map[string]string{"a": "x"}},
		{"an optional parameter before a literal", "api/{a?}/x", "/api/x", none},
		{"a default", "api/{a=5}", "/api", map[string]string{"a": "5"}},
		{"a default is escaped", "api/{a=b c}", "/api", map[string]string{"a": "b%20c"}},
		{"a value instead of the default", "api/{a=5}", "/api/6", map[string]string{"a": "6"}},
		{"two defaults", "api/{a=1}/{b=2}", "/api/9", map[string]string{"a": "9", "b": "2"}},
		{"a constraint that holds", "api/{id:int}", "/api/42", map[string]string{"id": "42"}},
		{"a constraint sees the decoded value", "api/{id:int}", "/api/%34%32",
			map[string]string{"id": "%34%32"}},
		{"a constraint that fails", "api/{id:int}", "/api/abc", none},
		{"a constrained optional parameter that is absent", "api/{id:int?}", "/api",
			map[string]string{}},
		{"a constrained optional parameter that fails", "api/{id:int?}", "/api/abc", none},
		{"a default that keeps no constraint", "api/{id:int=x}", "/api", none},
		{"two constraints", "api/{id:int:min(5)}", "/api/4", none},
		{"an escaped slash stays escaped for the constraint", "api/{f:file}", "/api/a.b%2Fc",
			map[string]string{"f": "a.b%2Fc"}},
		{"a catch-all", "api/{*path}", "/api/a/b%2Fc", map[string]string{"path": "a/b%2Fc"}},
		{"a catch-all keeps the trailing slash", "api/{*path}", "/api/a/",
			map[string]string{"path": "a/"}},
		{"a catch-all keeps empty segments inside", "api/{*path}", "/api/a//b",
			map[string]string{"path": "a//b"}},
		{"a catch-all does not begin with an empty segment", "api/{*path}", "/api//a", none},
		{"a catch-all can be empty", "api/{*path}", "/api", map[string]string{}},
		{"a catch-all can be empty behind a slash", "api/{*path}", "/api/", map[string]string{}},
		{"two stars", "api/{**path}", "/api/a/b", map[string]string{"path": "a/b"}},
		{"a catch-all's default", "api/{*path=a/b}", "/api", map[string]string{"path": "a/b"}},
		{"a catch-all's constraint", "api/{*path:int}", "/api/5", map[string]string{"path": "5"}},
		{"a catch-all's constraint without a value", "api/{*path:int}", "/api", none},
		{"a catch-all that is no file", "api/{*path:nonfile}", "/api", map[string]string{}},
		{"text around a parameter", "api/a-{x}.json", "/api/A-b%20c.JSON",
			map[string]string{"x": "b%20c"}},
		{"text around nothing", "api/a-{x}.json", "/api/a-.json", none},
		{"text behind", "api/a-{x}.json", "/api/a-b.json5", none},
		{"text in front", "api/a-{x}.json", "/api/za-b.json", none},
		{"from the right", "api/{a}-{b}", "/api/1-2-3", map[string]string{"a": "1-2", "b": "3"}},
		{"a literal at its last place, and nothing tried twice", "api/ab{x}", "/api/ababc", none},
		{"an extension", "api/{name}.{ext?}", "/api/a.b.c", map[string]string{"name": "a.b",
			"ext": "c"}},
		{"no extension", "api/{name}.{ext?}", "/api/a", map[string]string{"name": "a"}},
		{"a period and no extension", "api/{name}.{ext?}", "/api/a.", none},
		{"an extension's constraint", "api/{name}.{ext:int?}", "/api/a.b", none},
		{"a constraint in a segment of several parts", "api/v{n:int}", "/api/v12",
			map[string]string{"n": "12"}},
		{"what is no escape is text", "api/{a}", "/api/%zz", map[string]string{"a": "%zz"}},
		{"what is no UTF-8 stays escaped", "api/{a:length(3)}", "/api/%E9",
			map[string]string{"a": "%E9"}},
		{"an empty template", "", "/", map[string]string{}},
		{"an empty template and a path", "", "/x", none},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := parseTemplate(test.template)
			if err != nil {
				t.Fatal(err)
			}
			m, ok := matchOne(r, test.path)
			if ok != (test.want != nil) {
				t.Fatalf("%s on %s: match %t with %v", test.template, test.path, ok, m.Values)
			}
			if ok && !maps.Equal(m.Values, test.want) {
				t.Errorf("%s on %s: values %v", test.template, test.path, m.Values)
			}
		})
	}
}

func matchOne(r *Route, path string) (Match, bool) {
	p, ok := splitPath(path)
	if !ok {
		return Match{}, false
	}
	return r.match(p, false)
}

func TestTheFirstFunctionThatFitsWins(t *testing.T) {
	a := load(t, files{
		"a-get/function.json":  httpFunction(`"route": "items/{id}", "methods": ["GET"]`),
		"b-post/function.json": httpFunction(`"route": "items/{id}", "methods": ["post"]`),
		"c-int/function.json":  httpFunction(`"route": "n/{id:int}"`),
		"d-any/function.json":  httpFunction(`"route": "n/{id}"`),
		"z/function.json":      httpFunction(`"route": "{*path}", "methods": ["get", "PROPFIND"]`),
	}, nil)
	noFaults(t, a)
	for request, want := range map[string]string{
		"GET /api/items/1": "a-get", "get /api/items/1": "a-get", "POST /api/items/1": "b-post",
		"DELETE /api/items/1": "", "HEAD /api/items/1": "",
		"GET /api/n/5": "c-int", "PATCH /api/n/x": "d-any", "GET /api/other": "z",
		"PROPFIND /api/items/1": "z", "POST /api/other": "", "GET /other": "",
		"GET /api": "z", "OPTIONS /api/n/5": "c-int", "GET /api//items/1": "",
	} {
		method, path, _ := strings.Cut(request, " ")
		got := ""
		if m, ok := a.Match(method, path); ok {
			got = m.Function.Name
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", request, got, want)
		}
	}
}

// slowMatch answers by trying everything: each template segment against each path segment, each way
// to cut a segment into parts. Of segments with several parts it may find ways that the original,
// which tries nothing twice, does not.
func slowMatch(r *Route, path string) (all []map[string]string) {
	segments := strings.Split(path[1:], "/")
	if segments[len(segments)-1] == "" {
		segments = segments[:len(segments)-1] // one slash at the end is ignored
	}
	var walk func(template [][]part, left []string, values map[string]string)
	walk = func(template [][]part, left []string, values map[string]string) {
		switch {
		case len(left) == 0:
			for _, parts := range template {
				p := parts[0]
				if len(parts) > 1 || !p.param() || !p.optional && !p.hasFallback && !p.catchAll {
					return
				}
				if p.hasFallback {
					values[p.name] = p.fallback
				}
			}
			for _, parts := range r.segments {
				for _, p := range parts {
					for _, c := range p.constraints {
						v, set := values[p.name]
						if set && !c.holds(v) || !set && !p.optional && c.kind != "nonfile" {
							return
						}
					}
				}
			}
			all = append(all, maps.Clone(values))
		case len(template) == 0 || left[0] == "":
		case template[0][0].catchAll:
			values[template[0][0].name] = strings.Join(left, "/")
			if strings.HasSuffix(path, "/") {
				values[template[0][0].name] += "/"
			}
			walk(template[1:], nil, values)
		default:
			for _, cut := range cuts(template[0], left[0]) {
				next := maps.Clone(values)
				maps.Copy(next, cut)
				walk(template[1:], left[1:], next)
			}
		}
	}
	walk(r.segments, segments, map[string]string{})
	return all
}

// cuts lists all ways to cut text into the parts.
func cuts(parts []part, text string) (all []map[string]string) {
	if len(parts) == 0 {
		if text == "" {
			all = append(all, map[string]string{})
		}
		return all
	}
	p := parts[0]
	if string(p.literal) == "." && len(parts) == 2 && parts[1].optional && text == "" {
		return append(all, map[string]string{}) // the optional extension is absent
	}
	if !p.param() {
		for n := range len(text) + 1 {
			if foldEqual([]rune(text[:n]), p.literal) {
				all = append(all, cuts(parts[1:], text[n:])...)
			}
		}
		return all
	}
	for n := 1; n <= len(text); n++ {
		for _, rest := range cuts(parts[1:], text[n:]) {
			rest[p.name] = text[:n]
			all = append(all, rest)
		}
	}
	return all
}

func FuzzMatchAgainstASlowMatcher(f *testing.F) {
	for _, template := range []string{"api/x", "api/{a}", "api/{a}/{b?}", "api/{a:int}/{b=5}",
		"api/{*p}", "{a=1}/{b:min(3)=4}/{*c}", "api/{a}.{b?}", "a-{x}.json", "{a}-{b}",
		"v{n:int}/{x:alpha}", "{a:guid}/{b:bool?}", "{f:file}", "{*f:nonfile}", "x{a:length(2)}",
		"{a:range(1,9)}", "{{x}}/{y}"} {
		for _, path := range []string{"/", "/api", "/API/x", "/api/12/", "/api/a/b/c", "/api//x",
			"/api/a//b", "/a-b.json", "/1-2-3", "/v7/abc", "/%7Bx%7D/y", "/api/%61%2F", "/a.b.c",
			"/0f8fad5b-d9cb-469f-a165-70867728950e/true", "/5"} {
			f.Add(template, path)
		}
	}
	f.Fuzz(func(t *testing.T, template, path string) {
		r, err := parseTemplate(template)
		if err != nil || len(template)+len(path) > 80 {
			return
		}
		m, ok := matchOne(r, path)
		for name, v := range m.Values {
			if ok && !strings.Contains(path, v) && !strings.Contains(template, "=") {
				t.Errorf("value %s=%q did not arrive so in %q", name, v, path)
			}
		}
		// The slow one decodes with net/url, which has its own view of what is no UTF-8 or no
		// escape.
		plain := strings.ReplaceAll(strings.ReplaceAll(path, "%2F", "%252F"), "%2f", "%252f")
		decoded, err := url.PathUnescape(plain)
		if err != nil || strings.ToValidUTF8(decoded, "?") != decoded ||
			!strings.HasPrefix(path, "/") || strings.Contains(template, "regex") {
			return
		}
		if strings.ToValidUTF8(template, "?") != template || strings.Count(decoded,
			"/") != strings.Count(path, "/") {
			return
		}
		several := strings.Contains(template, "datetime")
		for _, parts := range r.segments {
			several = several || len(parts) > 1
		}
		all := slowMatch(r, decoded)
		if len(all) == 0 && ok && !strings.Contains(template, "?}") || len(all) > 0 && !ok &&
			!several {
			t.Fatalf("%q on %q: match %t, the slow matcher finds %v", template, path, ok, all)
		}
		if !ok || several {
			return
		}
		got := map[string]string{}
		for name, v := range m.Values {
			// not a default, whose slash the host's decoding has not left alone
			if strings.Contains(path, v) {
				v = strings.ReplaceAll(strings.ReplaceAll(v, "%2F", "%252F"), "%2f", "%252f")
			}
			if got[name], err = url.PathUnescape(v); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(all[0], got); len(all) != 1 || diff != "" {
			t.Fatalf("%q on %q: values differ (slow one: %v):\n%s", template, path, all, diff)
		}
	})
}
