package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"apimrelay/sandbox/gateway"
)

// open is a gateway without key and policy before a backend.
func open(t *testing.T, c gateway.Config) (*gateway.Gateway, *httptest.Server) {
	t.Helper()
	if c.APIs == nil {
		c.APIs = []gateway.API{{Name: "api", Open: true}}
	}
	return start(t, c)
}

func backend(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestLargeBodiesPassBothWaysUnbuffered(t *testing.T) {
	const size = 64 << 20
	g, server := open(t, gateway.Config{Backend: backend(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body) // answers while it reads
	})})
	sent, got := sha256.New(), sha256.New()
	body := io.TeeReader(io.LimitReader(endless{}, size), sent)
	r, err := http.NewRequestWithContext(t.Context(), "PUT", server.URL+"/x", body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if n, err := io.Copy(got, answer.Body); err != nil || n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("want %d bytes back as they were, got %d (%v)", size, n, err)
	}
	if record := last(t, g); record.RequestBytes != size || record.ResponseBytes != size {
		t.Errorf("record: got %d and %d bytes", record.RequestBytes, record.ResponseBytes)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}

func TestEventsArriveOneByOne(t *testing.T) {
	next := make(chan string)
	_, server := open(t, gateway.Config{Backend: backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range next {
			fmt.Fprintf(w, "data: %s\n\n", event)
			_ = http.NewResponseController(w).Flush()
		}
	})})
	next2 := func(s string) { next <- s }
	go next2("1")
	r, _ := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for i, want := range []string{"data: 1", "", "data: 2", ""} {
		if i == 2 {
			go next2("2") // only after the first has arrived
		}
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("line %d: want %q, got %q (%v)", i, want, lines.Text(), lines.Err())
		}
	}
	close(next)
}

func TestABodyOfKnownLengthIsNotHeldBack(t *testing.T) {
	more := make(chan struct{})
	_, server := open(t, gateway.Config{Backend: backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "a")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "b")
	})})
	r, _ := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var first [1]byte
	if _, err := io.ReadFull(answer.Body, first[:]); err != nil || first[0] != 'a' {
		t.Fatalf("first byte: %q %v", first, err)
	}
	close(more) // only after the first byte has arrived
	if rest, err := io.ReadAll(answer.Body); err != nil || string(rest) != "b" {
		t.Errorf("rest: %q %v", rest, err)
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	_, server := open(t, gateway.Config{Backend: backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s %s", body, r.Trailer.Get("X-Up"))
		w.Header().Set("X-Sum", "5")
	})})
	r, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL, io.NopCloser(strings.NewReader("abc")))
	r.Trailer = http.Header{"X-Up": {"3"}}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || string(text) != "abc 3" || answer.Trailer.Get("X-Sum") != "5" {
		t.Errorf("want body and trailers, got %q %v (%v)", text, answer.Trailer, err)
	}
}

func TestNothingIsAddedToRequestOrAnswer(t *testing.T) {
	var got http.Header
	var host string
	_, server := open(t, gateway.Config{Backend: backend(t, func(w http.ResponseWriter, r *http.Request) {
		got, host = r.Header.Clone(), r.Host
		w.Header()["Content-Type"] = nil
		w.Header()["Date"] = nil
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		_, _ = io.WriteString(w, "<html>")
	})})
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /x HTTP/1.1\r\nHost: gw.example\r\nX-Odd: 1\r\nX-Odd: 2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=x\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	want := map[string]int{"X-Odd": 2, "X-Forwarded-For": 1, "Forwarded": 1}
	for name, values := range got {
		if len(values) != want[name] {
			t.Errorf("the backend got %s: %v", name, values)
		}
		delete(want, name)
	}
	if len(want) > 0 || strings.Contains(host, "gw.example") {
		t.Errorf("the backend lacks %v, host %s", want, host)
	}
	if _, guessed := answer.Header["Content-Type"]; guessed || len(answer.Header["Set-Cookie"]) != 2 {
		t.Errorf("answer: got %v", answer.Header)
	}
}

func TestPoliciesChangeAnswersAndTheBackendsHost(t *testing.T) {
	var host string
	document := parse(t, `<policies>
		<inbound><base /><set-header name="Host"><value>inner.example</value></set-header><rate-limit calls="1" renewal-period="60" remaining-calls-header-name="X-Left" /></inbound>
		<outbound><base /><set-header name="Server" exists-action="delete" /></outbound>
		<on-error><base /><set-header name="X-Reason"><value>limit</value></set-header></on-error></policies>`)
	g, server := start(t, gateway.Config{
		APIs: []gateway.API{{Name: "api", Policy: document}},
		Backend: backend(t, func(w http.ResponseWriter, r *http.Request) {
			host = r.Host
			w.Header().Set("Server", "secret-version")
		}),
	})
	got := send(t, "GET", server.URL, credentials(primary, ""))
	if got.status != 200 || got.header.Get("Server") != "" || got.header.Get("X-Left") != "0" || host != "inner.example" {
		t.Errorf("want the policy's changes, got %d %v, host %s", got.status, got.header, host)
	}
	got = send(t, "GET", server.URL, credentials(another, ""))
	if got.status != 429 || !regexp.MustCompile(`^{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in \d+ seconds." }$`).MatchString(got.body) ||
		got.header.Get("Retry-After") == "" || got.header.Get("X-Reason") != "limit" {
		t.Errorf("both keys share the subscription's limit: got %d %s %v", got.status, got.body, got.header)
	}
	if got := send(t, "GET", server.URL, nil); got.status != 401 || got.header.Get("X-Reason") != "limit" {
		t.Errorf("on-error runs for a missing key as well: got %d %v", got.status, got.header)
	}
	g.Reset()
	if got := send(t, "GET", server.URL, credentials(primary, "")); got.status != 200 {
		t.Errorf("after Reset: got %d", got.status)
	}
}

