package invocation

import "strings"

// other is any trigger that this package does not know by name, such as Kafka or RabbitMQ: the general rules of rendering hold, and every
// name of its metadata identifies an event, but for what looks as if it changed with each delivery.
var other = shape{}

// volatile reports whether a redelivery may change a value. Leaving out too much only makes two events with the same data and otherwise
// the same metadata one; leaving out too little makes one event two.
func volatile(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "sys", "$sys", "retrycontext", "deliverytag", "consumertag", "nextvisibletime", "client":
		return true
	}
	for _, part := range []string{"count", "receipt", "lock", "token", "redeliver", "attempt", "retr", "receiver", "session", "actions", "expir"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
