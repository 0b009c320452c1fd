package invocation

// queueTrigger: a text in a text, also where the message is JSON; a message that is no UTF-8 never arrives. Metadata holds DequeueCount,
// ExpirationTime, Id, InsertionTime, NextVisibleTime, PopReceipt, sys, and the properties of a JSON message, which replace what has their
// name (recordings F-queue-json, F-queue-fail).
var queue = shape{ids: []string{"Id", "InsertionTime", "ExpirationTime"}}
