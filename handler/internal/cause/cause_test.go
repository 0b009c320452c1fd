package cause

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Each constant has one entry, complete, and each number, problem, refusal and status leads to one.
func TestEachCodeHasOneCompleteEntry(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []Code
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			value, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			codes = append(codes, Code(value))
		}
		return true
	})
	form := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	gap := regexp.MustCompile(`\{[a-z]+\}`)
	leads := map[string]Code{}
	for i := range Table {
		c := &Table[i]
		if i >= len(codes) || codes[i] != c.Code {
			t.Fatalf("entry %d is %s: want the constants of code.go, in their order", i, c.Code)
		}
		if !form.MatchString(string(c.Code)) || c.Title == "" || len(c.Means) == 0 || c.Fix == "" {
			t.Errorf("%s: want a code in small letters, a title, meanings and a fix", c.Code)
		}
		for _, text := range append([]string{c.Title, c.Fix, c.Tells}, c.Means...) {
			if strings.ContainsAny(text, "\n\t") || strings.Contains(text, "  ") {
				t.Errorf("%s: want texts of one line, got %q", c.Code, text)
			}
		}
		if filled := c.FixFor(Gaps{}); gap.MatchString(filled) {
			t.Errorf("%s: its fix keeps gaps: %s", c.Code, filled)
		}
		if strings.Contains(c.Fix, "az functionapp") != (c.FixHere != "") && c.Code != GatewayName && c.Code != SettingsReference {
			t.Errorf("%s: want another fix where no function app is, and only there", c.Code)
		}
		lead := func(kind, value string) {
			if have, twice := leads[kind+value]; twice {
				t.Errorf("%s %s leads to %s and to %s", kind, value, have, c.Code)
			}
			leads[kind+value] = c.Code
		}
		for _, n := range c.AADSTS {
			lead("AADSTS", strconv.Itoa(n))
		}
		for _, p := range c.Problems {
			lead("problem", p)
		}
		for _, r := range c.Refusals {
			lead("refusal", r)
		}
		for _, s := range c.Statuses {
			lead("status", strconv.Itoa(s))
		}
	}
	if len(codes) != len(Table) {
		t.Errorf("want an entry for each of %d codes, got %d", len(codes), len(Table))
	}
}

func TestWhatLeadsToACode(t *testing.T) {
	for text, want := range map[string]Code{
		"AADSTS7000215: Invalid client secret":      ClientSecretWrong,
		"x AADSTS: AADSTS700016, then AADSTS500011": ClientUnknown,
		"AADSTS1: nobody knows":                     EntraRefused,
		"AADSTS":                                    "",
		"no number":                                 "",
		"AADSTS99999999999999999999: too many":      EntraRefused,
	} {
		if got, _ := OfAADSTS(text); got != want {
			t.Errorf("%q: want %q, got %q", text, want, got)
		}
	}
	if got := OfProblem("no-route"); got != NoRoute {
		t.Errorf("want no-route, got %q", got)
	}
	if got := OfRefusal("key-invalid"); got != KeyInvalid {
		t.Errorf("want key-invalid, got %q", got)
	}
	if got := OfStatus(414); got != TooLarge {
		t.Errorf("want too-large, got %q", got)
	}
	if OfProblem("")+OfRefusal("")+OfStatus(0) != "" || Of("") != nil {
		t.Error("want nothing for nothing")
	}
}

func TestAFixIsFilledIn(t *testing.T) {
	c := &Cause{Fix: "az x --name {app} --id {client}; {login}"}
	if got, want := c.FixFor(Gaps{"app": "mine", "tenant": "T"}), "az x --name mine --id <client id>; az login --tenant T"; got != want {
		t.Errorf("want %q, got %q", want, got)
	}
}
