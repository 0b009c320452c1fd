package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"apimrelay/deploy/functionjson"
)

// Most of a day passes between two runs of a timer that is watched: an alert rule looks back two
// days at most (modules/alerts.bicep).
const day = 24 * time.Hour

// timerMinutes gives the longest pause of each timer, in minutes, rounded up. A timer is left out
// whose schedule is not known here (a Key Vault reference, a setting that is missing), that is
// switched off, or that runs less than once a day.
func timerMinutes(functions []function, settings map[string]string) map[string]int {
	all := map[string]int{}
	for _, f := range functions {
		off, _ := functionjson.Resolve("%AzureWebJobs."+f.name+".Disabled%", settings)
		if !f.timer || f.disabled || strings.EqualFold(off, "true") || off == "1" {
			continue
		}
		schedule, known := functionjson.Resolve(f.schedule, settings)
		if !known {
			continue
		}
		pause, err := longestPause(schedule)
		if err != nil || pause <= 0 || pause > day {
			continue
		}
		all[f.name] = int((pause + time.Minute - 1) / time.Minute)
	}
	return all
}

// timeSpan is .NET's TimeSpan, as far as a schedule has it: hh:mm:ss or d.hh:mm:ss.
var timeSpan = regexp.MustCompile(`^(?:(\d{1,3})\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?$`)

// longestPause is the longest time between two runs of a schedule as function.json has it: an
// NCRONTAB expression of five or six fields in UTC, or a time span.
func longestPause(schedule string) (time.Duration, error) {
	if m := timeSpan.FindStringSubmatch(strings.TrimSpace(schedule)); m != nil {
		var n [4]time.Duration
		for i, digits := range m[1:] {
			value, _ := strconv.Atoi(digits)
			n[i] = time.Duration(value)
		}
		if n[1] > 23 || n[2] > 59 || n[3] > 59 {
			return 0, fmt.Errorf("reading the schedule %q: no such time of day", schedule)
		}
		return n[0]*day + n[1]*time.Hour + n[2]*time.Minute + n[3]*time.Second, nil
	}
	fields := strings.Fields(schedule)
	if len(fields) == 5 {
		fields = append([]string{"0"}, fields...)
	}
	if len(fields) != len(cronFields) {
		return 0, fmt.Errorf("reading the schedule %q: want six fields or hh:mm:ss", schedule)
	}
	var sets [6]uint64
	for i, field := range fields {
		set, err := readField(i, field)
		if err != nil {
			return 0, fmt.Errorf("reading the schedule %q: %w", schedule, err)
		}
		sets[i] = set
	}
	has := func(field, n int) bool { return sets[field]&(1<<n) != 0 }
	for n := range 31 {
		if !has(3, n+1) || n < 12 && !has(4, n+1) {
			return 2 * day, nil // not on every day, and how rarely is no matter
		}
	}
	// Two weeks, so that the pause over a week's end is among them.
	var first, last, longest time.Duration
	seen := false
	for at := time.Duration(0); at < 14*day; at += time.Minute {
		if !has(5, int(at/day)%7) || !has(2, int(at%day/time.Hour)) || !has(1, int(at%time.Hour/time.Minute)) {
			continue
		}
		for second := range 60 {
			if !has(0, second) {
				continue
			}
			run := at + time.Duration(second)*time.Second
			if seen {
				longest = max(longest, run-last)
			} else {
				first, seen = run, true
			}
			last = run
		}
	}
	return max(longest, first+14*day-last), nil
}

var cronFields = [6]struct {
	lo, hi int
	words  []string
}{
	{hi: 59}, {hi: 59}, {hi: 23}, {lo: 1, hi: 31},
	{lo: 1, hi: 12, words: []string{"january", "february", "march", "april", "may", "june", "july",
		"august", "september", "october", "november", "december"}},
	{hi: 6, words: []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday",
		"saturday"}},
}

// readField gives the values of one field as bits (atifaziz/NCrontab, CrontabField.cs).
func readField(i int, text string) (uint64, error) {
	f := cronFields[i]
	value := func(s string) (int, error) {
		for n, word := range f.words {
			if s != "" && strings.HasPrefix(word, strings.ToLower(s)) {
				return n + f.lo, nil
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < f.lo || n > f.hi {
			return 0, fmt.Errorf("want %d to %d, got %q", f.lo, f.hi, s)
		}
		return n, nil
	}
	var set uint64
	for item := range strings.SplitSeq(text, ",") {
		span, stepText, hasStep := strings.Cut(item, "/")
		step := 1
		if hasStep {
			n, err := strconv.Atoi(stepText)
			if err != nil {
				return 0, fmt.Errorf("want a number behind /, got %q", stepText)
			}
			step = max(n, 1)
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
			lo, hi = min(lo, hi), max(lo, hi)
		}
		for n := lo; n <= hi; n += step {
			set |= 1 << n
		}
	}
	return set, nil
}
