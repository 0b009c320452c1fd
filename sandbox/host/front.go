package host

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// The front is Kestrel, the host's web server: what it refuses by itself, how it reads a target, in which order it lists headers, how it frames an
// answer. Sources: dotnet/aspnetcore src/Servers/Kestrel/Core/src/Internal/Http/{HttpParser,HttpProtocol,Http1Connection,HttpHeaders.Generated}.cs.

// request is what a caller sent, its header in Kestrel's order.
type request struct {
	method   string
	path     string // decoded, dot segments resolved
	rawQuery string // with its "?", as sent
	query    query
	proto10  bool
	hdr      headers // one field per line; lines of one name stand together
	host     string
	length   int64 // of Content-Length; -1 without
	chunked  bool
	body     io.Reader // never nil
	closing  bool
	remote   string
	conn     *frontConn
	faults   []string // that its answer meets
}

// reply is an answer to a caller. The zero value of framing sends Content-Length.
type reply struct {
	status  int
	reason  string // "" is the standard one
	hdr     headers
	body    []byte
	chunked bool // as ASP.NET sends what it writes without a length
	framing framing
}

type framing int

const (
	framed     framing = iota
	bare               // the header says how, the body follows as it is: the host lost control of it
	headerOnly         // the header claims a body that never comes, the connection stays open
	cut                // the header, then the end of the connection
	cutBody            // header and body, then the end
)

func status(code int, fields ...field) *reply { return &reply{status: code, hdr: fields} }

type front struct {
	h     *Host
	ln    net.Listener
	mu    sync.Mutex
	conns map[*frontConn]bool
	wg    sync.WaitGroup
}

type frontConn struct {
	front *front
	net   net.Conn
	r     *bufio.Reader
	out   io.Writer // answers: net, or a faultyAnswer in front of it
	busy  bool
}

func (f *front) serve() {
	for {
		c, err := f.ln.Accept()
		if err != nil {
			return
		}
		fc := &frontConn{front: f, net: c, out: c, r: bufio.NewReaderSize(c, 64<<10)}
		f.mu.Lock()
		f.conns[fc] = true
		f.mu.Unlock()
		f.wg.Go(func() {
			fc.loop()
			_ = c.Close()
			f.mu.Lock()
			delete(f.conns, fc)
			f.mu.Unlock()
		})
	}
}

// closeIdle ends the connections on which nothing runs; closeAll ends all (a caller sees a reset, as when the host dies).
func (f *front) close(all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		if all || !c.busy {
			if tcp, ok := c.net.(*net.TCPConn); ok && c.busy {
				_ = tcp.SetLinger(0)
			}
			_ = c.net.Close()
		}
	}
}

func (c *frontConn) setBusy(b bool) {
	c.front.mu.Lock()
	c.busy = b
	c.front.mu.Unlock()
}

func (c *frontConn) loop() {
	for {
		_ = c.net.SetReadDeadline(time.Now().Add(130 * time.Second)) // Kestrel's KeepAliveTimeout
		if _, err := c.r.Peek(1); err != nil {
			return
		}
		_ = c.net.SetReadDeadline(time.Now().Add(30 * time.Second)) // RequestHeadersTimeout
		req, refused := c.read()
		_ = c.net.SetReadDeadline(time.Time{})
		if refused != nil {
			if refused.status != 0 {
				refused.hdr.add("Connection", "close")
				_ = c.send(&request{method: "GET"}, refused)
				c.linger()
			}
			return
		}
		c.setBusy(true)
		keep := c.front.h.handle(c.front.h.ctx, req)
		c.setBusy(false)
		if !keep || req.closing || c.front.h.stopping() {
			c.linger()
			return
		}
		if _, err := io.Copy(io.Discard, io.LimitReader(req.body, 64<<20)); err != nil {
			return
		}
	}
}

// linger lets the answer reach a caller that is still sending before the connection ends.
func (c *frontConn) linger() {
	if tcp, ok := c.net.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		_ = c.net.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = io.Copy(io.Discard, io.LimitReader(c.r, 1<<20))
	}
}

// Kestrel's limits.
const (
	maxRequestLine = 8 << 10
	maxHeaderBytes = 32 << 10
	maxHeaderCount = 100
)

