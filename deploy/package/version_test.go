package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestVersionIsTheTagElseTheCommit(t *testing.T) {
	module := t.TempDir()
	writeFiles(t, module, map[string]string{"go.mod": "module example\n"})
	if got := version(t.Context(), module); got != "devel" {
		t.Errorf("without a repository: want devel, got %s", got)
	}
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=x", "-c",
			"user.email=x@example.com",
			"-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)...)
		cmd.Dir = module
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	if got := version(t.Context(), module); got != "devel" {
		t.Errorf("without a commit: want devel, got %s", got)
	}
	git("add", ".")
	git("commit", "-q", "-m", "one")
	commit := "devel-" + git("rev-parse", "HEAD")[:12]
	if got := version(t.Context(), module); got != commit {
		t.Errorf("without a tag: want %s, got %s", commit, got)
	}
	git("tag", "nightly")
	git("tag", "v1.2.3")
	if got := version(t.Context(), module); got != "1.2.3" {
		t.Errorf("with a tag: want 1.2.3, got %s", got)
	}
	writeFiles(t, module, map[string]string{"go.mod": "module other\n",
		"build/relay.zip": "not in Git"})
	if got := version(t.Context(), module); got != commit+"-dirty" {
		t.Errorf("with changed files: want %s-dirty, got %s", commit, got)
	}
	inner := filepath.Join(module, "unpacked")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := version(t.Context(), inner); got != "devel" {
		t.Errorf("inside somebody else's repository: want devel, got %s", got)
	}
}
