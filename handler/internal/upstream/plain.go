package upstream

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"

	"apimrelay/handler/internal/header"
)

// appendRequest appends a short request as net/http writes it (request.go, write; transfer.go, writeHeader), its body included. It reports false for one
// that net/http might write in another way, a host or a path with characters that have to be changed or refused, and for one whose writing somebody traces.
func appendRequest(out []byte, req *http.Request) ([]byte, bool, error) {
	host, target := req.Host, req.URL.RequestURI()
	if host == "" {
		host = req.URL.Host
	}
	if !header.Host(host) || !header.Printable(target) || strings.IndexByte(target, '\t') >= 0 || httptrace.ContextClientTrace(req.Context()) != nil {
		return out, false, nil
	}
	out = append(append(append(append(out, req.Method...), ' '), target...), " HTTP/1.1\r\nHost: "...)
	out = append(append(out, host...), "\r\n"...)
	agent := "Go-http-client/1.1"
	if _, ok := req.Header["User-Agent"]; ok {
		agent = req.Header.Get("User-Agent")
	}
	if agent != "" {
		out = appendField(out, "User-Agent", agent)
	}
	body := req.Body != nil && req.Body != http.NoBody
	if body || req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
		length := req.ContentLength
		if !body {
			length = 0
		}
		out = append(strconv.AppendInt(append(out, "Content-Length: "...), length, 10), "\r\n"...)
	}
	var room [32]string
	names := room[:0]
	for name := range req.Header {
		switch name {
		case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range req.Header[name] {
			out = appendField(out, name, value)
		}
	}
	out = append(out, "\r\n"...)
	if !body {
		return out, true, nil
	}
	defer req.Body.Close()
	from := len(out)
	out = slices.Grow(out, int(req.ContentLength))[:from+int(req.ContentLength)]
	if n, err := io.ReadFull(req.Body, out[from:]); err != nil {
		return out, true, fmt.Errorf("reading its body: want %d bytes, got %d: %w", req.ContentLength, n, err)
	}
	var more [1]byte
	if n, _ := req.Body.Read(more[:]); n > 0 {
		return out, true, fmt.Errorf("reading its body: want %d bytes, got more", req.ContentLength)
	}
	return out, true, nil
}

func appendField(out []byte, name, value string) []byte {
	out = append(append(out, name...), ": "...)
	return append(append(out, strings.Trim(value, " \t")...), "\r\n"...)
}

// plainAnswer reads an answer's header where all of it is at hand, and is written plainly: HTTP/1.1, a final status of an answer with a body, and that by
// one length. It makes of it what net/http does (response.go, ReadResponse). nil is any other, of which nothing has been read.
func plainAnswer(in *bufio.Reader, req *http.Request, body *exact) *http.Response {
	there, _ := in.Peek(in.Buffered())
	end := bytes.Index(there, []byte("\r\n\r\n"))
	const version = "HTTP/1.1 "
	if end < 0 || !bytes.HasPrefix(there, []byte(version)) || req.Method == http.MethodHead {
		return nil
	}
	text := string(there[:end+2]) // one piece of memory for all values
	line, rest, _ := strings.Cut(text, "\r\n")
	status := line[len(version):]
	code, ok := statusOf(status)
	if !ok || code < 200 || code == http.StatusNoContent || code == http.StatusNotModified || !header.Printable(status) {
		return nil
	}
	fields, ok := header.Fields(rest)
	if !ok {
		return nil
	}
	for _, name := range [...]string{"Connection", "Transfer-Encoding", "Trailer"} {
		if _, ok := fields[name]; ok {
			return nil
		}
	}
	lengths := fields["Content-Length"]
	if len(lengths) != 1 {
		return nil
	}
	length, ok := header.Length(lengths[0])
	if !ok {
		return nil
	}
	_, _ = in.Discard(end + 4)
	res := &http.Response{
		Status: status, StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: fields, ContentLength: length, Request: req, Body: http.NoBody,
	}
	if length > 0 {
		body.in, body.left = in, length
		res.Body = body
	}
	return res
}

// statusOf reads three digits and what follows them.
func statusOf(text string) (int, bool) {
	if len(text) < 3 || len(text) > 3 && text[3] != ' ' {
		return 0, false
	}
	code := 0
	for _, c := range []byte(text[:3]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		code = 10*code + int(c-'0')
	}
	return code, true
}

// exact is a body of so many bytes.
type exact struct {
	in   *bufio.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.in.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	switch {
	case e.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (e *exact) Close() error { return nil }
