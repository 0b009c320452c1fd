// Package otlptest is an OpenTelemetry collector for tests: it takes OTLP over HTTP
// (https://opentelemetry.io/docs/specs/otlp/#otlphttp) in its binary form and keeps what came.
package otlptest

import (
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes metrics at any path that ends with /v1/metrics and spans at any other. It is safe
// for concurrent use.
type Collector struct {
	*httptest.Server
	// Answer replaces the answer of a request where it is not nil and returns true. What came with
	// the request is not kept then. Set it before the first request.
	Answer func(w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	state   State
	arrived chan struct{} // closed and made anew with each request
}

// State is what has come so far.
type State struct {
	Spans    []*tracepb.Span
	Metrics  map[string]*metricspb.Metric // by name, each as it came last
	Resource map[string]string            // of what came last
	Header   http.Header                  // of the last request
	Requests int
}

// New starts a collector that ends with the test.
func New(t testing.TB) *Collector {
	c := &Collector{arrived: make(chan struct{})}
	c.state.Metrics = map[string]*metricspb.Metric{}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		close(c.arrived)
		c.arrived = make(chan struct{})
	}()
	c.state.Requests++
	c.state.Header = r.Header
	if c.Answer != nil && c.Answer(w, r) {
		return
	}
	if !c.keep(r) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// keep reports whether the request could be read.
func (c *Collector) keep(r *http.Request) bool {
	var from io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			return false
		}
		from = unpacked
	}
	body, err := io.ReadAll(from)
	if err != nil {
		return false
	}
	if strings.HasSuffix(r.URL.Path, "/v1/metrics") {
		var request collectormetrics.ExportMetricsServiceRequest
		err = proto.Unmarshal(body, &request)
		for _, resource := range request.ResourceMetrics {
			c.state.Resource = Attributes(resource.Resource.Attributes)
			for _, scope := range resource.ScopeMetrics {
				for _, m := range scope.Metrics {
					c.state.Metrics[m.Name] = m
				}
			}
		}
		return err == nil
	}
	var request collectortrace.ExportTraceServiceRequest
	err = proto.Unmarshal(body, &request)
	for _, resource := range request.ResourceSpans {
		c.state.Resource = Attributes(resource.Resource.Attributes)
		for _, scope := range resource.ScopeSpans {
			c.state.Spans = append(c.state.Spans, scope.Spans...)
		}
	}
	return err == nil
}

// State returns what has come so far.
func (c *Collector) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state
	s.Spans, s.Metrics = slices.Clone(s.Spans), maps.Clone(s.Metrics)
	return s
}

// Reset forgets the spans that have come.
func (c *Collector) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Spans = nil
}

// Until waits until done is true of what has come, ten seconds at most. what names it in the
// failure.
func (c *Collector) Until(t testing.TB, what string, done func(State) bool) State {
	t.Helper()
	for deadline := time.After(10 * time.Second); ; {
		c.mu.Lock()
		arrived := c.arrived
		c.mu.Unlock()
		s := c.State()
		if done(s) {
			return s
		}
		select {
		case <-arrived:
		case <-deadline:
			t.Fatalf("want %s, got %d spans and %d metrics in %d requests", what,
				len(s.Spans), len(s.Metrics), s.Requests)
		}
	}
}

// Attributes are names and values as texts.
func Attributes(list []*commonpb.KeyValue) map[string]string {
	all := map[string]string{}
	for _, kv := range list {
		if text, ok := kv.Value.Value.(*commonpb.AnyValue_StringValue); ok {
			all[kv.Key] = text.StringValue
			continue
		}
		_, value, _ := strings.Cut(kv.Value.String(), ":")
		all[kv.Key] = strings.TrimSpace(value)
	}
	return all
}
