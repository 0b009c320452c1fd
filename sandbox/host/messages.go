package host

import (
	"encoding/base64"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"apimrelay/internal/hostfile"
)

// Shapes of the triggers that carry messages. The queue's is recorded (F-queue-*); the others
// follow the host's rule for rendering values (Azure/azure-functions-host
// ScriptInvocationContextExtensions.cs) and the property lists of the extensions' samples.

type queueMessage struct {
	id       string
	text     string
	count    int
	inserted time.Time
	meta     map[string]string
}

func newQueueMessage(h *Host, e Event) *queueMessage {
	m := &queueMessage{id: newGUID(), inserted: h.clock.now().Truncate(time.Second),
		meta: e.Metadata}
	if e.Input != nil {
		m.text = *e.Input
	}
	return m
}

// payload renders the message; one that is no UTF-8 never reaches the handler (recording
// F-queue-binary).
func (m *queueMessage) payload(h *Host, fn *function) (*payload, error) {
	if !utf8.ValidString(m.text) {
		return nil, newException(invalidOperation, "Exception binding parameter '%s'",
			fn.trigger.name).because(newException(
			"System.Text.DecoderFallbackException",
			"Unable to translate bytes [FF] at index 1 from specified code page to Unicode."))
	}
	visible := h.clock.now().Add(10 * time.Minute)
	receipt := base64.StdEncoding.EncodeToString(
		[]byte(h.clock.now().Format("02Jan200615:04:05.0000")))
	p := &payload{data: members{{fn.trigger.name, text(h, m.text)}},
		metadata: members{{"DequeueCount", quoteJSON(strconv.Itoa(m.count))},
			{"ExpirationTime", wholeSeconds(m.inserted.Add(7 * 24 * time.Hour))},
			{"Id", twice(m.id)},
			{"InsertionTime", wholeSeconds(m.inserted)},
			{"NextVisibleTime", wholeSeconds(visible)}, {"PopReceipt", twice(receipt)}}}
	p.message(m.text)
	p.replace(m.meta)
	return p, nil
}

// text is a message body: JSON text inside a JSON string, or once, by switch.
func text(h *Host, s string) string {
	if h.cfg.Switches.SingleEncoding {
		return quoteJSON(s)
	}
	return twice(s)
}

// message puts the values of a JSON message: where the trigger has one of that name they replace it
// in place, others come behind sys (recording F-queue-json).
func (p *payload) message(s string) {
	var values members
	values.addJSON(s)
	for _, v := range values {
		if p.metadata.has(v.name) {
			p.metadata.put(v.name, v.json)
		} else {
			p.appended.put(v.name, v.json)
		}
	}
}

func (p *payload) replace(meta map[string]string) {
	names := make([]string, 0, len(meta))
	for name := range meta {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		p.metadata.put(name, twice(meta[name]))
	}
}

// eventPayload renders every trigger that is neither HTTP nor timer.
func (in *instance) eventPayload(fn *function, e Event, id string) (*payload, error) {
	h, t := in.h, fn.trigger
	input := ""
	if e.Input != nil {
		input = *e.Input
	}
	batch := e.Many
	if batch == nil {
		batch = []string{input}
	}
	many := strings.EqualFold(textOf(t.prop("cardinality")), "many")
	binary := strings.EqualFold(textOf(t.prop("dataType")), "binary")
	one := func(s string) string {
		if binary {
			return quoteJSON(base64.StdEncoding.EncodeToString([]byte(s)))
		}
		return text(h, s)
	}
	now := h.clock.now()
	p := &payload{}
	switch {
	case t.is("queueTrigger"):
		m := newQueueMessage(h, e)
		m.count = 1
		return m.payload(h, fn)
	case t.is("serviceBusTrigger"):
		p.serviceBus(t, batch, many, one, now, id)
	case t.is("eventHubTrigger"):
		p.eventHub(t, batch, textOf(t.prop("cardinality")) == "" || many, one, now)
	case t.is("eventGridTrigger"):
		v, err := answerJSON(input)
		if err != nil || v == nil || v.Kind != hostfile.Object {
			return nil, hostErrorf("An Event Grid event is a JSON object.")
		}
		p.data.add(t.name, compact(v))
		if data := v.Fold("data"); data != nil && data.Kind == hostfile.Object {
			p.metadata.add("data", compact(data))
		}
	case t.is("cosmosDBTrigger"):
		p.data.add(t.name, quoteJSON(jsonArray(batch)))
	case t.is("blobTrigger"):
		p.data.add(t.name, one(input))
		p.blob(t, e.Metadata, len(input), now)
		return p, nil
	default:
		if many {
			p.data.add(t.name, quoteJSON(jsonArray(batch)))
		} else {
			p.data.add(t.name, one(input))
			p.message(input)
		}
	}
	p.replace(e.Metadata)
	return p, nil
}

// jsonArray is an array of texts: a text that is a JSON object or array is embedded, others are
// strings.
func jsonArray(batch []string) string {
	items := make([]string, len(batch))
	for i, s := range batch {
		items[i] = quoteJSON(s)
		if v, err := hostfile.Parse(s,
			hostfile.Options{Depth: hostfile.FormatterDepth}); err == nil && !v.Scalar() {
			items[i] = compact(v)
		}
	}
	return "[" + strings.Join(items, ",") + "]"
}

func stringArray(batch []string) string {
	items := make([]string, len(batch))
	for i, s := range batch {
		items[i] = quoteJSON(s)
	}
	return "[" + strings.Join(items, ",") + "]"
}

func repeat(n int, item func(i int) string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = item(i)
	}
	return quoteJSON("[" + strings.Join(items, ",") + "]")
}

