package observe

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/metric"
	metricsdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
)

func testMetrics(t *testing.T, environ map[string]string) *metrics {
	t.Helper()
	m, err := newMetrics(variables{lookup: func(n string) (string, bool) { v, ok := environ[n]; return v, ok }}, nil, source{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.ticker.Stop)
	return m
}

func collect(t *testing.T, m *metrics) map[string]*metricspb.Metric {
	t.Helper()
	var message collectormetrics.ExportMetricsServiceRequest
	if err := proto.Unmarshal(m.appendTo(nil, time.Now()), &message); err != nil {
		t.Fatal(err)
	}
	all := map[string]*metricspb.Metric{}
	for _, sm := range message.ResourceMetrics[0].ScopeMetrics {
		for _, one := range sm.Metrics {
			all[one.Name] = one
		}
	}
	return all
}

// Of the same values the histogram has the same buckets, sum and extremes as the SDK's, export after export; on a boundary, too.
func TestHistogramIsTheSDKs(t *testing.T) {
	for preference, temporality := range map[string]metricdata.Temporality{"cumulative": metricdata.CumulativeTemporality, "delta": metricdata.DeltaTemporality} {
		t.Run(preference, func(t *testing.T) {
			m := testMetrics(t, map[string]string{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": preference})
			reader := metricsdk.NewManualReader(metricsdk.WithTemporalitySelector(func(metricsdk.InstrumentKind) metricdata.Temporality { return temporality }))
			provider := metricsdk.NewMeterProvider(metricsdk.WithReader(reader))
			histogram, err := provider.Meter("").Float64Histogram("h", metric.WithExplicitBucketBoundaries(durations[:]...))
			if err != nil {
				t.Fatal(err)
			}
			var before uint64
			for round := range 4 {
				values := append([]float64{0, math.SmallestNonzeroFloat64, 231, 1e9, 0.0050000001}, durations[:]...)
				if round == 2 {
					values = nil // nothing since the last export
				}
				rand.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
				for _, v := range values {
					m.attempts.record(labels{}, v)
					histogram.Record(context.Background(), v)
				}
				var all metricdata.ResourceMetrics
				if err := reader.Collect(context.Background(), &all); err != nil {
					t.Fatal(err)
				}
				var want, got []string
				if len(all.ScopeMetrics) > 0 {
					for _, p := range all.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints {
						lowest, _ := p.Min.Value()
						highest, _ := p.Max.Value()
						want = append(want, fmt.Sprint(p.Count, float32(p.Sum), lowest, highest, p.BucketCounts, p.Bounds))
					}
				}
				for _, p := range collect(t, m)["http.client.request.duration"].GetHistogram().GetDataPoints() {
					got = append(got, fmt.Sprint(p.Count, float32(*p.Sum), *p.Min, *p.Max, p.BucketCounts, p.ExplicitBounds))
					if preference == "delta" && p.StartTimeUnixNano < before {
						t.Errorf("want what came since %d, got %v", before, p)
					}
					before = p.TimeUnixNano
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("export %d (-SDK +ours):\n%s", round, diff)
				}
			}
		})
	}
}

// Whatever is recorded while exports are made is in one of them, and in one alone.
func TestNothingIsLostOrDoneTwiceBetweenExports(t *testing.T) {
	m := testMetrics(t, map[string]string{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"})
	const goroutines, each = 4, 5000
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for n := range each {
				m.attempts.record(labels{status: n % 3}, 1)
				m.retries.add(reason{"f", fmt.Sprint(i % 2)})
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var recorded, counted uint64
	var sum float64
	for last := false; ; {
		all := collect(t, m)
		for _, p := range all["http.client.request.duration"].GetHistogram().GetDataPoints() {
			recorded += p.Count
			sum += *p.Sum
		}
		for _, p := range all["apimrelay.retries"].GetSum().GetDataPoints() {
			counted += uint64(p.GetAsInt())
		}
		if last {
			break
		}
		select {
		case <-done:
			last = true
		default:
		}
	}
	if recorded != goroutines*each || counted != goroutines*each || sum != goroutines*each {
		t.Errorf("want %d of each, got %d, %d and a sum of %v", goroutines*each, recorded, counted, sum)
	}
}

func TestSeriesBeginWithTheirFirstValueWhereAskedFor(t *testing.T) {
	for each, environ := range map[bool]map[string]string{false: nil, true: {"OTEL_GO_X_PER_SERIES_START_TIMESTAMPS": "True"}} {
		synctest.Test(t, func(t *testing.T) {
			m := testMetrics(t, environ)
			begun := nanos(time.Now())
			want := begun
			time.Sleep(time.Second)
			if each {
				want = nanos(time.Now())
			}
			m.retries.add(reason{"f", "429"})
			m.attempts.record(labels{}, 1)
			time.Sleep(time.Second)
			all := collect(t, m)
			sum, histogram := all["apimrelay.retries"].GetSum().DataPoints[0].StartTimeUnixNano, all["http.client.request.duration"].GetHistogram().DataPoints[0].StartTimeUnixNano
			if sum != want || histogram != want {
				t.Errorf("want both from %d, got %d and %d", want-begun, sum-begun, histogram-begun)
			}
		})
	}
}

func TestToRecordAllocatesNothing(t *testing.T) {
	m := testMetrics(t, nil)
	l := labels{function: "f", trigger: "http", status: 200}
	m.invocations.record(l, 1)
	if n := testing.AllocsPerRun(100, func() { m.invocations.record(l, 1) }); n != 0 {
		t.Errorf("want no allocation, got %v", n)
	}
}
