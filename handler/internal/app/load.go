package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Load reads the script root. It never returns nil and never fails: what is wrong stands in Faults of the app or of a function. lookup finds
// an app setting ignoring the case of its name.
func Load(root string, lookup func(name string) (string, bool)) *App {
	a := &App{Root: root, lookup: lookup}
	c := a.readHost()
	if _, ok := c.get("retry.strategy"); ok || c.section("retry") {
		if _, err := parseRetry(func(name string) (string, bool) { return c.get("retry." + name) }); err != nil {
			a.fault("retry", "%v: the host does not start", "correct the retry policy", err)
		}
	}
	a.readFunctions(c)
	taken := map[string]*Function{}
	for _, f := range a.Functions {
		if first := taken[foldText(f.Name)]; first != nil {
			f.broken("the name is taken by the folder %s, which differs only in case", "rename one of the two", first.Name)
		} else {
			taken[foldText(f.Name)] = f
		}
		f.Wrapped = !a.unwraps(f)
		if f.HTTP() {
			f.readHTTP()
			a.readRoute(f)
		}
		a.checkTrigger(f)
	}
	a.checkPrefixes()
	a.findOverlaps()
	return a
}

func (a *App) readFunctions(c hostConfig) {
	entries, err := os.ReadDir(a.Root)
	if err != nil {
		a.Faults = append(a.Faults, newFault("", "", "reading the script root: %v", "start the handler through the host, or set FUNCTIONS_APP_ROOT_PATH", err))
		return
	}
	only := c.list("functions")
	for _, e := range entries {
		// A link to a folder counts: the host follows it.
		if e.Type().IsRegular() || !regularFile(filepath.Join(a.Root, e.Name(), functionFile)) {
			continue
		}
		if only != nil && !slices.ContainsFunc(only, func(n string) bool { return strings.EqualFold(n, e.Name()) }) {
			a.Excluded = append(a.Excluded, e.Name())
			continue
		}
		a.Functions = append(a.Functions, readFunction(a.Root, e.Name(), c))
	}
	// OrderBy(f => f.Name, StringComparer.OrdinalIgnoreCase), which compares in upper case: "_" stands behind the letters.
	slices.SortStableFunc(a.Functions, func(x, y *Function) int { return strings.Compare(foldText(x.Name), foldText(y.Name)) })
}

// unwraps tells whether the function's calls come under the route prefix: one input, an httpTrigger, one output, of type http, and a host
// that forwards or proxies (recordings D-noout-forward, D-bothout-forward, D-retfn-forward).
func (a *App) unwraps(f *Function) bool {
	var in, out []Binding
	for _, b := range f.Bindings {
		if b.Direction == "out" || b.Direction == "inout" {
			out = append(out, b)
		}
		if b.Direction != "out" {
			in = append(in, b)
		}
	}
	return (a.Proxying || a.Forwarding) && len(in) == 1 && in[0].is("httpTrigger") && len(out) == 1 && out[0].is("http")
}

// readRoute builds the template as the host does and refuses what the host refuses. A template that cannot be parsed stops the whole host
// (recordings E-fn-bad-route, E-fn-route-leading-slash).
func (a *App) readRoute(f *Function) {
	route := ""
	switch r := f.Trigger.property("route").(type) {
	case nil:
	case string:
		text, err := expand(r, a.lookup)
		if err != nil {
			f.broken("route %q: %v", "add the app setting, or correct the name between the percent signs", r, err)
			f.Faults[len(f.Faults)-1].Setting = unresolved(r, a.lookup)
			return
		}
		route = text
	default:
		f.broken("route: want a string, got %v", "correct route", r)
		return
	}
	if strings.TrimSpace(route) == "" {
		route = f.Name
	}
	if start := strings.ToLower(strings.Trim(route, "/")); strings.HasPrefix(start, "admin") || strings.HasPrefix(start, "runtime") {
		f.broken("route %q: no route can begin with admin or runtime, which are the host's own", "choose another beginning", route)
		return
	}
	template := route
	if a.RoutePrefix != "" {
		template = a.RoutePrefix + "/" + route
	}
	parsed, err := parseTemplate(template)
	if err != nil {
		if !f.absent {
			fault := newFault("", f.File, "route %q of %s: %v: the host then answers 503 to everything", "correct the route", route, f.Name, err)
			a.Faults = append(a.Faults, fault)
		}
		f.fault("route %q: %v", "correct the route", route, err)
		return
	}
	f.Route = parsed
	if f.absent {
		return
	}
	for _, other := range a.Functions {
		if other == f {
			break
		}
		if other.Route != nil && !other.absent && foldText(strings.Trim(other.Route.Template, "/")) == foldText(strings.Trim(template, "/")) &&
			methodsMeet(other.Methods, f.Methods) {
			f.broken("the route %q with one of its methods belongs to the function %s already", "give one of the two another route or other methods",
				route, other.Name)
			return
		}
	}
}

