package host

import (
	"encoding/base64"
	"encoding/binary"
	"math"
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
	// the queue, topic, hub, path or collection that the binding names; a poison queue's name ends
	// in -poison
	Target string
	Body   []byte
}

// Outputs lists what functions put out since the start, oldest first, the last thousand of them.
// Poison messages are among them.
func (h *Host) Outputs() []Message {
	h.outMu.Lock()
	defer h.outMu.Unlock()
	return append([]Message(nil), h.out...)
}

const maxOutputs = 1000

func (h *Host) keep(m Message) {
	m.Time = h.clock.right()
	h.history.put(m)
	h.outMu.Lock()
	defer h.outMu.Unlock()
	h.out = append(h.out, m)
	h.out = h.out[max(0, len(h.out)-maxOutputs):]
}

// deliver hands the outputs of an envelope to their bindings. What a binding refuses fails the
// invocation; what was handed over before it stays. Sources: ScriptInvocationResultExtensions,
// FunctionBinding.cs; recordings F-*.
func (h *Host) deliver(in *instance, fn *function, id string, e *envelope) error {
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
		bodies, err := outputBodies(b, v)
		if err != nil {
			return err
		}
		for _, body := range bodies {
			if b.is("queue") && len(body) > in.cfg.queueLimit {
				return newException("Azure.RequestFailedException",
					"The request body is too large and exceeds the maximum permissible limit. (Status: 413, ErrorCode: RequestBodyTooLarge)")
			}
			h.keep(Message{Function: fn.name, Invocation: id, Binding: b.name, Kind: b.kind,
				Target: target(b), Body: body})
		}
	}
	return nil
}

// target is the property that says where a binding leads.
func target(b *binding) string {
	for _, name := range []string{"queueName", "topicName", "eventHubName", "path", "containerName",
		"collectionName", "tableName", "hubName", "topicEndpointUri"} {
		if s := textOf(b.prop(name)); s != "" {
			return s
		}
	}
	return b.name
}

// outputBodies are the messages that an output becomes, tried on the real host (4.1037) with queues
// and blobs. Text that is valid base64 is what that says, unless the binding's dataType is binary.
// An array for anything but a blob is one message for each item, and so is a text that holds one.
func outputBodies(b *binding, v *hostfile.Value) ([][]byte, error) {
	if v.Kind == hostfile.String {
		if decoded, ok := fromBase64(v.Str); ok && !strings.EqualFold(textOf(b.prop("dataType")),
			"binary") {
			return [][]byte{decoded}, nil
		}
		if inner, err := hostfile.Parse(v.Str, hostfile.Options{Dates: true}); err == nil &&
			!inner.Scalar() {
			v = inner
		}
	}
	if b.is("blob") {
		body, err := blobBody(v)
		return [][]byte{body}, err
	}
	items := []*hostfile.Value{v}
	if v.Kind == hostfile.Array {
		items = v.Items
	}
	var bodies [][]byte
	for _, item := range items {
		if text := invariant(item); text != "" { // no message of nothing
			bodies = append(bodies, []byte(text))
		}
	}
	return bodies, nil
}

// blobBody is what a blob holds: JSON compact, numbers and booleans as .NET's BitConverter writes
// them.
func blobBody(v *hostfile.Value) ([]byte, error) {
	switch v.Kind {
	case hostfile.String:
		return []byte(v.Str), nil
	case hostfile.Float:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v.Float)), nil
	case hostfile.Int:
		return binary.LittleEndian.AppendUint64(nil, uint64(v.Int.Int64())), nil
	case hostfile.Bool:
		if v.Bool {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	case hostfile.Date:
		return nil, newException("System.ArgumentNullException", "Value cannot be null.")
	}
	return []byte(compact(v)), nil
}

// fromBase64 is Convert.FromBase64String, which ignores blanks: the text "from http" is six bytes
// to it (recording F-http-with-queue-output).
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
