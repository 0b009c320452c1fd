package downstream

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// gathered is how much of a body is kept back, in bytes: a whole one that is shorter gets a length instead of chunks, and short pieces become one
	// chunk. It is net/http's own limit.
	gathered = 2 << 10
	// pieceSize is how much is written to the network in one piece where nobody asks for less, in bytes.
	pieceSize = 4 << 10
)

// memory is what is borrowed for the time of an exchange.
type memory struct {
	out  text   // for the network
	body []byte // kept back, at most gathered
}

var memories = sync.Pool{New: func() any { return &memory{out: make(text, 0, pieceSize), body: make([]byte, 0, gathered)} }}

// text is an io.Writer and io.StringWriter, as http.Header wants it.
type text []byte

func (t *text) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	return len(p), nil
}

func (t *text) WriteString(s string) (int, error) {
	*t = append(*t, s...)
	return len(s), nil
}

// response is the http.ResponseWriter of one exchange. It follows net/http's server (server.go, response and chunkWriter), but that a handler's
// Transfer-Encoding counts for nothing, of its Connection only "close", that a Content-Length that is no number reaches nobody (net/http passes it on to
// HEAD), and that 1xx answers are not sent: the host drops them.
type response struct {
	conn   *conn
	req    *http.Request
	body   *body // the request's
	header http.Header
	memory *memory

	status   int // 0 = WriteHeader has not been called
	length   int64
	written  int64
	trailers []string // that were announced
	chunks   bool
	framed   bool // the header is complete
	duplex   bool
	last     bool // the connection ends with this answer
	said     bool // the handler says so itself
	over     bool
	untyped  bool // nothing says what the body is
	undated  bool
	unsized  bool // the handler's length is none: chunks
	late     bool // trailers may come
	err      error
}

func newResponse(c *conn, req *http.Request, b *body) *response {
	return &response{conn: c, req: req, body: b, header: make(http.Header), memory: memories.Get().(*memory), length: -1}
}

func (w *response) Header() http.Header { return w.header }

// EnableFullDuplex lets an answer out before the upload has come to its end.
func (w *response) EnableFullDuplex() error {
	w.duplex = true
	return nil
}

func (w *response) WriteHeader(status int) {
	if w.over || w.status != 0 {
		return
	}
	if status < 100 || status > 999 {
		panic("invalid status " + strconv.Itoa(status))
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	var not map[string]bool
	without := func(name string) {
		if not == nil {
			not = make(map[string]bool)
		}
		not[name] = true
	}
	if _, ok := w.header["Content-Length"]; ok {
		if n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
			w.length = n
		} else {
			without("Content-Length")
			w.unsized = true
		}
	}
	if _, ok := w.header["Connection"]; ok {
		if w.header.Get("Connection") == "close" {
			w.last, w.said = true, true
		} else {
			without("Connection")
		}
	}
	for name := range w.header {
		switch {
		case strings.HasPrefix(name, http.TrailerPrefix):
			without(name)
			w.late = true
		case name == "Transfer-Encoding":
			without(name)
		}
	}
	for _, value := range w.header["Trailer"] {
		w.late = true
		for name := range strings.SplitSeq(value, ",") {
			if name = http.CanonicalHeaderKey(strings.Trim(name, " \t")); name != "" && trailing(name) {
				w.trailers = append(w.trailers, name)
			}
		}
	}
	_, typed := w.header["Content-Type"]
	w.untyped = !typed && w.header.Get("Content-Encoding") == ""
	_, dated := w.header["Date"]
	w.undated = !dated
	if !w.hasBody() {
		if without("Content-Length"); status == http.StatusNotModified {
			without("Content-Type")
		}
		w.untyped = false
	}
	out := &w.memory.out
	_, _ = out.WriteString("HTTP/1.1 ")
	if reason := http.StatusText(status); reason != "" {
		*out = strconv.AppendInt(*out, int64(status), 10)
		_, _ = out.WriteString(" " + reason + "\r\n")
	} else {
		_, _ = out.WriteString(strconv.Itoa(status) + " status code " + strconv.Itoa(status) + "\r\n")
	}
	_ = w.header.WriteSubset(out, not)
}

// trailing tells the names that may stand in a trailer (RFC 9110 6.5.1).
func trailing(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Expect", "Host", "Keep-Alive",
		"Max-Forwards", "Pragma", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Range", "Realm", "Te", "Trailer", "Transfer-Encoding",
		"Www-Authenticate":
		return false
	}
	return !strings.HasPrefix(name, "If-")
}

