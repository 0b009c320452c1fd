package host

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"

	"apimrelay/internal/hostfile"
)

// The wrapped request: POST /<Function> with {"Data":{…},"Metadata":{…}}. Sources:
// Azure/azure-functions-host
// src/WebJobs.Script/Workers/MessageExtensions/ScriptInvocationContextExtensions.cs,
// Extensions/HttpRequestExtensions.cs, Azure/azure-webjobs-sdk-extensions
// HttpTriggerAttributeBindingProvider.cs; recordings A-*, C-*, F-*.

// members is a JSON object under construction: rendered values by name, in order.
type members []member

type member struct{ name, json string }

func (m *members) add(name, json string) { *m = append(*m, member{name, json}) }

// put replaces a name's value in place, ignoring case, and keeps the spelling that came first.
func (m *members) put(name, json string) {
	for i := range *m {
		if strings.EqualFold((*m)[i].name, name) {
			(*m)[i].json = json
			return
		}
	}
	m.add(name, json)
}

func (m members) has(name string) bool {
	for _, e := range m {
		if strings.EqualFold(e.name, name) {
			return true
		}
	}
	return false
}

// without leaves out what the host does: names that end in "trigger", and for HTTP the name of the
// trigger itself (recording A-post-json-body-query-clash).
func (m members) without(fn *function) members {
	out := make(members, 0, len(m)+3)
	for _, e := range m {
		if !strings.HasSuffix(strings.ToLower(e.name), "trigger") &&
			!(fn.http() && strings.EqualFold(e.name, fn.trigger.name)) {
			out = append(out, e)
		}
	}
	return out
}

func (m members) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		writeJSONString(&b, e.name)
		b.WriteByte(':')
		b.WriteString(e.json)
	}
	b.WriteByte('}')
	return b.String()
}

// twice is how the host renders what is no object: JSON text inside a JSON string.
func twice(text string) string { return quoteJSON(quoteJSON(text)) }

// payload is what a trigger puts into a wrapped request.
type payload struct {
	data     members
	metadata members
	// appended come behind sys (values of a JSON message).
	appended members
}

// render is the body of one attempt; retry is "" without a policy.
func (p *payload) render(h *Host, fn *function, retry string) string {
	meta := p.metadata.without(fn)
	now := h.clock.now()
	sys := members{{"MethodName", quoteJSON(fn.name)},
		{"UtcNow", quoteJSON(now.Format("2006-01-02T15:04:05") + ticksFraction(now) + "Z")},
		{"RandGuid", quoteJSON(newGUID())}}
	name := "sys"
	if meta.has(name) {
		name = "$sys"
	}
	meta.add(name, sys.String())
	for _, m := range p.appended.without(fn) {
		meta.put(m.name, m.json)
	}
	if retry != "" && !meta.has("RetryContext") {
		meta.add("RetryContext", retry)
	}
	if h.cfg.Switches.ExtraMetadata {
		meta.add("HostSpecific", `{"a":[1,null]}`)
	}
	return members{{"Data", p.data.String()}, {"Metadata", meta.String()}}.String()
}

// The version that the host says it is.
const hostVersion = "4.1037.0.0"

const (
	versionHeader = "X-Azure-Functions-HostVersion"
	idHeader      = "X-Azure-Functions-InvocationId"
	agent         = "Azure-Functions-Host/" + hostVersion
)

// wrappedRequest is the whole request.
func (in *instance) wrappedRequest(fn *function, id, body string, from *request) *outgoing {
	o := &outgoing{method: http.MethodPost, target: "/" + fn.name, body: []byte(body),
		chunked: !in.contentLength, hdr: http.Header{
			versionHeader: {hostVersion}, idHeader: {id}, "User-Agent": {agent},
			"Content-Type": {"application/json; charset=utf-8"}}}
	in.trace(o.hdr, from, traceWrapped)
	return o
}

// scheme is http, or what App Service's front end says (recording E-appservice-wrapped).
func (in *instance) scheme(req *request) string {
	if in.appService && strings.EqualFold(req.hdr.Get("X-Forwarded-Proto"), "https") {
		return "https"
	}
	return "http"
}

// httpPayload renders an HTTP request.
func (in *instance) httpPayload(fn *function, req *request, body []byte, params []routeValue,
	identity string) *payload {
	q, hdr := members{}, members{}
	for _, item := range req.query {
		q.put(item.name, quoteJSON(strings.Join(item.values, ",")))
	}
	names := slices.Sorted(maps.Keys(req.hdr))
	for _, name := range names {
		values := req.hdr[name]
		// of which Kestrel hands out the first option alone (seen on 4.1037)
		if name == "Connection" {
			option, _, _ := strings.Cut(values[0], ",")
			values = []string{blank(option)}
		}
		hdr.put(name, stringArray(values))
	}
	values := members{}
	for _, v := range params {
		if v.missing {
			values.put(v.name, "null")
		} else {
			values.put(v.name, quoteJSON(v.value))
		}
	}
	r := members{{"Url", quoteJSON(in.scheme(req) + "://" + req.Host + escapePath(req.path) +
		queryOf(req))}, {"Method", quoteJSON(req.Method)},
		{"Query", q.String()}, {"Headers", hdr.String()}, {"Params", values.String()},
		{"Identities", "[" + identity + "]"}}
	meta := members{}
	if req.ContentLength > 0 {
		if binaryType(req.hdr.Get("Content-Type")) {
			r.add("Body", quoteJSON(base64.StdEncoding.EncodeToString(body)))
		} else {
			text := hostfile.Decode(body)
			r.add("Body", quoteJSON(text))
			meta.addJSON(text)
		}
	}
	for _, item := range req.query {
		if !strings.EqualFold(item.name, "code") {
			meta.put(item.name, twice(item.values[len(item.values)-1]))
		}
	}
	for _, v := range params {
		if !v.missing {
			meta.put(v.name, twice(v.value))
		}
	}
	if !meta.has("Query") {
		last := members{}
		for _, item := range req.query {
			last.put(item.name, quoteJSON(item.values[len(item.values)-1]))
		}
		meta.add("Query", last.String())
	}
	if !meta.has("Headers") {
		joined := members{}
		for _, name := range names {
			joined.put(name, quoteJSON(strings.Join(req.hdr[name], ",")))
		}
		meta.add("Headers", joined.String())
	}
	return &payload{data: members{{fn.trigger.name, r.String()}}, metadata: meta}
}

// addJSON puts the top-level values of a text that is a JSON object: scalars as text, objects as
// they are; arrays and nulls stay out.
func (m *members) addJSON(text string) {
	v, err := hostfile.Parse(text, hostfile.Options{Dates: true})
	if err != nil || v.Kind != hostfile.Object {
		return
	}
	for _, e := range v.Members {
		switch e.Value.Kind {
		case hostfile.Null, hostfile.Array:
		case hostfile.Object:
			m.put(e.Name, compact(e.Value))
		default:
			m.put(e.Name, twice(e.Value.Text()))
		}
	}
}

// binaryType reports whether a body of the type travels as base64: application/octet-stream and
// multipart (HttpRequestExtensions.IsMediaTypeOctetOrMultipart).
func binaryType(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/octet-stream" || strings.HasPrefix(media, "multipart/")
}
