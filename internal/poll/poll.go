// Package poll waits in tests for what another goroutine or process does.
package poll

import (
	"testing"
	"time"
)

// patience is far beyond what anything takes, on a busy machine under the race detector as well.
const patience = 30 * time.Second

// Until asks until cond is true, and ends the test where that takes half a minute. what completes
// "waited in vain for".
func Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	pause := time.Millisecond
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
}
