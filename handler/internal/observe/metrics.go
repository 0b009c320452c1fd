package observe

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// metrics are the instruments and their export. Names with apimrelay in front are ours, for what the semantic conventions have no name for.
type metrics struct {
	invocations instrument[labels]
	attempts    instrument[labels]
	retries     instrument[reason]
	refusals    instrument[reason]
	tokens      tokenMetrics

	upload   *uploader
	from     source
	timeout  time.Duration // of one export
	interval time.Duration
	ticker   *time.Ticker
	sending  chan struct{} // holds one: exports are one after the other. What follows is used by who put it in.
	message  []byte        // memory that is used again
	stopped  bool
}

// labels are those of one series of a duration. Empty ones are left out. There are few of them: names of functions and gateways stand in the settings,
// methods and failures are from short lists.
type labels struct {
	function, trigger    string // of an invocation
	method, host, scheme string // of an attempt, with the port
	port, status         int
	failure              string
}

func (l labels) appendTo(b []byte, number int) []byte {
	for _, label := range [...]struct{ name, value string }{
		{"faas.name", l.function}, {"faas.trigger", l.trigger}, {"http.request.method", l.method},
		{"server.address", l.host}, {"url.scheme", l.scheme}, {"error.type", l.failure},
	} {
		if label.value != "" {
			b = appendText(b, number, label.name, label.value)
		}
	}
	if l.port > 0 {
		b = appendNumber(b, number, "server.port", l.port)
	}
	if l.status > 0 {
		b = appendNumber(b, number, "http.response.status_code", l.status)
	}
	return b
}

// reason is a function and a short constant word.
type reason struct{ function, word string }

// newMetrics reads OTEL_METRIC_EXPORT_INTERVAL and _TIMEOUT and which temporality the collector wants, cumulative unless told otherwise.
func newMetrics(v variables, upload *uploader, from source) (*metrics, error) {
	const variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
	preference := strings.ToLower(v.get(variable))
	switch preference {
	case "", "cumulative", "delta", "lowmemory":
	default:
		return nil, fmt.Errorf("%s: want cumulative, delta or lowmemory, got %q", variable, preference)
	}
	now := time.Now()
	m := &metrics{
		upload: upload, from: from,
		interval: v.positive("OTEL_METRIC_EXPORT_INTERVAL", time.Minute),
		timeout:  v.positive("OTEL_METRIC_EXPORT_TIMEOUT", 30*time.Second),
		sending:  make(chan struct{}, 1),
		tokens:   tokenMetrics{delta: preference == "delta", start: now, begun: now},
	}
	m.ticker = time.NewTicker(m.interval)
	delta := preference == "delta" || preference == "lowmemory"
	limit := v.integer(2000, "OTEL_GO_X_CARDINALITY_LIMIT") // one of the SDK for Go, beside the specification's variables
	each := strings.EqualFold(v.get("OTEL_GO_X_PER_SERIES_START_TIMESTAMPS"), "true")
	for _, in := range []*instrument[labels]{&m.invocations, &m.attempts} {
		in.histogram, in.unit, in.attributes = true, "s", func(b []byte, number int, l labels) []byte { return l.appendTo(b, number) }
		in.delta, in.limit, in.each = delta, limit, each
		in.start(now)
	}
	m.invocations.name, m.invocations.description = "faas.invoke_duration", "From the host's call to the end of its answer"
	m.attempts.name = "http.client.request.duration"
	m.attempts.description = "From the request to the gateway to the header of its answer, for each attempt"
	for in, word := range map[*instrument[reason]]string{&m.retries: "apimrelay.reason", &m.refusals: "apimrelay.class"} {
		in.attributes = func(b []byte, number int, r reason) []byte {
			return appendText(appendText(b, number, "faas.name", r.function), number, word, r.word)
		}
		in.delta, in.limit, in.each = delta, limit, each
		in.start(now)
	}
	m.retries.name, m.retries.unit, m.retries.description = "apimrelay.retries", "{attempt}", "Attempts beyond the first, by what made them necessary"
	m.refusals.name, m.refusals.unit, m.refusals.description = "apimrelay.refusals", "{answer}", "Answers 401 and 403 of the gateway, by class"
	return m, nil
}

// Retry counts an attempt beyond the first. reason is a short constant word: a status, or a kind of failure.
func (t *Telemetry) Retry(function, why string) {
	if t != nil && t.metrics != nil {
		t.metrics.retries.add(reason{function, why})
	}
}

// Refusal counts an answer 401 or 403 of the gateway. class is one of the relay's.
func (t *Telemetry) Refusal(function, class string) {
	if t != nil && t.metrics != nil {
		t.metrics.refusals.add(reason{function, class})
	}
}

// run exports at each interval, until ctx ends.
func (m *metrics) run(ctx context.Context, report func(error)) {
	defer m.ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.ticker.C:
			if err := m.send(ctx, false); err != nil {
				report(err)
			}
		}
	}
}

// send exports what the metrics are now, and returns when the collector has it or ctx ends. What cannot be sent is in the next export,
// unless only differences are wanted. The last one ends them.
func (m *metrics) send(ctx context.Context, last bool) error {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.timeout)
		defer cancel()
	}
	select {
	case m.sending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.sending }()
	if m.stopped || ctx.Err() != nil {
		return ctx.Err()
	}
	if m.stopped = last; !last {
		m.ticker.Reset(m.interval)
	}
	m.message = m.appendTo(m.message[:0], time.Now())
	return m.upload.upload(ctx, m.message)
}

// appendTo writes an ExportMetricsServiceRequest.
func (m *metrics) appendTo(b []byte, now time.Time) []byte {
	b, all := open(b, 1) // resource_metrics
	b = append(b, m.from.resource...)
	b, scoped := open(b, 2) // scope_metrics
	b = append(b, m.from.scope...)
	none := len(b)
	b = m.invocations.appendTo(b, now)
	b = m.attempts.appendTo(b, now)
	b = m.retries.appendTo(b, now)
	b = m.refusals.appendTo(b, now)
	b = m.tokens.appendTo(b, now)
	if len(b) == none {
		return closed(b[:scoped-2], all) // a scope without metrics is left out
	}
	return closed(closed(b, scoped), all)
}
