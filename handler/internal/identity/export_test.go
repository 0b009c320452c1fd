package identity

import "time"

// SetTryTime sets the limit of one try until the function that it returns is called.
func SetTryTime(d time.Duration) (restore func()) {
	was := tryTime
	tryTime = d
	return func() { tryTime = was }
}
