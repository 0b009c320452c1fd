package token

import (
	"syscall"
	"time"
)

// wallClock reads the wall clock alone, in nanoseconds since 1970 and steps of a microsecond.
// time.Now reads the monotonic clock as well, which doubles what a warm token costs, and that
// reading would have to be thrown away: the monotonic clock stands still while the platform has the
// process frozen. On linux/amd64 this is no system call, since Go goes through the vDSO.
func wallClock() int64 {
	var t syscall.Timeval
	if syscall.Gettimeofday(&t) != nil {
		return time.Now().UnixNano()
	}
	return t.Nano()
}
