package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	pathNamed = regexp.MustCompile("`((?:handler|sandbox|internal|deploy|e2e|functions)(?:/[\\w.*-]+)*)`")
	nodeNamed = regexp.MustCompile(`\[((?:handler|sandbox|internal)(?:/\w+)*)\]`)
	edge      = regexp.MustCompile(`^\s*(\w+)(?:\[[^\]]*\])? --> (\w+)`)
	node      = regexp.MustCompile(`(\w+)\[([^\]]+)\]`)
	nameIn    = regexp.MustCompile("`(\\w+)` (?:in|of) `([\\w/]+_?\\w*\\.go)`")
	packages  = regexp.MustCompile("(?m)^\\| `(handler/internal/\\w+)` \\|")
)

// TestContributingNamesTheTree: files, folders and names in CONTRIBUTING are there; the picture's
// packages exist, and each solid arrow between two of them is an import; every package of the handler
// has its row.
func TestContributingNamesTheTree(t *testing.T) {
	data, err := os.ReadFile("../.github/CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	named := pathNamed.FindAllStringSubmatch(text, -1)
	for _, m := range append(named, nodeNamed.FindAllStringSubmatch(text, -1)...) {
		if found, err := filepath.Glob(filepath.Join("..", m[1])); err != nil || len(found) == 0 {
			t.Errorf("%s is not there", m[1])
		}
	}
	if len(named) < 40 {
		t.Errorf("only %d paths were found", len(named))
	}
	names := nameIn.FindAllStringSubmatch(text, -1)
	for _, m := range names {
		source, err := os.ReadFile(filepath.Join("..", m[2]))
		if err != nil || !regexp.MustCompile(`\b`+m[1]+`\b`).Match(source) {
			t.Errorf("%s has no %s (%v)", m[2], m[1], err)
		}
	}
	if len(names) < 4 {
		t.Errorf("only %d names were found: %q", len(names), names)
	}

	_, picture, _ := strings.Cut(text, "```mermaid\n")
	picture, _, _ = strings.Cut(picture, "```")
	folder := map[string]string{}
	for _, m := range node.FindAllStringSubmatch(picture, -1) {
		folder[m[1]] = m[2]
	}
	imports := parseImportsOf(t)
	arrows := 0
	for line := range strings.SplitSeq(picture, "\n") {
		m := edge.FindStringSubmatch(line)
		if m == nil || !strings.Contains(folder[m[1]], "/") || !strings.Contains(folder[m[2]], "/") {
			continue
		}
		arrows++
		if !imports(folder[m[1]], folder[m[2]]) {
			t.Errorf("the picture has an arrow from %s to %s, which it does not import", folder[m[1]], folder[m[2]])
		}
	}
	if arrows < 8 {
		t.Errorf("only %d arrows between packages were found", arrows)
	}

	listed := map[string]bool{}
	for _, m := range packages.FindAllStringSubmatch(text, -1) {
		listed[m[1]] = true
	}
	all, err := filepath.Glob("internal/*")
	if err != nil || len(all) < 8 {
		t.Fatalf("packages: %q (%v)", all, err)
	}
	for _, dir := range all {
		if name := "handler/" + filepath.ToSlash(dir); !listed[name] {
			t.Errorf("%s has no row under Folders", name)
		}
	}
}

// parseImportsOf gives a function that reports whether any file of one folder, tests aside, imports another.
func parseImportsOf(t *testing.T) func(from, to string) bool {
	return func(from, to string) bool {
		files, err := filepath.Glob(filepath.Join("..", from, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(source), `"apimrelay/`+to+`"`) {
				return true
			}
		}
		return false
	}
}
