package app

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What the host's TimerSchedule takes, and what it does not
// (Azure/azure-webjobs-sdk-extensions src/WebJobs.Extensions/Extensions/Timers/Scheduling/TimerSchedule.cs).
func TestSchedulesAreReadAsTheHostReadsThem(t *testing.T) {
	for schedule, want := range map[string]string{
		"0 */5 * * * *": "", "*/5 * * * *": "", "0 0 9 * * Mon-Fri": "", "00:05:00": "", "1.00:00:00": "",
		"every 5 minutes": "fault", "@daily": "fault", "@every 5m": "fault", "0 0 9 * * 7": "fault", "0 0 25 * * *": "fault",
		"0 0 0 ? * *": "fault", "0 0 0 L * *": "fault", "0 */5 * * * * ; note": "fault", "": "fault", "  ": "fault", "-00:05:00": "fault",
		"24:00:00": "warning", "5": "warning",
	} {
		for _, byName := range []bool{false, true} {
			text, settings := schedule, map[string]string{}
			if byName {
				text, settings = "%Poll:Schedule%", map[string]string{"Poll__Schedule": schedule}
			}
			function := fmt.Sprintf(`{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "t", "schedule": %q}], `+
				`"retry": {"strategy": "fixedDelay", "maxRetryCount": 1, "delayInterval": "00:00:01"}}`, text)
			a := load(t, files{"host.json": host("", ""), "poll/function.json": function, "other/function.json": httpFunction("")}, settings)
			f := a.Functions[1]
			if len(a.Functions[0].Faults) > 0 || len(a.Faults) > 0 {
				t.Errorf("%q fails others: %v", schedule, a.Faults)
			}
			got := ""
			switch {
			case len(f.Faults) == 1 && f.Schedule == nil:
				got = "fault"
				if byName && f.Faults[0].Setting != "Poll:Schedule" {
					t.Errorf("%q: the fault names %q, want the setting", schedule, f.Faults[0].Setting)
				}
			case len(f.Warnings) == 1:
				got = "warning"
			}
			if got != want {
				t.Errorf("%q: want %q, got %v %v", schedule, want, f.Faults, f.Warnings)
			}
			if len(f.Faults)+len(f.Warnings) == 0 && len(f.NextRuns(time.Now())) != 3 {
				t.Errorf("%q: next at %v", schedule, f.NextRuns(time.Now()))
			}
		}
	}
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	a := load(t, files{"host.json": host("", ""), "poll/function.json": `{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "t", "schedule": "0 0 9 * * *"}]}`},
		map[string]string{"TZ": "Europe/Berlin"})
	if next := a.Functions[0].NextRuns(now); len(next) != 3 || !strings.HasPrefix(next[0], "2026-12-01 09:00:00 CET") {
		t.Errorf("in Berlin: next at %v", next)
	}
}
