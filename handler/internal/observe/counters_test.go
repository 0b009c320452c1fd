package observe

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCountersAddUpOverFunctions(t *testing.T) {
	var c Counters
	var wg sync.WaitGroup
	for _, function := range []string{"orders", "poll"} {
		wg.Go(func() {
			for range 100 {
				c.Retry(function, "503")
				c.Replay(function, "key")
				c.Refusal(function, "key-invalid")
			}
			c.Refusal(function, "forbidden")
			c.ForGood(function, "422")
		})
	}
	wg.Wait()
	want := Counts{Retries: 200, Replays: map[string]uint64{"key": 200},
		Refusals: map[string]uint64{"key-invalid": 200, "forbidden": 2},
		ForGood:  map[string]uint64{"422": 2}}
	if diff := cmp.Diff(want, c.Counts()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var none *Counters
	none.Retry("f", "503")
	if got := none.Counts(); got.Retries != 0 || got.Replays == nil || got.Refusals == nil || got.ForGood == nil {
		t.Errorf("want counts of nothing, got %+v", got)
	}
}
