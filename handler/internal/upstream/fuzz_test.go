package upstream

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzSameAsNetHTTP has a gateway say any bytes and hang up: what is read of them is what net/http reads.
func FuzzSameAsNetHTTP(f *testing.F) {
	for _, answer := range []string{
		ok, ok + ok, untilTheEnd, "", "HTTP/1.1", "SSH-2.0-x\r\n", "HTTP/1.1 204 No Content\r\n\r\nx", "HTTP/1.0 200\r\n\r\nok", "HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2;a=b\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\nX: a\n\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
	} {
		f.Add("GET", answer)
		f.Add("HEAD", answer)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	var answer atomic.Pointer[string]
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				head, seen := make([]byte, 4<<10), 0
				for !strings.HasSuffix(string(head[:seen]), "\r\n\r\n") {
					n, err := c.Read(head[seen:])
					if err != nil {
						return
					}
					seen += n
				}
				_, _ = io.WriteString(c, *answer.Load())
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	base := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: -1}
	u, err := url.Parse("http://" + l.Addr().String() + "/x")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, said string) {
		if method != "GET" && method != "HEAD" || strings.Contains(said, " 101") {
			t.Skip("101 is no answer for the relay, and net/http makes a connection of it")
		}
		answer.Store(&said)
		direct := New(base)
		direct.pools.Of(origin{u.Scheme, u.Host}, func(origin) *pool { return newPool(base, nil, u) }).open.Store(true)
		if diff := cmp.Diff(read(base, method, u), read(direct, method, u)); diff != "" {
			t.Errorf("net/http (-) and upstream (+):\n%s", diff)
		}
	})
}

// outcome is what a caller sees of an exchange.
type outcome struct {
	Failed, Broken bool // before the answer, within its body
	Status         string
	Header         http.Header
	Body           string
	Trailer        http.Header
	Length         int64
	Encoding       []string
}

func read(tr http.RoundTripper, method string, u *url.URL) outcome {
	res, err := tr.RoundTrip(&http.Request{Method: method, URL: u, Header: http.Header{}})
	if err != nil {
		return outcome{Failed: true}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return outcome{false, err != nil, res.Proto + " " + res.Status, res.Header, string(body), res.Trailer, res.ContentLength, res.TransferEncoding}
}
