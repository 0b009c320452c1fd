package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChoices(t *testing.T) {
	const queue = `{"bindings":[{"type":"serviceBusTrigger","name":"m","queueName":"%Queue%","connection":"Orders"}]}`
	const nightly = `{"bindings":[{"type":"timerTrigger","name":"t","schedule":"0 0 3 * * *"}]}`
	const someID = "22222222-2222-2222-2222-222222222222"
	const federatedTenant = `"role":"r","tenantId":"` + someID + `"`
	external := func(of, beside string) string {
		return `{"external":{"url":"https://a.example/x","targetApp":"api://x",` + of + `},` + beside + `}`
	}
	operations := func(list string) string { return `{"api":{"operations":[` + list + `]}}` }
	subnetOf := func(name string) string {
		return "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n/subnets/" + name
	}
	tests := []struct {
		name, choices string
		functions     map[string]string
		want          string // "" = nothing to object to
	}{
		{name: "nothing chosen", choices: `{}`},
		{name: "a misspelt choice", choices: `{"developement":true}`, want: `unknown field "developement"`},
		{name: "something behind the object", choices: `{} {}`, want: "nothing behind it"},
		{name: "an identity for a function that is not there", choices: `{"identities":[{"name":"a","roles":["Api.Read"],"functions":["orders"]}]}`, want: `there is no function "orders"`},
		{name: "an identity without roles", choices: `{"identities":[{"name":"a","roles":[]}]}`, want: "at least one app role"},
		{name: "two identities of one name", choices: `{"identities":[{"name":"a","roles":["Api.Read"]},{"name":"a","roles":["Api.Read"]}]}`, want: "a name of its own"},
		{name: "one function with two identities", choices: `{"identities":[{"name":"a","roles":["Api.Read"],"functions":["poll"]},{"name":"b","roles":["Api.Read"],"functions":["poll"]}]}`, want: "given to a and to b"},
		{name: "two system-assigned identities", choices: `{"identityKind":"SystemAssigned","identities":[{"name":"a","roles":["Api.Read"]},{"name":"b","roles":["Api.Read"]}]}`, want: "want UserAssigned"},
		{name: "an API of one's own beside another team's", choices: `{"external":{"url":"https://a.example/x","targetApp":"api://x","role":"r"},"api":{}}`, want: "neither api nor registration"},
		{name: "another team's API by plain http", choices: `{"external":{"url":"http://a.example/x","targetApp":"api://x","role":"r"}}`, want: "want an https URL"},
		{name: "a scope for an App ID URI", choices: `{"external":{"url":"https://a.example/x","targetApp":"api://x/.default","role":"r"}}`, want: "without /.default"},
		{name: "isolation with the Consumption tier", choices: `{"logicApp":false,"network":{"isolated":true}}`, want: "tier Consumption has no private endpoints"},
		{name: "isolation with Basic v2", choices: `{"logicApp":false,"network":{"isolated":true},"api":{"sku":"BasicV2"}}`, want: "tier BasicV2 has no private endpoints"},
		{name: "isolation with Standard v2", choices: `{"logicApp":false,"network":{"isolated":true},"api":{"sku":"StandardV2"}}`},
		{name: "isolation with the Logic App", choices: `{"network":{"isolated":true},"api":{"sku":"StandardV2"}}`, want: "set logicApp to false"},
		{name: "network choices without isolation", choices: `{"network":{"isolated":false,"addressPrefixes":["10.0.0.0/24"]}}`, want: "would do nothing"},
		{name: "a timer left out with two regions", choices: `{"locations":["a","b"],"timers":[]}`, want: `"poll" is missing`},
		{name: "a region twice", choices: `{"locations":["a","a"]}`, want: "stands twice"},
		{name: "a setting that Flex refuses", choices: `{"settings":{"FUNCTIONS_WORKER_RUNTIME":"custom"}}`, want: "must not be set"},
		{name: "a setting that the deployment makes", choices: `{"settings":{"TargetApp":"api://x"}}`, want: "made by the deployment"},
		{name: "the host's storage by hand", choices: `{"settings":{"AzureWebJobsStorage__accountName":"x"}}`, want: "made by the deployment"},
		{name: "a function's own setting", choices: `{"settings":{"poll__ApimUrl":"https://a.example/x"}}`},
		{name: "a key in plain text", choices: `{"settings":{"poll__ApimKey":"0123456789abcdef"}}`, want: "want a Key Vault reference"},
		{name: "a key by reference", choices: `{"settings":{"poll__ApimKey":"@Microsoft.KeyVault(SecretUri=https://v.example/secrets/k)"}}`},
		{name: "a connection string with a key", choices: `{"settings":{"Orders":"Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey=b"}}`, want: "connection string with a key"},
		{name: "a number for a setting", choices: `{"settings":{"poll__ApimAttempts":3}}`, want: "app settings are text"},
		{name: "a role by its name", choices: `{"triggerRoles":[{"kind":"serviceBus","name":"x","resourceGroup":"y","role":"Reader"}]}`, want: "want the GUID"},
		{name: "a trigger without its connection", choices: `{"settings":{"Queue":"q"}}`, functions: map[string]string{"orders": queue}, want: "needs the connection Orders"},
		{name: "a connection that a setting names", choices: `{"settings":{"Which":"Orders","Orders__fullyQualifiedNamespace":"x"}}`, functions: map[string]string{"orders": `{"bindings":[{"type":"serviceBusTrigger","queueName":"q","connection":"%Which%"}]}`}},
		{name: "a connection that a setting names, not there", choices: `{"settings":{"Which":"Orders"}}`, functions: map[string]string{"orders": `{"bindings":[{"type":"serviceBusTrigger","queueName":"q","connection":"%Which%"}]}`}, want: "needs the connection Orders"},
		{name: "a trigger without a name that it uses", choices: `{"settings":{"Orders__fullyQualifiedNamespace":"x"}}`, functions: map[string]string{"orders": queue}, want: "needs Queue"},
		{name: "a trigger with all it needs", choices: `{"settings":{"queue":"q","ORDERS__fullyQualifiedNamespace":"x"}}`, functions: map[string]string{"orders": queue}},
		{name: "no identity at all", choices: `{"identities":[]}`, want: "at least one, or leave it out"},
		{name: "a role that no policy asks for", choices: `{"identities":[{"name":"a","roles":["Api.Read","Orders.Read"]}]}`, want: `no call would need "Orders.Read"`},
		{name: "a writer that cannot read", choices: `{"identities":[{"name":"a","roles":["Api.Write"]}]}`, want: "want Api.Read among them"},
		{name: "the same with somebody else's registration", choices: `{"registration":{"clientId":"22222222-2222-2222-2222-222222222222","appIdUri":"api://x"},"identities":[{"name":"a","roles":["Orders.Read"]}]}`, want: "want Api.Read among them"},
		{name: "another team's role", choices: external(`"role":"Orders.Read"`, `"identities":[{"name":"a","roles":["Orders.Read"]}]`)},
		{name: "another role than the other team gives", choices: external(`"role":"Orders.Read"`, `"identities":[{"name":"a","roles":["Api.Read"]}]`), want: "want external.role (Orders.Read) first"},
		{name: "another kind of identity", choices: `{"identityKind":"System"}`, want: "want SystemAssigned, UserAssigned"},
		{name: "an identity whose name Azure refuses", choices: `{"identities":[{"name":"my reader","roles":["Api.Read"]}]}`, want: "want letters, digits"},
		{name: "a federated identity", choices: external(federatedTenant, `"logicApp":false,"identities":[{"name":"a","roles":["r"],"federatedApp":"`+someID+`"}]`)},
		{name: "a federated identity by its name", choices: external(federatedTenant, `"logicApp":false,"identities":[{"name":"a","roles":["r"],"federatedApp":"my-app"}]`), want: "want the client id (GUID)"},
		{name: "a federated identity for no other tenant", choices: external(`"role":"r"`, `"logicApp":false,"identities":[{"name":"a","roles":["r"],"federatedApp":"`+someID+`"}]`), want: "want external.tenantId"},
		{name: "a federated identity that is the app's own", choices: external(federatedTenant, `"logicApp":false,"identityKind":"SystemAssigned","identities":[{"name":"a","roles":["r"],"federatedApp":"`+someID+`"}]`), want: "want a user-assigned identity"},
		{name: "a federated identity beside the Logic App", choices: external(federatedTenant, `"identities":[{"name":"a","roles":["r"],"federatedApp":"`+someID+`"}]`), want: "set logicApp to false"},
		{name: "a timer with a hyphen in one region", choices: `{}`, functions: map[string]string{"nightly-sync": nightly}},
		{name: "a timer with a hyphen in two regions", choices: `{"locations":["a","b"]}`, functions: map[string]string{"nightly-sync": nightly}, want: `"nightly-sync" cannot be switched off`},
		{name: "a region by its display name", choices: `{"locations":["westeurope","West Europe"]}`, want: "want a region's short name"},
		{name: "a group that Azure refuses", choices: `{"resourceGroup":"my group."}`, want: "resourceGroup: want letters"},
		{name: "two operations of one name", choices: operations(`{"name":"a","method":"GET","urlTemplate":"/"},{"name":"A","method":"GET","urlTemplate":"/x"}`), want: "two operations have this name"},
		{name: "a path without its slash", choices: operations(`{"name":"a","method":"GET","urlTemplate":"x"}`), want: "begins with /"},
		{name: "a brace that is not closed", choices: operations(`{"name":"a","method":"GET","urlTemplate":"/{id"}`), want: "is not closed"},
		{name: "a brace that closes nothing", choices: operations(`{"name":"a","method":"GET","urlTemplate":"/id}"}`), want: "closes nothing"},
		{name: "a brace in a brace", choices: operations(`{"name":"a","method":"GET","urlTemplate":"/{a{b}}"}`), want: "is not closed"},
		{name: "a part without a name", choices: operations(`{"name":"a","method":"GET","urlTemplate":"/{}"}`), want: "want a name between"},
		{name: "a part that stands twice", choices: operations(`{"name":"a","method":"GET","urlTemplate":"/{id}/x/{*ID}"}`), want: "stands twice"},
		{name: "parts and a rest", choices: operations(`{"name":"a","method":"GET","urlTemplate":"/{id}/x/{*rest}"}`)},
		{name: "a method in small letters", choices: operations(`{"name":"a","method":"get","urlTemplate":"/"}`), want: `got "get"`},
		{name: "a method that changes, access unsaid", choices: operations(`{"name":"a","method":"PUT","urlTemplate":"/*"}`), want: "access: want write, or read for a PUT"},
		{name: "a method that changes nothing here", choices: operations(`{"name":"a","method":"POST","urlTemplate":"/search","access":"read"}`)},
		{name: "a method that reads, access unsaid", choices: operations(`{"name":"a","method":"HEAD","urlTemplate":"/*"}`)},
		{name: "a private key", choices: `{"settings":{"ApimClientCertificate":"-----BEGIN PRIVATE KEY-----\nMII"}}`, want: "holds a private key"},
		{name: "an access that there is not", choices: operations(`{"name":"a","method":"GET","urlTemplate":"/","access":"Write"}`), want: `got "Write"`},
		{name: "a gateway without https", choices: `{"api":{"gatewayUrl":"http://api.contoso.com"}}`, want: "want https:// and a host"},
		{name: "a gateway with a path", choices: `{"api":{"gatewayUrl":"https://api.contoso.com/"}}`, want: "without a path"},
		{name: "a gateway", choices: `{"api":{"gatewayUrl":"https://api.contoso.com"}}`},
		{name: "a tier that there is not", choices: `{"api":{"sku":"Standard2"}}`, want: `got "Standard2"`},
		{name: "mails to nobody", choices: `{"api":{"publisherEmail":"admin@example.com"}}`, want: "nobody reads"},
		{name: "mails to somebody", choices: `{"api":{"publisherEmail":"admin@contoso.com"}}`},
		{name: "authentication by a name", choices: `{"authentication":{"clientId":"my-app"}}`, want: "authentication: clientId: want a GUID"},
		{name: "a caller by its name", choices: `{"authentication":{"clientId":"` + someID + `","callers":["my-app"]}}`, want: "callers[0]"},
		{name: "a closed app in an open network", choices: `{"network":{"isolated":false,"closedApp":true}}`, want: "would do nothing"},
		{name: "zones without subnets", choices: `{"logicApp":false,"api":{"sku":"StandardV2"},"network":{"isolated":true,"zones":{"blob":"x"}}}`, want: "network: zones:"},
		{name: "subnets and a vault of one's own making", choices: `{"logicApp":false,"api":{"sku":"StandardV2"},"network":{"isolated":true,"subnets":[{"app":"` + subnetOf("app") + `","endpoints":"` + subnetOf("endpoints") + `"}]}}`},
		{name: "subnets by name", choices: `{"logicApp":false,"api":{"sku":"StandardV2"},"network":{"isolated":true,"subnets":[{"app":"app","endpoints":"endpoints"}]}}`, want: "both the id of a subnet"},
		{name: "a range that is no network", choices: `{"logicApp":false,"api":{"sku":"StandardV2"},"network":{"isolated":true,"addressPrefixes":["10.80.0.5/24"]}}`, want: "want a /24"},
		{name: "no calls at a time", choices: `{"httpConcurrency":0}`, want: "httpConcurrency: want 1 to 1000"},
		{name: "too many calls at a time", choices: `{"httpConcurrency":1001}`, want: "httpConcurrency: want 1 to 1000"},
		{name: "too few instances", choices: `{"maximumInstanceCount":10}`, want: "want 40 to 1000"},
		{name: "logs that are gone at once", choices: `{"retentionInDays":5}`, want: "want 30 to 730"},
		{name: "ready instances of a function that is not there", choices: `{"alwaysReady":[{"name":"function:orders","instanceCount":1}]}`, want: "want http or function:"},
		{name: "ready instances of a bare name", choices: `{"alwaysReady":[{"name":"poll","instanceCount":1}]}`, want: "want http or function:"},
		{name: "ready instances of a function", choices: `{"alwaysReady":[{"name":"function:poll","instanceCount":1}]}`},
		{name: "more ready instances than there may be", choices: `{"alwaysReady":[{"name":"http","instanceCount":5000}]}`, want: "want 1 to 40"},
		{name: "the pause of a function that is not there", choices: `{"timerMinutes":{"orders":5}}`, want: "timerMinutes: there is no function"},
		{name: "a pause of no time", choices: `{"timerMinutes":{"poll":0}}`, want: "want 1 or more"},
		{name: "an action group by its name", choices: `{"actionGroups":["on-call"]}`, want: "actionGroups[0]"},
		{name: "memory that is not offered", choices: `{"instanceMemoryMB":1024}`, want: "want 512, 2048 or 4096"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := project(t, tt.functions)
			write(t, filepath.Join(root, "deploy", "env", "dev.json"), tt.choices)
			err := run([]string{"-root", root, "-n", "dev"}, noEnvironment, io.Discard, io.Discard)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "0123456789abcdef") {
				t.Error("the error shows the key")
			}
			if _, err := os.Stat(filepath.Join(root, ".azure")); err == nil {
				t.Error("-n wrote something")
			}
		})
	}
}