func TestAnswersOfThePolicyAlone(t *testing.T) {
	mock := parse(t, `<policies><inbound><return-response><set-status code="202" /><set-header name="X-Mock"><value>1</value></set-header><set-body>{"a":1}</set-body></return-response></inbound></policies>`)
	_, server := open(t, gateway.Config{APIs: []gateway.API{
		{Name: "mock", Path: "mock", Open: true, Policy: mock},
		{Name: "void", Path: "void", Open: true, Policy: parse(t, `<policies><backend /></policies>`)},
		{Name: "swap", Path: "swap", Open: true, Policy: parse(t, `<policies><outbound><return-response><set-status code="410" /><set-body>gone</set-body></return-response></outbound></policies>`)},
	}})
	got := send(t, "GET", server.URL+"/mock", nil)
	if got.status != 202 || got.body != `{"a":1}` || got.header.Get("X-Mock") != "1" {
		t.Errorf("return-response: got %+v", got)
	}
	if guessed, there := got.header["Content-Type"]; there {
		t.Errorf("the policy sets no Content-Type, got %v", guessed)
	}
	if got := send(t, "HEAD", server.URL+"/mock", nil); got.status != 202 || got.body != "" || got.header.Get("Content-Length") != "7" {
		t.Errorf("HEAD: got %+v", got)
	}
	if got := send(t, "GET", server.URL+"/void", nil); got.status != 200 || got.body != "" {
		t.Errorf("no forward-request: got %+v", got)
	}
	if got := send(t, "GET", server.URL+"/swap/bytes/1000000", nil); got.status != 410 || got.body != "gone" {
		t.Errorf("return-response in outbound: got %d, %d bytes", got.status, len(got.body))
	}
}

func TestABackendThatCannotBeReachedIs500WithAnActivityID(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + listener.Addr().String()
	listener.Close()
	release := make(chan struct{})
	defer close(release)
	slow := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	for name, row := range map[string]struct{ url, policy, reason string }{
		"nobody listens":    {dead, `<policies />`, "BackendConnectionFailure"},
		"no answer in time": {slow, `<policies><backend><forward-request timeout-ms="20" /></backend></policies>`, "Timeout"},
	} {
		g, server := open(t, gateway.Config{Backend: row.url, APIs: []gateway.API{{Name: "a", Open: true, Policy: parse(t, row.policy)}}})
		got := send(t, "GET", server.URL, nil)
		id := regexp.MustCompile(`^{ "statusCode": 500, "message": "Internal server error", "activityId": "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})" }$`).FindStringSubmatch(got.body)
		record := last(t, g)
		if got.status != 500 || id == nil || record.ID != id[1] || record.Stage != "gateway" || record.Error == nil || record.Error.Reason != row.reason {
			t.Errorf("%s: got %d %s, record %+v", name, got.status, got.body, record.Error)
		}
	}
}

func TestTheTimeoutDoesNotBoundTheBody(t *testing.T) {
	_, server := open(t, gateway.Config{APIs: []gateway.API{{Name: "a", Open: true, Policy: parse(t, `<policies><backend><forward-request timeout-ms="500" /></backend></policies>`)}}})
	if got := send(t, "GET", server.URL+"/sse/8", nil); strings.Count(got.body, "data:") != 8 {
		t.Errorf("want eight events over 700 ms, got %s", got.body)
	}
}

func TestACallerThatLeavesEndsTheBackendsRequest(t *testing.T) {
	gone := make(chan struct{})
	arrived := make(chan struct{})
	g, server := open(t, gateway.Config{Backend: backend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	})})
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	conn.Close()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Fatal("the backend's request lives on")
	}
	if record := last(t, g); record.Status != 0 || record.Error == nil || record.Error.Reason != "ClientConnectionFailure" {
		t.Errorf("record: got %d %+v", record.Status, record.Error)
	}
}

func TestTheSampleBackend(t *testing.T) {
	_, server := open(t, gateway.Config{})
	if got := send(t, "GET", server.URL+"/status/418", nil); got.status != 418 || !strings.Contains(got.body, `"/status/418"`) {
		t.Errorf("status: got %d %s", got.status, got.body)
	}
	if got := send(t, "GET", server.URL+"/bytes/100000", nil); len(got.body) != 100000 || got.header.Get("Content-Length") != "100000" {
		t.Errorf("bytes: got %d", len(got.body))
	}
	if got := send(t, "GET", server.URL+"/sse/2", nil); got.body != "id: 1\ndata: {\"event\":1}\n\nid: 2\ndata: {\"event\":2}\n\n" {
		t.Errorf("sse: got %q", got.body)
	}
	if got := send(t, "GET", server.URL+"/headers?X-A=1&Content-Type=text/plain", nil); got.header.Get("X-A") != "1" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("headers: got %v", got.header)
	}
	got := sendBody(t, "POST", server.URL+"/x", http.Header{"Authorization": {"Bearer abc"}}, strings.NewReader("hello"))
	if !strings.Contains(got.body, `"body": "hello"`) || !strings.Contains(got.body, `"length": 5`) || strings.Contains(got.body, "abc") {
		t.Errorf("echo: got %s", got.body)
	}
	sum := sha256.Sum256([]byte(send(t, "GET", server.URL+"/bytes/26", nil).body))
	want := sha256.Sum256([]byte("abcdefghijklmnopqrstuvwxyz"))
	if hex.EncodeToString(sum[:]) != hex.EncodeToString(want[:]) {
		t.Error("bytes: want the alphabet")
	}
}
