package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// client is one of the host's two HttpClients towards the handler: one connection for each request
// in flight, kept for the next (recordings E-concurrency, E-idle-connection).
type client struct {
	addr      string
	transport *http.Transport
}

func newClient(addr string, c *clock, idle time.Duration) *client {
	dialer := &net.Dialer{}
	if runtime.GOOS == "windows" {
		dialer.Timeout = 500 * time.Millisecond // it asks a closed port for two seconds
	}
	return &client{addr: addr, transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp4", addr)
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1 << 20,
		IdleConnTimeout:        c.real(idle),
		ExpectContinueTimeout:  c.real(time.Second),
		MaxResponseHeaderBytes: maxAnswerHeader,
	}}
}

// The most that HttpClient takes of an answer's header (MaxResponseHeadersLength, 64 KB).
const maxAnswerHeader = 64 << 10

func (c *client) closeIdle() { c.transport.CloseIdleConnections() }

// outgoing is one request to the handler.
type outgoing struct {
	method, target string
	host           string // "" is the handler's own address
	hdr            http.Header
	body           []byte    // nil for none
	chunked        bool      // body goes without its length
	stream         io.Reader // instead of body: one that can be sent once
	length         int64     // of stream; -1 for none
	broken         string    // FaultGarbage or FaultResetInBody: what the first try is made of
	out            func()    // called once, when the request is out; nil for nothing
}

// request makes the request for one try.
func (o *outgoing) request(ctx context.Context, addr string) *http.Request {
	path, rawQuery, asks := strings.Cut(o.target, "?")
	u := &url.URL{Scheme: "http", Host: addr, RawPath: path, RawQuery: rawQuery, ForceQuery: asks}
	if u.Path, _ = url.PathUnescape(path); u.Path == "" {
		u.Path = path
	}
	r := &http.Request{Method: o.method, URL: u, Host: o.host, Header: o.hdr, Proto: "HTTP/1.1",
		ProtoMajor: 1, ProtoMinor: 1}
	if o.hdr["User-Agent"] == nil {
		o.hdr["User-Agent"] = nil // net/http names itself otherwise
	}
	switch {
	case o.stream != nil:
		r.Body, r.ContentLength = io.NopCloser(o.stream), o.length
	case o.body != nil:
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(o.body)), int64(len(o.body))
		if o.chunked {
			r.ContentLength = -1
		}
	}
	return r.WithContext(ctx)
}

// The tries that HttpClient makes of a request without a body whose connection ends before the
// answer begins (recording D-ans-closed).
const clientTries = 4

var errNoAnswer = errors.New("no answer came")

// send makes one exchange. Redirects are the caller's business.
func (c *client) send(ctx context.Context, o *outgoing) (*http.Response, error) {
	tries := 0
	// net/http repeats a request by itself where a kept connection has ended: that is a try as
	// well.
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { tries++ },
		WroteRequest: func(httptrace.WroteRequestInfo) {
			if o.out != nil {
				o.out()
				o.out = nil
			}
		},
	})
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, canceled(err)
		}
		var answer *http.Response
		var err error
		if o.broken != "" {
			answer, err = c.sendBroken(ctx, o)
		} else {
			answer, err = c.transport.RoundTrip(o.request(traced, c.addr))
		}
		if err == nil {
			return answer, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, canceled(cause)
		}
		if isDial(err) || !isEnd(err) || o.body != nil || o.stream != nil || tries >= clientTries {
			return nil, sendError(c.addr, err)
		}
	}
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// isEnd reports whether the connection ended, as against an answer that is no HTTP.
func isEnd(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, errNoAnswer) ||
		errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(),
		"server closed idle connection")
}

// readAll reads the whole body, as the host does with wrapped and forwarded answers.
func readAll(answer *http.Response) ([]byte, error) {
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		return nil, newException(httpRequestException,
			"Error while copying content to a stream.").because(transportError(err))
	}
	return body, nil
}

// sendError gives what net/http says of an exchange the shape of what HttpClient says.
func sendError(addr string, err error) error {
	switch {
	case isDial(err):
		return newException(httpRequestException, "Connection refused (%s)", addr).because(
			newException(
				"System.Net.Sockets.SocketException (111)", "Connection refused"))
	case strings.Contains(err.Error(), "response headers exceeded"):
		return newException(httpRequestException,
			"The HTTP response headers length exceeded the set limit of %d bytes.", maxAnswerHeader)
	case !isEnd(err):
		_, line, _ := strings.Cut(err.Error(), "malformed HTTP response ")
		if line, err := strconv.Unquote(line); err == nil {
			return newException(httpRequestException, "Received an invalid status line: '%s'.",
				line)
		}
		return newException(httpRequestException, "Received an invalid answer: %s", err)
	}
	return newException(httpRequestException,
		"An error occurred while sending the request.").because(transportError(err))
}

func transportError(err error) *exception {
	switch {
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return newException("System.IO.IOException",
			"Unable to read data from the transport connection: Connection reset by peer.").because(
			newException("System.Net.Sockets.SocketException (104)", "Connection reset by peer"))
	case isEnd(err):
		return newException("System.Net.Http.HttpIOException",
			"The response ended prematurely. (ResponseEnded)")
	}
	return newException("System.Net.Http.HttpIOException", "%s", fmt.Sprint(err))
}

func canceled(err error) error {
	return newException("System.Threading.Tasks.TaskCanceledException",
		"A task was canceled.").because(newException("", "%s", err))
}

// phrase is the reason phrase of an answer, or the standard one.
func phrase(answer *http.Response) string {
	if _, text, _ := strings.Cut(answer.Status, " "); text != "" {
		return text
	}
	return http.StatusText(answer.StatusCode)
}

// tokens are the items of a comma list in all lines of name.
func tokens(hdr http.Header, name string) []string {
	var out []string
	for _, v := range hdr.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if t = blank(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

func hasToken(hdr http.Header, name, token string) bool {
	for _, t := range tokens(hdr, name) {
		if strings.EqualFold(t, token) {
			return true
		}
	}
	return false
}

func blank(s string) string { return strings.Trim(s, " \t") }

// joined is one line for all values of a name, with HttpClient's separators.
func joined(name string, values []string) string {
	switch name {
	case "Cookie":
		return strings.Join(values, "; ")
	case "User-Agent", "Server":
		return strings.Join(values, " ")
	}
	return strings.Join(values, ", ")
}

// notForHTTP reports whether Kestrel does not take a value for an answer's header (HttpHeaders.cs,
// ValidateHeaderValueCharacters).
func notForHTTP(value string) bool {
	return !isASCII(value) || strings.ContainsFunc(value,
		func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// announced are the names of an answer's trailer, which net/http keeps elsewhere.
func announced(answer *http.Response) []string { return slices.Sorted(maps.Keys(answer.Trailer)) }