func TestChoicesReachAzdAndLeaveTheRestOfItsConfigAlone(t *testing.T) {
	root := project(t, map[string]string{"nightly": `{"bindings":[{"type":"timerTrigger","schedule":"%PollSchedule%"}]}`})
	write(t, filepath.Join(root, "deploy", "env", "prod.json"), `{"locations":["a","b"],"timerMinutes":{"poll":90}}`)
	config := filepath.Join(root, ".azure", "prod", "config.json")
	write(t, config, `{"infra":{"parameters":{"other":1}},"services":{"x":true}}`)
	environment := func(string) string { return "prod" }
	var first []byte
	for range 2 {
		if err := run([]string{"-root", root}, environment, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, data) {
			t.Error("a second run changed the config")
		}
		first = data
	}
	var got any
	if err := json.Unmarshal(first, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"infra": map[string]any{"parameters": map[string]any{
			"other": 1.0,
			"choices": map[string]any{
				"locations": []any{"a", "b"}, "timers": []any{"nightly", "poll"},
				"timerMinutes": map[string]any{"nightly": 5.0, "poll": 90.0},
			},
		}},
		"services": map[string]any{"x": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestEnvironmentWithoutAFileOfItsOwnTakesTheDefault(t *testing.T) {
	root := project(t, nil)
	var out bytes.Buffer
	if err := run([]string{"-root", root, "new"}, noEnvironment, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "taking default.json") {
		t.Errorf("said %q", out.String())
	}
	if err := run([]string{"-root", root, "../evil"}, noEnvironment, io.Discard, io.Discard); err == nil {
		t.Error("took a name that leads out of the folder")
	}
}

func TestShippedChoicesAreGood(t *testing.T) {
	functions, err := readFunctions("../../functions")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range files {
		if dir := filepath.Base(filepath.Dir(file)); dir != "env" && dir != "variants" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := parse(data)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, fault := range check(c, functions) {
			t.Errorf("%s: %v", file, fault)
		}
		checked++
	}
	if checked < 9 {
		t.Errorf("checked %d files, want 9 or more", checked)
	}
}

func TestLongestPauseOfATimer(t *testing.T) {
	tests := []struct {
		schedule string
		settings map[string]any
		more     string // in function.json
		want     int    // 0 = left out
	}{
		{schedule: "%PollSchedule%", want: 5},
		{schedule: "%pollschedule%", settings: map[string]any{"POLLSCHEDULE": "0 */7 * * * *"}, want: 7},
		{schedule: "%Other%"},
		{schedule: "%Other%", settings: map[string]any{"Other": "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/s)"}},
		{schedule: "0 0 %Hour% * * *", settings: map[string]any{"Hour": "6"}, want: 1440},
		{schedule: "*/10 * * * * *", want: 1},
		{schedule: "0 0 * * * *", want: 60},
		{schedule: "*/15 * * * *", want: 15},
		{schedule: "0 0 8-18 * * *", want: 14 * 60},
		{schedule: "0 0 18-8/2 * * *", want: 14 * 60}, // a range written backwards is turned round
		{schedule: "30,10 0 0 * jan-december *", want: 1440},
		{schedule: "0 0 0 * * mon-fri"},
		{schedule: "0 0 */6 1 * *"},
		{schedule: "0 0 6 * 1-6 *"},
		{schedule: "00:30:00", want: 30},
		{schedule: "01:00", want: 60},
		{schedule: "00:00:30", want: 1},
		{schedule: "1.00:00:00", want: 1440},
		{schedule: "1.00:00:01"},
		{schedule: "00:00:00"},
		{schedule: "soon"},
		{schedule: "0 0 0 0 * *"},
		{schedule: "0 0 6 * * *", more: `"disabled":true,`},
		{schedule: "0 0 6 * * *", settings: map[string]any{"AzureWebJobs.tick.Disabled": "true"}},
	}
	for _, tt := range tests {
		root := project(t, map[string]string{"tick": `{` + tt.more + `"bindings":[{"type":"timerTrigger","schedule":"` + tt.schedule + `"}]}`})
		functions, err := readFunctions(filepath.Join(root, "functions"))
		if err != nil {
			t.Fatal(err)
		}
		if got := timerMinutes(functions, (&choices{Settings: tt.settings}).texts())["tick"]; got != tt.want {
			t.Errorf("%s %v %v: got %d minutes, want %d", tt.schedule, tt.more, tt.settings, got, tt.want)
		}
	}
}

// The script gets the choices by its environment, and its refusal stops azd.
func TestPreflightGetsTheChoices(t *testing.T) {
	root := project(t, nil)
	write(t, filepath.Join(root, "deploy", "scripts", "preflight"), `echo "$AZURE_ENV_NAME|$RELAY_CHOSEN_GROUP|$RELAY_CHOSEN_REGIONS|$RELAY_NEW_SERVICE|$RELAY_EXISTING_APIM|$RELAY_CHOSEN_API|$RELAY_CHOSEN_PATH|$RELAY_EXISTING_VAULT"
[ "$RELAY_CHOSEN_GROUP" != rg-gone ]
`)
	for choices, want := range map[string]string{
		`{}`: "dev|||true||relay|relay|",
		`{"resourceGroup":"rg-a","locations":["a","b"],"api":{"name":"orders","path":"orders/v1","existing":{"name":"apim","resourceGroup":"rg"}},"vault":{"name":"kv","resourceGroup":"rg"}}`: "dev|rg-a|a b|false|apim|orders|orders/v1|kv",
		`{"external":{"url":"https://a.example/x","targetApp":"api://x","role":"r"}}`:                                                                                                          "dev|||false||relay|relay|",
		`{"resourceGroup":"rg-gone"}`: "",
	} {
		write(t, filepath.Join(root, "deploy", "env", "dev.json"), choices)
		var out bytes.Buffer
		err := run([]string{"-root", root, "-preflight", "dev"}, noEnvironment, &out, io.Discard)
		switch {
		case want == "" && err == nil:
			t.Errorf("%s: want the script's refusal, got none", choices)
		case want != "" && (err != nil || strings.TrimSpace(out.String()) != want):
			t.Errorf("%s: got %q and error %v, want %q", choices, out.String(), err, want)
		}
	}
}

func TestHeadersThatLookLikeKeysAreRefused(t *testing.T) {
	for value, refused := range map[string]bool{
		"Api-Version: v1": false,
		"Api-Version: 2024-05-01-preview; Accept: application/json":              false,
		`{"Accept":"application/json;v=2.0","Api-Version":"v2"}`:                 false,
		"X-Tenant: 11111111-2222-3333-4444-555555555555":                         false,
		"X-Client: orders-relay-production-europe-west":                          false,
		"X-Agent: AppleWebKit/537.36":                                            false,
		"X-Partner: @Microsoft":                                                  false,
		"@Microsoft.KeyVault(SecretUri=https://v.example/secrets/partner-key-1)": false,
		"X-Api-Key: abc": true,
		"X-Partner: 0123456789abcdef0123456789abcdef":         true,
		"Api-Version: v1; X-Partner: aB3dE5fG7hJ9kL1mN3pQ":    true,
		"X-Partner: Bearer x":                                 true,
		`{"X-Partner":"k3j4h5g6f7d8s9a0q1w2e3r4t5"}`:          true,
		"X-Partner: QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo3OA==": true,
		"X-Session: 1": true,
		"api-key=abc":  true,
	} {
		for _, name := range []string{"ApimHeaders", "poll__ApimHeaders", "OTEL_EXPORTER_OTLP_HEADERS"} {
			faults := check(&choices{Settings: map[string]any{name: value}}, nil)
			if got := len(faults) > 0; got != refused {
				t.Errorf("%s=%s: got %v, want refused %v", name, value, faults, refused)
			}
			for _, fault := range faults {
				if _, secret, found := strings.Cut(value, ": "); found && len(secret) > 3 && strings.Contains(fault.Error(), secret) {
					t.Errorf("the fault shows the value: %v", fault)
				}
			}
		}
	}
}

// A function with an address of its own takes key and token along, unless it has its own.
func TestAnotherHostIsWarnedOf(t *testing.T) {
	const reference = `"@Microsoft.KeyVault(SecretUri=https://v.example/secrets/k)"`
	tests := []struct{ choices, want, not string }{
		{`{"settings":{"partner__ApimUrl":"https://partner.example/other"}}`, "partner__ApimKey, partner__TargetApp, partner__FunctionIdentity", ""},
		{`{"external":{"url":"https://orders.example/v1","targetApp":"api://x","role":"r"},"settings":{"partner__ApimUrl":"https://partner.example/other"}}`, "names partner.example, where the other functions call orders.example", ""},
		{`{"external":{"url":"https://orders.example/v1","targetApp":"api://x","role":"r","keyHeader":"none"},"settings":{"partner__ApimUrl":"https://partner.example/other"}}`, "a token for our API", "subscription key"},
		{`{"external":{"url":"https://orders.example/v1","targetApp":"api://x","role":"r"},"settings":{"partner__ApimUrl":"https://ORDERS.example/other"}}`, "", "warning"},
		{`{"api":{"gatewayUrl":"https://api.contoso.com"},"settings":{"partner__ApimUrl":"https://api.contoso.com/other/{id}"}}`, "", "warning"},
		{`{"api":{"existing":{"name":"apim-contoso","resourceGroup":"g"}},"settings":{"partner__ApimUrl":"https://apim-contoso.azure-api.net/other"}}`, "", "warning"},
		{`{"settings":{"partner__ApimUrl":"https://apim-abcdefghijk23.azure-api.net/other"}}`, "", "warning"},
		{`{"settings":{"partner__ApimUrl":"https://partner.example/other","partner__apimkeysecondary":` + reference + `}}`, "a token for our API", "our subscription key"},
		{`{"settings":{"partner__ApimUrl":"https://partner.example/other","partner__ApimKey":` + reference + `,"partner__TargetApp":"api://partner"}}`, "", "warning"},
	}
	for _, tt := range tests {
		root := project(t, nil)
		write(t, filepath.Join(root, "deploy", "env", "dev.json"), tt.choices)
		var out bytes.Buffer
		if err := run([]string{"-root", root, "-n", "dev"}, noEnvironment, &out, io.Discard); err != nil {
			t.Errorf("%s: %v", tt.choices, err)
		}
		if !strings.Contains(out.String(), tt.want) || tt.not != "" && strings.Contains(out.String(), tt.not) {
			t.Errorf("%s: said %q, want %q and not %q", tt.choices, out.String(), tt.want, tt.not)
		}
	}
}

func noEnvironment(string) string { return "" }

// project lays out deploy/ beside functions/ and gives the path of both.
func project(t *testing.T, functions map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "deploy", "env", "default.json"), "{}")
	write(t, filepath.Join(root, "functions", "poll", "function.json"), `{"bindings":[{"type":"timerTrigger","schedule":"%PollSchedule%"}]}`)
	for name, text := range functions {
		write(t, filepath.Join(root, "functions", name, "function.json"), text)
	}
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
