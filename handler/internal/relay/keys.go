package relay

import (
	"net/http"
	"sync/atomic"

	"apimrelay/internal/secret"
)

// Keys are the one or two subscription keys of an API, and which of them is in use. All functions that share the settings share the value, so that one
// refusal moves them all. A nil *Keys is an API that needs none. It is safe for concurrent use.
type Keys struct {
	header string // in net/http's canonical form
	keys   []secret.String
	lines  [][]string // of the keys, as values of a header; shared by all requests, changed by none
	inUse  atomic.Int32
}

// NewKeys takes the name of the header and the keys in order of preference; empty ones are left out. It returns nil where no key is left or header is "".
func NewKeys(header string, keys ...secret.String) *Keys {
	k := &Keys{header: http.CanonicalHeaderKey(header)}
	for _, key := range keys {
		if !key.Empty() {
			k.keys, k.lines = append(k.keys, key), append(k.lines, []string{key.Reveal()})
		}
	}
	if header == "" || len(k.keys) == 0 {
		return nil
	}
	return k
}

// current is the index of the key in use, -1 where there is none.
func (k *Keys) current() int {
	if k == nil {
		return -1
	}
	return int(k.inUse.Load())
}

// refused tells that the gateway called key i invalid. From now on the other one is used; ok is false where there is no other. Of many callers refused
// at the same time the first moves, so two refusals of one key do not move back to it.
func (k *Keys) refused(i int) (other int, ok bool) {
	if k == nil || i < 0 || len(k.keys) < 2 {
		return i, false
	}
	other = 1 - i
	k.inUse.CompareAndSwap(int32(i), int32(other))
	return other, true
}

// Names in the log: which key was sent, never what it was.
var keyNames = [...]string{"primary", "secondary"}

func keyName(i int) string {
	if i < 0 || i >= len(keyNames) {
		return "none"
	}
	return keyNames[i]
}
