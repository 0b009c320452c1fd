package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apimrelay/handler/internal/cause"
	"apimrelay/internal/hostfile"
)

// named tells names of functions and of bindings: a letter, then letters, digits, and what more may be of the one or the other
// (Azure/azure-functions-host src/WebJobs.Script/Utility.cs, which has expressions for them; to compile those was a tenth of our own part of each start).
func named(name, more string) bool {
	for i, c := range []byte(name) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || (c < '0' || '9' < c) && strings.IndexByte(more, c) < 0) {
			return false
		}
	}
	return 0 < len(name) && len(name) <= longestName
}

const longestName = 128

const functionFile = "function.json"

func regularFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// broken records a fault that the host finds, too: it does not load the function and gives its route to nobody.
func (f *Function) broken(format, hint string, args ...any) {
	f.absent = true
	f.fault(format, hint, args...)
}

// fault records a fault that only we see; the host loads the function and calls it.
func (f *Function) fault(format, hint string, args ...any) {
	f.Faults = append(f.Faults, newFault(f.Name, f.File, format, hint, args...))
}

func newFault(function, file, format, hint string, args ...any) Fault {
	return Fault{Cause: cause.AppFiles, Function: function, File: file, Text: fmt.Sprintf(format, args...), Hint: hint}
}

// readObject reads a file that holds one object. Its errors do not name the file: a fault does.
func readObject(path string) (*hostfile.Value, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return hostfile.ParseObject(data, hostfile.Options{})
}

// readFunction reads one folder. Its route is built later, when all functions are known.
func readFunction(root, name string, c hostConfig) *Function {
	f := &Function{Name: name, File: name + "/" + functionFile}
	if !named(name, "_-") || strings.EqualFold(name, "host") {
		f.broken("%q is no valid function name: want a letter, then letters, digits, _ and -, 128 at most, and not host", "rename the folder", name)
	}
	object, err := readObject(filepath.Join(root, name, functionFile))
	if err != nil {
		f.broken("reading it: %v", "correct the file", err)
		return f
	}
	if v := object.Fold("scriptFile"); v != nil && v.Text() != "" && !regularFile(filepath.Join(root, name, v.Text())) {
		f.broken("scriptFile %q: no such file", "remove scriptFile: the handler needs none", v.Text())
	}
	f.readBindings(object, c.lookup)
	f.readRetry(object, c)
	for _, setting := range []string{"AzureWebJobs." + name + ".Disabled", "AzureWebJobs_" + name + "_Disabled"} {
		if v, ok := c.lookup(setting); ok && (strings.TrimSpace(v) == "1" || strings.EqualFold(strings.TrimSpace(v), "true")) {
			f.Disabled = true
			if strings.Contains(setting, "-") {
				f.warn("the app setting %s has a hyphen in its name: plans on Linux drop it, and the function runs all the same", "rename the folder without a hyphen", setting)
			}
		}
	}
	return f
}

func (f *Function) readBindings(object *hostfile.Value, lookup func(string) (string, bool)) {
	list := object.Fold("bindings")
	if list == nil || len(list.Items) == 0 {
		f.broken("bindings: want at least one binding, got none", "declare the trigger as a binding")
		return
	}
	seen := map[string]bool{}
	triggers := 0
	for i, e := range list.Items {
		b, ok := f.readBinding(i, e, lookup)
		if !ok {
			continue
		}
		f.Bindings = append(f.Bindings, b)
		if name := strings.ToLower(b.Name); b.Name != "" {
			if seen[name] {
				f.broken("bindings[%d]: a second binding of the name %q", "give each binding a name of its own", i, b.Name)
			}
			seen[name] = true
		}
		if b.trigger() {
			if triggers++; triggers == 1 {
				f.Trigger = b
			}
		}
	}
	if b, ok := f.Refused(); ok && !slices.ContainsFunc(refusedTypes, b.is) {
		f.fault("bindings: the output %q is for events that can never succeed: want one of %s, got %s",
			"choose one of these types, or rename the binding", b.Name, strings.Join(refusedTypes, ", "), b.Type)
	}
	if triggers != 1 {
		f.Trigger = Binding{}
		f.broken("bindings: want exactly one trigger, got %d", "declare one binding whose type ends in Trigger", triggers)
	}
}

