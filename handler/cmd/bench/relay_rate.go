//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// rateCase is one row that compares requests per second.
type rateCase struct {
	name        string
	way         way
	secure      bool // TLS 1.3 to the gateway
	connections int
	path        string // of the body at the gateway
	against     []mark
}

// way is how a request is handed over.
type way int

const (
	forwardedGet way = iota
	proxiedPut
	wrappedGet
)

// mark is who ours is compared with, and the ratio that it must reach.
type mark struct {
	name string
	must float64
}

var rateCases = []rateCase{
	{name: "GET 1 KiB, TLS, 16 connections", way: forwardedGet, secure: true, connections: 16, path: "/1k",
		against: []mark{{"bare", 0.95}, {"tutorial", 4}}},
	{name: "proxied PUT 1 KiB, TLS, 16 connections", way: proxiedPut, secure: true, connections: 16, path: "/1k",
		against: []mark{{"bare", 0.9}}},
	{name: "wrapped, 100 KiB answers", way: wrappedGet, connections: 4, path: "/100k", against: []mark{{"codec", 0.9}}},
	{name: "wrapped, 1 MiB answers", way: wrappedGet, connections: 4, path: "/1m", against: []mark{{"codec", 0.9}}},
	{name: "wrapped, 10 MiB answers", way: wrappedGet, connections: 4, path: "/10m", against: []mark{{"codec", 0.9}}},
}

const (
	oursName = "ours"
	// beforeName is the handler of another checkout, which ours need not reach: it is shown.
	beforeName = "before"
)

// competitor is a program with its connections.
type competitor struct {
	*process
	name  string
	wires []*wire
	req   request
	want  text
}

// enter starts a program for a case, opens the connections, and has one answer checked.
func (s *set) enter(c rateCase, name string) (*competitor, error) {
	p, err := start(s.programs[name], s.environment(c.secure))
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	k := &competitor{process: p, name: name, req: s.forwarded(c.path), want: s.gateway.bodies[c.path]}
	for range c.connections {
		w, err := p.connect(shortestPause)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s", name, err, p.stop())
		}
		k.wires = append(k.wires, w)
	}
	switch c.way {
	case wrappedGet:
		k.req = s.wrapped(c.path)
		k.want, err = unwrap(k.wires[0], k.req, k.want)
	case proxiedPut:
		k.req = s.proxied(c.path)
		err = k.wires[0].exchange(k.req, k.want)
	default:
		err = k.wires[0].exchange(k.req, k.want)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, p.stop())
	}
	return k, nil
}

// leave ends the program.
func (k *competitor) leave() {
	for _, w := range k.wires {
		_ = w.Close()
	}
	k.stop()
}

// sample is what one stretch of load came to.
type sample struct {
	perSecond, perCPUSecond float64
	busy                    float64 // share of its core that the program had
	others                  float64 // processor time of everybody else on the machine, as a share of one core
}

// load sends requests on all connections for a while.
func (k *competitor) load(ctx context.Context, d time.Duration) (sample, error) {
	var wg sync.WaitGroup
	var stop atomic.Bool
	var done atomic.Int64
	errs := make(chan error, len(k.wires))
	machine, own, theirs, began := busy(), ownCPU(), k.cpu(), time.Now()
	for _, w := range k.wires {
		wg.Go(func() {
			n := int64(0)
			defer func() { done.Add(n) }()
			for ; n == 0 || !stop.Load(); n++ {
				if err := w.exchange(k.req, k.want); err != nil {
					errs <- err
					stop.Store(true)
					return
				}
			}
		})
	}
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	wg.Wait()
	wall, theirs, own := time.Since(began), k.cpu()-theirs, ownCPU()-own
	machine = busy() - machine
	select {
	case err := <-errs:
		return sample{}, fmt.Errorf("%s: %w", k.name, err)
	default:
	}
	n := float64(done.Load())
	return sample{n / wall.Seconds(), n / theirs.Seconds(), theirs.Seconds() / wall.Seconds(), max(0, (machine-own-theirs).Seconds()/wall.Seconds())}, ctx.Err()
}

