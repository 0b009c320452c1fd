//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"text/tabwriter"
	"time"
)

// benchRelay measures the handler beside what a user would write instead, against the same stand-ins on one machine, and prints ratios.
func benchRelay(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench relay", flag.ContinueOnError)
	flags.SetOutput(stderr)
	full := flags.Bool("full", false, "take minutes: more and longer rounds")
	before := flags.String("before", "", "measure the handler of the checkout in this `folder`, too")
	only := flags.String("only", "", "measure only the rows whose name matches this `regexp`")
	if flags.Parse(args) != nil {
		return 2
	}
	wanted, err := regexp.Compile(*only)
	if err != nil || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "bench relay: want flags alone, and a regexp for -only")
		return 2
	}
	p := quickPace
	if *full {
		p = fullPace
	}
	if err := measure(ctx, p, *before, wanted, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench relay:", err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, p pace, before string, wanted *regexp.Regexp, stdout, stderr io.Writer) error {
	began, cores := time.Now(), runtime.NumCPU()
	s, err := newSet(ctx, before)
	if err != nil {
		return err
	}
	defer s.close()
	if err := pinSelf(); err != nil {
		return fmt.Errorf("keeping the load off the measured core: %w", err)
	}
	missed := false
	verdict := func(ok bool) string {
		if ok {
			return "yes"
		}
		missed = true
		return "no"
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 1, ' ', tabwriter.Debug)
	line := func(format string, a ...any) { fmt.Fprintf(table, format+"\n", a...) }
	line("case\t beside\t must reach\t requests/s, ratio\t per CPU second, ratio\t ours, 1/s\t other, 1/s\t core\t rounds\t reached")
	line("----\t ------\t ----------\t -----------------\t ---------------------\t ---------\t ----------\t ----\t ------\t -------")
	for _, c := range rateCases {
		if !wanted.MatchString(c.name) {
			continue
		}
		rows, err := s.compare(ctx, c, p, stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		for _, r := range rows {
			must, reached := "", ""
			if r.must > 0 {
				must, reached = fmt.Sprintf("%.2f", r.must), verdict(median(r.wall) >= r.must)
			}
			line("%s\t %s\t %s\t %s\t %s\t %.0f\t %.0f\t %.0f%%\t %d\t %s", c.name, r.mark.name, must,
				spread(r.wall), spread(r.cpu), r.ours, r.other, 100*r.busy, r.rounds, reached)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(stdout)
	table = tabwriter.NewWriter(stdout, 0, 0, 1, ' ', tabwriter.Debug)
	line("case\t must reach\t ours\t other\t ratio\t reached")
	line("----\t ----------\t ----\t -----\t -----\t -------")
	for _, f := range figures {
		if !wanted.MatchString(f.name) {
			continue
		}
		got, err := f.measure(ctx, s, p)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		line("%s\t %s\t %s\t %s\t %s\t %s", f.name, f.must, got.ours, got.other, got.ratio, verdict(got.reached))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "\n%s, %s/%s, %d cores, %s in all. Ratios are medians of alternating rounds, quartiles behind them; from 1 up ours is ahead.\n"+
		"One core for what is measured, another for the load, the gateway and the identity endpoint; every answer compared byte by byte.\n"+
		"core: how busy ours kept its core; below 90%% the load was the limit, and the ratio per CPU second tells more.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, cores, time.Since(began).Round(time.Second))
	if missed {
		return errMissed
	}
	return nil
}

func spread(sorted []float64) string {
	low, high := quartiles(sorted)
	return fmt.Sprintf("%.2f (%.2f-%.2f)", median(sorted), low, high)
}

var errMissed = errors.New("not every figure is reached")
