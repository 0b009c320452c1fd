package hostfile

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseTimeSpan reads a .NET TimeSpan, the form of times in host.json and function.json: "d",
// "hh:mm", "hh:mm:ss", "d.hh:mm:ss" or "d:hh:mm:ss", the seconds with a fraction if need be, and a
// minus sign in front where it makes sense. A whole number counts days, and so does the first field
// of "24:00:00", which is out of range as hours: TimeSpan.Parse then takes the three for days,
// hours and minutes.
func ParseTimeSpan(text string) (time.Duration, error) {
	malformed := fmt.Errorf("want a time span such as 00:05:00 or 1.00:00:00, got %q", text)
	// Read without a regular expression: to compile one takes longer than to read an app, and this
	// is done at each start.
	span, negative := strings.CutPrefix(strings.TrimSpace(text), "-")
	fields := strings.Split(span, ":")
	last := len(fields) - 1
	var dayField, fraction string
	var dotted, fractional bool
	if last > 0 {
		if before, after, found := strings.Cut(fields[0], "."); found {
			dayField, fields[0], dotted = before, after, true
		}
		fields[last], fraction, fractional = strings.Cut(fields[last], ".")
	}
	if slices.ContainsFunc(fields, notDigits) || dotted && notDigits(dayField) ||
		fractional && (notDigits(fraction) || len(fraction) > 7) {
		return 0, malformed
	}
	n := func(i int) int64 { return number(fields[i]) }
	var days, hours, minutes, seconds int64
	switch {
	case len(fields) == 1:
		days = n(0)
	case len(fields) == 4 && !dotted:
		days, hours, minutes, seconds = n(0), n(1), n(2), n(3)
	case len(fields) == 3 && !dotted && !fractional && n(0) > 23:
		days, hours, minutes = n(0), n(1), n(2)
	case len(fields) == 3:
		days, hours, minutes, seconds = number(dayField), n(0), n(1), n(2)
	case len(fields) == 2 && !fractional:
		days, hours, minutes = number(dayField), n(0), n(1)
	default:
		return 0, malformed
	}
	const longest = 106_750 // days that a time.Duration holds
	if days > longest || hours > 23 || minutes > 59 || seconds > 59 {
		return 0, malformed
	}
	ticks := number((fraction + "0000000")[:7]) // of 100 ns
	d := time.Duration(days*24+hours)*time.Hour + time.Duration(minutes)*time.Minute +
		time.Duration(seconds)*time.Second + time.Duration(ticks)*100
	if negative {
		d = -d
	}
	return d, nil
}

func notDigits(text string) bool {
	return text == "" || strings.ContainsFunc(text, func(c rune) bool { return c < '0' || '9' < c })
}

// number reads digits; none are zero, and too many a number that is out of every range.
func number(digits string) int64 {
	if digits == "" {
		return 0
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return math.MaxInt32
	}
	return n
}

// FormatTimeSpan writes d as TimeSpan.ToString() does: 00:00:05, 1.00:00:00, 00:00:01.9971330.
func FormatTimeSpan(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	out := sign
	if days := d / (24 * time.Hour); days > 0 {
		out += fmt.Sprintf("%d.", days)
	}
	out += fmt.Sprintf("%02d:%02d:%02d", int(d.Hours())%24, int(d.Minutes())%60,
		int(d.Seconds())%60)
	if ticks := (d % time.Second) / 100; ticks > 0 {
		out += fmt.Sprintf(".%07d", ticks)
	}
	return out
}
