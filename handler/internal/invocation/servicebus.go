package invocation

// serviceBusTrigger: one message is a text in a text, or in some versions of the extension a text; many are one text holding an array,
// and their metadata stands in names with Array at the end. DeliveryCount, LockToken and the client objects change with each delivery.
var serviceBus = shape{ids: []string{"MessageId", "SequenceNumber", "MessageIdArray", "SequenceNumberArray"}}
