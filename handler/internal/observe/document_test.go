package observe

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"apimrelay/internal/otlptest"
)

// docs/operations.md names every key of a line, every metric and every label.
func TestTheDocumentNamesKeysAndMetrics(t *testing.T) {
	b, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	document := string(b)
	want := func(name string) {
		t.Helper()
		if !strings.Contains(document, "`"+name+"`") {
			t.Errorf("docs/operations.md does not name %s", name)
		}
	}
	for _, kind := range []reflect.Type{reflect.TypeFor[Line](), reflect.TypeFor[Token]()} {
		for field := range kind.Fields() {
			want(field.Tag.Get("json"))
		}
	}

	collector, counters := otlptest.New(t), new(Counters)
	telemetry := start(t, Config{Counters: counters, Tokens: func() []TokenStats {
		return []TokenStats{{Identity: "i", Resource: "r", Outcomes: map[string]uint64{"new": 1}}}
	}}, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", collector.URL+"/v1/metrics")
	counters.Retry("f", "503")
	counters.Replay("f", "key")
	counters.Refusal("f", "key-invalid")
	counters.ForGood("f", "422")
	span := telemetry.Begin(Trace{}, Invocation{Function: "f", Trigger: "httpTrigger"})
	span.Attempt(Attempt{Method: "GET", Scheme: "https", Host: "h"}).End(500, "")
	span.End(500, "")
	metrics := collector.Until(t, "all metrics", func(s otlptest.State) bool {
		return len(s.Metrics) == 7 // of all but the age, since there is no token
	}).Metrics
	want("apimrelay.token.age")
	for name, m := range metrics {
		want(name)
		for _, p := range m.GetSum().GetDataPoints() {
			for label := range otlptest.Attributes(p.Attributes) {
				want(label)
			}
		}
		for _, p := range m.GetHistogram().GetDataPoints() {
			for label := range otlptest.Attributes(p.Attributes) {
				want(label)
			}
		}
	}
}
