package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// front serves the callers, on net/http, in the place of Kestrel.
type front struct {
	h       *Host
	ln      net.Listener
	server  *http.Server
	running inFlight // requests
}

func newFront(h *Host, ln net.Listener) *front {
	f := &front{h: h, ln: ln}
	f.server = &http.Server{
		Handler:                      f,
		ReadHeaderTimeout:            30 * time.Second,  // Kestrel's RequestHeadersTimeout
		IdleTimeout:                  130 * time.Second, // its KeepAliveTimeout
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0), // it quotes what callers send
	}
	return f
}

func (f *front) serve() { _ = f.server.Serve(f.ln) } // ends with close

// hush takes no more requests: the listener is closed, and connections on which nothing runs.
func (f *front) hush() {
	_ = f.ln.Close()
	f.server.SetKeepAlivesEnabled(false)
}

// settle waits a moment for answers that are on their way.
func (f *front) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	select {
	case <-f.running.idle():
		_ = f.server.Shutdown(ctx)
	case <-ctx.Done():
	}
}

// close cuts what still runs.
func (f *front) close() { _ = f.server.Close() }

// request is what a caller sent.
type request struct {
	*http.Request
	hdr      http.Header // with Host and Transfer-Encoding, which net/http keeps elsewhere
	path     string      // decoded, dot segments resolved
	rawQuery string      // with its "?", as sent
	query    query
	remote   string
	faults   []string // that its answer meets
	w        http.ResponseWriter
}

// chunked reports whether the body comes without a length.
func (r *request) chunked() bool { return r.ContentLength < 0 }

// reply is an answer to a caller. The zero value of framing sends a Content-Length.
type reply struct {
	status  int
	hdr     http.Header
	body    []byte
	chunked bool // as ASP.NET sends what it writes without a length
	framing framing
}

type framing int

const (
	framed framing = iota
	// the header says how, the body follows as it is: the host lost control of it
	bare
	headerOnly // the header claims a body that never comes, the connection stays open
	cut        // the header, then the end of the connection
	cutBody    // header and body, then the end
)

// status is an answer without a body; fields are names and values in turn.
func status(code int, fields ...string) *reply {
	rp := &reply{status: code, hdr: http.Header{}}
	for i := 0; i < len(fields); i += 2 {
		rp.hdr.Set(fields[i], fields[i+1])
	}
	return rp
}

// ServeHTTP answers one request.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.running.add()
	defer f.running.done()
	req, refused := readRequest(w, r)
	if refused != 0 {
		req.send(f.h, status(refused, "Connection", "close"))
		return
	}
	if rp, sent := f.h.answer(f.h.ctx, req); !sent {
		req.send(f.h, rp)
	}
	req.disarm()
}

// Kestrel's limits (dotnet/aspnetcore src/Servers/Kestrel/Core/src/KestrelServerLimits.cs).
const (
	maxRequestLine = 8 << 10
	maxHeaderBytes = 32 << 10
	maxHeaderCount = 100
)

// readRequest reads what net/http has taken from the connection as the host reads it; refused is
// the status of an answer that the host never sees.
func readRequest(w http.ResponseWriter, r *http.Request) (req *request, refused int) {
	req = &request{Request: r, hdr: r.Header.Clone(), w: w}
	size, count := len("Host: \r\n")+len(r.Host), 1
	for name, values := range r.Header {
		for _, v := range values {
			// A value is UTF-8 to Kestrel; other bytes are a 400 (recording A-headers-latin1).
			if !utf8.ValidString(v) {
				return req, http.StatusBadRequest
			}
			size += len(name) + len(v) + len(": \r\n")
			count++
		}
	}
	if r.Host != "" {
		req.hdr.Set("Host", r.Host)
	}
	if req.chunked() {
		req.hdr.Set("Transfer-Encoding", "chunked")
	}
	switch {
	case len(r.Method)+len(r.RequestURI)+len("  HTTP/1.1\r\n") > maxRequestLine:
		return req, http.StatusRequestURITooLong
	case size > maxHeaderBytes || count > maxHeaderCount:
		return req, http.StatusRequestHeaderFieldsTooLarge
	}
	req.remote, _, _ = net.SplitHostPort(r.RemoteAddr)
	target := r.RequestURI
	if r.URL.Host != "" && r.Method != http.MethodConnect {
		target = r.URL.RequestURI() // of an absolute one
	}
	raw, rawQuery, asks := strings.Cut(target, "?")
	if asks {
		req.rawQuery = "?" + rawQuery
	}
	path, ok := decodePath(raw)
	if !ok || !isASCII(target) {
		return req, http.StatusBadRequest
	}
	req.path, req.query = removeDots(path), parseQuery(rawQuery)
	return req, 0
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// send writes rp to the caller.
func (r *request) send(h *Host, rp *reply) {
	if rp.framing != framed || rp.status < 200 || rp.status > 999 ||
		rp.status == http.StatusNotModified && len(rp.hdr) > 0 {
		r.sendRaw(h, rp)
		return
	}
	hdr := r.w.Header()
	maps.Copy(hdr, rp.hdr)
	finish(h, hdr)
	body := rp.body
	if r.Method == http.MethodHead || rp.status == http.StatusNoContent ||
		rp.status == http.StatusResetContent {
		body = nil
	} else if hdr["Content-Length"] == nil && (!rp.chunked || len(body) == 0) {
		hdr.Set("Content-Length", strconv.Itoa(len(body)))
	}
	r.w.WriteHeader(rp.status)
	if len(body) == 0 {
		return
	}
	if rp.chunked {
		// net/http gives a short answer a length otherwise
		_ = http.NewResponseController(r.w).Flush()
	}
	_, _ = r.w.Write(body)
}

// finish adds what Kestrel adds to every answer.
func finish(h *Host, hdr http.Header) {
	if hdr["Date"] == nil {
		hdr.Set("Date", h.clock.now().Format(http.TimeFormat))
	}
	if hdr["Server"] == nil {
		hdr.Set("Server", "Kestrel")
	}
	if hdr["Content-Type"] == nil {
		hdr["Content-Type"] = nil // net/http guesses one otherwise
	}
}

// sendRaw writes what net/http's server does not: an answer that is broken on purpose, a status
// that is none, the header of a 304. The connection ends with it.
func (r *request) sendRaw(h *Host, rp *reply) {
	if a, ok := r.w.(*faultyAnswer); ok && !a.begin() {
		return
	}
	conn, _, err := http.NewResponseController(r.w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(h.ctx, func() { _ = conn.Close() })()
	hdr := maps.Clone(rp.hdr)
	finish(h, hdr)
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", rp.status, http.StatusText(rp.status))
	if rp.framing == framed && hdr["Content-Length"] == nil && rp.status != http.StatusNotModified {
		hdr.Set("Content-Length", strconv.Itoa(len(rp.body)))
	}
	if rp.framing == framed {
		hdr.Set("Connection", "close") // a caller would take the connection for one that goes on
	}
	_ = hdr.Write(&b)
	b.WriteString("\r\n")
	if rp.framing != headerOnly && rp.framing != cut && rp.status != http.StatusNotModified &&
		r.Method != http.MethodHead {
		b.Write(rp.body)
	}
	if _, err := conn.Write(b.Bytes()); err == nil &&
		(rp.framing == headerOnly || rp.framing == bare) {
		_, _ = io.Copy(io.Discard, conn) // until the caller has enough
	}
}

// reset ends the connection so that the caller sees a reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
