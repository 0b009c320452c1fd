package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"
)

// net/http sorts headers, changes their case, refuses odd statuses and writes no framing but its own. Each of these is what a host is compared
// by, so HTTP/1.1 is read and written here.

// field is one header line; headers keep their order and the case of their names.
type field struct{ name, value string }

type headers []field

func (h headers) get(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

func (h headers) has(name string) bool {
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			return true
		}
	}
	return false
}

func (h headers) values(name string) []string {
	var out []string
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			out = append(out, f.value)
		}
	}
	return out
}

func (h headers) without(names ...string) headers {
	out := make(headers, 0, len(h))
next:
	for _, f := range h {
		for _, name := range names {
			if strings.EqualFold(f.name, name) {
				continue next
			}
		}
		out = append(out, f)
	}
	return out
}

func (h *headers) add(name, value string) { *h = append(*h, field{name, value}) }

// replace sets the value where the name stands, or adds it at the end.
func (h *headers) replace(name, value string) {
	for i := range *h {
		if strings.EqualFold((*h)[i].name, name) {
			(*h)[i].value = value
			return
		}
	}
	h.add(name, value)
}

// tokens are the items of a comma list in all lines of name.
func (h headers) tokens(name string) []string {
	var out []string
	for _, v := range h.values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if t = textproto.TrimString(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

func (h headers) hasToken(name, token string) bool {
	for _, t := range h.tokens(name) {
		if strings.EqualFold(t, token) {
			return true
		}
	}
	return false
}

func (h headers) write(b *bytes.Buffer) {
	for _, f := range h {
		b.WriteString(f.name)
		b.WriteString(": ")
		b.WriteString(f.value)
		b.WriteString("\r\n")
	}
	b.WriteString("\r\n")
}

var errHeaderTooLarge = errors.New("the header is too large")

// readLine reads up to LF and drops CR LF; limit is counted down.
func readLine(r *bufio.Reader, limit *int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if *limit -= len(part); *limit < 0 {
			return "", errHeaderTooLarge
		}
		line = append(line, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			if err == io.EOF && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return string(line), err
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
	}
}

// badHeader is a header line that cannot be one.
type badHeader struct{ name string }

func (e badHeader) Error() string { return "reading a header: bad name: " + strconv.Quote(e.name) }

// readHeaders reads header lines up to the empty one; isName tells which names pass.
func readHeaders(r *bufio.Reader, limit *int, isName func(string) bool) (headers, error) {
	var h headers
	for {
		line, err := readLine(r, limit)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if line == "" {
			return h, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isName(name) {
			return nil, badHeader{strings.TrimRight(name, " ")}
		}
		h.add(strings.TrimRight(name, " "), strings.Trim(value, " \t"))
	}
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// chunkReader reads a chunked body up to and including its trailer, piece by piece: one Read never crosses a chunk.
type chunkReader struct {
	r    *bufio.Reader
	left int64
	open bool // inside a chunk, whose CR LF is still to come
	done bool
	err  error
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.done {
		return 0, io.EOF
	}
	if c.left == 0 {
		if c.err = c.next(); c.err != nil {
			return 0, c.err
		}
		if c.done {
			return 0, io.EOF
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	c.err = err
	return n, err
}

func (c *chunkReader) next() error {
	limit := 64 << 10
	if c.open {
		if line, err := readLine(c.r, &limit); err != nil || line != "" {
			return unexpected(err, "a chunk has no end")
		}
		c.open = false
	}
	line, err := readLine(c.r, &limit)
	if err != nil {
		return unexpected(err, "")
	}
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 62)
	if err != nil {
		return fmt.Errorf("reading a chunk: bad size: %q", size)
	}
	if n > 0 {
		c.left, c.open = int64(n), true
		return nil
	}
	c.done = true
	for {
		line, err := readLine(c.r, &limit)
		if err != nil {
			return unexpected(err, "")
		}
		if line == "" {
			return nil
		}
	}
}

func unexpected(err error, otherwise string) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err == nil {
		return errors.New(otherwise)
	}
	return err
}

// lengthReader reads exactly n bytes; less is an error.
type lengthReader struct {
	r    io.Reader
	left int64
}

func (l *lengthReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if err == io.EOF && l.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func writeChunk(w io.Writer, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	b := make([]byte, 0, len(p)+16)
	b = strconv.AppendInt(b, int64(len(p)), 16)
	b = append(b, "\r\n"...)
	b = append(b, p...)
	b = append(b, "\r\n"...)
	_, err := w.Write(b)
	return err
}

const lastChunk = "0\r\n\r\n"
