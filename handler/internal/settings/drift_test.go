package settings

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/app"
)

var repository = filepath.Join("..", "..", "..")

// exampleValues reads local.settings.json.example.
func exampleValues(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, "local.settings.json.example"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		IsEncrypted *bool
		Values      map[string]string
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if file.IsEncrypted == nil || *file.IsEncrypted {
		t.Error(`IsEncrypted has to be false: Core Tools takes a file without it for an encrypted one`)
	}
	return file.Values
}

func TestTheExampleHoldsEverySettingAndNoFault(t *testing.T) {
	values := exampleValues(t)
	var environ []string
	for name, value := range values {
		environ = append(environ, name+"="+value)
		known := slices.Contains(Names(), name) || slices.Contains([]string{"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage", "PollSchedule"}, name)
		if !known {
			t.Errorf("the example has %s, which nothing reads", name)
		}
	}
	for _, name := range Names() {
		if _, ok := values[name]; !ok {
			t.Errorf("the example lacks %s", name)
		}
	}
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join(repository, "functions"))); err != nil {
		t.Fatal(err)
	}
	host, err := os.ReadFile(filepath.Join(repository, "host.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "host.json"), host, 0o644); err != nil {
		t.Fatal(err)
	}
	s := Load(Index(environ), app.Load(root, Index(environ).App))
	left := 0
	for _, w := range s.Warnings {
		if examples[w.Setting] != "" {
			left++
		}
	}
	if len(s.Faults) > 0 || left != len(examples) || len(s.Warnings) != left {
		t.Errorf("want a warning for each value that works for nobody, and no other word:\n%s", report(t, s))
	}
}

var settingsSection = regexp.MustCompile(`(?ms)^## Settings\s*$(.*?)(^## |\z)`)

// The README's table names exactly the settings that are read.
func TestTheReadmeListsEverySetting(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	section := settingsSection.FindStringSubmatch(string(data))
	if section == nil {
		t.Fatal(`the README lacks the section "## Settings" with the table of settings: it has to list ` + strings.Join(Names(), ", "))
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(Names())), tableNames(section[1])); diff != "" {
		t.Errorf("the README's table and the code differ (- code, + README):\n%s", diff)
	}
}

// tableNames are the names in backticks in the first column of the first table that names a setting, sorted.
func tableNames(section string) []string {
	var names []string
	inside := false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if inside && len(names) > 0 {
				break
			}
			continue
		}
		inside = true
		first := strings.Split(line, "|")[1]
		for i, name := range strings.Split(first, "`") {
			if i%2 == 1 {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestTableNames(t *testing.T) {
	section := "\nText with `TargetApp`.\n\n| setting | meaning |\n| --- | --- |\n| `B`, `A` | see `C` |\n| `D` | x |\n\n| other | table |\n| --- | --- |\n| `E` | |\n"
	if diff := cmp.Diff([]string{"A", "B", "D"}, tableNames(section)); diff != "" {
		t.Error(diff)
	}
}

func TestNamesAreThoseOfTheStruct(t *testing.T) {
	var got texts
	for _, name := range Names() {
		if got.get(name) != "" {
			t.Errorf("%s is not empty", name)
		}
	}
	for _, name := range secretNames {
		if !slices.Contains(Names(), name) {
			t.Errorf("%s is no setting", name)
		}
	}
}
