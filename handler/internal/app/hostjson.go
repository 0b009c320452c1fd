package app

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
)

// hostConfig is host.json with its overrides, each value under its path.
type hostConfig struct {
	values map[string]string // path in lower case, joined by colons
	lookup func(string) (string, bool)
}

// get returns a value; the app setting AzureFunctionsJobHost__a__b goes before host.json's a.b (environment variables are a later source of
// .NET's configuration than the file; Azure/azure-functions-host src/WebJobs.Script/ScriptHostBuilderExtensions.cs).
func (c hostConfig) get(path string) (string, bool) {
	if v, ok := c.lookup("AzureFunctionsJobHost:" + strings.ReplaceAll(path, ".", ":")); ok {
		return v, true
	}
	v, ok := c.values[strings.ToLower(strings.ReplaceAll(path, ".", ":"))]
	return v, ok
}

// settingFor names the app setting that overrides a path with dots.
func settingFor(path string) string {
	return "AzureFunctionsJobHost__" + strings.ReplaceAll(path, ".", "__")
}

// section tells whether host.json has anything below a path. Overrides alone are found where their full name is asked for.
func (c hostConfig) section(path string) bool {
	path = strings.ToLower(strings.ReplaceAll(path, ".", ":"))
	for name := range c.values {
		if name == path || strings.HasPrefix(name, path+":") {
			return true
		}
	}
	return false
}

// list returns path.0, path.1 and so on.
func (c hostConfig) list(path string) []string {
	var items []string
	for i := 0; ; i++ {
		v, ok := c.get(path + "." + strconv.Itoa(i))
		if !ok {
			return items
		}
		items = append(items, v)
	}
}

const hostFile = "host.json"

// readHost reads host.json into the app and returns the rest of what functions need of it.
func (a *App) readHost() hostConfig {
	c := hostConfig{values: map[string]string{}, lookup: a.lookup}
	a.FunctionTimeout = 5 * time.Minute
	a.setPrefix("api")
	object, err := readObject(filepath.Join(a.Root, hostFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.fault("", "the file is missing from %s", "stage it beside the function folders", a.Root)
		return c
	case err != nil:
		a.fault("", "reading it: %v", "correct the file", err)
		return c
	}
	flatten(c.values, "", object)
	if v, ok := c.get("version"); !ok || v != "2.0" {
		a.fault("", "version: want \"2.0\", got %q", `set "version": "2.0"`, v)
	}
	a.readHandlerSection(c)
	a.readTimeout(c)
	if prefix, ok := c.get("extensions.http.routePrefix"); ok {
		a.setPrefix(prefix)
		if err := checkPrefix(prefix); err != nil {
			a.fault("extensions.http.routePrefix", "extensions.http.routePrefix %q: %v: the host answers 503 to everything",
				`write the prefix without slashes at its ends, for instance "api"`, prefix, err)
		}
	}
	if start, _, _ := strings.Cut(strings.ToLower(a.RoutePrefix), "/"); start == "admin" || start == "runtime" {
		a.warn("", hostFile, "extensions.http.routePrefix %q: the platform keeps /admin and /runtime for itself: every call from outside is 404", "choose another prefix",
			a.RoutePrefix)
	}
	if len(c.list("customHandler.description.arguments")) > 0 {
		a.warn("", hostFile, "customHandler.description.arguments: the handler takes no arguments from the host, and does not start with others than its commands",
			"remove the arguments")
	}
	a.plainQueues = strings.EqualFold(c.value("extensions.queues.messageEncoding"), "none")
	a.lockRenewal = 5 * time.Minute
	if text, ok := c.get("extensions.serviceBus.maxAutoLockRenewalDuration"); ok {
		if d, err := hostfile.ParseTimeSpan(text); err == nil {
			a.lockRenewal = d
		}
	}
	a.ExtensionBundle = c.value("extensionBundle.id") != ""
	_, _ = fmt.Sscanf(strings.TrimLeft(c.value("extensionBundle.version"), "[( "), "%d", &a.BundleVersion)
	if c.value("extensionBundle.id") != "" && c.value("extensionBundle.version") == "" {
		a.fault("extensionBundle.version", "extensionBundle has an id and no version", `add "version": "[4.*, 5.0.0)"`)
	}
	return c
}

func (c hostConfig) value(path string) string { v, _ := c.get(path); return v }

// fault records a fault of host.json that fails every function. path is the value's, with dots, or empty: where an app setting overrides it, the
// setting is what has to be looked at.
func (a *App) fault(path, format, hint string, args ...any) {
	fault := newFault("", hostFile, format, hint, args...)
	if path != "" {
		if _, ok := a.lookup(strings.ReplaceAll(settingFor(path), "__", ":")); ok {
			fault.File, fault.Setting = "", settingFor(path)
		}
	}
	a.Faults = append(a.Faults, fault)
}

func (a *App) setPrefix(prefix string) {
	a.RoutePrefix = strings.Trim(strings.TrimPrefix(prefix, "~/"), "/")
}

// checkPrefix refuses what makes every route template invalid, and what we do not read as the host would: the prefix is a part of the template.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if strings.ContainsAny(prefix, "{}*") {
		return errors.New("parameters in the prefix are not supported")
	}
	_, err := parseTemplate(prefix + "/x")
	return err
}

