package console

import (
	"strings"
	"testing"
	"time"

	"apimrelay/internal/policy"
	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
)

const (
	someID    = "0b7ec700-0000-4000-8000-000000000001"
	someTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
)

func line(at time.Time, text string) host.LogEntry {
	return host.LogEntry{Time: at, Level: host.Information, Category: "Host.Function.Console", Text: text}
}

func TestCollectorTellsAttemptsApart(t *testing.T) {
	began := time.Now()
	s := &Board{}
	c := NewCollector(s, nil, "sample backend")
	attempts := []host.Invocation{
		{ID: someID, Function: "poll", Trigger: "timerTrigger", Way: "wrapped", Started: began, Duration: 10 * time.Millisecond, Status: host.Failed, Error: "Executed\nand more"},
		{ID: someID, Function: "poll", Trigger: "timerTrigger", Way: "wrapped", Attempt: 1, Started: began.Add(10 * time.Second), Duration: 10 * time.Millisecond, Status: host.Succeeded},
	}
	c.Watch(func() []host.Invocation { return attempts })
	for n, status := range []int{503, 200} {
		at := began.Add(time.Duration(n) * 10 * time.Second).Add(5 * time.Millisecond)
		c.OnLog(line(at, `{"msg":"invocation","invocation_id":"`+someID+`","trace_id":"`+someTrace+`"}`))
		c.OnRecord(gateway.Record{Time: at, Traceparent: "00-" + someTrace + "-00f067aa0ba902b7-01", Status: status, Stage: "backend", BackendStatus: status})
	}
	c.OnRecord(gateway.Record{Time: began.Add(5 * time.Millisecond), Status: 200}) // somebody else's, without a trace
	c.join()
	all := s.All()
	if len(all) != 2 {
		t.Fatalf("%d invocations, want 2", len(all))
	}
	retry, first := all[0], all[1]
	if len(first.Calls) != 1 || first.Calls[0].Status != 503 || first.Cause != "the backend answered 503" {
		t.Errorf("first: calls %+v, cause %q", first.Calls, first.Cause)
	}
	if len(retry.Calls) != 1 || retry.Calls[0].Status != 200 || retry.Turn != "attempt 2" || retry.Cause != "" {
		t.Errorf("retry: calls %+v, turn %q, cause %q", retry.Calls, retry.Turn, retry.Cause)
	}
}

func TestCollectorNamesTheHostsFaults(t *testing.T) {
	const held, lost, gaveUp, slow = "hang on the handler's side", "reset on the caller's side", "reset on the handler's side", "latency on the caller's side"
	for name, test := range map[string]struct {
		seen host.Invocation
		want string
	}{
		"a call that is held":                   {host.Invocation{Status: host.Running, Faults: []string{held}}, "fault of the host: " + held},
		"one that went on":                      {host.Invocation{Status: host.Succeeded, HTTP: 200, Faults: []string{held, slow}}, ""},
		"an answer that the caller did not get": {host.Invocation{Status: host.Succeeded, HTTP: 200, Faults: []string{slow, lost}}, "fault of the host: " + lost},
		"one that failed of it":                 {host.Invocation{Status: host.Failed, HTTP: 500, Error: "A task was canceled.", Faults: []string{gaveUp}}, "fault of the host: " + gaveUp},
		"one that failed of something else":     {host.Invocation{Status: host.Failed, HTTP: 500, Error: "else", Faults: []string{slow}}, "else"},
	} {
		s := &Board{}
		c := NewCollector(s, nil, "sample backend")
		test.seen.ID, test.seen.Started = someID, time.Now()
		c.Watch(func() []host.Invocation { return []host.Invocation{test.seen} })
		c.join()
		if inv, _ := s.Get(someID); inv.Cause != test.want || len(inv.Faults) != len(test.seen.Faults) {
			t.Errorf("%s: cause %q, want %q, faults %v", name, inv.Cause, test.want, inv.Faults)
		}
	}
}

func TestCollectorSaysWhatWasRefusedForGood(t *testing.T) {
	s := &Board{}
	c := NewCollector(s, nil, "sample backend")
	body := []byte(`{"function":"q","status":422,"reason":"no sku","data":"m"}`)
	c.Watch(func() []host.Invocation {
		return []host.Invocation{{ID: someID, Started: time.Now(), Status: host.Succeeded, Outputs: []host.Message{
			{Binding: "answer", Kind: "queue", Target: "answers", Body: []byte("{}")},
			{Binding: "refused", Kind: "queue", Target: "orders-refused", Body: body},
		}}}
	})
	c.join()
	inv, _ := s.Get(someID)
	if want := "refused for good, kept in orders-refused: the backend answered 422: no sku"; inv.Cause != want {
		t.Errorf("want the cause %q, got %q", want, inv.Cause)
	}
	want := Output{Binding: "refused", Kind: "queue", Target: "orders-refused", Text: string(body), Bytes: len(body)}
	if len(inv.Outputs) != 2 || inv.Outputs[1] != want {
		t.Errorf("want %+v among the outputs, got %+v", want, inv.Outputs)
	}
}

