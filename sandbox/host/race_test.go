//go:build race

package host

// raced reports whether the race detector slows everything down several times, which the recorded times
// of the host's lives do not allow for.
const raced = true
