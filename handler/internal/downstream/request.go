package downstream

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"

	"apimrelay/handler/internal/header"
)

// blank is what all requests have in common.
var blank = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}

// parse reads a plain request's header, its empty line included, and makes of it what net/http would (request.go, readRequest; transfer.go,
// readTransfer). nil is one that is not plain. Plain is HTTP/1.1 in origin form with one Host, lines that end in CR LF and are not folded, a body by one
// length, by one "chunked", or none, and nothing that concerns the connection but "keep-alive": no Expect, no Upgrade, no trailers announced.
func (c *conn) parse(ctx context.Context, head []byte) (*http.Request, *body) {
	if !bytes.HasSuffix(head, emptyLine) {
		return nil, nil
	}
	text := string(head[:len(head)-2]) // one piece of memory for all values
	line, rest, _ := strings.Cut(text, "\r\n")
	method, target, where := plainLine(line)
	if where == nil {
		return nil, nil
	}
	fields, ok := header.Fields(rest)
	if !ok {
		return nil, nil
	}
	host := fields["Host"]
	if len(host) != 1 || !header.Host(host[0]) || !plainConnection(fields) {
		return nil, nil
	}
	delete(fields, "Host")
	length, ok := framing(fields)
	if !ok {
		return nil, nil
	}
	req := blank.WithContext(ctx)
	req.Method, req.URL, req.Header, req.Host, req.RequestURI, req.RemoteAddr = method, where, fields, host[0], target, c.remote
	if length == 0 {
		return req, nil
	}
	b := &body{conn: c, req: req, left: length}
	req.Body, req.ContentLength = b, length
	if length < 0 {
		b.chunked()
		req.TransferEncoding = []string{"chunked"}
	}
	return req, b
}

// plainLines tells whether the first lines of a header, as far as they have come, can be a plain one's.
func plainLines(text string) bool {
	line, rest, _ := strings.Cut(text, "\r\n")
	_, _, where := plainLine(line)
	_, ok := header.Fields(rest)
	return ok && where != nil
}

// plainLine takes the first line apart. Where it is not a plain one there is no URL.
func plainLine(line string) (method, target string, where *url.URL) {
	method, line, _ = strings.Cut(line, " ")
	target, version, _ := strings.Cut(line, " ")
	if version == "HTTP/1.1" && plainMethod(method) && plainTarget(target) {
		where, _ = url.ParseRequestURI(target)
	}
	return method, target, where
}

func plainMethod(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

func plainTarget(target string) bool {
	for i := range len(target) {
		if target[i] <= ' ' || target[i] >= 0x7f {
			return false
		}
	}
	return target != "" && target[0] == '/'
}

// plainConnection tells whether nothing is said of the connection, or of what comes beside the body.
func plainConnection(fields http.Header) bool {
	for _, name := range [...]string{"Expect", "Upgrade", "Trailer", "Http2-Settings"} {
		if _, ok := fields[name]; ok {
			return false
		}
	}
	for _, value := range fields["Connection"] {
		if !strings.EqualFold(value, "keep-alive") {
			return false
		}
	}
	return true
}

// framing is the body's length in bytes, -1 where it comes in chunks, whose header it takes away as net/http does.
func framing(fields http.Header) (length int64, ok bool) {
	lengths, coding := fields["Content-Length"], fields["Transfer-Encoding"]
	switch {
	case len(coding) == 1 && len(lengths) == 0 && coding[0] == "chunked":
		delete(fields, "Transfer-Encoding")
		return -1, true
	case len(coding) > 0 || len(lengths) > 1:
		return 0, false
	case len(lengths) == 0:
		return 0, true
	}
	return header.Length(lengths[0])
}
