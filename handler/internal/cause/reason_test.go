package cause

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const canary = "canary-0123456789"

// raw is a peer that answers whatever comes with the same bytes.
func raw(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
				_, _ = http.ReadRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, answer)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// Each place of an answer that net/http quotes in an error.
func TestReasonQuotesNothingThatAPeerSent(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, answer := range map[string]string{
		"no HTTP at all":              canary + "\r\n\r\n",
		"a status line of one word":   "HTTP/1.1" + canary + "\r\n\r\n",
		"a version":                   "HTTP/" + canary + " 200 OK\r\n\r\n",
		"a status that is no number":  "HTTP/1.1 " + canary + " OK\r\n\r\n",
		"a header without a colon":    ok + canary + "\r\n\r\n",
		"a continued first line":      ok + " " + canary + ": 1\r\n\r\n",
		"a length":                    ok + "Content-Length: " + canary + "\r\n\r\n",
		"two lengths":                 ok + "Content-Length: 1\r\nContent-Length: 2" + canary + "\r\n\r\n",
		"a transfer coding":           ok + "Transfer-Encoding: " + canary + "\r\n\r\n",
		"two transfer codings":        ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
		"a chunk":                     ok + "Transfer-Encoding: chunked\r\n\r\n" + canary + "\r\n",
		"a trailer":                   ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + canary + "\r\n\r\n",
		"an interim answer":           "HTTP/1.1 103 X\r\n" + canary + "\r\n\r\n",
		"an interim answer's trailer": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 " + canary + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := raw(t, answer)
			res, err := http.Get(address)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if err == nil {
				t.Fatal("net/http takes this answer: the case tests nothing")
			}
			if text := Reason(err); text == "" || strings.Contains(text, canary) || strings.ContainsAny(text, "\r\n") {
				t.Errorf("got %q of %v", text, err)
			}
		})
	}
}

func TestReasonSaysWhatAProxyRefuses(t *testing.T) {
	get := func(proxy string) error {
		u, err := url.Parse(proxy)
		if err != nil {
			t.Fatal(err)
		}
		client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u), OnProxyConnectResponse: OnProxyConnect}}
		res, err := client.Get("https://gateway.example")
		if err == nil {
			_ = res.Body.Close()
			t.Fatal("the proxy answered")
		}
		return err
	}
	for answer, want := range map[string]string{
		"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n": "opening a tunnel through the proxy: want 200, got 407",
		"HTTP/1.1 502 " + canary + "\r\n\r\n":                "opening a tunnel through the proxy: want 200, got 502",
		canary + "\r\n\r\n":                                  "malformed HTTP response",
	} {
		if got := Reason(get(raw(t, answer))); !strings.HasPrefix(got, want) || strings.Contains(got, canary) {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}

func TestReasonKeepsWhatIsOurs(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	_, refused := http.Get(closed.URL + "/?code=" + canary)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	for want, err := range map[string]error{
		"connection refused":        refused,
		"context deadline exceeded": ctx.Err(),
		"lookup gateway.example":    &url.Error{Op: "Get", URL: "https://x?" + canary, Err: &net.DNSError{Err: "no such host", Name: "gateway.example"}},
		"a peer's":                  errors.New(canary),
		"":                          nil,
	} {
		if got := Reason(err); !strings.Contains(got, want) || strings.Contains(got, canary) {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}
