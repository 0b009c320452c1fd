package downstream

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ways is a handler whose ways of answering are chosen by the last letter of the path, and which remembers what it was asked.
type ways struct {
	mu   sync.Mutex
	seen []string
	// slow, where it is not nil, is called amid requests for paths that begin with /slow.
	slow func(http.ResponseWriter)
}

func (h *ways) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	way := byte('/')
	if p := r.URL.Path; p != "" {
		way = p[len(p)-1]
	}
	names := make([]string, 0, len(r.Header))
	for name, values := range r.Header {
		names = append(names, fmt.Sprintf("%s=%q", name, values))
	}
	slices.Sort(names)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	saw := fmt.Sprintf("%s %q %s %s %d.%d close %t host %q length %d coding %q url %q raw %q remote %t local %t server %t %q", r.Method, r.RequestURI, way1(way), r.Proto,
		r.ProtoMajor, r.ProtoMinor, r.Close, r.Host, r.ContentLength, r.TransferEncoding, r.URL, r.URL.RawPath, r.RemoteAddr != "", local != nil,
		r.Context().Value(http.ServerContextKey) != nil, names)
	if way == 'd' {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.WriteString(w, "early")
		w.(http.Flusher).Flush()
	}
	switch way {
	case 'u', 'c':
	case 'v', 'q', 'Q': // a part of it
		part := make([]byte, 2)
		n, err := io.ReadFull(r.Body, part)
		saw += fmt.Sprintf(" part %q %v", part[:n], err != nil)
		if way == 'q' { // the rest when the answer is begun
			_, _ = w.Write(bytes.Repeat([]byte("begun "), 500))
			n, err := r.Body.Read(part)
			saw += fmt.Sprintf(" rest %q %v", part[:n], err == http.ErrBodyReadAfterClose)
		}
		if way == 'Q' {
			_ = r.Body.Close()
			_, err := r.Body.Read(part)
			saw += fmt.Sprintf(" closed %v", err)
		}
	default:
		body, err := io.ReadAll(r.Body)
		saw += fmt.Sprintf(" body %q trailer %q %v", body, r.Trailer, err != nil)
	}
	if h.slow != nil && strings.HasPrefix(r.URL.Path, "/slow") {
		h.slow(w)
	}
	h.mu.Lock()
	h.seen = append(h.seen, saw)
	h.mu.Unlock()
	switch way {
	case 'l':
		w.Header().Set("Content-Length", "5")
		w.Header().Set("Content-Type", "text/x-five")
		_, _ = io.WriteString(w, "five!")
	case 's': // too short, so that the connection has to end
		w.Header().Set("Content-Length", "50")
		_, _ = io.WriteString(w, "short")
	case 'm': // too much
		w.Header().Set("Content-Length", "3")
		_, err := io.WriteString(w, "much")
		_, _ = fmt.Fprint(w, err)
	case 'b':
		_, _ = w.Write(bytes.Repeat([]byte("big "), 3000))
		_, _ = io.WriteString(w, "end")
	case 'p':
		for range 9 {
			_, _ = io.WriteString(w, strings.Repeat("piece ", 80))
		}
	case 'f':
		_, _ = io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "two")
	case 't':
		w.Header().Set("Trailer", "X-Sum, Authorization,x-two")
		_, _ = io.WriteString(w, "with trailers")
		w.Header().Set("X-Sum", "1")
		w.Header().Add("X-Two", "a")
		w.Header().Add("X-Two", "b")
	case 'T':
		_, _ = io.WriteString(w, "with late trailers")
		w.(http.Flusher).Flush()
		w.Header()[http.TrailerPrefix+"X-Late"] = []string{"1"}
	case 'A': // announced, but the length leaves no room
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Content-Length", "3")
		w.Header().Set("X-Sum", "early")
		_, _ = io.WriteString(w, "abc")
		w.Header().Set("X-Sum", "1")
	case 'j':
		w.Header()["Content-Length"] = nil
		_, _ = io.WriteString(w, "<html>")
	case 'J': // what is changed behind the header is not said
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusOK)
		w.Header().Del("Connection")
		w.Header().Set("X-Late", "no")
		w.Header().Set("Content-Type", "no")
		_, _ = io.WriteString(w, "<html>")
	case 'K':
		w.WriteHeader(http.StatusOK)
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Length", "2")
		w.Header().Set("Date", "no")
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
		_, _ = io.WriteString(w, "<html>")
	case 'F':
		w.(http.Flusher).Flush()
		_, _ = w.Write(nil)
		w.(http.Flusher).Flush()
	case 'g': // at the borders of what is kept back
		for _, n := range []int{2047, 1, 1, 2047, 2048, 2049, 4096, 1} {
			_, _ = w.Write(bytes.Repeat([]byte("g"), n))
		}
	case 'n':
		w.WriteHeader(http.StatusNoContent)
		_, err := io.WriteString(w, "nothing")
		h.mu.Lock()
		h.seen = append(h.seen, fmt.Sprint(err))
		h.mu.Unlock()
	case 'M':
		w.Header().Set("Content-Length", "9")
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Etag", `"x"`)
		w.WriteHeader(http.StatusNotModified)
	case 'o':
		w.WriteHeader(799)
	case 'e':
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusOK)
	case 'k':
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "the last")
	case 'h':
		w.Header()["X-Odd"] = []string{"a\r\nb", " blank "}
		w.Header()["No name"] = []string{"a"}
		w.Header()["Content-Type"] = nil
		w.Header()["Date"] = nil
		_, _ = io.WriteString(w, "<html>")
	case 'i':
		w.Header().Set("Content-Length", "nonsense")
		_, _ = io.WriteString(w, "<html>")
	case 'z':
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "<html>")
	case 'c':
		panic(http.ErrAbortHandler)
	case 'x':
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case 'X':
		_, _ = w.Write(bytes.Repeat([]byte("half "), 1000))
		_, _ = io.WriteString(w, "lost")
		panic(http.ErrAbortHandler)
	case '0', 'd':
	default:
		_, _ = io.WriteString(w, "<html>ok")
	}
}

