package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"apimrelay/internal/hostfile"
)

// function is a folder with a function.json.
type function struct {
	name     string
	folder   string
	raw      *hostfile.Value
	bindings []*binding
	trigger  *binding
	retry    *retryPolicy
	disabled bool
	// HTTP only:
	route      *template
	routeText  string
	methods    []string // upper case; nil is all, an empty list none
	methodText []string // as written
	level      authLevel
	schedule   *hostfile.Schedule // timers only
}

type binding struct {
	kind      string // as written: httpTrigger
	direction string
	name      string
	raw       *hostfile.Value
}

func (b *binding) is(kind string) bool              { return strings.EqualFold(b.kind, kind) }
func (b *binding) prop(name string) *hostfile.Value { return b.raw.Fold(name) }

func (f *function) http() bool { return f.trigger.is("httpTrigger") }

// outputs are the output bindings in the order of function.json.
func (f *function) outputs() []*binding {
	var out []*binding
	for _, b := range f.bindings {
		if strings.EqualFold(b.direction, "out") {
			out = append(out, b)
		}
	}
	return out
}

// simple is a function that can be forwarded or proxied: one httpTrigger and one http output,
// nothing else (recordings D-noout-forward, D-bothout-forward).
func (f *function) simple() bool {
	outs := f.outputs()
	return f.http() && len(f.bindings) == 2 && len(outs) == 1 && outs[0].is("http")
}

