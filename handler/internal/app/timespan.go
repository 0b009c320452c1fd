package app

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var timeSpanForm = regexp.MustCompile(`^(-?)(?:(\d+)|(?:(\d+)[.:])?(\d+):(\d+)(?::(\d+)(?:\.(\d{1,7}))?)?)$`)

// ParseTimeSpan reads a .NET TimeSpan, the form of times in host.json and function.json: "d", "hh:mm", "hh:mm:ss", "d.hh:mm:ss", each with
// fractions of a second and a minus sign where it makes sense. A whole number counts days, and so does the first field of "24:00:00", which
// is out of range as hours: TimeSpan.Parse then takes it for days, hours and minutes.
func ParseTimeSpan(text string) (time.Duration, error) {
	malformed := fmt.Errorf("want a time span such as 00:05:00 or 1.00:00:00, got %q", text)
	m := timeSpanForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, malformed
	}
	number := func(s string) (int64, bool) {
		if s == "" {
			return 0, true
		}
		n, err := strconv.ParseInt(s, 10, 32)
		return n, err == nil
	}
	fields := make([]int64, 0, 4) // days, hours, minutes, seconds
	for _, s := range []string{m[3], m[4], m[5], m[6]} {
		n, ok := number(s)
		if !ok {
			return 0, malformed
		}
		fields = append(fields, n)
	}
	if m[2] != "" {
		days, ok := number(m[2])
		if !ok {
			return 0, malformed
		}
		fields = []int64{days, 0, 0, 0}
	}
	if fields[1] > 23 && m[3] == "" && m[6] != "" && m[7] == "" {
		fields = []int64{fields[1], fields[2], fields[3], 0}
	}
	const longest = 106_751 // days that a time.Duration holds
	if fields[0] > longest || fields[1] > 23 || fields[2] > 59 || fields[3] > 59 {
		return 0, malformed
	}
	d := time.Duration(fields[0])*24*time.Hour + time.Duration(fields[1])*time.Hour + time.Duration(fields[2])*time.Minute +
		time.Duration(fields[3])*time.Second
	if m[7] != "" {
		ticks, _ := strconv.ParseInt((m[7] + "0000000")[:7], 10, 64)
		d += time.Duration(ticks) * 100
	}
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}
