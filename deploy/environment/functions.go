package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// function is what the deployment has to know of a function.
type function struct {
	name        string
	timer       bool
	names       []string // %Name% in its function.json: app settings it cannot start without
	connections []string
}

var percentName = regexp.MustCompile(`%([^%\s]+)%`)

func readFunctions(folder string) ([]function, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("reading the functions: %w", err)
	}
	var all []function
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
			Bindings []map[string]any `json:"bindings"`
		}
		if err := json.Unmarshal(standard, &content); err != nil {
			return nil, fmt.Errorf("reading the functions: %s: %w", path, err)
		}
		f := function{name: entry.Name()}
		for _, binding := range content.Bindings {
			kind, _ := binding["type"].(string)
			if strings.EqualFold(kind, "timerTrigger") {
				f.timer = true
			}
			if connection, _ := binding["connection"].(string); connection != "" {
				f.connections = append(f.connections, strings.Trim(connection, "%"))
			}
			for _, value := range binding {
				text, _ := value.(string)
				for _, match := range percentName.FindAllStringSubmatch(text, -1) {
					f.names = append(f.names, match[1])
				}
			}
		}
		slices.Sort(f.names)
		f.names = slices.Compact(f.names)
		all = append(all, f)
	}
	return all, nil
}

func timers(functions []function) []string {
	names := []string{}
	for _, f := range functions {
		if f.timer {
			names = append(names, f.name)
		}
	}
	return names
}
