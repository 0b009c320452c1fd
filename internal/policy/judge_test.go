package policy_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/internal/policy"
)

// readerToken is the token of a managed identity with the role Orders.Read, in the version that the
// API's registration asks for. Its signature is none: Judge does not look at it.
func readerToken(version int) string {
	claims := map[string]any{
		"aud": "a47c91d2-5e08-4b3f-9d76-08c2e1f3ba95",
		"iss": "https://login.microsoftonline.com/6f0c2a71-93de-4c58-8b1e-2d4a7f5e9c10/v2.0",
		"azp": "e2509b64-17fa-4d8c-a3b0-96d5c7481f2e", "oid": "0d7f3c58-a1e4-4b92-86cd-f5310e9b2a47",
		"roles": []string{"Orders.Read"}, "tid": "6f0c2a71-93de-4c58-8b1e-2d4a7f5e9c10", "ver": "2.0",
		"nbf": judged.Add(-time.Minute).Unix(), "exp": judged.Add(time.Hour).Unix(),
	}
	if version == 1 {
		claims["aud"] = "api://a47c91d2-5e08-4b3f-9d76-08c2e1f3ba95"
		claims["iss"] = "https://sts.windows.net/6f0c2a71-93de-4c58-8b1e-2d4a7f5e9c10/"
		claims["appid"], claims["ver"] = claims["azp"], "1.0"
		delete(claims, "azp")
	}
	payload, _ := json.Marshal(claims)
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part(payload) + "." + part([]byte("none"))
}

var update = flag.Bool("update", false, "write the verdicts of testdata/people anew")

var judged = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// judge holds a token against a policy and writes the verdict, one line for each statement: its line,
// its rules that refuse or cannot be told with what they say, and the condition.
func judge(t *testing.T, s policy.Sources, values map[string]string, version int) string {
	t.Helper()
	j := s.Judge(values, policy.Input{Now: judged, Request: policy.Request{
		Header: http.Header{"Authorization": {"Bearer " + readerToken(version)}},
	}})
	var b strings.Builder
	for i, r := range j.Rules {
		if i == 0 || r.Line != j.Rules[i-1].Line || r.File != j.Rules[i-1].File {
			fmt.Fprintf(&b, "%d %s", r.Line, r.Statement)
			if r.When != "" {
				fmt.Fprintf(&b, ", %s", r.When)
			}
			b.WriteByte('\n')
		}
		switch r.Result {
		case policy.Refuse:
			fmt.Fprintf(&b, "  refuses by %s: %s\n", r.Check, r.Why)
		case policy.CannotTell:
			fmt.Fprintf(&b, "  cannot tell %s: %s\n", r.Check, r.Why)
		case policy.NotRun:
			fmt.Fprintf(&b, "  not run: %s\n", r.Why)
		}
	}
	for _, n := range append(slices.Clone(j.Notes), j.Unknown...) {
		fmt.Fprintf(&b, "%d %s: %s", n.Line, n.Statement, n.Text)
		if n.When != "" {
			fmt.Fprintf(&b, ", %s", n.When)
		}
		b.WriteByte('\n')
	}
	for i, p := range j.Skipped {
		fmt.Fprintf(&b, "%s%s %d", map[bool]string{true: "not looked at: ", false: ", "}[i == 0], p.Statement, p.Line)
	}
	if len(j.Skipped) > 0 {
		b.WriteByte('\n')
	}
	if !j.Always {
		fmt.Fprintf(&b, "%s\n", map[bool]string{true: "checks a token under conditions only", false: "checks no token"}[j.Checks])
	}
	return b.String()
}

