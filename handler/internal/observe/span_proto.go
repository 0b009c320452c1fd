package observe

import (
	"encoding/binary"
	"strings"
	"time"
)

// Kinds and codes of opentelemetry/proto/trace/v1.
const (
	serverKind  = 2
	clientKind  = 3
	statusError = 2

	parentKnown  = 0x100 // SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
	parentRemote = 0x200 // SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
)

// spanLimits are the limits of a span's attributes that can matter here; below 0 there is none.
type spanLimits struct {
	length int // characters of a value
	count  int
}

func (v variables) spanLimits() spanLimits {
	return spanLimits{
		length: v.integer(-1, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
		count:  v.integer(128, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
	}
}

// attributes writes those of a span. What is beyond the limit is dropped and counted.
type attributes struct {
	limits  spanLimits
	n       int
	dropped int
}

func (a *attributes) room() bool {
	if a.limits.count >= 0 && a.n >= a.limits.count {
		a.dropped++
		return false
	}
	a.n++
	return true
}

// text writes a value; an empty one is left out.
func (a *attributes) text(b []byte, name, value string) []byte {
	if value == "" || !a.room() {
		return b
	}
	return appendText(b, 9, name, a.limits.cut(value))
}

func (a *attributes) number(b []byte, name string, value int) []byte {
	if !a.room() {
		return b
	}
	return appendNumber(b, 9, name, value)
}

func (a *attributes) yes(b []byte, name string) []byte {
	if !a.room() {
		return b
	}
	return appendTrue(b, 9, name)
}

// url writes a URL from its parts.
func (a *attributes) url(b []byte, name, scheme, host, path string) []byte {
	if a.limits.length >= 0 {
		return a.text(b, name, scheme+"://"+host+path)
	}
	if !a.room() {
		return b
	}
	b, at := open(b, 9)
	b = appendName(b, name)
	b, value := open(b, 2)
	b, text := open(b, 1)
	b = append(appendValid(b, scheme), "://"...)
	b = appendValid(appendValid(b, host), path)
	return closed(closed(closed(b, text), value), at)
}

// cut shortens a value to the limit, which counts characters; bytes that are none fall out of what is shortened.
func (l spanLimits) cut(value string) string {
	if l.length < 0 || len(value) <= l.length {
		return value
	}
	value = strings.ToValidUTF8(value, "")
	n := 0
	for i := range value {
		if n == l.length {
			return value[:i]
		}
		n++
	}
	return value
}

// attributes are those that are known before the end.
func (s *Span) attributes(a *attributes, b []byte) []byte {
	if s.attempt {
		b = a.text(b, "http.request.method", s.method)
		b = a.text(b, "server.address", s.labels.host)
		if s.labels.port > 0 {
			b = a.number(b, "server.port", s.labels.port)
		}
		b = a.text(b, "url.scheme", s.labels.scheme)
		b = a.url(b, "url.full", s.labels.scheme, s.host, s.path)
		if s.resend > 0 {
			b = a.number(b, "http.request.resend_count", s.resend)
		}
		return b
	}
	b = a.text(b, "faas.invocation_id", s.id)
	b = a.text(b, "faas.name", s.labels.function)
	b = a.text(b, "faas.trigger", s.labels.trigger)
	b = a.text(b, "azure.functions.trigger", s.trigger)
	b = a.text(b, "apimrelay.way", s.way)
	b = a.text(b, "http.request.method", s.method)
	b = a.text(b, "http.route", s.route)
	b = a.text(b, "url.path", s.path)
	if s.cold {
		b = a.yes(b, "faas.coldstart")
	}
	return b
}

// appendTo writes the span as field 2 of a ScopeSpans.
func (s *Span) appendTo(b []byte, limits spanLimits, took time.Duration, status int, failure string) []byte {
	b, at := open(b, 2)
	b = appendBytes(b, 1, s.trace.TraceID[:])
	b = appendBytes(b, 2, s.trace.SpanID[:])
	b = appendTraceState(b, 3, s.trace.State)
	flags := uint32(flagSampled | parentKnown)
	if s.trace.Parent != [8]byte{} {
		b = appendBytes(b, 4, s.trace.Parent[:])
		flags |= uint32(s.trace.Flags)
		if !s.attempt {
			flags |= parentRemote
		}
	}
	b, name := open(b, 5)
	b = appendValid(b, s.name)
	if s.route != "" && s.method != "" {
		b = appendValid(append(b, ' '), s.route)
	}
	b = closed(b, name)
	kind := uint64(serverKind)
	if s.attempt {
		kind = clientKind
	}
	b = appendVarint(b, 6, kind)
	begun := nanos(s.begun)
	b = appendFixed64(b, 7, begun)
	b = appendFixed64(b, 8, begun+uint64(took))
	a := attributes{limits: limits}
	b = s.attributes(&a, b)
	if status > 0 {
		b = a.number(b, "http.response.status_code", status)
	}
	b = a.text(b, "error.type", failure)
	b = appendVarint(b, 10, uint64(a.dropped))
	// Spans here have no events and no links.
	if failure != "" {
		var inner int
		b, inner = open(b, 15)
		b = closed(appendVarint(b, 3, statusError), inner)
	}
	b = binary.LittleEndian.AppendUint32(tag(b, 16, fixed32), flags)
	return closed(b, at)
}
