package token_test

import (
	"context"
	"testing"
	"time"

	"apimrelay/handler/internal/token"
)

func warm(tb testing.TB) *token.Source {
	s := token.NewSource(token.Options{Resource: resource,
		Fetch: func(context.Context) (token.Token, error) { return made(1, time.Hour), nil }})
	if _, err := s.Token(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestTheWarmPathAllocatesNothing(t *testing.T) {
	s := warm(t)
	if n := testing.AllocsPerRun(1000, func() {
		if v, err := s.Token(context.Background()); v == "" || err != nil {
			t.Fatal(v, err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per call", n)
	}
}

func BenchmarkTokenWarm(b *testing.B) {
	s, ctx := warm(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if v, err := s.Token(ctx); v == "" || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenWarmParallel(b *testing.B) {
	s, ctx := warm(b), context.Background()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if v, err := s.Token(ctx); v == "" || err != nil {
				b.Error(err)
			}
		}
	})
}
