package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/handler/internal/target"
	"apimrelay/internal/poll"

	"github.com/google/go-cmp/cmp"
)

// net/http's server does a number of things by itself. These tests say which of them a caller sees.

// wire is a connection to the handler on which a test writes and reads HTTP itself.
type wire struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (r *rig) dial() *wire {
	r.t.Helper()
	c, err := net.Dial("tcp4", r.server.Listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{c, r.t, bufio.NewReader(c)}
}

func (c *wire) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one answer to its end.
func (c *wire) answer() (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(body)
}

// closed waits for the server's end of the connection.
func (c *wire) closed() {
	c.t.Helper()
	b, err := c.in.ReadByte()
	if timeout, ok := errors.AsType[net.Error](err); err == nil || ok && timeout.Timeout() {
		c.t.Fatalf("read %q (%v), want the connection closed", b, err)
	}
}

// instead gives the functions another gateway.
func (r *rig) instead(gateway http.HandlerFunc) {
	r.t.Helper()
	s := httptest.NewServer(gateway)
	r.t.Cleanup(s.Close)
	for _, f := range r.all {
		f.Target, _ = target.Parse(s.URL)
	}
}

// The server gives an answer neither a type nor a date nor an agent that the gateway did not give it, whatever its body looks like and however it is framed.
func TestNothingIsAddedToAnAnswer(t *testing.T) {
	const page = "<html><body>not to be guessed</body></html>"
	for name, c := range map[string]struct {
		answer string
		header http.Header
		body   string
		length int64
	}{
		"a length": {"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n" + page,
			http.Header{"Content-Length": {"43"}}, page, 43},
		"an empty body":     {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", http.Header{"Content-Length": {"0"}}, "", 0},
		"no body":           {"HTTP/1.1 204 No Content\r\n\r\n", http.Header{}, "", 0},
		"the gateway's own": {"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nDate: then\r\nServer: g\r\nContent-Length: 0\r\n\r\n", http.Header{"Content-Type": {"x/y"}, "Date": {"then"}, "Server": {"g"}, "Content-Length": {"0"}}, "", 0},
		"an encoding":       {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", http.Header{"Content-Encoding": {"gzip"}, "Content-Length": {"2"}}, "\x1f\x8b", 2},
		"interim answers":   {"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", http.Header{"Content-Length": {"0"}}, "", 0},
		// One that is at hand as a whole may get a length.
		"to the end": {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + page, nil, page, -2},
		"in chunks":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2b\r\n" + page + "\r\n0\r\n\r\n", nil, page, -2},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
			r.instead(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, _ := http.NewResponseController(w).Hijack()
				defer conn.Close()
				_, _ = io.WriteString(conn, c.answer)
			})
			res, body := r.do(r.proxiedCall("GET", "/api/rest/x", nil))
			if c.length == -2 {
				delete(res.Header, "Content-Length")
				c.header, c.length = http.Header{}, res.ContentLength
			}
			if diff := cmp.Diff(c.header, res.Header); diff != "" || body != c.body || res.ContentLength != c.length {
				t.Errorf("answered %q, length %d, header (- want):\n%s", body, res.ContentLength, diff)
			}
		})
	}
}

// An answer that comes before its upload's end arrives whole, however long the caller goes on sending, and the connection ends with it: what comes behind
// is no request.
func TestAnAnswerAmidAnUploadArrivesWhole(t *testing.T) {
	for name, change := range map[string]func(*subject){
		"the gateway's": nil,
		"our own":       func(f *subject) { f.Credentials = nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, change)
			if change == nil {
				r.instead(func(w http.ResponseWriter, _ *http.Request) {
					_ = http.NewResponseController(w).EnableFullDuplex()
					w.WriteHeader(http.StatusForbidden)
					_, _ = io.WriteString(w, strings.Repeat("no", 10_000))
				})
			}
			c := r.dial()
			c.send(postLine + hostLine + "Content-Length: 1000000000\r\n\r\n")
			go func() {
				for piece := bytes.Repeat([]byte(insideText), 1000); ; {
					if _, err := c.Write(piece); err != nil {
						return
					}
				}
			}()
			res, body := c.answer()
			if name == "our own" && res.StatusCode != 500 || name != "our own" && (res.StatusCode != 403 || len(body) != 20_000) || !res.Close {
				t.Errorf("answered %d with %d bytes, close %t", res.StatusCode, len(body), res.Close)
			}
			c.closed()
		})
	}
}

