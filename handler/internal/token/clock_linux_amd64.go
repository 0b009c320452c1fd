package token

import (
	"syscall"
	"time"
)

// wallClock reads the wall clock alone, in nanoseconds since 1970 and steps of a microsecond. time.Now reads two clocks, the wall clock and the
// monotonic one, which doubles the price of the warm path (58 ns to 29 ns measured), and the second reading would have to be thrown away: it
// stands still while the platform has the process frozen. On linux/amd64 this is no system call: Go goes through the vDSO.
func wallClock() int64 {
	var t syscall.Timeval
	if syscall.Gettimeofday(&t) != nil {
		return time.Now().UnixNano()
	}
	return t.Nano()
}
