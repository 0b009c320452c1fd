package observe

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// sampler decides which traces are recorded (https://opentelemetry.io/docs/specs/otel/trace/sdk/#built-in-samplers).
type sampler struct {
	follow bool   // a span below another is recorded where that one is
	bound  uint64 // of other traces those whose id is below: see sample
}

const (
	noTrace  = 0
	allTrace = 1 << 63
)

// sampler reads OTEL_TRACES_SAMPLER and its argument. The default follows the caller and records what has none.
func (v variables) sampler() sampler {
	const variable = "OTEL_TRACES_SAMPLER"
	switch name := strings.ToLower(v.get(variable)); name {
	case "always_on":
		return sampler{bound: allTrace}
	case "always_off":
		return sampler{bound: noTrace}
	case "traceidratio":
		return sampler{bound: v.ratio()}
	case "parentbased_always_off":
		return sampler{follow: true, bound: noTrace}
	case "parentbased_traceidratio":
		return sampler{follow: true, bound: v.ratio()}
	case "", "parentbased_always_on":
	default:
		v.odd(variable, fmt.Sprintf("want a built-in sampler, got %q", name))
	}
	return sampler{follow: true, bound: allTrace}
}

// ratio is the share of traces that are recorded, all where nothing sensible is said.
func (v variables) ratio() uint64 {
	const variable = "OTEL_TRACES_SAMPLER_ARG"
	value := v.get(variable)
	if value == "" {
		return allTrace
	}
	share, err := strconv.ParseFloat(value, 64)
	if err != nil || !(share >= 0 && share <= 1) {
		v.odd(variable, fmt.Sprintf("want a number from 0 to 1, got %q", value))
		return allTrace
	}
	return uint64(share * allTrace)
}

// sample tells whether the span is recorded. Like all of OpenTelemetry's SDKs it takes the share of traces by the last eight bytes of their
// ids, so that everybody with the same share has the same traces.
func (s sampler) sample(tr Trace) bool {
	if s.follow && tr.Parent != [8]byte{} {
		return tr.Flags&flagSampled != 0
	}
	return binary.BigEndian.Uint64(tr.TraceID[8:])>>1 < s.bound
}
