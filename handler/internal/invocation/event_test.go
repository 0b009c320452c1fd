package invocation

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func decodeEvent(t *testing.T, envelope string, trigger Binding) *Event {
	t.Helper()
	event, err := Decode([]byte(envelope), trigger)
	if err != nil {
		t.Fatal(err)
	}
	return event
}

func TestRecordedQueueMessages(t *testing.T) {
	trigger := Binding{Type: "queueTrigger", Name: "msg"}
	for name, want := range map[string]struct{ body, contentType string }{
		"F-queue-json":        {`{"a":1,"b":"x","nested":{"c":[1]},"Id":"mine"}`, "application/json"},
		"F-queue-array":       {`[1,2]`, "application/json"},
		"F-queue-forwarding":  {`plain text`, "text/plain; charset=utf-8"},
		"F-queue-date-string": {`2026-01-02T03:04:05.000Z`, "text/plain; charset=utf-8"},
		"F-queue-fail":        {`fails`, "text/plain; charset=utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, envelope := range load(t, name).envelopes() {
				event := decodeEvent(t, envelope, trigger)
				if string(event.Body) != want.body || event.ContentType != want.contentType {
					t.Errorf("want %s %q, got %s %q", want.contentType, want.body, event.ContentType, event.Body)
				}
				if text, ok := event.Value("QueueTrigger"); !ok || text != want.body {
					t.Errorf("want the message for {QueueTrigger}, got %q", text)
				}
			}
		})
	}
}

func TestRecordedTimers(t *testing.T) {
	seen := 0
	for name, r := range loadAll(t, "C-*") {
		for _, envelope := range r.envelopes() {
			var want struct {
				Data struct{ Timer json.RawMessage }
			}
			if err := json.Unmarshal([]byte(envelope), &want); err != nil {
				t.Fatal(err)
			}
			event := decodeEvent(t, envelope, Binding{Type: "timerTrigger", Name: "timer"})
			if string(event.Body) != string(want.Data.Timer) || event.ContentType != "application/json" {
				t.Errorf("%s: want %s, got %s %s", name, want.Data.Timer, event.ContentType, event.Body)
			}
			if method, ok := event.Value("sys.methodname"); !ok || method == "" {
				t.Errorf("%s: want a value for {sys.methodname}, got none", name)
			}
			if key := event.Key("f", time.Now(), "id"); len(key) != 32 {
				t.Errorf("%s: want a key, got %q", name, key)
			}
			seen++
		}
	}
	if seen < 25 {
		t.Errorf("want some 30 recorded ticks, got %d", seen)
	}
}

