package observe

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Trace is a place in a distributed trace, as W3C Trace Context has it
// (https://www.w3.org/TR/trace-context/). The zero Trace is none. Copies are independent and safe
// to use anywhere.
type Trace struct{ at trace.SpanContext }

var w3c propagation.TraceContext

// Continue reads the trace that a request belongs to. Where the header holds no valid traceparent,
// or more than one, ok is false and nothing else of the header counts either, as the specification
// asks. A broken tracestate is left out, and the trace stays good.
func Continue(header http.Header) (t Trace, ok bool) {
	if len(header["Traceparent"]) == 0 {
		return Trace{}, false
	}
	t.at = trace.SpanContextFromContext(w3c.Extract(context.Background(), carrier(header)))
	return t, t.Valid()
}

// Valid reports whether t is a trace at all.
func (t Trace) Valid() bool { return t.at.IsValid() }

// Inject replaces traceparent and tracestate of a request that belongs to t; baggage and other
// headers are not touched. The zero Trace leaves the header alone.
func (t Trace) Inject(header http.Header) {
	if !t.Valid() {
		return
	}
	delete(header, "Tracestate")
	w3c.Inject(trace.ContextWithSpanContext(context.Background(), t.at), carrier(header))
}

// TraceIDString returns the id as logs and queries write it: 32 lower-case hexadecimal digits.
func (t Trace) TraceIDString() string { return t.at.TraceID().String() }

// carrier gives the propagator all lines of a header, where that of the library gives the first
// one: several lines of tracestate are one list, and two of traceparent are not valid.
type carrier http.Header

func (c carrier) Get(name string) string { return strings.Join(http.Header(c).Values(name), ",") }

func (c carrier) Set(name, value string) { http.Header(c).Set(name, value) }

func (c carrier) Keys() []string { return nil } // nothing here asks for them
