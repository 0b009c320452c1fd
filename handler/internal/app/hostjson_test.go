package app

import (
	"strings"
	"testing"
	"time"
)

// host returns a host.json with further members, and customHandler's with them.
func host(members, handler string) string {
	if members != "" {
		members = ", " + members
	}
	if handler != "" {
		handler = ", " + handler
	}
	return `{"version": "2.0"` + members + `, "customHandler": {"description": {"defaultExecutablePath": "handler"}` + handler + `}}`
}

func TestHostJSONIsReadAsTheHostReadsIt(t *testing.T) {
	tests := []struct {
		name     string
		host     string
		settings map[string]string
		prefix   string
		proxying bool
		forward  bool
		timeout  time.Duration
		bundle   bool
	}{
		{name: "defaults", host: host("", ""), prefix: "api", timeout: 5 * time.Minute},
		{name: "comments and trailing commas are fine", prefix: "api", timeout: 5 * time.Minute,
			host: "// top\n{\"version\": \"2.0\", /* in */ \"customHandler\": {\"description\": {\"defaultExecutablePath\": \"handler\",},}, // end\n}"},
		{name: "a byte order mark is fine", host: "\uFEFF" + host("", ""), prefix: "api", timeout: 5 * time.Minute},
		{name: "names are found in any case", host: host(`"FUNCTIONTIMEOUT": "00:00:07"`, `"EnableProxyingHttpRequest": true`), prefix: "api",
			proxying: true, timeout: 7 * time.Second},
		{name: "both ways", host: host("", `"enableForwardingHttpRequest": true, "enableProxyingHttpRequest": true`), prefix: "api", proxying: true,
			forward: true, timeout: 5 * time.Minute},
		{name: "a flag can be a string", host: host("", `"enableForwardingHttpRequest": "True"`), prefix: "api", forward: true, timeout: 5 * time.Minute},
		{name: "a flag can be null", host: host("", `"enableForwardingHttpRequest": null`), prefix: "api", timeout: 5 * time.Minute},
		{name: "a prefix of two segments", host: host(`"extensions": {"http": {"routePrefix": "a/b"}}`, ""), prefix: "a/b", timeout: 5 * time.Minute},
		{name: "a leading slash of the prefix is dropped", host: host(`"extensions": {"http": {"routePrefix": "/api"}}`, ""), prefix: "api",
			timeout: 5 * time.Minute},
		{name: "-1 is unbounded", host: host(`"functionTimeout": "-1"`, ""), prefix: "api"},
		{name: "the number -1 is unbounded", host: host(`"functionTimeout": -1`, ""), prefix: "api"},
		{name: "days are a time-out, too", host: host(`"functionTimeout": "1.02:00:00"`, ""), prefix: "api", timeout: 26 * time.Hour},
		{name: "null is absent", host: host(`"functionTimeout": null`, ""), prefix: "api", timeout: 5 * time.Minute},
		{name: "a bundle", host: host(`"extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"}`, ""),
			prefix: "api", timeout: 5 * time.Minute, bundle: true},
		{name: "app settings override the file, whatever their case", host: host(`"functionTimeout": "00:01:00"`, `"enableProxyingHttpRequest": true`),
			settings: map[string]string{"AZUREFUNCTIONSJOBHOST__FunctionTimeout": "00:00:09", "AzureFunctionsJobHost__customHandler__enableProxyingHttpRequest": "false",
				"AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest": "true", "AzureFunctionsJobHost__extensions__http__routePrefix": "v1"},
			prefix: "v1", forward: true, timeout: 9 * time.Second},
		{name: "app settings can name the executable", host: `{"version": "2.0"}`,
			settings: map[string]string{"AzureFunctionsJobHost__customHandler__description__defaultExecutablePath": "handler"}, prefix: "api", timeout: 5 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := load(t, files{"host.json": test.host}, test.settings)
			noFaults(t, a)
			if a.RoutePrefix != test.prefix || a.Proxying != test.proxying || a.Forwarding != test.forward || a.FunctionTimeout != test.timeout ||
				a.ExtensionBundle != test.bundle {
				t.Errorf("got prefix %q proxying %t forwarding %t timeout %s bundle %t", a.RoutePrefix, a.Proxying, a.Forwarding, a.FunctionTimeout, a.ExtensionBundle)
			}
		})
	}
}

