package hostfile_test

import (
	"strings"
	"testing"
	"time"

	"apimrelay/internal/hostfile"
)

func TestSchedulesFireWhereNCrontabSaysSo(t *testing.T) {
	const layout = "2006-01-02 15:04:05"
	for _, tc := range []struct{ name, expression, after, want string }{
		{"every two seconds", "*/2 * * * * *", "2026-11-23 16:10:41", "2026-11-23 16:10:42"},
		{"five fields have no seconds", "* * * * *", "2026-11-23 16:10:41", "2026-11-23 16:11:00"},
		{"the moment itself is not the next", "0 * * * * *", "2026-11-23 16:10:00", "2026-11-23 16:11:00"},
		{"names, lists and ranges", "0 30 9-17 * jan,Mar mon-fri", "2026-11-23 16:10:00", "2027-01-01 09:30:00"},
		{"day and weekday both must fit", "0 0 0 13 * fri", "2026-11-23 00:00:00", "2027-08-13 00:00:00"},
		{"a step from a start", "0 5/20 * * * *", "2026-11-23 16:06:00", "2026-11-23 16:25:00"},
		{"the 29th of February", "0 0 0 29 2 *", "2026-11-23 00:00:00", "2028-02-29 00:00:00"},
		{"once a year", "0 0 0 1 1 *", "2026-11-23 16:10:41", "2027-01-01 00:00:00"},
		{"names in full and in part", "0 0 0 * FEBRUARY mond", "2026-11-23 00:00:00", "2027-02-01 00:00:00"},
		{"a range backwards is the same range", "0 0 0 * * fri-mon", "2026-11-23 00:00:00", "2026-11-24 00:00:00"},
		{"a step of zero is one", "*/0 * * * * *", "2026-11-23 16:10:41", "2026-11-23 16:10:42"},
		{"a time span", "01:00:00", "2026-11-23 16:10:41", "2026-11-23 17:10:41"},
		{"24:00:00 is 24 days", "24:00:00", "2026-11-01 00:00:00", "2026-11-25 00:00:00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := hostfile.ParseSchedule(tc.expression, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			after, _ := time.Parse(layout, tc.after)
			if got := s.Next(after).Format(layout); got != tc.want {
				t.Errorf("want %s, got %s", tc.want, got)
			}
		})
	}
	const form, days, weekdays = "want six fields", "day: want a number from 1 to 31", "day of week: want a number from 0 to 6, or a name"
	for bad, want := range map[string]string{
		"": form, "  ": form, "@hourly": form, "@every 5m": form, "every 5 minutes": form, "* * *": form, "00:00:00": form, "-00:05:00": form,
		"0 */5 * * * * ; note": form, "0 */5 * * *\t*\t*": weekdays, "@Microsoft.KeyVault(SecretUri=https://v/s/x)": form,
		"0 0 0 1 1 7": weekdays, "0 0 9 * * 7": weekdays, "0 0 0 * * mon#1": weekdays, "0 0 0 L * *": days, "0 0 0 ? * *": days, "0 0 0 15W * *": days,
		"0 0 25 * * *": "hour: want a number from 0 to 23", "61 * * * * *": "second: want a number from 0 to 59", "+5 * * * * *": "second: want a number",
		"0 0 0 * janx *": "month: want a number from 1 to 12, or a name", "*/x * * * * *": "second: want a number behind the /",
		"1,,2 * * * * *": "second: want a number", "5- * * * * *": "second: want a number", "/5 * * * * *": "second: want a number",
	} {
		if _, err := hostfile.ParseSchedule(bad, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: want %q, got %v", bad, want, err)
		}
	}
}

// .NET takes a first field that is no hour for days (learn.microsoft.com, TimeSpan.Parse).
func TestTimeSpansThatReadAsDays(t *testing.T) {
	for text, want := range map[string]bool{"24:00:00": true, "5": true, "90:00:00": true, "00:05:00": false, "23:59:59": false, "1.00:00:00": false,
		"1:00:00:00": false, "0 */5 * * * *": false, "*/5 * * * *": false} {
		s, err := hostfile.ParseSchedule(text, nil)
		if err != nil || s.InDays() != want {
			t.Errorf("%s: want %t, got %v, %v", text, want, s, err)
		}
	}
}

func TestACronScheduleCrossesTheClockChange(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Skip(err)
	}
	const layout = "2006-01-02 15:04:05"
	for _, tc := range []struct{ name, expression, after, want string }{
		{"an hour that is not shown is standard time", "0 30 2 * * *", "2026-03-28 12:00:00", "2026-03-29 01:30:00"},
		{"and is over then", "0 30 2 * * *", "2026-03-29 01:30:00", "2026-03-30 00:30:00"},
		{"each hour in spring", "0 30 * * * *", "2026-03-29 00:30:00", "2026-03-29 01:30:00"},
		{"and after it", "0 30 * * * *", "2026-03-29 01:30:00", "2026-03-29 02:30:00"},
		{"an hour that is shown twice is standard time", "0 30 2 * * *", "2026-10-24 12:00:00", "2026-10-25 01:30:00"},
		{"and comes once", "0 30 2 * * *", "2026-10-25 01:30:00", "2026-10-26 01:30:00"},
		{"each hour in autumn", "0 30 * * * *", "2026-10-24 23:30:00", "2026-10-25 01:30:00"},
		{"a day in summer", "0 0 12 * * *", "2026-07-01 00:00:00", "2026-07-01 10:00:00"},
		{"a day in winter", "0 0 12 * * *", "2026-12-01 00:00:00", "2026-12-01 11:00:00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := hostfile.ParseSchedule(tc.expression, zone)
			if err != nil {
				t.Fatal(err)
			}
			after, _ := time.Parse(layout, tc.after)
			if got := s.Next(after).UTC().Format(layout); got != tc.want {
				t.Errorf("want %s UTC, got %s", tc.want, got)
			}
		})
	}
}
