// Package e2e starts whole programs, the handler below the host, the stand-ins, doctor and the
// commands of the documents, and looks at them from outside. It needs nothing of handler/internal,
// and cannot have it.
package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// TestMain removes the programs that tests have built.
func TestMain(m *testing.M) {
	status := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(status)
}

var built string // the folder with the programs

// programs builds handler and sandbox, once for a test run, and returns the folder that holds them.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "apimrelay-test-")
	if err != nil {
		return "", err
	}
	built = dir
	// go test keeps results by the files that a test opens. Without these it would repeat the result of
	// programs that have changed since.
	for _, folder := range []string{"../handler", "../sandbox", "../internal"} {
		err := filepath.WalkDir(folder, func(string, fs.DirEntry, error) error { return nil })
		if err != nil {
			return "", err
		}
	}
	for name, pkg := range map[string]string{"handler": "../handler", "sandbox": "../sandbox"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s: %w\n%s", name, err, bytes.TrimSpace(out))
		}
	}
	return dir, nil
})

// stage makes a script root in dir as `make app` does: the project's host.json and functions, and
// the handler. What stands there already stays, so that a test can bring files of its own.
func stage(dir string, functions ...string) error {
	bin, err := programs()
	if err != nil {
		return err
	}
	if err := copyNew("../host.json", filepath.Join(dir, "host.json")); err != nil {
		return err
	}
	for _, name := range functions {
		if err := copyNew(filepath.Join("../functions", name, "function.json"), filepath.Join(dir, name, "function.json")); err != nil {
			return err
		}
	}
	return os.Symlink(filepath.Join(bin, "handler"), filepath.Join(dir, "handler"))
}

func copyNew(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
