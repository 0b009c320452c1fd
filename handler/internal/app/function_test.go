package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFolders(t *testing.T) {
	good := httpFunction(`"authLevel": "anonymous"`)
	a := load(t, files{
		"bom/function.json":        "\uFEFF" + good,                            // E-folder-bom
		"cm/function.json":         "// a comment\n" + good + "/* b */",        // E-folder-comments
		"deep/er/function.json":    good,                                       // E-folder-deep
		"function.json":            good,                                       // in the root: no function
		"nothing/readme.md":        "",                                         // E-folder-emptyfolder
		"excl/function.json":       good[:len(good)-1] + `, "excluded": true}`, // E-folder-excluded
		".dot/function.json":       good,                                       // E-folder-dot
		"with space/function.json": good,                                       // E-folder-space
		"1num/function.json":       good,                                       // no valid name: Utility.IsValidFunctionName
		"badjson/function.json":    "{bad",                                     // E-folder-badjson
		"lax/function.json": "\ufeff{bindings: [\u00a0{'type': 'timerTrigger', name: 't', schedule: '0 * * * *',},],\n" +
			`"retry": {strategy: 'fixedDelay', maxRetryCount: 0x3, delayInterval: '00:00:05'}}// end`,
		"word/function.json":         "{\"bindings\": [{\"type\": \"queueTrigger\", \"name\": \"q\",\n\"queueName\": orders-of-the-south}]}",
		"sf/function.json":           good[:len(good)-1] + `, "scriptFile": "nofile.js"}`, // E-folder-scriptfile
		"sfok/function.json":         good[:len(good)-1] + `, "scriptFile": "run.sh"}`,
		"sfok/run.sh":                "",
		"a-b_c/function.json":        good, // E-fn-name-dash-underscore
		"Upper/function.json":        good,
		"host/function.json":         good,
		"unreadable/function.json/x": "",
	}, nil)
	if len(a.Faults) > 0 {
		t.Errorf("app: %v", a.Faults)
	}
	got := map[string]string{}
	var order []string
	for _, f := range a.Functions {
		order = append(order, f.Name)
		got[f.Name] = ""
		if len(f.Faults) > 0 {
			got[f.Name] = f.Faults[0].Text
		}
	}
	want := map[string]string{"bom": "", "cm": "", "excl": "", "sfok": "", "a-b_c": "", "Upper": "", ".dot": "no valid function name",
		"with space": "no valid function name", "1num": "no valid function name", "host": "no valid function name", "lax": "", "word": "line 2: bindings[0].queueName: want a value", "badjson": "line 1: want a colon", "sf": "nofile.js"}
	for name, words := range want {
		text, found := got[name]
		if !found || (words == "") != (text == "") || !strings.Contains(text, words) {
			t.Errorf("%s: found %t, fault %q, want %q", name, found, text, words)
		}
	}
	if len(got) != len(want) {
		t.Errorf("functions %v", order)
	}
	if !slices.IsSortedFunc(order, func(a, b string) int { return strings.Compare(strings.ToUpper(a), strings.ToUpper(b)) }) {
		t.Errorf("order %v", order)
	}
	for path, want := range map[string]bool{"/api/bom": true, "/api/CM": true, "/api/upper": true, "/api/a-b_c": true, "/api/sf": false, "/api/with%20space": false,
		"/api/badjson": false, "/api/deep": false, "/api/er": false} {
		if _, ok := a.Match("GET", path); ok != want {
			t.Errorf("GET %s: fits %t, want %t", path, ok, want)
		}
	}
}

func TestOrderIsOrdinalIgnoringCase(t *testing.T) {
	good := httpFunction("")
	a := load(t, files{"b/function.json": good, "A/function.json": good, "a_b/function.json": good, "a-b/function.json": good, "ab/function.json": good,
		"a1/function.json": good, "C/function.json": good}, nil)
	var order []string
	for _, f := range a.Functions {
		order = append(order, f.Name)
	}
	// In upper case the underscore stands behind the letters.
	if want := "A a-b a1 ab a_b b C"; strings.Join(order, " ") != want {
		t.Errorf("got %v, want %s", order, want)
	}
}

