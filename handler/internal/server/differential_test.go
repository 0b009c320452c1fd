package server

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/relay"
	"apimrelay/sandbox/host"
)

var (
	differentialCount = flag.Int("differential.count", 300, "random `calls` of the differential test")
	differentialSeed  = flag.Uint64("differential.seed", 1, "`seed` of the differential test")
)

// TestTheThreeWaysAreTheSame sends random calls proxied, forwarded and wrapped through the stand-in of the host. The gateway must see the same request and
// the caller get the same answer, but for the differences that docs/calls.md lists; each of these must show at least once.
func TestTheThreeWaysAreTheSame(t *testing.T) {
	d := newDifferential(t)
	known := make(map[string]bool)
	for i := range *differentialCount {
		c := randomCall(rand.New(rand.NewPCG(*differentialSeed, uint64(i))))
		first := d.fault(c)
		if first == "" {
			continue
		}
		if d.fault(c) == "" {
			t.Errorf("call %d of seed %d differed once, and not again: %s", i, *differentialSeed, first)
			continue
		}
		c = d.shrink(c)
		if text := fmt.Sprintf("%s\n%s\n%s", c.request("HOST"), c.answer, d.fault(c)); !known[text] {
			known[text] = true
			t.Errorf("call %d of seed %d, shrunk:\n%s", i, *differentialSeed, text)
		}
		if len(known) == 10 {
			break
		}
	}
	if t.Failed() || *differentialCount < 300 {
		return
	}
	page, err := os.ReadFile("../../../docs/calls.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]difference{forwardedDifferences, wrappedDifferences} {
		for _, x := range list {
			if d.shown[x.name] == 0 {
				t.Errorf("%s: no call showed it", x.name)
			}
			if !strings.Contains(strings.Join(strings.Fields(string(page)), " "), x.words) {
				t.Errorf("%s: docs/calls.md does not say %q", x.name, x.words)
			}
		}
	}
}

// A call is a caller's request and the gateway's answer to it.
type call struct {
	method  string
	path    []atom
	query   []string
	headers [][2]string
	body    string
	chunked bool
	answer  answerOf
}

// An atom is a piece of a path as it is sent, and as it arrives proxied, forwarded and wrapped (recordings P-path-*, D-path-*, A-path-*).
type atom struct{ sent, proxied, forwarded, wrapped string }

type answerOf struct {
	status  int
	headers [][2]string
	body    string
}

func (a answerOf) String() string {
	return fmt.Sprintf("answered %d %q %q", a.status, a.headers, a.body)
}

