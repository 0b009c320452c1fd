package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tracespb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// fakeCollector answers in the place of net/http's transport, so that time can be virtual.
type fakeCollector struct {
	answer func(r *http.Request) (*http.Response, error) // nil = 200

	mu      sync.Mutex
	at      []time.Time
	batches [][]*tracepb.Span
}

func (c *fakeCollector) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var message tracespb.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &message); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	c.batches = append(c.batches, message.ResourceSpans[0].ScopeSpans[0].Spans)
	c.mu.Unlock()
	if c.answer != nil {
		return c.answer(r)
	}
	return response(200, ""), nil
}

func response(status int, retryAfter string) *http.Response {
	res := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("not protobuf"))}
	if retryAfter != "" {
		res.Header.Set("Retry-After", retryAfter)
	}
	return res
}

func (c *fakeCollector) sizes() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []int
	for _, b := range c.batches {
		all = append(all, len(b))
	}
	return all
}

// startFake starts the export of traces alone to a fake.
func startFake(t *testing.T, c *fakeCollector, log slog.Handler, environ ...string) *Telemetry {
	t.Helper()
	on := startAt(t, log, append(environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector.example/v1/traces"))
	on.spans.sending <- struct{}{} // whoever holds it has the uploader
	on.spans.upload.client.Transport = c
	<-on.spans.sending
	return on
}

// startAt starts the export with variables that are given as names and values.
func startAt(t *testing.T, log slog.Handler, environ []string) *Telemetry {
	t.Helper()
	all := make(map[string]string)
	for i := 0; i < len(environ); i += 2 {
		all[environ[i]] = environ[i+1]
	}
	on, err := Start(func(n string) (string, bool) { v, ok := all[n]; return v, ok }, one, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	return on
}

func stop(t *testing.T, on *Telemetry) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	return on.Stop(ctx)
}

// state is what the queue holds at the moment.
func (q *queue) state() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Sprintf("%d waiting in %d full batches and another: %v, %d dropped, empty: %v, memory kept: %v",
		q.waiting, len(q.full), q.filling != nil, q.dropped, q.size == 0, len(q.spare) > 0 && len(q.spare) <= keepBatches)
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestBatchesAreSentWhenFullAndWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(fakeCollector)
		on := startFake(t, c, slog.DiscardHandler, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10", "OTEL_BSP_SCHEDULE_DELAY", "2000")
		other := on.Begin(NewTrace(), Invocation{}) // in flight: nothing is flushed for being idle
		begun := time.Now()
		for range 25 {
			on.Begin(NewTrace(), Invocation{}).End(200, "")
		}
		synctest.Wait()
		if got := fmt.Sprint(c.sizes()); got != "[10 10]" {
			t.Errorf("want two full batches at once, got %s", got)
		}
		time.Sleep(1999 * time.Millisecond)
		synctest.Wait()
		if got := fmt.Sprint(c.sizes()); got != "[10 10]" {
			t.Errorf("want nothing before the delay is over, got %s", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := fmt.Sprint(c.sizes()); got != "[10 10 5]" || c.at[2].Sub(begun) != 2*time.Second {
			t.Errorf("want the rest after two seconds, got %s after %s", got, c.at[len(c.at)-1].Sub(begun))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := len(c.sizes()); got != 3 {
			t.Errorf("want no export of nothing, got %d", got)
		}
		other.End(200, "")
		time.Sleep(idle)
		synctest.Wait()
		if got := fmt.Sprint(c.sizes()); got != "[10 10 5 1]" {
			t.Errorf("want the last as soon as nothing is in flight, got %s", got)
		}
		if err := stop(t, on); err != nil {
			t.Error(err)
		}
	})
}

// A collector that hangs takes no caller's time and no memory beyond the queue's, and what is lost is told.
func TestCollectorThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{answer: hang}
		var stdout, stderr lines
		on := startFake(t, c, NewHandler(&stdout, &stderr, nil), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10", "OTEL_BSP_MAX_QUEUE_SIZE", "30")
		other := on.Begin(NewTrace(), Invocation{})
		begun := time.Now()
		for range 10 {
			on.Begin(NewTrace(), Invocation{}).End(200, "")
		}
		synctest.Wait() // the first batch is on its way
		for range 1000 {
			on.Begin(NewTrace(), Invocation{Path: "/" + strings.Repeat("x", 1000)}).End(200, "")
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("want callers that wait for nothing, got %s", took)
		}
		if got := on.spans.state(); got != "30 waiting in 3 full batches and another: false, 970 dropped, empty: false, memory kept: false" {
			t.Errorf("want 30 spans kept and 970 dropped, got %s", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(c.sizes()); got != "[10 10 10 10]" {
			t.Errorf("want each batch tried for the time-out and given up, got %s", got)
		}
		if got := on.spans.state(); got != "0 waiting in 0 full batches and another: false, 970 dropped, empty: true, memory kept: true" {
			t.Errorf("want no span kept, and the memory of two batches at most, got %s", got)
		}
		if len(stderr.text) != 1 || !strings.Contains(stderr.text[0], "970 spans") || hostLevel(stderr.text[0], true) != "Warning" {
			t.Errorf("want one Warning with the loss, got %q", stderr.text)
		}
		other.End(200, "")
		begun = time.Now()
		if err := stop(t, on); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 200*time.Millisecond {
			t.Errorf("want to give up after 200 ms, got %v after %s", err, time.Since(begun))
		}
		on.Begin(NewTrace(), Invocation{}).End(200, "")
		if got := on.spans.state(); !strings.HasPrefix(got, "0 waiting") {
			t.Errorf("want nothing kept after the end, got %s", got)
		}
		if err := on.Flush(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// Callers may send paths of any length, and the queue counts bytes, too.
func TestQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{answer: hang}
		on := startFake(t, c, slog.DiscardHandler, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10", "OTEL_BSP_MAX_QUEUE_SIZE", "100")
		for range 200 {
			on.Begin(NewTrace(), Invocation{Path: "/" + strings.Repeat("x", 100<<10)}).End(200, "")
		}
		on.spans.mu.Lock()
		if q := on.spans; q.size > 100*averageSpan+101<<10 || q.dropped == 0 { // the last one may stand over
			t.Errorf("want about %d bytes at most, got %d", 100*averageSpan, q.size)
		}
		on.spans.mu.Unlock()
		_ = stop(t, on)
	})
}

// A queue of any size that a variable can ask for takes spans.
func TestQueueOfAnySizeTakesSpans(t *testing.T) {
	for _, size := range []string{"1", "1000000", "9223372036854775807"} {
		synctest.Test(t, func(t *testing.T) {
			var c fakeCollector
			on := startFake(t, &c, slog.DiscardHandler, "OTEL_BSP_MAX_QUEUE_SIZE", size)
			on.Begin(NewTrace(), Invocation{Function: "orders"}).End(200, "")
			if err := stop(t, on); err != nil {
				t.Error(err)
			}
			if len(c.batches) != 1 || len(c.batches[0]) != 1 {
				t.Errorf("%s: want one batch of one span, got %v", size, c.sizes())
			}
		})
	}
}

func TestAnswersOfTheCollector(t *testing.T) {
	for name, row := range map[string]struct {
		answers []string // status and Retry-After
		after   []time.Duration
		lost    bool
	}{
		"taken":                           {[]string{"200"}, []time.Duration{0}, false},
		"taken, another status":           {[]string{"204"}, []time.Duration{0}, false},
		"later, as it says":               {[]string{"429 2", "200"}, []time.Duration{0, 2 * time.Second}, false},
		"later, twice":                    {[]string{"503", "502", "200"}, []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond}, false},
		"later, beyond the time-out":      {[]string{"503 3600"}, []time.Duration{0}, true},
		"later, at a date: half a second": {[]string{"503 Wed, 21 Oct 2015 07:28:00 GMT", "200"}, []time.Duration{0, 500 * time.Millisecond}, false},
		"never":                           {[]string{"504", "504", "504"}, []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond}, true},
		"refused":                         {[]string{"400"}, []time.Duration{0}, true},
		"a redirect is not followed":      {[]string{"307"}, []time.Duration{0}, true},
		"the connection breaks, then it is taken": {[]string{"reset", "200"}, []time.Duration{0, 500 * time.Millisecond}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked int
				c := &fakeCollector{answer: func(*http.Request) (*http.Response, error) {
					status, retryAfter, _ := strings.Cut(row.answers[asked], " ")
					asked++
					if status == "reset" {
						return nil, errors.New("connection reset")
					}
					var n int
					fmt.Sscan(status, &n)
					return response(n, retryAfter), nil
				}}
				on := startFake(t, c, slog.DiscardHandler)
				begun := time.Now()
				on.Begin(NewTrace(), Invocation{Function: "f"}).End(200, "")
				if err := on.Flush(context.Background()); (err != nil) != row.lost {
					t.Errorf("want an error: %v, got %v", row.lost, err)
				}
				var after []time.Duration
				for i, at := range c.at {
					after = append(after, at.Sub(begun))
					if len(c.batches[i]) != 1 || c.batches[i][0].Name != "f" {
						t.Errorf("try %d: want the whole message again, got %v", i, c.batches[i])
					}
				}
				if fmt.Sprint(after) != fmt.Sprint(row.after) {
					t.Errorf("want tries after %v, got %v", row.after, after)
				}
				if err := stop(t, on); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What ends while an idle flush is under way is not left behind until the next invocation: the platform may freeze the process before.
func TestWhatEndsWhileAFlushIsUnderWayIsSentRightAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{answer: func(*http.Request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			return response(200, ""), nil
		}}
		on := startFake(t, c, slog.DiscardHandler)
		on.Begin(NewTrace(), Invocation{Function: "first"}).End(200, "")
		time.Sleep(idle + 10*time.Millisecond) // the flush is under way
		synctest.Wait()
		on.Begin(NewTrace(), Invocation{Function: "second"}).End(200, "")
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if got := fmt.Sprint(c.sizes()); got != "[1 1]" {
			t.Errorf("want both sent within 300 ms, got %s", got)
		}
		if err := stop(t, on); err != nil {
			t.Error(err)
		}
	})
}

func TestStopSendsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(fakeCollector)
		on := startFake(t, c, slog.DiscardHandler, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
		other := on.Begin(NewTrace(), Invocation{})
		for range 13 {
			on.Begin(NewTrace(), Invocation{}).End(200, "")
		}
		if err := stop(t, on); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(c.sizes()); got != "[10 3]" {
			t.Errorf("want all 13, got %s", got)
		}
		other.End(200, "")
		if err := stop(t, on); err != nil { // once more does nothing
			t.Error(err)
		}
	})
}

func TestQueueReadsItsVariables(t *testing.T) {
	for name, row := range map[string]struct {
		environ     map[string]string
		limit, most int
		delay, time time.Duration
		told        int
	}{
		"defaults": {nil, 2048, 512, 5 * time.Second, 30 * time.Second, 0},
		"all": {map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50", "OTEL_BSP_SCHEDULE_DELAY": "7", "OTEL_BSP_EXPORT_TIMEOUT": "8"},
			100, 50, 7 * time.Millisecond, 8 * time.Millisecond, 0},
		"a batch beyond the queue":  {map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "600", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "700"}, 600, 512, 5 * time.Second, 30 * time.Second, 0},
		"a queue below the default": {map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "3"}, 3, 3, 5 * time.Second, 30 * time.Second, 0},
		"nothing that makes sense": {map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "-2", "OTEL_BSP_SCHEDULE_DELAY": "soon"},
			1, 1, 5 * time.Second, 30 * time.Second, 1},
	} {
		var stdout, stderr lines
		v := variables{func(n string) (string, bool) { s, ok := row.environ[n]; return s, ok }, slog.New(NewHandler(&stdout, &stderr, nil))}
		q := newQueue(v, nil, source{}, nil)
		if q.limit != row.limit || q.most != row.most || q.delay != row.delay || q.timeout != row.time || len(stderr.text) != row.told {
			t.Errorf("%s: got %d, %d, %s, %s and %q", name, q.limit, q.most, q.delay, q.timeout, stderr.text)
		}
	}
}

