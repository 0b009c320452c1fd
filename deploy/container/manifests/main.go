// Manifests writes the Kubernetes objects of the app, made from the functions that it has: the HTTP functions and timers as one
// deployment that never sleeps, the functions with events as a second one, which KEDA scales with what waits for them.
//
//	go run ./deploy/container/manifests > deploy/container/kubernetes/relay.yaml
//	go run ./deploy/container/manifests -choices deploy/env/prod.json    with the settings chosen there
package main

import (
	"cmp"
	"encoding/json"
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
	choices := flags.String("choices", "", "an environment's file, whose settings fill the %names% (default: <name> stands for each)")
	image := flags.String("image", "registry.example/relay@sha256:0000000000000000000000000000000000000000000000000000000000000000", "image, by digest")
	if err := flags.Parse(args); err != nil {
		return err
	}
	all, err := readFunctions(*functions)
	if err != nil {
		return err
	}
	settings, err := readSettings(*choices)
	if err != nil {
		return err
	}
	text, err := render(all, settings, *image)
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, text)
	return err
}

type function struct {
	name    string
	trigger map[string]any
	names   []string // %Name% in any of its bindings: settings that it cannot start without
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

// resident tells functions that KEDA cannot wake: HTTP calls come to a process that is there, Event Grid's among them, and nobody counts
// a clock's ticks.
func (f function) resident() bool {
	return f.kind() == "httptrigger" || f.kind() == "eventgridtrigger" || f.kind() == "timertrigger"
}

// connection is the name of the connection, as the settings resolve it.
func (f function) connection(settings map[string]string) string {
	name, _ := functionjson.Resolve(f.text("connection"), settings)
	return cmp.Or(strings.Trim(name, "%"), "AzureWebJobsStorage")
}

// resolved is a property of the trigger with the settings in the place of their %names%. Of one that is not there <name> is left, which the
// ConfigMap has as well.
func (f function) resolved(name string, settings map[string]string) string {
	text, _ := functionjson.Resolve(f.text(name), settings)
	for _, missing := range functionjson.Names(text) {
		text = strings.ReplaceAll(text, "%"+missing+"%", "<"+missing+">")
	}
	return text
}

// readSettings reads the settings of an environment's file. What names an identity stays out: in a cluster it is the service account.
func readSettings(file string) (map[string]string, error) {
	settings := map[string]string{"PollSchedule": "0 */5 * * * *"}
	if file == "" {
		return settings, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	var chosen struct{ Settings map[string]string }
	if err := json.Unmarshal(data, &chosen); err != nil {
		return nil, fmt.Errorf("reading the settings: %s: %w", file, err)
	}
	for name, value := range chosen.Settings {
		lower := strings.ToLower(name)
		if strings.HasSuffix(lower, "__credential") || strings.HasSuffix(lower, "__clientid") {
			continue
		}
		if strings.EqualFold(name, "PollSchedule") {
			name = "PollSchedule"
		}
		settings[name] = value
	}
	return settings, nil
}

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
		made := function{name: f.Name, trigger: f.Bindings[i]}
		for _, binding := range f.Bindings {
			for _, value := range binding {
				text, _ := value.(string)
				made.names = append(made.names, functionjson.Names(text)...)
			}
		}
		all = append(all, made)
	}
	return all, nil
}
