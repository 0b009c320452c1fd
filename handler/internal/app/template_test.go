package app

import (
	"strings"
	"testing"
)

func TestTemplatesThatASPNETCoreRefuses(t *testing.T) {
	for template, words := range map[string]string{
		"api/{a":                 `"{" has no "}"`,
		"api/a}":                 `"}" has no "{"`,
		"api/{":                  `"{" has no "}"`,
		"api/{}":                 "no name",
		"api//x":                 "two slashes",
		"api/x//":                "two slashes",
		"~x":                     `must not begin with "~"`,
		"api/{a}/{A}":            "stands twice",
		"api/{*rest}/x":          "not the last segment",
		"api/{*rest}/{x?}":       "not the last segment",
		"api/a{*rest}":           "shares its segment",
		"api/{*rest?}":           "must not be optional",
		"api/{a}{b}":             "side by side",
		"api/{a?}-x":             "not the end of its segment",
		"api/x-{a?}":             "only a period",
		"api/{a=1?}":             "optional and has a default",
		"api/a?b":                "question mark",
		"api/{a/b}":              "no name",
		"api/{a{b}":              "has to be doubled",
		"api/{a?b}":              "no name",
		"api/{id:foo}":           `"foo" is unknown`,
		"api/{id:int(3)}":        "takes no argument",
		"api/{id:int()}":         "takes no argument",
		"api/{id:min}":           "lacks its argument",
		"api/{id:min(x)}":        "no whole number",
		"api/{id:range(1)}":      "do not fit",
		"api/{id:range(3,1)}":    "do not fit",
		"api/{id:length(-1)}":    "do not fit",
		"api/{id:length(1,2,3)}": "do not fit",
		"api/{id:regex}":         "lacks its pattern",
	} {
		if r, err := parseTemplate(template); err == nil {
			t.Errorf("%s: parsed as %+v", template, r.segments)
		} else if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", template, err, words)
		}
	}
}

func TestParametersOfTemplates(t *testing.T) {
	r, err := parseTemplate(`/api/{Id:int:min(5)}/a-{x}.{Ext?}`)
	if err != nil || strings.Join(r.Params, " ") != "id x ext" || r.CatchAll != "" ||
		!r.has("ID") || r.has("y") {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = parseTemplate(`~/x/{**Path}`)
	if err != nil || r.CatchAll != "path" || len(r.segments) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = parseTemplate(""); err != nil || len(r.segments) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestConstraintsAreCutAsTheOriginalCutsThem(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "|",
		":int":               "int|",
		":int=5":             "int|5",
		"=":                  "|",
		"=a:b":               "|a:b",
		":int:min(5):max(9)": "int min(5) max(9)|",
		`:regex(^\d+$)`:      `regex(^\d+$)|`,
		`:regex(a:b)`:        `regex(a:b)|`,
		`:regex(a=b)=7`:      `regex(a=b)|7`,
		`:regex(\))`:         `regex(\))|`,
		`:regex((a|b)c):int`: `regex((a|b)c) int|`,
		// the colon inside makes it run on to the last ")"
		`:regex(a:b):min(5)`: `regex(a:b):min(5)|`,
		`:regex(a:int`:       `regex(a int|`,
		"::int":              "int|",
	} {
		constraints, fallback, has := cutConstraints(text)
		if got := strings.Join(constraints, " ") + "|" + fallback; got != want ||
			has != strings.Contains(text, "=") && text != `:regex(a=b)=7` && !has {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestConstraints(t *testing.T) {
	for text, values := range map[string]struct{ hold, fail string }{
		"int": {"0|-1|+5| 7 |2147483647|-2147483648|007",
			"a|1.0|2147483648||0x1|1,000|١"},
		"INT":  {"5", "a"},
		"long": {"9223372036854775807|-9223372036854775808", "9223372036854775808|x"},
		"bool": {"true|FALSE|True| false ", "1|yes|"},
		"decimal": {"1|1.5|.5|5.|-1|5-|1,000.25| 1 |79228162514264337593543950335",
			"1e5|.|-|a|79228162514264337593543950336|-5-||1.000,2"},
		"double": {"1|1.5|1e5|-1E-5|1,000|.5|NaN|Infinity|-infinity|1e999",
			"5-|.|e5|a||--1"},
		"float": {"1.5|1e5", "x"},
		"guid":  {"0f8fad5b-d9cb-469f-a165-70867728950e|0F8FAD5BD9CB469FA16570867728950E|{0f8fad5b-d9cb-469f-a165-70867728950e}|(0f8fad5b-d9cb-469f-a165-70867728950e)", "0f8fad5b|x|0f8fad5b-d9cb-469f-a165-70867728950"},
		"datetime": {"2026-11-23|11/23/2026 10:00|2026-11-23T10:00:00Z|Nov 23 2026",
			"abc|;|"},
		"minlength(3)":      {"abc|abcd|ÄÖÜ", "ab|"},
		"maxlength(2)":      {"ab|a|", "abc|😀x"},
		"length(2)":         {"ab|😀", "a|abc"},
		"length(1,2)":       {"a|ab", "abc|"},
		"length( 1 , 2 )":   {"a", "abc"},
		"min(5)":            {"5|6", "4|x|"},
		"max(5)":            {"5|-9", "6|x"},
		"range(1,9)":        {"1|9", "0|10|x"},
		"alpha":             {"abc|ABC|", "a1|a-b|ä"},
		"required":          {"x", ""},
		"file":              {"a.b|.gitignore|a/b.c|a.b.", "a|a.|a.b/c|..."},
		"nonfile":           {"a|a.|a.b/c|", "a.b"},
		`regex(^a\d+$)`:     {"a1|A22", "b1|a"},
		`regex(^[a-c]{2}$)`: {"ab|CC", "abc|x"},
		`regex((?=a)a)`:     {"a|anything, since Go cannot judge it", ""},
	} {
		c, err := parseConstraint(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for v := range strings.SplitSeq(values.hold, "|") {
			if !c.holds(v) {
				t.Errorf("%s: %q fails", text, v)
			}
		}
		if values.fail == "" && c.kind == "regex" {
			continue
		}
		for v := range strings.SplitSeq(values.fail, "|") {
			if c.holds(v) {
				t.Errorf("%s: %q holds", text, v)
			}
		}
	}
}