func way1(b byte) string { return string(rune(b)) }

// pair is the same handler behind net/http's server and behind ours.
type pair struct {
	handlers  [2]*ways
	listeners [2]net.Listener
}

func newPair(tb testing.TB) *pair {
	p := new(pair)
	base := func(i int) *http.Server {
		p.handlers[i] = new(ways)
		return &http.Server{Handler: p.handlers[i], ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, DisableGeneralOptionsHandler: true,
			ErrorLog: log.New(io.Discard, "", 0)}
	}
	theirs, ours := base(0), New(base(1))
	for i, s := range []interface {
		Serve(net.Listener) error
	}{theirs, ours} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		p.listeners[i] = l
		go func() { _ = s.Serve(l) }()
	}
	tb.Cleanup(func() {
		_ = theirs.Close()
		_ = ours.Close()
	})
	return p
}

const closing = "Connection: close\r\n"

var dateLine = regexp.MustCompile(`Date: [^\r]*GMT\r\n`)

// play sends the pieces, then an end, and returns what was answered and what the handler saw.
func (p *pair) play(tb testing.TB, i int, pieces [][]byte) (answered string, seen []string) {
	tb.Helper()
	c, err := net.Dial("tcp4", p.listeners[i].Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	for _, piece := range pieces {
		_, _ = c.Write(piece)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		tb.Fatalf("server %d: after %q: %v", i, answer, err)
	}
	h := p.handlers[i]
	h.mu.Lock()
	defer h.mu.Unlock()
	seen, h.seen = h.seen, nil
	return dateLine.ReplaceAllString(string(answer), "Date: D\r\n"), seen
}

// compare holds ours to what net/http makes of the same bytes.
func (p *pair) compare(t *testing.T, pieces ...[]byte) (answered string) {
	t.Helper()
	theirs, theySaw := p.play(t, 0, pieces)
	ours, weSaw := p.play(t, 1, pieces)
	const hints = "HTTP/1.1 103 Early Hints\r\n\r\n" // 1xx answers are not sent, where it is ours that answers
	theirs, ours = strings.ReplaceAll(theirs, hints, ""), strings.ReplaceAll(ours, hints, "")
	if slices.ContainsFunc(weSaw, func(saw string) bool { return strings.HasSuffix(saw, " true") }) {
		// A connection whose upload broke off ends in both. Ours always says so.
		theirs, ours = strings.ReplaceAll(theirs, closing, ""), strings.ReplaceAll(ours, closing, "")
	}
	if d := cmp.Diff(theirs, ours); d != "" {
		t.Errorf("answers to %.300q (- net/http, + ours):\n%s", pieces, d)
	}
	if d := cmp.Diff(theySaw, weSaw); d != "" {
		t.Errorf("requests of %.300q (- net/http, + ours):\n%s", pieces, d)
	}
	return ours
}

const letters = "lsmbpftTnMoekhizcxd0uyvqQAjJKFgX"

func TestSameAsNetHTTP(t *testing.T) {
	p := newPair(t)
	for _, way := range letters {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "TRACE", "get"} {
			for name, rest := range map[string]string{
				"none":     "\r\n",
				"length":   "Content-Length: 3\r\n\r\nabc",
				"zero":     "Content-Length: 0\r\n\r\n",
				"chunks":   "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
				"trailers": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Late: 1\r\n\r\n",
				"broken":   "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX",
			} {
				switch {
				case name == "broken" && way == 'd':
					continue // the answer is begun before the fault is seen, and what follows of it is a matter of time in both
				case method == "HEAD" && way == 'i':
					continue // net/http passes a length that is none on
				}
				t.Run(fmt.Sprintf("%c %s %s", way, method, name), func(t *testing.T) {
					one := method + " /a/%41/" + string(way) + "?q=%20 HTTP/1.1\r\nHost: h.example:80\r\nx-lower: v\r\nX-Lower:\t w \t\r\n" + rest
					p.compare(t, []byte(one))
					p.compare(t, []byte(one+"GET /y HTTP/1.1\r\nHost: x\r\n\r\n"))
				})
			}
		}
	}
}

