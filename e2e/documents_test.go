package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
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
	flagNamed  = regexp.MustCompile(` --?([a-z][a-z.-]*)`)
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
			if first, _, ok := strings.Cut(m[1], " "); ok && slices.Contains([]string{"make", "go", "build/sandbox", "handler"}, first) {
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
		if len(words) > 1 && ranBy[words[1]] == "" {
			return "no test runs it: ranBy"
		}
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
		text := sources(t, filepath.Join("..", m[1]))
		if !strings.Contains(text, "\nfunc "+m[2]+"(") {
			return "there is no such test"
		}
		for _, flag := range flagNamed.FindAllStringSubmatch(strings.TrimPrefix(command, m[0]), -1) {
			if !strings.Contains(text, `"`+flag[1]+`", `) && !slices.Contains([]string{"v", "count"}, flag[1]) {
				return "its package has no flag -" + flag[1]
			}
		}
	case strings.HasPrefix(command, "go run ./sandbox"):
		return checkCommand(t, "build/sandbox"+strings.TrimPrefix(command, "go run ./sandbox"))
	case words[0] == "build/sandbox":
		if len(words) == 1 || strings.HasPrefix(words[1], "-") {
			return ""
		}
		bin, err := programs()
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(filepath.Join(bin, "sandbox"), words[1], "-h").CombinedOutput()
		if err != nil {
			return string(out)
		}
		return unknownFlag(command, string(out))
	case words[0] == "handler":
		bin, err := programs()
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"help"}
		if len(words) > 1 && words[1] == "doctor" {
			args = []string{"doctor", "-h"}
		}
		out, _ := exec.Command(filepath.Join(bin, "handler"), args...).CombinedOutput()
		if args[0] == "doctor" {
			return unknownFlag(command, string(out))
		}
		if len(words) > 1 && !strings.Contains(string(out), "\n  "+words[1]+" ") {
			return "there is no such subcommand"
		}
	case strings.HasPrefix(command, "go run ./handler/cmd/bench ") && len(words) > 4:
		// Its measurements take minutes; its own usage tells whether the subcommand and the flag are there. -h ends with a status other than 0.
		run := exec.Command("go", "run", "./handler/cmd/bench", words[3], "-h")
		run.Dir = ".."
		if out, _ := run.CombinedOutput(); !strings.Contains(string(out), "Usage of bench "+words[3]+":") || !strings.Contains(string(out), "\n  "+words[4]) {
			return string(out)
		}
	case strings.HasPrefix(command, "go run ./deploy/"):
		run := exec.Command("go", "run", words[2], "-h")
		run.Dir = ".."
		out, _ := run.CombinedOutput() // its status says that it did nothing else
		return unknownFlag(command, string(out))
	case words[0] == "sh" && strings.HasPrefix(words[1], "scripts/"): // of a reader who is in deploy/
		return checkCommand(t, "deploy/"+words[1])
	case words[0] == "mkdir":
	case words[0] == "cp": // the last word is the reader's own
		for _, from := range words[1 : len(words)-1] {
			if _, err := os.Stat(filepath.Join("..", from)); err != nil {
				return err.Error()
			}
		}
	case strings.HasPrefix(words[0], "deploy/"):
		script, err := os.ReadFile(filepath.Join("..", words[0]))
		if err != nil {
			return err.Error()
		}
		for _, flag := range flagNamed.FindAllStringSubmatch(command, -1) {
			if !strings.Contains(string(script), flag[0][1:]) {
				return "it has no " + flag[0][1:]
			}
		}
	case !slices.ContainsFunc(needAzure, func(p string) bool { return strings.HasPrefix(command+" ", p) }):
		return "nothing checks this command"
	}
	return ""
}

// unknownFlag names a flag of a command that a program's usage does not have.
func unknownFlag(command, usage string) string {
	for _, flag := range flagNamed.FindAllStringSubmatch(command, -1) {
		name := "\n  -" + flag[1] // a blank follows where it has a value, a tab where it is one letter
		if !slices.ContainsFunc([]string{" ", "\n", "\t"}, func(end string) bool { return strings.Contains(usage, name+end) }) {
			return "it has no flag -" + flag[1]
		}
	}
	return ""
}

// sources are the test files of a folder.
func sources(t *testing.T, dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	var b strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}

// ranBy says what runs each task of make that a document names: TestTasksOfTheDocuments itself, a test that runs what the task runs, or the checks of each
// change. What only Azure or a person with time can run says so.
var ranBy = map[string]string{
	"demo": here, "package": here, "doctor": here, "request": here, "app": here, "sandbox": here,
	"run":   "TestTasksOfTheDocuments, as make demo", // the same program with the same arguments but -once
	"start": "TestStart",
	"soak":  "TestSoak", "bench-scale": "TestScale",
	"test-host": "TestHost of e2e/host, on the stand-in",
	"test":      ".ci/run", "check": ".ci/run", "check-deploy": ".ci/run",
	"fuzz":  "each Fuzz function runs its corpus in make test",
	"bench": "TestGateway and its kin of the bench; a person: it measures for minutes", "bench-full": "as bench", "bench-token": "as bench",
	"deploy": "Azure", "test-az": "a person: it installs 700 MB", "vuln": "the workflow", "sbom": "the workflow", "snapshot": "the workflow", "release": "the workflow",
}

const here = "TestTasksOfTheDocuments"

