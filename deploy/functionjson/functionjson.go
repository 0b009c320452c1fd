// Package functionjson reads the functions of an app for the programs of the deployment. It judges nothing: the handler says what is wrong with a function.
package functionjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tailscale/hujson"
)

// Function is one folder with a function.json.
type Function struct {
	Name     string
	File     string
	Disabled bool
	Bindings []map[string]any
}

// Read returns the functions in the direct subfolders of folder, in the order of their names. Comments in the files are allowed, as the host allows them.
func Read(folder string) ([]Function, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("reading the functions: %w", err)
	}
	var all []Function
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name(), "function.json")
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || !entry.IsDir() {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the functions: %w", err)
		}
		standard, err := hujson.Standardize(data)
		if err != nil {
			return nil, fmt.Errorf("reading the functions: %s: %w", path, err)
		}
		var content struct {
			Disabled any // the host takes a name of a setting as well
			Bindings []map[string]any
		}
		if err := json.Unmarshal(standard, &content); err != nil {
			return nil, fmt.Errorf("reading the functions: %s: %w", path, err)
		}
		all = append(all, Function{entry.Name(), path, content.Disabled == true, content.Bindings})
	}
	return all, nil
}
