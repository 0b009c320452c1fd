package host

import (
	"bufio"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/internal/hostfile"
)

func TestRouteTemplates(t *testing.T) {
	for _, tc := range []struct {
		name, template, path string
		want                 map[string]string // nil: no match; "-" is a missing optional one
	}{
		{"literals ignore case", "api/Hello", "API/hello", map[string]string{}},
		{"a trailing slash does not count", "api/hello", "api/hello/", map[string]string{}},
		{"two slashes do", "api/hello", "api//hello", nil},
		{"an optional one is missing", "items/{name}/{id:int?}", "items/one",
			map[string]string{"name": "one", "id": "-"}},
		{"an optional one is there", "items/{name}/{id:int?}", "items/one/7",
			map[string]string{"name": "one", "id": "7"}},
		{"a constraint fails", "items/{name}/{id:int?}", "items/one/x", nil},
		{"a catch-all takes nothing", "api/{*path}", "api", map[string]string{"path": "-"}},
		{"a catch-all keeps empty segments", "rest/{*path}", "rest/a//b/",
			map[string]string{"path": "a//b/"}},
		{"two parameters in a segment", "f/{name}.{ext}", "f/a.b.c",
			map[string]string{"name": "a.b", "ext": "c"}},
		{"an optional extension is missing", "f/{name}.{ext?}", "f/a",
			map[string]string{"name": "a", "ext": "-"}},
		{"literals around a parameter", "v{n:int}-x/{g:guid}",
			"V12-X/11111111-2222-3333-4444-555555555555",
			map[string]string{"n": "12", "g": "11111111-2222-3333-4444-555555555555"}},
		{"a default", "a/{x=5}", "a", map[string]string{"x": "5"}},
		{"a range and a length", "a/{x:range(1,9)}/{y:length(2,3)}", "a/9/abc",
			map[string]string{"x": "9", "y": "abc"}},
		{"a regular expression", `a/{x:regex(^\d{{2}}$)}`, "a/42", map[string]string{"x": "42"}},
		{"a regular expression that fails", `a/{x:regex(^\d{{2}}$)}`, "a/423", nil},
		{"more segments than the template", "a/{x}", "a/b/c", nil},
		{"a slash in front is dropped", "/a/{x}", "a/b", map[string]string{"x": "b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tmpl, err := parseTemplate(tc.template)
			if err != nil {
				t.Fatal(err)
			}
			values, ok := tmpl.match(tc.path)
			if ok != (tc.want != nil) {
				t.Fatalf("matched: %v", ok)
			}
			if !ok {
				return
			}
			got := map[string]string{}
			for _, v := range values {
				got[v.name] = v.value
				if v.missing {
					got[v.name] = "-"
				}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	for _, bad := range []string{"//a", "a?b", "a//b", "x/{a", "x/a}", "{*a}/b", "{a}/{A}",
		"{a}{b}", "{a:nope}", "a/{*b?}", "x{*a}", "~a", "{}"} {
		if _, err := parseTemplate(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestJSONAsNewtonsoftReadsAndWritesIt(t *testing.T) {
	for _, tc := range []struct{ name, text, compact string }{
		{"numbers",
			`[1.10, 1e400, -0.0, 0.1234567890123456789, 12345678901234567890, 1E5, 0x1F, 017, 1e-7, 1e15]`,
			`[1.1,"Infinity",-0.0,0.12345678901234568,12345678901234567890,100000.0,31,15,1E-07,1E+15]`},
		{"dates",
			`["2026-01-02T03:04:05.000Z","2026-01-02T03:04:05.120","2026-01-02T03:04:05.12345678Z","2026-13-02T03:04:05Z","2026-01-02T03:04:05+01:00","/Date(0)/"]`,
			`["2026-01-02T03:04:05Z","2026-01-02T03:04:05.12","2026-01-02T03:04:05.12345678Z","2026-13-02T03:04:05Z","2026-01-02T02:04:05+00:00","1970-01-01T00:00:00Z"]`},
		{"strings", `"\u00e9\ud83d\ude00 <&>'\/ \u2028 \u0000 \ud800"`,
			"\"é😀 <&>'/ \\u2028 \\u0000 \ufffd\""},
		{"laxness", "/*a*/{a:1,'b':[1,],//x\n\"c\":undefined,}", `{"a":1,"b":[1],"c":null}`},
		{"repeated names", `{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := answerJSON(tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := compact(v); got != tc.compact {
				t.Errorf("want %s, got %s", tc.compact, got)
			}
		})
	}
}

func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,"2026-01-02T03:04:05Z",null]}`, "[0x", "{'a':NaN,}",
		`"\ud83d"`, "//", "-Infinity"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := answerJSON(s)
		if err != nil || v == nil {
			return
		}
		again, err := answerJSON(compact(v))
		if err != nil || compact(again) != compact(v) {
			t.Errorf("%q became %q, then %v", s, compact(v), err)
		}
	})
}

func TestCommandLinesComeApartAsInDotNet(t *testing.T) {
	for line, want := range map[string][]string{
		`--a two words`: {"--a", "two", "words"},
		`"a b" c`:       {"a b", "c"},
		`a\b "c\"d" e`:  {`a\b`, `c"d`, "e"},
		`"a""b"`:        {`a"b`},
		`"" x`:          {"", "x"},
		`a\\"b c"`:      {`a\b c`},
		`a\`:            {`a\`},
		`  `:            nil,
	} {
		if got := splitArguments(line); !slices.Equal(got, want) {
			t.Errorf("%s: want %q, got %q", line, want, got)
		}
	}
}

func TestAppSettingsOverrideHostJSON(t *testing.T) {
	v, err := hostfile.Parse(
		`{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"a"},"enableForwardingHttpRequest":true}}`, hostfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	override(v,
		[]string{"AzureFunctionsJobHost__customHandler__description__DEFAULTEXECUTABLEPATH=b",
			"azurefunctionsjobhost:customHandler:enableForwardingHttpRequest=False",
			"AzureFunctionsJobHost__extensions__http__routePrefix=x/y",
			"AzureFunctionsJobHost__customHandler__description__arguments__0=one", "PATH=/bin"})
	c, err := interpretHostJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	if c.executable != "b" || c.forwarding || c.routePrefix != "x/y" {
		t.Errorf("got executable %q, forwarding %v, prefix %q", c.executable, c.forwarding,
			c.routePrefix)
	}
}

func TestHostJSONThatCannotWorkSaysWhy(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":"1.0"}`:                      "version",
		`{`:                                      "line 1",
		`[]`:                                     "object",
		`{"version":"2.0","functionTimeout":"5"`: "",
		`{"version":"2.0","functionTimeout":"00:00:00"}`:               "functionTimeout",
		`{"version":"2.0","functionTimeout":"soon"}`:                   "functionTimeout",
		`{"version":"2.0","retry":{"strategy":"x","maxRetryCount":1}}`: "strategy",
	} {
		root := t.TempDir()
		(&rig{t: t, root: root}).file("host.json", text)
		if _, err := readHostJSON(root, nil); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestRetriesWaitByTheirPolicy(t *testing.T) {
	p, err := readRetry(
		mustJSON(t,
			`{"strategy":"exponentialBackoff","maxRetryCount":5,"minimumInterval":"00:00:02","maximumInterval":"00:00:10"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []time.Duration
	for n := 1; n <= 5; n++ {
		got = append(got, p.wait(n, 0.5))
	}
	want := []time.Duration{2 * time.Second, 3 * time.Second, 5 * time.Second, 9 * time.Second,
		10 * time.Second}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{`{"strategy":"fixedDelay","maxRetryCount":1}`,
		`{"strategy":"fixedDelay","delayInterval":"00:00:01"}`, `{}`} {
		if _, err := readRetry(mustJSON(t, bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func mustJSON(t *testing.T, s string) *hostfile.Value {
	t.Helper()
	v, err := hostfile.Parse(s, hostfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFunctionsThatCannotWork(t *testing.T) {
	app := map[string]string{
		"good":    anyHTTP,
		"1num":    anyHTTP,
		"host":    anyHTTP,
		"none":    `{"bindings":[]}`,
		"two":     `{"bindings":[{"type":"httpTrigger","name":"a"},{"type":"queueTrigger","name":"b","queueName":"q"}]}`,
		"notrig":  `{"bindings":[{"type":"http","direction":"out","name":"a"}]}`,
		"name":    `{"bindings":[{"type":"httpTrigger","name":"a b"}]}`,
		"cron":    `{"bindings":[{"type":"timerTrigger","name":"a","schedule":"never"}]}`,
		"unset":   `{"bindings":[{"type":"timerTrigger","name":"a","schedule":"%NOT_SET%"}]}`,
		"admins":  `{"bindings":[{"type":"httpTrigger","name":"a","route":"administrators"}]}`,
		"twice":   `{"bindings":[{"type":"httpTrigger","name":"a"},{"type":"http","direction":"out","name":"A"}]}`,
		"outward": `{"bindings":[{"type":"httpTrigger","direction":"out","name":"a"}]}`,
		"string":  `{"bindings":[{"type":"httpTrigger","name":"a","methods":"get"}]}`,
		"aside":   `{"bindings":[{"type":"httpTrigger","name":"a","direction":"aside"}]}`,
		"get":     `{"bindings":[{"type":"httpTrigger","name":"a","route":"same","methods":["get"]}]}`,
		"post":    `{"bindings":[{"type":"httpTrigger","name":"a","route":"same","methods":["post"]}]}`,
	}
	r := &rig{t: t, root: t.TempDir()}
	r.file("host.json", `{"version":"2.0"}`)
	for name, text := range app {
		r.file(name+"/function.json", text)
	}
	cfg, err := readHostJSON(r.root, nil)
	if err != nil {
		t.Fatal(err)
	}
	functions, faults := readFunctions(r.root, cfg, settingLookup(nil))
	var names []string
	for _, f := range functions {
		names = append(names, f.name)
	}
	if d := cmp.Diff([]string{"get", "good", "post"}, names); d != "" {
		t.Error(d)
	}
	want := map[string]string{"1num": "not a valid function name",
		"host": "not a valid function name", "none": "At least one binding",
		"two": "single trigger", "notrig": "No trigger",
		"outward": "No trigger", "twice": "must be unique", "string": "JArray",
		"aside": "BindingDirection",
		"name":  "binding name", "cron": "not recognized",
		"unset": "'%NOT_SET%' does not resolve to a value.", "admins": "built in routes"}
	for _, f := range faults {
		if w := want[f.function]; w == "" || !strings.Contains(f.text, w) || f.whole {
			t.Errorf("%s: want %q, got %q", f.function, w, f.text)
		}
		delete(want, f.function)
	}
	if len(want) > 0 {
		t.Errorf("no fault of %v", want)
	}
}

func TestALevelIsProvedByItsOwnKeyOrTheMaster(t *testing.T) {
	for text, want := range map[string]authLevel{"": functionLevel, "Function": functionLevel,
		"ANONYMOUS": anonymous, "admin": adminLevel,
		"system": adminLevel, "User": adminLevel} {
		if got, ok := parseAuthLevel(text); !ok || got != want {
			t.Errorf("%q: want %d, got %d", text, want, got)
		}
	}
}

func TestPrefixAndRouteAreJoinedAsTheyAre(t *testing.T) {
	for _, tc := range []struct {
		prefix, route, path string
		whole               bool // the host fails
	}{
		{"", "/a", "a", false}, {"/x", "a", "x/a", false}, {"x/", "a", "", true},
		{"x", "/a", "", true}, {"x/y", "a", "X/y/A", false},
	} {
		f, err := readFunction("f", t.TempDir(),
			`{"bindings":[{"type":"httpTrigger","name":"a","route":"`+tc.route+`"}]}`,
			settingLookup(nil))
		if err != nil {
			t.Fatal(err)
		}
		err, whole := f.resolveHTTP(&hostConfig{routePrefix: tc.prefix}, settingLookup(nil), nil)
		if whole != tc.whole || (err != nil) != tc.whole {
			t.Errorf("%q and %q: the host fails: want %v, got %v, %v", tc.prefix, tc.route,
				tc.whole, whole, err)
		} else if !whole {
			if _, ok := f.route.match(tc.path); !ok {
				t.Errorf("%q and %q do not match %s", tc.prefix, tc.route, tc.path)
			}
		}
	}
}

func TestAnEmptyListOfMethodsFitsNone(t *testing.T) {
	f, err := readFunction("a", t.TempDir(),
		`{"bindings":[{"type":"httpTrigger","name":"a","methods":[]}]}`, settingLookup(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err, _ := f.resolveHTTP(&hostConfig{}, settingLookup(nil), nil); err != nil ||
		f.takes("GET") {
		t.Errorf("%v, takes GET: %v", err, f.takes("GET"))
	}
}

func TestRedirectsOfAWrappedCallStayWithTheHandler(t *testing.T) {
	for location, want := range map[string]string{"/moved": "/moved", "moved": "/moved",
		"?a=1": "/hello?a=1", "../x#f": "/x", "http://127.0.0.1:81/y?z": "/y?z",
		"http://localhost:81": "/", "//other/x": "", "https://other/x": "", "": ""} {
		if got, ok := redirectTarget("127.0.0.1:81", "/hello", location); got != want ||
			ok != (want != "") {
			t.Errorf("%q: want %q, got %q, %v", location, want, got, ok)
		}
	}
}

func TestLinesOfTheConsoleEndAsInDotNet(t *testing.T) {
	r, afterCR := bufio.NewReader(strings.NewReader("a\nb\r\n\r\nc\rd\n\ne\r\rf")), false
	var got []string
	for {
		line, ended, err := readConsoleLine(r, &afterCR)
		if line != "" || ended {
			got = append(got, line)
		}
		if err != nil {
			break
		}
	}
	if d := cmp.Diff([]string{"a", "b", "", "c", "d", "", "e", "", "f"}, got); d != "" {
		t.Error(d)
	}
}

func TestLevelsOfTheLogByCategory(t *testing.T) {
	rules := readLogRules(mustJSON(t, `{"logging":{"logLevel":{"default":"warning","Function":"Error","Function.a":"Debug","Function.*.User":"Information",
		"Host.Results":"None","odd":"loud","Host.Aggregator":0}}}`))
	for _, tc := range []struct {
		category string
		least    Level
	}{
		{"Host.Startup", Warning}, {"Function.b", Error}, {"function.A", Debug},
		{"Function.b.User", Information}, {"Function.a.User", Information},
		{"Host.Results", Critical + 1}, {"odd", Warning}, {"Host.Aggregator", Trace},
		{consoleCategory, Warning},
	} {
		for level := Trace; level <= Critical; level++ {
			if want, got := level >= tc.least, rules.passes(level, tc.category); want != got {
				t.Errorf("%s of %s passes: want %v, got %v", level, tc.category, want, got)
			}
		}
	}
	if !readLogRules(mustJSON(t, `{"logging":{"console":{}}}`)).passes(Trace, "x") {
		t.Error("without a level a line is held back")
	}
}

func TestLinesOfTheLogAsJSON(t *testing.T) {
	var b strings.Builder
	WriteJSON(&b)(LogEntry{Level: Warning, Category: "Function.a.User", Text: "<a> & \"b\"\nc"})
	if want := `{"level":"Warning","category":"Function.a.User","text":"<a> & \"b\"\nc"}` +
		"\n"; b.String() != want {
		t.Errorf("want %s, got %s", want, b.String())
	}
	var e struct{ Level, Category, Text string }
	if err := json.Unmarshal([]byte(b.String()), &e); err != nil || e.Level != "Warning" {
		t.Errorf("%v, %v", e, err)
	}
}
