//go:build !linux || !amd64

package token

import "time"

// wallClock reads the wall clock, in nanoseconds since 1970.
func wallClock() int64 { return time.Now().UnixNano() }
