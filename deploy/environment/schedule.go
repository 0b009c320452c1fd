package main

import (
	"fmt"
	"strings"
	"time"

	"apimrelay/deploy/functionjson"
	"apimrelay/internal/hostfile"
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

// longestPause is the longest time between two runs of a schedule as function.json has it, in UTC.
func longestPause(text string) (time.Duration, error) {
	schedule, err := hostfile.ParseSchedule(text, time.UTC)
	if err != nil {
		return 0, fmt.Errorf("reading the schedule %q: %w", text, err)
	}
	start := time.Date(2028, time.January, 1, 0, 0, 0, 0, time.UTC) // a leap year
	before := start.Add(-time.Nanosecond)
	if !schedule.Cron() {
		return schedule.Next(start).Sub(start), nil
	}
	for d := range 366 {
		if first := schedule.Next(before.AddDate(0, 0, d)); first.YearDay() != d+1 || first.Year() != start.Year() {
			return 2 * day, nil // not on every day, and how rarely is no matter
		}
	}
	// Every day has the same runs: the first of the next day closes the last pause.
	longest := time.Duration(0)
	for at := schedule.Next(before); at.Before(start.Add(day)); {
		next := schedule.Next(at)
		longest = max(longest, next.Sub(at))
		at = next
	}
	return longest, nil
}
