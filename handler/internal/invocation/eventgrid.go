package invocation

// eventGridTrigger: the event as an object, in either schema. Its own id and source are part of the data; metadata adds only the event's
// data once more.
var eventGrid = shape{ids: []string{}}