func (f *Function) readBinding(i int, object *hostfile.Value, lookup func(string) (string, bool)) (Binding, bool) {
	if object.Kind != hostfile.Object {
		f.broken("bindings[%d]: want an object, got %s", "correct the file", i, object.Kind)
		return Binding{}, false
	}
	text := func(name string) string {
		v := object.Fold(name)
		if v == nil {
			return ""
		}
		if !v.Scalar() {
			f.broken("bindings[%d].%s: want a text, got %s", "correct the file", i, name, v.Kind)
		}
		return v.Text()
	}
	b := Binding{Type: text("type"), Direction: strings.ToLower(text("direction")), Name: text("name"), DataType: strings.ToLower(text("dataType")),
		Cardinality: strings.ToLower(text("cardinality"))}
	b.Raw, _ = object.Any().(map[string]any)
	if b.Type == "" {
		f.broken("bindings[%d].type: want the kind of binding, got nothing", `add "type"`, i)
	}
	switch b.Direction {
	case "":
		b.Direction = "in"
	case "in", "out", "inout":
	default:
		f.broken("bindings[%d].direction: want in, out or inout, got %q", "correct the direction", i, b.Direction)
	}
	if b.Name != "$return" && !named(b.Name, "") {
		f.broken("bindings[%d].name: want a letter, then letters and digits, or $return, got %q", "rename the binding", i, b.Name)
	}
	if strings.EqualFold(b.Name, "$return") && b.Direction != "out" {
		f.broken("bindings[%d]: a binding named $return has to have the direction out, got %q", `set "direction": "out"`, i, b.Direction)
	}
	if b.output() && b.DataType == "binary" {
		f.fault("bindings[%d]: an output with dataType binary is not supported: the host writes what it gets "+
			"without decoding it, so that no exact bytes can be put out", "remove dataType: the answer's exact bytes arrive without it", i)
	}
	if b.is("timerTrigger") {
		f.readSchedule(i, text("schedule"), lookup)
	}
	b.resolved = map[string]string{}
	for name, value := range b.Raw {
		if s, ok := value.(string); ok && slices.Contains(resolvedProperties, strings.ToLower(name)) {
			b.resolved[strings.ToLower(name)] = f.expanded(i, name, s, lookup)
		}
	}
	return b, true
}

// readSchedule reads a timer's schedule as the host does, which does not load a function whose schedule
// it cannot read.
func (f *Function) readSchedule(i int, text string, lookup func(string) (string, bool)) {
	if strings.TrimSpace(text) == "" {
		f.broken("bindings[%d].schedule: want an NCRONTAB expression such as 0 */5 * * * *, got nothing", `add "schedule"`, i)
		return
	}
	faults := len(f.Faults)
	schedule := f.expanded(i, "schedule", text, lookup)
	if len(f.Faults) > faults {
		return
	}
	setting := ""
	if fields := strings.Split(text, "%"); len(fields) > 2 {
		setting = fields[1]
	}
	parsed, err := hostfile.ParseSchedule(schedule, zoneOf(lookup))
	if err != nil {
		f.broken("bindings[%d].schedule %q: the host cannot read it and never runs the function: %v",
			"write an NCRONTAB expression such as 0 */5 * * * *, or a time span such as 00:05:00", i, schedule, err)
		f.Faults[len(f.Faults)-1].Setting = setting
		return
	}
	f.Schedule = parsed
	if parsed.InDays() {
		f.warn("bindings[%d].schedule %q means days: the next runs are at %s",
			"write an NCRONTAB expression such as 0 0 0 * * * for each day", i, schedule, strings.Join(f.NextRuns(time.Now()), ", "))
		f.Warnings[len(f.Warnings)-1].Setting = setting
	}
}

// NextRuns are the next three times of a timer, by the clock that its schedule follows; none for other
// functions.
func (f *Function) NextRuns(now time.Time) (times []string) {
	for f.Schedule != nil && len(times) < 3 {
		next := f.Schedule.Next(now)
		if next.IsZero() {
			return times
		}
		now = next
		times = append(times, next.Format("2006-01-02 15:04:05 MST"))
	}
	return times
}

