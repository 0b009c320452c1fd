package telemetry

import (
	"encoding/binary"
	"math"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	tracesdk "go.opentelemetry.io/otel/sdk/trace"
)

// OTLP's messages in protobuf's binary form (https://protobuf.dev/programming-guides/encoding/). Field numbers are those of
// open-telemetry/opentelemetry-proto, opentelemetry/proto/{common,resource,trace,metrics}/v1; the tests read the result with the code that
// is generated from those files.

// Wire types.
const (
	varint  = 0
	fixed64 = 1
	bytesOf = 2
	fixed32 = 5
)

func tag(b []byte, number, wire int) []byte { return binary.AppendUvarint(b, uint64(number<<3|wire)) }

func appendString(b []byte, number int, s string) []byte {
	if s == "" {
		return b
	}
	return append(binary.AppendUvarint(tag(b, number, bytesOf), uint64(len(s))), s...)
}

func appendBytes(b []byte, number int, p []byte) []byte {
	return append(binary.AppendUvarint(tag(b, number, bytesOf), uint64(len(p))), p...)
}

func appendVarint(b []byte, number int, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(tag(b, number, varint), v)
}

func appendFixed64(b []byte, number int, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(tag(b, number, fixed64), v)
}

func appendDouble(b []byte, number int, v float64) []byte {
	return appendFixed64(b, number, math.Float64bits(v))
}

// open begins a message inside another; closed ends it, given what open returned. One byte is kept for the length, and room is made where
// it needs more.
func open(b []byte, number int) (_ []byte, at int) {
	b = append(tag(b, number, bytesOf), 0)
	return b, len(b)
}

func closed(b []byte, at int) []byte {
	n := len(b) - at
	if n < 1<<7 {
		b[at-1] = byte(n)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(length[:], uint64(n))
	b = append(b, length[:k-1]...) // grow
	copy(b[at-1+k:], b[at:at+n])
	copy(b[at-1:], length[:k])
	return b
}

func appendTraces(b []byte, spans []tracesdk.ReadOnlySpan) []byte {
	b, all := open(b, 1) // resource_spans; one process has one resource and one scope
	b = appendResource(b, spans[0].Resource())
	b, scoped := open(b, 2) // scope_spans
	b = appendScope(b, spans[0].InstrumentationScope())
	for _, s := range spans {
		b = appendSpan(b, s)
	}
	return closed(closed(b, scoped), all)
}

func appendResource(b []byte, r *resource.Resource) []byte {
	b, at := open(b, 1)
	for iter := r.Iter(); iter.Next(); {
		b = appendAttribute(b, 1, iter.Attribute())
	}
	return closed(b, at)
}

func appendScope(b []byte, s instrumentation.Scope) []byte {
	b, at := open(b, 1)
	b = appendString(b, 1, s.Name)
	b = appendString(b, 2, s.Version)
	return closed(b, at)
}

func appendSpan(b []byte, s tracesdk.ReadOnlySpan) []byte {
	b, at := open(b, 2)
	context, parent := s.SpanContext(), s.Parent()
	traceID, spanID := context.TraceID(), context.SpanID()
	b = appendBytes(b, 1, traceID[:])
	b = appendBytes(b, 2, spanID[:])
	b = appendString(b, 3, context.TraceState().String())
	flags := uint32(context.TraceFlags()) | 0x100 // whether the parent is remote is known
	if parent.SpanID().IsValid() {
		id := parent.SpanID()
		b = appendBytes(b, 4, id[:])
		if parent.IsRemote() {
			flags |= 0x200
		}
	}
	b = appendString(b, 5, s.Name())
	b = appendVarint(b, 6, uint64(s.SpanKind()))
	b = appendFixed64(b, 7, nanos(s.StartTime()))
	b = appendFixed64(b, 8, nanos(s.EndTime()))
	for _, kv := range s.Attributes() {
		b = appendAttribute(b, 9, kv)
	}
	b = appendVarint(b, 10, uint64(s.DroppedAttributes()))
	// Spans here have no events and no links.
	if status := s.Status(); status.Code != codes.Unset {
		var inner int
		b, inner = open(b, 15)
		b = appendString(b, 2, status.Description)
		b = appendVarint(b, 3, map[codes.Code]uint64{codes.Ok: 1, codes.Error: 2}[status.Code])
		b = closed(b, inner)
	}
	b = binary.LittleEndian.AppendUint32(tag(b, 16, fixed32), flags)
	return closed(b, at)
}

func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func appendAttribute(b []byte, number int, kv attribute.KeyValue) []byte {
	b, at := open(b, number)
	b = appendString(b, 1, string(kv.Key))
	b, value := open(b, 2)
	b = appendValue(b, kv.Value)
	return closed(closed(b, value), at)
}

// appendValue writes an AnyValue. Zero values are written, too: the choice of one of the fields is what tells the type.
func appendValue(b []byte, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.BOOL:
		b = tag(b, 2, varint)
		if v.AsBool() {
			return append(b, 1)
		}
		return append(b, 0)
	case attribute.INT64:
		return binary.AppendUvarint(tag(b, 3, varint), uint64(v.AsInt64()))
	case attribute.FLOAT64:
		return appendDouble(b, 4, v.AsFloat64())
	case attribute.STRING:
		return appendBytes(b, 1, []byte(v.AsString()))
	case attribute.STRINGSLICE:
		b, list := open(b, 5)
		for _, s := range v.AsStringSlice() {
			var item int
			b, item = open(b, 1)
			b = closed(appendBytes(b, 1, []byte(s)), item)
		}
		return closed(b, list)
	}
	return appendBytes(b, 1, []byte(v.String())) // no attribute of ours; a resource's from a later SDK
}

