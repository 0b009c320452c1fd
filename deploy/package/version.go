package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
)

// version is one word that says what is packed: 1.2.3 where the commit has the tag v1.2.3 and no
// file was changed; of any other commit devel-<the first 12 digits of its hash>, with -dirty behind
// it where files were changed; or devel where the module is not the root of a Git repository. The
// handler has the same rule for programs that the go command builds.
func version(ctx context.Context, module string) string {
	git := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = module
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	// An unpacked archive may lie in somebody else's repository.
	top, ok := git("rev-parse", "--show-toplevel")
	if !ok || !sameFolder(top, module) {
		return "devel"
	}
	commit, ok := git("rev-parse", "--verify", "HEAD")
	if !ok || len(commit) < 12 {
		return "devel"
	}
	changed, ok := git("status", "--porcelain", "--untracked-files=no")
	if !ok || changed != "" {
		return "devel-" + commit[:12] + "-dirty"
	}
	if tag, ok := git("describe", "--tags", "--exact-match", "--match", "v[0-9]*", "HEAD"); ok {
		return strings.TrimPrefix(tag, "v")
	}
	return "devel-" + commit[:12]
}

func sameFolder(a, b string) bool {
	one, err := os.Stat(a)
	other, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(one, other)
}
