package host

import (
	"strconv"
	"strings"

	"apimrelay/internal/hostfile"
)

// logRules are logging.logLevel of host.json: the least level by category, as
// Microsoft.Extensions.Logging reads it. Of the rules whose name begins the category the longest
// counts, "default" where none does (dotnet/runtime
// src/libraries/Microsoft.Extensions.Logging/src/LoggerRuleSelector.cs; learn.microsoft.com,
// "host.json reference", logging). Without a rule everything is logged, as in the recordings.
type logRules []logRule

type logRule struct {
	prefix, suffix string // lower case; around a * in the name
	least          Level
}

func readLogRules(v *hostfile.Value) logRules {
	levels := v.Fold("logging").Fold("logLevel")
	if levels == nil || levels.Kind != hostfile.Object {
		return nil
	}
	var rules logRules
	for _, m := range levels.Members {
		least, ok := parseLevel(textOf(m.Value))
		if !ok {
			continue
		}
		name := strings.ToLower(m.Name)
		if name == "default" {
			name = ""
		}
		prefix, suffix, _ := strings.Cut(name, "*")
		rules = append(rules, logRule{prefix, suffix, least})
	}
	return rules
}

// parseLevel reads a level's name or number; None is above all others.
func parseLevel(s string) (Level, bool) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= len(levelNames) {
		return Level(n), true
	}
	for i, name := range levelNames {
		if strings.EqualFold(s, name) {
			return Level(i), true
		}
	}
	return Critical + 1, strings.EqualFold(s, "None")
}

// passes reports whether a line is logged.
func (rules logRules) passes(level Level, category string) bool {
	category = strings.ToLower(category)
	longest, least := -1, Trace
	for _, r := range rules {
		// Of two that are as long the later counts.
		if n := len(r.prefix) + len(r.suffix); n >= longest && strings.HasPrefix(category,
			r.prefix) && strings.HasSuffix(category, r.suffix) {
			longest, least = n, r.least
		}
	}
	return level >= least
}
