package main

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsTheTagElseTheCommit(t *testing.T) {
	const commit = "eee4015a0b1c2d3e4f5061728394a5b6c7d8e9f0"
	for name, row := range map[string]struct {
		module, revision, modified string
		want                       string
	}{
		"a tag":                       {"v1.2.3", commit, "false", "1.2.3"},
		"a tag, files changed":        {"v1.2.3+dirty", commit, "true", "devel-eee4015a0b1c-dirty"},
		"no tag":                      {"v0.0.0-20261130223400-eee4015a0b1c", commit, "false", "devel-eee4015a0b1c"},
		"behind a tag":                {"v1.2.4-0.20261130223400-eee4015a0b1c", commit, "false", "devel-eee4015a0b1c"},
		"behind a tag, files changed": {"v1.2.4-0.20261130223400-eee4015a0b1c+dirty", commit, "true", "devel-eee4015a0b1c-dirty"},
		"an older go command":         {"(devel)", commit, "false", "devel-eee4015a0b1c"},
		"no repository":               {"(devel)", "", "", "devel"},
		"from the module's proxy":     {"v1.2.3", "", "", "1.2.3"},
		"nothing":                     {"", "", "", "devel"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: row.module}}
		for key, value := range map[string]string{"vcs.revision": row.revision, "vcs.modified": row.modified} {
			if value != "" {
				info.Settings = append(info.Settings, debug.BuildSetting{Key: key, Value: value})
			}
		}
		if got := versionOf(info); got != row.want {
			t.Errorf("%s: want %s, got %s", name, row.want, got)
		}
	}
}
