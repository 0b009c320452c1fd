package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/settings"
	"apimrelay/internal/poll"
)

// forgetful is a gateway on loopback that answers the first request of its first connection, and closes that connection without an answer when the second
// one has been written to it, as a front end does whose idle limit has just passed. Later connections answer whatever comes.
type forgetful struct {
	addr string

	mu     sync.Mutex
	bodies []string // of the requests that were answered, in order
}

func newForgetful(t *testing.T) *forgetful {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	g := &forgetful{addr: l.Addr().String()}
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.serve(c, n == 0)
		}
	}()
	return g
}

func (g *forgetful) serve(c net.Conn, first bool) {
	defer c.Close()
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil || first && n == 1 {
			return
		}
		g.mu.Lock()
		g.bodies = append(g.bodies, string(body))
		g.mu.Unlock()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
	}
}

// A connection that is gone when a request is written to it costs nobody anything where the request may be sent again. net/http does it by itself for GET
// and its kin and for what has an Idempotency-Key (net/http, Transport), with the body that the relay has kept, and that is no attempt of ours; PUT and
// DELETE take a retry.
func TestADeadConnectionTakesNoUploadWithIt(t *testing.T) {
	kept, long := strings.Repeat("k", keptBody-1), strings.Repeat("l", 1<<20)
	for name, c := range map[string]struct {
		method, body, key string
		attempts          int
		want              []string // the bodies that the gateway answered after the first request
	}{
		"a GET goes again":                                  {http.MethodGet, "", "", 1, []string{""}},
		"an upload with a key goes again":                   {http.MethodPost, kept, "k", 1, []string{kept}},
		"an upload with a key that was not kept breaks off": {http.MethodPost, long, "k", 1, nil},
		"an idempotent upload takes a retry":                {http.MethodPut, kept, "", 2, []string{kept}},
		"one that was not kept breaks off":                  {http.MethodPut, long, "", 2, nil},
		"a POST that may have arrived breaks off":           {http.MethodPost, "p", "", 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := newForgetful(t)
			b := newBench(t, "http://"+g.addr+"/orders", nil)
			b.function.Attempts = c.attempts
			b.relay = New(Options{})
			if w, _ := b.call(get(), nil); w.Code != 200 {
				t.Fatalf("the first request: %d, %v", w.Code, b.problems)
			}
			// Behind another Reader net/http sees no GetBody, as with a request that the server has read.
			req := httptest.NewRequest(c.method, "/api/orders", io.MultiReader(strings.NewReader(c.body)))
			req.ContentLength = -1 // in chunks, whose end cannot be told from a body that was cut short
			if c.body == "" {
				req.Body = http.NoBody
			}
			if c.key != "" {
				req.Header.Set("Idempotency-Key", c.key)
			}
			w, call := b.call(req, func(c *Call) { c.InvocationID = "id-2" })
			g.mu.Lock()
			defer g.mu.Unlock()
			if got := g.bodies[1:]; !slices.Equal(got, c.want) {
				t.Errorf("the gateway answered %d requests after the first, want %d with the whole body", len(got), len(c.want))
			}
			if c.want != nil {
				if call.Outcome.Attempts != c.attempts {
					t.Errorf("%d attempts, want %d", call.Outcome.Attempts, c.attempts)
				}
				if w.Code != 200 || w.Body.String() != "done" || len(b.problems) > 0 {
					t.Errorf("answer %d %q: %v", w.Code, w.Body, b.problems)
				}
				return
			}
			var gateway *GatewayError
			if len(b.problems) != 1 || !errors.As(b.problems[0], &gateway) {
				t.Errorf("want that the gateway could not be reached, got %v", b.problems)
			}
			if c.key != "" && !strings.Contains(b.problems[0].Error(), "closed amid the upload") {
				t.Errorf("want what became of the upload, got %v", b.problems[0])
			}
		})
	}
}

// deaf is a connection that falls silent as a network does: what is sent on it is taken and goes nowhere, and nothing comes back, not even an end.
type deaf struct {
	net.Conn
	silent *atomic.Bool
}

func (d *deaf) Read(p []byte) (int, error) {
	for {
		n, err := d.Conn.Read(p)
		if err != nil || !d.silent.Load() {
			return n, err
		}
	}
}

func (d *deaf) Write(p []byte) (int, error) {
	if d.silent.Load() {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

// pipes is a listener for connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// An HTTP/2 connection whose other end is gone without a word is found out by pings, within half a minute, and the call goes on another one. Without them
// it would take every call with it until its budget is spent.
func TestASilentHTTP2ConnectionIsGivenUp(t *testing.T) {
	withCertificate := httptest.NewTLSServer(nil)
	certificates := withCertificate.TLS.Certificates
	roots := withCertificate.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	withCertificate.Close()
	synctest.Test(t, func(t *testing.T) {
		var silence []*atomic.Bool
		listener := make(pipes)
		protocols := make(chan string, 10)
		srv := &http.Server{
			TLSConfig: &tls.Config{Certificates: certificates},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				protocols <- r.Proto
				_, _ = io.WriteString(w, "done")
			}),
		}
		served := make(chan error, 1)
		go func() { served <- srv.ServeTLS(listener, "", "") }()
		transport := NewTransport(nil)
		transport.Proxy = nil
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			silent := new(atomic.Bool)
			silence = append(silence, silent)
			listener <- &deaf{far, silent}
			return near, nil
		}
		b := newBench(t, "https://example.com/orders", nil)
		b.relay = New(Options{Transport: transport})
		call := func() time.Duration {
			began := time.Now()
			w, _ := b.call(get(), func(c *Call) { c.Budget = 10 * time.Minute })
			if w.Code != 200 || w.Body.String() != "done" {
				t.Fatalf("answer %d: %v", w.Code, b.problems)
			}
			if proto := <-protocols; proto != "HTTP/2.0" {
				t.Fatalf("the gateway was asked in %s", proto)
			}
			return time.Since(began)
		}
		call()
		silence[0].Store(true)
		if took := call(); took < 15*time.Second || took > 31*time.Second {
			t.Errorf("the connection was given up after %s, want 30 s: a ping after 15 s, and 15 s for its answer", took)
		}
		if took := call(); took > time.Second || len(silence) != 2 {
			t.Errorf("the next call took %s and %d connections in all, want the second one again", took, len(silence))
		}
		transport.CloseIdleConnections()
		close(listener)
		<-served
		_ = srv.Close()
	})
}