// Many at once, with attempts in goroutines of their own and late ends: each span is exported once, and with what is its own.
func TestSpansOfManyGoroutines(t *testing.T) {
	c := newCollector(t)
	telemetry := start(t, slog.DiscardHandler, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64", "OTEL_BSP_MAX_QUEUE_SIZE", "100000")
	const goroutines, calls = 8, 200
	var wg sync.WaitGroup
	var exported atomic.Int64
	for g := range goroutines {
		wg.Go(func() {
			for n := range calls {
				name := fmt.Sprintf("f%d-%d", g, n)
				span := telemetry.Begin(NewTrace(), Invocation{Function: name, ID: name})
				var attempts sync.WaitGroup
				for i := range 2 {
					attempts.Go(func() {
						attempt := span.Attempt(Attempt{Method: "GET", Scheme: "http", Host: "h", Path: "/" + name, Resend: i})
						attempt.End(200, "")
						attempt.End(500, "late")
					})
				}
				attempts.Wait()
				for range 2 {
					attempts.Go(func() { span.End(200, "") })
				}
				attempts.Wait()
				span.Attempt(Attempt{Method: "GET", Path: "/late"}).End(200, "") // below a span that has ended
				exported.Add(4)
			}
		})
	}
	wg.Wait()
	if err := telemetry.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.until(t, "all spans", func() bool { return len(c.spans) >= int(exported.Load()) })
	c.mu.Lock()
	defer c.mu.Unlock()
	ids, names := map[string]bool{}, map[string]string{}
	for _, s := range c.spans {
		ids[string(s.SpanId)] = true
		if id := attributesOf(s.Attributes)["faas.invocation_id"]; id != "" {
			if names[string(s.SpanId)] = id; id != s.Name {
				t.Errorf("want one invocation's name and id, got %s and %s", s.Name, id)
			}
		}
	}
	for _, s := range c.spans {
		if path := attributesOf(s.Attributes)["url.full"]; path != "" && !strings.HasSuffix(path, "/late") && path != "http://h/"+names[string(s.ParentSpanId)] {
			t.Errorf("want an attempt of its own invocation, got %s below %s", path, names[string(s.ParentSpanId)])
		}
	}
	if len(c.spans) != int(exported.Load()) || len(ids) != len(c.spans) {
		t.Errorf("want %d spans, each once, got %d, %d of them different", exported.Load(), len(c.spans), len(ids))
	}
}

func TestSpanAllocatesItselfAlone(t *testing.T) {
	c := &fakeCollector{answer: hang}
	on := startFake(t, c, slog.DiscardHandler, "OTEL_BSP_MAX_QUEUE_SIZE", "200", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200")
	other := on.Begin(NewTrace(), Invocation{})
	tr := NewTrace()
	call := func() {
		span := on.Begin(tr, Invocation{ID: "id", Function: "f", Trigger: "httpTrigger", Method: "GET", Route: "orders/{id}", Path: "/api/orders/1"})
		span.Attempt(Attempt{Method: "GET", Scheme: "https", Host: "gw.example", Path: "/orders/1"}).End(200, "")
		span.End(200, "")
	}
	for range 100 {
		call()
	}
	for deadline := time.Now().Add(10 * time.Second); len(c.sizes()) == 0; runtime.Gosched() { // the first batch hangs from here on
		if time.Now().After(deadline) {
			t.Fatal("want the first batch on its way after ten seconds")
		}
	}
	for range 99 {
		call() // the next batch has its memory
	}
	if n := testing.AllocsPerRun(100, call); n != 2 {
		t.Errorf("want two spans allocated and nothing else, got %v", n)
	}
	other.End(200, "")
	_ = stop(t, on)
}

// Bytes that are no UTF-8 would have the collector refuse the whole batch.
func TestTextThatIsNoUTF8IsMadeUTF8(t *testing.T) {
	c := new(fakeCollector)
	on := startFake(t, c, slog.DiscardHandler)
	in := on.Begin(NewTrace(), Invocation{ID: "a\xff", Function: "f\xfe", Path: "/\xc3\x28"})
	in.Attempt(Attempt{Scheme: "http", Host: "h\xff:1", Path: "/\xff"}).End(0, "x\xff")
	in.End(200, "")
	if err := stop(t, on); err != nil {
		t.Fatal(err)
	}
	if got := attributesOf(c.batches[0][0].Attributes)["url.full"]; got != "http://h\uFFFD:1/\uFFFD" {
		t.Errorf("want the rest of the text, got %q", got)
	}
	if s := c.batches[0][1]; s.Name != "f\uFFFD" || attributesOf(s.Attributes)["faas.invocation_id"] != "a\uFFFD" {
		t.Errorf("want the rest of the text, got %v", s)
	}
}
