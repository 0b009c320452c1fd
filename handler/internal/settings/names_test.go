package settings

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A binding of each kind, and what the environment holds: the host's own look-up decides
// (Azure/azure-webjobs-sdk src/Microsoft.Azure.WebJobs.Host/Extensions/IConfigurationExtensions.cs).
func TestNamesAreLookedUpAsTheHostDoes(t *testing.T) {
	const unresolved = "@Microsoft.KeyVault(SecretUri=https://canary)"
	bus := func(connection string) string {
		return fmt.Sprintf(`{"type": "serviceBusTrigger", "direction": "in", "name": "m", "queueName": "orders", "connection": %q}`, connection)
	}
	onQueue := func(name string) string {
		return fmt.Sprintf(`{"type": "queueTrigger", "direction": "in", "name": "m", "queueName": %q, "connection": "Store"}`, name)
	}
	cosmos := func(properties string) string {
		return `{"type": "cosmosDBTrigger", "direction": "in", "name": "m", "databaseName": "d", "containerName": "c", ` + properties + `}`
	}
	beside := func(output string) string { return onQueue("orders") + ", " + output }
	for _, row := range []struct {
		name, bindings string
		set            map[string]string
		fault          string // the setting that is named; "" = none
		words          string
	}{
		{"a colon for two underscores", bus("Bus:Main"), map[string]string{"Bus__Main": "x"}, "", ""},
		{"members below a name with a colon", bus("Bus:Main"), map[string]string{"Bus__Main__fullyQualifiedNamespace": "x"}, "", ""},
		{"three parts", bus("A:B:C"), map[string]string{"a__b__c": "x"}, "", ""},
		{"a connection string by its section", bus("ConnectionStrings:Bus"), map[string]string{"ConnectionStrings__Bus": "x"}, "", ""},
		{"the section as Core Tools sets it", bus("Bus"), map[string]string{"ConnectionStrings:Bus": "x"}, "", ""},
		{"members with colons", bus("Bus"), map[string]string{"Bus:fullyQualifiedNamespace": "x"}, "", ""},
		{"the platform's connection string", bus("Bus"), map[string]string{"SQLAZURECONNSTR_Bus": "x"}, "", ""},
		{"AzureWebJobs and a member", bus("Bus"), map[string]string{"AzureWebJobsBus__fullyQualifiedNamespace": "x"}, "", ""},
		{"a blank beside the right one", bus("Bus"), map[string]string{"Bus": " ", "ConnectionStrings__Bus": "x"}, "", ""},
		{"two underscores in the name", bus("Bus__Main"), map[string]string{"Bus__Main": "x"}, "Bus__Main", "want the connection"},
		{"blank", bus("Bus"), map[string]string{"Bus": ""}, "Bus", "blank"},
		{"a blank member", bus("Bus"), map[string]string{"Bus__fullyQualifiedNamespace": " "}, "Bus", "no app setting"},
		{"a reference that is not resolved", bus("Bus"), map[string]string{"Bus": unresolved}, "Bus", "unresolved @Microsoft.KeyVault("},
		{"a member that is not resolved", bus("Bus"), map[string]string{"Bus__clientId": unresolved, "Bus__a": "x"}, "Bus", "in Bus__clientId"},

		{"a name between percent signs", onQueue("%Queues:Orders%"), map[string]string{"Queues__Orders": "x"}, "", ""},
		{"two names in one", onQueue("%Stage%-%Queues:Name%"), map[string]string{"stage": "x", "Queues__Name": "y"}, "", ""},
		{"two underscores between percent signs", onQueue("%Queues__Orders%"), map[string]string{"Queues__Orders": "x"}, "Queues__Orders", "no app setting"},
		{"a blank value", onQueue("%Orders%"), map[string]string{"Orders": "  "}, "Orders", "is blank"},
		{"a reference", onQueue("%Orders%"), map[string]string{"Orders": "@Microsoft.AppConfiguration(Endpoint=https://canary; Key=k)"}, "Orders", "unresolved @Microsoft.AppConfiguration("},
		{"an output's", beside(`{"type": "queue", "direction": "out", "name": "o", "queueName": "%Out:Name%", "connection": "Store"}`),
			map[string]string{"Out__Name": "x"}, "", ""},

		{"an old name with an old bundle's extension", cosmos(`"connectionStringSetting": "MyCosmos"`), map[string]string{"bundle": "[3.*, 4.0.0)", "MyCosmos": "x"}, "", ""},
		{"and not set", cosmos(`"connectionStringSetting": "MyCosmos"`), map[string]string{"bundle": "[3.*, 4.0.0)"}, "MyCosmos", "connectionStringSetting"},
		{"an old name with bundle 4", cosmos(`"connectionStringSetting": "MyCosmos"`), map[string]string{"MyCosmos": "x"}, "CosmosDB", "no app setting CosmosDB"},
		{"a lease connection", cosmos(`"connection": "C", "leaseConnection": "L"`), map[string]string{"C": "x"}, "L", "leaseConnection"},
		{"signalR", beside(`{"type": "signalR", "direction": "out", "name": "o", "hubName": "h", "connectionStringSetting": "Chat"}`), nil, "Chat", "connection"},
		{"signalR without a name", beside(`{"type": "signalR", "direction": "out", "name": "o", "hubName": "h"}`), nil, "AzureSignalRConnectionString", "connection"},
		{"sql", `{"type": "sqlTrigger", "direction": "in", "name": "m", "tableName": "t", "connectionStringSetting": "Ledger"}`, nil, "Ledger", "connectionStringSetting"},
		{"rabbitMQ", `{"type": "rabbitMQTrigger", "direction": "in", "name": "m", "queueName": "q", "connectionStringSetting": "Rabbit"}`, nil, "Rabbit", "connectionStringSetting"},
		{"kafka by a name", `{"type": "kafkaTrigger", "direction": "in", "name": "m", "topic": "t", "brokerList": "%Brokers%"}`, nil, "Brokers", "no app setting"},
		{"kafka by a list", `{"type": "kafkaTrigger", "direction": "in", "name": "m", "topic": "t", "brokerList": "broker.example.org:9092"}`, nil, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			set := map[string]string{"Store": "x"}
			maps.Copy(set, row.set)
			bundle := set["bundle"]
			delete(set, "bundle")
			text := `{"bindings": [` + row.bindings + `], "retry": {"strategy": "fixedDelay", "maxRetryCount": 1, "delayInterval": "00:00:01"}}`
			functions := map[string]string{"orders": text}
			environ := with(set)
			if bundle != "" {
				environ = append(environ, "AzureFunctionsJobHost__extensionBundle__version="+bundle)
			}
			s := load(t, functions, environ)
			said := report(t, s)
			switch {
			case row.fault == "" && len(s.Faults)+len(s.Warnings) > 0:
				t.Errorf("want no word, got:\n%s", said)
			case row.fault != "" && (len(s.Faults) != 1 || s.Faults[0].Setting != row.fault || !strings.Contains(s.Faults[0].Text, row.words)):
				t.Errorf("want one fault about %s with %q, got:\n%s", row.fault, row.words, said)
			}
		})
	}
}