// A caller that asks first is told to go on when its upload is wanted, and not where the answer needs none of it.
func TestAnExpectationIsAnswered(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	const asks = "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	c := r.dial()
	c.send(postLine + hostLine + asks)
	if res, _ := c.answer(); res.StatusCode != http.StatusContinue {
		t.Fatalf("answered %d, want 100", res.StatusCode)
	}
	c.send("abc")
	if res, body := c.answer(); res.StatusCode != 200 || body != "done" || string(r.requests(1)[0].body) != "abc" {
		t.Errorf("answered %d %q", res.StatusCode, body)
	}
	c.send("POST /api/nothing HTTP/1.1\r\n" + hostLine + asks)
	if res, _ := c.answer(); res.StatusCode != http.StatusNotFound {
		t.Errorf("answered %d, want 404 at once", res.StatusCode)
	}
}

// A caller who leaves ends the gateway's call, wherever it was: while it waits, after its upload, amid it, or while it takes the answer.
func TestACallerThatLeavesEndsTheCallWhereverItIs(t *testing.T) {
	for name, sent := range map[string]string{
		"without a body":    getLine + hostLine + "\r\n",
		"after its upload":  postLine + hostLine + "Content-Length: 3\r\n\r\nabc",
		"after its chunks":  postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"amid its upload":   postLine + hostLine + "Content-Length: 30\r\n\r\nabc",
		"amid the answer":   "GET /api/rest/endless HTTP/1.1\r\n" + hostLine + "\r\n",
		"amid both of them": "POST /api/rest/endless HTTP/1.1\r\n" + hostLine + "Content-Length: 30\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := make(chan bool, 1), make(chan bool, 1)
			r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
			r.instead(func(w http.ResponseWriter, req *http.Request) {
				_ = http.NewResponseController(w).EnableFullDuplex()
				began <- true
				if strings.HasSuffix(req.URL.Path, "/endless") {
					for piece := make([]byte, 64<<10); ; {
						if _, err := w.Write(piece); err != nil {
							break
						}
					}
				} else {
					_, _ = io.Copy(io.Discard, req.Body)
					<-req.Context().Done()
				}
				ended <- true
			})
			c := r.dial()
			c.send(sent)
			<-began
			if strings.Contains(name, "answer") || strings.Contains(name, "both") {
				_, _ = io.ReadFull(c.in, make([]byte, 100_000))
			}
			_ = c.Close()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatal("the gateway's call goes on")
			}
			poll.Until(t, "the call has its line", func() bool { return strings.Contains(r.log.String(), `"msg":"invocation"`) })
		})
	}
}

// Requests that are sent without waiting for answers have theirs in order, and from the right gateway's call.
func TestManyRequestsAtOnceOnOneConnection(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction, "queue": queueFunction}, nil)
	r.answer = func(w http.ResponseWriter, req *http.Request, body []byte) {
		if req.URL.Path == "/up" && len(req.Header["X-N"]) == 0 {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, req.Header.Get("X-N")+string(body))
	}
	var all strings.Builder
	const rounds = 30
	for n := range rounds {
		fmt.Fprintf(&all, getLine+hostLine+"X-N: g%d\r\n\r\n", n)
		fmt.Fprintf(&all, postLine+hostLine+"X-N: p%d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", n)
		fmt.Fprintf(&all, "POST /queue HTTP/1.1\r\n"+hostLine+"Content-Length: %d\r\n\r\n%s", len(queueMessage), queueMessage)
	}
	c := r.dial()
	go func() { _, _ = io.WriteString(c.Conn, all.String()) }()
	for n := range rounds {
		for _, want := range []string{fmt.Sprintf("g%d", n), fmt.Sprintf("p%dabc", n), "{"} {
			if res, body := c.answer(); res.StatusCode != 200 || !strings.HasPrefix(body, want) {
				t.Fatalf("round %d: answered %d %q, want %q", n, res.StatusCode, body, want)
			}
		}
	}
}

