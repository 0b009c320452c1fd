package invocation

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// HTTP is a caller's request as the host wraps it, from Data.<binding> alone: Metadata holds values of the caller's body and query under
// names of its choice, so that nothing there can be believed (recording A-post-json-body-query-clash).
type HTTP struct {
	Method string
	URL    string // as the host gives it: scheme, host, path and query, code included
	// Path and RawQuery are URL's, byte for byte: still escaped, RawQuery without the question mark. Query, Params and Identities are
	// not read: they have lost order, case and repeats.
	Path, RawQuery string
	Host           string      // value of the Host header, which is not in Header; else the authority of URL
	Header         http.Header // one item for each line that the caller sent
	Body           []byte      // the caller's bytes; nil where there was none. Of ReadHTTP it can be given to Return after use
	HasBody        bool        // false also where the caller sent an empty body: the host does not tell
}

// ReadHTTP reads an HTTP call from a request to the handler, without keeping the envelope: a body is decoded while it comes in, and is
// the only thing of its size in memory. binding is the trigger's name in function.json.
//
// It returns a *[SyntaxError] for an envelope that cannot be understood. A body that the host lost or changed is ErrBodyLost,
// ErrBodyDamaged or ErrTooLarge; the rest of the request is returned beside the first two, without a body.
func ReadHTTP(r io.Reader, binding string) (*HTTP, error) {
	window := windows.Get().(*[]byte)
	defer windows.Put(window)
	s := &scanner{r: r, buf: (*window)[:0]}
	if err := s.skipBOM(); err != nil {
		return nil, err
	}
	var found, exact *rawHTTP
	err := s.object(func(name []byte) error {
		if string(name) != "Data" {
			return s.skip()
		}
		found, exact = nil, nil
		return s.object(func(name []byte) (err error) {
			switch {
			case string(name) == binding:
				exact, err = readRawHTTP(s)
			case exact == nil && strings.EqualFold(string(name), binding):
				found, err = readRawHTTP(s)
			default:
				err = s.skip()
			}
			return err
		})
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	if exact == nil {
		exact = found
	}
	if exact == nil {
		return nil, fmt.Errorf("decoding the invocation: Data.%s: want the HTTP request, got nothing", binding)
	}
	return exact.finish()
}

// windows are what ReadHTTP reads through. The host sends chunks of 1,024 characters; a larger window saves calls where they queue up.
var windows = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// rawHTTP is the request before the body's encoding is known: members may come in any order.
type rawHTTP struct {
	HTTP
	body []byte // as text
}

// readRawHTTP reads the object that stands for an HTTP request.
func readRawHTTP(s *scanner) (*rawHTTP, error) {
	h := &rawHTTP{HTTP: HTTP{Header: http.Header{}}}
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "Url":
			h.URL, err = s.string()
		case "Method":
			h.Method, err = s.string()
		case "Headers":
			h.Header = http.Header{} // clear takes as long as the largest it ever was
			err = readHeader(s, h.Header)
		case "Body":
			err = h.readBody(s)
		default:
			err = s.skip()
		}
		return err
	})
	return h, err
}

// string reads a text, or null as the empty one.
func (s *scanner) string() (string, error) {
	c, err := s.token("a text")
	if err != nil {
		return "", err
	}
	switch c {
	case 'n':
		return "", s.skip()
	case '"':
		s.pos++
	default:
		return "", s.fail("a text")
	}
	at := s.base + int64(s.pos)
	text, err := s.text(s.key[:0], bodyLimit)
	if err != nil {
		return "", err
	}
	s.key = text
	if !utf8.Valid(text) {
		return "", &SyntaxError{Offset: at, Want: "UTF-8"}
	}
	return string(text), nil
}

// readHeader reads {"Name":["line",…],…}; a text instead of an array is one line.
func readHeader(s *scanner, header http.Header) error {
	if c, err := s.token("an object"); err != nil {
		return err
	} else if c == 'n' {
		return s.skip()
	}
	var key string
	lines := make([]string, 0, 24) // one piece of memory for the lines of most requests
	line := func() error {
		value, err := s.string()
		if err != nil {
			return err
		}
		if values, more := header[key]; more {
			header[key] = append(values, value)
			return nil
		}
		lines = append(lines, value)
		header[key] = lines[len(lines)-1 : len(lines) : len(lines)]
		return nil
	}
	return s.object(func(name []byte) error {
		key = headerKey(name)
		switch c, err := s.token("an array"); {
		case err != nil:
			return err
		case c == '[':
			return s.array(line)
		case c == 'n':
			return s.skip()
		default:
			return line()
		}
	})
}

// headerKey is http.CanonicalHeaderKey, without an allocation for the names that most requests have.
func headerKey(name []byte) string {
	if key, ok := commonHeaders()[string(name)]; ok {
		return key
	}
	return http.CanonicalHeaderKey(string(name))
}

var commonHeaders = sync.OnceValue(func() map[string]string {
	names := make(map[string]string)
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Cookie",
		"Host", "If-None-Match", "Origin", "Referer", "Request-Id", "Traceparent", "Tracestate", "User-Agent", "X-Arr-Log-Id", "X-Arr-Ssl",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Tlsversion", "X-Appservice-Proto", "X-Functions-Key",
		"X-Original-Url", "X-Site-Deployment-Id", "X-Waws-Unencoded-Url", "Disguised-Host", "Max-Forwards", "Client-Ip", "Was-Default-Hostname",
	} {
		names[name], names[strings.ToLower(name)], names[strings.ToUpper(name)] = name, name, name
	}
	return names
})

