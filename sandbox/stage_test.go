package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A checkout of a handler, a host.json and one function is enough; what is gone is gone from the stage.
func TestTheAppIsStagedWithoutMake(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var stderr strings.Builder
	if _, err := stageApp(t.Context(), &stderr); err == nil || !strings.Contains(err.Error(), "want host.json") {
		t.Errorf("without a checkout: %v", err)
	}
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("go.mod", "module staged\n\ngo 1.24\n")
	put("handler/main.go", "package main\n\nfunc main() { oops }\n")
	put("host.json", "{}")
	put("functions/one/function.json", "{}")
	put("build/app/gone/function.json", "{}")
	if _, err := stageApp(t.Context(), &stderr); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("a handler that does not compile: %v", err)
	}
	put("handler/main.go", "package main\n\nfunc main() {}\n")
	root, err := stageApp(t.Context(), &stderr)
	if err != nil {
		t.Fatal(err)
	}
	handler := filepath.Join(root, "handler")
	if runtime.GOOS == "windows" {
		handler += ".exe"
	}
	for _, file := range []string{handler, filepath.Join(root, "host.json"), filepath.Join(root, "one", "function.json")} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "gone")); err == nil {
		t.Error("a function that is gone is staged")
	}
	if !strings.Contains(stderr.String(), "building the handler") {
		t.Errorf("stderr: %q", &stderr)
	}
	t.Setenv("PATH", "")
	if _, err := stageApp(t.Context(), &stderr); err == nil || !strings.Contains(err.Error(), "no go on PATH") {
		t.Errorf("without go: %v", err)
	}
}
