package relay

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// events notes what is done with an answer and when, in order. It needs no lock: nobody may write
// while somebody flushes.
type events struct {
	http.ResponseWriter
	began time.Time
	seen  []string
}

func (e *events) note(what string) {
	e.seen = append(e.seen, fmt.Sprint(what, " at ", time.Since(e.began)))
}

func (e *events) Write(p []byte) (int, error) {
	e.note("write " + string(p))
	return e.ResponseWriter.Write(p)
}

func (e *events) FlushError() error {
	e.note("flush")
	return nil
}

// piecemeal is a body whose pieces come one after the other, each after a wait of its own. The last
// comes with the end, as net/http reads a body whose end is at hand.
type piecemeal struct {
	waits []time.Duration
	text  string
	err   error
}

func (p *piecemeal) Read(b []byte) (int, error) {
	time.Sleep(p.waits[0])
	if len(p.waits) == 1 {
		return copy(b, p.text), p.err
	}
	p.waits = p.waits[1:]
	n := copy(b, p.text[:1])
	p.text = p.text[n:]
	return n, nil
}

func (p *piecemeal) Close() error { return nil }

func TestAnAnswerIsFlushedBeforeAnybodyWaits(t *testing.T) {
	const us, s = time.Microsecond, time.Second // at hand, or not
	for name, c := range map[string]struct {
		waits []time.Duration
		err   error
		want  []string
	}{
		"all at hand": {[]time.Duration{us, us, us}, io.EOF,
			[]string{"write a at 1µs", "write b at 2µs", "write c at 3µs"}},
		"the header": {[]time.Duration{s}, io.EOF, []string{"flush at 1ms", "write abc at 1s"}},
		"the header, and what follows": {[]time.Duration{s, us, us}, io.EOF,
			[]string{"flush at 1ms", "write a at 1s", "write b at 1.000001s", "write c at 1.000002s"}},
		"each piece": {[]time.Duration{0, s, s}, io.EOF,
			[]string{"write a at 0s", "flush at 1ms", "write b at 1s", "flush at 1.001s", "write c at 2s"}},
		"two pieces together": {[]time.Duration{0, us, s}, io.EOF,
			[]string{"write a at 0s", "write b at 1µs", "flush at 1.001ms", "write c at 1.000001s"}},
		"what comes before a cut": {[]time.Duration{0, s}, io.ErrUnexpectedEOF,
			[]string{"write a at 0s", "flush at 1ms", "write bc at 1s"}},
		"once in a long wait": {[]time.Duration{0, time.Hour}, io.EOF,
			[]string{"write a at 0s", "flush at 1ms", "write bc at 1h0m0s"}},
	} {
		for _, length := range []int64{3, -1} {
			synctest.Test(t, func(t *testing.T) {
				w := &events{ResponseWriter: httptest.NewRecorder(), began: time.Now()}
				b := newBench(t, "https://gateway.example/orders", func(int, *http.Request) (*http.Response, error) {
					res := answered(200, "")
					res.ContentLength, res.Body = length, &piecemeal{c.waits, "abc", c.err}
					return res, nil
				})
				call := &Call{Function: b.function, Way: Proxied, Values: Values{Escaped: true}}
				req := httptest.NewRequest(http.MethodGet, "/api/orders", nil)
				b.relay.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), CallKey{}, call)))
				if diff := cmp.Diff(c.want, w.seen); diff != "" {
					t.Errorf("%s, length %d:\n%s", name, length, diff)
				}
				seen := len(w.seen)
				if time.Sleep(time.Minute); len(w.seen) > seen {
					t.Errorf("%s: flushed when the call was over", name)
				}
			})
		}
	}
}

func TestWhatBelongsToOneConnectionEndsThere(t *testing.T) {
	b := newBench(t, "https://gateway.example/orders", func(int, *http.Request) (*http.Response, error) {
		return answered(200, "ok", "Connection: close, X-Hop", "Connection: x-other", "X-Hop: 1", "X-Other: 1", "Keep-Alive: timeout=5",
			"Proxy-Authenticate: Basic", "Upgrade: h2c", "Trailer: X", "Te: x", "X-End: 1"), nil
	})
	req := httptest.NewRequest(http.MethodGet, "/api/orders", nil)
	req.Header = http.Header{"Connection": {"X-Hop, keep-alive", "x-other"}, "X-Hop": {"1"}, "X-Other": {"1"}, "X-End": {"1"}}
	w, _ := b.call(req, nil)
	if diff := cmp.Diff(http.Header{"X-End": {"1"}, "Content-Type": nil, "Date": nil}, w.Header()); diff != "" {
		t.Errorf("the answer's header:\n%s", diff)
	}
	sent := b.gateway.requests(t, 1)[0].header.Clone()
	sent.Del("Authorization")
	sent.Del(DefaultKeyHeader)
	if diff := cmp.Diff(http.Header{"X-End": {"1"}, "User-Agent": {""}}, sent); diff != "" {
		t.Errorf("the request's header:\n%s", diff)
	}
	if len(req.Header) != 4 {
		t.Errorf("the caller's own header was changed: %v", req.Header)
	}
}

func TestAnUploadIsNotReadWhenTheExchangeIsOver(t *testing.T) {
	var kept io.Reader
	b := newBench(t, "https://gateway.example/orders", nil)
	b.relay.transport.base = roundTrip(func(r *http.Request) (*http.Response, error) {
		kept = r.Body // net/http's transport may go on reading while it has the answer already
		res := answered(200, "early")
		res.Request = r
		return res, nil
	})
	source := &counting{Reader: strings.NewReader("an upload")}
	req := httptest.NewRequest(http.MethodPost, "/api/orders", source)
	req.ContentLength = -1
	b.call(req, nil)
	if n, err := kept.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("want an error, got %d bytes and %v", n, err)
	}
	if source.reads != 0 {
		t.Errorf("want nothing read from the caller, got %d reads", source.reads)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type counting struct {
	io.Reader
	reads int
}

func (c *counting) Read(p []byte) (int, error) {
	c.reads++
	return c.Reader.Read(p)
}

func TestTrailersPassWhetherTheyWereAnnouncedOrNot(t *testing.T) {
	var head atomic.Pointer[string]
	gateway := rawGateway(t, func(c net.Conn) { _, _ = io.WriteString(c, *head.Load()+"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n") })
	b := newBench(t, "http://"+gateway+"/orders", nil)
	b.relay.transport.base = NewTransport()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := &Call{Function: b.function, Way: Proxied, Values: Values{Escaped: true}}
		b.relay.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), CallKey{}, call)))
	}))
	defer s.Close()
	for name, text := range map[string]string{
		"announced":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
		"not announced": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		head.Store(&text)
		for range 3 {
			res, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if string(body) != "ok" || err != nil || res.Trailer.Get("X-Sum") != "7" {
				t.Errorf("%s: want ok and X-Sum: 7, got %q, %v, %v", name, body, res.Trailer, err)
			}
		}
	}
}

// rawGateway takes requests without a body, and has each answered by answer. It returns its address.
func rawGateway(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					answer(c)
				}
			}()
		}
	}()
	return l.Addr().String()
}
