// Package recording loads exchanges of the real Functions host for tests: what a caller sent, what
// the host made of it, what a handler answered and what came back. They lie beside the host's
// stand-in, which repeats them.
package recording

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Folder holds the recordings, below the module's root.
const Folder = "sandbox/host/testdata/recordings"

// Load reads the recordings whose names match one of the patterns of path.Match, in the order of
// their names. T is what a test wants of one: a struct with fields as the files have them. A
// pattern that matches nothing ends the test.
func Load[T any](t testing.TB, patterns ...string) []T {
	t.Helper()
	folder := filepath.Join(root(t), filepath.FromSlash(Folder))
	var files []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(folder, pattern+".json"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no recordings match %s in %s (%v)", pattern, folder, err)
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	all := make([]T, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &all[i]); err != nil {
			t.Fatalf("reading the recording %s: %v", file, err)
		}
	}
	return all
}

// root is the folder of go.mod above the test's.
func root(t testing.TB) string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			break
		}
		dir = above
	}
	t.Fatalf("no go.mod above the test's folder (%v)", err)
	return ""
}

// List is a value of a recording that stands alone where there is one, and in an array where there
// are several. null is none.
type List[T any] []T

// UnmarshalJSON reads either form.
func (l *List[T]) UnmarshalJSON(text []byte) error {
	switch {
	case string(text) == "null":
		*l = nil
		return nil
	case len(text) > 0 && text[0] == '[':
		return json.Unmarshal(text, (*[]T)(l))
	}
	*l = make(List[T], 1)
	return json.Unmarshal(text, &(*l)[0])
}
