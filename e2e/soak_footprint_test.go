package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// footprint is what the handler's process holds.
type footprint struct {
	at time.Duration
	// rss, in KiB, descriptors and threads are the kernel's (/proc).
	rss, descriptors, threads int
	// goroutines and heap, in MB after the last collection, are the Go runtime's own account of itself, which GODEBUG turns on in any program.
	goroutines, heap int
}

func (f footprint) String() string {
	return fmt.Sprintf("%6.1f MB resident, %3d MB live heap, %3d goroutines, %3d descriptors, %2d threads",
		float64(f.rss)/1024, f.heap, f.goroutines, f.descriptors, f.threads)
}

var statusLine = regexp.MustCompile(`(?m)^(VmRSS|Threads):\s+(\d+)`)

// footprintOf is the kernel's part for the handlers below a root.
func footprintOf(root string) (f footprint) {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		command, _ := os.ReadFile(file)
		if !strings.HasPrefix(string(command), root) {
			continue
		}
		dir := filepath.Dir(file)
		text, _ := os.ReadFile(filepath.Join(dir, "status"))
		for _, m := range statusLine.FindAllStringSubmatch(string(text), -1) {
			n, _ := strconv.Atoi(m[2])
			if m[1] == "VmRSS" {
				f.rss += n
			} else {
				f.threads += n
			}
		}
		entries, _ := os.ReadDir(filepath.Join(dir, "fd"))
		f.descriptors += len(entries)
	}
	return f
}

// runtimeTrace reads what the Go runtime writes to standard error where GODEBUG asks it to (pkg.go.dev/runtime, "Environment Variables"): a line for each
// collection, and each so often one for each goroutine. It is there in any Go program; the handler has nothing of its own for it.
type runtimeTrace struct {
	mu         sync.Mutex
	goroutines int // of the last whole list
	counting   int
	heap       int
}

// traceRuntime is the setting that makes the runtime write.
func traceRuntime(every time.Duration) string {
	return fmt.Sprintf("GODEBUG=gctrace=1,scheddetail=1,schedtrace=%d", max(every.Milliseconds(), 100))
}

var (
	collected = regexp.MustCompile(`^gc \d+ @.* \d+->\d+->(\d+) MB, `)
	goroutine = regexp.MustCompile(`^  G\d+: status=(\d+)\(`)
)

// add takes a line, and says whether it was one of the runtime's.
func (r *runtimeTrace) add(line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := collected.FindStringSubmatch(line); m != nil {
		r.heap, _ = strconv.Atoi(m[1])
		return true
	}
	if m := goroutine.FindStringSubmatch(line); m != nil {
		// runtime/runtime2.go: 0 is idle, 6 is dead, 10 dead and kept; the others are goroutines that live.
		if m[1] != "0" && m[1] != "6" && m[1] != "10" {
			r.counting++
		}
		return true
	}
	if strings.HasPrefix(line, "SCHED ") {
		if r.counting > 0 {
			r.goroutines = r.counting
		}
		r.counting = 0
		return true
	}
	return false
}

func (r *runtimeTrace) fill(f *footprint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.goroutines, f.heap = r.goroutines, r.heap
}

// judge holds the last fifth of the samples against the second one, after everything has been in use once, by their medians: single samples catch bursts.
func judge(t *testing.T, samples []footprint) {
	t.Helper()
	fifth := len(samples) / 5
	if fifth == 0 {
		t.Errorf("only %d samples", len(samples))
		return
	}
	early, last := samples[fifth:2*fifth], samples[len(samples)-fifth:]
	for _, m := range []struct {
		what  string
		of    func(footprint) int
		slack int // what a longer run may hold more, besides a tenth
	}{
		{"KiB resident", func(f footprint) int { return f.rss }, 12 << 10},
		{"MB of live heap", func(f footprint) int { return f.heap }, 3},
		{"goroutines", func(f footprint) int { return f.goroutines }, 20},
		{"descriptors", func(f footprint) int { return f.descriptors }, 10},
		{"threads", func(f footprint) int { return f.threads }, 4},
	} {
		a, b := median(early, m.of), median(last, m.of)
		switch {
		case a == 0 && m.what == "MB of live heap" && samples[len(samples)-1].at < time.Minute:
			// A short run makes so little garbage that none has been collected by then.
		case a == 0 || b == 0:
			t.Errorf("%s were not measured", m.what)
		case b > a+a/10+m.slack:
			t.Errorf("not flat: %d %s in the second fifth, %d in the last", a, m.what, b)
		}
	}
}

func median(samples []footprint, of func(footprint) int) int {
	var all []int
	for _, s := range samples {
		all = append(all, of(s))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