func methodsMeet(a, b []string) bool {
	return a == nil || b == nil || slices.ContainsFunc(a, func(m string) bool { return slices.Contains(b, m) })
}

// builtIn are the kinds of binding that the host knows without an extension bundle.
var builtIn = []string{"httptrigger", "http", "timertrigger"}

// movesOn are the triggers whose event is gone once a run has failed, unless a retry policy runs it again.
var movesOn = map[string]string{
	"timertrigger":    "a failed tick is not repeated",
	"eventhubtrigger": "the host moves on to the next events after a failure",
	"cosmosdbtrigger": "the host moves on to the next changes after a failure",
	"kafkatrigger":    "the host moves on to the next events after a failure",
}

func (a *App) checkTrigger(f *Function) {
	for i, b := range f.Bindings {
		if b.Type != "" && !a.ExtensionBundle && !slices.Contains(builtIn, strings.ToLower(b.Type)) && !installedExtensions(a.Root) {
			f.fault("bindings[%d]: %s needs an extension, and host.json names no extension bundle", `add to host.json: "extensionBundle": `+
				`{"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"}`, i, b.Type)
		}
	}
	if f.Trigger.is("serviceBusTrigger") && (a.FunctionTimeout <= 0 || a.FunctionTimeout > a.lockRenewal) {
		a.warn(f.Name, hostFile, "functionTimeout %s is longer than a Service Bus message stays locked (%s): a run that takes longer is delivered again meanwhile",
			"set functionTimeout to "+a.lockRenewal.String()+" at most, or raise extensions.serviceBus.maxAutoLockRenewalDuration", timeoutText(a.FunctionTimeout), a.lockRenewal)
	}
	if why, ok := movesOn[strings.ToLower(f.Trigger.Type)]; ok && f.Retry == nil && !f.Disabled && !f.absent {
		f.warn("no retry policy: %s, so that a call that failed is lost", `add "retry": {"strategy": "fixedDelay", "maxRetryCount": 3, `+
			`"delayInterval": "00:00:05"} to the file`, why)
	}
}

func timeoutText(d time.Duration) string {
	if d <= 0 {
		return "-1 (unbounded)"
	}
	return d.String()
}

func (f *Function) warn(format, hint string, args ...any) {
	f.Warnings = append(f.Warnings, newFault(f.Name, f.File, format, hint, args...))
}

func (a *App) warn(function, file, format, hint string, args ...any) {
	a.Warnings = append(a.Warnings, newFault(function, file, format, hint, args...))
}

// checkPrefixes keeps a caller from reaching POST /<function>, where wrapped calls come in, through the routes.
func (a *App) checkPrefixes() {
	var wrapped []string
	for _, f := range a.Functions {
		if !f.Wrapped || f.absent {
			continue
		}
		wrapped = append(wrapped, f.Name)
		if a.RoutePrefix != "" && strings.EqualFold(f.Name, a.RoutePrefix) {
			f.fault("the function has the name of the route prefix %q and comes wrapped: a forwarded POST /%s from outside could not be told from a call of the host",
				"rename the folder", a.RoutePrefix, f.Name)
		}
	}
	switch {
	case a.RoutePrefix != "" || len(a.Faults) > 0 && len(a.Functions) == 0:
	case !a.Proxying && !a.Forwarding:
		a.fault("extensions.http.routePrefix", "extensions.http.routePrefix is empty while proxying and forwarding are off: a caller's path could be that of a wrapped call",
			`set a prefix such as "api", or "enableProxyingHttpRequest": true`)
	case len(wrapped) > 0:
		a.fault("extensions.http.routePrefix", "extensions.http.routePrefix is empty, and %s come wrapped as POST /<function>: a caller could reach them through a route",
			`set a prefix such as "api"`, strings.Join(wrapped, ", "))
	}
}

// names lists functions in words.
func names(functions []*Function) string {
	var list []string
	for _, f := range functions {
		list = append(list, f.Name)
	}
	switch n := len(list); n {
	case 0:
		return ""
	case 1:
		return list[0]
	default:
		return fmt.Sprintf("%s and %s", strings.Join(list[:n-1], ", "), list[n-1])
	}
}
