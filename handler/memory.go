package main

import (
	"os"
	"runtime/debug"
)

// How much memory the program trades for time. Its live heap is two or three megabytes, so that the
// runtime's default collects garbage every four: at many requests a second that is a tenth of its
// work. gcPercent lets it grow to fifteen or so under load. softLimit keeps large bodies of wrapped
// calls from being left lying about by that: an instance of 512 MB holds the host, too, which takes
// half of it.
const (
	gcPercent = 400
	softLimit = 160 << 20
)

// tuneMemory sets both, unless the environment has its own wish.
func tuneMemory() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(softLimit)
	}
}
