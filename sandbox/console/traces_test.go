package console

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"apimrelay/sandbox/host"
)

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func number(key string, value int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
}

func TestExportedSpansAreDrawn(t *testing.T) {
	began := time.Now().Add(-time.Second).Truncate(time.Millisecond)
	at := func(ms int) uint64 { return uint64(began.Add(time.Duration(ms) * time.Millisecond).UnixNano()) }
	id := func(n byte) []byte { return bytes.Repeat([]byte{n}, 8) }
	trace := bytes.Repeat([]byte{0xab}, 16)
	const traceID = "abababababababababababababababab"
	export, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{
		{TraceId: trace, SpanId: id(2), ParentSpanId: id(1), StartTimeUnixNano: at(20), EndTimeUnixNano: at(30),
			Attributes: []*commonpb.KeyValue{text("http.request.method", "GET"), text("error.type", "gateway-unreachable")}},
		{TraceId: trace, SpanId: id(3), ParentSpanId: id(1), StartTimeUnixNano: at(40), EndTimeUnixNano: at(50),
			Attributes: []*commonpb.KeyValue{number("http.request.resend_count", 1), number("http.response.status_code", 200)}},
		{TraceId: trace, SpanId: id(1), StartTimeUnixNano: at(10), EndTimeUnixNano: at(60),
			Attributes: []*commonpb.KeyValue{text("faas.invocation_id", "one"), number("http.response.status_code", 200)}},
		{TraceId: trace, SpanId: id(4), ParentSpanId: id(9), StartTimeUnixNano: at(20), EndTimeUnixNano: at(30)}, // of another invocation
	}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(export)
	_ = w.Close()
	for name, c := range map[string]struct {
		encoding string
		body     []byte
		status   int
	}{"plain": {"", export, 200}, "gzip": {"gzip", packed.Bytes(), 200}, "none": {"", []byte("hello"), 400}, "no gzip": {"gzip", export, 400}} {
		c2 := NewCollector(&Board{}, nil, "sample backend")
		r := httptest.NewRequest(http.MethodPost, TracesPath, bytes.NewReader(c.body))
		r.Header.Set("Content-Encoding", c.encoding)
		answer := httptest.NewRecorder()
		c2.ServeTraces(answer, r)
		if answer.Code != c.status {
			t.Errorf("%s: want %d, got %d %s", name, c.status, answer.Code, answer.Body)
		}
		c2.OnLog(line(began.Add(60*time.Millisecond), `{"invocation_id":"one","trace_id":"`+traceID+`"}`))
		inv := c2.buildLocked("one", host.Invocation{ID: "one", Function: "relay", Started: began, Duration: 70 * time.Millisecond, Status: host.Succeeded})
		want := []Span{{Name: "relay", Kind: "function", DurationMS: 70, Note: outcome(inv)}}
		if c.status == 200 {
			want = append(want,
				Span{Name: "handler", Kind: "handler", StartMS: 10, DurationMS: 50, Note: "200 OK"},
				Span{Name: "request", Kind: "request", StartMS: 20, DurationMS: 10, Note: "gateway-unreachable", Bad: true},
				Span{Name: "request 2", Kind: "request", StartMS: 40, DurationMS: 10, Note: "200 OK"})
		}
		if diff := cmp.Diff(want, inv.Spans); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
