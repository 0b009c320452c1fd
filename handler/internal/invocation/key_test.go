package invocation

import (
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 23, 16, 12, 0, 0, time.UTC)

func key(t *testing.T, envelope, function string, trigger Binding, id string) string {
	t.Helper()
	event, err := Decode([]byte(envelope), trigger)
	if err != nil {
		t.Fatal(err)
	}
	return event.Key(function, now, id)
}

func TestKeySurvivesARecordedRedelivery(t *testing.T) {
	trigger := Binding{Type: "queueTrigger", Name: "msg"}
	twice := load(t, "F-queue-fail").envelopes()
	if len(twice) != 2 || twice[0] == twice[1] {
		t.Fatalf("want two different deliveries, got %d", len(twice))
	}
	first := key(t, twice[0], "q", trigger, "one")
	if second := key(t, twice[1], "q", trigger, "two"); first != second {
		t.Errorf("want one key for both deliveries, got %s and %s", first, second)
	}
	if other := key(t, twice[0], "p", trigger, "one"); other == first {
		t.Error("want another key for another function")
	}
	// The message's own Id hides the host's; the times still tell two messages with the same text apart.
	clash := load(t, "F-queue-json").envelopes()[0]
	if key(t, clash, "q", trigger, "") == key(t, strings.Replace(clash, "16:40:29", "16:40:30", 2), "q", trigger, "") {
		t.Error("want another key for another message with the same properties")
	}
}

