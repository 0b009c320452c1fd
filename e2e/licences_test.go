package e2e

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

// licences are those that a module may have, told by a sentence of their text. All of them allow what the MIT licence of this project needs: redistribution
// with the notice kept. A module with another one fails here before it is shipped.
var licences = []struct{ name, sentence string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"Apache-2.0", "Licensed under the Apache License, Version 2.0"}, // where the file has the notice alone
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"BSD-3-Clause", "Neither the name of"},
	{"BSD-2-Clause", "Redistributions of source code must retain the above copyright notice"},
}

// TestLicences reads the modules out of the built handler, and those of everything else from the go command, finds their licences in the module cache, and
// holds docs/licences.md to them.
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
	const head = "| module | version | licence |\n| --- | --- | --- |\n"
	b.WriteString("# Modules in the deployed handler\n\nWritten by `go test ./e2e -run TestLicences -update` from the built binary and the licence files of its modules.\n\n" + head)
	row := func(path, version string) {
		name := licenceOf(t, filepath.Join(strings.TrimSpace(string(cache)), escaped(path)+"@"+escaped(version)))
		if name == "" {
			t.Errorf("%s %s: no licence that is known: read it, and add it here if it may be used", path, version)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", path, version, name)
	}
	shipped := map[string]bool{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			t.Errorf("%s is replaced by %s: what is shipped is not what go.mod names", m.Path, m.Replace.Path)
		}
		row(m.Path, m.Version)
		shipped[m.Path] = true
	}
	b.WriteString("\n## Modules of tests, tools and the sandbox alone\n\nNone of these is in the package.\n\n" + head)
	// -e: a package that does not compile at the moment says nothing about modules.
	list := exec.Command("go", "list", "-e", "-deps", "-test", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./...", "tool")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	others := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(others)
	for _, line := range slices.Compact(others) {
		if path, version, ok := strings.Cut(line, " "); ok && !shipped[path] {
			row(path, version)
		}
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
		t.Errorf("%s is not what is built: go test ./e2e -run TestLicences -update writes it anew. want\n%s", file, b.String())
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
		for _, folder := range []string{"handler", "internal"} {
			if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join("..", folder))); err != nil {
				t.Fatal(err)
			}
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
