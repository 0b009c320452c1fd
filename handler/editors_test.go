package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"apimrelay/internal/hostfile"
)

// TestWhatEditorsStart: the files of editors and of containers for development are JSON with comments,
// and name tasks and files that make has, a Go like go.mod's, and ports that the sandbox takes.
func TestWhatEditorsStart(t *testing.T) {
	read := func(file string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	makefile := read("Makefile")
	object := func(file string) *hostfile.Value {
		t.Helper()
		o, err := hostfile.ParseObject([]byte(read(file)), hostfile.Options{})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		return o
	}
	settings := object(".vscode/settings.json")
	for setting, made := range map[string]string{"azureFunctions.projectSubpath": "ROOT      := ", "azureFunctions.deploySubpath": "./deploy/package -o "} {
		if path := settings.Fold(setting).Text(); !strings.Contains(makefile, made+path+"\n") {
			t.Errorf("%s is %q, which make does not make", setting, path)
		}
	}
	if got := settings.Fold("azureFunctions.projectLanguage").Text(); got != "Custom" {
		t.Errorf("azureFunctions.projectLanguage: want Custom, got %q", got)
	}
	tasks := read(".vscode/tasks.json")
	object(".vscode/tasks.json")
	object(".vscode/extensions.json")
	if task := settings.Fold("azureFunctions.preDeployTask").Text(); !strings.Contains(tasks, `"label": "`+task+`"`) {
		t.Errorf("there is no task %q", task)
	}
	container := read(".devcontainer/devcontainer.json")
	object(".devcontainer/devcontainer.json")
	for _, m := range regexp.MustCompile(`make ([a-z ]+)"`).FindAllStringSubmatch(tasks+container, -1) {
		for task := range strings.FieldsSeq(m[1]) {
			if !strings.Contains(makefile, "\n"+task+":") {
				t.Errorf("make has no task %q", task)
			}
		}
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read("go.mod"))[1]
	if !strings.Contains(container, `"version": "`+version+`"`) {
		t.Errorf("devcontainer.json: want the Go of go.mod, %s", version)
	}
	if !strings.Contains(container, "[7070, 7071]") || !strings.Contains(read("sandbox/run.go"), "127.0.0.1:7071") {
		t.Error("devcontainer.json: want the ports of the console and the host")
	}
}

// TestWhatAReleaseHas: what .goreleaser.yaml names is there, so that a release does not fail after the tag.
func TestWhatAReleaseHas(t *testing.T) {
	data, err := os.ReadFile("../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	files := regexp.MustCompile(`(?m)^      - (?:src: )?([\w.*/-]+)$`).FindAllStringSubmatch(text, -1)
	if len(files) < 6 {
		t.Errorf("only %d files of the archive were found: %q", len(files), files)
	}
	for _, m := range files {
		if found, _ := filepath.Glob(filepath.Join("..", m[1])); len(found) == 0 {
			t.Errorf("%s is not there", m[1])
		}
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)- glob: (\S+)$`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(string(makefile), m[1]) {
			t.Errorf("make does not make %s", m[1])
		}
	}
	for _, name := range []string{"release", "repository"} {
		if !strings.Contains(text, "-X main."+name+"=") || !declared(t, name) {
			t.Errorf("main.%s is not set, or not there", name)
		}
	}
}

// declared reports whether the program has a variable that the linker can set.
func declared(t *testing.T, name string) bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`(?m)^(?:var |\t)` + name + `\s+string`).Match(text) {
			return true
		}
	}
	return false
}
