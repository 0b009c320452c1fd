package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"
)

// metricsCollector takes metrics in the place of net/http's transport.
type metricsCollector struct {
	hangs bool

	mu       sync.Mutex
	at       []time.Duration
	begun    time.Time
	messages []*collectormetrics.ExportMetricsServiceRequest
}

func (c *metricsCollector) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	m := new(collectormetrics.ExportMetricsServiceRequest)
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.messages, c.at = append(c.messages, m), append(c.at, time.Since(c.begun))
	c.mu.Unlock()
	if c.hangs {
		return hang(r)
	}
	return response(200, ""), nil
}

func (c *metricsCollector) times() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.at)
}

func (c *metricsCollector) retries(export int) (values []int64, times [][2]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sm := range c.messages[export].ResourceMetrics[0].ScopeMetrics {
		for _, m := range sm.Metrics {
			for _, p := range m.GetSum().GetDataPoints() {
				values, times = append(values, p.GetAsInt()), append(times, [2]uint64{p.StartTimeUnixNano, p.TimeUnixNano})
			}
		}
	}
	return values, times
}

// startMetrics starts the export of metrics alone to a fake.
func startMetrics(t *testing.T, c *metricsCollector, log slog.Handler, environ ...string) *Telemetry {
	t.Helper()
	c.begun = time.Now()
	on := startAt(t, log, append(environ, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector.example/v1/metrics"))
	on.metrics.sending <- struct{}{} // whoever holds it has the uploader
	on.metrics.upload.client.Transport = c
	<-on.metrics.sending
	return on
}

func TestMetricsAreExportedAtEachIntervalAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(metricsCollector)
		on := startMetrics(t, c, slog.DiscardHandler, "OTEL_METRIC_EXPORT_INTERVAL", "10000")
		on.Retry("f", "429")
		time.Sleep(25 * time.Second)
		on.Retry("f", "429")
		if err := on.Flush(context.Background()); err != nil { // the next interval begins here
			t.Error(err)
		}
		time.Sleep(12 * time.Second)
		if err := stop(t, on); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if err := errors.Join(on.Flush(context.Background()), stop(t, on)); err != nil {
			t.Error(err)
		}
		if got := c.times(); got != "[10s 20s 25s 35s 37s]" {
			t.Errorf("want an export every ten seconds, at the flush and at the end, got %s", got)
		}
		for export, want := range []int64{1, 1, 2, 2, 2} {
			values, times := c.retries(export)
			if len(values) != 1 || values[0] != want || times[0][0] != nanos(c.begun) || times[0][1] != nanos(c.begun)+uint64(c.at[export]) {
				t.Errorf("export %d: want %d since the start, got %v and %v", export, want, values, times)
			}
		}
	})
}

func TestDifferencesFollowOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(metricsCollector)
		on := startMetrics(t, c, slog.DiscardHandler, "OTEL_METRIC_EXPORT_INTERVAL", "1000", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
		var fetched atomic.Uint64
		fetched.Store(5)
		on.ObserveTokens(func() []TokenStats {
			return []TokenStats{{Identity: "i", Outcomes: map[string]uint64{"new": fetched.Load()}}}
		})
		before := nanos(c.begun)
		for export, want := range []string{"[2 5]", "[0]", "[1 3]"} {
			switch export {
			case 0:
				on.Retry("f", "429")
				on.Retry("f", "429")
			case 2:
				on.Retry("f", "429")
				fetched.Add(3)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			values, times := c.retries(export)
			if got := fmt.Sprint(values); got != want {
				t.Errorf("export %d: want %s, got %s", export, want, got)
			}
			for _, at := range times {
				if at[0] != before || at[1] != before+1e9 {
					t.Errorf("export %d: want the second from %d, got %v", export, before, at)
				}
			}
			before += 1e9
		}
		_ = stop(t, on)
	})
}

func TestMetricsOfACollectorThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &metricsCollector{hangs: true}
		var stdout, stderr lines
		on := startMetrics(t, c, NewHandler(&stdout, &stderr, nil), "OTEL_METRIC_EXPORT_INTERVAL", "1000", "OTEL_METRIC_EXPORT_TIMEOUT", "400")
		begun := time.Now()
		time.Sleep(1100 * time.Millisecond) // an export hangs
		on.Begin(NewTrace(), Invocation{}).End(200, "")
		on.Retry("f", "429")
		if took := time.Since(begun); took != 1100*time.Millisecond {
			t.Errorf("want callers that wait for nothing, got %s", took)
		}
		time.Sleep(3 * time.Second)
		begun = time.Now()
		if err := stop(t, on); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 200*time.Millisecond {
			t.Errorf("want to give up after 200 ms, got %v after %s", err, time.Since(begun))
		}
		if len(stderr.text) != 1 || hostLevel(stderr.text[0], true) != "Warning" {
			t.Errorf("want one Warning, got %q", stderr.text)
		}
	})
}

func TestVariablesThatMakeNoSenseAreTold(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_METRIC_EXPORT_INTERVAL": "-5", "OTEL_METRIC_EXPORT_TIMEOUT": "9223372036854775807", "OTEL_BSP_MAX_QUEUE_SIZE": "many",
		"OTEL_TRACES_SAMPLER": "jaeger_remote", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1e3", "OTEL_RESOURCE_ATTRIBUTES": "a=%zz",
	} {
		var stdout, stderr lines
		environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value}
		on, err := Start(func(n string) (string, bool) { v, ok := environ[n]; return v, ok }, one, slog.New(NewHandler(&stdout, &stderr, nil)))
		if err != nil {
			t.Errorf("%s: want telemetry on, got %v", name, err)
			continue
		}
		if len(stderr.text) != 1 || !strings.Contains(stderr.text[0], name) || hostLevel(stderr.text[0], true) != "Warning" {
			t.Errorf("want one Warning that names %s, got %q", name, stderr.text)
		}
		if on.metrics.interval != time.Minute || on.metrics.timeout != 30*time.Second || on.spans.limit != 2048 || on.limits.count != 128 {
			t.Errorf("%s: want the defaults, got %+v", name, on)
		}
		on.cancel()
	}
	environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_RESOURCE_ATTRIBUTES": "a=1,b"}
	if _, err := Start(func(n string) (string, bool) { v, ok := environ[n]; return v, ok }, one, nil); err == nil || !strings.Contains(err.Error(), "OTEL_RESOURCE_ATTRIBUTES") {
		t.Errorf("want an error for a pair without a value, as the SDK has one, got %v", err)
	}
}