// A header of a request may have 256 KiB, as one of an answer may have much more than a caller is likely to see.
func TestLongHeadersPass(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	r.answer = func(w http.ResponseWriter, req *http.Request, _ []byte) {
		w.Header().Set("X-Long", strings.Repeat(req.Header.Get("X-Long"), 4))
	}
	long := strings.Repeat("l", 200<<10)
	c := r.dial()
	c.send(getLine + hostLine + "X-Lo") // in pieces
	c.send("ng: " + long)
	c.send("\r\n\r\n")
	if res, _ := c.answer(); res.StatusCode != 200 || len(res.Header.Get("X-Long")) != 4*len(long) {
		t.Errorf("answered %d, a header of %d bytes", res.StatusCode, len(res.Header.Get("X-Long")))
	}
}

// When the server is told to end, idle connections go at once and the calls in progress have their answers.
func TestTheEndWaitsForAnswers(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	entered, release := make(chan bool), make(chan bool)
	r.answer = func(w http.ResponseWriter, req *http.Request, _ []byte) {
		if strings.HasSuffix(req.URL.Path, "/slow") {
			entered <- true
			<-release
		}
		_, _ = io.WriteString(w, "done")
	}
	idle, busy := r.dial(), r.dial()
	idle.send(getLine + hostLine + "\r\n")
	idle.answer()
	busy.send("GET /api/rest/slow HTTP/1.1\r\n" + hostLine + "\r\n")
	<-entered
	shut := make(chan error, 1)
	go func() { shut <- r.server.Shutdown(context.Background()) }()
	idle.closed()
	select {
	case err := <-shut:
		t.Fatalf("shut down with a call in progress: %v", err)
	default:
	}
	close(release)
	if res, body := busy.answer(); body != "done" || !res.Close {
		t.Errorf("answered %q, close %t", body, res.Close)
	}
	if err := <-shut; err != nil {
		t.Error(err)
	}
}

// Callers leave at every byte of what they send; no goroutine, descriptor or call stays behind.
func TestCallersThatLeaveLeaveNothingBehind(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction, "queue": queueFunction}, nil)
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) { _, _ = io.WriteString(w, "done") }
	if res, _ := r.do(r.proxiedCall("GET", "/api/rest/x", nil)); res.StatusCode != 200 {
		t.Fatalf("answered %d", res.StatusCode)
	}
	before, files := runtime.NumGoroutine(), descriptors()
	whole := postLine + hostLine + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + postLine + hostLine + "Content-Length: 5\r\n\r\nabcde" +
		fmt.Sprintf("POST /queue HTTP/1.1\r\n"+hostLine+"Content-Length: %d\r\n\r\n%s", len(queueMessage), queueMessage)
	for cut := 0; cut <= len(whole); cut += 5 {
		c, err := net.Dial("tcp4", r.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, whole[:cut])
		switch cut % 3 {
		case 0: // a reset
			_ = c.(*net.TCPConn).SetLinger(0)
		case 1:
			_ = c.(*net.TCPConn).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.Copy(io.Discard, c)
		}
		_ = c.Close()
	}
	// The gateway's connections are kept: one for each of the few calls that were in progress at once.
	poll.Until(t, "goroutines are as few as before", func() bool { return runtime.NumGoroutine() <= before+20 })
	poll.Until(t, "descriptors are as few as before", func() bool { return descriptors() <= files+10 })
	if strings.Contains(r.log.String(), `"msg":"panic"`) {
		t.Errorf("log: %s", r.log.String())
	}
}

