package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/handler/internal/target"
)

// rawCase is what somebody may write to the handler's port. Whoever reaches the port can call; so the question is not whether the request is polite, but
// whether two readers can see different requests in the same bytes.
type rawCase struct {
	name string
	sent string
	// answers are the statuses that come back, in order; a refusal may also be a closed connection, which is no status.
	answers []int
	// reached are the bodies of the requests that the gateway saw whole, in order.
	reached []string
}

const (
	getLine    = "GET /api/rest/a HTTP/1.1\r\n"
	postLine   = "POST /api/rest/a HTTP/1.1\r\n"
	hostLine   = "Host: 127.0.0.1:1\r\n"
	insideText = "GET /api/rest/inside HTTP/1.1\r\nHost: x\r\n\r\n" // must stay a part of what it stands in
)

var refused400 = []int{400}

var rawCases = []rawCase{
	{"a plain request", getLine + hostLine + "\r\n", []int{200}, []string{""}},
	{"two requests at once", postLine + hostLine + "Content-Length: 3\r\n\r\nabc" + getLine + hostLine + "\r\n", []int{200, 200}, []string{"abc", ""}},

	// Framing: RFC 9112, section 6; the classes of the smuggling literature (CL.CL, CL.TE, TE.CL, TE.TE).
	{"two lengths that differ", postLine + hostLine + "Content-Length: 3\r\nContent-Length: 50\r\n\r\nabc" + insideText, refused400, nil},
	{"two lengths that agree", postLine + hostLine + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", []int{200}, []string{"abc"}},
	{"a list of lengths", postLine + hostLine + "Content-Length: 3, 3\r\n\r\nabc", refused400, nil},
	{"a negative length", postLine + hostLine + "Content-Length: -1\r\n\r\n", refused400, nil},
	{"a length with a sign", postLine + hostLine + "Content-Length: +3\r\n\r\nabc", refused400, nil},
	{"a length in hex", postLine + hostLine + "Content-Length: 0x3\r\n\r\nabc", refused400, nil},
	{"a length that overflows", postLine + hostLine + "Content-Length: 99999999999999999999\r\n\r\nabc", refused400, nil},
	{"an empty length", postLine + hostLine + "Content-Length: \r\n\r\n" + insideText, refused400, nil},
	{"length and chunked: chunked counts, and nothing after it", postLine + hostLine + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", []int{200}, []string{"abc"}},
	{"chunked, then a length", postLine + hostLine + "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n3\r\nabc\r\n0\r\n\r\n", []int{200}, []string{"abc"}},
	{"an unknown coding", postLine + hostLine + "Transfer-Encoding: xchunked\r\n\r\n" + insideText, []int{501}, nil},
	{"two codings", postLine + hostLine + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + insideText, []int{501}, nil},
	{"chunked twice", postLine + hostLine + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + insideText, []int{501}, nil},
	{"identity", postLine + hostLine + "Transfer-Encoding: identity\r\n\r\n" + insideText, []int{501}, nil},
	{"a coding behind a vertical tab", postLine + hostLine + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + insideText, refused400, nil},
	{"a blank before the colon of a coding", postLine + hostLine + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + insideText, refused400, nil},
	{"a coding in another case", postLine + hostLine + "transfer-ENCODING: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", []int{200}, []string{"abc"}},
	{"names that only look like framing", postLine + hostLine + "Content_Length: 3\r\nTransfer_Encoding: chunked\r\n\r\n", []int{200}, []string{""}},
	{"a request in the body of another", postLine + hostLine + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(insideText)) + insideText, []int{200}, []string{insideText}},
	{"a request in a chunk of another", postLine + hostLine + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(insideText), insideText), []int{200}, []string{insideText}},
	{"GET with a body", getLine + hostLine + "Content-Length: 3\r\n\r\nabc", []int{200}, []string{"abc"}},

	// Chunks.
	{"a chunk extension", postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0;x\r\n\r\n", []int{200}, []string{"abc"}},
	{"a chunk extension without end", postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n3;" + strings.Repeat("a", 20000) + "\r\nabc\r\n0\r\n\r\n", refused400, nil},
	{"a chunk that ends in the wrong place", postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n" + insideText, refused400, nil},
	{"a request behind a chunk that breaks", postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcGE" + insideText, refused400, nil},
	{"a chunk size with a sign", postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", refused400, nil},
	{"a chunk size with 0x", postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", refused400, nil},
	{"a chunk size that overflows", postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", refused400, nil},
	{"a chunk size that is missing", postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", refused400, nil},
	{"trailers that would be credentials", postLine + hostLine + "Trailer: Authorization, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\nX-Sum: 1\r\n\r\n", []int{200}, []string{"abc"}},
	{"a trailer that would be a length", postLine + hostLine + "Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", refused400, nil},

	// Lines.
	{"a folded header", getLine + hostLine + "X-Fold: a\r\n b\r\n\r\n", []int{200}, []string{""}},
	{"a folded first header", getLine + " X: y\r\n" + hostLine + "\r\n", refused400, nil},
	{"bare line feeds", "GET /api/rest/a HTTP/1.1\nHost: x\n\n", []int{200}, []string{""}},
	{"a bare carriage return in a value", getLine + hostLine + "X-A: a\rX-B: b\r\n\r\n", refused400, nil},
	{"a bare carriage return in the request line", "GET /api/rest/a\rb HTTP/1.1\r\n" + hostLine + "\r\n", refused400, nil},
	{"a zero byte in a value", getLine + hostLine + "X-A: a\x00b\r\n\r\n", refused400, nil},
	{"a header without a name", getLine + hostLine + ": x\r\n\r\n", refused400, nil},
	{"a header without a colon", getLine + hostLine + "nonsense\r\n\r\n", refused400, nil},
	{"a blank in a name", getLine + hostLine + "X A: x\r\n\r\n", refused400, nil},
	{"Latin-1 in a value", getLine + hostLine + "X-A: \xe9\r\n\r\n", []int{200}, []string{""}},
	{"300 KB of header", getLine + hostLine + "X-A: " + strings.Repeat("a", 300<<10) + "\r\n\r\n", []int{431}, nil},
	{"twenty thousand headers", getLine + hostLine + strings.Repeat("X-A: aaaaaaaaaaaa\r\n", 20000) + "\r\n", []int{431}, nil},
	{"a request line of 300 KB", "GET /api/rest/" + strings.Repeat("a", 300<<10) + " HTTP/1.1\r\n" + hostLine + "\r\n", []int{431}, nil},

	// Request lines.
	{"no Host", getLine + "\r\n", refused400, nil},
	{"two Hosts", getLine + hostLine + "Host: evil.example\r\n\r\n", refused400, nil},
	{"a Host that is none", getLine + "Host: a b/c\r\n\r\n", refused400, nil},
	{"HTTP/1.0", "GET /api/rest/a HTTP/1.0\r\n\r\n", []int{200}, []string{""}},
	{"HTTP/1.0 chunked", "POST /api/rest/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + insideText, []int{200}, []string{""}}, // no body in HTTP/1.0, and the connection ends
	{"HTTP/0.9", "GET /api/rest/a\r\n\r\n", refused400, nil},
	{"HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused400, nil},
	{"a version to come", "GET /api/rest/a HTTP/9.9\r\n" + hostLine + "\r\n", []int{505}, nil},
	{"absolute form", "GET http://evil.example/api/rest/a HTTP/1.1\r\n" + hostLine + "\r\n", refused400, nil},
	{"authority form", "CONNECT evil.example:443 HTTP/1.1\r\n" + hostLine + "\r\n", []int{405}, nil},
	{"two blanks", "GET  /api/rest/a HTTP/1.1\r\n" + hostLine + "\r\n", refused400, nil},
	{"a blank in the path", "GET /api/rest/a b HTTP/1.1\r\n" + hostLine + "\r\n", refused400, nil},
	{"no path", "GET HTTP/1.1\r\n" + hostLine + "\r\n", refused400, nil},
	{"a method that is none", "G(T /api/rest/a HTTP/1.1\r\n" + hostLine + "\r\n", refused400, nil},
	{"an escaped line break in the path", "GET /api/rest/a%0d%0aX:%20y HTTP/1.1\r\n" + hostLine + "\r\n", []int{200}, []string{""}},
	{"nothing but line breaks", "\r\n\r\n\r\n", refused400, nil},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 200) + "\r\n\r\n", refused400, nil},

	// Hop by hop.
	{"an expectation that nobody knows", postLine + hostLine + "Expect: 200-maybe\r\nContent-Length: 3\r\n\r\nabc", []int{417}, nil},
	{"an upgrade to h2c", getLine + hostLine + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", []int{200}, []string{""}},
	{"an upgrade to a WebSocket", getLine + hostLine + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n", []int{200}, []string{""}},

	// The wrapped path, where a body is a trigger's data.
	{"two lengths to a wrapped path", "POST /queue HTTP/1.1\r\n" + hostLine + "Content-Length: 3\r\nContent-Length: 50\r\n\r\nabc", refused400, nil},
	{"an event cut short by its length", "POST /queue HTTP/1.1\r\n" + hostLine + "Content-Length: 20\r\n\r\n" + `{"Data":{"msg":"\"x\"` + "\r\n\r\n", []int{500, 400}, nil}, // what is beyond the length is no request
}

func TestRawHTTP(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction, "queue": queueFunction}, nil)
	for _, c := range rawCases {
		t.Run(c.name, func(t *testing.T) {
			statuses, reached := r.raw(t, c.sent, len(c.answers))
			if slices.ContainsFunc(reached, func(s seen) bool { return strings.HasPrefix(s.uri, "/up/inside") }) {
				t.Error("the request inside the first was relayed")
			}
			closed := len(statuses) == 0 && len(c.answers) == 1 && c.answers[0] >= 400
			if !slices.Equal(statuses, c.answers) && !closed {
				t.Errorf("answered %v, want %v", statuses, c.answers)
			}
			var bodies []string
			for _, s := range reached {
				bodies = append(bodies, string(s.body))
				for name, values := range s.header {
					if name == "Transfer-Encoding" || name == "Te" || name == "Upgrade" || len(values) > 1 && name == "Content-Length" {
						t.Errorf("%s: %q reached the gateway", name, values)
					}
				}
				if s.trailer.Get("Authorization") != "" {
					t.Error("a credential reached the gateway in a trailer")
				}
			}
			if !slices.Equal(bodies, c.reached) {
				t.Errorf("the gateway saw %q, want %q", bodies, c.reached)
			}
		})
	}
	if res, _ := r.do(r.proxiedCall("GET", "/api/rest/x", nil)); res.StatusCode != 200 {
		t.Errorf("after all that: %d", res.StatusCode)
	}
	if strings.Contains(r.log.String(), `"msg":"panic"`) {
		t.Errorf("something panicked: %s", r.log.String())
	}
}

// raw writes bytes to the port, says that it has no more to say once the wanted answers are there, and reads to the end of the connection: more answers
// than wanted are seen, too. It returns them and what the gateway saw.
func (r *rig) raw(t *testing.T, sent string, want int) (statuses []int, reached []seen) {
	t.Helper()
	r.mu.Lock()
	r.seen = nil
	r.mu.Unlock()
	conn, err := net.Dial("tcp4", r.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	go func() { _, _ = io.WriteString(conn, sent) }() // a server that refuses early does not read it all
	reader := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(reader, nil)
		if err != nil {
			break
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			break
		}
		if statuses = append(statuses, res.StatusCode); len(statuses) == want {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return statuses, slices.Clone(r.seen)
}

// Nor may an answer that comes before the upload's end leave what is behind a broken chunk to be served.
func TestNothingBehindABrokenUploadIsServed(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	var inside atomic.Int64
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/inside" {
			inside.Add(1)
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusForbidden)
	}))
	defer gateway.Close()
	r.all[0].Target, _ = target.Parse(gateway.URL)
	conn, err := net.Dial("tcp4", r.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, postLine+hostLine+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	if err != nil || res.StatusCode != 403 {
		t.Fatalf("answered %v (%v)", res, err)
	}
	_, _ = io.WriteString(conn, "zz"+insideText)
	if res, err := http.ReadResponse(answers, nil); err == nil {
		t.Errorf("a second answer: %v", res)
	}
	if inside.Load() > 0 {
		t.Error("what stood behind the broken upload was served")
	}
}

// A body that never comes whole never becomes a whole request.
func TestUploadsThatBreakOff(t *testing.T) {
	for name, sent := range map[string]string{
		"by length": postLine + hostLine + "Content-Length: 10\r\n\r\nabc",
		"by chunk":  postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"no end":    postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"in a line": getLine + "Ho",
		"an event":  "POST /queue HTTP/1.1\r\n" + hostLine + "Content-Length: 1000\r\n\r\n" + queueMessage,
		"a chunked event": "POST /queue HTTP/1.1\r\n" + hostLine + "Transfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n", len(queueMessage), queueMessage),
	} {
		for _, half := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, half closed %t", name, half), func(t *testing.T) {
				r := newRig(t, bothFlags, map[string]string{"rest": restFunction, "queue": queueFunction}, nil)
				conn, err := net.Dial("tcp4", r.server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(conn, sent)
				if half {
					_ = conn.(*net.TCPConn).CloseWrite()
					_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
					if answer, err := io.ReadAll(conn); err != nil || bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
						t.Errorf("answered %q (%v)", answer, err)
					}
				}
				conn.Close()
				if res, _ := r.do(r.proxiedCall("GET", "/api/rest/x", nil)); res.StatusCode != 200 {
					t.Errorf("the next call: %d", res.StatusCode)
				}
				if saw := r.requests(1)[0]; saw.method != "GET" {
					t.Errorf("the gateway saw %+v", saw)
				}
			})
		}
	}
}

// A header that trickles in ends by its deadline; an idle connection is not held against it.
func TestSlowHeadersEnd(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	srv := HTTPServer(r.server.Handler, nil)
	if srv.ReadHeaderTimeout <= 0 || srv.ReadTimeout != 0 || srv.WriteTimeout != 0 || srv.IdleTimeout < 75*time.Second {
		t.Errorf("time-outs: %+v", srv)
	}
	srv.ReadHeaderTimeout = 50 * time.Millisecond
	conn, err := net.Dial("tcp4", listen(t, srv).Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, getLine+"X-A: ")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if answer, err := io.ReadAll(conn); err != nil || bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
		t.Errorf("answered %q (%v), want the connection closed", answer, err)
	}
	r.requests(0)
}

// An answer that breaks off early begins all the same: the host repeats an exchange of which it has not seen a byte, up to 40 times.
func TestAnAnswerCutShortBegins(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	res, err := http.DefaultTransport.RoundTrip(r.proxiedCall("GET", "/api/rest/x", nil))
	if err != nil {
		t.Fatalf("no byte of an answer came: %v", err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil || res.StatusCode != 200 {
		t.Errorf("answered %d %q, want it cut", res.StatusCode, body)
	}
	r.requests(1)
}
