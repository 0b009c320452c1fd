package main

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const hostJSON = `{"version":"2.0", // comments are fine
	"customHandler":{"description":{"defaultExecutablePath":"handler"}}}`

func TestPackageHoldsTheScriptRootAndNothingElse(t *testing.T) {
	root, handler := scriptRoot(t)
	archive := pack(t, root, handler)
	got := map[string]string{}
	for _, f := range archive.File {
		got[f.Name] = f.Mode().String()
		if !f.Modified.Equal(stamp) {
			t.Errorf("%s: time %v, want %v", f.Name, f.Modified, stamp)
		}
		if f.CreatorVersion>>8 != 3 {
			t.Errorf("%s: creator %d, want Unix (3), or the mode is lost", f.Name,
				f.CreatorVersion>>8)
		}
	}
	want := map[string]string{"handler": "-rwxr-xr-x", "host.json": "-rw-r--r--",
		"orders/function.json": "-rw-r--r--", "poll/function.json": "-rw-r--r--"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	names := make([]string, 0, len(archive.File))
	for _, f := range archive.File {
		names = append(names, f.Name)
	}
	if !slices.IsSorted(names) {
		t.Errorf("entries are not sorted: %q", names)
	}
}

func TestPackageIsTheSameWheneverAndWhereverItIsMade(t *testing.T) {
	root, handler := scriptRoot(t)
	first := packBytes(t, root, handler)
	other, otherHandler := scriptRoot(t)
	for _, name := range []string{"host.json", "functions/poll/function.json"} {
		past := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		if err := os.Chtimes(filepath.Join(other, name), past, past); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(other, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// as on Windows, where there is no such bit
	if err := os.Chmod(otherHandler, 0o644); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, packBytes(t, other, otherHandler)) {
		t.Error("two packages of the same files differ")
	}
}

func TestHandlerIsTheSameWhereverItIsBuilt(t *testing.T) {
	binaries := make([][]byte, 2)
	for i := range binaries {
		module := t.TempDir()
		writeFiles(t, module, map[string]string{"go.mod": "module example\n\ngo 1.24\n",
			"handler/main.go": "package main\n\nfunc main() { panic(\"here\") }\n"})
		out := filepath.Join(module, "out")
		t.Setenv("GOFLAGS", []string{"", "-gcflags=all=-N"}[i])
		if err := build(context.Background(), module, "./handler", out, "",
			io.Discard); err != nil {
			t.Fatal(err)
		}
		var err error
		if binaries[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(binaries[0], binaries[1]) {
		t.Error("two builds of the same sources differ")
	}
	if err := checkBinary(binaries[0]); err != nil {
		t.Error(err)
	}
}

func TestFaultyRootsArePackedNever(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"host.json names another executable",
			map[string]string{"host.json": strings.Replace(hostJSON, `"handler"`, `"bin/handler"`,
				1)}, `want "handler", got "bin/handler"`},
		{"host.json names none", map[string]string{"host.json": `{"version":"2.0"}`},
			`want "handler", got ""`},
		{"host.json is broken", map[string]string{"host.json": `{"version":`}, "reading host.json"},
		{"function.json is broken", map[string]string{"functions/poll/function.json": `{`},
			"packing the function poll: function.json"},
		{"a name that the host refuses", map[string]string{"functions/2nd/function.json": `{}`},
			`packing the function "2nd"`},
		{"the handler is a script", map[string]string{"handler": "#!/bin/sh\n"},
			"want an executable for linux/amd64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, handler := scriptRoot(t)
			writeFiles(t, root, tt.files)
			if text, ok := tt.files["handler"]; ok {
				writeFiles(t, filepath.Dir(handler),
					map[string]string{filepath.Base(handler): text})
			}
			_, err := collect(root, handler)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	t.Run("no function at all", func(t *testing.T) {
		root, handler := scriptRoot(t)
		if err := os.RemoveAll(filepath.Join(root, "functions")); err != nil {
			t.Fatal(err)
		}
		writeFiles(t, root, map[string]string{"functions/README.md": "none yet"})
		if _, err := collect(root, handler); err == nil || !strings.Contains(err.Error(),
			"want at least one") {
			t.Errorf("got error %v", err)
		}
	})
}

func pack(t *testing.T, root, handler string) *zip.Reader {
	t.Helper()
	data := packBytes(t, root, handler)
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

func packBytes(t *testing.T, root, handler string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "build", "relay.zip")
	if err := run(context.Background(), []string{"-o", out, "-root", root, "-handler", handler},
		io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// scriptRoot lays out a root with everything that must not be packed lying about, and a handler.
func scriptRoot(t *testing.T) (root, handler string) {
	t.Helper()
	root = t.TempDir()
	writeFiles(t, root, map[string]string{
		"host.json":                           hostJSON,
		"local.settings.json":                 `{"Values":{"ApimKey":"secret"}}`,
		"functions/poll/function.json":        `{"bindings":[]}`,
		"functions/poll/local.settings.json":  `{"Values":{"ApimKey":"secret"}}`,
		"functions/poll/.function.json.swp":   "x",
		"functions/orders/function.json":      `{"bindings":[]}`,
		"functions/notes/README.md":           "no function",
		"functions/local.settings.json":       "{}",
		"functions/orders/deep/function.json": "{}",
	})
	handler = filepath.Join(t.TempDir(), "handler")
	header := make([]byte, 64) // the smallest ELF header: 64 bits, little endian, x86-64
	copy(header, "\x7fELF\x02\x01\x01")
	header[16], header[18], header[20], header[52] = 2, 62, 1, 64
	if err := os.WriteFile(handler, header, 0o755); err != nil {
		t.Fatal(err)
	}
	return root, handler
}

func writeFiles(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
