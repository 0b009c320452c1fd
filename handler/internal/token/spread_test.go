package token

import (
	"testing"
	"time"
)

// TestSpread: sources that got the same token at the same time refresh at different ones, within
// the leeway and never past the token's use.
func TestSpread(t *testing.T) {
	point := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).UnixNano()
	for _, c := range []struct {
		name   string
		left   time.Duration
		spread float64
		want   time.Duration
	}{
		{"no spread, no delay", 12 * time.Hour, 0, 0},
		{"half of a long life: ten minutes at most", 12 * time.Hour, 1, 10 * time.Minute},
		{"five minutes before the end: a fifth of them", 5 * time.Minute, 1, time.Minute},
		{"a share of the leeway", 5 * time.Minute, 0.25, 15 * time.Second},
		{"a short life: to the second", 119 * time.Second, 1, 0},
		{"nothing left", 0, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := time.Duration(later(point, point+int64(c.left),
				c.spread) - point); got != c.want {
				t.Errorf("moved by %s, want %s", got, c.want)
			}
		})
	}
}