func TestARouteTakesNamesWithColons(t *testing.T) {
	route := strings.Replace(orders, `"route": "`, `"route": "%Queues:Orders%/`, 1)
	if route == orders {
		t.Fatal("the fixture has no route")
	}
	s := load(t, map[string]string{"orders": route}, with(map[string]string{"Queues__Orders": "archive"}))
	if f := s.function(t, "orders"); len(f.Faults) > 0 || !strings.HasPrefix(f.App.Route.Template, "api/archive/") {
		t.Errorf("got %+v\n%s", f.App.Route, report(t, s))
	}
}

func TestSlipsAreWarnings(t *testing.T) {
	for _, row := range []struct {
		name  string
		set   map[string]string
		json  string
		words string // "" = no warning
	}{
		{"a letter dropped", map[string]string{"ApimTimout": "3s"}, orders, "ApimTimeout"},
		{"a letter exchanged", map[string]string{"ApimKeySecundary": "canary"}, orders, "ApimKeySecondary"},
		{"two letters", map[string]string{"targetaap": "canary"}, orders, "TargetApp"},
		{"the log level", map[string]string{"RelayLogLevl": "x"}, orders, "RelayLogLevel"},
		{"names of others that are not close", map[string]string{"TargetFramework": "x", "RelayNamespace": "x", "WEBSITE_SITE_NAME": "x", "Apim": "x"}, orders, ""},
		{"a connection that is close", map[string]string{"ApimKeys": "x"}, strings.Replace(queue, "Store", "ApimKeys", 1), ""},
		{"a name between percent signs", map[string]string{"Orders__Schedule": "0 */5 * * * *"}, strings.Replace(timer, `"0 * * * * *"`, `"%Orders:Schedule%"`, 1), ""},
		{"a method of nobody's", map[string]string{"ApimMethod": "GETT"}, timer, `"GETT" is no usual method`},
		{"methods that are known", map[string]string{"ApimMethod": "patch"}, timer, ""},
		{"a method of WebDAV", map[string]string{"ApimMethod": "propfind"}, timer, ""},
		{"an untouched example", map[string]string{"TargetApp": "api://11111111-1111-1111-1111-111111111111"}, orders, "local.settings.json.example"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := load(t, map[string]string{"orders": row.json}, with(row.set))
			said := report(t, s)
			if len(s.Faults) > 0 || row.words == "" && len(s.Warnings) > 0 ||
				row.words != "" && (len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].String()+s.Warnings[0].Hint, row.words)) {
				t.Errorf("want a warning with %q, got:\n%s", row.words, said)
			}
		})
	}
}

