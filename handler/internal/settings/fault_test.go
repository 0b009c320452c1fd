package settings

import (
	"maps"
	"strings"
	"testing"
)

func TestFaults(t *testing.T) {
	own := func(f string) map[string]string { return map[string]string{"orders": f} }
	tests := []struct {
		name      string
		changes   map[string]string
		functions map[string]string // orders unless told
		setting   string
		words     string
	}{
		{"TargetApp missing", map[string]string{"TargetApp": "-"}, nil, "TargetApp", "got nothing: the app setting is missing"},
		{"TargetApp blank", map[string]string{"TargetApp": " "}, nil, "TargetApp", "got a blank value"},
		{"TargetApp with a placeholder", map[string]string{"TargetApp": "api://{client id}"}, nil, "TargetApp", "placeholder"},
		{"TargetApp in angle brackets", map[string]string{"TargetApp": "<app id uri>"}, nil, "TargetApp", "placeholder"},
		{"TargetApp with a blank inside", map[string]string{"TargetApp": "api://a b"}, nil, "TargetApp", "without blanks"},
		{"TargetApp with a delegated scope", map[string]string{"TargetApp": "api://x/user_impersonation"}, nil, "TargetApp", "delegated scope"},
		{"TargetTenantID missing", map[string]string{"TargetTenantID": "-"}, nil, "TargetTenantID", "got nothing"},
		{"TargetTenantID no GUID", map[string]string{"TargetTenantID": "contoso.onmicrosoft.com"}, nil, "TargetTenantID", `want a GUID, got "contoso.onmicrosoft.com"`},
		{"TargetTenantID and its misspelling differ", map[string]string{"TargetTentantID": "33333333-3333-3333-3333-333333333333"}, nil, "TargetTenantID", "misspelled TargetTentantID"},
		{"FunctionIdentity missing", map[string]string{"FunctionIdentity": "-"}, nil, "FunctionIdentity", "got nothing"},
		{"FunctionIdentity blank", map[string]string{"FunctionIdentity": ""}, nil, "FunctionIdentity", "got a blank value"},
		{"FunctionIdentity with a placeholder", map[string]string{"FunctionIdentity": "RunAs=App;AppId={client id}"}, nil, "FunctionIdentity", "placeholder: the value of AppId"},
		{"an application of another tenant", map[string]string{"FunctionIdentity": "RunAs=App;AppId=11111111-1111-1111-1111-111111111111;TenantId=33333333-3333-3333-3333-333333333333;AppKey=canary"}, nil,
			"FunctionIdentity", "got TenantId 33333333-3333-3333-3333-333333333333 and TargetTenantID"},
		{"part of a secret outside quotes", map[string]string{"FunctionIdentity": "RunAs=App;AppId=11111111-1111-1111-1111-111111111111;TenantId=contoso.com;AppKey=x;canary={x}"}, nil,
			"FunctionIdentity", "pair 5: unknown key: want one of"},
		{"a secret that is a placeholder", map[string]string{"FunctionIdentity": "RunAs=App;AppId=11111111-1111-1111-1111-111111111111;TenantId=contoso.com;AppKey={canary}"}, nil,
			"FunctionIdentity", "placeholder: the value of AppKey"},
		{"FunctionIdentity malformed", map[string]string{"FunctionIdentity": "RunAs"}, nil, "FunctionIdentity", ""},
		{"FunctionIdentity with a secret and no AppId", map[string]string{"FunctionIdentity": "RunAs=App;AppKey=canary"}, nil, "FunctionIdentity", "AppId"},
		{"FunctionIdentity an unresolved reference", map[string]string{"FunctionIdentity": "@Microsoft.KeyVault(SecretUri=https://canary)"}, nil, "FunctionIdentity",
			"unresolved @Microsoft.KeyVault("},
		{"RunAs=Developer where an identity endpoint is", map[string]string{"FunctionIdentity": "RunAs=Developer;DeveloperTool=AzureCli", "IDENTITY_ENDPOINT": "http://127.0.0.1:1",
			"IDENTITY_HEADER": "canary"}, nil, "FunctionIdentity", "got RunAs=Developer"},
		{"half an identity endpoint", map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1"}, nil, "IDENTITY_HEADER", "got only IDENTITY_ENDPOINT"},
		{"the other half", map[string]string{"IDENTITY_HEADER": "canary"}, nil, "IDENTITY_ENDPOINT", "got only IDENTITY_HEADER"},
		{"ApimUrl missing", map[string]string{"ApimUrl": "-"}, nil, "ApimUrl", "got nothing"},
		{"ApimUrl without scheme", map[string]string{"ApimUrl": "contoso.azure-api.net/orders"}, nil, "ApimUrl", "no scheme"},
		{"ApimUrl localhost without scheme", map[string]string{"ApimUrl": "localhost:8080"}, nil, "ApimUrl", "no scheme"},
		{"ApimUrl with user info", map[string]string{"ApimUrl": "https://user:canary@contoso.azure-api.net"}, nil, "ApimUrl", "user information"},
		{"ApimUrl plain http", map[string]string{"ApimUrl": "http://contoso.azure-api.net"}, nil, "ApimUrl", "plain http"},
		{"ApimUrl another scheme", map[string]string{"ApimUrl": "ftp://contoso.azure-api.net"}, nil, "ApimUrl", "scheme"},
		{"ApimUrl with a control character", map[string]string{"ApimUrl": "https://contoso.azure-api.net/\x01"}, nil, "ApimUrl", "control character"},
		{"ApimUrl with an expression before the path", map[string]string{"ApimUrl": "https://{name}.azure-api.net"}, nil, "ApimUrl", "before the path"},
		{"ApimUrl with a placeholder", map[string]string{"ApimUrl": "https://<name>.azure-api.net"}, nil, "ApimUrl", "placeholder"},
		{"ApimUrl with a placeholder in braces", map[string]string{"ApimUrl": "https://contoso.azure-api.net/{your api}"}, nil, "ApimUrl", "placeholder"},
		{"ApimUrl with a name that the route lacks", map[string]string{"ApimUrl": "https://contoso.azure-api.net/{number}"}, nil, "ApimUrl", "{number} has no value"},
		{"ApimUrl with a name in a timer", map[string]string{"ApimUrl": "https://contoso.azure-api.net/{id}"}, own(timer), "ApimUrl", "{id} has no value"},
		{"no key", map[string]string{"ApimKey": "-"}, nil, "ApimKey", "got nothing"},
		{"a blank key", map[string]string{"ApimKey": " "}, nil, "ApimKey", "got a blank value"},
		{"own key blank", map[string]string{"orders__ApimKeySecondary": ""}, nil, "orders__ApimKey", "want a subscription key in orders__ApimKey or orders__ApimKeySecondary"},
		{"a key with a line break", map[string]string{"ApimKey": "canary\nkey"}, nil, "ApimKey", "line break"},
		{"a key with a line break behind", map[string]string{"ApimKey": "canary\r\n"}, nil, "ApimKey", "line break"},
		{"a key with a blank inside", map[string]string{"ApimKey": "canary key"}, nil, "ApimKey", "blank inside"},
		{"a key outside ASCII", map[string]string{"ApimKey": "canary\u00e9"}, nil, "ApimKey", "ASCII"},
		{"a key that is a placeholder", map[string]string{"ApimKey": "<canary key>"}, nil, "ApimKey", "placeholder"},
		{"an unresolved reference for a key", map[string]string{"ApimKeySecondary": "@microsoft.keyvault(VaultName=canary)"}, nil, "ApimKeySecondary", "unresolved"},
		{"a key header that is none", map[string]string{"ApimKeyHeader": "My Key"}, nil, "ApimKeyHeader", `got "My Key"`},
		{"the key in Authorization", map[string]string{"ApimKeyHeader": "Authorization"}, nil, "ApimKeyHeader", "no other credential"},
		{"a header without colon", map[string]string{"ApimHeaders": "Api-Version"}, nil, "ApimHeaders", "pair 1: want Name: value"},
		{"a header's name with a blank", map[string]string{"ApimHeaders": "A: b; C d: e"}, nil, "ApimHeaders", "want the name of a header"},
		{"a credential among the headers", map[string]string{"ApimHeaders": "authorization: canary"}, nil, "ApimHeaders", "carries no credential"},
		{"the key among the headers", map[string]string{"ApimHeaders": "Ocp-Apim-Subscription-Key: canary"}, nil, "ApimHeaders", "carries no credential"},
		{"a renamed key among the headers", map[string]string{"ApimHeaders": "x-key: canary", "ApimKeyHeader": "X-Key"}, nil, "ApimHeaders", "carries no credential"},
		{"a header of the connection", map[string]string{"ApimHeaders": "Transfer-Encoding: chunked"}, nil, "ApimHeaders", "is not the connection's"},
		{"a header that goes with an upgrade", map[string]string{"ApimHeaders": "http2-settings: x"}, nil, "ApimHeaders", "got Http2-Settings"},
		{"a header that the relay writes", map[string]string{"ApimHeaders": "traceparent: x"}, nil, "ApimHeaders", "got Traceparent"},
		{"the key in a header of the connection", map[string]string{"ApimKeyHeader": "Proxy-Authenticate"}, nil, "ApimKeyHeader", "no other credential"},
		{"a header's value outside ASCII", map[string]string{"ApimHeaders": "X: \u00e9"}, nil, "ApimHeaders", "printable ASCII"},
		{"a header twice", map[string]string{"ApimHeaders": "X-a: 1; x-A: 2"}, nil, "ApimHeaders", "each header once"},
		{"a method that is none", map[string]string{"ApimMethod": "GET /"}, nil, "ApimMethod", `got "GET /"`},
		{"a method that cannot be relayed", map[string]string{"ApimMethod": "connect"}, nil, "ApimMethod", "other than CONNECT"},
		{"a time-out that is none", map[string]string{"ApimTimeout": "30"}, nil, "ApimTimeout", `got "30"`},
		{"a time-out of nothing", map[string]string{"ApimTimeout": "0s"}, nil, "ApimTimeout", "above zero"},
		{"attempts that are none", map[string]string{"ApimAttempts": "many"}, nil, "ApimAttempts", `got "many"`},
		{"no attempt", map[string]string{"ApimAttempts": "0"}, nil, "ApimAttempts", "from 1 to 10"},
		{"statuses that are none", map[string]string{"ApimAcknowledge": "404;409"}, nil, "ApimAcknowledge", `got "404;409"`},
		{"a status out of range", map[string]string{"ApimAcknowledge": "600"}, nil, "ApimAcknowledge", "from 300 to 599"},
		{"two spellings that differ", map[string]string{"TARGETAPP": "api://other"}, nil, "TargetApp", "got another one in TARGETAPP"},
		{"two spellings of an own setting that differ", map[string]string{"orders__ApimUrl": "https://a.example", "ORDERS__APIMURL": "https://b.example"}, nil, "orders__ApimUrl",
			"got another one in ORDERS__APIMURL"},
		{"a connection that is not set", nil, own(queue), "Store", "want the connection of the binding m (queueTrigger, connection)"},
		{"the usual connection is not set", nil, own(strings.ReplaceAll(queue, `, "connection": "Store"`, "")), "AzureWebJobsStorage", "AzureWebJobsStorage"},
		{"a connection that is blank", map[string]string{"Store": " "}, own(queue), "Store", "want the connection"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			functions := test.functions
			if functions == nil {
				functions = own(orders)
			}
			s := load(t, functions, with(test.changes))
			text := report(t, s)
			f := s.Functions[0]
			if len(f.Faults) != 1 || len(s.Faults) != 1 {
				t.Fatalf("want one fault, got:\n%s", text)
			}
			got := f.Faults[0]
			if got.Setting != test.setting || !strings.Contains(got.Text, test.words) || got.Hint == "" {
				t.Errorf("got setting %s: %+v", got.Setting, got)
			}
			if strings.ContainsAny(got.String()+got.Hint, "\r\n") {
				t.Errorf("not one line: %q", got.String())
			}
		})
	}
}