// shaking is a gateway over TLS that counts handshakes. While hold is set, a handshake does not end
// and an answer does not begin until they are let go.
type shaking struct {
	*httptest.Server
	handshakes, requests atomic.Int64
	hold                 atomic.Bool
	handshaking          chan bool // let a handshake go
	answering            chan bool // let an answer go
}

func newShaking(t *testing.T) *shaking {
	t.Helper()
	g := &shaking{handshaking: make(chan bool), answering: make(chan bool)}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.requests.Add(1)
		if g.hold.Load() {
			<-g.answering
		}
		_, _ = io.WriteString(w, "done")
	}))
	g.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		g.handshakes.Add(1)
		if g.hold.Load() {
			<-g.handshaking
		}
		return nil, nil
	}}
	g.StartTLS()
	t.Cleanup(g.Close)
	return g
}

// relayTo is a relay as it is deployed that trusts the gateway.
func (g *shaking) relayTo(t *testing.T) func() error {
	t.Helper()
	transport := NewTransport(nil)
	transport.TLSClientConfig = g.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	t.Cleanup(transport.CloseIdleConnections)
	b := newBench(t, g.URL+"/orders", nil)
	r := New(Options{Transport: transport})
	return func() error {
		answer, err := r.Do(context.Background(), &Call{
			Function: b.function, Credentials: b.credentials, Way: Forwarded, Method: http.MethodGet, Header: http.Header{},
			Budget: 20 * time.Second,
		})
		if err != nil {
			return err
		}
		defer answer.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && string(body) != "done" {
			err = fmt.Errorf("want done, got %d %q", answer.Status, body)
		}
		return err
	}
}

// A cold start shakes hands once for each connection that it uses, and the next burst finds them.
func TestOneHandshakeForEachConnection(t *testing.T) {
	g := newShaking(t)
	call := g.relayTo(t)
	for range 3 {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.handshakes.Load(); n != 1 {
		t.Errorf("three calls in a row shook hands %d times, want once", n)
	}
	const callers = 64
	for burst := range 2 {
		before := g.requests.Load()
		g.hold.Store(true)
		ended := make(chan error, callers)
		for range callers {
			go func() { ended <- call() }()
		}
		handshakes := callers - 1
		if burst > 0 {
			handshakes = 0
		}
		for range handshakes {
			g.handshaking <- true
		}
		poll.Until(t, "all calls are in hand", func() bool { return g.requests.Load() == before+callers })
		g.hold.Store(false)
		for range callers {
			g.answering <- true
		}
		for range callers {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if n := g.handshakes.Load(); n != callers {
			t.Errorf("burst %d: %d handshakes in all, want %d", burst+1, n, callers)
		}
	}
}

// A call that finds no idle connection takes what comes first: the one that it dials, or one that
// another call is done with.
func TestACallWaitsForNoDialOfItsOwn(t *testing.T) {
	g := newShaking(t)
	call := g.relayTo(t)
	if err := call(); err != nil {
		t.Fatal(err)
	}
	g.hold.Store(true)
	ended := make(chan error, 2)
	go func() { ended <- call() }()
	poll.Until(t, "the first call is in hand", func() bool { return g.requests.Load() == 2 })
	go func() { ended <- call() }()
	poll.Until(t, "the second call dials", func() bool { return g.handshakes.Load() == 2 })
	g.answering <- true // the first call's connection is free now; no handshake has ended
	if err := <-ended; err != nil {
		t.Error(err)
	}
	g.answering <- true
	if err := <-ended; err != nil {
		t.Error(err)
	}
	g.hold.Store(false)
	g.handshaking <- true
}

// A gateway with a certificate of a private authority that wants one of its callers.
func TestPrivateGateways(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%d certificates", len(r.TLS.PeerCertificates))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	der, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	own := authority + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for _, row := range []struct {
		name      string
		environ   []string
		want      int
		certainly cause.Code
	}{
		{"neither", nil, 599, cause.GatewayCertificate},
		{"the authority alone", []string{"ApimCertificateAuthority=" + authority}, 599, ""},
		{"both", []string{"ApimCertificateAuthority=" + authority, "ApimClientCertificate=" + own}, 200, ""},
	} {
		b := newBench(t, s.URL, nil)
		b.relay = New(Options{})
		a := &app.App{Functions: []*app.Function{{Name: "orders"}}}
		b.function.Trust = settings.Load(settings.Index(row.environ), a).Functions[0].Trust
		b.function.Attempts = 1
		w, _ := b.call(get(), nil)
		if w.Code != row.want || row.want == 200 && w.Body.String() != "1 certificates" {
			t.Errorf("%s: answered %d %q, %v", row.name, w.Code, w.Body, b.problems)
		}
		if row.certainly != "" && cause.OfNetwork(errors.Unwrap(b.problems[0])) != row.certainly {
			t.Errorf("%s: want the cause %s of %v", row.name, row.certainly, b.problems[0])
		}
	}
}
