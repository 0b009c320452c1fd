package host

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// schedule tells when a timer fires next.
type schedule interface {
	next(after time.Time) time.Time
	// adjustsForDST is what a request calls Schedule.AdjustForDST: true for cron, false for a constant interval.
	adjustsForDST() bool
}

type interval time.Duration

func (i interval) next(after time.Time) time.Time { return after.Add(time.Duration(i)) }
func (interval) adjustsForDST() bool              { return false }

// cron is NCrontab's expression: six fields, five mean that the seconds are 0. Day of month and day of week must both fit (atifaziz/NCrontab,
// CrontabSchedule.cs), unlike crontab(5), where one of them is enough.
type cron struct {
	text   string
	fields [6]uint64 // sec min hour day month dow, a bit for each value
	zone   *time.Location
}

var cronFields = [6]struct {
	name   string
	lo, hi int
	words  []string
}{
	{name: "second", hi: 59}, {name: "minute", hi: 59}, {name: "hour", hi: 23}, {name: "day", lo: 1, hi: 31},
	{name: "month", lo: 1, hi: 12, words: []string{"january", "february", "march", "april", "may", "june", "july", "august", "september",
		"october", "november", "december"}},
	{name: "day of week", hi: 6, words: []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}},
}

// parseSchedule reads a timer's schedule: cron first, then a time span (Azure/azure-webjobs-sdk-extensions
// Extensions/Timers/Scheduling/TimerSchedule.cs).
func parseSchedule(s string, zone *time.Location) (schedule, error) {
	fields := strings.Fields(s)
	if len(fields) == 5 || len(fields) == 6 {
		c := &cron{text: s, zone: zone}
		if len(fields) == 5 {
			fields = append([]string{"0"}, fields...)
		}
		for i, f := range fields {
			bits, err := parseCronField(i, f)
			if err != nil {
				return nil, notASchedule(s)
			}
			c.fields[i] = bits
		}
		return c, nil
	}
	d, err := parseTimeSpan(s)
	if err != nil || d <= 0 {
		return nil, notASchedule(s)
	}
	return interval(d), nil
}

func notASchedule(s string) error {
	return hostErrorf("The schedule expression '%s' was not recognized as a valid cron expression or timespan string.", s)
}

func parseCronField(i int, s string) (uint64, error) {
	f := cronFields[i]
	value := func(s string) (int, error) {
		for n, w := range f.words {
			// NCrontab takes the first name that begins with the text: mon, Monday and even m (CrontabFieldImpl.cs, ParseValue).
			if s != "" && strings.HasPrefix(w, strings.ToLower(s)) {
				return n + f.lo, nil
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < f.lo || n > f.hi {
			return 0, fmt.Errorf("reading the field for %s: %q: want %d to %d", f.name, s, f.lo, f.hi)
		}
		return n, nil
	}
	var bits uint64
	for item := range strings.SplitSeq(s, ",") {
		span, stepText, hasStep := strings.Cut(item, "/")
		step := 1
		if hasStep {
			n, err := strconv.Atoi(stepText)
			if err != nil {
				return 0, fmt.Errorf("reading the field for %s: bad step: %q", f.name, stepText)
			}
			step = max(n, 1) // a step below one is one (CrontabField.cs, Accumulate)
		}
		lo, hi := f.lo, f.hi
		if span != "*" {
			from, to, isRange := strings.Cut(span, "-")
			var err error
			if lo, err = value(from); err != nil {
				return 0, err
			}
			switch {
			case isRange:
				if hi, err = value(to); err != nil {
					return 0, err
				}
			case !hasStep:
				hi = lo
			}
			if hi < lo {
				lo, hi = hi, lo
			}
		}
		for n := lo; n <= hi; n += step {
			bits |= 1 << n
		}
	}
	return bits, nil
}

func (c *cron) adjustsForDST() bool { return true }

func (c *cron) has(field, n int) bool { return c.fields[field]&(1<<n) != 0 }

// next is the first moment after the given one that fits; the zero time if there is none within about eight years (30 February).
//
// It is sought on the wall clock of the zone. A time that the clock does not show in spring, or shows twice in autumn, counts as standard time
// (Azure/azure-webjobs-sdk-extensions Extensions/Timers/Listener/TimerListener.cs, GetNextTimerInterval; learn.microsoft.com,
// TimeZoneInfo.GetUtcOffset): on either day 02:30 is once, at 01:30 UTC in Zurich.
func (c *cron) next(after time.Time) time.Time {
	zone := c.zone
	if zone == nil {
		zone = time.UTC
	}
	local := after.In(zone)
	wall := c.nextWall(time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), 0, time.UTC))
	if wall.IsZero() {
		return wall
	}
	var standard time.Duration
	var shown []time.Time
	for i, near := range []time.Time{wall.Add(-24 * time.Hour), wall.Add(24 * time.Hour)} {
		_, seconds := near.In(zone).Zone()
		offset := time.Duration(seconds) * time.Second
		if i > 0 && offset == standard {
			break
		}
		t := wall.Add(-offset).In(zone)
		if t.Hour() == wall.Hour() && t.Minute() == wall.Minute() {
			shown = append(shown, t)
		}
		if i == 0 || offset < standard {
			standard = offset
		}
	}
	if len(shown) == 1 {
		return shown[0]
	}
	return wall.Add(-standard).In(zone)
}

// nextWall is next without a zone, all times written as UTC.
func (c *cron) nextWall(after time.Time) time.Time {
	t := after.Add(time.Second)
	limit := t.AddDate(9, 0, 0)
	for t.Before(limit) {
		switch {
		case !c.has(4, int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !c.has(3, t.Day()) || !c.has(5, int(t.Weekday())):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
		case !c.has(2, t.Hour()):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !c.has(1, t.Minute()):
			t = t.Truncate(time.Minute).Add(time.Minute)
		case !c.has(0, t.Second()):
			t = t.Add(time.Second)
		default:
			return t
		}
	}
	return time.Time{}
}