func TestWhatIsNoFault(t *testing.T) {
	tests := []struct {
		name    string
		changes map[string]string
		json    string
		warning string // its setting; "" = none
	}{
		{"the second key alone", map[string]string{"ApimKey": "-", "ApimKeySecondary": key2}, orders, ""},
		{"a blank first key beside a second", map[string]string{"ApimKey": "", "ApimKeySecondary": key2}, orders, ""},
		{"no key where none is needed", map[string]string{"ApimKey": "-", "ApimKeyHeader": "None"}, orders, ""},
		{"a key where none is needed", map[string]string{"ApimKeyHeader": "none"}, orders, "ApimKey"},
		{"a header that front ends add, which its owner means", map[string]string{"ApimHeaders": "X-Forwarded-Host: contoso.com"}, orders, ""},
		{"blank optional settings", map[string]string{"ApimKeySecondary": "", "ApimHeaders": "", "ApimMethod": " ", "ApimTimeout": "", "ApimAttempts": "", "ApimAcknowledge": "",
			"ApimKeyHeader": "", "TargetRole": "", "RelayLogLevel": ""}, orders, ""},
		{"blanks around a key", map[string]string{"ApimKey": " canary "}, orders, "ApimKey"},
		{"quotes around a key", map[string]string{"ApimKey": `"canary"`}, orders, "ApimKey"},
		{"the article's misspelling", map[string]string{"TargetTenantID": "-", "TargetTentantID": good["TargetTenantID"]}, orders, "TargetTentantID"},
		{"both, and the same", map[string]string{"TargetTentantID": good["TargetTenantID"]}, orders, "TargetTentantID"},
		{"two spellings that agree", map[string]string{"TARGETAPP": good["TargetApp"]}, orders, ""},
		{"plain http to loopback", map[string]string{"ApimUrl": "http://127.0.0.1:7072/orders"}, orders, ""},
		{"plain http to localhost", map[string]string{"ApimUrl": "http://localhost:7072/orders"}, orders, ""},
		{"names of the route", map[string]string{"ApimUrl": "https://contoso.azure-api.net/{ID}/{what}"}, orders, ""},
		{"names of the host", map[string]string{"ApimUrl": "https://contoso.azure-api.net/{rand-guid}/{DateTime}/{sys.utcnow}/{sys.RandGuid}/{sys.methodname}"}, timer, ""},
		{"names that only the message can tell", map[string]string{"ApimUrl": "https://contoso.azure-api.net/{customer}", "Store": "x"}, queue, ""},
		{"a setting for no function", map[string]string{"Oders__ApimUrl": "x"}, orders, "Oders__ApimUrl"},
		{"a log level for one function", map[string]string{"orders__RelayLogLevel": "debug"}, orders, "orders__RelayLogLevel"},
		{"a log level that is none", map[string]string{"RelayLogLevel": "loud"}, orders, "RelayLogLevel"},
		{"a method of its own for an HTTP function", map[string]string{"orders__ApimMethod": "PUT"}, orders, "orders__ApimMethod"},
		{"settings of others", map[string]string{"Serilog__MinimumLevel": "x", "AzureFunctionsJobHost__functionTimeout": "00:01:00"}, orders, ""},
		{"TenantId without effect", map[string]string{"FunctionIdentity": "RunAs=App;TenantId=" + good["TargetTenantID"]}, orders, "FunctionIdentity"},
		{"a whole identity endpoint", map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1", "IDENTITY_HEADER": "canary"}, orders, ""},
		{"half an identity endpoint for a developer", map[string]string{"IDENTITY_HEADER": "canary", "FunctionIdentity": "RunAs=Developer;DeveloperTool=AzureCli"}, orders, ""},
		{"a connection", map[string]string{"STORE": "x"}, queue, ""},
		{"a connection with AzureWebJobs in front", map[string]string{"AzureWebJobsStore": "x"}, queue, ""},
		{"a connection in several settings", map[string]string{"Store__queueServiceUri": "x"}, queue, ""},
		{"a connection string of the platform", map[string]string{"CUSTOMCONNSTR_Store": "x"}, queue, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := load(t, map[string]string{"orders": test.json}, with(test.changes))
			text := report(t, s)
			if len(s.Faults) > 0 {
				t.Fatal(text)
			}
			if test.warning == "" && len(s.Warnings) > 0 || test.warning != "" && (len(s.Warnings) != 1 || s.Warnings[0].Setting != test.warning) {
				t.Errorf("want a warning about %q, got:\n%s", test.warning, text)
			}
		})
	}
}

