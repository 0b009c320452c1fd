package host

import "strings"

// Kestrel lists the headers that it knows first, in this order and this case, then Content-Length, then all others in the order they came
// (dotnet/aspnetcore src/Servers/Kestrel/shared/KnownHeaders.cs: four primary ones, the others by name). Recordings A-headers-*, A-options,
// A-traceparent.
var kestrelKnown = func() map[string]knownHeader {
	names := []string{
		"Accept", "Connection", "Host", "User-Agent",
		"Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers", "Access-Control-Request-Method", "Authorization",
		"baggage", "Cache-Control", "Content-Type", "Cookie", "Correlation-Context", "Date", "Expect", "From", "grpc-accept-encoding",
		"grpc-encoding", "grpc-timeout", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Keep-Alive",
		"Max-Forwards", "Origin", "Pragma", "Proxy-Authorization", "Range", "Referer", "Request-Id", "TE", "traceparent", "tracestate",
		"Transfer-Encoding", "Translate", "Upgrade", "Upgrade-Insecure-Requests", "Via", "Warning", "Content-Length",
	}
	known := make(map[string]knownHeader, len(names))
	for i, n := range names {
		known[strings.ToLower(n)] = knownHeader{i, n}
	}
	return known
}()

type knownHeader struct {
	place int
	name  string
}

// kestrelOrder puts lines of one name together, under the name's first spelling.
func kestrelOrder(sent headers) headers {
	byPlace := make([]headers, len(kestrelKnown))
	var others []headers
	where := map[string]int{}
	for _, f := range sent {
		lower := strings.ToLower(f.name)
		if k, ok := kestrelKnown[lower]; ok {
			byPlace[k.place] = append(byPlace[k.place], field{k.name, f.value})
			continue
		}
		at, ok := where[lower]
		if !ok {
			at = len(others)
			where[lower] = at
			others = append(others, nil)
		}
		name := f.name
		if len(others[at]) > 0 {
			name = others[at][0].name
		}
		others[at] = append(others[at], field{name, f.value})
	}
	out := make(headers, 0, len(sent))
	for _, group := range append(byPlace, others...) {
		out = append(out, group...)
	}
	if out.has("Transfer-Encoding") {
		out = out.without("Content-Length") // Kestrel drops it (RFC 9112, 6.1)
	}
	return out
}

// named is one header with all of its lines.
type named struct {
	name   string
	values []string
}

// groups are the headers by name, in order.
func (h headers) groups() []named {
	var out []named
	for i, f := range h {
		if i > 0 && strings.EqualFold(h[i-1].name, f.name) {
			out[len(out)-1].values = append(out[len(out)-1].values, f.value)
			continue
		}
		out = append(out, named{f.name, []string{f.value}})
	}
	return out
}
