package app

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
)

// parseRetry reads a retry policy; get returns its values as text. The rules are the host's:
// Azure/azure-functions-host src/WebJobs.Script/Utility.cs, ValidateRetryOptions.
func parseRetry(get func(name string) (string, bool)) (*Retry, error) {
	strategy, _ := get("strategy")
	r := &Retry{}
	switch strings.ToLower(strategy) {
	case "fixeddelay":
		r.Strategy = "fixedDelay"
	case "exponentialbackoff":
		r.Strategy = "exponentialBackoff"
	default:
		return nil, fmt.Errorf("retry.strategy: want fixedDelay or exponentialBackoff, got %q",
			strategy)
	}
	if text, ok := get("maxRetryCount"); !ok {
		return nil, fmt.Errorf("retry.maxRetryCount is missing: want a whole number, -1 for no end")
	} else if n, err := strconv.Atoi(text); err != nil || n < -1 {
		return nil, fmt.Errorf("retry.maxRetryCount: want a whole number from -1 on, got %q", text)
	} else {
		r.MaxRetryCount = n
	}
	need := []struct {
		name string
		to   *time.Duration
	}{{"delayInterval", &r.DelayInterval}}
	if r.Strategy == "exponentialBackoff" {
		need[0].name, need[0].to = "minimumInterval", &r.MinimumInterval
		need = append(need, need[0])
		need[1].name, need[1].to = "maximumInterval", &r.MaximumInterval
	}
	for _, n := range need {
		text, ok := get(n.name)
		if !ok {
			return nil, fmt.Errorf("retry.%s is missing, which %s needs", n.name, r.Strategy)
		}
		d, err := hostfile.ParseTimeSpan(text)
		if err != nil || d < 0 {
			return nil, fmt.Errorf("retry.%s: want a time span such as 00:00:05, got %q", n.name,
				text)
		}
		*n.to = d
	}
	return r, nil
}
