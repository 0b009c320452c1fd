package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// stageApp makes the script root build/app of the checkout in the working directory, as make app
// does: host.json, a folder with function.json for each function, and the handler, built for this
// machine. A folder whose function is gone goes as well. So nobody needs make.
func stageApp(ctx context.Context, stderr io.Writer) (root string, err error) {
	root = filepath.Join("build", "app")
	functions, _ := filepath.Glob(filepath.Join("functions", "*", "function.json"))
	if _, err := os.Stat("host.json"); err != nil || len(functions) == 0 {
		return "",
			errors.New(
				"staging the app: want host.json and functions/<name>/function.json in the " +
					"working directory: start it in a checkout, or give a script root with -root")
	}
	handler := filepath.Join(root, "handler")
	if runtime.GOOS == "windows" {
		handler += ".exe"
	}
	if _, err := os.Stat(handler); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(stderr, "sandbox: building the handler, which takes a while the first time")
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s", "-o", handler,
		"./handler")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "",
				errors.New(
					"staging the app: there is no go on PATH: install it from https://go.dev/dl, " +
						"or give a staged script root with -root")
		}
		return "", fmt.Errorf("staging the app: go build ./handler: %w\n%s", err,
			bytes.TrimSpace(text))
	}
	staged := map[string]bool{}
	for _, file := range append(functions, "host.json") {
		to := filepath.Join(root, strings.TrimPrefix(file, "functions"+string(filepath.Separator)))
		staged[filepath.Dir(to)] = true
		if err := copyChanged(file, to); err != nil {
			return "", fmt.Errorf("staging the app: %w", err)
		}
	}
	there, _ := filepath.Glob(filepath.Join(root, "*", "function.json"))
	for _, file := range there {
		if dir := filepath.Dir(file); !staged[dir] {
			if err := os.RemoveAll(dir); err != nil {
				return "", fmt.Errorf("staging the app: %w", err)
			}
		}
	}
	return root, nil
}

// copyChanged copies a file where the copy differs: a host that runs there starts anew at each
// change.
func copyChanged(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(to); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}