var oddities = []string{
	"GET /y HTTP/1.1\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: \r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: a b\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: ü\r\n\r\n",
	"GET /y HTTP/1.0\r\n\r\n",
	"GET /y HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"GET /y HTTP/2.0\r\nHost: x\r\n\r\n",
	"GET y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET http://other/y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET //other/y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /a\x7fb HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /ü HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /a?b#c HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /a?%zz HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /a\\b?\"<>^`{|} HTTP/1.1\r\nHost: x\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
	"CONNECT /a HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET  /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /y  HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /y HTTP/1.1 \r\nHost: x\r\n\r\n",
	"GET /y HTTP/1.1\nHost: x\n\n",
	"GET /y HTTP/1.1\r\nHost: x\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nA: b\n\n",
	"GET /y HTTP/1.1\r\nHost: x\r\n A: b\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nA: \xff\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nA:\r\nA: \r\nB: :\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-A\r\nX-A: b\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nPragma: no-cache\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nPragma: no-cache\r\nCache-Control: max-age=1\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 003\r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nnonsense\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + strings.Repeat("y", 4<<10-7) + "\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + strings.Repeat("y", 4<<10-6) + "\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + strings.Repeat("y", 20000) + "\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n0\r\nX-A: 1\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 4000) + "\r\na\r\n0\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x", 2000)+"\r\na\r\n", 9) + "0\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n00\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\na\r\n0\r\n\r\n",
	"HEAD /y HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
	"POST /y HTTP/1.1\r\nHost: x\r\nExpect: else\r\nContent-Length: 3\r\n\r\nabc",
	"GET /y HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\n\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", bufferSize-50) + "\r\n\r\n",
	"GET /y HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 3*bufferSize) + "\r\n\r\n",
	"GET /y HTTP/1.1\r\nHo",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"\x16\x03\x01\x02\x00",
	"\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n",
	"",
}

// What a handler leaves of an upload is read up to a limit, which is net/http's to the byte.
func TestUploadsAtTheLimit(t *testing.T) {
	p := newPair(t)
	for _, way := range "uvqck" {
		for size := longestLeft - 1; size <= longestLeft+2; size++ {
			t.Run(fmt.Sprintf("%c %d", way, size), func(t *testing.T) {
				upload := strings.Repeat("u", size)
				p.compare(t, []byte(fmt.Sprintf("POST /%c HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s%s", way, size, upload, get)))
				p.compare(t, []byte(fmt.Sprintf("POST /%c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n%s", way, size, upload, get)))
			})
		}
	}
}

// What is not plain is net/http's, wherever on a connection it comes.
func TestOddities(t *testing.T) {
	p := newPair(t)
	const plain = "GET /y HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, odd := range oddities {
		t.Run(fmt.Sprintf("%.90q", odd), func(t *testing.T) {
			p.compare(t, []byte(odd))
			p.compare(t, []byte(plain+odd))
			p.compare(t, []byte("POST /y HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"+odd+plain))
			for _, cut := range []int{1, len(odd) / 2, len(odd) - 1} {
				if cut > 0 && cut < len(odd) {
					p.compare(t, []byte(odd[:cut]), []byte(odd[cut:]))
				}
			}
		})
	}
}

// Whoever sends bytes sees the same as from net/http's server, and so does the handler.
func FuzzSameAsNetHTTP(f *testing.F) {
	for i, odd := range oddities {
		f.Add([]byte(odd), uint16(i))
	}
	for _, way := range letters {
		f.Add([]byte("POST /"+string(way)+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n"), uint16(60))
	}
	p := newPair(f)
	f.Fuzz(func(t *testing.T, sent []byte, cut uint16) {
		if len(sent) > 64<<10 || bytes.Contains(sent, []byte("d HTTP")) || bytes.Contains(sent, []byte("d? HTTP")) {
			t.Skip()
		}
		at := min(int(cut), len(sent))
		p.compare(t, sent[:at], sent[at:])
	})
}
