package console

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// TracesPath is where the handler's spans are taken: OTLP over HTTP in its binary form (https://opentelemetry.io/docs/specs/otlp/#otlphttp).
const TracesPath = "/v1/traces"

// tracedSpan is what is kept of a span that the handler exported.
type tracedSpan struct {
	id, parent, invocation string // hexadecimal; invocation is set for the span of an invocation alone
	start, end             time.Time
	resend, status         int
	failure                string // error.type
}

// readSpans reads an export, by trace id. TracesData is ExportTraceServiceRequest in all but its name.
func readSpans(message []byte) (map[string][]tracedSpan, error) {
	var data tracepb.TracesData
	if err := proto.Unmarshal(message, &data); err != nil {
		return nil, fmt.Errorf("reading spans: %w", err)
	}
	out := map[string][]tracedSpan{}
	for _, resource := range data.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				s := tracedSpan{
					id: hex.EncodeToString(span.SpanId), parent: hex.EncodeToString(span.ParentSpanId),
					start: time.Unix(0, int64(span.StartTimeUnixNano)), end: time.Unix(0, int64(span.EndTimeUnixNano)),
				}
				for _, a := range span.Attributes {
					text, number := a.GetValue().GetStringValue(), int(a.GetValue().GetIntValue())
					switch a.Key {
					case "faas.invocation_id":
						s.invocation = text
					case "http.request.resend_count":
						s.resend = number
					case "http.response.status_code":
						s.status = number
					case "error.type":
						s.failure = text
					}
				}
				trace := hex.EncodeToString(span.TraceId)
				out[trace] = append(out[trace], s)
			}
		}
	}
	return out, nil
}

// ServeTraces takes an export of the handler's.
func (c *Collector) ServeTraces(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(http.MaxBytesReader(w, r.Body, maxBody))
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, "reading spans: "+err.Error(), http.StatusBadRequest)
			return
		}
		body = io.LimitReader(unpacked, maxBody)
	}
	message, err := io.ReadAll(body)
	if err == nil {
		var spans map[string][]tracedSpan
		if spans, err = readSpans(message); err == nil {
			c.onSpans(spans)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty ExportTraceServiceResponse: everything was taken
}

func (c *Collector) onSpans(spans map[string][]tracedSpan) {
	c.mu.Lock()
	for trace, list := range spans {
		if len(c.traced) > 5*keptInvocations {
			clear(c.traced)
		}
		c.traced[trace] = append(c.traced[trace], list...)
	}
	c.mu.Unlock()
	c.poke()
}

// handlerSpansLocked are the handler's own bars: the invocation as it saw it, and below it each request to the gateway.
func (c *Collector) handlerSpansLocked(inv *Invocation, id string, end time.Time) []Span {
	var out []Span
	list := c.traced[inv.TraceID]
	for _, own := range list {
		if own.invocation != id || own.start.Before(inv.Started.Add(-2*time.Millisecond)) || own.start.After(end) {
			continue
		}
		out = append(out, own.bar(inv, "handler", "handler", own.status >= 500))
		for _, attempt := range list {
			if attempt.parent == own.id && attempt.invocation == "" {
				name := "request"
				if attempt.resend > 0 {
					name = fmt.Sprintf("request %d", attempt.resend+1)
				}
				out = append(out, attempt.bar(inv, name, "request", attempt.status >= 400))
			}
		}
	}
	return out
}

func (s tracedSpan) bar(inv *Invocation, name, kind string, bad bool) Span {
	note := s.failure
	if s.status > 0 {
		note = statusText(s.status)
	}
	return Span{
		Name: name, Kind: kind, Note: note, Bad: bad || s.failure != "",
		StartMS:    max(0, float64(s.start.Sub(inv.Started).Microseconds())/1000),
		DurationMS: float64(s.end.Sub(s.start).Microseconds()) / 1000,
	}
}
