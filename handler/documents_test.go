package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"apimrelay/handler/internal/identity"
)

// pages are the documents by hand; docs/troubleshooting.md, triggers.md, faults.md and licences.md are held by the tests that write them.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"../README.md", "../docs/*.md", "../.github/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all[file] = string(text)
		}
	}
	if len(all) < 6 {
		t.Fatalf("only %d documents were found", len(all))
	}
	return all
}

var (
	fenced     = regexp.MustCompile("(?s)```(sh|powershell)\n(.*?)```")
	inCode     = regexp.MustCompile("`([^`\n]+)`")
	tests      = regexp.MustCompile(`^go test (\S+) -run (\w+)`)
	mdLink     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	testNamed  = regexp.MustCompile(`(?m)^func (\w+)\(`)
	commandEnd = regexp.MustCompile(`\s+#.*$`)
)

// needAzure are commands that only Azure can answer. The scripts among them are tested against a fake az (deploy/scripts).
var needAzure = []string{"az ", "azd ", "cd ", "gh ", "docker ", "kubectl ", "func ", "curl ", "New-Mg", "Connect-Mg", "Get-Mg", "$", "export ", "git ", "bicep ", "eval ", "go run ./environment", "go run ./deploy/container/manifests"}

// TestCommandsOfTheDocuments: each command in a document is a task that make knows, a subcommand that the programs know, a test or a script that is there.
func TestCommandsOfTheDocuments(t *testing.T) {
	checked, known := 0, map[string]string{}
	for file, text := range pages(t) {
		var commands []string
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			commands = append(commands, strings.Split(strings.ReplaceAll(block[2], "\\\n", " "), "\n")...)
		}
		for _, m := range inCode.FindAllStringSubmatch(text, -1) {
			if first, _, ok := strings.Cut(m[1], " "); ok && slices.Contains([]string{"make", "go", "build/sandbox"}, first) {
				commands = append(commands, m[1])
			}
		}
		for _, line := range commands {
			line = strings.TrimSpace(commandEnd.ReplaceAllString(line, ""))
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			for _, command := range strings.Split(line, " && ") {
				checked++
				fault, ok := known[command]
				if !ok {
					fault = checkCommand(t, command)
					known[command] = fault
				}
				if fault != "" {
					t.Errorf("%s: %s: %s", filepath.Base(file), command, fault)
				}
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d commands were found", checked)
	}
}

func checkCommand(t *testing.T, command string) string {
	words := strings.Fields(command)
	switch {
	case words[0] == "make":
		make := exec.Command("make", append([]string{"-n"}, words[1:]...)...)
		make.Dir = ".."
		for i, w := range make.Args {
			make.Args[i] = strings.NewReplacer("<name>", "name", "…", "1s").Replace(w)
		}
		if out, err := make.CombinedOutput(); err != nil {
			return string(out)
		}
	case tests.MatchString(command):
		m := tests.FindStringSubmatch(command)
		files, _ := filepath.Glob(filepath.Join("..", m[1], "*_test.go"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range testNamed.FindAllStringSubmatch(string(text), -1) {
				if f[1] == m[2] {
					return ""
				}
			}
		}
		return "there is no such test"
	case words[0] == "build/sandbox":
		if len(words) == 1 || strings.HasPrefix(words[1], "-") {
			return ""
		}
		bin, err := programs()
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(filepath.Join(bin, "sandbox"), words[1], "-h").CombinedOutput(); err != nil {
			return string(out)
		}
	case strings.HasPrefix(command, "go run ./handler/cmd/bench ") && len(words) > 4:
		// Its measurements take minutes; its own usage tells whether the subcommand and the flag are there. -h ends with a status other than 0.
		run := exec.Command("go", "run", "./handler/cmd/bench", words[3], "-h")
		run.Dir = ".."
		if out, _ := run.CombinedOutput(); !strings.Contains(string(out), "Usage of bench "+words[3]+":") || !strings.Contains(string(out), "\n  "+words[4]) {
			return string(out)
		}
	case words[0] == "sh" && strings.HasPrefix(words[1], "scripts/"): // of a reader who is in deploy/
		return checkCommand(t, "deploy/"+words[1])
	case strings.HasPrefix(words[0], "deploy/"):
		if _, err := os.Stat(filepath.Join("..", words[0])); err != nil {
			return err.Error()
		}
	case !slices.ContainsFunc(needAzure, func(p string) bool { return strings.HasPrefix(command+" ", p) }):
		return "nothing checks this command"
	}
	return ""
}

// TestLinksOfTheDocuments: links between our own pages lead to files and headings that are there.
func TestLinksOfTheDocuments(t *testing.T) {
	all := pages(t)
	for file, text := range all {
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := filepath.Join(filepath.Dir(file), path)
			if path == "" {
				target = file
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", filepath.Base(file), m[1], err)
				continue
			}
			if page, ok := all[target]; ok && anchor != "" && !slices.Contains(anchors(page), anchor) {
				t.Errorf("%s links to %s: there is no such heading", filepath.Base(file), m[1])
			}
		}
	}
}

// anchors are the headings of a page as GitHub names them.
func anchors(page string) (all []string) {
	for line := range strings.SplitSeq(page, "\n") {
		if heading := strings.TrimLeft(line, "#"); heading != line && strings.HasPrefix(heading, " ") {
			name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
			all = append(all, strings.ReplaceAll(name, " ", "-"))
		}
	}
	return append(all, regexpAll(`<a (?:id|name)="([^"]+)"`, page)...)
}

func regexpAll(pattern, text string) (all []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestConnectionStringsOfTheArticle: what the page says goes on working does, and what it says is refused is.
func TestConnectionStringsOfTheArticle(t *testing.T) {
	text, err := os.ReadFile("../docs/from-the-article.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## What goes on working")
	good, bad, _ := strings.Cut(rest, "## What is refused now")
	for section, refused := range map[string]bool{good: false, bad: true} {
		found := regexpAll("(?m)^\\| `([^`]+)` \\|", section)
		if len(found) < 5 {
			t.Fatalf("only %d connection strings were found", len(found))
		}
		for _, s := range found {
			if _, _, err := identity.Parse(s); (err != nil) != refused {
				t.Errorf("%s: refused %t, want %t (%v)", s, err != nil, refused, err)
			}
		}
	}
}
