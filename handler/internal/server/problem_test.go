package server

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// The README lists every problem that a caller can meet, with its status.
func TestTheReadmeListsEveryProblem(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for code, p := range problems {
		switch code {
		case "internal", "caller-left", "upload-broken": // a fault of ours, and two that nobody is left to read
			continue
		}
		found := false
		for line := range strings.Lines(string(readme)) {
			cells := strings.Split(line, "|")
			found = found || len(cells) == 5 && strings.Contains(cells[1], "`"+code+"`") && strings.Contains(cells[2], strconv.Itoa(p.status))
		}
		if !found {
			t.Errorf("the README's table has no row for `%s` with %d", code, p.status)
		}
	}
}
