package identity

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestConnectionStringsOfTheArticle: what the page says goes on working does, and what it says is refused is.
func TestConnectionStringsOfTheArticle(t *testing.T) {
	text, err := os.ReadFile("../../../docs/from-the-article.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|(.*)")
	_, rest, _ := strings.Cut(string(text), "## What goes on working")
	good, bad, _ := strings.Cut(rest, "## What is refused now")
	for section, refused := range map[string]bool{good: false, bad: true} {
		found := row.FindAllStringSubmatch(section, -1)
		if len(found) < 5 {
			t.Fatalf("only %d connection strings were found", len(found))
		}
		for _, s := range found {
			if strings.Contains(s[2], "`TargetTenantID`") {
				continue // two settings that do not fit: package settings refuses them
			}
			if _, _, err := Parse(s[1]); (err != nil) != refused {
				t.Errorf("%s: refused %t, want %t (%v)", s[1], err != nil, refused, err)
			}
		}
	}
}
