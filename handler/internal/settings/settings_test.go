package settings

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/identity"
)

const (
	key1 = "canary-key-one-4711"
	key2 = "canary-key-two-4712"
)

// good is an environment without a fault.
var good = map[string]string{
	"TargetApp":        "api://44444444-4444-4444-4444-444444444444",
	"TargetTenantID":   "55555555-5555-5555-5555-555555555555",
	"FunctionIdentity": "RunAs=App",
	"ApimUrl":          "https://fabrikam.azure-api.net/orders",
	"ApimKey":          key1,
	"PATH":             "/bin",
}

// with returns good with changes; a value of "-" removes the name.
func with(changes map[string]string) []string {
	m := maps.Clone(good)
	for name, value := range changes {
		if value == "-" {
			delete(m, name)
		} else {
			m[name] = value
		}
	}
	var list []string
	for name, value := range m {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

const (
	timer = `{"retry": {"strategy": "fixedDelay", "maxRetryCount": 3, "delayInterval": "00:00:05"}, "bindings": [
		{"type": "timerTrigger", "direction": "in", "name": "t", "schedule": "0 * * * * *"}]}`
	queue  = `{"bindings": [{"type": "queueTrigger", "direction": "in", "name": "m", "queueName": "q", "connection": "Store"}]}`
	orders = `{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "route": "orders/{id}/{what?}"}, {"type": "http", "direction": "out", "name": "res"}]}`
	plain  = `{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req"}, {"type": "http", "direction": "out", "name": "res"}]}`
)

// appOf stages functions by name and reads them.
func appOf(t *testing.T, functions map[string]string, environ []string) *app.App {
	t.Helper()
	root := t.TempDir()
	host := `{"version": "2.0", "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
		"customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableProxyingHttpRequest": true}}`
	write := func(name, content string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("host.json", host)
	for name, content := range functions {
		write(name+"/function.json", content)
	}
	return app.Load(root, Index(environ).App)
}

func load(t *testing.T, functions map[string]string, environ []string) *Settings {
	t.Helper()
	return Load(Index(environ), appOf(t, functions, environ))
}

func (s *Settings) function(t *testing.T, name string) *Function {
	t.Helper()
	for _, f := range s.Functions {
		if f.App.Name == name {
			return f
		}
	}
	t.Fatalf("no function %s", name)
	return nil
}

// report is every fault and every warning on a line of its own, with its hint, as the program logs them. They must hold no secret.
func report(t *testing.T, s *Settings) string {
	t.Helper()
	var out strings.Builder
	for _, f := range slices.Concat(s.Faults, s.Warnings) {
		out.WriteString(f.String() + "; to mend it: " + f.Hint + "\n")
	}
	for _, canary := range []string{key1, key2, "canary"} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("the report holds a secret:\n%s", out.String())
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines != len(s.Faults)+len(s.Warnings) {
		t.Errorf("%d lines for %d faults and %d warnings:\n%s", lines, len(s.Faults), len(s.Warnings), out.String())
	}
	return out.String()
}

func TestSharedSettingsReachEveryFunction(t *testing.T) {
	s := load(t, map[string]string{"orders": orders, "poll": timer, "message": queue}, with(map[string]string{
		"ApimKeySecondary": key2, "ApimKeyHeader": "X-Key", "ApimHeaders": "Api-Version: v2; x-caller: relay;", "ApimTimeout": "00:00:30", "ApimAttempts": "1",
		"ApimAcknowledge": "409, 404,404", "TargetRole": "Api.Read", "RelayLogLevel": "DEBUG", "Store": "x",
		"FunctionIdentity": " RunAs=App;AppId=33333333-3333-3333-3333-333333333333 ", "TargetApp": " api://x/.default "}))
	if len(s.Faults)+len(s.Warnings) > 0 {
		t.Fatal(report(t, s))
	}
	if s.LogLevel != slog.LevelDebug {
		t.Errorf("level %s", s.LogLevel)
	}
	for name, method := range map[string]string{"orders": "", "poll": "GET", "message": "POST"} {
		f := s.function(t, name)
		if f.TargetApp != "api://x" || f.TargetTenantID != good["TargetTenantID"] || f.TargetRole != "Api.Read" || f.KeyHeader != "X-Key" || f.Method != method ||
			f.Timeout != 30*time.Second || f.Attempts != 1 {
			t.Errorf("%s: %+v", name, f)
		}
		if f.Identity.Kind != identity.UserAssigned || f.Target.Host() != "fabrikam.azure-api.net" {
			t.Errorf("%s: %s, %s", name, f.Identity, f.Target.Redacted())
		}
		if len(f.Keys) != 2 || f.Keys[0].Reveal() != key1 || f.Keys[1].Reveal() != key2 {
			t.Errorf("%s: %d keys", name, len(f.Keys))
		}
		want := map[string][]string{"Api-Version": {"v2"}, "X-Caller": {"relay"}}
		if diff := cmp.Diff(want, map[string][]string(f.Headers)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]int{404, 409}, f.Acknowledge); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDefaults(t *testing.T) {
	f := load(t, map[string]string{"poll": timer}, with(nil)).Functions[0]
	if f.KeyHeader != "Ocp-Apim-Subscription-Key" || f.Attempts != 3 || f.Timeout != 0 || f.Acknowledge != nil || f.Headers != nil || len(f.Faults) > 0 {
		t.Errorf("%+v", f)
	}
}

// The trap: envconfig asks for upper case, and with no other help it reads nothing of a setting called TargetApp.
func TestAnySpellingOfANameIsFound(t *testing.T) {
	for _, spell := range []func(string) string{strings.ToUpper, strings.ToLower, func(s string) string { return s }} {
		changes := map[string]string{}
		for name, value := range good {
			changes[name] = "-"
			changes[spell(name)] = value
		}
		changes[spell("orders__ApimUrl")] = "https://fabrikam.azure-api.net"
		s := load(t, map[string]string{"orders": plain}, with(changes))
		if len(s.Faults) > 0 {
			t.Error(report(t, s))
		}
		if f := s.Functions[0]; f.Target == nil || f.Target.Host() != "fabrikam.azure-api.net" || f.TargetApp != good["TargetApp"] {
			t.Errorf("%+v", f)
		}
		if o := s.Functions[0].Own(); !slices.Contains(o, spell("orders__ApimUrl")) {
			t.Errorf("its own are %v", o)
		}
	}
}

func TestAFunctionsOwnSettingsGoFirst(t *testing.T) {
	s := load(t, map[string]string{"Orders-Writer": plain, "reader": plain}, with(map[string]string{
		"Orders_Writer__FunctionIdentity": "RunAs=App;AppId=33333333-3333-3333-3333-333333333333",
		"Orders_Writer__ApimUrl":          "https://fabrikam.azure-api.net/w",
		"Orders_Writer__ApimKeySecondary": key2,
		"Orders-Writer__TargetRole":       "Api.Write",
		"ApimKeySecondary":                "canary-shared-second",
		"TargetRole":                      "Api.Read",
	}))
	if len(s.Faults)+len(s.Warnings) > 0 {
		t.Fatal(report(t, s))
	}
	w, r := s.function(t, "Orders-Writer"), s.function(t, "reader")
	if w.Identity.Kind != identity.UserAssigned || w.Target.Host() != "fabrikam.azure-api.net" || w.TargetRole != "Api.Write" || w.TargetApp != good["TargetApp"] {
		t.Errorf("writer %+v", w)
	}
	// Either key of its own cuts the inheritance of both.
	if len(w.Keys) != 1 || w.Keys[0].Reveal() != key2 {
		t.Errorf("writer has %d keys", len(w.Keys))
	}
	if r.Identity.Kind != identity.SystemAssigned || r.Target.Host() != "fabrikam.azure-api.net" || len(r.Keys) != 2 || r.TargetRole != "Api.Read" {
		t.Errorf("reader %+v", r)
	}
	own := []string{"Orders_Writer__FunctionIdentity", "Orders_Writer__ApimUrl", "Orders_Writer__ApimKeySecondary", "Orders-Writer__TargetRole"}
	if diff := cmp.Diff(own, w.Own()); diff != "" || len(r.Own()) > 0 {
		t.Error(diff)
	}
}

func TestLoadLeavesTheEnvironmentAsItWas(t *testing.T) {
	t.Setenv("TARGETAPP", "before")
	t.Setenv("ORDERS__APIMURL", "before, too")
	before := os.Environ()
	s := load(t, map[string]string{"orders": plain}, with(nil))
	if len(s.Faults) > 0 {
		t.Error(report(t, s))
	}
	if s.Functions[0].TargetApp != good["TargetApp"] || s.Functions[0].Target.Host() != "fabrikam.azure-api.net" {
		t.Error("the process environment got through")
	}
	after := os.Environ()
	slices.Sort(before)
	slices.Sort(after)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}

func TestAFaultInSharedSettingsHitsThoseWhoInherit(t *testing.T) {
	s := load(t, map[string]string{"a": plain, "b": plain, "c": plain, "doctor": plain, "health": plain}, with(map[string]string{
		"ApimUrl": "nonsense", "b__ApimUrl": "https://fabrikam.azure-api.net", "c__ApimAttempts": "none", "c__ApimUrl": "https://fabrikam.azure-api.net"}))
	if a := s.function(t, "a"); len(a.Faults) != 1 || a.Faults[0].Setting != "ApimUrl" || a.Faults[0].Function != "" || a.Target != nil {
		t.Errorf("a: %v", a.Faults)
	}
	if b := s.function(t, "b"); len(b.Faults) != 0 {
		t.Errorf("b: %v", b.Faults)
	}
	if c := s.function(t, "c"); len(c.Faults) != 1 || c.Faults[0].Setting != "c__ApimAttempts" || c.Faults[0].Function != "c" {
		t.Errorf("c: %v", c.Faults)
	}
	for _, name := range []string{"doctor", "health"} {
		if f := s.function(t, name); len(f.Faults) != 0 {
			t.Errorf("%s needs settings: %v", name, f.Faults)
		}
	}
	if len(s.Faults) != 2 {
		t.Errorf("each fault once, got:\n%s", report(t, s))
	}
}

func TestFaultsOfTheAppHitItsFunctions(t *testing.T) {
	environ := with(nil)
	a := appOf(t, map[string]string{"a": plain, "b": "{broken", "doctor": plain}, environ)
	a.Faults = append(a.Faults, app.Fault{File: "host.json", Text: "wrong"})
	s := Load(Index(environ), a)
	if f := s.function(t, "a"); len(f.Faults) != 1 || f.Faults[0].Text != "wrong" {
		t.Errorf("a: %v", f.Faults)
	}
	if f := s.function(t, "b"); len(f.Faults) != 2 {
		t.Errorf("b: %v", f.Faults)
	}
	if len(s.Faults) != 2 || s.of(a.Functions[0]) != s.Functions[0] || s.of(&app.Function{}) != nil {
		t.Errorf("faults %v", s.Faults)
	}
}

func TestDoctorAndHealthAloneNeedNoSettings(t *testing.T) {
	s := load(t, map[string]string{"doctor": plain, "health": plain}, []string{"PATH=/bin"})
	if len(s.Faults)+len(s.Warnings) > 0 {
		t.Error(report(t, s))
	}
}

func TestAllFaultsAreReportedTogether(t *testing.T) {
	s := load(t, map[string]string{"orders": orders, "message": queue}, []string{"ApimAttempts=0", "orders__ApimTimeout=soon", "orders__ApimKey=canary\nkey"})
	text := report(t, s)
	for _, words := range []string{
		"TargetApp: want the App ID URI or client id of the API's app registration, got nothing: the app setting is missing; to mend it: add the app setting TargetApp",
		"TargetTenantID: want ", "FunctionIdentity: want ", "ApimUrl: want ", "ApimKey: want a subscription key in ApimKey or ApimKeySecondary, got nothing",
		`ApimAttempts: want a whole number from 1 to 10, got "0"`, `function orders: orders__ApimTimeout: want a duration above zero`,
		"function orders: orders__ApimKey: want a key in one line", "function message: Store: want the connection",
	} {
		if strings.Count(text, words) != 1 {
			t.Errorf("%q stands %d times in:\n%s", words, strings.Count(text, words), text)
		}
	}
	if len(s.Faults) != 9 {
		t.Errorf("%d faults:\n%s", len(s.Faults), text)
	}
}

// The library of the article took a secret in quotes as it stands, braces and all.
func TestAQuotedSecretIsNoPlaceholder(t *testing.T) {
	c := identity.Placeholder(`RunAs=App;AppId=11111111-1111-1111-1111-111111111111;TenantId=contoso.com;AppKey="{c};d"`, bracketed)
	if c != "" {
		t.Errorf("want the quoted secret to be taken, got a placeholder of %s", c)
	}
	if got := identity.Placeholder(`RunAs=App;AppId="<client id>"`, bracketed); got != "AppId" {
		t.Errorf("want AppId, got %q", got)
	}
}

func TestTheLibrarysOwnSettingIsPointedTo(t *testing.T) {
	f := &Function{Faults: []app.Fault{
		faultOf(cause.SettingsMissing, "", "ApimUrl", "add it", "x"), faultOf(cause.SettingsMissing, "", "FunctionIdentity", "add it", "x"),
		faultOf(cause.SettingsMissing, "orders", "orders__FunctionIdentity", "add it", "x"),
	}}
	f.pointToLibrary()
	for i, want := range []bool{false, true, true} {
		if got := strings.Contains(f.Faults[i].Hint, "AzureServicesAuthConnectionString"); got != want {
			t.Errorf("%s: want %v, got the hint %q", f.Faults[i].Setting, want, f.Faults[i].Hint)
		}
	}
}