func (p *payload) serviceBus(t *binding, batch []string, many bool, one func(string) string,
	now time.Time, id string) {
	p.metadata = members{{"MessageReceiver", "{}"}, {"MessageSession", "{}"},
		{"MessageActions", "{}"}, {"SessionActions", "{}"},
		{"ReceiveActions", "{}"},
		{"Client",
			`{"FullyQualifiedNamespace":"sandbox.servicebus.windows.net","IsClosed":false,"TransportType":0,"Identifier":"sandbox"}`}}
	iso := now.Format("2006-01-02T15:04:05")
	expires := now.Add(14 * 24 * time.Hour)
	if many {
		n := len(batch)
		p.data.add(t.name, quoteJSON(stringArray(batch)))
		for _, m := range []member{
			{"DeliveryCountArray", repeat(n, func(int) string { return "1" })},
			{"LockTokenArray", repeat(n, func(int) string { return quoteJSON(newGUID()) })},
			{"MessageIdArray", repeat(n,
				func(int) string { return quoteJSON(strings.ReplaceAll(newGUID(), "-", "")) })},
			{"SequenceNumberArray", repeat(n, func(i int) string { return strconv.Itoa(i + 1) })},
			{"EnqueuedTimeUtcArray", repeat(n, func(int) string { return quoteJSON(iso + "Z") })},
			{"ExpiresAtUtcArray", repeat(n,
				func(int) string { return quoteJSON(expires.Format("2006-01-02T15:04:05Z")) })},
			{"ContentTypeArray", repeat(n, func(int) string { return "null" })},
			{"CorrelationIdArray", repeat(n, func(int) string { return "null" })},
			{"ApplicationPropertiesArray", repeat(n, func(int) string { return "{}" })},
			{"UserPropertiesArray", repeat(n, func(int) string { return "{}" })},
		} {
			p.metadata.put(m.name, m.json)
		}
		return
	}
	p.data.add(t.name, one(batch[0]))
	messageID := strings.ReplaceAll(id, "-", "")
	p.metadata = append(p.metadata, members{
		{"DeliveryCount", `"1"`},
		{"LockToken", twice(newGUID())},
		{"ExpiresAtUtc", quoteJSON(expires.Format("2006-01-02T15:04:05"))},
		{"ExpiresAt", wholeSeconds(expires)},
		{"EnqueuedTimeUtc", quoteJSON(iso)},
		{"EnqueuedTime", wholeSeconds(now)},
		{"MessageId", twice(messageID)},
		{"ContentType", twice("application/json")},
		{"SequenceNumber", `"1"`},
		{"ApplicationProperties", "{}"},
		{"UserProperties", "{}"},
	}...)
	p.message(batch[0])
}

func (p *payload) eventHub(t *binding, batch []string, many bool, one func(string) string,
	now time.Time) {
	partition := `{"FullyQualifiedNamespace":"sandbox.servicebus.windows.net","EventHubName":` +
		quoteJSON(target(t)) + `,"ConsumerGroup":"$Default","PartitionId":"0"}`
	p.metadata.add("PartitionContext", partition)
	iso := now.Format("2006-01-02T15:04:05")
	if many {
		n := len(batch)
		p.data.add(t.name, quoteJSON(stringArray(batch)))
		p.metadata = append(p.metadata,
			member{"PartitionKeyArray", repeat(n, func(int) string { return "null" })},
			member{"OffsetArray", repeat(n,
				func(i int) string { return quoteJSON(strconv.Itoa(48 * i)) })},
			member{"SequenceNumberArray", repeat(n, func(i int) string { return strconv.Itoa(i) })},
			member{"EnqueuedTimeUtcArray",
				repeat(n, func(int) string { return quoteJSON(iso + "Z") })},
			member{"PropertiesArray", repeat(n, func(int) string { return "{}" })},
			member{"SystemPropertiesArray", repeat(n, func(i int) string {
				return `{"SequenceNumber":` + strconv.Itoa(i) + `,"Offset":"` + strconv.Itoa(48*i) +
					`","PartitionKey":null,"EnqueuedTimeUtc":"` + iso + `Z"}`
			})})
		return
	}
	p.data.add(t.name, one(batch[0]))
	p.metadata = append(p.metadata, members{
		{"PartitionKey", `"null"`},
		{"Offset", twice("0")},
		{"SequenceNumber", `"0"`},
		{"EnqueuedTimeUtc", quoteJSON(iso)},
		{"Properties", "{}"},
		{"SystemProperties",
			`{"SequenceNumber":0,"Offset":"0","PartitionKey":null,"EnqueuedTimeUtc":"` + iso +
				`Z"}`},
	}...)
	p.message(batch[0])
}

// blob fills the tokens of the path ("samples/{name}") from meta, and names the blob.
func (p *payload) blob(t *binding, meta map[string]string, size int, now time.Time) {
	path := textOf(t.prop("path"))
	name := meta["name"]
	if name == "" {
		name = "sandbox.txt"
	}
	full := settingBraces.ReplaceAllStringFunc(path, func(m string) string {
		if v, ok := meta[m[1:len(m)-1]]; ok {
			return v
		}
		return name
	})
	for _, token := range settingBraces.FindAllString(path, -1) {
		v, ok := meta[token[1:len(token)-1]]
		if !ok {
			v = name
		}
		p.metadata.put(token[1:len(token)-1], twice(v))
	}
	uri := "https://sandbox.blob.core.windows.net/" + full
	p.metadata.put("Uri", twice(uri))
	p.metadata.put("Properties", `{"ContentLength":`+strconv.Itoa(
		size)+`,"ContentType":"application/octet-stream","ETag":"\"0x8DC\"","LastModified":`+wholeSeconds(now)+`}`)
	p.metadata.put("Metadata", "{}")
}

var settingBraces = regexp.MustCompile(`\{([^{}]+)\}`)
