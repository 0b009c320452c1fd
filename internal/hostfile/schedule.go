package hostfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Schedule is when a timer fires: an NCRONTAB expression or a constant interval. Make it with
// ParseSchedule.
type Schedule struct {
	text   string
	fields [6]uint64      // second, minute, hour, day, month, day of week: a bit for each value
	zone   *time.Location // of the fields
	every  time.Duration  // the interval; 0 where the fields count
}

var cronFields = [6]struct {
	name   string
	lo, hi int
	words  []string
}{
	{name: "second", hi: 59}, {name: "minute", hi: 59}, {name: "hour", hi: 23},
	{name: "day", lo: 1, hi: 31},
	{name: "month", lo: 1, hi: 12, words: []string{"january", "february", "march", "april", "may",
		"june", "july", "august", "september",
		"october", "november", "december"}},
	{name: "day of week", hi: 6, words: []string{"sunday", "monday", "tuesday", "wednesday",
		"thursday", "friday", "saturday"}},
}

// ParseSchedule reads a timer's schedule as the host does: NCRONTAB first, then a time span. An
// expression has six fields, or five where the seconds are 0, by the clock of zone; nil is UTC.
// Unlike crontab(5), day of month and day of week must both fit, and there is no 7, ?, L, W or #.
// The error says what was wanted and does not hold the text. Sources:
// Azure/azure-webjobs-sdk-extensions, Extensions/Timers/Scheduling/TimerSchedule.cs and
// CronSchedule.cs; atifaziz/NCrontab, CrontabSchedule.cs, CrontabField.cs and CrontabFieldImpl.cs.
func ParseSchedule(text string, zone *time.Location) (*Schedule, error) {
	if zone == nil {
		zone = time.UTC
	}
	s := &Schedule{text: text, zone: zone}
	fields := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' })
	if len(fields) == 5 || len(fields) == 6 {
		if len(fields) == 5 {
			fields = append([]string{"0"}, fields...)
		}
		for i, f := range fields {
			bits, err := parseCronField(i, f)
			if err != nil {
				return nil, err
			}
			s.fields[i] = bits
		}
		return s, nil
	}
	every, err := ParseTimeSpan(text)
	if err != nil || every <= 0 {
		return nil, errors.New("want six fields, second, minute, hour, day, month and day of week, " +
			"such as 0 */5 * * * *, or a time span above zero such as 00:05:00")
	}
	s.every = every
	return s, nil
}

// String is the schedule as it was written.
func (s *Schedule) String() string { return s.text }

// Cron reports whether the schedule is an expression. Then it follows the clock of its zone.
func (s *Schedule) Cron() bool { return s.every == 0 }

// InDays reports whether the schedule is a time span that a reader may take for a shorter one: its
// first field is no hour, and so .NET reads days: 24:00:00 is 24 days, 5 is five.
func (s *Schedule) InDays() bool {
	colons := strings.Count(s.text, ":")
	return s.every >= 24*time.Hour && !strings.Contains(s.text, ".") && (colons == 0 || colons == 2)
}

func parseCronField(i int, s string) (uint64, error) {
	f := cronFields[i]
	value := func(s string) (int, error) {
		if s != "" && (s[0] < '0' || '9' < s[0]) {
			for n, w := range f.words {
				// The first name that begins with the text counts: mon, Monday and even m.
				if strings.HasPrefix(w, strings.ToLower(s)) {
					return n + f.lo, nil
				}
			}
		} else if n, err := strconv.Atoi(s); err == nil && n >= f.lo && n <= f.hi {
			return n, nil
		}
		names := ""
		if f.words != nil {
			names = ", or a name"
		}
		return 0, fmt.Errorf("%s: want a number from %d to %d%s", f.name, f.lo, f.hi, names)
	}
	var bits uint64
	for item := range strings.SplitSeq(s, ",") {
		span, stepText, hasStep := strings.Cut(item, "/")
		step := 1
		if hasStep {
			n, err := strconv.Atoi(stepText)
			if err != nil {
				return 0, fmt.Errorf("%s: want a number behind the /", f.name)
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

func (s *Schedule) has(field, n int) bool { return s.fields[field]&(1<<n) != 0 }

// Next is the first moment after the given one that fits; the zero time if there is none within
// about eight years (30 February).
//
// It is sought on the wall clock of the zone. A time that the clock does not show in spring, or
// shows twice in autumn, counts as standard time (Azure/azure-webjobs-sdk-extensions
// Extensions/Timers/Listener/TimerListener.cs, GetNextTimerInterval; learn.microsoft.com,
// TimeZoneInfo.GetUtcOffset): on either day 02:30 is once, at 01:30 UTC in Zurich.
func (s *Schedule) Next(after time.Time) time.Time {
	if s.every > 0 {
		return after.Add(s.every)
	}
	zone := s.zone
	local := after.In(zone)
	wall := s.nextWall(time.Date(local.Year(), local.Month(), local.Day(),
		local.Hour(), local.Minute(), local.Second(), 0, time.UTC))
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

// nextWall is Next without a zone, all times written as UTC.
func (s *Schedule) nextWall(after time.Time) time.Time {
	t := after.Add(time.Second)
	limit := t.AddDate(9, 0, 0)
	for t.Before(limit) {
		switch {
		case !s.has(4, int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !s.has(3, t.Day()) || !s.has(5, int(t.Weekday())):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
		case !s.has(2, t.Hour()):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !s.has(1, t.Minute()):
			t = t.Truncate(time.Minute).Add(time.Minute)
		case !s.has(0, t.Second()):
			t = t.Add(time.Second)
		default:
			return t
		}
	}
	return time.Time{}
}
