package invocation

import (
	"hash"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// trigger is what is particular to a trigger's invocations.
type trigger struct {
	// ids are names of metadata, or paths into it, that a redelivery keeps. nil stands for every
	// name that is not volatile.
	ids []string
	// key replaces the rule for messages; nil keeps it.
	key func(h hash.Hash, e *Event, now time.Time, invocationID string)
}

// triggers has the triggers that this package knows by name, in lower case. The comments say what
// the host sends as data, and what as metadata.
var triggers = map[string]trigger{
	// Data: an object with Schedule, ScheduleStatus and IsPastDue. ScheduleStatus is null where no
	// status is kept: with useMonitor off, and for schedules of less than a minute. Metadata: sys,
	// and the input of a run by hand under the binding's name (recordings
	// C-timer-normal-and-runOnStartup, C-admin-text-input).
	"timertrigger": {ids: []string{}, key: timerKey},

	// Data: a text in a text, also where the message is JSON; a message that is no UTF-8 never
	// arrives. Metadata: DequeueCount, ExpirationTime, Id, InsertionTime, NextVisibleTime,
	// PopReceipt, sys, and the properties of a JSON message, which replace what has their name
	// (recordings F-queue-json, F-queue-fail).
	"queuetrigger": {ids: []string{"Id", "InsertionTime", "ExpirationTime"}},

	// Data: one message is a text in a text, or in some versions of the extension a text; many are
	// one text that holds an array, and their metadata stands in names with Array at the end.
	// DeliveryCount, LockToken and the client objects change with each delivery.
	"servicebustrigger": {ids: []string{
		"MessageId", "SequenceNumber", "MessageIdArray", "SequenceNumberArray",
	}},

	// Data: one event is a text in a text; many, the default, are one text that holds an array of
	// texts or objects. PartitionContext is an object; a partition and a sequence number name an
	// event for good. A batch is identified by all of its events: after a failure the host may cut
	// the same events into other batches, and such a batch is another event.
	"eventhubtrigger": {ids: []string{
		"PartitionContext.PartitionId", "SequenceNumber", "SequenceNumberArray",
	}},

	// Data: the event as an object, in either schema, with its own id and source. Metadata holds
	// only the event's data once more.
	"eventgridtrigger": {ids: []string{}},

	// Data: text is a text in a text, with dataType binary it is base64. Metadata: Uri, Properties,
	// Metadata and the tokens of the binding's path. BlobTrigger is missing, since the host leaves
	// out names that end in "trigger".
	"blobtrigger": {ids: []string{"Uri", "Properties.ETag"}},

	// Data: one text that holds an array of documents, with their _etag and _ts. Metadata adds
	// nothing.
	"cosmosdbtrigger": {ids: []string{}},
}

// row returns a trigger's row. A trigger without one, such as Kafka or RabbitMQ, follows the general
// rules of rendering; its event is identified by all metadata but what seems to change with each
// delivery.
func (b Binding) row() trigger { return triggers[strings.ToLower(b.Type)] }

// volatile reports whether a redelivery may change a value. To leave out too much only makes one
// event of two that have the same data and otherwise the same metadata; to leave out too little
// makes two of one.
func volatile(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "sys", "$sys", "retrycontext", "deliverytag", "consumertag", "nextvisibletime", "client":
		return true
	}
	for _, part := range []string{
		"count", "receipt", "lock", "token", "redeliver", "attempt", "retr", "receiver", "session",
		"actions", "expir",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// timerKey identifies a timer's run: by its tick, or where it has none by the invocation.
func timerKey(h hash.Hash, e *Event, now time.Time, invocationID string) {
	if tick, ok := e.tick(); ok && !tick.After(now) {
		field(h, "tick")
		field(h, tick.UTC().Format(time.RFC3339Nano))
		return
	}
	field(h, "invocation")
	field(h, invocationID)
}

// tick returns ScheduleStatus.Next: the occurrence being run, or the coming one in a run by hand or
// at start.
func (e *Event) tick() (time.Time, bool) {
	if !startsWith(e.Body, "{") {
		return time.Time{}, false
	}
	text, ok := dig(e.Body, "ScheduleStatus.Next")
	if !ok {
		return time.Time{}, false
	}
	return parseTime(text)
}

// parseTime reads a time as .NET writes it. Some hosts leave the zone out
// (Azure/azure-functions-host#7391); their clock runs in UTC. The first year stands for "never".
func parseTime(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, t.Year() > 1
		}
	}
	return time.Time{}, false
}

// blobPath returns container/name, which {blobTrigger} stands for, from the blob's Uri.
func (e *Event) blobPath() (string, bool) {
	raw, ok := find(e.metadata, "Uri")
	if !ok {
		return "", false
	}
	text, _ := decodeValue(raw)
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", false
	}
	path := strings.TrimPrefix(u.Path, "/")
	// The storage emulator has the account in the path, not in the host's name.
	if _, err := netip.ParseAddr(u.Hostname()); err == nil || u.Hostname() == "localhost" {
		_, path, _ = strings.Cut(path, "/")
	}
	return path, path != ""
}