// comparison is one line of the table.
type comparison struct {
	rateCase
	mark
	ours, other float64   // medians, requests per second
	wall, cpu   []float64 // ratio of each round, sorted: by the clock, and by the program's processor time
	busy        float64
	rounds      int
}

// pace is how long and how often things are measured.
type pace struct {
	warm, stretch time.Duration
	rounds        int // wanted
	tries         int // at most
	starts        int // of programs, for the start-up row
}

var (
	quickPace = pace{warm: 300 * time.Millisecond, stretch: 200 * time.Millisecond, rounds: 9, tries: 12, starts: 10}
	fullPace  = pace{warm: time.Second, stretch: 500 * time.Millisecond, rounds: 21, tries: 45, starts: 40}
)

// quiet is how much others may work in a stretch that counts, as a share of one core.
const quiet = 0.12

// compare measures a case in alternating rounds. Rounds in which others worked do not count, unless too few are left: then the quietest are taken.
func (s *set) compare(ctx context.Context, c rateCase, p pace, log io.Writer) ([]comparison, error) {
	if s.programs[beforeName] != "" {
		c.against = append(slices.Clip(c.against), mark{name: beforeName})
	}
	var field []*competitor
	defer func() {
		for _, k := range field {
			k.leave()
		}
	}()
	for _, name := range append([]string{oursName}, names(c.against)...) {
		k, err := s.enter(c, name)
		if err != nil {
			return nil, err
		}
		field = append(field, k)
		if _, err := k.load(ctx, p.warm); err != nil {
			return nil, err
		}
	}
	type round struct {
		samples []sample
		others  float64
	}
	var rounds []round
	calm := 0
	for try := range p.tries {
		r := round{samples: make([]sample, len(field))}
		for i := range field {
			at := i
			if try%2 == 1 {
				at = len(field) - 1 - i
			}
			var err error
			if r.samples[at], err = field[at].load(ctx, p.stretch); err != nil {
				return nil, err
			}
			r.others = max(r.others, r.samples[at].others)
		}
		rounds = append(rounds, r)
		if r.others < quiet {
			calm++
		}
		if calm == p.rounds {
			break
		}
	}
	slices.SortStableFunc(rounds, func(a, b round) int { return compareFloats(a.others, b.others) })
	dropped := len(rounds) - min(len(rounds), p.rounds)
	rounds = rounds[:len(rounds)-dropped]
	fmt.Fprintf(log, "%s: %d rounds, %d of them quiet, %d discarded\n", c.name, len(rounds), calm, dropped)
	if refused := s.gateway.refused.Swap(0); refused > 0 {
		return nil, fmt.Errorf("the gateway refused %d requests", refused)
	}
	var all []comparison
	for i, m := range c.against {
		x := comparison{rateCase: c, mark: m, rounds: len(rounds)}
		var ours, others, shares []float64
		for _, r := range rounds {
			a, b := r.samples[0], r.samples[i+1]
			ours, others, shares = append(ours, a.perSecond), append(others, b.perSecond), append(shares, r.samples[0].busy)
			x.wall, x.cpu = append(x.wall, a.perSecond/b.perSecond), append(x.cpu, a.perCPUSecond/b.perCPUSecond)
		}
		slices.Sort(x.wall)
		slices.Sort(x.cpu)
		x.ours, x.other, x.busy = median(ours), median(others), median(shares)
		all = append(all, x)
	}
	return all, nil
}

func names(marks []mark) []string {
	var all []string
	for _, m := range marks {
		all = append(all, m.name)
	}
	return all
}

func compareFloats(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// median of values, which it sorts.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// quartiles of sorted values.
func quartiles(sorted []float64) (low, high float64) {
	return sorted[len(sorted)/4], sorted[(len(sorted)*3)/4]
}