func TestKeysThatTravelToAnotherHostAreSaid(t *testing.T) {
	const partner = "https://partner.example/other"
	for _, row := range []struct {
		name  string
		set   map[string]string
		words []string // nil = no warning
	}{
		{"both", map[string]string{"orders__ApimUrl": partner},
			[]string{"partner.example", "fabrikam.azure-api.net", "key and a token", "orders__ApimKey, orders__FunctionIdentity, orders__TargetApp"}},
		{"the identity alone", map[string]string{"orders__ApimUrl": partner, "orders__ApimKey": "canary"}, []string{"a token of the shared identity", "add orders__FunctionIdentity"}},
		{"neither", map[string]string{"orders__ApimUrl": partner, "orders__ApimKey": "canary", "orders__FunctionIdentity": "RunAs=App"}, nil},
		{"the same host in other letters", map[string]string{"orders__ApimUrl": "https://FABRIKAM.azure-api.net/other"}, nil},
	} {
		s := load(t, map[string]string{"orders": orders}, with(row.set))
		said := report(t, s)
		if len(s.Faults) > 0 || (row.words == nil) != (len(s.Warnings) == 0) {
			t.Errorf("%s: got\n%s", row.name, said)
		}
		for _, word := range row.words {
			if !strings.Contains(said, word) {
				t.Errorf("%s: want %q in\n%s", row.name, word, said)
			}
		}
	}
}

func TestFixedHeadersInBothForms(t *testing.T) {
	for _, row := range []struct {
		text  string
		want  map[string][]string
		fault string
	}{
		{"Api-Version: v1; X-Team: a", map[string][]string{"Api-Version": {"v1"}, "X-Team": {"a"}}, ""},
		{`{"Accept":"application/json;v=2.0"}`, map[string][]string{"Accept": {"application/json;v=2.0"}}, ""},
		{` { "Prefer": "respond-async;wait=10", "api-version": "v1" } `, map[string][]string{"Prefer": {"respond-async;wait=10"}, "Api-Version": {"v1"}}, ""},
		{"Accept: application/json;v=2.0", nil, "pair 2: want Name: value, got no colon"},
		{`{"Authorization":"Bearer canary"}`, nil, "member 1: want a header that carries no credential"},
		{`{"Ocp-Apim-Subscription-Key":"canary"}`, nil, "member 1: want a header that carries no credential"},
		{`{"X-A":"canary\n"} `, map[string][]string{"X-A": {"canary"}}, ""},
		{`{"X-A":"can\nary"}`, nil, "member 1: want a value of printable ASCII"},
		{`{"X-A":["canary"]}`, nil, "member 1: want a text"},
		{`{"X-A":"1","x-a":"2"}`, nil, "member 2: want each header once"},
		{`{"X-A":"canary"`, nil, "one without its end"},
		{`{"X-A":"canary"} canary`, nil, "more behind it"},
		{`{canary}`, nil, "member 1: want a JSON object"},
	} {
		s := load(t, map[string]string{"orders": orders}, with(map[string]string{"ApimHeaders": row.text}))
		said := report(t, s)
		if row.fault != "" {
			if len(s.Faults) != 1 || !strings.Contains(s.Faults[0].Text, row.fault) {
				t.Errorf("%s: want a fault with %q, got:\n%s", row.text, row.fault, said)
			}
			continue
		}
		if diff := cmp.Diff(row.want, map[string][]string(s.Functions[0].Headers)); diff != "" || len(s.Faults) > 0 {
			t.Errorf("%s: -want +got:\n%s%s", row.text, diff, said)
		}
	}
}

func TestAzureArcsHalfOfAnEndpoint(t *testing.T) {
	arc := map[string]string{"IDENTITY_ENDPOINT": "http://localhost:40342/metadata/identity/oauth2/token", "IMDS_ENDPOINT": "http://localhost:40342"}
	s := load(t, map[string]string{"orders": orders}, with(arc))
	if len(s.Faults) != 1 || !strings.Contains(s.Faults[0].Text, "Azure Arc") || !strings.Contains(s.Faults[0].Hint, "az login") {
		t.Errorf("want Azure Arc named, got:\n%s", report(t, s))
	}
	arc["FunctionIdentity"] = "RunAs=Developer;DeveloperTool=AzureCli"
	if s := load(t, map[string]string{"orders": orders}, with(arc)); len(s.Faults)+len(s.Warnings) > 0 {
		t.Errorf("a developer on a machine with Azure Arc: got\n%s", report(t, s))
	}
}

func TestTheExamplesThatWorkForNobodyAreTheFiles(t *testing.T) {
	values := exampleValues(t)
	for name, value := range examples {
		if values[name] != value {
			t.Errorf("local.settings.json.example has another value of %s", name)
		}
	}
}