// read takes one request off the connection; refused with status 0 means that the connection just ends.
func (c *frontConn) read() (*request, *reply) {
	limit := maxRequestLine
	line, err := readLine(c.r, &limit)
	for err == nil && line == "" {
		line, err = readLine(c.r, &limit)
	}
	if errors.Is(err, errHeaderTooLarge) {
		return nil, status(http.StatusRequestURITooLong)
	}
	if err != nil {
		return nil, &reply{}
	}
	bad := status(http.StatusBadRequest)
	method, rest, ok := strings.Cut(line, " ")
	at := strings.LastIndexByte(rest, ' ')
	if !ok || at <= 0 || !isToken(method) {
		return nil, bad
	}
	target, version := rest[:at], rest[at+1:]
	req := &request{method: method, conn: c, length: -1, body: http.NoBody}
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		req.proto10, req.closing = true, true
	default:
		if strings.HasPrefix(version, "HTTP/") {
			return nil, status(http.StatusHTTPVersionNotSupported)
		}
		return nil, bad
	}
	limit = maxHeaderBytes
	sent, err := readHeaders(c.r, &limit, isKestrelName)
	var badName badHeader
	switch {
	case errors.Is(err, errHeaderTooLarge) || len(sent) > maxHeaderCount:
		return nil, status(http.StatusRequestHeaderFieldsTooLarge)
	case errors.As(err, &badName):
		return nil, bad
	case err != nil:
		return nil, &reply{}
	}
	for _, f := range sent {
		// Header values are UTF-8 to Kestrel; bytes that are not are a 400 (recording A-headers-latin1).
		if !utf8.ValidString(f.value) || strings.ContainsAny(f.value, "\x00\r") {
			return nil, bad
		}
	}
	if !req.setTarget(target, sent) || !req.setFraming(sent) {
		return nil, bad
	}
	req.hdr = kestrelOrder(sent)
	if sent.hasToken("Connection", "close") {
		req.closing = true
	} else if req.proto10 && sent.hasToken("Connection", "keep-alive") {
		req.closing = false
	}
	req.remote = c.remote()
	req.setBody()
	return req, nil
}

// isKestrelName tells what Kestrel takes for a header's name in a request: anything of ASCII without blanks, so "a@b", too, which .NET's own HttpClient
// does not pass on (dotnet/aspnetcore src/Servers/Kestrel/Core/src/Internal/Http/HttpParser.cs, FindEndOfName; HttpUtilities.cs, GetHeaderName).
func isKestrelName(s string) bool {
	return s != "" && isASCII(s) && !strings.ContainsAny(s, " \t\r\x00")
}

func (c *frontConn) remote() string {
	ip, _, err := net.SplitHostPort(c.net.RemoteAddr().String())
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(ip, "::ffff:")
}

// setTarget reads the request target and Host. An absolute target must name the host of the Host header (recording A-absolute-form has another).
func (r *request) setTarget(target string, sent headers) bool {
	hosts := sent.values("Host")
	if len(hosts) > 1 || len(hosts) == 0 && !r.proto10 {
		return false
	}
	r.host = sent.get("Host")
	if r.host != "" && !isHost(r.host) || !isASCII(target) || strings.ContainsAny(target, "\x00 ") {
		return false
	}
	switch {
	case strings.HasPrefix(target, "/"):
	case target == "*" && r.method == http.MethodOptions:
		r.path = "*"
		return true
	case r.method == http.MethodConnect:
		r.path = target
		return true
	default:
		lower := strings.ToLower(target)
		scheme, rest, ok := strings.Cut(lower, "://")
		if !ok || scheme != "http" && scheme != "https" {
			return false
		}
		authority, _, _ := strings.Cut(strings.SplitN(rest, "?", 2)[0], "/")
		if !strings.EqualFold(authority, r.host) && !strings.EqualFold(authority, strings.TrimSuffix(r.host, ":80")) {
			return false
		}
		target = target[len(scheme)+3+len(authority):]
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
	}
	raw, rawQuery, _ := strings.Cut(target, "?")
	if len(target) > len(raw) {
		r.rawQuery = "?" + rawQuery
	}
	path, ok := decodePath(raw)
	r.path, r.query = removeDots(path), parseQuery(rawQuery)
	return ok
}

// isHost tells what Kestrel takes for a Host: a name of the characters that Http.Sys allows, or an IPv6 address in brackets, and a port of digits
// (dotnet/aspnetcore src/Shared/ServerInfrastructure/HttpUtilities.cs, IsHostHeaderValid).
func isHost(s string) bool {
	name, port, hasPort := s, "", false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 4 || strings.Trim(s[1:end], "0123456789abcdefABCDEF:.") != "" {
			return false
		}
		if name, port = "v6", s[end+1:]; port != "" {
			if port[0] != ':' {
				return false
			}
			port, hasPort = port[1:], true
		}
	} else {
		name, port, hasPort = strings.Cut(s, ":")
	}
	const marks = "!$&'()-._~"
	for i := 0; i < len(name); i++ {
		if c := name[i] | 0x20; (c < 'a' || c > 'z') && (name[i] < '0' || name[i] > '9') && strings.IndexByte(marks, name[i]) < 0 {
			return false
		}
	}
	return name != "" && (!hasPort || port != "" && strings.Trim(port, "0123456789") == "")
}

