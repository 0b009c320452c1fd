package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
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

// Span is one timed operation: an invocation, or an attempt within it. nil is a span of telemetry switched off. Its methods may be called
// by one goroutine at a time, but attempts of one invocation by several.
type Span struct {
	t       *Telemetry
	otel    trace.Span
	trace   Trace
	begun   time.Time
	metric  metric.Float64Histogram
	attempt bool
	labels  labels
	// attributes are handed over at the end, in one piece: the SDK copies at each call. After that their memory is another span's; nil = ended.
	attributes *[]attribute.KeyValue
}

var attributeLists = sync.Pool{New: func() any { list := make([]attribute.KeyValue, 0, 12); return &list }}

// Options that are the same for all spans, made once.
var (
	serverSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	clientSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
)

// Begin begins the span of an invocation, with the ids that tr has: log lines and spans have the same ones. End it.
func (t *Telemetry) Begin(tr Trace, in Invocation) *Span {
	if t == nil {
		return nil
	}
	t.inFlight.Add(1)
	list := attributeLists.Get().(*[]attribute.KeyValue)
	add := func(name, value string) {
		if value != "" {
			*list = append(*list, attribute.String(name, value))
		}
	}
	add("faas.invocation_id", in.ID)
	add("faas.name", in.Function)
	kind := faasTrigger(in.Trigger)
	add("faas.trigger", kind)
	add("azure.functions.trigger", in.Trigger)
	add("apimrelay.way", in.Way)
	add("http.request.method", knownMethod(in.Method))
	add("http.route", in.Route)
	add("url.path", in.Path)
	if !t.started.Swap(true) {
		*list = append(*list, attribute.Bool("faas.coldstart", true))
	}
	name := in.Function
	if in.Method != "" {
		name = knownMethod(in.Method)
		if in.Route != "" {
			name += " " + in.Route
		}
	}
	s := t.begin(tr, name, serverSpan, true)
	s.metric, s.attributes, s.labels = t.invocations, list, labels{function: in.Function, trigger: kind}
	return s
}

// Attempt begins the span of one request to the gateway, below s. End it before s, when the answer's header is there or the attempt has
// failed.
func (s *Span) Attempt(a Attempt) *Span {
	if s == nil {
		return nil
	}
	host, portText, _ := strings.Cut(a.Host, ":")
	if strings.HasPrefix(a.Host, "[") {
		host, portText, _ = strings.Cut(strings.TrimPrefix(a.Host, "["), "]")
		portText = strings.TrimPrefix(portText, ":")
	}
	port := 443
	if a.Scheme == "http" {
		port = 80
	}
	if portText != "" {
		port, _ = strconv.Atoi(portText)
	}
	target := labels{method: knownMethod(a.Method), host: host, port: port, scheme: a.Scheme}
	list := attributeLists.Get().(*[]attribute.KeyValue)
	*list = append(target.appendTo(*list), attribute.String("url.full", a.Scheme+"://"+a.Host+a.Path))
	if a.Resend > 0 {
		*list = append(*list, attribute.Int("http.request.resend_count", a.Resend))
	}
	child := s.t.begin(s.trace.Child(), knownMethod(a.Method), clientSpan, false)
	child.metric, child.attributes, child.labels, child.attempt = s.t.upstream, list, target, true
	return child
}

func (t *Telemetry) begin(tr Trace, name string, options []trace.SpanStartOption, remote bool) *Span {
	s := &Span{t: t, trace: tr, begun: time.Now()}
	ctx := context.WithValue(context.Background(), idsKey{}, &s.trace)
	if tr.Parent != [8]byte{} {
		state, _ := trace.ParseTraceState(tr.State)
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: tr.TraceID, SpanID: tr.Parent, TraceFlags: trace.TraceFlags(tr.Flags), TraceState: state, Remote: remote,
		}))
	}
	_, s.otel = t.tracer.Start(ctx, name, options...)
	if s.otel.SpanContext().IsSampled() {
		s.trace.Flags |= flagSampled
	} else {
		s.trace.Flags &^= flagSampled
	}
	return s
}

// Trace returns the span's place in its trace, marked as sampled where it is recorded; tr where telemetry is off.
func (s *Span) Trace(tr Trace) Trace {
	if s == nil {
		return tr
	}
	return s.trace
}

// Inject replaces the trace context of a request that is made below the span. Where telemetry is off it does nothing: the request then
// goes on with the context that came in, since there is no span of ours for the next one to be below.
func (s *Span) Inject(header http.Header) {
	if s != nil {
		s.trace.Inject(header)
	}
}

// End ends the span. status is that of the answer, 0 where there was none. failure is a short constant word for why it failed, such as a
// problem's code, "" where it did not. Of an attempt any status from 400 is a failure, of an invocation from 500 (OpenTelemetry's semantic
// conventions for HTTP spans, status).
func (s *Span) End(status int, failure string) {
	if s == nil || s.attributes == nil {
		return
	}
	took := time.Since(s.begun)
	if status > 0 {
		*s.attributes = append(*s.attributes, attribute.Int("http.response.status_code", status))
	}
	if failure == "" && (status >= 500 || s.attempt && status >= 400) {
		failure = strconv.Itoa(status)
	}
	if failure != "" {
		*s.attributes = append(*s.attributes, attribute.String("error.type", failure))
		s.otel.SetStatus(codes.Error, "")
	}
	s.otel.SetAttributes(*s.attributes...)
	clear(*s.attributes)
	*s.attributes = (*s.attributes)[:0]
	attributeLists.Put(s.attributes)
	s.attributes = nil
	s.otel.End()
	s.labels.status, s.labels.failure = status, failure
	s.metric.Record(context.Background(), took.Seconds(), s.t.series.Of(s.labels, labels.option))
	if !s.attempt && s.t.inFlight.Add(-1) == 0 {
		s.t.timer.Reset(idle)
	}
}

// faasTrigger groups triggers as the semantic conventions for functions do.
func faasTrigger(trigger string) string {
	if trigger == "httpTrigger" { // as nearly everybody writes what nearly every call is
		return "http"
	}
	switch strings.ToLower(trigger) {
	case "":
		return ""
	case "httptrigger":
		return "http"
	case "timertrigger":
		return "timer"
	case "blobtrigger", "cosmosdbtrigger", "sqltrigger":
		return "datasource"
	case "queuetrigger", "servicebustrigger", "eventhubtrigger", "eventgridtrigger", "kafkatrigger", "rabbitmqtrigger":
		return "pubsub"
	}
	return "other"
}

// knownMethod keeps a caller from making up names of spans and series of metrics, as the semantic conventions ask.
func knownMethod(method string) string {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
		http.MethodTrace, http.MethodConnect:
		return method
	}
	return "_OTHER"
}

type idsKey struct{}

// ids gives a span the ids that its Trace already has.
type ids struct{}

func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	tr, ok := ctx.Value(idsKey{}).(*Trace)
	if !ok {
		fresh := NewTrace()
		tr = &fresh
	}
	return tr.TraceID, tr.SpanID
}

func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if tr, ok := ctx.Value(idsKey{}).(*Trace); ok {
		return tr.SpanID
	}
	return newSpanID()
}