func TestSettingsForOneFunctionThatNothingReads(t *testing.T) {
	named := func(connection string) string { return strings.Replace(queue, "Store", connection, 1) }
	for name, c := range map[string]struct {
		setting string
		json    map[string]string // beside orders
		words   string            // of the warning's text and hint; "" = none
	}{
		"the function is misspelt":               {"Oders__ApimKey", nil, `for the function "Oders", which does not exist: correct the name; the functions are orders`},
		"a letter too many":                      {"orders__ApimUrll", nil, `for the function "orders" that nothing reads: no setting has this name: correct the name, perhaps to orders__ApimUrl`},
		"a letter too few":                       {"ORDERS__apimKeyHeadr", nil, "perhaps to orders__ApimKeyHeader"},
		"two letters exchanged":                  {"orders__FunctionIdnetity", nil, "perhaps to orders__FunctionIdentity"},
		"a hyphen in the function's name":        {"my_timer__TargetApps", map[string]string{"my-timer": timer}, `for the function "my-timer" that nothing reads: no setting has this name: correct the name, perhaps to my_timer__TargetApp`},
		"one underscore":                         {"orders_FunctionIdentity", nil, "write two underscores: orders__FunctionIdentity"},
		"a colon":                                {"orders:apimurl", nil, "write two underscores: orders__ApimUrl"},
		"another name altogether":                {"orders__Url", nil, "remove it, or correct the name; the settings are TargetApp, "},
		"a connection's property, without one":   {"orders__fullyQualifiedNamespace", nil, "remove it, or correct the name"},
		"a misspelt one beside a connection":     {"orders__ApimUrll", map[string]string{"m": named("Orders")}, "perhaps to orders__ApimUrl"},
		"neither a function nor a setting":       {"left__ApimUrll", nil, ""},
		"a connection of the function's name":    {"orders__queueServiceUri", map[string]string{"m": named("Orders")}, ""},
		"a connection with a property of it":     {"orders__credential", map[string]string{"m": named("orders")}, ""},
		"a connection under another property":    {"orders__accountEndpoint", map[string]string{"m": `{"bindings": [{"type": "x", "direction": "in", "name": "a", "connectionStringSetting": "orders"}, ` + plain[len(`{"bindings": [`):]}, ""},
		"a connection that no function is":       {"Bus__fullyQualifiedNamespace", nil, ""},
		"a setting of another section":           {"Logging__LogLevel__Default", nil, ""},
		"a section below the function's name":    {"ordersArchive__Url", nil, ""},
		"another variable that begins like that": {"orders_Url", nil, ""},
		"the platform's copy":                    {"APPSETTING_orders__ApimUrll", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			functions := map[string]string{"orders": orders}
			maps.Copy(functions, c.json)
			set := map[string]string{c.setting: "canary"}
			if c.json["m"] != "" {
				set["ORDERS__serviceUri"] = "x" // the connection itself
			}
			s := load(t, functions, with(set))
			text := report(t, s)
			switch {
			case len(s.Faults) > 0:
				t.Errorf("it fails somebody:\n%s", text)
			case c.words == "" && len(s.Warnings) > 0:
				t.Errorf("a false alarm:\n%s", text)
			case c.words != "" && (len(s.Warnings) != 1 || s.Warnings[0].Setting != c.setting):
				t.Errorf("want one warning about %s, got:\n%s", c.setting, text)
			case c.words != "" && !strings.Contains(s.Warnings[0].Text+": "+s.Warnings[0].Hint, c.words):
				t.Errorf("want %q, got:\n%s", c.words, text)
			}
		})
	}
}

