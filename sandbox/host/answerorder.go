package host

import (
	"slices"
	"strings"
)

// Kestrel writes an answer's header in an order of its own: Content-Length, four that most answers have, then the others that it knows by name, then all
// it does not know in the order in which they were set. Known names go out in Kestrel's case (dotnet/aspnetcore
// src/Servers/Kestrel/shared/KnownHeaders.cs; 453 recorded answers, all of the groups A, B, D and P that have a header, are in this order).
var kestrelAnswer = func() map[string]knownHeader {
	first := []string{"Content-Length", "Connection", "Content-Type", "Date", "Server"}
	byName := strings.Fields(`Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods
		Access-Control-Allow-Origin Access-Control-Expose-Headers Access-Control-Max-Age Age Allow Alt-Svc Cache-Control Content-Encoding Content-Language
		Content-Location Content-MD5 Content-Range ETag Expires Grpc-Encoding Grpc-Message Grpc-Status Keep-Alive Last-Modified Location Pragma
		Proxy-Authenticate Proxy-Connection Retry-After Set-Cookie Trailer Transfer-Encoding Upgrade Vary Via Warning WWW-Authenticate`)
	known := map[string]knownHeader{}
	for i, n := range append(first, byName...) {
		known[strings.ToLower(n)] = knownHeader{i, n}
	}
	return known
}()

// answerOrder puts the header of an answer into Kestrel's order and case; lines of one name stand together.
func answerOrder(hdr headers) headers {
	type placed struct {
		at int
		f  field
	}
	where := map[string]placed{}
	all := make([]placed, 0, len(hdr))
	for _, f := range hdr {
		lower := strings.ToLower(f.name)
		p, ok := where[lower]
		if !ok {
			p = placed{len(kestrelAnswer) + len(where), f}
			if k, known := kestrelAnswer[lower]; known {
				p = placed{k.place, field{name: k.name}}
			}
			where[lower] = p
		}
		all = append(all, placed{p.at, field{p.f.name, f.value}})
	}
	slices.SortStableFunc(all, func(a, b placed) int { return a.at - b.at })
	out := make(headers, len(all))
	for i, p := range all {
		out[i] = p.f
	}
	return out
}