func (a *App) readHandlerSection(c hostConfig) {
	const section = "customHandler"
	flag := func(name string) bool {
		path := section + "." + name
		text, ok := c.get(path)
		if !ok || text == "" {
			return false
		}
		on, err := parseBool(text)
		if err != nil {
			a.fault(path, "%s: want true or false, got %q: the host does not start", "write true or false", path, text)
		}
		return on
	}
	a.Proxying, a.Forwarding = flag("enableProxyingHttpRequest"), flag("enableForwardingHttpRequest")
	_, executable := c.get(section + ".description.defaultExecutablePath")
	switch {
	case !executable && !c.section(section) && c.section("httpWorker"):
		a.fault("", "the section httpWorker makes the host forward every HTTP call to /<function>, which is not supported",
			"rename the section to customHandler")
	case !executable && !c.section(section+".description"):
		a.fault("", "customHandler.description is missing, so that the host starts no handler",
			`add "customHandler": {"description": {"defaultExecutablePath": "handler"}}`)
	case strings.TrimSpace(c.value(section+".description.defaultExecutablePath")) == "":
		a.fault("", "customHandler.description.defaultExecutablePath is missing or blank, so that the host answers 503 to everything",
			`set "defaultExecutablePath": "handler"`)
	case strings.HasPrefix(c.value(section+".description.defaultExecutablePath"), "./"):
		a.warn("", hostFile, "customHandler.description.defaultExecutablePath %q: Core Tools marks a file as executable only where its path is "+
			"exactly this text", `write it without "./"`, c.value(section+".description.defaultExecutablePath"))
	}
	if profile := c.value("configurationProfile"); profile != "" {
		a.fault("configurationProfile", "configurationProfile %q makes the host take its routes from host.json, so that it leaves every function.json aside",
			"remove configurationProfile", profile)
	}
	if _, ok := c.get(section + ".http.routes.0.route"); ok || c.section(section+".http.routes") {
		a.fault("", "customHandler.http.routes excludes functions by function.json, so that the host leaves them aside",
			"remove customHandler.http.routes and give each function its route in its function.json")
	}
}

func (a *App) readTimeout(c hostConfig) {
	const path = "functionTimeout"
	text, ok := c.get(path)
	if !ok || text == "" {
		return
	}
	d, err := hostfile.ParseTimeSpan(text)
	switch {
	case err != nil:
		a.fault(path, "functionTimeout: %v: the host does not start", "write it as hh:mm:ss, for instance 00:05:00", err)
	case d == -24*time.Hour: // "-1", a TimeSpan of days
		a.FunctionTimeout = 0
	case d < time.Second:
		a.fault(path, "functionTimeout: want at least 00:00:01, or -1 for none, got %q: the host does not start",
			"write it as hh:mm:ss, for instance 00:05:00", text)
	default:
		a.FunctionTimeout = d
	}
}

// parseBool is .NET's bool.Parse.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("neither true nor false")
}

// installedExtensions finds extensions that were installed into the script root instead of coming from a bundle
// (Azure/azure-functions-host src/WebJobs.Script/Utility.cs, TryResolveExtensionsMetadataPath).
func installedExtensions(root string) bool {
	for _, dir := range []string{"bin", ".", ".azurefunctions"} {
		if regularFile(filepath.Join(root, dir, "extensions.json")) {
			return true
		}
	}
	return false
}