func TestFaultsOfOneFunction(t *testing.T) {
	bindings := func(list string) string { return `{"bindings": [` + list + `]}` }
	timer := `{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 * * * * *"}`
	tests := []struct {
		name     string
		json     string
		settings map[string]string
		words    []string
	}{
		{name: "no bindings", json: `{}`, words: []string{"bindings: want at least one binding"}},
		{name: "an empty list of bindings", json: bindings(""), words: []string{"bindings: want at least one binding"}},
		{name: "no trigger", json: bindings(`{"type": "http", "direction": "out", "name": "res"}`), words: []string{"want exactly one trigger, got 0"}},
		{name: "two triggers", json: bindings(timer + `, {"type": "httpTrigger", "direction": "in", "name": "req"}`), words: []string{"want exactly one trigger, got 2"}},
		{name: "a binding that is no object", json: bindings(timer + `, 5`), words: []string{"bindings[1]: want an object, got a number"}},
		{name: "a binding without type", json: bindings(timer + `, {"direction": "out", "name": "x"}`), words: []string{"bindings[1].type"}},
		{name: "a binding without name", json: bindings(timer + `, {"type": "queue", "direction": "out"}`), words: []string{"bindings[1].name", `got ""`}},
		{name: "a binding's name with a hyphen", json: bindings(timer + `, {"type": "queue", "direction": "out", "name": "a-b"}`), words: []string{`"a-b"`}},
		{name: "two bindings of one name", json: bindings(timer + `, {"type": "queue", "direction": "out", "name": "TIMER"}`),
			words: []string{"bindings[1]", "second binding", `"TIMER"`}},
		{name: "an unknown direction", json: bindings(timer + `, {"type": "queue", "direction": "up", "name": "q"}`), words: []string{"direction", `"up"`}},
		{name: "$return that is no output", json: bindings(timer + `, {"type": "queue", "direction": "in", "name": "$return"}`), words: []string{"$return", "direction out"}},
		{name: "a binary output", json: bindings(timer + `, {"type": "blob", "direction": "out", "name": "b", "path": "x", "dataType": "binary"}`),
			words: []string{"dataType binary is not supported"}},
		{name: "refused events into a table", json: bindings(timer + `, {"type": "table", "direction": "out", "name": "Refused", "tableName": "x"}`),
			words: []string{`the output "Refused"`, "want one of queue, blob, serviceBus, eventHub, got table"}},
		{name: "refused events into an http answer", json: bindings(timer + `, {"type": "http", "direction": "out", "name": "refused"}`),
			words: []string{`the output "refused"`, "got http"}},
		{name: "an unknown authLevel", json: httpFunction(`"authLevel": "bogus"`), words: []string{"authLevel", `"bogus"`}},
		{name: "methods that are no list", json: httpFunction(`"methods": "get"`), words: []string{"methods: want a list"}},
		{name: "a method that is no string", json: httpFunction(`"methods": [5]`), words: []string{"methods: want a list of strings"}},
		{name: "no method at all", json: httpFunction(`"methods": []`), words: []string{"methods: the list is empty"}},
		{name: "a route that is no string", json: httpFunction(`"route": 5`), words: []string{"route: want a string"}},
		{name: "a route that begins with admin", json: httpFunction(`"route": "Administrators"`), words: []string{"admin or runtime"}},
		{name: "a route that begins with runtime", json: httpFunction(`"route": "runtime/x"`), words: []string{"admin or runtime"}},
		{name: "a setting that does not resolve", json: httpFunction(`"route": "x/%Version%"`), words: []string{`route "x/%Version%"`, "no app setting Version"}},
		{name: "a lone percent sign", json: httpFunction(`"route": "x/100%"`), words: []string{"no closing %"}},
		{name: "a timer without schedule", json: triggered(`"type": "timerTrigger", "name": "t"`), words: []string{"schedule: want an NCRONTAB expression"}},
		{name: "a schedule that does not resolve", json: triggered(`"type": "timerTrigger", "name": "t", "schedule": "%PollSchedule%"`),
			words: []string{"schedule", "no app setting PollSchedule"}},
		{name: "a queue's name that does not resolve", json: triggered(`"type": "queueTrigger", "name": "m", "queueName": "%Queue%"`),
			words: []string{"queueName", "no app setting Queue"}},
		{name: "a scriptFile that does not exist", json: `{"scriptFile": "run.js", "bindings": [` + timer + `]}`, words: []string{"scriptFile", "run.js"}},
		{name: "a retry policy without strategy", json: `{"retry": {"maxRetryCount": 3}, "bindings": [` + timer + `]}`, words: []string{"retry.strategy"}},
		{name: "a retry policy without count", json: `{"retry": {"strategy": "fixedDelay", "delayInterval": "00:00:01"}, "bindings": [` + timer + `]}`,
			words: []string{"retry.maxRetryCount is missing"}},
		{name: "a retry policy without interval", json: `{"retry": {"strategy": "exponentialBackoff", "maxRetryCount": 3, "minimumInterval": "00:00:01"}, "bindings": [` +
			timer + `]}`, words: []string{"retry.maximumInterval is missing"}},
		{name: "a retry policy that is a list", json: `{"retry": [], "bindings": [` + timer + `]}`, words: []string{"retry: want an object"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := load(t, files{"bad/function.json": test.json, "good/function.json": httpFunction(`"route": "good"`)}, test.settings)
			f := function(t, a, "bad")
			oneFault(t, f.Faults, test.words...)
			if f.Faults[0].Function != "bad" || f.Faults[0].File != "bad/function.json" || f.Faults[0].Hint == "" {
				t.Errorf("fault %+v", f.Faults[0])
			}
			// It fails alone.
			if good := function(t, a, "good"); len(a.Faults)+len(good.Faults) > 0 {
				t.Errorf("app %v, good %v", a.Faults, good.Faults)
			}
			if m, ok := a.Match("GET", "/api/good"); !ok || m.Function.Name != "good" {
				t.Error("the good function cannot be reached")
			}
		})
	}
}

