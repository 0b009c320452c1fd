package invocation

import "sync"

// Bodies of this size and more are worth keeping for the next call; larger ones than the upper bound are left to the garbage collector.
const (
	leastKept = 64 << 10
	mostKept  = 32 << 20
)

var memory sync.Pool // of *[]byte

// Borrow returns an empty slice with room for size bytes. Give a large one back with Return: uploads
// of 10 MiB would otherwise hold three times as much memory until the garbage collector comes.
func Borrow(size int) []byte {
	if size >= leastKept && size <= mostKept {
		if kept, ok := memory.Get().(*[]byte); ok && cap(*kept) >= size {
			return (*kept)[:0]
		}
	}
	return make([]byte, 0, size)
}

// Return takes back what Borrow returned, or anything else, when nobody uses it any more.
func Return(b []byte) {
	if cap(b) >= leastKept && cap(b) <= mostKept {
		kept := b[:0] // of its own, so that small ones cost no allocation
		memory.Put(&kept)
	}
}