func TestTwoFunctionsWithTheSameNamesOfSettings(t *testing.T) {
	s := load(t, map[string]string{"a-b": plain, "a_b": plain, "c": plain}, with(nil))
	for name, other := range map[string]string{"a-b": "a_b", "a_b": "a-b"} {
		if f := s.function(t, name); len(f.Faults) != 1 || !strings.Contains(f.Faults[0].Text, other) {
			t.Errorf("%s: %v", name, f.Faults)
		}
	}
	if f := s.function(t, "c"); len(f.Faults) > 0 {
		t.Errorf("c: %v", f.Faults)
	}
}

func TestStartUpSaysWhichFunctionWinsWhereSettingsDiffer(t *testing.T) {
	get := strings.ReplaceAll(orders, `"route": "orders/{id}/{what?}"`, `"route": "orders/five", "methods": ["get"]`)
	functions := map[string]string{"a": get, "b": orders, "health": plain}
	s := load(t, functions, with(nil))
	if len(s.Faults)+len(s.Warnings) > 0 {
		t.Errorf("same settings: %s", report(t, s))
	}
	s = load(t, functions, with(map[string]string{"b__FunctionIdentity": "RunAs=App;AppId=33333333-3333-3333-3333-333333333333"}))
	if len(s.Faults) > 0 || len(s.Warnings) != 1 {
		t.Fatal(report(t, s))
	}
	for _, words := range []string{"function b", "api/orders/{id}/{what?}", "api/orders/five of a", "for GET", "a wins"} {
		if !strings.Contains(s.Warnings[0].String(), words) {
			t.Errorf("%s lacks %q", s.Warnings[0], words)
		}
	}
	// One that hides the other for one of its methods only is worth a word, too.
	all := strings.ReplaceAll(orders, `"route": "orders/{id}/{what?}"`, `"route": "{*path}", "methods": ["get"]`)
	s = load(t, map[string]string{"a": all, "b": orders}, with(map[string]string{"b__ApimUrl": "https://fabrikam.azure-api.net/b"}))
	if len(s.Faults) > 0 || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].Text, "for GET") {
		t.Error(report(t, s))
	}
}