// TestTasksOfTheDocuments runs, in a copy of the sources, the tasks that a newcomer runs first and that need nothing but this machine.
func TestTasksOfTheDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("copies and builds the sources")
	}
	dir := t.TempDir()
	for _, name := range []string{"Makefile", "go.mod", "go.sum", "host.json", "LICENSE", "README.md", "local.settings.json.example"} {
		if err := copyNew(filepath.Join("..", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"handler", "sandbox", "internal", "functions", "deploy/policies", "deploy/package", "deploy/functionjson"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join("..", folder))); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		task   string
		fails  bool
		prints []string // patterns
		makes  []string
	}{
		{task: "", prints: []string{`(?m)^  run +start everything`, `(?m)^  doctor +`}},
		{task: "app", makes: []string{"build/app/handler", "build/app/host.json", "build/app/relay/function.json", "build/app/poll/function.json"}},
		{task: "sandbox", makes: []string{"build/sandbox"}},
		{task: "demo", prints: []string{`GET /api/relay/hello\?who=you +-> +200`, `validate-jwt, claim roles: Api.Read`, `the same request by an identity without the app role`, `401 Unauthorized`}},
		{task: "package", makes: []string{"build/relay.zip"}},
		{task: "doctor", fails: true, prints: []string{`TargetApp`, `ApimUrl`}}, // without settings these are what is missing
		{task: "request", prints: []string{`TargetApp`}},
	} {
		make := exec.Command("make", strings.Fields(c.task)...)
		make.Dir = dir
		make.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GOFLAGS=-buildvcs=false", "GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE"), "GOPROXY=" + goEnv(t, "GOPROXY")}
		out, err := make.CombinedOutput()
		if (err != nil) != c.fails {
			t.Errorf("make %s: %v\n%s", c.task, err, out)
			continue
		}
		for _, pattern := range c.prints {
			if !regexp.MustCompile(pattern).Match(out) {
				t.Errorf("make %s does not print %s:\n%s", c.task, pattern, out)
			}
		}
		for _, file := range c.makes {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				t.Errorf("make %s: %v", c.task, err)
			}
		}
	}
	script, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	tests := sources(t, ".") + sources(t, "host") + sources(t, "../handler") + sources(t, "../handler/cmd/bench")
	for task, by := range ranBy {
		switch {
		case by == ".ci/run" && !regexp.MustCompile(`(?m)^(\w+=\S+ )?make (test|check)$`).Match(script):
			t.Errorf("make %s: .ci/run does not run it", task)
		case strings.HasPrefix(by, "Test") && !strings.Contains(tests, "\nfunc "+strings.TrimRight(strings.Fields(by)[0], ",")+"("):
			t.Errorf("make %s: there is no %s", task, by)
		}
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

var (
	// A figure is a number with a unit of time or size, or a share.
	figure = regexp.MustCompile("(?:^|[^\\w.`/-])(?:\\d[\\d.,]*|two|three|four|five|six|ten|thirty|half an) ?(?:ms|µs|us|ns|s|seconds?|minutes?|hours?|days?|KB|KiB|MB|MiB|GB|GiB|%|euros?)\\b")
	// evidence is how to get it again, or where it is from: a command, a test, a page, a recording, a file of the sources.
	evidence = regexp.MustCompile("`(?:make|go run|go test|handler|build/sandbox|azd?|curl) [^`]+`|`(?:Test|Fuzz)\\w+`|https?://|learn\\.microsoft\\.com|Azure/[a-z-]+,|[Rr]ecordings? |go test \\./|`(?:handler|e2e)/[^`]+\\.go`")
)

// TestFiguresOfTheDocuments: next to each figure stands the command that makes it, the test that holds it, or its source. Next to is: the same paragraph, item
// or table, or what introduces it; on the page of benchmarks, where a command makes several tables, the same section.
func TestFiguresOfTheDocuments(t *testing.T) {
	found := 0
	for file, text := range pages(t) {
		if written := regexp.MustCompile("(?s)^# [^\n]+\n\n[^#]*`go test \\./(?:handler|e2e)[^`]* -update`").MatchString(text); written {
			continue // written by a test, whose command stands at the top
		}
		all := blocks(text)
		for i, b := range all {
			if !figure.MatchString(b) {
				continue
			}
			found++
			if evidence.MatchString(b) || i > 0 && evidence.MatchString(all[i-1]) {
				continue
			}
			if filepath.Base(file) == "benchmarks.md" && evidence.MatchString(section(all, i)) {
				continue
			}
			t.Errorf("%s: a figure without its command or source: %q in %.120q", filepath.Base(file), figure.FindString(b), b)
		}
	}
	if found < 15 {
		t.Errorf("only %d places with figures were found", found)
	}
}

// blocks are a page's paragraphs, items, tables, headings and listings.
func blocks(text string) (all []string) {
	listing := false
	begin := true
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "```") {
			listing = !listing
			begin = begin || listing
		}
		switch {
		case !listing && strings.TrimSpace(line) == "":
			begin = true
			continue
		case begin, !listing && regexp.MustCompile(`^\s*([-*]|\d+\.) |^#`).MatchString(line):
			all = append(all, line)
		default:
			all[len(all)-1] += "\n" + line
		}
		begin = false
	}
	return all
}

// section is all that stands under the same heading.
func section(all []string, i int) string {
	from, to := i, i+1
	for from > 0 && !strings.HasPrefix(all[from], "#") {
		from--
	}
	for to < len(all) && !strings.HasPrefix(all[to], "#") {
		to++
	}
	return strings.Join(all[from:to], "\n")
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
