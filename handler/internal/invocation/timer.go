package invocation

import (
	"hash"
	"time"
)

// timerTrigger: an object with Schedule, ScheduleStatus and IsPastDue; Metadata holds sys, and the input of a run by hand under the
// binding's name (recordings C-timer-normal-and-runOnStartup, C-admin-text-input). ScheduleStatus is null where no status is kept: with
// useMonitor off and for schedules of less than a minute.
var timer = shape{key: timerKey}

func timerKey(h hash.Hash, c *Call, trigger Binding, now time.Time, invocationID string) {
	if tick, ok := c.tick(trigger); ok && !tick.After(now) {
		field(h, "tick")
		field(h, tick.UTC().Format(time.RFC3339Nano))
		return
	}
	field(h, "invocation")
	field(h, invocationID)
}

// tick returns ScheduleStatus.Next: the occurrence being run, or the coming one in a run by hand or at start.
func (c *Call) tick(trigger Binding) (time.Time, bool) {
	event, err := c.Event(trigger)
	if err != nil || !startsWith(event.Body, "{") {
		return time.Time{}, false
	}
	text, ok := dig(event.Body, "ScheduleStatus.Next")
	if !ok {
		return time.Time{}, false
	}
	return parseTime(text)
}

// parseTime reads a time as .NET writes it. Some hosts leave the zone out (Azure/azure-functions-host#7391); their clock runs in UTC. The
// first year stands for "never".
func parseTime(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, t.Year() > 1
		}
	}
	return time.Time{}, false
}
