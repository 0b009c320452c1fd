package main_test

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// licences are those that a module of the deployed binary may have, told by a sentence of their text. All of them allow what the MIT licence of this project
// needs: redistribution with the notice kept. A module with another one fails here before it is shipped.
var licences = []struct{ name, sentence string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"BSD-3-Clause", "Neither the name of"},
	{"BSD-2-Clause", "Redistributions of source code must retain the above copyright notice"},
}

// TestLicences reads the modules out of the built handler, finds their licences in the module cache, and holds docs/licences.md to them.
func TestLicences(t *testing.T) {
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(filepath.Join(bin, "handler"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Modules in the deployed handler\n\nWritten by `go test ./handler -run TestLicences -update` from the built binary and the licence files of its modules.\n\n" +
		"| module | version | licence |\n| --- | --- | --- |\n")
	for _, m := range info.Deps {
		if m.Replace != nil {
			t.Errorf("%s is replaced by %s: what is shipped is not what go.mod names", m.Path, m.Replace.Path)
		}
		name := licenceOf(t, filepath.Join(strings.TrimSpace(string(cache)), escaped(m.Path)+"@"+escaped(m.Version)))
		if name == "" {
			t.Errorf("%s %s: no licence that is known: read it, and add it here if it may be shipped", m.Path, m.Version)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Path, m.Version, name)
	}
	if len(info.Deps) == 0 {
		t.Fatal("the binary names no modules")
	}
	const file = "../docs/licences.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have, _ := os.ReadFile(file); string(have) != b.String() {
		t.Errorf("%s is not what is built: go test ./handler -run TestLicences -update writes it anew. want\n%s", file, b.String())
	}
}

func licenceOf(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
		return ""
	}
	for _, e := range entries {
		upper := strings.ToUpper(e.Name())
		if !strings.HasPrefix(upper, "LICENSE") && !strings.HasPrefix(upper, "LICENCE") && !strings.HasPrefix(upper, "COPYING") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Error(err)
			continue
		}
		plain := strings.Join(strings.Fields(string(text)), " ")
		if i := slices.IndexFunc(licences, func(l struct{ name, sentence string }) bool { return strings.Contains(plain, l.sentence) }); i >= 0 {
			return licences[i].name
		}
	}
	return ""
}

// escaped is a module's path or version as the module cache has it: a capital is an exclamation mark and its small letter (go.dev/ref/mod#module-cache).
func escaped(path string) string {
	var b strings.Builder
	for _, r := range path {
		if unicode.IsUpper(r) {
			b.WriteByte('!')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// TestBuildsAreTheSame builds the handler from two folders: nothing of where and when may stand in it.
func TestBuildsAreTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("copies and builds the sources")
	}
	var built [2][]byte
	for i := range built {
		dir := filepath.Join(t.TempDir(), strings.Repeat("x", 1+7*i))
		for _, from := range []string{"../go.mod", "../go.sum"} {
			if err := copyNew(from, filepath.Join(dir, filepath.Base(from))); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.CopyFS(filepath.Join(dir, "handler"), os.DirFS(".")); err != nil {
			t.Fatal(err)
		}
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s", "-o", "out", "./handler")
		build.Dir = dir
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var err error
		if built[i], err = os.ReadFile(filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("two builds of the same sources in two folders differ")
	}
}
