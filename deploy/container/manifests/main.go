// Manifests writes the Kubernetes objects of the app, made from the functions that it has: the HTTP functions and timers as one
// deployment that never sleeps, the functions with events as a second one, which KEDA scales with what waits for them.
//
//	go run ./deploy/container/manifests > deploy/container/kubernetes/relay.yaml
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"apimrelay/deploy/functionjson"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("manifests", flag.ContinueOnError)
	flags.SetOutput(stderr)
	functions := flags.String("functions", "functions", "the folder of the functions")
	image := flags.String("image", "registry.example/relay@sha256:0000000000000000000000000000000000000000000000000000000000000000", "image, by digest")
	if err := flags.Parse(args); err != nil {
		return err
	}
	all, err := readFunctions(*functions)
	if err != nil {
		return err
	}
	text, err := render(all, *image)
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, text)
	return err
}

type function struct {
	name    string
	trigger map[string]any
}

func (f function) kind() string { return strings.ToLower(f.text("type")) }

// text is a property of the trigger; names differ in case between hand-written files.
func (f function) text(name string) string {
	for key, value := range f.trigger {
		if text, ok := value.(string); ok && strings.EqualFold(key, name) {
			return text
		}
	}
	return ""
}

// resident tells functions that KEDA cannot wake: HTTP calls come to a process that is there, and nobody counts a clock's ticks.
func (f function) resident() bool { return f.kind() == "httptrigger" || f.kind() == "timertrigger" }

func readFunctions(folder string) ([]function, error) {
	found, err := functionjson.Read(folder)
	if err != nil {
		return nil, err
	}
	var all []function
	for _, f := range found {
		i := slices.IndexFunc(f.Bindings, func(b map[string]any) bool {
			kind, _ := b["type"].(string)
			return strings.HasSuffix(strings.ToLower(kind), "trigger")
		})
		if i < 0 {
			return nil, fmt.Errorf("reading the functions: %s: want a binding whose type ends with Trigger, got none", f.File)
		}
		all = append(all, function{name: f.Name, trigger: f.Bindings[i]})
	}
	return all, nil
}