func readPeople(t *testing.T, name string) *policy.Document {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "people", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := policy.Read(name, f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPoliciesThatPeopleHaveAreJudged(t *testing.T) {
	data, err := os.ReadFile("testdata/people/named-values.json")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]string
	if err := json.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/people/*.xml")
	if err != nil || len(files) != 34 {
		t.Fatalf("got %d policies: %v", len(files), err)
	}
	global := strings.NewReader("<policies><inbound/></policies>")
	above, err := policy.Read("above.xml", global)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			s := policy.Sources{Scopes: policy.Scopes{Global: above, Product: above, API: readPeople(t, name)}}
			if strings.HasPrefix(name, "30-") {
				s.Fragments = map[string]*policy.Document{"verify-caller": readPeople(t, "fragments/verify-caller.xml")}
			}
			got := judge(t, s, values, 2)
			if v1 := judge(t, s, values, 1); v1 != got {
				got += "with a token of version 1:\n" + v1
			}
			golden := strings.TrimSuffix(file, ".xml") + ".verdict"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, secret := range []string{values["signing-key"], values["front-door-id"]} {
				if strings.Contains(got, secret) {
					t.Errorf("the value of a named value is shown")
				}
			}
		})
	}
}

func TestBrokenDocumentsSayWhereTheyBreak(t *testing.T) {
	for _, row := range []struct {
		file  string
		lines []int
		says  string
	}{
		{"unclosed-element.xml", []int{5, 7}, "audiences"},
		{"cut-off.xml", []int{6}, "unexpected EOF"},
		{"expression-without-end.xml", []int{4}, "expression has no end"},
		{"two-roots.xml", []int{6}, "second root element"},
		{"not-a-policy.xml", []int{1, 2}, ""},
		{"end-tag-after-csharp.xml", []int{9, 11}, "wen"},
	} {
		data, err := os.ReadFile(filepath.Join("testdata", "people", "broken", row.file))
		if err != nil {
			t.Fatal(err)
		}
		_, err = policy.Read(row.file, strings.NewReader(string(data)))
		var faults policy.Errors
		if !errors.As(err, &faults) || !slices.Contains(row.lines, faults[0].Line) ||
			!strings.Contains(faults[0].Text, row.says) || strings.Contains(faults[0].Text, "not interpreted") {
			t.Errorf("%s: want one of lines %v and %q, got %v", row.file, row.lines, row.says, err)
		}
	}
}

// in puts statements into the section inbound, the first of them on line 2.
func in(statements string) string {
	return "<policies><inbound>\n" + statements + "\n</inbound></policies>"
}

const (
	checkWrite = `<validate-azure-ad-token tenant-id="6f0c2a71-93de-4c58-8b1e-2d4a7f5e9c10"><required-claims>` +
		`<claim name="roles"><value>Orders.Write</value></claim></required-claims></validate-azure-ad-token>`
	refused = "  refuses by claim roles: the caller has other roles\n"
)

func TestWhatStandsBeforeACheckDecidesIt(t *testing.T) {
	conditional := "checks a token under conditions only\n"
	for _, row := range []struct{ name, statements, want string }{
		{
			"C# with quotes of a policy's own, as an attribute and as a text",
			`<set-variable name="a" value="@($"{(true ? "}" : @"""")}")" />` + "\n" + `<set-body>@("</inbound>" + '"' + "\"")</set-body>` + "\n" + checkWrite,
			"4 validate-azure-ad-token\n" + refused + "not looked at: set-variable 2, set-body 3\n",
		},
		{
			"C# whose quotes are the attribute's other ones",
			`<set-variable name="a" value='@("x" + 'y' + "'")' />` + "\n" + checkWrite,
			"3 validate-azure-ad-token\n" + refused + "not looked at: set-variable 2\n",
		},
		{
			"quotes as they are beside references",
			`<set-variable name="a" value="@(context.Request.Url.Query["a"].Length &gt; 1 &amp;&amp; true && 1 < 2)" />` + "\n" + checkWrite,
			"3 validate-azure-ad-token\n" + refused + "not looked at: set-variable 2\n",
		},
		{
			"a body with namespaces and an address that looks like an expression",
			`<set-body><s:Envelope xmlns:s="urn:s"><a href="mail@(office)">x@{y</a></s:Envelope></set-body>` + "\n" + checkWrite,
			"3 validate-azure-ad-token\n" + refused + "not looked at: set-body 2\n",
		},
		{
			"an answer ends the section",
			`<return-response><set-status code="503" /></return-response>` + "\n" + checkWrite,
			"3 validate-azure-ad-token\n  not run: a statement before it answers in its place\n" +
				"2 return-response: it answers with 503: what stands behind it is not reached\n",
		},
		{
			"a header removed in the branch of the check alone",
			"<choose><when condition=\"@(true)\">\n<set-header name=\"Authorization\" exists-action=\"delete\" />\n" + checkWrite +
				"</when>\n<otherwise>" + checkWrite + "</otherwise></choose>",
			"4 validate-azure-ad-token, if line 2 holds\n  refuses by token: <set-header> of line 3 removes Authorization before the check\n" +
				"5 validate-azure-ad-token, if line 2 does not hold (<otherwise>, line 5)\n" + refused +
				"3 set-header: it removes Authorization before a check reads it, if line 2 holds\n",
		},
		{
			"the third branch",
			"<choose><when condition=\"@(a)\"/>\n<when condition=\"@(b)\"/>\n<when condition=\"@(c)\">" + checkWrite + "</when></choose>",
			"4 validate-azure-ad-token, if line 4 holds and none of lines 2, 3 holds\n" + refused + conditional,
		},
		{
			"children in an order that the service refuses",
			`<validate-jwt header-name="Authorization"><audiences><audience>a47c91d2-5e08-4b3f-9d76-08c2e1f3ba95</audience></audiences>` +
				`<openid-config url="https://login.microsoftonline.com/6f0c2a71-93de-4c58-8b1e-2d4a7f5e9c10/v2.0/.well-known/openid-configuration" /></validate-jwt>`,
			"2 validate-jwt\n  refuses by order: API Management does not take the children in this order (line 2)\n",
		},
		{
			"a named value that nobody gave, and one that no rule needs",
			`<set-header name="X-Key"><value>{{backend-key}}</value></set-header>` + "\n" + `<validate-azure-ad-token tenant-id="{{tenant}}" />`,
			"3 validate-azure-ad-token\n  cannot tell issuer: line 3: the named value tenant was not given\nnot looked at: set-header 2\n",
		},
		{
			"all of several roles, one of them computed",
			`<validate-azure-ad-token tenant-id="6f0c2a71-93de-4c58-8b1e-2d4a7f5e9c10"><required-claims><claim name="roles"><value>Orders.Write</value>` +
				`<value>@(x)</value></claim><claim name="@(y)"/><claim name="idtyp"><value>@(z)</value></claim></required-claims></validate-azure-ad-token>`,
			"2 validate-azure-ad-token\n" + refused + "  cannot tell claim: line 2: an expression decides it\n" +
				"  refuses by claim idtyp: the token has no claim idtyp\n",
		},
		{
			"a fragment that was not given",
			`<include-fragment fragment-id="check" />`,
			"2 include-fragment: the fragment check was not given: -fragments DIR\nchecks no token\n",
		},
		{"nothing at all", "", "checks no token\n"},
	} {
		d, err := policy.Read("p.xml", strings.NewReader(in(row.statements)))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if diff := cmp.Diff(row.want, judge(t, policy.Sources{Scopes: policy.Scopes{API: d}}, nil, 2)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", row.name, diff)
		}
	}
}

func TestScopesAreMergedWhereBaseStands(t *testing.T) {
	read := func(name, statements string) *policy.Document {
		d, err := policy.Read(name, strings.NewReader(in(statements)))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	s := policy.Sources{Scopes: policy.Scopes{
		Global: read("global.xml", "\n"+checkWrite), API: read("api.xml", "<base />"), Operation: read("operation.xml", "<base />"),
	}}
	want := "3 validate-azure-ad-token\n" + refused +
		"2 base: the policies of the scopes above were not given: -product-policy FILE\n"
	if diff := cmp.Diff(want, judge(t, s, nil, 2)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.Operation = read("operation.xml", "<cors />")
	if got := judge(t, s, nil, 2); got != "not looked at: cors 2\nchecks no token\n" {
		t.Errorf("without <base /> in the operation: got %s", got)
	}
}
