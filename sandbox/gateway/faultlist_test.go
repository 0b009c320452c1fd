package gateway_test

import (
	"strings"
	"testing"
	"time"

	"apimrelay/sandbox/gateway"
)

func TestEachFaultOfAListCountsOnItsOwn(t *testing.T) {
	g, server := open(t, gateway.Config{})
	for _, f := range []gateway.Fault{
		{Name: gateway.FaultLatency, DelayMS: 1}, {Name: gateway.FaultStatus, Status: 503, RetryAfter: "2", Times: 2}, {Name: gateway.FaultGarbage, Times: 1},
		{Name: gateway.FaultClockSkew, DelayMS: -5000},
	} {
		if err := g.SetFault(f); err != nil {
			t.Fatal(err)
		}
	}
	// Garbage comes before status, which counts all the same; latency and the clock stay.
	for i, want := range []int{0, 503, 200} {
		status, _, err := try(t.Context(), server.URL)
		if status != want || (want == 0) != (err != nil) {
			t.Errorf("call %d: status %d, %v, want %d", i, status, err, want)
		}
	}
	if on := g.Faults(); len(on) != 2 || on[0].Name != gateway.FaultLatency || on[1].Name != gateway.FaultClockSkew {
		t.Errorf("on: %v", on)
	}
	g.ClearFault(gateway.FaultLatency)
	if on := g.Faults(); len(on) != 1 {
		t.Errorf("on: %v", on)
	}
	g.ClearFault("")
	if on := g.Faults(); len(on) != 0 {
		t.Errorf("on: %v", on)
	}
}

func TestAnotherFaultFreesNoRequestThatHangs(t *testing.T) {
	g, server := open(t, gateway.Config{})
	if err := g.SetFault(gateway.Fault{Name: gateway.FaultHang, Times: 1}); err != nil {
		t.Fatal(err)
	}
	done := make(chan int, 1)
	go func() { status, _, _ := try(t.Context(), server.URL); done <- status }()
	for len(g.Faults()) > 0 { // taken
		select {
		case status := <-done:
			t.Fatalf("it did not hang: %d", status)
		default:
		}
	}
	_ = g.SetFault(gateway.Fault{Name: gateway.FaultStaleMetadata})
	g.ClearFault(gateway.FaultStaleMetadata)
	select {
	case status := <-done:
		t.Fatalf("another fault freed it: %d", status)
	case <-time.After(50 * time.Millisecond):
	}
	g.ClearFault(gateway.FaultHang)
	if status := <-done; status != 200 {
		t.Errorf("status %d", status)
	}
}

func TestFaultsThatMakeNoSenseAreRefused(t *testing.T) {
	g, _ := open(t, gateway.Config{})
	for want, f := range map[string]gateway.Fault{
		"want one of latency, hang":       {Name: "latensy"},
		"delay_ms is 0: want more than 0": {Name: gateway.FaultLatency},
		"delay_ms is 0: want how far":     {Name: gateway.FaultClockSkew},
		"status is 0: want 200 to 599":    {Name: gateway.FaultStatus},
		"belong to the fault status":      {Name: gateway.FaultHang, Status: 500},
		"times is -1":                     {Name: gateway.FaultHang, Times: -1},
		"times is 2":                      {Name: gateway.FaultStaleMetadata, Times: 2},
	} {
		if err := g.SetFault(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %s", f, err, want)
		}
	}
	if on := g.Faults(); len(on) > 0 {
		t.Errorf("on: %v", on)
	}
}
