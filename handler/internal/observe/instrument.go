package observe

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// instrument is a metric with a series for each set of labels K: a histogram of seconds, or a counter. Safe for concurrent use.
type instrument[K comparable] struct {
	name, unit, description string
	histogram               bool
	delta                   bool // each export has what came since the one before, else since the start
	limit                   int  // of series in one export; 0 = none
	each                    bool // a series begins with its first value, not with the instrument
	attributes              func(b []byte, number int, labels K) []byte

	known atomic.Pointer[map[K]*series[K]] // read without a lock, replaced as a whole
	last  atomic.Pointer[series[K]]        // found last: mostly what is wanted next, and to compare labels is quicker than to hash them
	mu    sync.Mutex                       // of what follows, and of replacing
	rest  *series[K]                       // of what is beyond the limit; nil = nothing yet
	begun time.Time                        // of the instrument, or of what the next export has
}

// series is what one set of labels has come to.
type series[K comparable] struct {
	labels     K
	attributes []byte // as they stand in a data point
	begun      time.Time

	mu              sync.Mutex // held for some additions only
	taken           bool       // exported and gone: record in the next one
	count           uint64
	buckets         []uint64
	sum             float64
	lowest, highest float64
}

// durations are the buckets that the semantic conventions advise for http.client.request.duration, in seconds, and some for slow backends.
var durations = [...]float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 230}

// Field numbers of opentelemetry/proto/metrics/v1.
const (
	pointAttributes     = 7 // of a NumberDataPoint
	histogramAttributes = 9 // of a HistogramDataPoint
	deltaTemporality    = 1
	cumulative          = 2
)

func (in *instrument[K]) start(now time.Time) {
	in.known.Store(&map[K]*series[K]{})
	in.begun = now
}

// record adds a duration in seconds.
func (in *instrument[K]) record(labels K, seconds float64) {
	s := in.of(labels)
	if s.buckets[sort.SearchFloat64s(durations[:], seconds)]++; s.count == 0 || seconds < s.lowest {
		s.lowest = seconds
	}
	if s.count == 0 || seconds > s.highest {
		s.highest = seconds
	}
	s.count++
	s.sum += seconds
	s.mu.Unlock()
}

// add counts one.
func (in *instrument[K]) add(labels K) {
	s := in.of(labels)
	s.count++
	s.mu.Unlock()
}

// of returns the series of the labels, locked. One that is taken between being found and being locked is looked up again.
func (in *instrument[K]) of(labels K) *series[K] {
	for {
		s := in.last.Load()
		if s == nil || s.labels != labels {
			var ok bool
			if s, ok = (*in.known.Load())[labels]; ok {
				in.last.Store(s)
			} else {
				s = in.make(labels)
			}
		}
		s.mu.Lock()
		if !s.taken {
			return s
		}
		s.mu.Unlock()
		in.last.CompareAndSwap(s, nil)
	}
}

func (in *instrument[K]) make(labels K) *series[K] {
	in.mu.Lock()
	defer in.mu.Unlock()
	known := *in.known.Load()
	if s, ok := known[labels]; ok {
		return s
	}
	// Beyond the limit all is one series, named as the specification asks
	// (https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute).
	if in.limit > 0 && len(known) >= in.limit-1 {
		if in.rest == nil {
			in.rest = in.fresh(labels, appendTrue(nil, in.number(), "otel.metric.overflow"))
		}
		return in.rest
	}
	s := in.fresh(labels, in.attributes(nil, in.number(), labels))
	next := make(map[K]*series[K], len(known)+1)
	for k, v := range known {
		next[k] = v
	}
	next[labels] = s
	in.known.Store(&next)
	return s
}

func (in *instrument[K]) number() int {
	if in.histogram {
		return histogramAttributes
	}
	return pointAttributes
}

func (in *instrument[K]) fresh(labels K, attributes []byte) *series[K] {
	s := &series[K]{labels: labels, attributes: slices.Clip(attributes), begun: time.Now()}
	if in.histogram {
		s.buckets = make([]uint64, len(durations)+1)
	}
	return s
}

// appendTo writes the metric as field 2 of a ScopeMetrics, and nothing where it has no series. Where only differences are wanted the series
// begin anew.
func (in *instrument[K]) appendTo(b []byte, now time.Time) []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	known, rest, begun := *in.known.Load(), in.rest, in.begun
	if in.delta {
		in.begun = now
	}
	if len(known) == 0 && rest == nil {
		return b
	}
	if in.delta {
		in.known.Store(&map[K]*series[K]{})
		in.rest = nil
	}
	b, at := openMetric(b, in.name, in.description, in.unit)
	kind := 7 // sum
	if in.histogram {
		kind = 9
	}
	b, data := open(b, kind)
	write := func(s *series[K]) {
		from := begun
		if in.each && !in.delta {
			from = s.begun
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken = in.delta
		b = in.appendPoint(b, s, from, now)
	}
	for _, s := range known {
		write(s)
	}
	if rest != nil {
		write(rest)
	}
	b = appendTemporality(b, in.delta)
	if !in.histogram {
		b = appendVarint(b, 3, 1) // monotonic
	}
	return closed(closed(b, data), at)
}

func (in *instrument[K]) appendPoint(b []byte, s *series[K], begun, now time.Time) []byte {
	b, at := open(b, 1)
	b = append(b, s.attributes...)
	b = appendFixed64(b, 2, nanos(begun))
	b = appendFixed64(b, 3, nanos(now))
	if !in.histogram {
		return closed(appendFixed64(b, 6, s.count), at)
	}
	b = appendFixed64(b, 4, s.count)
	b = appendDouble(b, 5, s.sum)
	b, counts := open(b, 6)
	for _, n := range s.buckets {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = closed(b, counts)
	b, bounds := open(b, 7)
	for _, bound := range durations {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(bound))
	}
	b = closed(b, bounds)
	b = appendDouble(b, 11, s.lowest)
	b = appendDouble(b, 12, s.highest)
	return closed(b, at)
}

// openMetric begins a Metric as field 2 of a ScopeMetrics.
func openMetric(b []byte, name, description, unit string) (_ []byte, at int) {
	b, at = open(b, 2)
	b = appendString(b, 1, name)
	b = appendString(b, 2, description)
	return appendString(b, 3, unit), at
}

func appendTemporality(b []byte, delta bool) []byte {
	if delta {
		return appendVarint(b, 2, deltaTemporality)
	}
	return appendVarint(b, 2, cumulative)
}
