package host

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The wrapped request: POST /<Function> with {"Data":{…},"Metadata":{…}}.
// Sources: Azure/azure-functions-host src/WebJobs.Script/Workers/MessageExtensions/ScriptInvocationContextExtensions.cs,
// Extensions/HttpRequestExtensions.cs, Azure/azure-webjobs-sdk-extensions HttpTriggerAttributeBindingProvider.cs; recordings A-*, C-*, F-*.

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

// without leaves out what the host does: names that end in "trigger", and for HTTP the name of the trigger itself (recording
// A-post-json-body-query-clash).
func (m members) without(fn *function) members {
	out := make(members, 0, len(m)+3)
	for _, e := range m {
		if !strings.HasSuffix(strings.ToLower(e.name), "trigger") && !(fn.http() && strings.EqualFold(e.name, fn.trigger.name)) {
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
		{"UtcNow", quoteJSON(now.Format("2006-01-02T15:04:05") + ticksFraction(now) + "Z")}, {"RandGuid", quoteJSON(newGUID())}}
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
	o := &outgoing{method: http.MethodPost, target: "/" + fn.name, body: []byte(body), chunked: !in.contentLength, hdr: http.Header{
		versionHeader: {hostVersion}, idHeader: {id}, "User-Agent": {agent}, "Content-Type": {"application/json; charset=utf-8"}}}
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
func (in *instance) httpPayload(fn *function, req *request, body []byte, params []routeValue, identity string) *payload {
	q, hdr := members{}, members{}
	for _, item := range req.query {
		q.put(item.name, quoteJSON(strings.Join(item.values, ",")))
	}
	names := slices.Sorted(maps.Keys(req.hdr))
	for _, name := range names {
		hdr.put(name, stringArray(req.hdr[name]))
	}
	values := members{}
	for _, v := range params {
		if v.missing {
			values.put(v.name, "null")
		} else {
			values.put(v.name, quoteJSON(v.value))
		}
	}
	r := members{{"Url", quoteJSON(in.scheme(req) + "://" + req.Host + escapePath(req.path) + queryOf(req))}, {"Method", quoteJSON(req.Method)},
		{"Query", q.String()}, {"Headers", hdr.String()}, {"Params", values.String()}, {"Identities", "[" + identity + "]"}}
	meta := members{}
	if req.ContentLength > 0 {
		if binary(req.hdr.Get("Content-Type")) {
			r.add("Body", quoteJSON(base64.StdEncoding.EncodeToString(body)))
		} else {
			text := decodeBody(body)
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

// addJSON puts the top-level values of a text that is a JSON object: scalars as text, objects as they are; arrays and nulls stay out.
func (m *members) addJSON(text string) {
	r := &jreader{s: strings.TrimPrefix(text, "\ufeff"), dates: true, most: plainJSONDepth}
	if r.blank() != nil || r.peek() != '{' {
		return
	}
	v, err := r.value()
	if err != nil || r.blank() != nil || r.at < len(r.s) {
		return
	}
	for _, e := range v.members {
		switch e.value.kind {
		case jnull, jarray:
		case jobject:
			m.put(e.name, e.value.compact())
		default:
			m.put(e.name, twice(e.value.text()))
		}
	}
}

// binary is a body that travels as base64: application/octet-stream and multipart (HttpRequestExtensions.IsMediaTypeOctetOrMultipart).
func binary(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/octet-stream" || strings.HasPrefix(media, "multipart/")
}

// decodeBody is a StreamReader with UTF-8: a byte order mark decides, malformed bytes become U+FFFD.
func decodeBody(b []byte) string {
	units := func(b []byte, at func([]byte) uint16) string {
		u := make([]uint16, 0, len(b)/2)
		for ; len(b) >= 2; b = b[2:] {
			u = append(u, at(b))
		}
		s := string(utf16.Decode(u))
		if len(b) > 0 {
			s += "\ufffd"
		}
		return s
	}
	switch {
	case len(b) >= 3 && b[0] == 0xef && b[1] == 0xbb && b[2] == 0xbf:
		b = b[3:]
	case len(b) >= 4 && b[0] == 0xff && b[1] == 0xfe && b[2] == 0 && b[3] == 0:
		return utf32(b[4:], func(b []byte) rune { return rune(b[0]) | rune(b[1])<<8 | rune(b[2])<<16 | rune(b[3])<<24 })
	case len(b) >= 4 && b[0] == 0 && b[1] == 0 && b[2] == 0xfe && b[3] == 0xff:
		return utf32(b[4:], func(b []byte) rune { return rune(b[3]) | rune(b[2])<<8 | rune(b[1])<<16 | rune(b[0])<<24 })
	case len(b) >= 2 && b[0] == 0xff && b[1] == 0xfe:
		return units(b[2:], func(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 })
	case len(b) >= 2 && b[0] == 0xfe && b[1] == 0xff:
		return units(b[2:], func(b []byte) uint16 { return uint16(b[1]) | uint16(b[0])<<8 })
	}
	return decodeUTF8(b)
}

func utf32(b []byte, at func([]byte) rune) string {
	var s strings.Builder
	for ; len(b) >= 4; b = b[4:] {
		s.WriteRune(at(b))
	}
	return s.String()
}

// decodeUTF8 replaces each maximal malformed part by one U+FFFD, as .NET and WHATWG do; Go would write one for each byte.
func decodeUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r != utf8.RuneError || size > 1 {
			s.WriteRune(r)
			b = b[size:]
			continue
		}
		s.WriteRune(utf8.RuneError)
		b = b[malformed(b):]
	}
	return s.String()
}

// malformed is the length of the maximal part of a sequence at the start of b that could still have become well-formed; at least 1.
func malformed(b []byte) int {
	lo, hi, need := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		need = 1
	case c >= 0xe0 && c <= 0xef:
		need = 2
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		need = 3
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	n := 1
	for ; n <= need && n < len(b) && b[n] >= lo && b[n] <= hi; n++ {
		lo, hi = 0x80, 0xbf
	}
	return n
}
