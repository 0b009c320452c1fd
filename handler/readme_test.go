package main

import (
	"os"
	"strings"
	"testing"
)

// The README shows the table of triggers and outcomes that TestTriggers holds to the programs in docs/triggers.md.
func TestTheReadmeShowsTheTableOfOutcomes(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	triggers, err := os.ReadFile("../docs/triggers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(triggers), "-update -->\n")
	table, _, found := strings.Cut(rest, "<!-- end of outcomes -->")
	if !found || len(table) < 500 {
		t.Fatal("docs/triggers.md has no table of outcomes")
	}
	if !strings.Contains(string(readme), table) {
		t.Errorf("the README's table of outcomes is not that of docs/triggers.md; copy it:\n%s", table)
	}
}
