package invocation

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
	"time"
)

// Key returns the idempotency key of an event: the same for each delivery of the same event to the same function, in whichever app,
// region or process, and different for any other. It is 32 hexadecimal digits of a SHA-256 over the function's name, what identifies the
// event, and its data.
//
// What identifies an event is all of the metadata that a redelivery keeps: several values, because the properties of a JSON message
// overwrite metadata of the same name. Counters, receipts, locks, sys and RetryContext change and do not count. A timer is identified by
// the tick being run; where it has none, or is run by hand before it, by invocationID, which the host keeps when it repeats a run. The
// host tells the tick of a run by hand from that of a scheduled one only by its lying in the future, so that now decides.
func (c *Call) Key(function string, trigger Binding, now time.Time, invocationID string) string {
	h := sha256.New()
	field(h, "event")
	field(h, strings.ToLower(function))
	shape := shapeOf(trigger)
	if shape.key != nil {
		shape.key(h, c, trigger, now, invocationID)
	} else {
		c.identify(h, trigger, shape.ids)
	}
	sum := h.Sum(nil)
	return hex.EncodeToString(sum[:16])
}

// shape is what is particular to a trigger's invocations.
type shape struct {
	// ids are names of metadata, or paths into it, that a redelivery keeps. nil: every name that is not volatile.
	ids []string
	// key replaces the rule for messages.
	key func(h hash.Hash, c *Call, trigger Binding, now time.Time, invocationID string)
}

var shapes = map[string]shape{
	"timertrigger":      timer,
	"queuetrigger":      queue,
	"servicebustrigger": serviceBus,
	"eventhubtrigger":   eventHubs,
	"eventgridtrigger":  eventGrid,
	"blobtrigger":       blob,
	"cosmosdbtrigger":   cosmosDB,
}

func shapeOf(trigger Binding) shape {
	if s, ok := shapes[strings.ToLower(trigger.Type)]; ok {
		return s
	}
	return other
}

// identify hashes an event's ids and its data. A name stands before each value, so that nothing can be taken for something else.
func (c *Call) identify(h hash.Hash, trigger Binding, ids []string) {
	if ids == nil {
		for _, m := range c.metadata {
			if !volatile(m.name) {
				ids = append(ids, m.name)
			}
		}
		slices.SortFunc(ids, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	}
	for _, id := range ids {
		name, path, nested := strings.Cut(id, ".")
		raw, ok := find(c.metadata, name)
		if !ok {
			continue
		}
		var text string
		if nested {
			text, ok = dig(raw, path)
		} else if text, ok = decodeValue(raw); !ok {
			text, ok = string(raw), true // an object or an array, as the host writes it
		}
		if ok {
			field(h, strings.ToLower(id))
			field(h, text)
		}
	}
	field(h, "data")
	if event, err := c.Event(trigger); err == nil {
		fieldBytes(h, event.Body)
	}
}

// field writes a text with its length in front: the separator that no text can hold.
func field(h hash.Hash, text string) { fieldBytes(h, []byte(text)) }

func fieldBytes(h hash.Hash, text []byte) {
	h.Write(binary.AppendUvarint(nil, uint64(len(text))))
	h.Write(text)
}
