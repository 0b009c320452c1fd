package hostfile_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"apimrelay/internal/hostfile"
)

// FuzzSchedule wants the next occurrence to be the first second that fits, by a reader of the
// expression that is slow and looks at one value at a time.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"* * * * * *", "0 */5 * * * *", "*/7 3-50/4 * * *", "0 0 12 * * mon-fri", "0 0 0 29 2 *", "5,10 0 0 1 jan,dec sun", "0 30 9 31 * 1", "59-0 * * * *", "* * * * * 7", "*/0 0 0 * ju m-t", "00:01:00"} {
		f.Add(s, int64(1_795_000_000))
		f.Add(s, int64(1_709_164_799)) // the eve of a 29 February
	}
	f.Fuzz(func(t *testing.T, text string, at int64) {
		if len(text) > 60 || at < 0 || at > 4_000_000_000 {
			return
		}
		s, err := hostfile.ParseSchedule(text, time.UTC)
		if err != nil {
			if strings.Contains(err.Error(), "\n") && !strings.Contains(text, "\n") {
				t.Errorf("an error of several lines: %v", err)
			}
			return
		}
		after := time.Unix(at, 0).UTC()
		next := s.Next(after)
		if !s.Cron() {
			if !next.After(after) {
				t.Fatalf("%q: %s is not after %s", text, next, after)
			}
			return
		}
		fields := strings.FieldsFunc(s.String(), func(c rune) bool { return c == ' ' })
		if len(fields) == 5 {
			fields = append([]string{"0"}, fields...)
		}
		if !next.IsZero() && (!next.After(after) || !slowFits(fields, next)) {
			t.Fatalf("%q after %s: %s does not fit", text, after, next)
		}
		for second := after.Add(time.Second); second.Sub(after) < 3*time.Hour && (next.IsZero() || second.Before(next)); second = second.Add(time.Second) {
			if slowFits(fields, second) {
				t.Fatalf("%q after %s: %s fits, and comes before %s", text, after, second, next)
			}
		}
	})
}

func slowFits(fields []string, t time.Time) bool {
	values := []int{t.Second(), t.Minute(), t.Hour(), t.Day(), int(t.Month()), int(t.Weekday())}
	for i, value := range values {
		fits := false
		for item := range strings.SplitSeq(fields[i], ",") {
			fits = fits || slowItem(i, item, value)
		}
		if !fits {
			return false
		}
	}
	return true
}

func slowItem(field int, item string, value int) bool {
	span, stepText, stepped := strings.Cut(item, "/")
	step := 1
	if stepped {
		step, _ = strconv.Atoi(stepText)
		step = max(step, 1)
	}
	number := func(s string) int {
		for i := 1; field == 4 && i <= 12; i++ {
			if strings.HasPrefix(strings.ToLower(time.Month(i).String()), strings.ToLower(s)) {
				return i
			}
		}
		for i := 0; field == 5 && i <= 6; i++ {
			if strings.HasPrefix(strings.ToLower(time.Weekday(i).String()), strings.ToLower(s)) {
				return i
			}
		}
		n, _ := strconv.Atoi(s)
		return n
	}
	lowest := map[int]int{3: 1, 4: 1}[field]
	highest := []int{59, 59, 23, 31, 12, 6}[field]
	from, to := lowest, highest
	if span != "*" {
		first, last, isRange := strings.Cut(span, "-")
		from = number(first)
		switch {
		case isRange:
			to = number(last)
		case !stepped:
			to = from
		}
		if to < from {
			from, to = to, from
		}
	}
	return value >= from && value <= to && (value-from)%step == 0
}