// descriptors counts the open files, where the system lists them.
func descriptors() int {
	all, _ := os.ReadDir("/proc/self/fd")
	return len(all)
}

// talkative is a gateway that frames its answers in every way and says more than its answer where it is asked to.
type talkative struct {
	url         string
	connections atomic.Int64
	ended       chan bool // the other side has closed a connection on which too much was said
}

func newTalkative(t *testing.T) *talkative {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	g := &talkative{url: "http://" + l.Addr().String(), ended: make(chan bool, 100)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.connections.Add(1)
			go g.serve(c)
		}
	}()
	return g
}

func (g *talkative) serve(c net.Conn) {
	defer c.Close()
	const more = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		up, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		body := req.URL.Path + string(up)
		whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		half := len(body) / 2
		chunks := fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
		says := func(text string) { _, _ = io.WriteString(c, text) }
		switch kind, then, _ := strings.Cut(req.Header.Get("X-Kind"), ", "); {
		case kind == "close":
			says("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
			return
		case kind == "interim":
			says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\n" + whole)
		case then != "":
			answer := map[string]string{"length": whole, "chunks": chunks, "nothing": "HTTP/1.1 204 No Content\r\n\r\n"}[kind]
			if then == "more at once" {
				answer += more
			}
			if says(answer); then == "more later" {
				time.Sleep(10 * time.Millisecond) // not a matter of time: before or after the next request, it is no answer to it
				says(more)
			}
			_, _ = io.Copy(io.Discard, in)
			g.ended <- true
			return
		case kind == "chunks":
			says(chunks)
		default:
			says(whole)
		}
	}
}

// However answers are framed, and however many calls share the connections, none gets another call's answer.
func TestNoCallGetsTheAnswerOfAnother(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	r.all[0].Target, _ = target.Parse(newTalkative(t).url)
	kinds := []string{"length", "chunks", "close", "interim"}
	var all sync.WaitGroup
	for caller := range 8 {
		all.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for n := range 60 {
				kind, path := kinds[(caller+n*(caller+1))%len(kinds)], fmt.Sprintf("/%d-%d", caller, n)
				method, up := "GET", ""
				if n%3 == 0 {
					method, up = "PUT", "up"+path
				}
				res, err := transport.RoundTrip(r.proxiedCall(method, "/api/rest"+path, strings.NewReader(up), "X-Kind: "+kind))
				if err != nil {
					t.Error(err)
					return
				}
				got, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != 200 || string(got) != path+up {
					t.Errorf("%s %s (%s): answered %d %q", method, path, kind, res.StatusCode, got)
				}
			}
		})
	}
	all.Wait()
}

// What a gateway says behind an answer, at once or later, answers no other call: its connection ends.
func TestWhatFollowsAnAnswerAnswersNobody(t *testing.T) {
	for _, kind := range []string{"length", "chunks", "nothing"} {
		for _, then := range []string{"more at once", "more later"} {
			t.Run(kind+", "+then, func(t *testing.T) {
				r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
				g := newTalkative(t)
				r.all[0].Target, _ = target.Parse(g.url)
				for n := range 3 {
					path := fmt.Sprintf("/%d", n)
					want := path
					if kind == "nothing" {
						want = ""
					}
					if res, body := r.do(r.proxiedCall("GET", "/api/rest"+path, nil, "X-Kind: "+kind+", "+then)); res.StatusCode/100 != 2 || body != want {
						t.Errorf("answered %d %q, want %q", res.StatusCode, body, want)
					}
					select {
					case <-g.ended:
					case <-time.After(20 * time.Second):
						t.Fatal("the connection is kept")
					}
				}
				if n := g.connections.Load(); n != 3 {
					t.Errorf("%d connections, want 3", n)
				}
			})
		}
	}
}