// zoneOf is the clock of the app's schedules: WEBSITE_TIME_ZONE, or TZ on Linux, where it names a zone
// of the IANA database, else UTC (learn.microsoft.com, "Timer trigger for Azure Functions", NCRONTAB
// time zones).
func zoneOf(lookup func(string) (string, bool)) *time.Location {
	for _, name := range []string{"WEBSITE_TIME_ZONE", "TZ"} {
		if text, ok := lookup(name); ok && strings.TrimSpace(text) != "" {
			if zone, err := time.LoadLocation(strings.TrimSpace(text)); err == nil {
				return zone
			}
		}
	}
	return time.UTC
}

// resolvedProperties are those, in lower case, in which the extensions resolve %names% and fail without a value. Their values stay with the host.
var resolvedProperties = []string{"queuename", "topicname", "subscriptionname", "eventhubname", "consumergroup", "databasename", "containername",
	"collectionname", "leasecontainername", "leasecollectionname", "path", "topic", "brokerlist", "tablename", "hubname", "hostname",
	"connection", "connectionstringsetting", "leaseconnection", "leaseconnectionstringsetting", "apikey"}

func (f *Function) expanded(i int, name, text string, lookup func(string) (string, bool)) string {
	out, err := expand(text, lookup)
	if err != nil {
		f.broken("bindings[%d].%s %q: %v", "add the app setting, or correct the name between the percent signs", i, name, text, err)
		f.Faults[len(f.Faults)-1].Setting = unresolved(text, lookup)
		return ""
	}
	return out
}

// unresolved returns the first name between percent signs that does not resolve.
func unresolved(text string, lookup func(string) (string, bool)) string {
	for fields := strings.Split(text, "%"); len(fields) > 2; fields = fields[2:] {
		if _, err := Resolve(fields[1], lookup); err != nil {
			return fields[1]
		}
	}
	return ""
}

func (f *Function) readRetry(object *hostfile.Value, c hostConfig) {
	get := func(name string) (string, bool) { return c.get("retry." + name) }
	file := hostFile
	switch own := object.Fold("retry"); {
	case own != nil && own.Kind == hostfile.Object:
		file = f.File
		get = func(name string) (string, bool) {
			v := own.Fold(name)
			if v == nil || !v.Scalar() {
				return "", false
			}
			return v.Text(), true
		}
	case own != nil && own.Kind == hostfile.Array:
		f.broken("retry: want an object, got an array", "correct the file")
		return
	default:
		if _, ok := get("strategy"); !ok && !c.section("retry") {
			return
		}
	}
	policy, err := parseRetry(get)
	if err != nil {
		if file == f.File {
			f.broken("%v", "correct the retry policy", err)
		}
		return // one in host.json is reported once, for the app
	}
	f.Retry = policy
}

// readHTTP reads what an HTTP trigger has beyond a binding, its template excepted.
func (f *Function) readHTTP() {
	switch level := f.Trigger.property("authLevel").(type) {
	case nil:
	case string:
		if !slices.Contains([]string{"anonymous", "function", "admin", "user", "system"}, strings.ToLower(level)) {
			f.broken("authLevel: want anonymous, function or admin, got %q", "correct authLevel", level)
		}
	default:
		f.broken("authLevel: want a string, got %v", "correct authLevel", level)
	}
	switch methods := f.Trigger.property("methods").(type) {
	case nil:
	case []any:
		f.Methods = []string{}
		for _, m := range methods {
			text, ok := m.(string)
			if !ok || text == "" {
				f.broken("methods: want a list of strings, got %v in it", "correct methods", m)
				continue
			}
			if !slices.Contains(f.Methods, strings.ToUpper(text)) {
				f.Methods = append(f.Methods, strings.ToUpper(text))
			}
		}
		if len(methods) == 0 {
			f.fault("methods: the list is empty, so that the host gives the function no request", "list the methods, or remove the list for all of them")
		}
	default:
		f.broken("methods: want a list of strings, got %v", "write a list, for instance [\"get\"]", methods)
	}
}