func (c call) request(hostport string) []byte {
	var b bytes.Buffer
	b.WriteString(c.method + " /api/rest/")
	for _, a := range c.path {
		b.WriteString(a.sent)
	}
	if len(c.query) > 0 {
		b.WriteString("?" + strings.Join(c.query, "&"))
	}
	fmt.Fprintf(&b, " HTTP/1.1\r\nHost: %s\r\n", hostport)
	for _, h := range c.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	switch {
	case c.chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if c.body != "" {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c.body), c.body)
		}
		b.WriteString("0\r\n\r\n")
	case c.body != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(c.body), c.body)
	default:
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// header returns the values that the caller sent under a name.
func (c call) header(name string) (values []string) {
	for _, h := range c.headers {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return values
}

// outcome is what a way makes of a call.
type outcome struct {
	Reached      bool // the gateway saw a request
	Method       string
	Path, Query  string
	Header       http.Header
	Body         string
	Status       int
	AnswerHeader http.Header
	AnswerBody   string
}

// differential is one server behind three hosts.
type differential struct {
	t     *testing.T
	rig   *rig
	ways  []*wayIn
	now   call // what the gateway answers for
	shown map[string]int
}

type wayIn struct {
	name        relay.Way
	addr        string
	conn        net.Conn
	reader      *bufio.Reader
	differences []difference
}

func newDifferential(t *testing.T) *differential {
	d := &differential{t: t, shown: make(map[string]int)}
	d.rig = newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
	d.rig.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		h := w.Header()
		h["Date"], h["Content-Type"] = nil, nil
		for _, f := range d.now.answer.headers {
			h[f[0]] = append(h[f[0]], f[1])
		}
		w.WriteHeader(d.now.answer.status)
		_, _ = io.WriteString(w, d.now.answer.body)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*wayIn{{name: relay.Proxied}, {name: relay.Forwarded, differences: forwardedDifferences}, {name: relay.Wrapped, differences: wrappedDifferences}} {
		root := t.TempDir()
		hostJSON := fmt.Sprintf(`{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":%q,"arguments":["-test.run=^TestPipeChild$"]},`+
			`"enableForwardingHttpRequest":%t,"enableProxyingHttpRequest":%t}}`, exe, w.name != relay.Wrapped, w.name == relay.Proxied)
		if err := os.MkdirAll(filepath.Join(root, "rest"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"host.json": hostJSON, "rest/function.json": restFunction} {
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		h, err := host.New(host.Config{Root: root, OpenAuth: true, Environ: []string{"PIPE_CHILD_TO=" + d.rig.server.Listener.Addr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Stop)
		w.addr = h.Addr()
		d.ways = append(d.ways, w)
	}
	return d
}

// TestPipeChild is the handler that the hosts start: it passes every byte to the server in the test's own process, and back.
func TestPipeChild(t *testing.T) {
	to := os.Getenv("PIPE_CHILD_TO")
	if to == "" {
		t.Skip("runs as the handler of the differential test")
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"))
	if err != nil {
		t.Fatal(err)
	}
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(time.Second)
		}
		os.Exit(1)
	}()
	for {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			out, err := net.Dial("tcp4", to)
			if err != nil {
				in.Close()
				return
			}
			go func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() }()
			_, _ = io.Copy(in, out)
			in.Close()
			out.Close()
		}()
	}
}

// send makes the call in one way.
func (d *differential) send(w *wayIn, c call) (outcome, error) {
	d.now = c
	d.rig.mu.Lock()
	d.rig.seen = nil
	d.rig.mu.Unlock()
	if w.conn == nil {
		conn, err := net.Dial("tcp4", w.addr)
		if err != nil {
			return outcome{}, err
		}
		w.conn, w.reader = conn, bufio.NewReader(conn)
		d.t.Cleanup(func() { conn.Close() })
	}
	_ = w.conn.SetDeadline(time.Now().Add(5 * time.Second))
	hangUp := func() { w.conn.Close(); w.conn = nil }
	if _, err := w.conn.Write(c.request("localhost:7071")); err != nil {
		hangUp()
		return outcome{}, err
	}
	res, err := http.ReadResponse(w.reader, &http.Request{Method: c.method})
	if err != nil {
		hangUp()
		return outcome{}, fmt.Errorf("reading the answer: %w", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		hangUp()
		return outcome{}, fmt.Errorf("reading the answer's body: %w", err)
	}
	if res.Close {
		hangUp()
	}
	o := outcome{Status: res.StatusCode, AnswerHeader: res.Header, AnswerBody: string(body)}
	d.rig.mu.Lock()
	defer d.rig.mu.Unlock()
	if len(d.rig.seen) > 1 {
		return o, fmt.Errorf("the gateway saw %d requests", len(d.rig.seen))
	}
	for _, s := range d.rig.seen {
		o.Reached, o.Method, o.Header, o.Body = true, s.method, s.header.Clone(), string(s.body)
		o.Path, o.Query, _ = strings.Cut(s.uri, "?")
	}
	o.settle(c)
	return o, nil
}

// settle takes out what is new in every exchange, or belongs to one connection.
func (o *outcome) settle(c call) {
	o.Header.Del("Content-Length") // the body tells
	for _, name := range []string{"Content-Length", "Connection", "Keep-Alive", "Transfer-Encoding", "X-Relay-Invocation"} {
		o.AnswerHeader.Del(name)
	}
	for _, name := range []string{"Date", "Server"} { // the host's own, where the gateway sends none
		if !slices.ContainsFunc(c.answer.headers, func(f [2]string) bool { return f[0] == name }) || !o.Reached || strings.HasPrefix(o.AnswerHeader.Get("Content-Type"), "application/problem+json") {
			o.AnswerHeader.Del(name)
		}
	}
	if strings.HasPrefix(o.AnswerHeader.Get("Content-Type"), "application/problem+json") {
		o.AnswerBody = problemCode(o.AnswerBody)
		o.AnswerHeader.Del("Cache-Control")
	}
	for name, values := range o.Header { // the host joins what callers send on several lines, when it proxies or forwards
		o.Header[name] = []string{strings.Join(values, ", ")}
	}
	if o.Header == nil {
		o.Header = http.Header{}
	}
}

func problemCode(body string) string {
	if body == "" {
		return "" // of an answer to HEAD
	}
	_, rest, _ := strings.Cut(body, `"code":"`)
	code, _, _ := strings.Cut(rest, `"`)
	return "problem " + code
}

// fault makes the call in all ways and returns what is wrong, or "".
func (d *differential) fault(c call) string {
	var base outcome
	for _, w := range d.ways {
		got, err := d.send(w, c)
		if err != nil {
			return fmt.Sprintf("%s: %v", w.name, err)
		}
		if w.name == relay.Proxied {
			base = got
			if want := "/up/" + c.arrives(func(a atom) string { return a.proxied }); got.Reached && got.Path != want {
				return fmt.Sprintf("proxied: the gateway saw %s, want %s", got.Path, want)
			}
			continue
		}
		want := base.clone()
		for _, x := range w.differences {
			before := want.clone()
			x.change(c, &want)
			if !cmp.Equal(before, want) {
				d.shown[x.name]++
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Sprintf("%s (-want, from proxied and the listed differences; +got):\n%s", w.name, diff)
		}
	}
	return ""
}

func (o outcome) clone() outcome {
	o.Header, o.AnswerHeader = o.Header.Clone(), o.AnswerHeader.Clone()
	return o
}

func (c call) arrives(spelling func(atom) string) string {
	var b strings.Builder
	for _, a := range c.path {
		b.WriteString(spelling(a))
	}
	return b.String()
}

// shrink leaves out whatever the fault does not need.
func (d *differential) shrink(c call) call {
	way, _, _ := strings.Cut(d.fault(c), " ")
	for smaller := true; smaller; {
		smaller = false
		for _, try := range c.smaller() {
			if fault := d.fault(try); strings.HasPrefix(fault, way) {
				c, smaller = try, true
				break
			}
		}
	}
	return c
}

func (c call) smaller() (all []call) {
	for i := range c.path[1:] {
		i++
		s := c
		s.path = slices.Delete(slices.Clone(c.path), i, i+1)
		all = append(all, s)
	}
	for i := range c.query {
		s := c
		s.query = slices.Delete(slices.Clone(c.query), i, i+1)
		all = append(all, s)
	}
	for i := range c.headers {
		s := c
		s.headers = slices.Delete(slices.Clone(c.headers), i, i+1)
		all = append(all, s)
	}
	for i := range c.answer.headers {
		s := c
		s.answer.headers = slices.Delete(slices.Clone(c.answer.headers), i, i+1)
		all = append(all, s)
	}
	add := func(s call, change bool) {
		if change {
			all = append(all, s)
		}
	}
	s := c
	s.body, s.chunked = "", false
	add(s, c.body != "" || c.chunked)
	s = c
	s.chunked = false
	add(s, c.chunked)
	s = c
	s.answer.body = ""
	add(s, c.answer.body != "")
	s = c
	s.answer.status = 200
	add(s, c.answer.status != 200)
	s = c
	s.method = "GET"
	add(s, c.method != "GET")
	return all
}