func TestEvents(t *testing.T) {
	for name, row := range map[string]struct {
		trigger           Binding
		data              string // of Data.x
		body, contentType string
	}{
		"a queue's text in quotes of its own":       {Binding{Type: "queueTrigger"}, `"\"\\\"x\\\"\""`, `"x"`, typeText},
		"a queue's number is a text":                {Binding{Type: "queueTrigger"}, `"\"42\""`, `42`, typeText},
		"an empty message":                          {Binding{Type: "queueTrigger"}, `"\"\""`, ``, typeText},
		"JSON with white space around":              {Binding{Type: "queueTrigger"}, `"\" {\\\"a\\\":1}\\n\""`, " {\"a\":1}\n", typeJSON},
		"broken JSON is a text":                     {Binding{Type: "queueTrigger"}, `"\"{\\\"a\\\":\""`, `{"a":`, typeText},
		"Service Bus, encoded twice":                {Binding{Type: "serviceBusTrigger"}, `"\"{\\\"a\\\":1}\""`, `{"a":1}`, typeJSON},
		"Service Bus, encoded once":                 {Binding{Type: "serviceBusTrigger"}, `"{\"message\":\"hello\",\"number\":2}"`, `{"message":"hello","number":2}`, typeJSON},
		"Service Bus, a text encoded once":          {Binding{Type: "serviceBusTrigger"}, `"plain \"text\""`, `plain "text"`, typeText},
		"Service Bus, many":                         {Binding{Type: "serviceBusTrigger", Cardinality: "many"}, `"[\"{\\\"a\\\":1}\",\"two\",3]"`, `[{"a":1},"two",3]`, typeJSON},
		"Service Bus, an array as one message":      {Binding{Type: "serviceBusTrigger"}, `"\"[\\\"{}\\\"]\""`, `["{}"]`, typeJSON},
		"Event Hubs, many by default, texts":        {Binding{Type: "eventHubTrigger"}, `"[\"{\\\"a\\\":1}\", \"[2]\" ,\"x\",\"4\"]"`, `[{"a":1},[2],"x","4"]`, typeJSON},
		"Event Hubs, many by default, objects":      {Binding{Type: "eventHubTrigger"}, `"[{\"a\":\"{}\"},{\"a\":2}]"`, `[{"a":"{}"},{"a":2}]`, typeJSON},
		"Event Hubs, many, encoded twice":           {Binding{Type: "eventHubTrigger"}, `"\"[\\\"{}\\\"]\""`, `[{}]`, typeJSON},
		"Event Hubs, many, none":                    {Binding{Type: "eventHubTrigger"}, `"[]"`, `[]`, typeJSON},
		"Event Hubs, many, an item that is no JSON": {Binding{Type: "eventHubTrigger"}, `"[\"{\\u00e9\\n\"]"`, `["{\u00e9\n"]`, typeJSON},
		"Event Hubs, one":                           {Binding{Type: "eventHubTrigger", Cardinality: "one"}, `"\"{\\\"a\\\":1}\""`, `{"a":1}`, typeJSON},
		"Event Grid":                                {Binding{Type: "eventGridTrigger"}, `{"id":"1","data":{"k":"v"}}`, `{"id":"1","data":{"k":"v"}}`, typeJSON},
		"a blob of text":                            {Binding{Type: "blobTrigger"}, `"\"a,b\\nc\""`, "a,b\nc", typeText},
		"a binary blob":                             {Binding{Type: "blobTrigger", DataType: "binary"}, `"AAEC"`, "\x00\x01\x02", typeBinary},
		"a binary blob that looks like a number":    {Binding{Type: "blobTrigger", DataType: "Binary"}, `"1234"`, "\xd7\x6d\xf8", typeBinary},
		"a binary blob in quotes of its own":        {Binding{Type: "blobTrigger", DataType: "binary"}, `"\"AAEC\""`, "\x00\x01\x02", typeBinary},
		"an empty binary blob":                      {Binding{Type: "blobTrigger", DataType: "binary"}, `""`, "", typeBinary},
		"a blob of something like a number":         {Binding{Type: "blobTrigger"}, `"1234"`, "1234", typeJSON},
		"Cosmos DB":                                 {Binding{Type: "cosmosDBTrigger"}, `"[{\"id\":\"1\"},{\"id\":\"2\"}]"`, `[{"id":"1"},{"id":"2"}]`, typeJSON},
		"unknown, a date":                           {Binding{Type: "xTrigger"}, `"2026-01-02T03:04:05"`, "2026-01-02T03:04:05", typeText},
		"unknown, a boolean":                        {Binding{Type: "xTrigger"}, `"true"`, "true", typeJSON},
		"unknown, an array that is no text":         {Binding{Type: "xTrigger"}, `[1, 2]`, "[1, 2]", typeJSON},
		"unknown, null":                             {Binding{Type: "xTrigger"}, `null`, "", ""},
		"unknown, null in a text":                   {Binding{Type: "xTrigger"}, `"null"`, "", ""},
		"unknown, an empty text":                    {Binding{Type: "xTrigger"}, `""`, "", typeText},
		"every escape":                              {Binding{Type: "queueTrigger"}, `"\"\\u00e9\\ud83d\\ude00\\t\\/\\\\\""`, "é😀\t/\\", typeText},
	} {
		t.Run(name, func(t *testing.T) {
			row.trigger.Name = "x"
			event := decodeEvent(t, `{"Data":{"x":`+row.data+`},"Metadata":{}}`, row.trigger)
			if string(event.Body) != row.body || event.ContentType != row.contentType {
				t.Errorf("want %s %q, got %s %q", row.contentType, row.body, event.ContentType, event.Body)
			}
		})
	}
	const envelope = `{"Data":{"y":1,"b":"\"not base64\""},"Metadata":null}`
	if _, err := Decode([]byte(envelope), Binding{Type: "queueTrigger", Name: "x"}); err == nil {
		t.Error("want an error without Data.x, got none")
	}
	binary := Binding{Type: "blobTrigger", Name: "b", DataType: "binary"}
	_, err := Decode([]byte(envelope), binary)
	if err == nil || strings.Contains(err.Error(), "not base64") {
		t.Errorf("want an error without contents, got %v", err)
	}
}

