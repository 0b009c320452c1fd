package observe

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Invocation describes what the host called. Empty fields are left out.
type Invocation struct {
	ID       string // the host's invocation id
	Function string
	Trigger  string // type of function.json, such as httpTrigger
	Way      string // proxied, forwarded or wrapped
	Method   string // HTTP only, from here on
	Route    string // template, such as orders/{id}
	Path     string // escaped path without a query: a query may hold a function key
}

// Attempt describes one request to the gateway.
type Attempt struct {
	Method string
	Scheme string
	Host   string // name or address, with a port where the URL has one
	Path   string // escaped path without a query
	Resend int    // 0 for the first attempt
}

// Span is one timed operation: an invocation, or an attempt within it. nil is a span of telemetry
// that is off, and all of its methods work. They may be called by one goroutine at a time, but
// attempts of one invocation by several.
type Span struct {
	t        *Telemetry
	ctx      context.Context
	span     trace.Span
	attempt  bool
	begun    time.Time
	duration []attribute.KeyValue // of the metric
	ended    atomic.Bool
}

// Begin begins the span of an invocation, below the span that tr names, or in a trace of its own
// where tr is none. End it.
func (t *Telemetry) Begin(tr Trace, in Invocation) *Span {
	if t == nil {
		return nil
	}
	t.inFlight.Add(1)
	method := knownMethod(in.Method)
	name := in.Function
	if method != "" {
		name = strings.TrimSpace(method + " " + in.Route)
	}
	duration := texts("faas.name", in.Function, "faas.trigger", faasTrigger(in.Trigger))
	all := append(texts("faas.invocation_id", in.ID, "azure.functions.trigger", in.Trigger,
		"apimrelay.way", in.Way, "http.request.method", method, "http.route", in.Route,
		"url.path", in.Path), duration...)
	if !t.started.Swap(true) {
		all = append(all, attribute.Bool("faas.coldstart", true))
	}
	s := &Span{t: t, begun: time.Now(), duration: duration}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), tr.at)
	s.ctx, s.span = t.tracer.Start(ctx, name, trace.WithTimestamp(s.begun),
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(all...))
	return s
}

// Attempt begins the span of one request to the gateway, below s. End it before s, when the
// answer's header is there or the attempt has failed.
func (s *Span) Attempt(a Attempt) *Span {
	if s == nil {
		return nil
	}
	method := knownMethod(a.Method)
	duration := append(texts("http.request.method", method, "url.scheme", a.Scheme), server(a)...)
	all := append(texts("url.full", a.Scheme+"://"+a.Host+a.Path), duration...)
	if a.Resend > 0 {
		all = append(all, attribute.Int("http.request.resend_count", a.Resend))
	}
	child := &Span{t: s.t, attempt: true, begun: time.Now(), duration: duration}
	child.ctx, child.span = s.t.tracer.Start(s.ctx, method, trace.WithTimestamp(child.begun),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(all...))
	return child
}

// server is the address and port of an attempt.
func server(a Attempt) []attribute.KeyValue {
	host, port, err := net.SplitHostPort(a.Host)
	if err != nil {
		host = strings.Trim(a.Host, "[]")
		port = map[string]string{"http": "80", "https": "443"}[a.Scheme]
	}
	number, _ := strconv.Atoi(port)
	return append(texts("server.address", host), attribute.Int("server.port", number))
}

// Trace returns the span's place in its trace; tr where no spans are exported.
func (s *Span) Trace(tr Trace) Trace {
	if s == nil || !s.span.SpanContext().IsValid() {
		return tr
	}
	return Trace{s.span.SpanContext()}
}

// Inject puts the request that a header belongs to below the span. Where no spans are exported the
// request goes on with the trace that came in, or none: there is no span of ours to be below.
func (s *Span) Inject(header http.Header) { s.Trace(Trace{}).Inject(header) }

// End ends the span; ending it again does nothing. status is that of the answer, 0 where there was
// none. failure is a short constant word for why it failed, such as a problem's code, "" where it
// did not. Of an attempt any status from 400 is a failure, of an invocation from 500
// (OpenTelemetry's semantic conventions for HTTP spans, status).
func (s *Span) End(status int, failure string) {
	if s == nil || s.ended.Swap(true) {
		return
	}
	now := time.Now()
	if failure == "" && (status >= 500 || s.attempt && status >= 400) {
		failure = strconv.Itoa(status)
	}
	outcome := texts("error.type", failure)
	if status > 0 {
		outcome = append(outcome, attribute.Int("http.response.status_code", status))
	}
	s.span.SetAttributes(outcome...)
	if failure != "" {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End(trace.WithTimestamp(now))
	seconds := s.t.invocations
	if s.attempt {
		seconds = s.t.attempts
	}
	seconds.Record(context.Background(), now.Sub(s.begun).Seconds(),
		metric.WithAttributes(append(s.duration, outcome...)...))
	if !s.attempt && s.t.inFlight.Add(-1) == 0 {
		s.t.timer.Reset(idle)
	}
}

// texts makes attributes of names and values in turn; those without a value are left out.
func texts(pairs ...string) []attribute.KeyValue {
	all := make([]attribute.KeyValue, 0, len(pairs))
	for ; len(pairs) > 1; pairs = pairs[2:] {
		if pairs[1] != "" {
			all = append(all, attribute.String(pairs[0], pairs[1]))
		}
	}
	return all
}

// faasTrigger groups triggers as the semantic conventions for functions do.
func faasTrigger(trigger string) string {
	switch strings.ToLower(trigger) {
	case "":
		return ""
	case "httptrigger":
		return "http"
	case "timertrigger":
		return "timer"
	case "blobtrigger", "cosmosdbtrigger", "sqltrigger":
		return "datasource"
	case "queuetrigger", "servicebustrigger", "eventhubtrigger", "eventgridtrigger", "kafkatrigger",
		"rabbitmqtrigger":
		return "pubsub"
	}
	return "other"
}

// knownMethod keeps a caller from making up names of spans and series of metrics, as the semantic
// conventions ask.
func knownMethod(method string) string {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return method
	}
	return "_OTHER"
}
