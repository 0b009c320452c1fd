package invocation

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
	"time"
)

// Key returns the idempotency key of an event: the same for each delivery of the same event to the
// same function, in whichever app, region or process, and different for any other. It is 32
// hexadecimal digits of a SHA-256 over the function's name, what identifies the event, and its
// data.
//
// All of the metadata that a redelivery keeps identifies an event: several values, because the
// properties of a JSON message overwrite metadata of the same name. Counters, receipts, locks, sys
// and RetryContext change and do not count. The tick being run identifies a run of a timer; where
// there is none, or where the run was started by hand before it, invocationID does, which the host
// keeps when it repeats a run. A run by hand differs from a scheduled one only by a tick that lies
// in the future, hence now.
func (e *Event) Key(function string, now time.Time, invocationID string) string {
	h := sha256.New()
	field(h, "event")
	field(h, strings.ToLower(function))
	if key := e.trigger.row().key; key != nil {
		key(h, e, now, invocationID)
	} else {
		for _, id := range e.ids() {
			field(h, strings.ToLower(id.name))
			field(h, id.value)
		}
		field(h, "data")
		fieldBytes(h, e.Body)
	}
	sum := h.Sum(nil)
	return hex.EncodeToString(sum[:16])
}

// id is a value of an event's metadata that a redelivery keeps.
type id struct{ name, value string }

// ids returns what identifies an event besides its data, in an order that does not depend on the
// order of the metadata.
func (e *Event) ids() []id {
	names := e.trigger.row().ids
	if names == nil {
		return e.allIDs()
	}
	var list []id
	for _, full := range names {
		name, path, nested := strings.Cut(full, ".")
		raw, ok := find(e.metadata, name)
		if !ok {
			continue
		}
		if !nested {
			list = append(list, id{full, idValue(raw)})
		} else if text, ok := dig(raw, path); ok {
			list = append(list, id{full, text})
		}
	}
	return list
}

// allIDs returns all metadata that is not volatile. Of two members with one name the last counts.
func (e *Event) allIDs() []id {
	type member struct {
		name, lower string
		raw         []byte
	}
	var list []member
	for name, raw := range members(e.metadata) {
		if name := string(name); !volatile(name) {
			list = append(list, member{name, strings.ToLower(name), raw})
		}
	}
	slices.SortStableFunc(list, func(a, b member) int {
		return cmp.Or(strings.Compare(a.lower, b.lower), strings.Compare(a.name, b.name))
	})
	ids := make([]id, 0, len(list))
	for i, m := range list {
		if i+1 == len(list) || list[i+1].name != m.name {
			ids = append(ids, id{m.name, idValue(m.raw)})
		}
	}
	return ids
}

// idValue is a value as text; an object or an array as the host writes it.
func idValue(raw []byte) string {
	if text, ok := decodeValue(raw); ok {
		return text
	}
	return string(raw)
}

// field hashes a text with its length in front: the separator that no text can hold.
func field(h hash.Hash, text string) { fieldBytes(h, []byte(text)) }

func fieldBytes(h hash.Hash, text []byte) {
	h.Write(binary.AppendUvarint(nil, uint64(len(text))))
	h.Write(text)
}
