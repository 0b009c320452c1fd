package observe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// valuer gives a group, as a token's facts do.
type valuer struct{}

func (valuer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("aud", "x"), slog.Int("n", 1))
}

// Whatever a record holds, its line is the one that slog's JSON handler writes.
func TestLinesAreSlogs(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 60_000, time.FixedZone("", 3600))
	past := 0
	for name, attrs := range map[string][]slog.Attr{
		"nothing":              nil,
		"texts":                {slog.String("a", "b"), slog.String("empty", "")},
		"texts to escape":      {slog.String("a\"b", "c\\d\n\t\b\f\x00\x7f<>&\u2028ü\xff")},
		"numbers":              {slog.Int("a", -5), slog.Uint64("b", math.MaxUint64), slog.Int64("c", math.MinInt64)},
		"fractions":            {slog.Float64("a", 0), slog.Float64("b", 0.1), slog.Float64("c", 12345.67), slog.Float64("d", 1e20), slog.Float64("e", 3)},
		"odd fractions":        {slog.Float64("a", 1e21), slog.Float64("b", 1e-7), slog.Float64("c", -1.5), slog.Float64("d", math.Copysign(0, -1))},
		"no numbers":           {slog.Float64("a", math.NaN()), slog.Float64("b", math.Inf(1))},
		"truth":                {slog.Bool("a", true), slog.Bool("b", false)},
		"times":                {slog.Time("a", at), slog.Duration("b", time.Second)},
		"groups":               {slog.Group("g", slog.String("a", "b"), slog.Group("h", slog.Int("c", 1)), slog.Group("empty")), slog.Group("none")},
		"groups of nothing":    {slog.Group("g", slog.Group("h", slog.Group("i"))), slog.Group("j", slog.Group("k"), slog.Int("a", 1))},
		"a group without name": {slog.Group("", slog.String("a", "b"))},
		"a value of its own":   {slog.Any("token", valuer{})},
		"an error":             {slog.Any("e", errors.New("no")), slog.Any("n", nil)},
		"an attribute of none": {{}},
		"without a name":       {slog.String("", "a")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelInfo + 1, slog.LevelWarn, slog.LevelError} {
				for _, when := range []time.Time{at, at.UTC(), {}, time.Now()} {
					record := slog.NewRecord(when, level, "it \"happened\"", 0)
					record.AddAttrs(attrs...)
					var want, got bytes.Buffer
					if err := slog.NewJSONHandler(&want, nil).Handle(context.Background(), record); err != nil {
						t.Fatal(err)
					}
					if err := NewHandler(&got, &got, nil).Handle(context.Background(), record); err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(want.String(), got.String()); d != "" {
						t.Errorf("- slog, + ours:\n%s", d)
					}
				}
			}
		})
		record := slog.NewRecord(at, slog.LevelInfo, "m", 0)
		record.AddAttrs(attrs...)
		if _, ok := appendRecord(nil, record); ok {
			past++
		}
	}
	if past != 9 {
		t.Errorf("%d kinds of records were written past slog, want 9", past)
	}
}

func BenchmarkLine(b *testing.B) {
	record := slog.NewRecord(time.Now(), slog.LevelInfo, "invocation", 0)
	record.AddAttrs(slog.String("function", "relay"), slog.String("invocation_id", "01234567-89ab-cdef-0123-456789abcdef"), slog.String("way", "forwarded"),
		slog.String("trigger", "httpTrigger"), slog.String("method", "GET"), slog.String("path", "/api/relay/orders/1"), slog.Int("status", 200),
		slog.Int("upstream_status", 200), slog.Int("attempts", 1), slog.Float64("upstream_ms", 12.34), slog.String("key", "primary"),
		slog.String("trace_id", "0123456789abcdef0123456789abcdef"), slog.Float64("duration_ms", 13.57))
	for name, h := range map[string]slog.Handler{"slog": slog.NewJSONHandler(io.Discard, nil), "ours": NewHandler(io.Discard, io.Discard, nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = h.Handle(context.Background(), record)
			}
		})
	}
}
