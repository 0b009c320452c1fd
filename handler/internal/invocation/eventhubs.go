package invocation

// eventHubTrigger: one event is a text in a text; many, the default, are one text holding an array of texts or objects. PartitionContext is
// an object; a partition and a sequence number name an event for good. A batch is identified by all of its events: the host may cut the
// same events into other batches after a failure, and such a batch is another event.
var eventHubs = shape{ids: []string{"PartitionContext.PartitionId", "SequenceNumber", "SequenceNumberArray"}}