func TestATriggerBesidesHTTPAndTimerNeedsABundle(t *testing.T) {
	a := load(t, files{"host.json": host("", ""), "q/function.json": triggered(`"type": "queueTrigger", "name": "m", "queueName": "x"`),
		"t/function.json": triggered(`"type": "timerTrigger", "name": "t", "schedule": "0 * * * * *"`),
		"w/function.json": httpFunction("")}, nil)
	oneFault(t, function(t, a, "q").Faults, "queueTrigger needs an extension", "names no extension bundle")
	for _, name := range []string{"t", "w"} {
		if f := function(t, a, name); len(f.Faults) > 0 {
			t.Errorf("%s: %v", name, f.Faults)
		}
	}
}

func TestNamesThatDifferOnlyInCaseAreAFault(t *testing.T) {
	root := stage(t, files{"host.json": goodHost, "Orders/function.json": httpFunction(""), "orders/function.json": httpFunction("")})
	if entries, _ := os.ReadDir(root); len(entries) != 3 {
		t.Skip("this file system ignores case")
	}
	a := Load(root, settings(nil))
	if f := a.Functions[1]; len(f.Faults) == 0 || !strings.Contains(f.Faults[0].Text, "differs only in case") {
		t.Errorf("%s: %v", f.Name, f.Faults)
	}
	if len(a.Functions[0].Faults) > 0 {
		t.Errorf("%s: %v", a.Functions[0].Name, a.Functions[0].Faults)
	}
}

func TestALinkedFolderIsAFunction(t *testing.T) {
	elsewhere := stage(t, files{"function.json": httpFunction("")})
	root := stage(t, files{"host.json": goodHost})
	if err := os.Symlink(elsewhere, filepath.Join(root, "linked")); err != nil {
		t.Skip(err)
	}
	a := Load(root, settings(nil))
	if len(a.Functions) != 1 {
		t.Errorf("functions %v", a.Functions)
	}
}

func TestTheAllowListLeavesFunctionsOut(t *testing.T) {
	f := files{"host.json": host(`"functions": ["ONE"]`, ""), "one/function.json": httpFunction(""), "two/function.json": "{broken"}
	a := load(t, f, nil)
	if len(a.Functions) != 1 || a.Functions[0].Name != "one" || !slices.Equal(a.Excluded, []string{"two"}) {
		t.Errorf("functions %v, excluded %v", a.Functions, a.Excluded)
	}
	// `func start --functions two` sets it by environment.
	f["host.json"] = host("", "")
	a = load(t, f, map[string]string{"AzureFunctionsJobHost__functions__0": "two"})
	if len(a.Functions) != 1 || a.Functions[0].Name != "two" {
		t.Errorf("functions %v", a.Functions)
	}
}

