package main

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnpackKeepsContentAndModes(t *testing.T) {
	path, folder := filepath.Join(t.TempDir(), "relay.zip"), t.TempDir()
	writeZip(t, path, "handler", "poll/function.json")
	if err := unpack(path, folder); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"handler", "poll/function.json"} {
		file := filepath.Join(folder, name)
		data, err := os.ReadFile(file)
		if err != nil || string(data) != "content of "+name {
			t.Errorf("%s: got %q, %v", name, data, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: want mode 0755, got %v, %v", name, info.Mode(), err)
		}
	}
}

func TestUnpackStaysInItsFolder(t *testing.T) {
	path, folder := filepath.Join(t.TempDir(), "relay.zip"), t.TempDir()
	writeZip(t, path, "../outside")
	err := unpack(path, filepath.Join(folder, "inside"))
	if err == nil || !strings.Contains(err.Error(), "inside the folder") {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "outside")); err == nil {
		t.Error("wrote outside of its folder")
	}
}

func writeZip(t *testing.T, path string, names ...string) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(out)
	for _, name := range names {
		header := &zip.FileHeader{Name: name}
		header.SetMode(0o755)
		entry, err := archive.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte("content of " + name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
