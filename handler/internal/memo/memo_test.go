package memo

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestAValueIsMadeOnceForEachKey(t *testing.T) {
	var m Memo[int, *int]
	var made atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for key := range 100 {
				got := m.Of(key, func(k int) *int {
					made.Add(1)
					return &k
				})
				if *got != key {
					t.Errorf("want %d, got %d", key, *got)
				}
				if again := m.Of(key, nil); again != got {
					t.Error("want the same value again, got another")
				}
			}
		})
	}
	all.Wait()
	if n := made.Load(); n != 100 {
		t.Errorf("want 100 values made, got %d", n)
	}
}

func TestToReadAllocatesNothing(t *testing.T) {
	type key struct{ scheme, host string }
	var m Memo[key, int]
	k := key{"https", "gateway.example"}
	create := func(key) int { return 7 }
	m.Of(k, create)
	if n := testing.AllocsPerRun(100, func() { m.Of(k, create) }); n != 0 {
		t.Errorf("want no allocation, got %v", n)
	}
}
