package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"apimrelay/internal/hostfile"
	"apimrelay/sandbox/console"
)

// readApp looks at a script root as far as the console needs it, and finds what would keep the host from starting it. What is wrong with a
// single function is the host's to say.
func readApp(root string) ([]console.Function, error) {
	host, err := hostfile.ReadObject(filepath.Join(root, "host.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no app in %s: run \"make app\" first, or name a script root with -root", root)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the app: %w", err)
	}
	if v := host.Fold("customHandler").Fold("description").Fold("defaultExecutablePath"); v != nil {
		if name := v.Text(); name != "" && !strings.ContainsAny(name, "%") {
			if err := checkExecutable(root, name); err != nil {
				return nil, err
			}
		}
	}
	prefix := "api"
	if p := host.Fold("extensions").Fold("http").Fold("routePrefix"); p != nil {
		prefix = strings.Trim(p.Text(), "/")
	}
	files, err := filepath.Glob(filepath.Join(root, "*", "function.json"))
	if err != nil {
		return nil, fmt.Errorf("looking for functions in %s: %w", root, err)
	}
	var out []console.Function
	for _, file := range files {
		if info, ok := readFunction(file, prefix); ok {
			out = append(out, info)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no function in %s: want a folder with a function.json for each; run \"make app\" again", root)
	}
	slices.SortFunc(out, func(a, b console.Function) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	return out, nil
}

func checkExecutable(root, name string) error {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, filepath.FromSlash(name))
	}
	info, err := os.Stat(path)
	switch {
	case err != nil && !strings.ContainsAny(name, "/.") && name != "handler":
		return nil // a program on PATH
	case err != nil:
		return fmt.Errorf("no handler: %s is not there, which host.json names as defaultExecutablePath: run \"make app\"", path)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("no handler: %s cannot be executed: run \"make app\", or chmod +x it", path)
	}
	return nil
}

func readFunction(file, prefix string) (console.Function, bool) {
	info := console.Function{Name: filepath.Base(filepath.Dir(file)), Trigger: "unreadable"}
	content, err := hostfile.ReadObject(file)
	if errors.As(err, new(*hostfile.Error)) {
		return info, true // shown, so that the host's complaint has a name
	}
	if err != nil {
		return console.Function{}, false
	}
	bindings := content.Fold("bindings")
	if bindings == nil {
		return info, true
	}
	for _, b := range bindings.Items {
		text := func(name string) string {
			if v := b.Fold(name); v != nil {
				return v.Text()
			}
			return ""
		}
		kind, ok := strings.CutSuffix(text("type"), "Trigger")
		if !ok {
			continue
		}
		info.Trigger = kind
		for _, name := range []string{"schedule", "queueName", "topicName", "eventHubName", "path"} {
			if detail := text(name); detail != "" {
				info.Detail = detail
			}
		}
		if kind != "http" {
			if kind != "timer" {
				info.Sample = `{"id": 1}`
			}
			return info, true
		}
		route := info.Name
		if v := b.Fold("route"); v != nil && v.Kind != hostfile.Null {
			route = v.Text()
		}
		if methods := b.Fold("methods"); methods != nil {
			for _, m := range methods.Items {
				info.Methods = append(info.Methods, strings.ToUpper(m.Text()))
			}
		}
		info.Detail = strings.TrimSpace(strings.Join(info.Methods, " ") + " /" + strings.Trim(prefix+"/"+route, "/"))
		if len(info.Methods) == 0 {
			info.Methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
		}
		info.Path = examplePath(prefix, route)
		return info, true
	}
	return info, true
}

// examplePath fills a route's parameters with a word, so that the console has a path to begin with.
func examplePath(prefix, route string) string {
	var segments []string
	for _, segment := range strings.Split(strings.Trim(prefix+"/"+route, "/"), "/") {
		if strings.HasPrefix(segment, "{") {
			segment = "hello"
		}
		if segment != "" {
			segments = append(segments, segment)
		}
	}
	return "/" + strings.Join(segments, "/")
}

// resolved shows a timer's or queue's detail with the values of its app settings.
func resolved(functions []console.Function, lookup func(string) (string, bool)) []console.Function {
	for i, f := range functions {
		names := percentNames.FindAllStringSubmatch(f.Detail, -1)
		for _, n := range names {
			if value, ok := lookup(n[1]); ok && f.Trigger != "http" {
				functions[i].Detail = strings.ReplaceAll(functions[i].Detail, n[0], value) + " (" + n[1] + ")"
			}
		}
	}
	return functions
}

var percentNames = regexp.MustCompile(`%([^%]+)%`)

// hints says of each setting that a binding names and nobody gives, in which file to add what.
func (s *sandbox) hints(lookup func(string) (string, bool)) {
	for _, f := range s.functions {
		object, err := hostfile.ReadObject(filepath.Join(s.root, f.Name, "function.json"))
		if err != nil {
			continue // the host says so
		}
		bindings := object.Fold("bindings")
		if bindings == nil {
			continue
		}
		said := map[string]bool{}
		for _, b := range bindings.Items {
			for _, m := range b.Members {
				if m.Value.Kind != hostfile.String {
					continue
				}
				for _, n := range percentNames.FindAllStringSubmatch(m.Value.Text(), -1) {
					value := "..."
					if strings.EqualFold(m.Name, "schedule") {
						value = "0 */5 * * * *"
					}
					if _, ok := lookup(n[1]); !ok && !said[n[1]] {
						said[n[1]] = true
						s.hint(f.Name, n[1], value)
					}
				}
				if name := m.Value.Text(); strings.EqualFold(m.Name, "connection") && name != "" && !said[name] && !s.connected(name) {
					said[name] = true
					s.hint(f.Name, name, "UseDevelopmentStorage=true")
				}
			}
		}
	}
}

func (s *sandbox) hint(function, name, value string) {
	fmt.Fprintf(s.stderr, "sandbox: %s needs the app setting %s: add  %q: %q  to Values in %s\n", function, name, name, value, s.options.settings)
}

// connected reports whether a connection is set, by any of the names that the host looks for.
func (s *sandbox) connected(name string) bool {
	for _, full := range []string{name, "ConnectionStrings:" + name, "AzureWebJobs" + name} {
		if _, ok := s.lookup(full); ok {
			return true
		}
	}
	under := strings.ToLower(strings.ReplaceAll(name, "__", ":")) + ":"
	return slices.ContainsFunc(s.environ, func(pair string) bool {
		have, _, _ := strings.Cut(pair, "=")
		return strings.HasPrefix(strings.ToLower(strings.ReplaceAll(have, "__", ":")), under)
	})
}
