package relay

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/upstream"
)

// events notes what happens to an answer on its way, in order: what is read, what is written, what is flushed.
type events struct {
	http.ResponseWriter
	seen []string
}

func (e *events) Write(p []byte) (int, error) {
	e.seen = append(e.seen, "write "+string(p))
	return e.ResponseWriter.Write(p)
}

func (e *events) FlushError() error {
	e.seen = append(e.seen, "flush")
	return nil
}

// piecemeal is a body that comes in pieces. The last comes with its end, as net/http reads chunks whose end is at hand.
type piecemeal struct {
	*events
	rest   []string
	atHand int
}

func (p *piecemeal) Read(b []byte) (int, error) {
	p.seen = append(p.seen, "read")
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[0])
	if p.rest = p.rest[1:]; len(p.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (p *piecemeal) Close() error  { return nil }
func (p *piecemeal) Buffered() int { return p.atHand }

func TestAnAnswerIsFlushedBeforeAnybodyWaits(t *testing.T) {
	for name, c := range map[string]struct {
		length      int64
		contentType string
		atHand      int
		pieces      []string
		want        []string
	}{
		"a length: when the server likes": {3, "text/plain", 0, []string{"a", "bc"}, []string{"read", "write a", "read", "write bc"}},
		"no length: the header first, then each piece but the last": {-1, "text/plain", 0, []string{"a", "b", "c"},
			[]string{"flush", "read", "write a", "flush", "read", "write b", "flush", "read", "write c"}},
		"no length, all at hand: in one piece": {-1, "text/plain", 9, []string{"abc"}, []string{"read", "write abc"}},
		"events with a length":                 {3, "text/event-stream", 0, []string{"a", "bc"}, []string{"flush", "read", "write a", "flush", "read", "write bc"}},
		"events in another spelling":           {1, "Text/Event-Stream ;charset=utf-8", 0, []string{"a"}, []string{"flush", "read", "write a"}},
		"no events":                            {1, "text/event-stream-like", 0, []string{"a"}, []string{"read", "write a"}},
	} {
		w := &events{ResponseWriter: httptest.NewRecorder()}
		b := newBench(t, "https://gateway.example/orders", func(int, *http.Request) (*http.Response, error) {
			res := answered(200, "", "Content-Type: "+c.contentType)
			res.ContentLength, res.Body = c.length, &piecemeal{events: w, rest: c.pieces, atHand: c.atHand}
			return res, nil
		})
		call := &Call{Function: b.function, Way: Proxied, Values: Values{Escaped: true}}
		req := httptest.NewRequest(http.MethodGet, "/api/orders", nil)
		b.relay.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), CallKey{}, call)))
		if diff := cmp.Diff(c.want, w.seen); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
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
	b.relay.transport.base = upstream.New(NewTransport())
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
		for range 3 { // the first comes through net/http
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
