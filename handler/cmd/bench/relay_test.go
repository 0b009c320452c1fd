//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestTexts(t *testing.T) {
	for name, size := range sizes {
		body := jsonText(size)
		if len(body) != size || !json.Valid(body) {
			t.Errorf("%s: %d bytes, want %d of JSON", name, len(body), size)
		}
	}
	repeated := text{[]byte("abc"), 8}
	for _, c := range []struct {
		bytes string
		at    int64
		want  bool
	}{{"abcabcab", 0, true}, {"cab", 2, true}, {"abcabcabc", 0, false}, {"abd", 0, false}, {"b", 7, true}, {"a", 8, false}} {
		if got := repeated.check([]byte(c.bytes), c.at); got != c.want {
			t.Errorf("%q at %d: %t, want %t", c.bytes, c.at, got, c.want)
		}
	}
}

// TestWire: the load sees every answer that is not what it should be.
func TestWire(t *testing.T) {
	for _, c := range []struct{ name, answer, fault string }{
		{"as it should be", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ""},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", ""},
		{"one byte is another", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellO", "other bytes"},
		{"too short", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", "want an answer of 5 bytes, got 4"},
		{"too long", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!", "other bytes"},
		{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "unexpected EOF"},
		{"another status", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", "want 200, got HTTP/1.1 502 Bad Gateway no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := net.Pipe()
			go func() {
				_, _ = newWire(server).readHead()
				_, _ = io.WriteString(server, c.answer)
				_ = server.Close()
			}()
			err := newWire(client).exchange(request{head: []byte("GET / HTTP/1.1\r\n\r\n")}, text{[]byte("hello"), 5})
			if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%v, want %q", err, c.fault)
			}
		})
	}
}

// TestGateway: it refuses what lacks the token or the key, or brings another body.
func TestGateway(t *testing.T) {
	g, err := startGateway(t.TempDir(), "the-token", map[string]text{"/1k": {[]byte("body"), 4}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, token, key, body string
		status                 int
	}{
		{"as it should be", "the-token", gatewayKey, "body", 200},
		{"no body", "the-token", gatewayKey, "", 200},
		{"another token", "a-token", gatewayKey, "", 418},
		{"another key", "the-token", "key", "", 418},
		{"another body", "the-token", gatewayKey, "bodY", 418},
	} {
		req, _ := http.NewRequest("POST", g.url(false)+"/1k", strings.NewReader(c.body))
		req.Header.Set("Authorization", "Bearer "+c.token)
		req.Header.Set("Ocp-Apim-Subscription-Key", c.key)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: answered %d, want %d", c.name, res.StatusCode, c.status)
		}
	}
	if n := g.refused.Load(); n != 3 {
		t.Errorf("%d refused, want 3", n)
	}
}

func TestUnwrapWantsTheBody(t *testing.T) {
	for answer, good := range map[string]bool{
		`{"Outputs":{"res":{"statusCode":200,"body":"hello"}}}`: true,
		`{"Outputs":{"res":{"statusCode":502,"body":"hello"}}}`: false,
		`{"Outputs":{"res":{"statusCode":200,"body":"hullo"}}}`: false,
		`{"Outputs":{}}`: false,
	} {
		client, server := net.Pipe()
		go func() {
			_, _ = newWire(server).readHead()
			_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.ToLower(hex(len(answer)))+"\r\n"+answer+"\r\n0\r\n\r\n")
		}()
		got, err := unwrap(newWire(client), request{head: []byte("POST / HTTP/1.1\r\n\r\n")}, text{[]byte("hello"), 5})
		if (err == nil) != good || good && string(got.block) != answer {
			t.Errorf("%s: %v", answer, err)
		}
		if errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

func hex(n int) string { return string("0123456789abcdef"[n>>4]) + string("0123456789abcdef"[n&15]) }

func TestMedianAndQuartiles(t *testing.T) {
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Errorf("median %v", m)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Errorf("median %v", m)
	}
	if low, high := quartiles([]float64{1, 2, 3, 4, 5}); low != 2 || high != 4 {
		t.Errorf("quartiles %v %v", low, high)
	}
}
