package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// held is a connection whose writes wait until they are let go together: what is said by several records arrives in one piece.
type held struct {
	net.Conn
	hold bool
	kept []byte
}

func (h *held) Write(p []byte) (int, error) {
	if !h.hold {
		return h.Conn.Write(p)
	}
	h.kept = append(h.kept, p...)
	return len(p), nil
}

func (h *held) letGo() {
	h.hold = false
	_ = h.SetWriteDeadline(time.Time{}) // crypto/tls forbids writes after close_notify
	_, _ = h.Conn.Write(h.kept)
	h.kept = nil
}

// secureGateway answers over TLS. Each request of a connection is answered by answer, whose records arrive in one piece; false ends the connection, when
// the other side has.
func secureGateway(t *testing.T, version uint16, answer func(n int, c *tls.Conn, path string) bool) (tr *Transport, url string, connections *atomic.Int64) {
	known := httptest.NewUnstartedServer(http.NotFoundHandler()) // lends its certificate
	known.StartTLS()
	t.Cleanup(known.Close)
	config := known.TLS.Clone()
	config.NextProtos, config.MinVersion, config.MaxVersion = []string{"http/1.1"}, version, version
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	connections = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer c.Close()
				h := &held{Conn: c}
				secure := tls.Server(h, config)
				in := bufio.NewReader(secure)
				for n := 1; ; n++ {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					h.hold = true
					open := answer(n, secure, req.URL.Path)
					h.letGo()
					if !open {
						_, _ = io.Copy(io.Discard, c)
						return
					}
				}
			}()
		}
	}()
	base := known.Client().Transport.(*http.Transport).Clone()
	base.DisableCompression, base.MaxIdleConnsPerHost, base.IdleConnTimeout = true, 64, time.Minute
	base.TLSClientConfig.NextProtos = nil
	tr = New(base)
	url = "https://" + l.Addr().String()
	get(t, tr, request(t, "GET", url+"/first", ""), 200, "/first")
	base.CloseIdleConnections()
	connections.Store(0)
	return tr, url, connections
}

func answering(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// What came with an answer is in the hands of TLS, where the socket does not show it.
func TestWhatCameWithAnAnswerOverTLSIsNoAnswerToTheNextRequest(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, url, connections := secureGateway(t, version, func(_ int, c *tls.Conn, path string) bool {
				_, _ = io.WriteString(c, answering(path))
				if path != "/first" {
					_, _ = io.WriteString(c, answering("smuggled"))
				}
				return true
			})
			for _, path := range []string{"/1", "/2", "/3"} {
				get(t, tr, request(t, "GET", url+path, ""), 200, path)
			}
			if n := connections.Load(); n != 3 {
				t.Errorf("want 3 connections, got %d", n)
			}
		})
	}
}

func TestAConnectionOnWhichTheGatewayHasBegunToSpeakOverTLSIsNotUsed(t *testing.T) {
	t.Parallel()
	for _, seen := range []int{1, 5, 6, 30} { // of the record
		tr, url, connections := secureGateway(t, tls.VersionTLS13, func(_ int, c *tls.Conn, path string) bool {
			h := c.NetConn().(*held)
			_, _ = io.WriteString(c, answering(path))
			if path == "/first" {
				return true
			}
			begun := len(h.kept) + seen
			_, _ = io.WriteString(c, answering("smuggled"))
			_, _ = h.Conn.Write(h.kept[:begun])
			h.kept = nil
			h.hold = false
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				t.Errorf("%d bytes seen: want no request, got one for %s", seen, req.URL.Path)
			}
			return false
		})
		for _, path := range []string{"/1", "/2", "/3"} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			get(t, tr, request(t, "GET", url+path, "").WithContext(ctx), 200, path)
			cancel()
		}
		if n := connections.Load(); n != 3 {
			t.Errorf("%d bytes seen: want 3 connections, got %d", seen, n)
		}
	}
}

func TestAConnectionWhoseEndCameWithAnAnswerOverTLSIsNotUsed(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, url, connections := secureGateway(t, version, func(_ int, c *tls.Conn, path string) bool {
				_, _ = io.WriteString(c, answering(path))
				if path == "/first" {
					return true
				}
				_ = c.CloseWrite()
				return false
			})
			for _, path := range []string{"/1", "/2", "/3"} {
				get(t, tr, request(t, "POST", url+path, "body"), 200, path)
			}
			if n := connections.Load(); n != 3 {
				t.Errorf("want 3 connections, got %d", n)
			}
		})
	}
}

// net/http adds to its settings when they are first used, while another gateway's pool is made. The race detector sees it.
func TestTwoGatewaysAreFirstSpokenToAtTheSameTime(t *testing.T) {
	t.Parallel()
	for range 10 {
		tr := New(&http.Transport{ForceAttemptHTTP2: true})
		var all sync.WaitGroup
		for _, name := range []string{"a", "b", "c", "d"} {
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				req := request(t, "GET", "https://"+name+".example", "").WithContext(ctx)
				if res, err := tr.RoundTrip(req); err == nil {
					_ = res.Body.Close()
					t.Error("want an error, got none")
				}
			})
		}
		all.Wait()
	}
}

func TestAGatewayThatNoLongerSpeaksAsItDidIsAskedAnew(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(hello.SupportedProtos, "h2") { // crypto/tls itself falls back
			return nil, errors.New("HTTP/2 only")
		}
		return nil, nil
	}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	base := s.Client().Transport.(*http.Transport).Clone()
	base.ForceAttemptHTTP2 = true
	tr := New(base)
	u, _ := url.Parse(s.URL)
	tr.pools.Of(origin{u.Scheme, u.Host}, func(origin) *pool { return newPool(base, tr.secure, u) }).open.Store(true)
	if res, err := tr.RoundTrip(request(t, "GET", s.URL, "")); err == nil {
		_ = res.Body.Close()
		t.Error("want an error, got none: the gateway took what it does not speak")
	}
	get(t, tr, request(t, "GET", s.URL, ""), 200, "HTTP/2.0")
}

func TestAHandshakeThatDoesNotEndIsGivenUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPool(&http.Transport{TLSHandshakeTimeout: 10 * time.Millisecond}, nil, &url.URL{Scheme: "https", Host: l.Addr().String()})
	if c, err := p.take(t.Context()); err != errNoHandshake {
		t.Errorf("want %v, got %v, %v", errNoHandshake, c, err)
	}
}

func TestACallThatIsOverIsNotSent(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(_ int, c net.Conn, _ string) bool { return say(c, ok) })
	tr := newTransport(t, g)
	get(t, tr, request(t, "GET", g.url("/1"), ""), 200, "ok")
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	cancel(over)
	for range 100 {
		if res, err := tr.RoundTrip(request(t, "POST", g.url("/2"), "body").WithContext(ctx)); err != over {
			t.Fatalf("want %v, got %v, %v", over, res, err)
		}
	}
	get(t, tr, request(t, "GET", g.url("/3"), ""), 200, "ok")
	if requests, connections, _ := g.counts(); requests != 2 || connections != 1 {
		t.Errorf("want 2 requests on one connection, got %d on %d", requests, connections)
	}
}
