package observe

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// variables are those of OpenTelemetry's SDKs (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/), read as
// its SDK for Go reads them: one that is empty is not set, and a number or a sampler that makes no sense is told and left out, since no call
// may fail for it. Blanks around a value are ignored.
type variables struct {
	lookup func(name string) (string, bool)
	logger *slog.Logger
}

func (v variables) get(name string) string {
	value, _ := v.lookup(name)
	return strings.TrimSpace(value)
}

// odd tells that a variable's value is not used. None of those asked for here holds a secret.
func (v variables) odd(name, problem string) {
	v.logger.Warn("a telemetry variable is not used as it is", "variable", name, "problem", problem)
}

// integer is the first of the variables that is set.
func (v variables) integer(fallback int, names ...string) int {
	for _, name := range names {
		value := v.get(name)
		if value == "" {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			v.odd(name, fmt.Sprintf("want a number, got %q", value))
			return fallback
		}
		return n
	}
	return fallback
}

// positive is a duration in milliseconds, above 0.
func (v variables) positive(name string, fallback time.Duration) time.Duration {
	value := v.get(name)
	if value == "" {
		return fallback
	}
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil || ms <= 0 || ms > int64(1<<63-1)/int64(time.Millisecond) {
		v.odd(name, fmt.Sprintf("want milliseconds above 0, got %q", value))
		return fallback
	}
	return time.Duration(ms) * time.Millisecond
}
