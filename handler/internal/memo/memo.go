// Package memo keeps values that are made once and read by every call.
package memo

import (
	"maps"
	"sync"
	"sync/atomic"
)

// A Memo keeps a value for each of a few keys for ever. Reading is one atomic load and no allocation, which sync.Map cannot do for a key that is no
// pointer. The zero value is empty. Safe for concurrent use.
type Memo[K comparable, V any] struct {
	known atomic.Pointer[map[K]V]
	mu    sync.Mutex
}

// Of returns the key's value. create makes it at most once.
func (m *Memo[K, V]) Of(key K, create func(K) V) V {
	if known := m.known.Load(); known != nil {
		if v, ok := (*known)[key]; ok {
			return v
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[K]V)
	if known := m.known.Load(); known != nil {
		if v, ok := (*known)[key]; ok {
			return v
		}
		next = maps.Clone(*known)
	}
	v := create(key)
	next[key] = v
	m.known.Store(&next)
	return v
}
