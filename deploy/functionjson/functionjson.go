// Package functionjson reads the functions of an app for the programs of the deployment. It judges
// nothing: the handler says what is wrong with a function.
package functionjson

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"apimrelay/internal/hostfile"
)

// Function is one folder with a function.json.
type Function struct {
	Name     string
	File     string
	Disabled bool
	Bindings []map[string]any
}

// Read returns the functions in the direct subfolders of folder, in the order of their names. The
// files are read as the host reads them.
func Read(folder string) ([]Function, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("reading the functions: %w", err)
	}
	var all []Function
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name(), "function.json")
		object, err := hostfile.ReadObject(path)
		if errors.Is(err, fs.ErrNotExist) || !entry.IsDir() {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the functions: %w", err)
		}
		f := Function{Name: entry.Name(), File: path}
		// The host takes the name of a setting for disabled as well.
		if disabled := object.Fold("disabled"); disabled != nil && disabled.Kind == hostfile.Bool {
			f.Disabled = disabled.Bool
		}
		if bindings := object.Fold("bindings"); bindings != nil {
			for _, item := range bindings.Items {
				if binding, ok := item.Any().(map[string]any); ok {
					f.Bindings = append(f.Bindings, binding)
				}
			}
		}
		all = append(all, f)
	}
	return all, nil
}
