package host

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

var (
	daysOnly  = regexp.MustCompile(`^(-)?(\d{1,8})$`)
	clockForm = regexp.MustCompile(`^(-)?(?:(\d{1,8})[.:])??(\d{1,8}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7}))?)?$`)
)

// parseTimeSpan reads .NET's TimeSpan: d, hh:mm, hh:mm:ss, d.hh:mm:ss, each with a fraction of up to seven digits behind the seconds
// (learn.microsoft.com, TimeSpan.Parse). "24:00:00" is 24 days there, since 24 is no hour and the form d:hh:mm exists.
func parseTimeSpan(s string) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		return 0, fmt.Errorf("reading a time span: %q: want hh:mm:ss or d.hh:mm:ss", s)
	}
	if m := daysOnly.FindStringSubmatch(s); m != nil {
		n, _ := strconv.ParseInt(m[2], 10, 64)
		return signed(m[1], time.Duration(n)*24*time.Hour), nil
	}
	m := clockForm.FindStringSubmatch(s)
	if m == nil {
		return bad()
	}
	num := func(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
	days, hours, minutes, seconds := num(m[2]), num(m[3]), num(m[4]), num(m[5])
	if m[2] == "" && hours > 23 {
		if m[5] == "" {
			return bad()
		}
		days, hours, minutes, seconds = hours, minutes, seconds, 0
	}
	if hours > 23 || minutes > 59 || seconds > 59 {
		return bad()
	}
	frac := m[6]
	for len(frac) < 7 {
		frac += "0"
	}
	d := time.Duration(days)*24*time.Hour + time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute +
		time.Duration(seconds)*time.Second + time.Duration(num(frac))*100
	return signed(m[1], d), nil
}

func signed(sign string, d time.Duration) time.Duration {
	if sign == "-" {
		return -d
	}
	return d
}

// formatTimeSpan writes d as TimeSpan.ToString() does: 00:00:05, 1.00:00:00, 00:00:01.9971330.
func formatTimeSpan(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	out := sign
	if days := d / (24 * time.Hour); days > 0 {
		out += fmt.Sprintf("%d.", days)
	}
	out += fmt.Sprintf("%02d:%02d:%02d", int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60)
	if ticks := (d % time.Second) / 100; ticks > 0 {
		out += fmt.Sprintf(".%07d", ticks)
	}
	return out
}
