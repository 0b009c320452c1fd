//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/token"
)

// figure is a row of the second table: one number of ours, mostly beside one of the tutorial's.
type figure struct {
	name, must string
	measure    func(ctx context.Context, s *set, p pace) (result, error)
}

type result struct {
	ours, other, ratio string
	reached            bool
}

var figures = []figure{
	{"wrapped, 10 MiB down, 4 at once, peak RSS", "1/4 of codec's", wrappedPeak("codec", 4, rateCase{get: true, path: "/10m/500ms"})},
	{"wrapped, 10 MiB up, 4 at once, peak RSS", "1/6 of tutorial's", wrappedPeak("tutorial", 6, rateCase{path: "/10m/500ms/up"})},
	{"wrapped, 10 MiB up and down, 4 at once, peak RSS", "1/6 of tutorial's", wrappedPeak("tutorial", 6, rateCase{path: "/10m/500ms"})},
	{"proxied, big stream up and down, peak RSS above idle", "8 MiB", streamPeak},
	{"warm token", "50 ns, 0 allocations", warmToken},
	{"allocations per forwarded request", "bare + 15", allocations},
	{"telemetry off, all of its calls for one request", "3% of a request", telemetryOff},
	{"64 first callers at once, token requests", "1", firstCallers},
	{"process start to first relayed answer, tried as the host does", "1.1 x tutorial's", startUp(hostsPause)},
	{"process start to first relayed answer, tried all the time", "1.1 x tutorial's", startUp(shortestPause)},
	{"RSS at rest after first calls", "22 MiB", idleSize},
	{"stripped binary", "20 MB", binarySize},
}

const mib = 1 << 20

// fresh starts a program and lets it answer a few small requests.
func (s *set) fresh(name string, wrapped bool) (*competitor, error) {
	c := rateCase{wrapped: wrapped, connections: 1, path: "/1k"}
	k, err := s.enter(c, name)
	if err != nil {
		return nil, err
	}
	for range 20 {
		if err := k.wires[0].exchange(k.req, k.want); err != nil {
			k.leave()
			return nil, err
		}
	}
	return k, nil
}

// peak is the largest resident size while n connections each do rounds requests.
func (s *set) peak(name string, c rateCase, rounds int) (int64, error) {
	k, err := s.enter(c, name)
	if err != nil {
		return 0, err
	}
	defer k.leave()
	if err := k.resetPeak(); err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	errs := make(chan error, len(k.wires))
	for _, w := range k.wires {
		wg.Go(func() {
			for range rounds {
				if err := w.exchange(k.req, k.want); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, fmt.Errorf("%s: %w", name, err)
	default:
	}
	return k.memory("VmHWM"), nil
}

// wrappedPeak holds our peak against a part of another program's.
func wrappedPeak(beside string, part int64, c rateCase) func(context.Context, *set, pace) (result, error) {
	c.wrapped, c.connections = true, 4
	return func(_ context.Context, s *set, _ pace) (result, error) {
		ours, err := s.peak(oursName, c, 6)
		if err != nil {
			return result{}, err
		}
		other, err := s.peak(beside, c, 6)
		if err != nil {
			return result{}, err
		}
		return result{mibs(ours), mibs(other), fmt.Sprintf("1/%.1f", float64(other)/float64(ours)), ours*part <= other}, nil
	}
}

func mibs(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/mib) }

func streamPeak(_ context.Context, s *set, _ pace) (result, error) {
	k, err := s.fresh(oursName, false)
	if err != nil {
		return result{}, err
	}
	defer k.leave()
	time.Sleep(time.Second)
	idle := k.memory("VmRSS")
	if err := k.resetPeak(); err != nil {
		return result{}, err
	}
	body := s.gateway.bodies[streamPath]
	if err := k.wires[0].exchange(s.proxied(streamPath), body); err != nil {
		return result{}, err
	}
	above := k.memory("VmHWM") - idle
	return result{mibs(above), mibs(idle) + " idle", fmt.Sprintf("%d MiB each way", body.size/mib), above <= 8*mib}, nil
}

func warmToken(ctx context.Context, _ *set, _ pace) (result, error) {
	source := token.NewSource(token.Options{Fetch: func(context.Context) (token.Token, error) {
		return token.Token{Value: jwt(tenantID, day), ExpiresOn: time.Now().Add(day)}, nil
	}})
	if _, err := source.Token(ctx); err != nil {
		return result{}, err
	}
	var best testing.BenchmarkResult
	for range 3 { // the quietest: other work only adds
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := source.Token(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
		if best.N == 0 || r.NsPerOp() < best.NsPerOp() {
			best = r
		}
	}
	return result{fmt.Sprintf("%d ns, %d", best.NsPerOp(), best.AllocsPerOp()), "", "", best.NsPerOp() < 50 && best.AllocsPerOp() == 0}, nil
}

// telemetryOff adds up what a request calls of a telemetry that is switched off, beside the time that ours needs for the whole of it.
func telemetryOff(ctx context.Context, s *set, p pace) (result, error) {
	var off *observe.Telemetry
	header := http.Header{}
	r := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			span := off.Begin(observe.Trace{}, observe.Invocation{ID: "1", Function: "relay", Trigger: "httpTrigger", Way: "forwarded", Method: "GET", Route: "relay/{*path}", Path: "/"})
			_ = span.Trace(observe.Trace{})
			attempt := span.Attempt(observe.Attempt{Method: "GET", Scheme: "https", Host: "h", Path: "/"})
			attempt.Inject(header)
			attempt.End(200, "")
			span.End(200, "")
		}
	})
	k, err := s.enter(rateCases[0], oursName)
	if err != nil {
		return result{}, err
	}
	defer k.leave()
	if _, err := k.load(ctx, p.warm); err != nil {
		return result{}, err
	}
	load, err := k.load(ctx, p.stretch)
	if err != nil {
		return result{}, err
	}
	whole := 1e9 / load.perCPUSecond
	share := float64(r.NsPerOp()) / whole
	return result{fmt.Sprintf("%d ns", r.NsPerOp()), fmt.Sprintf("%.0f us a request", whole/1e3), fmt.Sprintf("%.2f%%", 100*share), share <= 0.03}, nil
}