func TestKeys(t *testing.T) {
	for name, row := range map[string]struct {
		trigger     Binding
		base        string
		same, other []string // pairs: what to replace, and by what
	}{
		"queue": {
			Binding{Type: "QueueTrigger"}, `{"Data":{"x":"\"m\""},"Metadata":{"DequeueCount":"1","ExpirationTime":"E","Id":"\"i\"","InsertionTime":"I","NextVisibleTime":"N","PopReceipt":"\"p\"","sys":{"RandGuid":"r"}}}`,
			[]string{`"DequeueCount":"1"`, `"DequeueCount":"2"`, `"N"`, `"N2"`, `\"p\"`, `\"p2\"`, `"r"`, `"r2"`, `"sys"`, `"RetryContext":{"RetryCount":1},"sys"`},
			[]string{`\"m\"`, `\"m2\"`, `\"i\"`, `\"j\"`, `"I"`, `"I2"`, `"E"`, `"E2"`},
		},
		"Service Bus": {
			Binding{Type: "serviceBusTrigger"}, `{"Data":{"x":"\"m\""},"Metadata":{"DeliveryCount":"1","SequenceNumber":"7","LockToken":"\"l\"","MessageId":"\"i\"","Client":{"Identifier":"c"}}}`,
			[]string{`"DeliveryCount":"1"`, `"DeliveryCount":"2"`, `\"l\"`, `\"l2\"`, `"c"`, `"c2"`, `"\"m\""`, `"m"`},
			[]string{`"7"`, `"8"`, `\"i\"`, `\"j\"`, `\"m\"`, `\"n\"`},
		},
		"Service Bus, many": {
			Binding{Type: "serviceBusTrigger", Cardinality: "many"}, `{"Data":{"x":"[\"m\"]"},"Metadata":{"DeliveryCountArray":"[1]","SequenceNumberArray":"[7]","MessageIdArray":"[\"i\"]"}}`,
			[]string{`[1]`, `[2]`},
			[]string{`[7]`, `[8]`, `\"i\"`, `\"j\"`},
		},
		"Event Hubs": {
			Binding{Type: "eventHubTrigger"}, `{"Data":{"x":"[\"m\"]"},"Metadata":{"PartitionContext":{"PartitionId":"3","IsCheckpointingAfterInvocation":true},"SequenceNumberArray":"[7]"}}`,
			[]string{`true`, `false`},
			[]string{`"3"`, `"4"`, `[7]`, `[8]`},
		},
		"Event Grid": {
			Binding{Type: "eventGridTrigger"}, `{"Data":{"x":{"id":"1"}},"Metadata":{"data":{},"sys":{"RandGuid":"r"}}}`,
			[]string{`"r"`, `"r2"`},
			[]string{`"1"`, `"2"`},
		},
		"blob": {
			Binding{Type: "blobTrigger"}, `{"Data":{"x":"\"m\""},"Metadata":{"Uri":"\"u\"","Properties":{"ETag":"e","LeaseState":"l"}}}`,
			[]string{`"l"`, `"l2"`},
			[]string{`\"u\"`, `\"v\"`, `"e"`, `"e2"`, `\"m\"`, `\"n\"`},
		},
		"unknown": {
			Binding{Type: "kafkaTrigger"}, `{"Data":{"x":"\"m\""},"Metadata":{"Offset":"5","Topic":"\"t\"","DeliveryTag":"1","RetryContext":{"RetryCount":0},"sys":{"RandGuid":"r"}}}`,
			[]string{`"DeliveryTag":"1"`, `"DeliveryTag":"2"`, `"r"`, `"r2"`, `"RetryCount":0`, `"RetryCount":1`, `"Offset":"5","Topic":"\"t\""`, `"Topic":"\"t\"","Offset":"5"`},
			[]string{`"5"`, `"6"`, `\"t\"`, `\"u\"`, `"Topic"`, `"Topi"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			row.trigger.Name = "x"
			base := key(t, row.base, "f", row.trigger, "one")
			replaced := func(pair []string) string {
				text := strings.Replace(row.base, pair[0], pair[1], 1)
				if text == row.base {
					t.Fatalf("%s: nothing replaced", pair[0])
				}
				return key(t, text, "f", row.trigger, "two")
			}
			for i := 0; i < len(row.same); i += 2 {
				if replaced(row.same[i:]) != base {
					t.Errorf("want the same key with %s", row.same[i+1])
				}
			}
			for i := 0; i < len(row.other); i += 2 {
				if replaced(row.other[i:]) == base {
					t.Errorf("want another key with %s", row.other[i+1])
				}
			}
		})
	}
}

func TestKeyTakesNothingForSomethingElse(t *testing.T) {
	trigger := Binding{Type: "xTrigger", Name: "x"}
	seen := map[string]string{}
	for _, text := range []string{
		`{"Data":{"x":"\"ab\""},"Metadata":{}}`,
		`{"Data":{"x":"\"b\""},"Metadata":{"a":"\"\""}}`,
		`{"Data":{"x":"\"\""},"Metadata":{"a":"\"b\""}}`,
		`{"Data":{"x":"\"\""},"Metadata":{"ab":"\"\""}}`,
		`{"Data":{"x":"\"\""},"Metadata":{"a":"\"\"","b":"\"\""}}`,
		`{"Data":{"x":"\"\""},"Metadata":{"data":"\"\""}}`,
	} {
		k := key(t, text, "f", trigger, "")
		if seen[k] != "" {
			t.Errorf("want different keys, got one for %s and %s", seen[k], text)
		}
		seen[k] = text
	}
}

func TestTimerKeys(t *testing.T) {
	trigger := Binding{Type: "timerTrigger", Name: "timer"}
	tick := func(next string) string {
		return `{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":{"Last":"0001-01-01T00:00:00","Next":"` + next + `"},"IsPastDue":false}},"Metadata":{"sys":{}}}`
	}
	run := func(envelope string) (one, two string) {
		return key(t, envelope, "f", trigger, "one"), key(t, envelope, "f", trigger, "two")
	}
	for name, next := range map[string]string{"a tick": "2026-11-23T16:12:00+00:00", "in another zone": "2026-11-23T17:12:00+01:00", "without a zone": "2026-11-23T16:12:00"} {
		one, two := run(tick(next))
		if want, _ := run(tick("2026-11-23T16:12:00Z")); one != two || one != want {
			t.Errorf("%s: want the key of the tick for any invocation, got %s and %s", name, one, two)
		}
	}
	for name, envelope := range map[string]string{
		"a coming tick": tick("2026-11-23T16:12:00.001+00:00"), "the first year": tick("0001-01-01T00:00:00"), "no time": tick("soon"),
		"no status": load(t, "C-timer-retry").envelopes()[0],
	} {
		if one, two := run(envelope); one == two {
			t.Errorf("%s: want a key for each invocation, got one for both", name)
		}
	}
	// The host's retries keep the invocation id, and nothing else.
	keys := map[string]int{}
	for _, m := range load(t, "C-timer-retry").Received {
		if strings.HasPrefix(m.RequestLine, "POST /retry") {
			keys[key(t, m.Body.(string), "retry", trigger, m.header("X-Azure-Functions-InvocationId"))]++
		}
	}
	if len(keys) != 1 {
		t.Errorf("want one key for all attempts, got %v", keys)
	}
	past := load(t, "C-timer-pastdue").envelopes()[0]
	event, err := Decode([]byte(past), trigger)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := event.tick(); !ok || !got.Equal(now) {
		t.Errorf("want the missed tick %v, got %v", now, got)
	}
}
