package host

import (
	"context"
	"sync/atomic"
	"time"
)

// clock is the host's time. Speed above one makes all of it pass faster: schedules, time-outs,
// delays between retries and the stamps in logs and requests, so that a test sees ten minutes in
// seconds and nothing has to be switched one by one.
type clock struct {
	began time.Time // real
	base  time.Time // what the host reads at began
	speed float64
	skew  atomic.Int64 // nanoseconds that a fault sets it ahead
}

func newClock(start time.Time, speed float64) *clock {
	if speed <= 0 {
		speed = 1
	}
	real := time.Now()
	if start.IsZero() {
		start = real
	}
	return &clock{began: real, base: start.UTC(), speed: speed}
}

func (c *clock) now() time.Time { return c.right().Add(time.Duration(c.skew.Load())) }

// right is the time without the fault clock-skew: for what is compared with other clocks' records,
// and for spans.
func (c *clock) right() time.Time {
	return c.base.Add(time.Duration(float64(time.Since(c.began)) * c.speed))
}

// real is how long d lasts for somebody outside.
func (c *clock) real(d time.Duration) time.Duration { return time.Duration(float64(d) / c.speed) }

// sleep waits for d of the host's time, or until ctx ends; it reports whether d has passed.
func (c *clock) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(c.real(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// after is time.After in the host's time; a d of zero or less never fires.
func (c *clock) after(d time.Duration) (<-chan time.Time, func() bool) {
	if d <= 0 {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(c.real(d))
	return t.C, t.Stop
}