func TestFaultsOfHostJSON(t *testing.T) {
	tests := []struct {
		name     string
		host     string
		settings map[string]string
		words    []string
	}{
		{name: "broken JSON", host: `{"version": `, words: []string{"host.json", "line 1: version: want a value"}},
		{name: "no object", host: `["version"]`, words: []string{"want an object, got an array"}},
		{name: "no version", host: `{"customHandler": {"description": {"defaultExecutablePath": "handler"}}}`, words: []string{`version: want "2.0", got ""`}},
		{name: "another version", host: `{"version": "3.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}}}`, words: []string{`got "3.0"`}},
		{name: "no custom handler", host: `{"version": "2.0"}`, words: []string{"customHandler.description is missing"}},
		{name: "the old section", host: `{"version": "2.0", "httpWorker": {"description": {"defaultExecutablePath": "handler"}}}`, words: []string{"httpWorker"}},
		{name: "a blank executable", host: `{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": " "}}}`,
			words: []string{"defaultExecutablePath is missing or blank"}},
		{name: "a flag that is none", host: host("", `"enableProxyingHttpRequest": "yes"`), words: []string{"enableProxyingHttpRequest: want true or false", `"yes"`}},
		{name: "a time-out that is none", host: host(`"functionTimeout": "5 minutes"`, ""), words: []string{"functionTimeout", `"5 minutes"`}},
		{name: "a time-out below a second", host: host(`"functionTimeout": "00:00:00.5"`, ""), words: []string{"at least 00:00:01"}},
		{name: "a negative time-out", host: host(`"functionTimeout": "-00:05:00"`, ""), words: []string{"at least 00:00:01"}},
		{name: "a slash behind the prefix", host: host(`"extensions": {"http": {"routePrefix": "api/"}}`, ""), words: []string{"routePrefix", "two slashes"}},
		{name: "a parameter in the prefix", host: host(`"extensions": {"http": {"routePrefix": "{tenant}"}}`, ""), words: []string{"routePrefix", "not supported"}},
		{name: "a profile", host: host(`"configurationProfile": "mcp-custom-handler"`, ""), words: []string{"configurationProfile", "mcp-custom-handler"}},
		{name: "routes in host.json", host: host("", `"http": {"routes": [{"route": "{*route}"}]}`), words: []string{"customHandler.http.routes excludes"}},
		{name: "a bundle without version", host: host(`"extensionBundle": {"id": "x"}`, ""), words: []string{"extensionBundle"}},
		{name: "a broken retry policy", host: host(`"retry": {"strategy": "fixedDelay", "maxRetryCount": 3}`, ""), words: []string{"retry.delayInterval is missing"}},
		{name: "an override is named as such", host: host("", ""), settings: map[string]string{"AzureFunctionsJobHost__functionTimeout": "soon"},
			words: []string{"AzureFunctionsJobHost__functionTimeout", `"soon"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := load(t, files{"host.json": test.host}, test.settings)
			oneFault(t, a.Faults, test.words...)
			if a.Faults[0].Function != "" {
				t.Errorf("the fault is one of %s alone", a.Faults[0].Function)
			}
			if a.Faults[0].Hint == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestAMissingHostJSONOrRootIsAFault(t *testing.T) {
	a := Load(t.TempDir(), settings(nil))
	oneFault(t, a.Faults, "host.json", "missing")
	a = Load("/nowhere/at/all", settings(nil))
	if len(a.Faults) != 2 || !strings.Contains(a.Faults[1].Text, "script root") {
		t.Errorf("got %v", a.Faults)
	}
	if _, ok := a.Match("GET", "/api/x"); ok {
		t.Error("something fits in an empty app")
	}
}

func TestExtensionsInstalledIntoTheRootStandForABundle(t *testing.T) {
	for _, path := range []string{"extensions.json", "bin/extensions.json", ".azurefunctions/extensions.json"} {
		a := load(t, files{"host.json": host("", ""), path: "{}", "q/function.json": triggered(`"type": "queueTrigger", "name": "m", "queueName": "x"`)}, nil)
		noFaults(t, a)
	}
}

func TestSlipsInFilesAreWarnings(t *testing.T) {
	const bus = `{"bindings": [{"type": "serviceBusTrigger", "direction": "in", "name": "m", "queueName": "q", "connection": "B"}]}`
	bundle := `"extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"}, `
	arguments := strings.Replace(host("", ""), `"defaultExecutablePath"`, `"arguments": ["--port", "1"], "defaultExecutablePath"`, 1)
	prefix := func(p string) string { return host(`"extensions": {"http": {"routePrefix": "`+p+`"}}`, "") }
	for _, row := range []struct {
		name, host, function string
		set                  map[string]string
		words                string // "" = no warning
	}{
		{"a prefix of the platform's", prefix("admin"), httpFunction(""), nil, `"admin": the platform keeps`},
		{"a longer one", prefix("Runtime/v1"), httpFunction(""), nil, `"Runtime/v1": the platform keeps`},
		{"one that begins alike", prefix("administration"), httpFunction(""), nil, ""},
		{"start arguments", arguments, httpFunction(""), nil, "customHandler.description.arguments"},
		{"no word about a plain name", host("", ""), httpFunction(""), map[string]string{"AzureWebJobs.f.Disabled": "1"}, ""},
		{"a lock that ends before the run", host(bundle+`"functionTimeout": "00:10:00"`, ""), bus, nil, "functionTimeout 10m0s is longer"},
		{"a run without an end", host(bundle+`"functionTimeout": "-1"`, ""), bus, nil, "-1 (unbounded) is longer"},
		{"a lock that is kept for longer", host(bundle+`"functionTimeout": "00:10:00", "extensions": {"serviceBus": {"maxAutoLockRenewalDuration": "00:15:00"}}`, ""), bus, nil, ""},
		{"the defaults", host(bundle[:len(bundle)-2], ""), bus, nil, ""},
	} {
		a := load(t, files{"host.json": row.host, "f/function.json": row.function}, row.set)
		all := a.Warnings
		for _, f := range a.Functions {
			all = append(all, f.Warnings...)
		}
		if len(a.Faults) > 0 || row.words == "" && len(all) > 0 || row.words != "" && (len(all) != 1 || !strings.Contains(all[0].Text, row.words)) {
			t.Errorf("%s: want a warning with %q, got %v %v", row.name, row.words, a.Faults, all)
		}
	}
	a := load(t, files{"host.json": host("", ""), "my-queue/function.json": httpFunction("")}, map[string]string{"AzureWebJobs.my-queue.Disabled": "1"})
	if f := a.Functions[0]; !f.Disabled || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0].Text, "AzureWebJobs.my-queue.Disabled has a hyphen") {
		t.Errorf("a hyphen: got %+v", f.Warnings)
	}
}