func TestCollectorForgets(t *testing.T) {
	s := &Board{}
	c := NewCollector(s, nil, "sample backend")
	c.Watch(func() []host.Invocation {
		return []host.Invocation{{ID: someID, Started: time.Now().Add(-time.Second), Status: host.Succeeded}}
	})
	c.join()
	c.Reset()
	s.reset()
	c.join()
	if len(s.All()) != 0 {
		t.Error("what was forgotten is back")
	}
}

func TestARealGatewayIsSeenThroughTheHandlersLine(t *testing.T) {
	began := time.Now()
	s := &Board{}
	c := NewCollector(s, nil, "")
	c.Watch(func() []host.Invocation {
		return []host.Invocation{{ID: someID, Function: "relay", Trigger: "httpTrigger", Method: "GET", Path: "/api/relay/x", Started: began, Duration: time.Millisecond, Status: host.Succeeded, HTTP: 502}}
	})
	c.OnLog(line(began, `{"invocation_id":"`+someID+`","method":"GET","path":"/api/relay/x","attempts":3,"upstream_ms":2.5,"key":"primary","problem":"gateway-unreachable","error":"dialing: no such host"}`))
	c.join()
	inv := s.All()[0]
	if len(inv.Calls) != 1 || inv.Calls[0].DurationMS != 2.5 || inv.Calls[0].Message != "3 attempts: dialing: no such host" {
		t.Errorf("calls %+v", inv.Calls)
	}
	if inv.Cause != "the handler answered gateway-unreachable: dialing: no such host" {
		t.Errorf("cause %q", inv.Cause)
	}
}

func TestCauseNamesWhoRefused(t *testing.T) {
	refused := policy.Rule{Statement: "validate-jwt", Check: "audience", Result: policy.Refuse, Why: "the token is for another API"}
	tests := []struct {
		name   string
		record gateway.Record
		want   string
	}{
		{"a rule of the policy", gateway.Record{Stage: "policy", Key: "primary", Status: 401, Rules: []policy.Rule{refused}}, "the policy refused at validate-jwt: audience: the token is for another API"},
		{"no key", gateway.Record{Stage: "key", Status: 401}, "the gateway refused the subscription key: missing"},
		{"a wrong key", gateway.Record{Stage: "key", Key: "unknown", Status: 401}, "the gateway refused the subscription key: refused"},
		{"a fault", gateway.Record{Stage: "fault", Fault: "hang"}, "fault of the gateway: hang"},
		{"no such operation", gateway.Record{Stage: "route", Status: 404, Error: &policy.LastError{Message: "Unable to match"}}, "the gateway answered 404 Not Found: Unable to match"},
		{"the backend's own answer", gateway.Record{Stage: "backend", Key: "primary", Status: 409, BackendStatus: 409}, "the backend answered 409"},
		{"a backend that is not there", gateway.Record{Stage: "gateway", Key: "primary", Status: 500, BackendStatus: 0, Error: &policy.LastError{Message: "refused"}}, "the gateway answered 500 Internal Server Error: refused"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inv := Invocation{Outcome: "succeeded", Status: test.record.Status, Calls: []Call{callOf(test.record, "sample backend")}}
			if inv.Status == 0 {
				inv.Outcome = "failed"
			}
			if got := causeOf(&inv, host.Invocation{}, nil); !strings.HasPrefix(got, test.want) {
				t.Errorf("cause %q, want %q", got, test.want)
			}
		})
	}
}

func TestLinesThatAreNoneOfTheHandlersAreLeftAlone(t *testing.T) {
	for _, text := range []string{"", "plain", "{", `{"a":1}`, `{"invocation_id":1}`, `["invocation_id"]`} {
		if _, _, ok := readWideLine(line(time.Now(), text)); ok {
			t.Errorf("%q is read as a line about an invocation", text)
		}
	}
	for _, text := range []string{"", "00-x-y-01", "00-4bf92f3577b34da6a3ce929d0e0e4736"} {
		if got := traceOf(text); got != "" {
			t.Errorf("traceOf(%q) = %q", text, got)
		}
	}
}