func appendMetrics(b []byte, m *metricdata.ResourceMetrics) []byte {
	b, all := open(b, 1) // resource_metrics
	b = appendResource(b, m.Resource)
	for _, sm := range m.ScopeMetrics {
		var scoped int
		b, scoped = open(b, 2)
		b = appendScope(b, sm.Scope)
		for _, metric := range sm.Metrics {
			var at int
			b, at = open(b, 2)
			b = appendString(b, 1, metric.Name)
			b = appendString(b, 2, metric.Description)
			b = appendString(b, 3, metric.Unit)
			b = closed(appendData(b, metric.Data), at)
		}
		b = closed(b, scoped)
	}
	return closed(b, all)
}

// appendData writes the kinds that metrics.go has; another would be left out.
func appendData(b []byte, data metricdata.Aggregation) []byte {
	switch d := data.(type) {
	case metricdata.Gauge[float64]:
		b, at := open(b, 5)
		for _, p := range d.DataPoints {
			b = appendPoint(b, p.Attributes, p.StartTime, p.Time, func(b []byte) []byte { return appendDouble(b, 4, p.Value) })
		}
		return closed(b, at)
	case metricdata.Sum[int64]:
		b, at := open(b, 7)
		for _, p := range d.DataPoints {
			b = appendPoint(b, p.Attributes, p.StartTime, p.Time, func(b []byte) []byte { return appendFixed64(b, 6, uint64(p.Value)) })
		}
		b = appendTemporality(b, d.Temporality)
		if d.IsMonotonic {
			b = appendVarint(b, 3, 1)
		}
		return closed(b, at)
	case metricdata.Histogram[float64]:
		b, at := open(b, 9)
		for _, p := range d.DataPoints {
			b = appendHistogramPoint(b, p)
		}
		return closed(appendTemporality(b, d.Temporality), at)
	}
	return b
}

func appendTemporality(b []byte, t metricdata.Temporality) []byte {
	if t == metricdata.DeltaTemporality {
		return appendVarint(b, 2, 1)
	}
	return appendVarint(b, 2, 2)
}

func appendPoint(b []byte, attributes attribute.Set, start, end time.Time, value func([]byte) []byte) []byte {
	b, at := open(b, 1)
	for iter := attributes.Iter(); iter.Next(); {
		b = appendAttribute(b, 7, iter.Attribute())
	}
	b = appendFixed64(b, 2, nanos(start))
	b = appendFixed64(b, 3, nanos(end))
	return closed(value(b), at)
}

func appendHistogramPoint(b []byte, p metricdata.HistogramDataPoint[float64]) []byte {
	b, at := open(b, 1)
	for iter := p.Attributes.Iter(); iter.Next(); {
		b = appendAttribute(b, 9, iter.Attribute())
	}
	b = appendFixed64(b, 2, nanos(p.StartTime))
	b = appendFixed64(b, 3, nanos(p.Time))
	b = appendFixed64(b, 4, p.Count)
	b = appendDouble(b, 5, p.Sum)
	b, counts := open(b, 6)
	for _, n := range p.BucketCounts {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = closed(b, counts)
	b, bounds := open(b, 7)
	for _, bound := range p.Bounds {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(bound))
	}
	b = closed(b, bounds)
	if lowest, ok := p.Min.Value(); ok {
		b = appendDouble(b, 11, lowest)
	}
	if highest, ok := p.Max.Value(); ok {
		b = appendDouble(b, 12, highest)
	}
	return closed(b, at)
}