// setFraming reads Content-Length and Transfer-Encoding; a Transfer-Encoding that is not chunked is refused
// (dotnet/aspnetcore src/Servers/Kestrel/Core/src/Internal/Http/Http1MessageBody.cs, FinalTransferCodingNotChunked).
func (r *request) setFraming(sent headers) bool {
	if codings := sent.tokens("Transfer-Encoding"); len(codings) > 0 {
		if !strings.EqualFold(codings[len(codings)-1], "chunked") || r.proto10 {
			return false
		}
		r.chunked = true
		return true
	}
	lengths := sent.values("Content-Length")
	if len(lengths) == 0 {
		return !r.proto10 || r.method != http.MethodPost && r.method != http.MethodPut
	}
	n, err := strconv.ParseUint(lengths[0], 10, 62)
	r.length = int64(n)
	return err == nil && len(lengths) == 1
}

// setBody prepares the body; with Expect: 100-continue the interim answer goes out at the first read.
func (r *request) setBody() {
	switch {
	case r.chunked:
		r.body = &chunkReader{r: r.conn.r}
	case r.length > 0:
		r.body = &lengthReader{r: r.conn.r, left: r.length}
	default:
		return
	}
	if strings.EqualFold(r.hdr.get("Expect"), "100-continue") && !r.proto10 {
		r.body = &continueReader{Reader: r.body, conn: r.conn}
	}
}

type continueReader struct {
	io.Reader
	conn *frontConn
	sent bool
}

func (c *continueReader) Read(p []byte) (int, error) {
	if !c.sent {
		c.sent = true
		if c.conn.r.Buffered() == 0 {
			if _, err := io.WriteString(c.conn.net, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return 0, err
			}
		}
	}
	return c.Reader.Read(p)
}

// send writes rp to the caller and reports whether the connection can go on.
func (c *frontConn) send(req *request, rp *reply) error {
	var b bytes.Buffer
	hdr, body := rp.hdr, rp.body
	noBody := req.method == http.MethodHead || rp.status == 204 || rp.status == 205 || rp.status == 304
	switch {
	case rp.framing != framed:
		if rp.framing == headerOnly {
			body = nil
		}
	case rp.status == 204:
		hdr, body = hdr.without("Content-Length", "Transfer-Encoding"), nil
	case noBody:
		body = nil
		if rp.status == 205 {
			hdr = append(hdr.without("Content-Length"), field{"Content-Length", "0"})
		}
	case hdr.has("Content-Length"): // the true one: nothing is left to say
	case rp.chunked && len(body) > 0 && !req.proto10:
		hdr = append(hdr, field{"Transfer-Encoding", "chunked"})
	case rp.chunked && len(body) > 0:
		req.closing = true
	case !hdr.has("Transfer-Encoding"):
		hdr = append(hdr, field{"Content-Length", strconv.Itoa(len(body))})
	}
	writeStatus(&b, rp.status, rp.reason)
	c.finish(req, &hdr)
	hdr.write(&b)
	if rp.chunked && rp.framing == framed && hdr.has("Transfer-Encoding") && body != nil {
		_ = writeChunk(&b, body)
		b.WriteString(lastChunk)
	} else if rp.framing != cut {
		b.Write(body)
	}
	_, err := c.out.Write(b.Bytes())
	if rp.framing == cut || rp.framing == cutBody {
		req.closing = true
	}
	return err
}

// finish adds what Kestrel adds to every answer, and puts the header in order.
func (c *frontConn) finish(req *request, hdr *headers) {
	if !hdr.has("Date") {
		hdr.add("Date", c.front.h.clock.now().Format(http.TimeFormat))
	}
	if !hdr.has("Server") {
		hdr.add("Server", "Kestrel")
	}
	if hdr.hasToken("Connection", "close") {
		req.closing = true
	} else if req.closing || c.front.h.stopping() {
		*hdr = append(hdr.without("Connection"), field{"Connection", "close"})
	}
	*hdr = answerOrder(*hdr)
}

func writeStatus(b *bytes.Buffer, code int, reason string) {
	if reason == "" {
		reason = reasonPhrase(code)
	}
	b.WriteString("HTTP/1.1 " + strconv.Itoa(code) + " " + reason + "\r\n")
}

// reasonPhrase is Kestrel's (dotnet/aspnetcore src/Http/WebUtilities/src/ReasonPhrases.cs), which differs from net/http's in a few.
func reasonPhrase(code int) string {
	switch code {
	case 413:
		return "Payload Too Large"
	case 416:
		return "Range Not Satisfiable"
	case 418:
		return "I'm a teapot"
	case 419:
		return "Authentication Timeout"
	case 499:
		return "Client Closed Request"
	case 425, 509:
		return ""
	}
	return http.StatusText(code)
}
