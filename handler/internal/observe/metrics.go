package observe

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// buckets are those that the semantic conventions advise for http.client.request.duration, in
// seconds, and some more for slow backends.
var buckets = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
	30, 60, 120, 230}

// instruments makes the metrics. Names with apimrelay in front are ours, for what the semantic
// conventions have no name for. Durations are recorded as they come; everything else is counted
// elsewhere and read at each collection.
func (t *Telemetry) instruments(meter metric.Meter, c Config) {
	made := func(err error) {
		if err != nil {
			t.report(err)
		}
	}
	var err error
	t.invocations, err = meter.Float64Histogram("faas.invoke_duration", metric.WithUnit("s"),
		metric.WithDescription("From the host's call to the end of its answer"),
		metric.WithExplicitBucketBoundaries(buckets...))
	made(err)
	t.attempts, err = meter.Float64Histogram("http.client.request.duration", metric.WithUnit("s"),
		metric.WithDescription("From a request to the gateway to its answer's header"),
		metric.WithExplicitBucketBoundaries(buckets...))
	made(err)
	for _, row := range []struct {
		what                          event
		name, unit, description, word string
	}{
		{retry, "apimrelay.retries", "{attempt}", "Attempts after one that failed, by reason",
			"apimrelay.reason"},
		{replay, "apimrelay.replays", "{attempt}",
			"Attempts after a refusal, by what was exchanged for them", "apimrelay.with"},
		{refusal, "apimrelay.refusals", "{answer}", "Answers 401 and 403 of the gateway, by class",
			"apimrelay.class"},
		{forGood, "apimrelay.refused_for_good", "{event}",
			"Events that no repetition can make succeed, by status or code", "apimrelay.reason"},
	} {
		_, err := meter.Int64ObservableCounter(row.name, metric.WithUnit(row.unit),
			metric.WithDescription(row.description),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
				c.Counters.each(func(k counted, n uint64) {
					if k.what == row.what {
						o.Observe(int64(n), metric.WithAttributes(
							texts("faas.name", k.function, row.word, k.word)...))
					}
				})
				return nil
			}))
		made(err)
	}
	if c.Tokens == nil {
		return
	}
	of := func(s TokenStats, more ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributes(append(more,
			texts("apimrelay.identity", s.Identity, "apimrelay.resource", s.Resource)...)...)
	}
	_, err = meter.Float64ObservableGauge("apimrelay.token.age", metric.WithUnit("s"),
		metric.WithDescription("Time since the token in hand was received"),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			for _, s := range c.Tokens() {
				if !s.ReceivedAt.IsZero() {
					o.Observe(time.Since(s.ReceivedAt).Seconds(), of(s))
				}
			}
			return nil
		}))
	made(err)
	_, err = meter.Int64ObservableCounter("apimrelay.token.refreshes", metric.WithUnit("{fetch}"),
		metric.WithDescription("Fetches of a token, by outcome"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for _, s := range c.Tokens() {
				for outcome, n := range s.Outcomes {
					o.Observe(int64(n), of(s, attribute.String("apimrelay.outcome", outcome)))
				}
			}
			return nil
		}))
	made(err)
}
