package main

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsTheTagElseTheCommit(t *testing.T) {
	const commit = "eee4015a0b1c2d3e4f5061728394a5b6c7d8e9f0"
	const dirty, behind = "devel-eee4015a0b1c-dirty", "v1.2.4-0.20261130223400-eee4015a0b1c"
	for name, row := range map[string]struct {
		module, revision, modified string
		want                       string
	}{
		"a tag":                       {"v1.2.3", commit, "false", "1.2.3"},
		"a tag, files changed":        {"v1.2.3+dirty", commit, "true", dirty},
		"no tag":                      {"v0.0.0-20261130223400-" + commit[:12], commit, "false", "devel-eee4015a0b1c"},
		"behind a tag":                {behind, commit, "false", "devel-eee4015a0b1c"},
		"behind a tag, files changed": {behind + "+dirty", commit, "true", dirty},
		"an older go command":         {"(devel)", commit, "false", "devel-eee4015a0b1c"},
		"no repository":               {"(devel)", "", "", "devel"},
		"from the module's proxy":     {"v1.2.3", "", "", "1.2.3"},
		"nothing":                     {"", "", "", "devel"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: row.module}}
		if row.revision != "" {
			info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: row.revision},
				{Key: "vcs.modified", Value: row.modified}}
		}
		if got := versionOf(info); got != row.want {
			t.Errorf("%s: want %s, got %s", name, row.want, got)
		}
	}
}
