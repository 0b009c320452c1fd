package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"apimrelay/handler/internal/memo"
)

// meters are the instruments. Names with apimrelay in front are ours, for what the semantic conventions have no name for.
type meters struct {
	meter       metric.Meter
	series      memo.Memo[labels, metric.MeasurementOption]
	invocations metric.Float64Histogram
	upstream    metric.Float64Histogram
	retries     metric.Int64Counter
	refusals    metric.Int64Counter
	tokenAge    metric.Float64ObservableGauge
	refreshes   metric.Int64ObservableCounter
}

// labels are those of one series of a duration. Empty ones are left out. There are few of them: names of functions and gateways stand in the settings,
// methods and failures are from short lists.
type labels struct {
	function, trigger    string // of an invocation
	method, host, scheme string // of an attempt, with the port
	port, status         int
	failure              string
}

func (l labels) appendTo(to []attribute.KeyValue) []attribute.KeyValue {
	text := func(name, value string) {
		if value != "" {
			to = append(to, attribute.String(name, value))
		}
	}
	number := func(name string, value int) {
		if value > 0 {
			to = append(to, attribute.Int(name, value))
		}
	}
	text("faas.name", l.function)
	text("faas.trigger", l.trigger)
	text("http.request.method", l.method)
	text("server.address", l.host)
	number("server.port", l.port)
	text("url.scheme", l.scheme)
	number("http.response.status_code", l.status)
	text("error.type", l.failure)
	return to
}

// option is kept for each series: to sort and hash its labels is what most of the record of a duration costs.
func (l labels) option() metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(l.appendTo(nil)...))
}

// durations are the buckets that the semantic conventions advise for http.client.request.duration, in seconds, and some for slow backends.
var durations = metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 230)

func (in *meters) make(m metric.Meter) error {
	in.meter = m
	var errs [6]error
	in.invocations, errs[0] = m.Float64Histogram("faas.invoke_duration", durations, metric.WithUnit("s"),
		metric.WithDescription("From the host's call to the end of its answer"))
	in.upstream, errs[1] = m.Float64Histogram("http.client.request.duration", durations, metric.WithUnit("s"),
		metric.WithDescription("From the request to the gateway to the header of its answer, for each attempt"))
	in.retries, errs[2] = m.Int64Counter("apimrelay.retries", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts beyond the first, by what made them necessary"))
	in.refusals, errs[3] = m.Int64Counter("apimrelay.refusals", metric.WithUnit("{answer}"),
		metric.WithDescription("Answers 401 and 403 of the gateway, by class"))
	in.tokenAge, errs[4] = m.Float64ObservableGauge("apimrelay.token.age", metric.WithUnit("s"),
		metric.WithDescription("Time since the token in hand was received"))
	in.refreshes, errs[5] = m.Int64ObservableCounter("apimrelay.token.refreshes", metric.WithUnit("{fetch}"),
		metric.WithDescription("Fetches of a token, by outcome"))
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Retry counts an attempt beyond the first. reason is a short constant word: a status, or a kind of failure.
func (t *Telemetry) Retry(function, reason string) {
	if t != nil {
		t.retries.Add(context.Background(), 1, metric.WithAttributes(attribute.String("faas.name", function), attribute.String("apimrelay.reason", reason)))
	}
}

// Refusal counts an answer 401 or 403 of the gateway. class is one of the relay's.
func (t *Telemetry) Refusal(function, class string) {
	if t != nil {
		t.refusals.Add(context.Background(), 1, metric.WithAttributes(attribute.String("faas.name", function), attribute.String("apimrelay.class", class)))
	}
}

// TokenStats is what one token source reports when metrics are collected.
type TokenStats struct {
	Identity   string    // its name, nothing secret: tells apart identities with tokens for one resource
	Resource   string    // what the token is for
	ReceivedAt time.Time // of the token in hand; zero = there is none
	Outcomes   map[string]uint64
}

// ObserveTokens has the metrics of token sources asked for at each collection: age in seconds, fetches by outcome since the start. report
// must be quick and safe to call at any time.
func (t *Telemetry) ObserveTokens(report func() []TokenStats) error {
	if t == nil {
		return nil
	}
	_, err := t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, s := range report() {
			source := []attribute.KeyValue{attribute.String("apimrelay.identity", s.Identity), attribute.String("apimrelay.resource", s.Resource)}
			if !s.ReceivedAt.IsZero() {
				o.ObserveFloat64(t.tokenAge, time.Since(s.ReceivedAt).Seconds(), metric.WithAttributes(source...))
			}
			for outcome, n := range s.Outcomes {
				labels := append(source[:len(source):len(source)], attribute.String("apimrelay.outcome", outcome))
				o.ObserveInt64(t.refreshes, int64(n), metric.WithAttributes(labels...))
			}
		}
		return nil
	}, t.tokenAge, t.refreshes)
	return err
}
