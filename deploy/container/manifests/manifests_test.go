package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShippedManifestsAreThoseOfTheShippedFunctions(t *testing.T) {
	golden(t, "../../../functions", "../kubernetes/relay.yaml")
}

func TestEventsHaveADeploymentOfTheirOwnThatKedaScales(t *testing.T) {
	root := t.TempDir()
	for name, binding := range map[string]string{
		"health": `{"type":"httpTrigger","authLevel":"anonymous"}`,
		"poll":   `{"type":"timerTrigger","schedule":"%PollSchedule%"}`,
		"orders": `{"type":"serviceBusTrigger","queueName":"orders","connection":"Orders"}`,
		"news":   `{"type":"serviceBusTrigger","topicName":"news","subscriptionName":"relay","connection":"Orders"}`,
		"jobs":   `{"type":"queueTrigger","queueName":"%JobsQueue%"}`,
		"files":  `{"type":"blobTrigger","path":"inbox/{name}","connection":"Files"}`,
		"meters": `{"type":"eventHubTrigger","eventHubName":"meters","connection":"Meters"}`,
	} {
		write(t, filepath.Join(root, name, "function.json"), `{"bindings":[`+binding+`]}`)
	}
	golden(t, root, "../kubernetes/example-events.yaml")
	data, err := os.ReadFile("../kubernetes/example-events.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, second, found := strings.Cut(string(data), "name: relay-events\n")
	if !found {
		t.Fatal("there is no second deployment")
	}
	for _, name := range []string{"orders", "news", "jobs", "files", "meters"} {
		if !strings.Contains(first, "AzureWebJobs."+name+".Disabled") || strings.Contains(second, "AzureWebJobs."+name+".Disabled") {
			t.Errorf("%s: want it off in the first deployment and on in the second", name)
		}
	}
	if !strings.Contains(second, "AzureWebJobs.poll.Disabled") || strings.Contains(second, "AzureWebJobs.health.Disabled") {
		t.Error("want poll off and health on in the second deployment")
	}
}

func TestTriggersWithoutScalerAreRefused(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "changes", "function.json"), `{"bindings":[{"type":"cosmosDBTrigger"}]}`)
	err := run([]string{"-functions", root}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "scaling the function changes: KEDA has no scaler for cosmosDBTrigger") {
		t.Errorf("got error %v", err)
	}
	write(t, filepath.Join(root, "changes", "function.json"), `{"bindings":[{"type":"http"}]}`)
	if err := run([]string{"-functions", root}, io.Discard, io.Discard); err == nil {
		t.Error("took a function without trigger")
	}
}

// What an environment chooses stands in the ConfigMap and, resolved, with KEDA, which knows no %names%.
func TestChosenSettingsFillTheNames(t *testing.T) {
	root := t.TempDir()
	for name, binding := range map[string]string{
		"health": `{"type":"httpTrigger","authLevel":"anonymous"}`,
		"orders": `{"type":"serviceBusTrigger","queueName":"in-%ordersqueue%","connection":"%Which%"}`,
		"files":  `{"type":"blobTrigger","path":"%Inbox%/{name}","connection":"Files"}`,
		"events": `{"type":"eventGridTrigger"}`,
	} {
		write(t, filepath.Join(root, name, "function.json"), `{"bindings":[`+binding+`]}`)
	}
	choices := filepath.Join(t.TempDir(), "prod.json")
	write(t, choices, `{"locations":["westeurope"],"settings":{
		"OrdersQueue":"orders","Which":"Orders","Inbox":"inbox","Files__blobServiceUri":"https://stfiles.blob.core.windows.net",
		"Orders__fullyQualifiedNamespace":"sb-contoso.servicebus.windows.net","Orders__credential":"managedidentity","Orders__clientId":"<client-id>"}}`)
	var out bytes.Buffer
	if err := run([]string{"-functions", root, "-choices", choices}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`queueName: "in-orders"`, `namespace: "sb-contoso"`, `blobContainerName: "inbox"`, `accountName: "stfiles"`,
		`  OrdersQueue: "orders"`, `  Orders__fullyQualifiedNamespace: "sb-contoso.servicebus.windows.net"`,
		`  Files__queueServiceUri: "https://stfiles.queue.core.windows.net"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %s in\n%s", want, out.String())
		}
	}
	for _, not := range []string{"%", "__credential", "client-id>"} {
		if strings.Contains(out.String(), not) {
			t.Errorf("want no %s", not)
		}
	}
	if err := run([]string{"-functions", root, "-choices", choices + ".not"}, io.Discard, io.Discard); err == nil {
		t.Error("took an environment's file that is not there")
	}
}

// golden compares with a committed file. UPDATE=1 writes it.
func golden(t *testing.T, functions, file string) {
	t.Helper()
	var got bytes.Buffer
	if err := run([]string{"-functions", functions}, &got, io.Discard); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		write(t, file, got.String())
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s is not what the functions give (-file +made):\n%s", file, diff)
	}
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
