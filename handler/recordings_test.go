package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cited is the name of a recorded exchange as comments and tests write it: its group, then words.
var cited = regexp.MustCompile(`(?:^|[^\w/.-])([A-FP]-[a-z][a-z0-9]*(?:-[A-Za-z0-9]+)*)`)

// Whoever reads a comment that cites a recording finds it among the testdata. "E-exit" may stand for a family of them.
func TestEveryRecordingThatIsCitedIsThere(t *testing.T) {
	var recorded []string
	places := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "build" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		if name, ok := strings.CutSuffix(d.Name(), ".json"); ok {
			if strings.Contains(filepath.ToSlash(path), "/testdata/") {
				recorded = append(recorded, name)
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".go", ".md", ".txtar", ".sh", ".yaml":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range cited.FindAllStringSubmatch(string(text), -1) {
			places[found[1]] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(recorded) < 500 || len(places) < 150 {
		t.Fatalf("only %d recordings and %d citations were found", len(recorded), len(places))
	}
	all := "\n" + strings.Join(recorded, "\n")
	for name, path := range places {
		if !strings.Contains(all, "\n"+name) {
			t.Errorf("%s cites %s, which is in no testdata folder", path, name)
		}
	}
}
