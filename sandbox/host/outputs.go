package host

import (
	"encoding/base64"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
)

// Message is what a function put on a non-HTTP output binding, as the service would store it.
type Message struct {
	Time       time.Time
	Function   string
	Invocation string
	Binding    string // the binding's name
	Kind       string // its type: queue, serviceBus, blob, …
	Target     string // the queue, topic, hub, path or collection that the binding names; a poison queue's name ends in -poison
	Body       []byte
}

// Outputs lists what functions put out since the start, oldest first, the last thousand of them. Poison messages are among them.
func (h *Host) Outputs() []Message {
	h.outMu.Lock()
	defer h.outMu.Unlock()
	return append([]Message(nil), h.out...)
}

const maxOutputs = 1000

func (h *Host) keep(m Message) {
	m.Time = h.clock.right()
	h.outMu.Lock()
	defer h.outMu.Unlock()
	h.out = append(h.out, m)
	h.out = h.out[max(0, len(h.out)-maxOutputs):]
}

// deliver hands the outputs of an envelope to their bindings. Sources: ScriptInvocationResultExtensions, FunctionBinding.cs; recordings F-*.
func (h *Host) deliver(fn *function, id string, e *envelope) {
	for _, b := range fn.outputs() {
		if b.is("http") {
			continue
		}
		v := e.ret
		if b.name != "$return" {
			v = e.outputs.Get(b.name)
		}
		if v == nil || v.Kind == hostfile.Null {
			continue
		}
		binary := strings.EqualFold(textOf(b.prop("dataType")), "binary")
		items := []*hostfile.Value{v}
		if v.Kind == hostfile.Array && !b.is("blob") {
			items = v.Items
		}
		for _, item := range items {
			h.keep(Message{Function: fn.name, Invocation: id, Binding: b.name, Kind: b.kind, Target: target(b), Body: outputBytes(item, binary)})
		}
	}
}

// target is the property that says where a binding leads.
func target(b *binding) string {
	for _, name := range []string{"queueName", "topicName", "eventHubName", "path", "containerName", "collectionName", "tableName", "hubName", "topicEndpointUri"} {
		if s := textOf(b.prop(name)); s != "" {
			return s
		}
	}
	return b.name
}

// outputBytes is text as it is, unless it is valid base64: then what that says; objects are indented, dates American.
func outputBytes(v *hostfile.Value, binary bool) []byte {
	if v.Kind == hostfile.String && !binary {
		if decoded, ok := fromBase64(v.Str); ok {
			return decoded
		}
	}
	return []byte(invariant(v))
}

// fromBase64 is Convert.FromBase64String, which ignores blanks: the text "from http" is six bytes to it (recording F-http-with-queue-output).
func fromBase64(s string) ([]byte, bool) {
	s = strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(s)
	return b, err == nil
}
