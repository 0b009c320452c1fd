package header

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// hopByHop are the fields that belong to one connection (RFC 9110 7.6.1), in net/http's canonical
// form.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te",
	"Trailer", "Transfer-Encoding", "Upgrade",
}

// HopByHop reports whether a field of this canonical name belongs to one connection, by its name or
// since the header's Connection names it.
func HopByHop(name string, h http.Header) bool {
	return slices.Contains(hopByHop, name) || slices.ContainsFunc(h["Connection"], func(line string) bool {
		for listed := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(listed), name) {
				return true
			}
		}
		return false
	})
}

// DropHopByHop removes what a message says of its own connection.
func DropHopByHop(h http.Header) {
	DropNamed(h, h["Connection"])
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// DropNamed removes the fields that the lines of a Connection field name (RFC 9110 7.6.1).
func DropNamed(h http.Header, connection []string) {
	for _, line := range connection {
		for listed := range strings.SplitSeq(line, ",") {
			listed = strings.TrimSpace(listed)
			h.Del(listed)
			for name := range h {
				if Same(name, listed) {
					delete(h, name)
				}
			}
		}
	}
}

// TooLong is what RetryAfter says of a time that nobody waits for.
const TooLong = 1<<63 - 1

// RetryAfter reads a Retry-After field: seconds in any number of digits, or a date against the
// message's own Date, else now (RFC 9110 10.2.3). A time too large to hold is TooLong. ok is false
// where there is no field, or one that can not be read.
func RetryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0, false
	}
	if strings.Trim(text, "0123456789") == "" {
		var seconds time.Duration
		for _, digit := range []byte(text) {
			if seconds = seconds*10 + time.Duration(digit-'0'); seconds > TooLong/time.Second {
				return TooLong, true
			}
		}
		return seconds * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	// Sub gives the longest duration that there is where the dates lie further apart.
	return max(0, at.Sub(now)), true
}