func TestSettingsDisableAFunction(t *testing.T) {
	for setting, want := range map[string]map[string]bool{
		"AzureWebJobs.one.Disabled": {"1": true, "true": true, "True": true, "0": false, "false": false, "": false},
		"AzureWebJobs_one_Disabled": {"1": true},
		"AZUREWEBJOBS.ONE.DISABLED": {"1": true},
		"AzureWebJobs.two.Disabled": {"1": false},
	} {
		for value, disabled := range want {
			a := load(t, files{"one/function.json": triggered(`"type": "timerTrigger", "name": "t", "schedule": "0 * * * * *"`)}, map[string]string{setting: value})
			f := function(t, a, "one")
			if f.Disabled != disabled || (len(f.Warnings) == 0) != disabled {
				t.Errorf("%s=%s: disabled %t, warnings %v", setting, value, f.Disabled, f.Warnings)
			}
		}
	}
}

func TestTriggersThatMoveOnWantARetryPolicy(t *testing.T) {
	retry := `"retry": {"strategy": "FixedDelay", "maxRetryCount": -1, "delayInterval": "00:00:05"}, `
	for _, test := range []struct {
		trigger string
		warns   bool
	}{
		{`"type": "timerTrigger", "name": "t", "schedule": "0 * * * * *"`, true},
		{`"type": "eventHubTrigger", "name": "e", "eventHubName": "x", "connection": "C"`, true},
		{`"type": "cosmosDBTrigger", "name": "c", "connection": "C"`, true},
		{`"type": "kafkaTrigger", "name": "k"`, true},
		{`"type": "queueTrigger", "name": "m", "queueName": "x"`, false},
		{`"type": "serviceBusTrigger", "name": "m", "queueName": "x"`, false},
	} {
		json := triggered(test.trigger)
		f := function(t, load(t, files{"f/function.json": json}, nil), "f")
		if test.warns {
			oneFault(t, f.Warnings, "no retry policy")
		} else if len(f.Warnings) > 0 {
			t.Errorf("%s: %v", test.trigger, f.Warnings)
		}
		a := load(t, files{"f/function.json": "{" + retry + json[1:]}, nil)
		noFaults(t, a)
		f = function(t, a, "f")
		if len(f.Warnings) > 0 {
			t.Errorf("%s with retry: %v", test.trigger, f.Warnings)
		}
		if want := (Retry{Strategy: "fixedDelay", MaxRetryCount: -1, DelayInterval: 5 * time.Second}); *f.Retry != want {
			t.Errorf("retry %+v", *f.Retry)
		}
		a = load(t, files{"host.json": goodHost[:len(goodHost)-1] +
			`, "retry": {"strategy": "exponentialBackoff", "maxRetryCount": 4, "minimumInterval": "00:00:02", "maximumInterval": "00:01:00"}}`, "f/function.json": json}, nil)
		f = function(t, a, "f")
		if want := (Retry{Strategy: "exponentialBackoff", MaxRetryCount: 4, MinimumInterval: 2 * time.Second, MaximumInterval: time.Minute}); f.Retry == nil ||
			*f.Retry != want || len(f.Warnings) > 0 {
			t.Errorf("%s with host.json's retry: %v, %v", test.trigger, f.Retry, f.Warnings)
		}
	}
}