func firstCallers(_ context.Context, s *set, _ pace) (result, error) {
	s.asked.Store(0)
	p, err := start(s.programs[oursName], s.environment(false, false))
	if err != nil {
		return result{}, err
	}
	defer p.stop()
	req, want := s.forwarded("GET", "/1k"), s.gateway.bodies["/1k"]
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for range 64 {
		w, err := p.connect(shortestPause)
		if err != nil {
			return result{}, err
		}
		defer w.Close()
		wg.Go(func() {
			if err := w.exchange(req, want); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return result{}, err
	default:
	}
	return result{fmt.Sprint(s.asked.Load()), "", "", s.asked.Load() == 1}, nil
}

// How long is waited after a refused connection. The host probes a handler that it has started every 25 ms (recording E-probe-late-listen).
const (
	hostsPause    = 25 * time.Millisecond
	shortestPause = 50 * time.Microsecond
)

// first is how long a program takes from its start to its first relayed answer.
func (s *set) first(name string, pause time.Duration) (time.Duration, error) {
	p, err := start(s.programs[name], s.environment(false, false))
	if err != nil {
		return 0, err
	}
	defer p.stop()
	w, err := p.connect(pause)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	if err := w.exchange(s.forwarded("GET", "/1k"), s.gateway.bodies["/1k"]); err != nil {
		return 0, err
	}
	return time.Since(p.began), nil
}

func startUp(pause time.Duration) func(context.Context, *set, pace) (result, error) {
	return func(_ context.Context, s *set, p pace) (result, error) {
		var ours, other, ratios []float64
		for i := range p.starts + 2 {
			a, err := s.first(oursName, pause)
			if err != nil {
				return result{}, err
			}
			b, err := s.first("tutorial", pause)
			if err != nil {
				return result{}, err
			}
			if i < 2 { // files come from the disk
				continue
			}
			ours, other, ratios = append(ours, a.Seconds()), append(other, b.Seconds()), append(ratios, a.Seconds()/b.Seconds())
		}
		// Other work makes some starts longer, so the medians are compared, not the pairs.
		ratio := median(ours) / median(other)
		median(ratios)
		low, high := quartiles(ratios)
		return result{fmt.Sprintf("%.1f ms", 1e3*median(ours)), fmt.Sprintf("%.1f ms", 1e3*median(other)), fmt.Sprintf("%.2f (%.2f-%.2f)", ratio, low, high), ratio <= 1.1}, nil
	}
}

func idleSize(_ context.Context, s *set, _ pace) (result, error) {
	var sizes [2]int64
	for i, name := range []string{oursName, "tutorial"} {
		k, err := s.fresh(name, true)
		if err != nil {
			return result{}, err
		}
		time.Sleep(time.Second)
		sizes[i] = k.memory("VmRSS")
		k.leave()
	}
	return result{mibs(sizes[0]), mibs(sizes[1]), fmt.Sprintf("%.2f", float64(sizes[0])/float64(sizes[1])), sizes[0] <= 22*mib}, nil
}

func binarySize(_ context.Context, s *set, _ pace) (result, error) {
	var sizes [2]float64
	for i, name := range []string{oursName, "tutorial"} {
		info, err := os.Stat(s.programs[name])
		if err != nil {
			return result{}, err
		}
		sizes[i] = float64(info.Size())
	}
	return result{fmt.Sprintf("%.1f MB", sizes[0]/1e6), fmt.Sprintf("%.1f MB", sizes[1]/1e6), fmt.Sprintf("%.2f", sizes[0]/sizes[1]), sizes[0] <= 20e6}, nil
}
