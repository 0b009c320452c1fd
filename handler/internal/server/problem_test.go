package server

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The README's table has every code that a caller or a reader of the log can meet, with its status, and no other.
func TestTheReadmeListsEveryProblem(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "### Codes of our own failures\n")
	table, _, _ = strings.Cut(table, "\n#")
	want := map[string]string{answerCut: "none"}
	for _, p := range problems {
		want[p.code] = strconv.Itoa(p.status)
	}
	for _, c := range problemCodes {
		if problemFor(c.code).code != c.code {
			t.Errorf("%s is no problem", c.code)
		}
	}
	quoted := regexp.MustCompile("`([a-z-]+)`")
	got := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		statuses := strings.Split(cells[2], ",")
		for i, code := range quoted.FindAllStringSubmatch(cells[1], -1) {
			if i < len(statuses) {
				got[code[1]] = strings.TrimSpace(statuses[i])
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table of codes (-program +README):\n%s", diff)
	}
}
