package relay

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// TestARepeatIsKnownForAMinute holds the sets that take turns against a list of what was sent when, at random times, pauses of hours among them.
func TestARepeatIsKnownForAMinute(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var s sent
	now := time.Unix(1_800_000_000, 0)
	at := map[string]time.Time{}
	known, forgotten := 0, 0
	for i := range 20_000 {
		switch random.IntN(50) {
		case 0:
			now = now.Add(time.Duration(random.IntN(100)) * time.Second)
		case 1:
			now = now.Add(time.Duration(random.IntN(100)) * time.Minute)
		default:
			now = now.Add(time.Duration(random.IntN(4000)) * time.Millisecond)
		}
		id := fmt.Sprint("id ", i)
		if s.has(id, now) {
			t.Fatalf("%s is known before it was sent", id)
		}
		s.add(id, now)
		at[id] = now
		asked := fmt.Sprint("id ", max(0, i-random.IntN(60)))
		age := now.Sub(at[asked])
		switch has := s.has(asked, now); {
		case !has && age <= sentMemory:
			t.Fatalf("forgotten after %s", age)
		case has && age > sentMemory*3/2:
			t.Fatalf("still known after %s", age)
		case has:
			known++
		default:
			forgotten++
		}
	}
	if known < 1000 || forgotten < 1000 {
		t.Errorf("%d were known and %d forgotten: too few of one to tell", known, forgotten)
	}
}

// TestManyRepeatsAreKnownInLittleMemory: a busy minute's ids do not become most of the heap.
func TestManyRepeatsAreKnownInLittleMemory(t *testing.T) {
	const ids, most = 200_000, 48 // bytes for each
	var s sent
	now := time.Unix(1_800_000_000, 0)
	before := heap()
	for i := range ids {
		s.add(fmt.Sprintf("b2aa5fd4-dd7b-4f3a-a5b6-%012d", i), now)
	}
	if each := (heap() - before) / ids; each > most {
		t.Errorf("%d bytes for each id, want at most %d", each, most)
	}
	if !s.has("b2aa5fd4-dd7b-4f3a-a5b6-000000000007", now) {
		t.Error("an id is not known")
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