func TestWhichFunctionsComeWrapped(t *testing.T) {
	res, queue := `{"type": "http", "direction": "out", "name": "res"}`, `{"type": "queue", "direction": "out", "name": "q", "queueName": "x"}`
	req := `{"type": "HttpTrigger", "name": "req"}`
	list := func(b ...string) string { return `{"bindings": [` + strings.Join(b, ", ") + `]}` }
	for _, test := range []struct {
		name, json string
		wrapped    bool
	}{
		{"one http output", list(req, res), false},
		{"an output named $return", list(req, `{"type": "HTTP", "direction": "OUT", "name": "$return"}`), false},
		{"no output", list(req), true},
		{"two http outputs", list(req, res, `{"type": "http", "direction": "out", "name": "$return"}`), true},
		{"another output beside it", list(req, res, queue), true},
		{"another input beside the trigger", list(req, res, `{"type": "blob", "direction": "in", "name": "b", "path": "x"}`), true},
		{"a queue", triggered(`"type": "queueTrigger", "name": "m", "queueName": "x"`), true},
		{"a queue with an http output", list(`{"type": "queueTrigger", "name": "m", "queueName": "x"}`, res), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			bundle := `"extensionBundle": {"id": "x", "version": "[4.*, 5.0.0)"}`
			for _, flag := range []string{"enableForwardingHttpRequest", "enableProxyingHttpRequest"} {
				a := load(t, files{"host.json": host(bundle, `"`+flag+`": true`), "f/function.json": test.json}, nil)
				noFaults(t, a)
				if got := a.Functions[0].Wrapped; got != test.wrapped {
					t.Errorf("%s: wrapped %t", flag, got)
				}
			}
			a := load(t, files{"host.json": host(bundle, ""), "f/function.json": test.json}, nil)
			if !a.Functions[0].Wrapped {
				t.Error("not wrapped although neither forwarding nor proxying is on")
			}
		})
	}
}

func TestBindingsAreReadWhole(t *testing.T) {
	a := load(t, files{"f/function.json": `{"bindings": [
		{"type": "eventHubTrigger", "name": "events", "direction": "IN", "eventHubName": "%Hub%", "connection": "%Conn%", "cardinality": "MANY", "dataType": "String"},
		{"type": "queue", "direction": "out", "name": "$return", "queueName": "q"},
		{"type": "blob", "direction": "in", "name": "state", "path": "x"}]}`},
		map[string]string{"hub": "orders", "conn": "EventHubConnection"})
	noFaults(t, a)
	f := a.Functions[0]
	if b := f.Trigger; b.Type != "eventHubTrigger" || b.Direction != "in" || b.Cardinality != "many" || b.DataType != "string" || b.Text("connection") != "EventHubConnection" ||
		b.Raw["eventHubName"] != "%Hub%" {
		t.Errorf("trigger %+v", b)
	}
	if out := f.Outputs(); len(f.Bindings) != 3 || len(out) != 1 || out[0].Name != "$return" {
		t.Errorf("bindings %+v, outputs %+v", f.Bindings, out)
	}
	if f.HTTP() || f.Route != nil {
		t.Error("an event hub trigger is taken for HTTP")
	}
}

func TestSchedulesAndRoutesTakeSettings(t *testing.T) {
	a := load(t, files{"t/function.json": triggered(`"type": "timerTrigger", "name": "t", "schedule": "%Every%"`),
		"r/function.json": httpFunction(`"route": "%Version%/%what%/{id}"`)}, map[string]string{"EVERY": "0 */5 * * * *", "version": "v1", "What": "or%ders"})
	noFaults(t, a)
	if got := function(t, a, "r").Route.Template; got != "api/v1/or%ders/{id}" {
		t.Errorf("template %q", got)
	}
}

func TestARouteThatIsEmptyOrBlankIsTheName(t *testing.T) {
	for _, route := range []string{``, `"route": ""`, `"route": " "`, `"route": null`} {
		a := load(t, files{"em/function.json": httpFunction(route)}, nil)
		noFaults(t, a)
		if _, ok := a.Match("GET", "/api/em"); !ok {
			t.Errorf("%s: /api/em fits nothing", route)
		}
		if _, ok := a.Match("GET", "/api"); ok {
			t.Errorf("%s: /api fits", route)
		}
	}
	// The host checks the name that it takes for a route, too.
	a := load(t, files{"adminjobs/function.json": httpFunction("")}, nil)
	oneFault(t, a.Functions[0].Faults, "admin or runtime")
}

