package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/cause"
)

// golden compares with a file, or writes it where UPDATE is set.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		must(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	if diff := cmp.Diff(readFile(t, file), got); diff != "" {
		t.Errorf("%s is another one; UPDATE=1 writes it (-file +now):\n%s", file, diff)
	}
}

func fixed() *Report {
	r := newReport([]Result{
		{ID: "settings", Title: "the settings are complete", Functions: []string{"poll"}, Status: OK, Saw: "all shared"},
		{ID: "settings", Title: "the settings are complete", Functions: []string{"relay"}, Status: OK, Saw: "all shared"},
		{ID: "slips", Title: "no setting looks like a slip", Status: Warning, Saw: "ApimKey: blanks around the key are ignored", Fix: "enter the key anew", Anchor: "key-form"},
		{ID: "token-role", Title: "the token carries the role that the API wants", Functions: []string{"poll"}, Status: Finding, Saw: "no roles; wanted Api.Read",
			Fix: "deploy/scripts/grant-role --principal <id>", Anchor: "role-missing"},
		{ID: "policy", Title: "the token passes the policy", Functions: []string{"poll"}, Status: NotRun, Saw: "no policy was given: -policy FILE"},
		{ID: "call", Title: "the gateway accepts the token", Functions: []string{"relay"}, Status: OK},
	})
	r.Program = "1.2.3"
	r.Counters = &Counters{
		Tokens: []TokenCounters{{Identity: "system-assigned managed identity", Resource: "api://x", InHand: true, AgeS: 60, LeftS: 3600, Hash: "0123456789ab", Requests: 2, Forced: 1,
			Refreshes: map[string]uint64{"new": 1, "same": 1, "refused": 0, "unavailable": 0}}},
		Retries: 3, Replays: map[string]uint64{"key": 1, "token": 0}, Refusals: map[string]uint64{"key-invalid": 1, "token-refused": 2},
	}
	return r
}

func TestTableAndJSONAreAsDocumented(t *testing.T) {
	r := fixed()
	golden(t, "testdata/table.golden", table(t, r))
	var json strings.Builder
	must(t, r.WriteJSON(&json))
	golden(t, "testdata/json.golden", json.String())
	back, err := ReadJSON(strings.NewReader(json.String()))
	must(t, err)
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

// What was not run because of one failure is one line below it, with -short the rest is left out, and
// colours and links are for who wants them.
func TestTheTableIsShortWhereItMayBe(t *testing.T) {
	r := newReport([]Result{
		{ID: "settings", Title: "the settings are complete", Status: OK},
		{ID: "key", Title: "the gateway accepts the key", Functions: []string{"a"}, Status: Finding, Saw: "401", Fix: "do", Anchor: "key-invalid"},
		{ID: "call", Title: "the gateway accepts the token", Status: NotRun, Saw: "needs: x", Needs: "key"},
		{ID: "policy", Title: "the token passes the policy", Status: NotRun, Saw: "needs: x", Needs: "key"},
		{ID: "of-a-later-version", Title: "new", Status: "odd"},
	})
	write := func(s Style) string {
		var b strings.Builder
		must(t, r.WriteTable(&b, s))
		return b.String()
	}
	whole := write(Style{Page: "https://host/page"})
	for _, want := range []string{"settings\nok ", "\n\ngateway\nFINDING  the gateway accepts the key", "so   2 checks not run, which need this\n",
		"see  https://host/page#key-invalid\n", "odd  new", "1 finding, 0 warnings, 1 ok, 2 not run"} {
		if !strings.Contains(whole, want) {
			t.Errorf("want %q in\n%s", want, whole)
		}
	}
	if strings.Contains(whole, "needs: ") || strings.Contains(whole, "\x1b") {
		t.Errorf("want no line for what needs the key, and no colour, in\n%s", whole)
	}
	short := write(Style{Short: true, Colour: true})
	if strings.Contains(short, "complete") || !strings.Contains(short, "\x1b[1;31mFINDING\x1b[0m  the gateway") || !strings.Contains(short, "handler doctor -explain key-invalid") {
		t.Errorf("want the finding alone, in red, got\n%s", short)
	}
}

func TestACauseIsExplainedByTheProgramAlone(t *testing.T) {
	var b strings.Builder
	must(t, WriteCause(&b, "key-invalid"))
	if text := b.String(); !strings.HasPrefix(text, "key-invalid: the gateway does not accept the key\n  - ") || !strings.Contains(text, "\n  fix: ") {
		t.Errorf("got %s", text)
	}
	if err := WriteCause(&b, "nothing-such"); err == nil {
		t.Error("want an error for a code that is none")
	}
}

func TestOnlyFindingsMakeAReportBad(t *testing.T) {
	for status, exit := range map[Status]int{OK: 0, Warning: 0, NotRun: 0, Finding: 1} {
		r := newReport([]Result{{ID: "a", Status: OK}, {ID: "b", Status: status}})
		if r.Exit() != exit || r.OK != (exit == 0) {
			t.Errorf("%s: want exit status %d, got %d and ok %v", status, exit, r.Exit(), r.OK)
		}
	}
}

func TestEachCheckHasACauseAndItsNeeds(t *testing.T) {
	for _, c := range checks {
		if cause.Of(c.anchor) == nil {
			t.Errorf("the check %s leads to %s, which is no cause", c.id, c.anchor)
		}
		for _, id := range slices.Concat(c.needs, c.after) {
			need := checkOf(id)
			if !contains(c.of, need.of) {
				t.Errorf("the check %s waits for %s, whose part it does not contain", c.id, id)
			}
		}
	}
}

// contains tells whether functions that share a node of the part p share one of q as well.
func contains(p, q part) bool {
	holds := map[part][]part{
		ofApp: {ofApp}, ofFunction: {ofApp, ofFunction}, ofIdentity: {ofApp, ofIdentity}, ofRole: {ofApp, ofIdentity, ofRole}, ofGateway: {ofApp, ofGateway},
		ofURL: {ofApp, ofGateway, ofURL}, ofKey: {ofApp, ofGateway, ofURL, ofKey}, ofCall: {ofApp, ofGateway, ofURL, ofKey, ofIdentity, ofRole, ofCall},
	}
	return slices.Contains(holds[p], q)
}