var (
	functionName = regexp.MustCompile(`(?i)^[a-z][a-z0-9_\-]{0,127}$`)
	bindingName  = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9]{0,127}|\$return)$`)
)

// fault is a function that the host leaves out; whole means that it takes the host with it.
type fault struct {
	function string
	text     string
	whole    bool
	indexing bool // the template itself is wrong, not only what becomes of it behind the prefix
}

// readFunctions lists the functions of a script root that work, in the host's order: by name,
// ignoring case.
func readFunctions(root string, cfg *hostConfig, lookup func(string) (string, bool)) ([]*function,
	[]fault) {
	all, faults := readMetadata(root, cfg, lookup)
	return resolveFunctions(all, cfg, lookup, faults)
}

// readMetadata lists the functions whose function.json can be read. Source:
// Azure/azure-functions-host src/WebJobs.Script/Host/HostFunctionMetadataProvider.cs; recordings
// E-folder-*, E-fn-*.
func readMetadata(root string, cfg *hostConfig, lookup func(string) (string, bool)) ([]*function,
	[]fault) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, []fault{{text: "reading the script root: " + err.Error(), whole: true}}
	}
	var out []*function
	var faults []fault
	for _, e := range entries {
		folder := filepath.Join(root, e.Name())
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			continue
		}
		if cfg.hasAllow && !slices.ContainsFunc(cfg.allow,
			func(s string) bool { return strings.EqualFold(s, e.Name()) }) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, "function.json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			faults = append(faults, fault{function: e.Name(), text: err.Error()})
			continue
		}
		f, err := readFunction(e.Name(), folder, hostfile.Decode(text), lookup)
		if err != nil {
			faults = append(faults, fault{function: e.Name(), text: err.Error()})
			continue
		}
		if f.retry == nil {
			f.retry = cfg.retry
		}
		out = append(out, f)
	}
	sort.SliceStable(out,
		func(i, j int) bool { return strings.ToUpper(out[i].name) < strings.ToUpper(out[j].name) })
	return out, faults
}

func readFunction(name, folder, text string, lookup func(string) (string, bool)) (*function,
	error) {
	if !functionName.MatchString(name) || strings.EqualFold(name, "host") {
		return nil, hostErrorf("'%s' is not a valid function name.", name)
	}
	v, err := hostfile.Parse(text, hostfile.Options{})
	if err != nil {
		return nil, hostErrorf("Unable to parse function.json: %s", err)
	}
	f := &function{name: name, folder: folder, raw: v}
	list := v.Fold("bindings")
	if list == nil || list.Kind != hostfile.Array || len(list.Items) == 0 {
		return nil, hostErrorf("At least one binding must be declared.")
	}
	for _, item := range list.Items {
		b := &binding{kind: textOf(item.Fold("type")), direction: textOf(item.Fold("direction")),
			name: textOf(item.Fold("name")), raw: item}
		if b.kind == "" {
			return nil, hostErrorf("Invalid binding: type is missing.")
		}
		if b.direction == "" {
			b.direction = "in"
		}
		if !bindingName.MatchString(b.name) {
			return nil,
				hostErrorf(
					"The binding name %s is invalid. Please assign a valid name to the binding.",
					b.name)
		}
		switch strings.ToLower(b.direction) {
		case "in", "out", "inout", "0", "1", "2":
		default:
			return nil,
				hostErrorf(
					"Error parsing function.json: Invalid value specified for binding property 'direction' of enum type BindingDirection.")
		}
		for _, other := range f.bindings {
			if strings.EqualFold(other.name, b.name) {
				// src/WebJobs.Script/Host/WorkerFunctionMetadataProvider.cs, ValidateBindings, and
				// FunctionDescriptorProvider.cs
				return nil,
					hostErrorf(
						"Multiple bindings with name '%s' discovered. Binding names must be unique.",
						b.name)
			}
		}
		f.bindings = append(f.bindings, b)
		if strings.HasSuffix(strings.ToLower(b.kind), "trigger") && b.direction != "1" &&
			!strings.EqualFold(b.direction, "out") {
			if f.trigger != nil {
				return nil,
					hostErrorf(
						"Multiple trigger bindings defined. A function can only have a single trigger binding.")
			}
			f.trigger = b
		}
	}
	if f.trigger == nil {
		return nil,
			hostErrorf(
				"No trigger binding specified. A function must have a trigger input binding.")
	}
	if s := textOf(v.Fold("scriptFile")); s != "" {
		if _, err := os.Stat(filepath.Join(folder, s)); err != nil {
			return nil,
				hostErrorf(
					"Invalid script file name configuration. The 'scriptFile' property is set to a file that does not exist.")
		}
	}
	if r := v.Fold("retry"); r != nil && r.Kind == hostfile.Object {
		if f.retry, err = readRetry(r); err != nil {
			return nil, fmt.Errorf("reading retry: %w", err)
		}
	}
	for _, key := range []string{"AzureWebJobs." + name + ".Disabled", "AzureWebJobs_" + name +
		"_Disabled"} {
		if s, ok := lookup(key); ok && (s == "1" || strings.EqualFold(s, "true")) {
			f.disabled = true
		}
	}
	return f, nil
}

// resolveFunctions reads what the trigger needs: route, methods and level, or the schedule.
func resolveFunctions(all []*function, cfg *hostConfig, lookup func(string) (string, bool),
	faults []fault) ([]*function, []fault) {
	var out []*function
	for _, f := range all {
		var err error
		whole := false
		switch {
		case f.http():
			err, whole = f.resolveHTTP(cfg, lookup, out)
		case f.trigger.is("timerTrigger"):
			err = f.resolveTimer(lookup)
			whole = false
		}
		if err != nil {
			_, alone := parseTemplate(strings.TrimPrefix(f.routeText, "/"))
			faults = append(faults, fault{function: f.name, text: err.Error(), whole: whole,
				indexing: alone != nil})
			continue
		}
		out = append(out, f)
	}
	return out, faults
}

func (f *function) resolveHTTP(cfg *hostConfig, lookup func(string) (string, bool),
	earlier []*function) (err error, whole bool) {
	level, ok := parseAuthLevel(textOf(f.trigger.prop("authLevel")))
	if !ok {
		return hostErrorf(
			"Error parsing function.json: Invalid value specified for binding property 'authLevel' of enum type AuthorizationLevel."), false
	}
	f.level = level
	// An empty list is a list: no method fits (CoreExtensionsScriptBindingProvider.cs and
	// WebScriptHostHttpRoutesManager.cs make a constraint of every list that is there).
	switch m := f.trigger.prop("methods"); {
	case m == nil || m.Kind == hostfile.Null:
	case m.Kind != hostfile.Array:
		return hostErrorf("Invalid cast from 'System.String' to 'Newtonsoft.Json.Linq.JArray'."),
			false
	default:
		f.methods, f.methodText = []string{}, []string{}
		for _, item := range m.Items {
			f.methodText = append(f.methodText, item.Text())
			f.methods = append(f.methods, strings.ToUpper(item.Text()))
		}
	}
	text := textOf(f.trigger.prop("route"))
	if text, err = expand(text, lookup); err != nil {
		return err, false
	}
	if text == "" {
		text = f.name
	}
	f.routeText = text
	lower := strings.ToLower(text)
	if strings.HasPrefix(lower, "admin") || strings.HasPrefix(lower, "runtime") {
		return hostErrorf("The specified route conflicts with one or more built in routes."), false
	}
	for _, other := range earlier {
		if other.http() && strings.EqualFold(other.routeText, text) &&
			overlap(other.methods, f.methods) {
			return hostErrorf(
				"The route specified conflicts with the route defined by function '%s'.",
				other.name), false
		}
	}
	full := text
	if cfg.routePrefix != "" {
		// The host joins prefix and route with a slash, so that one at the end of the prefix or the
		// start of the route makes two of them, an error of the template
		// (Azure/azure-webjobs-sdk-extensions
		// src/WebJobs.Extensions.Http/Routing/WebJobsRouteBuilder.cs; recording
		// E-fn-route-leading-slash).
		full = cfg.routePrefix + "/" + text
	}
	if f.route, err = parseTemplate(full); err != nil {
		return err, true
	}
	return nil, false
}

func overlap(a, b []string) bool {
	if a == nil || b == nil {
		return true
	}
	for _, m := range a {
		if slices.Contains(b, m) {
			return true
		}
	}
	return false
}

func (f *function) takes(method string) bool {
	return f.methods == nil || slices.Contains(f.methods, strings.ToUpper(method))
}

func (f *function) resolveTimer(lookup func(string) (string, bool)) error {
	text, err := expand(textOf(f.trigger.prop("schedule")), lookup)
	if err != nil {
		return err
	}
	zone, err := timeZone(lookup)
	if err != nil {
		return err
	}
	if f.schedule, err = hostfile.ParseSchedule(text, zone); err != nil {
		return hostErrorf(
			"The schedule expression '%s' was not recognized as a valid cron expression or timespan string.", text)
	}
	return nil
}

// expand fills in %NAME% from the app settings. One that is not set is the function's error; a
// blank one is blank, and then what needs it complains.
func expand(text string, lookup func(string) (string, bool)) (string, error) {
	return hostfile.Expand(text, func(name string) (string, error) {
		value, ok := lookup(name)
		if !ok {
			return "", hostErrorf("'%%%s%%' does not resolve to a value.", name)
		}
		return value, nil
	})
}
