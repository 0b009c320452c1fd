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
		{name: "two identities of one name", choices: `{"identities":[{"name":"a","roles":["x"]},{"name":"a","roles":["x"]}]}`, want: "a name of its own"},
		{name: "one function with two identities", choices: `{"identities":[{"name":"a","roles":["x"],"functions":["poll"]},{"name":"b","roles":["x"],"functions":["poll"]}]}`, want: "given to a and to b"},
		{name: "two system-assigned identities", choices: `{"identityKind":"SystemAssigned","identities":[{"name":"a","roles":["x"]},{"name":"b","roles":["x"]}]}`, want: "want UserAssigned"},
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
		{name: "a trigger without a name that it uses", choices: `{"settings":{"Orders__fullyQualifiedNamespace":"x"}}`, functions: map[string]string{"orders": queue}, want: "needs Queue"},
		{name: "a trigger with all it needs", choices: `{"settings":{"queue":"q","ORDERS__fullyQualifiedNamespace":"x"}}`, functions: map[string]string{"orders": queue}},
		{name: "memory that is not offered", choices: `{"instanceMemoryMB":1024}`, want: "want 512, 2048 or 4096"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			deploy := project(t, tt.functions)
			write(t, filepath.Join(deploy, "env", "dev.json"), tt.choices)
			err := run([]string{"-deploy", deploy, "-n", "dev"}, noEnvironment, io.Discard, io.Discard)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "0123456789abcdef") {
				t.Error("the error shows the key")
			}
			if _, err := os.Stat(filepath.Join(deploy, ".azure")); err == nil {
				t.Error("-n wrote something")
			}
		})
	}
}

func TestChoicesReachAzdAndLeaveTheRestOfItsConfigAlone(t *testing.T) {
	deploy := project(t, map[string]string{"nightly": `{"bindings":[{"type":"timerTrigger","schedule":"%PollSchedule%"}]}`})
	write(t, filepath.Join(deploy, "env", "prod.json"), `{"locations":["a","b"]}`)
	config := filepath.Join(deploy, ".azure", "prod", "config.json")
	write(t, config, `{"infra":{"parameters":{"other":1}},"services":{"x":true}}`)
	environment := func(string) string { return "prod" }
	var first []byte
	for range 2 {
		if err := run([]string{"-deploy", deploy}, environment, io.Discard, io.Discard); err != nil {
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
			"other":   1.0,
			"choices": map[string]any{"locations": []any{"a", "b"}, "timers": []any{"nightly", "poll"}},
		}},
		"services": map[string]any{"x": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestEnvironmentWithoutAFileOfItsOwnTakesTheDefault(t *testing.T) {
	deploy := project(t, nil)
	var out bytes.Buffer
	if err := run([]string{"-deploy", deploy, "new"}, noEnvironment, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "taking env/default.json") {
		t.Errorf("said %q", out.String())
	}
	if err := run([]string{"-deploy", deploy, "../evil"}, noEnvironment, io.Discard, io.Discard); err == nil {
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
	if checked < 8 {
		t.Errorf("checked %d files, want 8 or more", checked)
	}
}

func noEnvironment(string) string { return "" }

// project lays out deploy/ beside functions/ and gives the path of deploy/.
func project(t *testing.T, functions map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "deploy", "env", "default.json"), "{}")
	write(t, filepath.Join(root, "functions", "poll", "function.json"), `{"bindings":[{"type":"timerTrigger","schedule":"%PollSchedule%"}]}`)
	for name, text := range functions {
		write(t, filepath.Join(root, "functions", name, "function.json"), text)
	}
	return filepath.Join(root, "deploy")
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
