package app

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

var timeSpanForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(-?)(?:(\d+)|(?:(\d+)\.)?(\d+(?::\d+){1,3})(?:\.(\d{1,7}))?)$`)
})

// ParseTimeSpan reads a .NET TimeSpan, the form of times in host.json and function.json: "d", "hh:mm", "hh:mm:ss", "d.hh:mm:ss" or
// "d:hh:mm:ss", the seconds with a fraction if need be, and a minus sign in front where it makes sense. A whole number counts days, and so does
// the first field of "24:00:00", which is out of range as hours: TimeSpan.Parse then takes the three for days, hours and minutes.
func ParseTimeSpan(text string) (time.Duration, error) {
	malformed := fmt.Errorf("want a time span such as 00:05:00 or 1.00:00:00, got %q", text)
	m := timeSpanForm().FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, malformed
	}
	sign, whole, dotted, clock, fraction := m[1], m[2], m[3], m[4], m[5]
	var fields []int64 // of the clock
	if clock != "" {
		for f := range strings.SplitSeq(clock, ":") {
			fields = append(fields, number(f))
		}
	}
	var days, hours, minutes, seconds int64
	switch n := len(fields); {
	case n == 0:
		days = number(whole)
	case n == 4 && dotted == "":
		days, hours, minutes, seconds = fields[0], fields[1], fields[2], fields[3]
	case n == 3 && dotted == "" && fraction == "" && fields[0] > 23:
		days, hours, minutes = fields[0], fields[1], fields[2]
	case n == 3:
		days, hours, minutes, seconds = number(dotted), fields[0], fields[1], fields[2]
	case n == 2 && fraction == "":
		days, hours, minutes = number(dotted), fields[0], fields[1]
	default:
		return 0, malformed
	}
	const longest = 106_750 // days that a time.Duration holds
	if days > longest || hours > 23 || minutes > 59 || seconds > 59 {
		return 0, malformed
	}
	ticks := number((fraction + "0000000")[:7]) // of 100 ns
	d := time.Duration(days*24+hours)*time.Hour + time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second + time.Duration(ticks)*100
	if sign == "-" {
		d = -d
	}
	return d, nil
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
