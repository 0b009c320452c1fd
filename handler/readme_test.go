package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadmeIsShort: the first page stays one that is read, and each table is in one place.
func TestReadmeIsShort(t *testing.T) {
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) > 120 {
		t.Errorf("README.md: want at most 120 lines, got %d", len(lines))
	}
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("pages: %q (%v)", pages, err)
	}
	others := map[string]string{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			others[strings.TrimSpace(line)] = filepath.Base(page)
		}
	}
	listing := false
	for i, line := range lines {
		listing = listing != strings.HasPrefix(line, "```")
		row := strings.HasPrefix(line, "| `")
		// A link that is long by itself cannot be broken.
		if n := len([]rune(line)); n > 100 && !listing && !row && !strings.HasPrefix(strings.TrimSpace(line), "[") {
			t.Errorf("README.md:%d: want at most 100 columns, got %d", i+1, n)
		}
		if other := others[line]; row && other != "" {
			t.Errorf("README.md:%d: the same row is in docs/%s", i+1, other)
		}
	}
}
