package main

import (
	"runtime/debug"
	"strings"
)

// release is set by the linker where a package is made: -X main.release=1.2.3.
var release string

// version is one word that says which program this is: the release, such as 1.2.3; of any other
// commit devel-<the first 12 digits of its hash>, with -dirty behind it where files were changed;
// or devel where nothing is known. deploy/package has the same rule for packages.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return versionOf(info)
}

// versionOf is the version of a program that the go command built without a word from us.
func versionOf(info *debug.BuildInfo) string {
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	tag, tagged := strings.CutPrefix(info.Main.Version, "v")
	switch {
	// Between tags the go command makes a version of the commit's time and hash (go.dev/ref/mod
	// #pseudo-versions).
	case tagged && dirty == "" && (revision == "" || !strings.Contains(tag, revision)):
		return tag
	case revision != "":
		return "devel-" + revision + dirty
	}
	return "devel"
}
