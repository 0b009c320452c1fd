package host

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestASkewedClockShowsInDateAndTimers(t *testing.T) {
	const app = `{"tick":{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 0 0 1 1 *"}]},` +
		`"hello":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]}}`
	h := inProcess(t, "", app, nil, &answering{}).host
	ahead := func() time.Duration {
		_, header, _, err := call(t.Context(), h, "/api/hello")
		at, perr := http.ParseTime(header.Get("Date"))
		if err != nil || perr != nil {
			t.Fatal(err, perr)
		}
		return time.Until(at).Round(time.Hour)
	}
	mustSet(t, h, Fault{Name: FaultClockSkew, DelayMS: int(2 * time.Hour / time.Millisecond)})
	if got := ahead(); got != 2*time.Hour {
		t.Errorf("Date is %s ahead, want 2h", got)
	}
	mustSet(t, h, Fault{Name: FaultClockSkew, DelayMS: -int(3 * time.Hour / time.Millisecond)})
	if got := ahead(); got != -3*time.Hour {
		t.Errorf("Date is %s ahead, want -3h", got)
	}
	if last := h.History()[1]; time.Since(last.Started) > time.Minute {
		t.Errorf("the history follows the skewed clock: %s", last.Started)
	}
	h.ClearFault(FaultClockSkew)
	if got := ahead(); got != 0 {
		t.Errorf("Date is %s ahead, want none", got)
	}
}

func TestAMissedTickComesPastDue(t *testing.T) {
	const app = `{"tick":{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 * * * * *"}]}}`
	ticks := make(chan string, 10)
	h := inProcess(t, "", app, func(c *Config) {
		c.Start, c.Speed = time.Date(2026, 11, 23, 16, 10, 20, 0, time.UTC), 20
	}, &answering{hold: func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ticks <- string(body)
	}}).host
	mustSet(t, h, Fault{Name: FaultMissedTick, Function: "tick", DelayMS: 50, Times: 1})
	for i, due := range []string{"true", "false"} {
		select {
		case body := <-ticks:
			if !strings.Contains(body, `IsPastDue\":`+due) &&
				!strings.Contains(body, `"IsPastDue":`+due) {
				t.Errorf("tick %d: want IsPastDue %s in %s", i, due, body)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("tick %d did not come", i)
		}
	}
	first := h.History()[0]
	if !strings.Contains(first.Details, "IsPastDue, OriginalSchedule: 2026-11-23T16:11:00") ||
		first.Started.Before(time.Date(2026, 11, 23, 16, 11, 0, 0, time.UTC)) {
		t.Errorf("history: %+v", first)
	}
}