func TestAnEmptyPrefixNeedsUnwrappedFunctions(t *testing.T) {
	empty := `"extensions": {"http": {"routePrefix": ""}}`
	timer := triggered(`"type": "timerTrigger", "name": "t", "schedule": "0 * * * * *"`)
	tests := []struct {
		name  string
		f     files
		words string
	}{
		{"all come unwrapped", files{"host.json": host(empty, `"enableProxyingHttpRequest": true`), "r/function.json": httpFunction("")}, ""},
		{"neither forwarding nor proxying", files{"host.json": host(empty, ""), "r/function.json": httpFunction("")}, "proxying and forwarding are off"},
		{"a timer", files{"host.json": host(empty, `"enableProxyingHttpRequest": true`), "r/function.json": httpFunction(""), "t/function.json": timer}, "t come wrapped"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := load(t, test.f, nil)
			if test.words == "" {
				noFaults(t, a)
				if _, ok := a.Match("GET", "/r"); !ok {
					t.Error("/r fits nothing")
				}
				return
			}
			oneFault(t, a.Faults, "routePrefix is empty", test.words)
		})
	}
}

func TestAWrappedFunctionCannotHaveThePrefixForItsName(t *testing.T) {
	timer := triggered(`"type": "timerTrigger", "name": "t", "schedule": "0 * * * * *"`)
	a := load(t, files{"Api/function.json": timer, "all/function.json": httpFunction(`"route": "{*path}"`)}, nil)
	oneFault(t, function(t, a, "Api").Faults, "name of the route prefix")
	if f := function(t, a, "all"); len(a.Faults)+len(f.Faults) > 0 {
		t.Errorf("%v %v", a.Faults, f.Faults)
	}
	a = load(t, files{"api/function.json": httpFunction(`"route": "x"`)}, nil)
	noFaults(t, a)
}

func TestPropertiesAreFoundInAnyCase(t *testing.T) {
	a := load(t, files{"f/function.json": `{"Bindings": [{"Type": "httpTrigger", "Name": "req", "Route": "x", "AuthLevel": "Admin", "Methods": ["Put"]},
		{"type": "http", "direction": "Out", "name": "res"}]}`}, nil)
	noFaults(t, a)
	f := a.Functions[0]
	if f.Route.Template != "api/x" || len(f.Methods) != 1 || f.Methods[0] != "PUT" || f.Trigger.Name != "req" {
		t.Errorf("%+v", f)
	}
}

func TestReservedNames(t *testing.T) {
	for name, want := range map[string]bool{"doctor": true, "health": true, "Doctor": true, "doctors": false, "relay": false} {
		if got := (&Function{Name: name}).Reserved(); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestRefusedEventsHaveAnOutputOfTheirOwn(t *testing.T) {
	const outputs = `, {"type": "queue", "direction": "out", "name": "answer", "queueName": "q"}, {"type": "%s", "direction": "out", "name": "%s", "queueName": "r"}]}`
	timer := `{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "0 * * * * *"}` + outputs
	for _, kind := range []string{"queue", "blob", "SERVICEBUS", "eventHub"} {
		for _, name := range []string{"refused", "Refused"} {
			a := load(t, files{"f/function.json": fmt.Sprintf(timer, kind, name)}, nil)
			noFaults(t, a)
			if b, ok := a.Functions[0].Refused(); !ok || b.Name != name || b.Type != kind {
				t.Errorf("%s %s: got %+v, %t", kind, name, b, ok)
			}
		}
	}
	http := `{"bindings": [{"type": "httpTrigger", "name": "req"}` + outputs
	for name, text := range map[string]string{
		"another name": fmt.Sprintf(timer, "queue", "refusedToo"), "HTTP": fmt.Sprintf(http, "table", "refused"),
	} {
		a := load(t, files{"f/function.json": text}, nil)
		noFaults(t, a)
		if b, ok := a.Functions[0].Refused(); ok {
			t.Errorf("%s: want no such output, got %+v", name, b)
		}
	}
}

func TestWhatAnOutputHolds(t *testing.T) {
	for _, c := range []struct {
		section, kind string
		want          int
	}{
		{`{}`, "queue", 48 << 10},
		{`{"messageEncoding": "base64"}`, "Queue", 48 << 10},
		{`{"messageEncoding": "None"}`, "queue", 64 << 10},
		{`{}`, "blob", 0},
	} {
		a := load(t, files{"host.json": host(`"extensions": {"queues": `+c.section+`}`, "")}, nil)
		if got := a.MostBytes(Binding{Type: c.kind}); got != c.want {
			t.Errorf("%s with %s: want %d bytes, got %d", c.kind, c.section, c.want, got)
		}
	}
}
