package downstream

import (
	"bytes"
	"context"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"apimrelay/handler/internal/upstream"
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
	method, line, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(line, " ")
	if version != "HTTP/1.1" || !plainMethod(method) || !plainTarget(target) {
		return nil, nil
	}
	where, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, nil
	}
	header, ok := fields(rest)
	if !ok {
		return nil, nil
	}
	host := header["Host"]
	if len(host) != 1 || !plainHost(host[0]) || !plainConnection(header) {
		return nil, nil
	}
	delete(header, "Host")
	length, ok := framing(header)
	if !ok {
		return nil, nil
	}
	req := blank.WithContext(ctx)
	req.Method, req.URL, req.Header, req.Host, req.RequestURI, req.RemoteAddr = method, where, header, host[0], target, c.remote
	if length == 0 {
		return req, nil
	}
	b := &body{conn: c, left: length}
	req.Body, req.ContentLength = b, length
	if length < 0 {
		b.chunked()
		req.TransferEncoding = []string{"chunked"}
	}
	return req, b
}

// fields reads the lines of a header.
func fields(text string) (http.Header, bool) {
	n := strings.Count(text, "\n")
	header := make(http.Header, n)
	values := make([]string, n)
	for i := range n {
		end := strings.IndexByte(text, '\n')
		if end < 1 || text[end-1] != '\r' {
			return nil, false
		}
		name, value, ok := strings.Cut(text[:end-1], ":")
		text = text[end+1:]
		value = strings.Trim(value, " \t")
		if !ok || !upstream.Token(name) || !upstream.Printable(value) { // a folded line begins with a blank, which is no token
			return nil, false
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if earlier := header[name]; earlier != nil {
			header[name] = append(earlier, value)
			continue
		}
		values[i] = value
		header[name] = values[i : i+1 : i+1]
	}
	if pragma := header["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" {
		if _, ok := header["Cache-Control"]; !ok {
			header["Cache-Control"] = []string{"no-cache"} // as net/http does (RFC 9111 5.4)
		}
	}
	return header, true
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

// plainHost tells names and addresses with or without a port.
func plainHost(host string) bool {
	for i := range len(host) {
		switch b := host[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', strings.IndexByte("-._:[]", b) >= 0:
		default:
			return false
		}
	}
	return host != ""
}

// plainConnection tells whether nothing is said of the connection, or of what comes beside the body.
func plainConnection(header http.Header) bool {
	for _, name := range [...]string{"Expect", "Upgrade", "Trailer", "Http2-Settings"} {
		if _, ok := header[name]; ok {
			return false
		}
	}
	for _, value := range header["Connection"] {
		if !strings.EqualFold(value, "keep-alive") {
			return false
		}
	}
	return true
}

// framing is the body's length in bytes, -1 where it comes in chunks, whose header it takes away as net/http does.
func framing(header http.Header) (length int64, ok bool) {
	lengths, coding := header["Content-Length"], header["Transfer-Encoding"]
	switch {
	case len(coding) == 1 && len(lengths) == 0 && coding[0] == "chunked":
		delete(header, "Transfer-Encoding")
		return -1, true
	case len(coding) > 0 || len(lengths) > 1:
		return 0, false
	case len(lengths) == 0:
		return 0, true
	}
	for i := range len(lengths[0]) {
		if lengths[0][i] < '0' || lengths[0][i] > '9' {
			return 0, false
		}
	}
	length, err := strconv.ParseInt(lengths[0], 10, 63)
	return length, err == nil
}
