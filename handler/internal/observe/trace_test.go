package observe

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
	good    = "00-" + traceID + "-" + spanID + "-01"
)

// What comes in goes on: the trace and the span that the next one is below, and all lines of
// tracestate as one list.
func TestATraceGoesOn(t *testing.T) {
	for name, row := range map[string]struct {
		in   http.Header
		want http.Header // what a request of the trace has, nil for no trace
	}{
		"none": {http.Header{}, nil},
		"sampled": {http.Header{"Traceparent": {good}},
			http.Header{"Traceparent": {good}}},
		"not sampled": {http.Header{"Traceparent": {good[:53] + "00"}},
			http.Header{"Traceparent": {good[:53] + "00"}}},
		"a later version": {http.Header{"Traceparent": {"cc" + good[2:] + "-new"}},
			http.Header{"Traceparent": {good}}},
		"two":    {http.Header{"Traceparent": {good, good}}, nil},
		"broken": {http.Header{"Traceparent": {good[1:]}, "Tracestate": {"a=1"}}, nil},
		"capitals": {http.Header{"Traceparent": {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" +
			spanID + "-01"}}, nil},
		"no trace id": {http.Header{"Traceparent": {"00-00000000000000000000000000000000-" +
			spanID + "-01"}}, nil},
		"no span id": {http.Header{"Traceparent": {"00-" + traceID +
			"-0000000000000000-01"}}, nil},
		"version ff":        {http.Header{"Traceparent": {"ff" + good[2:]}}, nil},
		"version 00, more":  {http.Header{"Traceparent": {good + "-new"}}, nil},
		"blanks around it":  {http.Header{"Traceparent": {" " + good}}, nil},
		"only a tracestate": {http.Header{"Tracestate": {"a=1"}}, nil},
		"a tracestate of several lines": {http.Header{"Traceparent": {good},
			"Tracestate": {"a=1", "b@c=2,d=3"}},
			http.Header{"Traceparent": {good}, "Tracestate": {"a=1,b@c=2,d=3"}}},
		"a broken tracestate": {http.Header{"Traceparent": {good}, "Tracestate": {"A=1"}},
			http.Header{"Traceparent": {good}}},
		"a key twice": {http.Header{"Traceparent": {good}, "Tracestate": {"a=1", "a=2"}},
			http.Header{"Traceparent": {good}}},
	} {
		trace, ok := Continue(row.in)
		if ok != (row.want != nil) || ok != trace.Valid() {
			t.Errorf("%s: want a trace: %v, got %v", name, row.want != nil, ok)
			continue
		}
		forged := http.Header{"Traceparent": {"forged"}, "Tracestate": {"forged"},
			"Baggage": {"k=v"}}
		want := forged.Clone()
		if ok {
			want = row.want.Clone()
			want["Baggage"] = []string{"k=v"}
			if got := trace.TraceIDString(); got != traceID {
				t.Errorf("%s: want the caller's trace id, got %s", name, got)
			}
		}
		trace.Inject(forged)
		if diff := cmp.Diff(want, forged); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}