func TestValues(t *testing.T) {
	const text = `{"Data":{"msg":"\"{\\\"a\\\":1}\""},"Metadata":{"DequeueCount":"1","Id":"\"mine\"","InsertionTime":"2026-11-23T16:40:29+00:00",
		"a":"\"1\"","b":"\"x y\"","Quoted":"\"\\\"q\\\"\"","nested":{"c":[1],"d":{"E":"42","f":1.50,"g":true,"h":null}},"list":"[1,2]","nil":null,"flag":"true",
		"obj":"{\"k\":\"v\"}","sys":"\"mine\"","$sys":{"MethodName":"q","UtcNow":"2026-11-23T16:40:30.6160926Z","RandGuid":"b3b7"}}}`
	event := decodeEvent(t, text, Binding{Type: "queueTrigger", Name: "msg"})
	for name, want := range map[string]string{
		"id": "mine", "dequeuecount": "1", "INSERTIONTIME": "2026-11-23T16:40:29+00:00", "a": "1", "b": "x y", "quoted": `"q"`,
		"nested.d.e": "42", "nested.D.f": "1.50", "nested.d.g": "True", "flag": "True", "obj.k": "v",
		"sys.methodname": "q", "sys.utcnow": "2026-11-23T16:40:30.6160926Z", "sys.RandGuid": "b3b7", "$sys.randguid": "b3b7",
		"sys": "mine", "queueTrigger": `{"a":1}`,
	} {
		if got, ok := event.Value(name); !ok || got != want {
			t.Errorf("{%s}: want %q, got %q (%v)", name, want, got, ok)
		}
	}
	for _, name := range []string{"", ".", "absent", "nested", "nested.c", "nested.d.h", "nested.d.e.f", "list", "nil", "nil.x", "a.b", "sys.absent", "obj", "msg", "blobTrigger"} {
		if got, ok := event.Value(name); ok {
			t.Errorf("{%s}: want no value, got %q", name, got)
		}
	}
	// A sys of the message's own that is no object is not asked, nor is one that only looks like the host's.
	event = decodeEvent(t, `{"Data":{"e":{}},"Metadata":{"sys":{"RandGuid":"host"},"data":{"k":"v","n":{"m":3}}}}`, Binding{Type: "eventGridTrigger", Name: "e"})
	for name, want := range map[string]string{"data.k": "v", "Data.N.m": "3", "sys.randguid": "host"} {
		if got, ok := event.Value(name); !ok || got != want {
			t.Errorf("{%s}: want %q, got %q", name, want, got)
		}
	}
	for uri, want := range map[string]string{
		"https://acc.blob.core.windows.net/in/a%20b/c.txt": "in/a b/c.txt", "http://127.0.0.1:10000/devstoreaccount1/in/c": "in/c", "no uri": "",
	} {
		event = decodeEvent(t, fmt.Sprintf(`{"Data":{"b":"\"\""},"Metadata":{"Uri":"\"%s\"","name":"\"c\""}}`, uri), Binding{Type: "blobTrigger", Name: "b"})
		if got, _ := event.Value("blobtrigger"); got != want {
			t.Errorf("{blobtrigger}: want %q, got %q", want, got)
		}
		if got, _ := event.Value("Name"); got != "c" {
			t.Errorf("{Name}: want c, got %q", got)
		}
	}
}
