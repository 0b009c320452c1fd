package app

import (
	"strings"
	"testing"
)

// routes is an app of HTTP functions: "name: METHOD,METHOD template", no methods meaning all.
func routes(t *testing.T, list ...string) *App {
	t.Helper()
	f := files{}
	for _, entry := range list {
		name, rest, _ := strings.Cut(entry, ": ")
		methods, template, found := strings.Cut(rest, " ")
		if !found {
			methods, template = "", rest
		}
		properties := `"route": "` + strings.ReplaceAll(template, `\`, `\\`) + `"`
		if methods != "" {
			properties += `, "methods": ["` + strings.ReplaceAll(methods, ",", `", "`) + `"]`
		}
		f[name+"/function.json"] = httpFunction(properties)
	}
	return load(t, f, nil)
}

func TestFunctionsThatCanNeverBeReached(t *testing.T) {
	tests := []struct {
		name   string
		routes []string
		hidden string // the unreachable one
		by     string
	}{
		{"a catch-all first by name", []string{"all: {*path}", "items: items/{id}"}, "items",
			"all"},
		{"a catch-all last by name", []string{"items: items/{id}", "z: {*path}"}, "", ""},
		{"a catch-all in between", []string{"a: a", "proxy: {*path}", "zed: zed/{x}"}, "zed",
			"proxy"},
		{"a catch-all with another method", []string{"all: GET {*path}", "items: POST items/{id}"},
			"", ""},
		{"one of two methods hidden", []string{"all: GET {*path}", "items: GET,POST items/{id}"},
			"", ""},
		{"all methods hidden by two functions", []string{"a: GET {*path}", "b: POST,PUT {*path}",
			"items: GET,POST items/{id}"}, "items", "a and b"},
		{"all methods of the later one", []string{"all: GET,POST {*path}", "items: items/{id}"}, "",
			""},
		{"a parameter before a literal", []string{"a: items/{id}", "b: items/five"}, "b", "a"},
		{"a literal before a parameter", []string{"a: items/five", "b: items/{id}"}, "", ""},
		{"another name of the parameter", []string{"a: items/{id}", "b: items/{number}"}, "b", "a"},
		{"an optional parameter covers its absence", []string{"a: items/{id?}", "b: items"}, "b",
			"a"},
		{"an absent one does not cover an optional", []string{"a: items", "b: items/{id?}"}, "",
			""},
		{"a parameter does not cover its absence", []string{"a: items/{id}", "b: items/{id?}"}, "",
			""},
		{"a literal that the constraint refuses", []string{"a: items/{id:int}", "b: items/five"},
			"", ""},
		{"another constraint", []string{"a: items/{id:int}", "b: items/{id:long}"}, "", ""},
		{"the same constraint", []string{"a: items/{id:range(1,9)}", "b: items/{n:range(1,9)}/{x?}",
			"c: items/{m:range(1,9)}"}, "c", "a"},
		{"a constraint that the other one lacks", []string{"a: items/{id:guid}", "b: items/{id}"},
			"", ""},
		{"a catch-all and a shorter path", []string{"a: items/{*rest}", "b: items"}, "b", "a"},
		{"the same catch-all", []string{"a: items/{*rest}", "b: items/{**all}"}, "b", "a"},
		{"a longer literal path", []string{"a: x/{*rest}", "b: x/y/z/{q}/{r?}"}, "b", "a"},
		{"several parts, the same", []string{"a: f/{n}.json", "b: f/{m}.JSON"}, "b", "a"},
		{"several parts behind a parameter", []string{"a: f/{n}", "b: f/{m}.json"}, "b", "a"},
		{"a parameter behind several parts", []string{"a: f/{n}.json", "b: f/{m}"}, "", ""},
		{"a literal in another case", []string{"a: Items/{*rest}", "b: iTEMS/x"}, "b", "a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := routes(t, test.routes...)
			if len(a.Faults) > 0 {
				t.Fatal(a.Faults)
			}
			for _, f := range a.Functions {
				if f.Name != test.hidden {
					if len(f.Faults) > 0 || f.Unreachable {
						t.Errorf("%s: %v", f.Name, f.Faults)
					}
					continue
				}
				oneFault(t, f.Faults, "function "+f.Name, "can never be reached",
					"goes to "+test.by+", first by name", f.Route.Template)
				if !f.Unreachable {
					t.Error("not marked as unreachable")
				}
			}
		})
	}
}

