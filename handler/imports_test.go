package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rules are what no package of ours may reach, directly or through others of ours. Tests are not
// bound by them.
var rules = []struct{ from, never, why string }{
	{"handler", "sandbox", "the deployed binary must not be able to mint tokens"},
	{"sandbox", "github.com/Azure/azure-sdk-for-go", standIn},
	{"sandbox", "github.com/kelseyhightower/envconfig", standIn},
	{"handler/internal/relay", "handler/internal/server", "one direction only"},
	{"handler/internal/relay", "handler/internal/doctor", "one direction only"},
	{"handler/internal/target", "handler/internal", groundFloor},
	{"handler/internal/header", "handler/internal", groundFloor},
	{"handler/internal/app", "handler/internal/settings", "one direction only"},
	{"handler/internal/cause", "handler/internal", "the ground floor: whoever finds a cause names it"},
	{"internal", "handler", groundFloor},
	{"internal", "sandbox", groundFloor},
	{"internal/policy", "net", "a policy is evaluated on values: listeners and connections are its callers'"},
	{"internal/policy", "os", "files are its callers'"},
}

// own are what a package may not import by itself, though others that it imports do.
var own = []struct{ pkg, never, why string }{
	{"handler/internal/relay", "handler/internal/token", "it declares the two methods that it needs"},
	{"handler/internal/relay", "handler/internal/identity", "it knows tokens, not where they come from"},
}

const (
	// The compiler closes handler/internal to the sandbox.
	standIn     = "a stand-in that shares code with what it tests cancels that code's faults"
	groundFloor = "others stand on it"
)

// only are packages that exactly these of ours may import directly.
var only = map[string][]string{
	"github.com/Azure/azure-sdk-for-go":    {"handler/internal/identity", "handler/cmd/bench"},
	"github.com/kelseyhightower/envconfig": {"handler/internal/settings"},
	"go.opentelemetry.io/otel":             {"handler/internal/observe"},
	"github.com/go-chi/chi":                {"handler/internal/server", "sandbox", "handler/cmd/bench/tutorial"},
}

// The source is parsed here. `go list` in a child process would be served stale from the test cache, which does not see what a child reads.
func TestImportRules(t *testing.T) {
	imports := parseImports(t, "..")
	if len(imports) < 10 || len(imports["handler"]) == 0 {
		t.Fatalf("found only %d packages: the test looks in the wrong place", len(imports))
	}
	checked := 0
	for _, rule := range rules {
		for pkg := range imports {
			if pkg != rule.from && (rule.from == "handler" || !strings.HasPrefix(pkg, rule.from+"/")) {
				continue
			}
			checked++
			if way := reach(imports, pkg, rule.never, map[string]bool{}); way != nil {
				t.Errorf("%s reaches %s: %s (%s)", pkg, rule.never, rule.why, strings.Join(way, " -> "))
			}
		}
	}
	if checked < len(rules) {
		t.Errorf("%d rules, %d checks: a rule names no package", len(rules), checked)
	}
	for _, rule := range own {
		for _, imported := range imports[rule.pkg] {
			if below(imported, rule.never) {
				t.Errorf("%s imports %s: %s", rule.pkg, imported, rule.why)
			}
		}
	}
	for never, allowed := range only {
		for pkg, list := range imports {
			for _, imported := range list {
				if below(imported, never) && !slices.ContainsFunc(allowed, func(a string) bool { return below(pkg, a) }) {
					t.Errorf("%s imports %s: only %v may", pkg, imported, allowed)
				}
			}
		}
	}
}

// reach returns the way from a package to one below never, or nil.
func reach(imports map[string][]string, pkg, never string, been map[string]bool) []string {
	been[pkg] = true
	for _, imported := range imports[pkg] {
		if below(imported, never) {
			return []string{pkg, imported}
		}
		if imports[imported] != nil && !been[imported] {
			if way := reach(imports, imported, never, been); way != nil {
				return append([]string{pkg}, way...)
			}
		}
	}
	return nil
}

// below tells a package or folder from what stands in it. Of the standard library only the package itself is meant: net/url opens no connection.
func below(pkg, root string) bool {
	return pkg == root || strings.Contains(root, "/") && strings.HasPrefix(pkg, root+"/")
}

// parseImports lists the imports of each of our packages, ours without the module's name in front.
func parseImports(t *testing.T, root string) map[string][]string {
	t.Helper()
	imports := make(map[string][]string)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && file != root || d.Name() == "testdata" || d.Name() == "build") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, file)
		pkg := path.Dir(filepath.ToSlash(rel))
		for _, spec := range parsed.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			imports[pkg] = append(imports[pkg], strings.TrimPrefix(name, "apimrelay/"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return imports
}
