package target

import (
	"strings"
	"testing"
)

// Readers behind us decode a path again, cut it where a query, a fragment or parameters begin, drop
// blanks, and take odd forms of a dot for one. In each place of a path: a remainder, one that ApimUrl
// names, a route parameter, a value of an event.
func TestNoReaderLeavesTheFixedPath(t *testing.T) {
	places := map[string]func(text string) (url string, v Values, plain bool){
		"a remainder": func(text string) (string, Values, bool) {
			return "https://gw/base", Values{Named: map[string]string{"rest": text}, Escaped: true, CatchAll: "rest"}, false
		},
		"a remainder that ApimUrl names": func(text string) (string, Values, bool) {
			return "https://gw/base/{rest}/x", Values{Named: map[string]string{"rest": text}, Escaped: true, CatchAll: "rest"}, false
		},
		"a route parameter": func(text string) (string, Values, bool) {
			return "https://gw/base/{id}/x", Values{Named: map[string]string{"id": text}, Escaped: true}, false
		},
		"a value of an event": func(text string) (string, Values, bool) {
			return "https://gw/base/{id}/x", Values{Named: map[string]string{"id": text}, Event: true}, true
		},
	}
	for name, place := range places {
		for _, text := range []string{
			"..", ".", "..%3Fx", "..%23x", "..%3Bx", "..;x", "..%00", "..%20", "..%09", "%2e%2e", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae",
			"%EF%BC%8E%EF%BC%8E", ".%EF%BC%8E", "%25252e%25252e", "%2525252e.", "%20..", ".%20.", "..%253Fx", "..%2520",
		} {
			url, v, _ := place(text)
			parsed, err := Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			if u, err := parsed.URL(v, ""); err == nil {
				t.Errorf("%s: %s became %s", name, text, u)
			} else if strings.Contains(err.Error(), "%") {
				t.Errorf("%s: the error holds the value: %v", name, err)
			}
		}
		for _, text := range []string{"a%3Fb", "...%3F", "..a", "a..%23", "%20a", "100%25", "%E2%80%A6", "a.b", "...", "%25", "a%20.b"} {
			url, v, _ := place(text)
			parsed, err := Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parsed.URL(v, ""); err != nil {
				t.Errorf("%s: %s is refused: %v", name, text, err)
			}
		}
	}
	for _, rest := range []string{"/admin", "%2Fadmin", "%2fadmin", "%252Fadmin", "%5Cadmin"} {
		parsed, _ := Parse("https://gw/base")
		if u, err := parsed.URL(Values{Named: map[string]string{"rest": rest}, Escaped: true, CatchAll: "rest"}, ""); err == nil {
			t.Errorf("the remainder %s became %s", rest, u)
		}
	}
}

// What ApimUrl says in its query is its own; everything else of the caller's stays byte for byte.
func TestACallersQueryChangesNothingThatApimUrlFixes(t *testing.T) {
	for _, row := range []struct{ url, caller, want string }{
		{"https://gw/orders?api-version=2024-01-01", "api-version=2025-01-01&page=2", "api-version=2024-01-01&page=2"},
		{"https://gw/orders?tenant=contoso", "tenant=fabrikam&a=1", "tenant=contoso&a=1"},
		{"https://gw/orders?tenant=contoso", "%74enant=x", "tenant=contoso"},
		{"https://gw/orders?tenant=contoso", "tenant", "tenant=contoso"},
		{"https://gw/orders?tenant=contoso", "TENANT=x&tenants=y", "tenant=contoso&tenants=y"},
		{"https://gw/orders?id={id}", "id=8", "id=7"},
		{"https://gw/orders?api-version=1", "api-versions=1&q=a%20b+c", "api-version=1&api-versions=1&q=a%20b+c"},
		{"https://gw/orders?flag", "flag=1&flags", "flag&flags"},
		{"https://gw/orders", "a=1&code=x&b", "a=1&b"},
	} {
		parsed, err := Parse(row.url)
		if err != nil {
			t.Fatal(err)
		}
		u, err := parsed.URL(Values{Named: map[string]string{"id": "7"}, Escaped: true}, row.caller)
		if err != nil || u.RawQuery != row.want {
			t.Errorf("%s with %s: got %v, %v, want %s", row.url, row.caller, u, err, row.want)
		}
	}
}
