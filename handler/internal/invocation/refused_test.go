package invocation

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRefusedEvents says what stands in the output for events of several triggers.
func TestRefusedEvents(t *testing.T) {
	r := Refusal{Function: "f", Invocation: "i", At: now, Status: 422, Reason: "no <sku>"}
	const head = `{"function":"f","invocation":"i","at":"2026-11-23T16:12:00Z","status":422,"reason":"no <sku>"`
	for name, row := range map[string]struct {
		trigger    Binding
		data, meta string
		want       string
	}{
		"a queue's JSON": {Binding{Type: "queueTrigger"}, `"\"{\\\"a\\\": 1.50}\""`,
			`{"DequeueCount":"3","Id":"\"q-1\"","InsertionTime":"2026-11-23T16:40:29+00:00","PopReceipt":"\"secret\""}`,
			`,"deliveries":3,"event":{"Id":"q-1","InsertionTime":"2026-11-23T16:40:29+00:00"},"data":{"a":1.50}}`},
		"a queue's text": {Binding{Type: "queueTrigger"}, `"\"a <b> \\\"c\\\"\""`, `{}`,
			`,"data":"a <b> \"c\""}`},
		"a message of Service Bus": {Binding{Type: "serviceBusTrigger"}, `"\"m\""`,
			`{"DeliveryCount":"2","MessageId":"\"id\"","SequenceNumber":"9007199254740993","LockToken":"\"l\""}`,
			`,"deliveries":2,"event":{"MessageId":"id","SequenceNumber":9007199254740993},"data":"m"}`},
		"a batch of Service Bus": {Binding{Type: "serviceBusTrigger", Cardinality: "many"},
			`"[\"{\\\"a\\\":1}\",\"two\"]"`, `{"MessageIdArray":"[\"i\",\"j\"]"}`,
			`,"event":{"MessageIdArray":["i","j"]},"data":[{"a":1},"two"]}`},
		"events of a hub": {Binding{Type: "eventHubTrigger"}, `"[\"x\"]"`,
			`{"PartitionContext":{"PartitionId":"3"},"SequenceNumberArray":"[7]","RetryContext":{"RetryCount":1}}`,
			`,"deliveries":2,"event":{"PartitionContext.PartitionId":3,"SequenceNumberArray":[7]},"data":["x"]}`},
		"a binary blob": {Binding{Type: "blobTrigger", DataType: "binary"}, `"AAEC"`, `{"Uri":"\"u\""}`,
			`,"event":{"Uri":"u"},"dataBase64":"AAEC"}`},
		"a timer": {Binding{Type: "timerTrigger"}, `{"IsPastDue":false}`, `{"sys":{"RandGuid":"r"}}`,
			`,"data":{"IsPastDue":false}}`},
		"nothing": {Binding{Type: "kafkaTrigger"}, `null`, `{"Offset":"5","sys":{}}`, `,"event":{"Offset":5}}`},
	} {
		t.Run(name, func(t *testing.T) {
			row.trigger.Name = "x"
			event := decodeEvent(t, `{"Data":{"x":`+row.data+`},"Metadata":`+row.meta+`}`, row.trigger)
			got := string(event.Refused(r))
			if diff := cmp.Diff(head+row.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if !json.Valid([]byte(got)) {
				t.Error("want JSON")
			}
		})
	}
	event := decodeEvent(t, `{"Data":{"x":"\"m\""},"Metadata":{}}`, Binding{Type: "queueTrigger", Name: "x"})
	const want = `{"function":"f","at":"2026-11-23T16:12:00Z","code":"bad-path","reason":"r","data":"m"}`
	own := Refusal{Function: "f", At: now.In(time.FixedZone("CET", 3600)), Code: "bad-path", Reason: "r"}
	if got := string(event.Refused(own)); got != want {
		t.Errorf("want %s, got %s", want, got)
	}
}

func TestReasons(t *testing.T) {
	long := strings.Repeat("é", 600)
	for body, want := range map[string]string{
		`{"message":"no sku","detail":"x"}`:           "no sku",
		`{"title":"Unprocessable","detail":"no sku"}`: "no sku",
		`{"title":"Unprocessable","detail":""}`:       "Unprocessable",
		`{"message":["no sku"],"title":"t"}`:          "t",
		`{"errors":["no sku"]}`:                       `{"errors":["no sku"]}`,
		" no sku\n":                                   "no sku",
		"":                                            "",
		"no \xff sku":                                 "no \uFFFD sku",
		long:                                          long[:1024],
		"x" + long:                                    "x" + long[:1022],
		`{"message":"` + long + `"}`:                  long[:1024],
	} {
		if got := Reason([]byte(body)); got != want {
			t.Errorf("%.40q: want %.40q (%d bytes), got %.40q (%d bytes)", body, want, len(want), got, len(got))
		}
	}
}
