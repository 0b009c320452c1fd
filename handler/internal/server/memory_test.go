package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/target"
	"apimrelay/internal/secret"
)

// spell is a text of one call's own: whatever of another call's memory gets into it shows.
func spell(unit string, size int) string {
	return strings.Repeat(unit, size/len(unit)+1)[:size]
}

// rudeGateway answers uploads at every moment that HTTP allows and some that it does not: after them, before them, in their middle, or never. What it
// reads of an upload, also long after its answer, is held against what that call sent.
type rudeGateway struct {
	listener net.Listener
	calls    map[string]*atomic.Int64 // by behaviour
	foreign  atomic.Pointer[string]
	busy     sync.WaitGroup
	conns    sync.Map
}

var rudeness = []string{"last", "first", "middle", "unavailable", "refused", "broken", "half"}

func newRudeGateway(t *testing.T) *rudeGateway {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &rudeGateway{listener: listener, calls: map[string]*atomic.Int64{}}
	for _, how := range rudeness {
		g.calls[how] = new(atomic.Int64)
	}
	g.busy.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			g.busy.Go(func() {
				defer conn.Close()
				g.conns.Store(conn, true)
				_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
				for in := bufio.NewReader(conn); g.one(conn, in); {
				}
			})
		}
	})
	return g
}

func (g *rudeGateway) close() {
	g.listener.Close()
	g.conns.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
	g.busy.Wait()
}

// one serves a request, and tells whether the connection is fit for another.
func (g *rudeGateway) one(conn net.Conn, in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	q := r.URL.Query()
	call, how := q.Get("call"), q.Get("how")
	size, _ := strconv.Atoi(q.Get("size"))
	nth := g.calls[how].Add(1)
	upload := spell(call, size)
	take := func(n int64) bool {
		b, err := io.ReadAll(io.LimitReader(r.Body, n))
		if own, ok := strings.CutPrefix(upload, string(b)); ok {
			upload = own
		} else {
			text := fmt.Sprintf("of the upload of %s there came something else in the place of %.40q", call, upload)
			g.foreign.CompareAndSwap(nil, &text)
		}
		return err == nil
	}
	answer := func(status int, text string) {
		fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", status, len(text))
		_, _ = io.WriteString(conn, text)
	}
	whole := spell("answer-to-"+call, size)
	const all = 1 << 30
	switch {
	case how == "first":
		answer(200, whole)
	case how == "middle":
		take(40 << 10)
		answer(200, whole)
	case how == "half":
		take(40 << 10)
		fmt.Fprintf(conn, "HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", size, whole[:size/2])
		take(10 << 10)
		_, _ = io.WriteString(conn, whole[size/2:])
	case how == "unavailable" && nth%2 == 1:
		take(10 << 10)
		answer(503, "busy")
	case how == "refused" && nth%2 == 1:
		answer(401, `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`)
	case how == "broken" && nth%2 == 1:
		take(10 << 10)
		return false
	default:
		ok := take(all)
		answer(200, whole)
		return ok
	}
	return take(all) // whoever was answered early goes on as long as it likes
}

// TestNoCallSeesTheMemoryOfAnother: the memory of large bodies goes from upload to answer and from call to call. Whenever the gateway answers, and whenever
// callers leave, an upload holds its caller's bytes and nothing else, and so does an answer. The race detector sees what this test does not.
func TestNoCallSeesTheMemoryOfAnother(t *testing.T) {
	gateway := newRudeGateway(t)
	t.Cleanup(gateway.close)
	r := newRig(t, `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}`, map[string]string{"large": strings.Replace(restFunction, "rest/", "large/", 1)},
		func(f *subject) {
			var err error
			if f.Target, err = target.Parse("http://" + gateway.listener.Addr().String() + "/up"); err != nil {
				t.Fatal(err)
			}
			f.Attempts = 3
			f.Credentials.Keys = relay.NewKeys(header.DefaultKey, secret.New("canary-key"), secret.New("canary-other-key"))
		})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	var answered, left atomic.Int64
	var group sync.WaitGroup
	rounds := 30
	if testing.Short() {
		rounds = 10
	}
	for n := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			for i := range rounds {
				call := fmt.Sprintf("call-%02d-%04d|", n, i)
				how := rudeness[random.IntN(len(rudeness))]
				size := 64<<10 + random.IntN(400<<10)
				url := fmt.Sprintf("http://localhost/api/large/x?call=%s&how=%s&size=%d", strings.ReplaceAll(call, "|", "%7C"), how, size)
				envelope, _ := json.Marshal(map[string]any{"Data": map[string]any{"req": struct {
					URL     string `json:"Url"`
					Method  string
					Headers map[string][]string
					Body    string
				}{url, "PUT", map[string][]string{"Content-Type": {"text/plain"}, "Content-Length": {strconv.Itoa(size)}}, spell(call, size)}}, "Metadata": map[string]any{}})
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(8) == 0 {
					time.AfterFunc(time.Duration(random.IntN(4000))*time.Microsecond, cancel) // a caller that leaves
				}
				req, err := http.NewRequestWithContext(ctx, "POST", r.server.URL+"/large", bytes.NewReader(envelope))
				if err != nil {
					t.Error(err)
				}
				res, err := transport.RoundTrip(req)
				var text []byte
				if err == nil {
					text, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				cancel()
				if errors.Is(err, context.Canceled) {
					left.Add(1)
					continue
				}
				var got envelopeAnswer
				if err == nil {
					err = json.Unmarshal(text, &got)
				}
				out := got.Outputs["res"]
				switch want := spell("answer-to-"+call, size); {
				case err != nil:
					t.Errorf("%s %s: %v", call, how, err)
				case out.StatusCode == 200 && out.Body != want:
					t.Errorf("%s %s: the answer has %d bytes, want %d, or other ones: %.60q…", call, how, len(out.Body), len(want), out.Body)
				case out.StatusCode == 200:
					answered.Add(1)
				case strings.Contains(out.Body, "|") && strings.Contains(out.Body, "call-"):
					t.Errorf("%s %s: status %d with %.60q", call, how, out.StatusCode, out.Body)
				}
			}
		})
	}
	group.Wait()
	if f := gateway.foreign.Load(); f != nil {
		t.Error(*f)
	}
	if total := int64(8 * rounds); answered.Load() < total/2 || left.Load() == 0 {
		t.Errorf("of %d calls %d were answered and %d left: too few of one to tell", total, answered.Load(), left.Load())
	}
	for how, n := range gateway.calls {
		if n.Load() == 0 {
			t.Errorf("no call was answered %s", how)
		}
	}
}