func TestOverlaps(t *testing.T) {
	tests := []struct {
		name   string
		routes []string
		meet   bool
	}{
		{"different literals", []string{"a: a/{x}", "b: b/{x}"}, false},
		{"different lengths", []string{"a: a/{x}", "b: a/{x}/{y}"}, false},
		{"lengths that an optional parameter makes equal", []string{"a: a/{x}", "b: a/{x}/{y?}"},
			true},
		{"a literal and a parameter", []string{"a: a/five", "b: a/{x}"}, true},
		{"crossed literals", []string{"a: a/{x}", "b: {x}/a"}, true},
		{"methods that do not meet", []string{"a: GET a/five", "b: POST a/{x}"}, false},
		{"methods that meet in part", []string{"a: GET,PUT a/five", "b: PUT,POST a/{x}"}, true},
		{"constraints that can both hold", []string{"a: a/{x:int}", "b: a/{x:length(3)}"}, true},
		{"constraints that cannot", []string{"a: a/{x:int}", "b: a/{x:alpha}"}, false},
		{"ranges apart", []string{"a: a/{x:range(1,9)}", "b: a/{x:range(10,19)}"}, false},
		{"ranges that meet", []string{"a: a/{x:range(1,9)}", "b: a/{x:range(9,19)}"}, true},
		{"a number that is long enough with zeros in front", []string{"a: a/{x:int}",
			"b: a/{x:minlength(20)}"}, true},
		{"a GUID that is a number", []string{"a: a/{x:long}", "b: a/{x:guid}"}, true},
		{"bool and int", []string{"a: a/{x:bool}", "b: a/{x:int}"}, false},
		{"several parts", []string{"a: a/v-{x}", "b: a/{y}.json"}, true},
		{"several parts that cannot", []string{"a: a/{x}.xml", "b: a/{y}.json"}, false},
		{"a catch-all in both", []string{"a: a/{*x}", "b: {y}/b/{*z}"}, true},
		{"a catch-all behind", []string{"a: a/b", "b: {*z}"}, true},
		{"a file and a nonfile", []string{"a: {x:file}", "b: {x:nonfile}"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := routes(t, test.routes...)
			noFaults(t, a)
			if got := len(a.Overlaps) > 0; got != test.meet {
				t.Fatalf("overlaps %v", a.Overlaps)
			}
			for _, o := range a.Overlaps {
				if o.First.Name != "a" || o.Second.Name != "b" {
					t.Errorf("order %s, %s", o.First.Name, o.Second.Name)
				}
			}
		})
	}
}

func TestAnOverlapThatHangsOnARegularExpressionIsAFault(t *testing.T) {
	a := routes(t, `a: items/{id:regex(^\d+$)}`, "b: items/{name}", "c: other/{x}")
	oneFault(t, function(t, a, "a").Faults, "overlaps with", "api/items/{name}", "of b",
		`regex(^\d+$)`)
	for _, name := range []string{"b", "c"} {
		if f := function(t, a, name); len(f.Faults) > 0 {
			t.Errorf("%s: %v", name, f.Faults)
		}
	}
	// What might be the first one's goes to nobody else.
	for _, path := range []string{"/api/items/5", "/api/items/abc"} {
		if m, ok := a.Match("GET", path); !ok || m.Function.Name != "a" {
			t.Errorf("%s goes to %v", path, m.Function)
		}
	}
	if m, ok := a.Match("GET", "/api/other/5"); !ok || m.Function.Name != "c" {
		t.Error("c cannot be reached")
	}

	a = routes(t, `a: on/{day:datetime}`, "b: on/{name}")
	oneFault(t, function(t, a, "a").Faults, "datetime", "of b")

	// First by name without such a constraint, the answer is sure.
	a = routes(t, `a: items/{id:int}`, `b: items/{name:regex(^\w+$)}`)
	noFaults(t, a)

	// Without an overlap nothing hangs on it, and the expression is tried.
	a = routes(t, `a: items/{id:regex(^\d+$)}`, "b: items/{name}/x")
	noFaults(t, a)
	if _, ok := a.Match("GET", "/api/items/abc"); ok {
		t.Error("abc keeps \\d+")
	}
	if _, ok := a.Match("GET", "/api/items/5"); !ok {
		t.Error("5 does not keep \\d+")
	}
	// Methods that do not meet are no overlap either.
	noFaults(t, routes(t, `a: GET items/{id:regex(^\d+$)}`, "b: POST items/{name}"))
}

func TestAFunctionInErrorHidesNobody(t *testing.T) {
	a := load(t, files{"all/function.json": httpFunction(`"route": "{*path}", "authLevel": "bogus"`), "items/function.json": httpFunction(`"route": "items/{id}"`)}, nil)
	if f := function(t, a, "items"); len(f.Faults) > 0 || len(a.Overlaps) > 0 {
		t.Errorf("%v %v", f.Faults, a.Overlaps)
	}
	if m, ok := a.Match("GET", "/api/items/5"); !ok || m.Function.Name != "items" {
		t.Errorf("got %v", m.Function)
	}
	// A disabled one keeps its route, and answers 404.
	a = load(t, files{"all/function.json": httpFunction(`"route": "{*path}"`),
		"items/function.json": httpFunction(`"route": "items/{id}"`)},
		map[string]string{"AzureWebJobs.all.Disabled": "1"})
	oneFault(t, function(t, a, "items").Faults, "can never be reached")
}

// FuzzOverlaps compares what is said of two templates with what single paths show.
func FuzzOverlaps(f *testing.F) {
	for _, a := range []string{"x", "{a}", "x/{a?}", "{*p}", "{a:int}", "{a:alpha}/{b=1}", "{a}.x",
		"v{a}"} {
		for _, b := range []string{"x", "{b}/{c?}", "x/{*q}", "{b:long}", "{b:length(1)}"} {
			for _, path := range []string{"/x", "/x/1", "/5", "/v.x"} {
				f.Add(a, b, path)
			}
		}
	}
	f.Fuzz(func(t *testing.T, first, second, path string) {
		if len(first)+len(second)+len(path) > 80 {
			return
		}
		a, err := parseTemplate(first)
		if err != nil {
			return
		}
		b, err := parseTemplate(second)
		if err != nil {
			return
		}
		p, ok := splitPath(path)
		if !ok {
			return
		}
		if _, fitsB := b.match(p, false); !fitsB {
			return
		}
		_, fitsA := a.match(p, false)
		if fitsA && !meet(a, b) {
			t.Fatalf("%q and %q are said to be apart, but %q fits both", first, second, path)
		}
		if !fitsA && covers(a, b) && a.loose() == "" {
			t.Fatalf("%q is said to cover %q, but %q fits the second alone", first, second, path)
		}
	})
}
