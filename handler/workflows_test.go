package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	usesLine   = regexp.MustCompile(`(?m)^\s*(?:- )?uses: (\S+)(.*)$`)
	pinned     = regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40}$`)
	permission = regexp.MustCompile(`(?m)^(\s*)([a-z-]+): (read|write|none)$`)
	toolRun    = regexp.MustCompile(`go (?:run|install) ([a-z][a-z.]*\.[a-z]+/\S+)`)
	exactly    = regexp.MustCompile(`@v\d+\.\d+\.\d+$`)
)

// mayWrite is the one permission to write that a workflow has: deploying exchanges its token, releasing
// writes the draft of a release.
var mayWrite = map[string]string{"deploy.yml": "id-token", "release.yml": "contents"}

// TestWorkflowsTakeNothingThatMoves: each action is named by its commit, with the version beside it; a check-out leaves no credentials behind; a workflow
// may read the sources and nothing more, but for mayWrite; what a caller types never stands in a script.
func TestWorkflowsTakeNothingThatMoves(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*")
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows: %q (%v)", files, err)
	}
	steps := ""
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, name := string(data), filepath.Base(file)
		steps += text
		for _, m := range usesLine.FindAllStringSubmatch(text, -1) {
			if !pinned.MatchString(m[1]) || !regexp.MustCompile(`^ # v\d+\.\d+\.\d+$`).MatchString(m[2]) {
				t.Errorf("%s: %s%s: want a commit and, behind it, the version", name, m[1], m[2])
			}
		}
		if outs, kept := strings.Count(text, "actions/checkout@"), strings.Count(text, "persist-credentials: false"); outs != kept {
			t.Errorf("%s: %d check-outs, %d of them leave no credentials", name, outs, kept)
		}
		if !strings.Contains(text, "\npermissions:\n  contents: read\n") {
			t.Errorf("%s: want permissions that begin with contents: read, for all jobs", name)
		}
		for _, m := range permission.FindAllStringSubmatch(text, -1) {
			if m[3] == "write" && m[2] != mayWrite[name] {
				t.Errorf("%s: may write %s", name, m[2])
			}
		}
		for line := range strings.SplitSeq(text, "\n") {
			if strings.Contains(line, "${{") && (strings.Contains(line, "run:") || strings.HasPrefix(strings.TrimSpace(line), "az")) {
				t.Errorf("%s: an expression in a script: %s", name, line)
			}
		}
	}
	for _, want := range []string{"run: make test check\n", "run: make vuln\n", "run: make package sbom\n", "run: make snapshot\n", "run: make release\n"} {
		if !strings.Contains(steps, want) {
			t.Errorf("no workflow has the step %q", strings.TrimSpace(want))
		}
	}
}

// TestToolsAreOfOneVersion: what the Makefile runs of others is named with its version, or by go.mod.
func TestToolsAreOfOneVersion(t *testing.T) {
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	found := toolRun.FindAllStringSubmatch(strings.ReplaceAll(string(text), "$(GO)", "go"), -1)
	for _, m := range found {
		if !exactly.MatchString(m[1]) {
			t.Errorf("%s has no version", m[1])
		}
	}
	if len(found) < 2 {
		t.Errorf("only %d tools were found: %q", len(found), found)
	}
}