func (h *rawHTTP) readBody(s *scanner) error {
	h.body, h.HasBody = nil, false
	c, err := s.token("a body")
	if err != nil {
		return err
	}
	if c == 'n' {
		return s.skip()
	}
	h.HasBody = true
	if c != '"' {
		// No recorded host does so: it writes a body as text always. A JSON value is the body that it spells.
		h.body, err = s.raw(nil)
		return err
	}
	s.pos++
	at := s.base + int64(s.pos)
	dst := []byte{}
	if length, ok := h.contentLength(); ok && length <= int64(bodyLimit) {
		// The host writes Headers before Body: the text's size is known, and it never has to move.
		if h.binary() {
			length = int64(base64.StdEncoding.EncodedLen(int(length)))
		}
		dst = Borrow(int(length))
	}
	h.body, err = s.text(dst, base64.StdEncoding.EncodedLen(bodyLimit))
	if err != nil {
		return err
	}
	if !utf8.Valid(h.body) {
		return &SyntaxError{Offset: at, Want: "UTF-8"}
	}
	return nil
}

// binary reports whether the host encodes the body in base64: octet-stream and multipart, by a media type that .NET can parse
// (Azure/azure-functions-host, HttpRequestExtensions.IsMediaTypeOctetOrMultipart; recordings A-post-binary, A-post-multipart).
func (h *HTTP) binary() bool {
	contentType := h.Header.Get("Content-Type")
	kind, _, parameters := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind != "application/octet-stream" && !strings.Contains(kind, "multipart/") {
		return false
	}
	if !parameters {
		return true
	}
	_, _, err := mime.ParseMediaType(contentType)
	return err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)
}

func (h *HTTP) contentLength() (int64, bool) {
	values := h.Header["Content-Length"]
	if len(values) != 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	return int64(n), err == nil
}

// finish decodes the body, holds it against what the caller announced, and takes the URL apart.
func (h *rawHTTP) finish() (*HTTP, error) {
	if h.Method == "" || h.URL == "" {
		return nil, errors.New("decoding the invocation: the HTTP request: want Url and Method, got neither or one")
	}
	h.split()
	if hosts := h.Header["Host"]; len(hosts) > 0 {
		h.Host = hosts[0]
		delete(h.Header, "Host")
	}
	if err := h.finishBody(); err != nil {
		h.Body, h.HasBody = nil, false
		return &h.HTTP, err
	}
	return &h.HTTP, nil
}

func (h *rawHTTP) split() {
	rest := h.URL
	if _, after, ok := strings.Cut(rest, "://"); ok {
		end := strings.IndexAny(after, "/?")
		if end < 0 {
			end = len(after)
		}
		h.Host, rest = after[:end], after[end:]
	}
	h.Path, h.RawQuery, _ = strings.Cut(rest, "?")
}

func (h *rawHTTP) finishBody() error {
	length, announced := h.contentLength()
	if !h.HasBody {
		if _, chunked := h.Header["Transfer-Encoding"]; chunked {
			return ErrBodyLost
		}
		if announced && length > 0 {
			return fmt.Errorf("%w: want %d bytes, got none", ErrBodyDamaged, length)
		}
		return nil
	}
	body, text := h.body, true
	if h.binary() {
		decoded, err := decodeBase64(body)
		// Where .NET found the media type malformed, the host wrote text after all: then the text has the announced length.
		switch {
		case err == nil && (!announced || int64(len(decoded)) == length):
			body, text = decoded, false
		case announced && int64(len(body)) == length && err != nil:
		default:
			return fmt.Errorf("%w: want base64 of %d bytes, got something else", ErrBodyDamaged, length)
		}
	}
	if len(body) > bodyLimit {
		return ErrTooLarge
	}
	if text {
		if damaged(body) {
			return fmt.Errorf("%w: it holds U+FFFD, which stands for bytes that were no UTF-8", ErrBodyDamaged)
		}
		// A text in UTF-16 or UTF-32 with a byte order mark is decoded without damage, but arrives as UTF-8 (recording A-post-utf16).
		// Its length mostly tells; where it does not by chance, the label may.
		if charset := h.charset(); strings.HasPrefix(charset, "utf-16") || strings.HasPrefix(charset, "utf-32") {
			return fmt.Errorf("%w: want %s, got UTF-8", ErrBodyDamaged, charset)
		}
		// A UTF-8 byte order mark is dropped, which changes no text (recording A-post-bom).
		if n := int64(len(body)); announced && n != length && n != length-3 {
			return fmt.Errorf("%w: want %d bytes, got %d", ErrBodyDamaged, length, n)
		}
	}
	h.Body = body
	return nil
}

func (h *HTTP) charset() string {
	contentType := h.Header.Get("Content-Type")
	if !strings.Contains(contentType, ";") {
		return ""
	}
	_, parameters, _ := mime.ParseMediaType(contentType)
	return strings.ToLower(parameters["charset"])
}

// decodeBase64 decodes in place where it succeeds, and leaves text alone where it does not.
func decodeBase64(text []byte) ([]byte, error) {
	if i := invalidBase64(text); i >= 0 {
		return nil, base64.CorruptInputError(i)
	}
	n, err := base64.StdEncoding.Decode(text, text)
	return text[:n], err
}

// invalidBase64 returns where text stops being padded base64 without line breaks, as .NET writes it, or -1.
func invalidBase64(text []byte) int {
	if len(text)%4 != 0 {
		return len(text)
	}
	data := bytes.TrimRight(text, "=")
	if len(text)-len(data) > 2 {
		return len(data)
	}
	for i, c := range data {
		if !base64Byte[c] {
			return i
		}
	}
	return -1
}

var base64Byte = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		table[c] = true
	}
	return table
}()