func (w *response) hasBody() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// frame completes the header. first is the beginning of the body, which is all of it where done is set.
func (w *response) frame(first []byte, done bool) {
	w.framed = true
	head := w.req.Method == http.MethodHead
	counted := done && !w.late && !w.unsized && w.hasBody() && w.length < 0 && (!head || len(first) > 0)
	if counted {
		w.length = int64(len(first))
	}
	if w.conn.server.ending.Load() {
		w.last = true
	}
	// Many clients read no answer before they have sent everything. What they still send is read first, as far as that is worth it.
	if w.body != nil && !w.last && !w.duplex && !w.body.discard() {
		w.last = true
	}
	out := &w.memory.out
	if w.undated {
		_, _ = out.WriteString("Date: ")
		*out = time.Now().UTC().AppendFormat(*out, http.TimeFormat)
		_, _ = out.WriteString("\r\n")
	}
	if counted {
		_, _ = out.WriteString("Content-Length: ")
		*out = strconv.AppendInt(*out, w.length, 10)
		_, _ = out.WriteString("\r\n")
	}
	if w.untyped && len(first) > 0 {
		_, _ = out.WriteString("Content-Type: " + http.DetectContentType(first) + "\r\n")
	}
	if w.last && !w.said {
		_, _ = out.WriteString("Connection: close\r\n")
	}
	if w.chunks = !head && w.hasBody() && w.length < 0; w.chunks {
		_, _ = out.WriteString("Transfer-Encoding: chunked\r\n")
	}
	_, _ = out.WriteString("\r\n")
}

func (w *response) Write(p []byte) (int, error) {
	if w.over {
		return 0, http.ErrHandlerTimeout
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	size := len(p)
	if size == 0 {
		return 0, nil
	}
	if !w.hasBody() {
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(size)
	if w.length >= 0 && w.written > w.length {
		return 0, http.ErrContentLength
	}
	kept := &w.memory.body
	for len(*kept)+len(p) > gathered {
		piece := p
		if len(*kept) > 0 {
			n := gathered - len(*kept)
			*kept = append(*kept, p[:n]...)
			piece, p = *kept, p[n:]
		} else {
			p = nil
		}
		w.send(piece, false)
		*kept = (*kept)[:0]
	}
	*kept = append(*kept, p...)
	if w.err != nil {
		return 0, w.err
	}
	return size, nil
}

// send passes a piece of the body on, the last one where done is set.
func (w *response) send(p []byte, done bool) {
	if !w.framed {
		w.frame(p, done)
	}
	if w.req.Method == http.MethodHead || len(p) == 0 {
		return
	}
	if !w.chunks {
		w.put(p)
		return
	}
	m := w.memory
	m.out = append(strconv.AppendInt(m.out, int64(len(p)), 16), "\r\n"...)
	w.put(p)
	m.out = append(m.out, "\r\n"...)
}

// put gathers short pieces and writes long ones. What has been gathered is filled up and written by itself, as bufio does: together with what follows, by
// one writev, an answer of a megabyte takes a tenth more processor time (docs/benchmarks.md).
func (w *response) put(p []byte) {
	m := w.memory
	for len(m.out)+len(p) > pieceSize {
		if len(m.out) == 0 {
			w.write(p)
			return
		}
		n := max(pieceSize-len(m.out), 0)
		m.out, p = append(m.out, p[:n]...), p[n:]
		w.flush()
	}
	m.out = append(m.out, p...)
}

// sendKept sends what has been kept back.
func (w *response) sendKept(done bool) {
	w.send(w.memory.body, done)
	w.memory.body = w.memory.body[:0]
}

// flush writes what has been gathered.
func (w *response) flush() {
	if m := w.memory; len(m.out) > 0 {
		w.write(m.out)
		m.out = m.out[:0]
	}
}

// write writes to the network. A caller who takes nothing more has left.
func (w *response) write(p []byte) {
	if w.err != nil {
		return
	}
	if _, w.err = w.conn.Write(p); w.err != nil {
		w.conn.left()
	}
}

// FlushError sends what has been written so far.
func (w *response) FlushError() error {
	if w.over {
		return http.ErrHandlerTimeout
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.sendKept(false)
	w.flush()
	return w.err
}

// cut writes what has been gathered of an answer that will not be completed, if it has begun.
func (w *response) cut() {
	if w.framed && !w.over {
		w.flush()
	}
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// finish completes the answer and reports whether the connection can have another.
func (w *response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	m := w.memory
	w.sendKept(true)
	if w.chunks {
		m.out = append(m.out, "0\r\n"...)
		w.writeTrailers(&m.out)
		m.out = append(m.out, "\r\n"...)
	}
	w.flush()
	w.giveBack()
	short := w.req.Method != http.MethodHead && w.hasBody() && w.length >= 0 && w.written != w.length
	return !w.last && !short && w.err == nil
}

func (w *response) giveBack() {
	w.over = true
	m := w.memory
	w.memory = nil
	m.out, m.body = m.out[:0], m.body[:0]
	if cap(m.out) <= 4*pieceSize {
		memories.Put(m)
	}
}

func (w *response) writeTrailers(to io.Writer) {
	trailer := make(http.Header)
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			trailer[name] = values
		}
	}
	for _, name := range w.trailers {
		for _, value := range w.header[name] {
			trailer.Add(name, value)
		}
	}
	_ = trailer.Write(to)
}
