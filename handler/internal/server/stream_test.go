package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"apimrelay/handler/internal/target"
)

// A piece is what a gateway says before it waits, and what of the body the caller must have then.
type piece struct{ said, passed string }

// Whatever has arrived of an answer passes before the relay waits for more: the header at once, a
// body of known length and an event stream byte by byte, other answers in chunks chunk by chunk. Of
// those a chunk that is not whole passes when it has ended or a buffer is full, and keeps those with
// it that came in the same piece: net/http's reader of chunks does not return before.
func TestAnAnswerPassesAsItComes(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
	events := fmt.Sprintf(head+"Transfer-Encoding: chunked\r\n\r\n", "Text/Event-Stream ;charset=utf-8")
	chunked := fmt.Sprintf(head+"Transfer-Encoding: chunked\r\n\r\n", "text/plain")
	length := func(n int, typ string) string {
		return fmt.Sprintf(head+"Content-Length: %d\r\n\r\n", typ, n)
	}
	long, nine, large := strings.Repeat("l", 4000), "nine long", strings.Repeat("m", 100_000)
	for name, pieces := range map[string][]piece{
		"events, half a chunk": {{events + "5\r\nhel", "hel"}, {"lo\r\n0\r\n\r\n", "lo"}},
		"events, a chunk and half of another": {{events + "5\r\nhello\r\n6\r\n wo", "hello wo"},
			{"rld\r\n0\r\n\r\n", "rld"}},
		"events, a chunk, then halves": {{events + "5\r\nhello\r\n", "hello"}, {"6\r\n wo", " wo"},
			{"rld\r\n0\r\n\r\n", "rld"}},
		"events, many": {{events + "fa0\r\n" + long + "\r\n3\r\nab", long + "ab"}, {"c\r\n", "c"},
			{"fa0\r\n" + long + "\r\n3\r\nab", long + "ab"}, {"c\r\n0\r\n\r\n", "c"}},

		"half a chunk":               {{chunked + "5\r\nhel", ""}, {"lo\r\n0\r\n\r\n", "hello"}},
		"a chunk's size":             {{chunked + "5\r\n", ""}, {"hello\r\n0\r\n\r\n", "hello"}},
		"the header alone":           {{chunked, ""}, {"5\r\nhello\r\n0\r\n\r\n", "hello"}},
		"a chunk, and the end later": {{chunked + "5\r\nhello\r\n", "hello"}, {"0\r\n\r\n", ""}},
		"a chunk, then halves": {{chunked + "5\r\nhello\r\n", "hello"}, {"6\r\n wo", ""},
			{"rld\r\n0\r\n\r\n", " world"}},
		"a large chunk": {{chunked + "30d40\r\n" + large, large[:6*openChunk]},
			{large + "\r\n0\r\n\r\n", strings.Repeat("m", 200_000-6*openChunk)}},
		"no length and no chunks": {{"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", ""},
			{nine, nine}, {nine, nine}},

		"a length": {{length(36, "application/octet-stream") + nine, nine},
			{nine, nine}, {nine, nine}, {nine, nine}},
		"a length, text":             {{length(27, "text/plain") + nine, nine}, {nine, nine}, {nine, nine}},
		"a length, events":           {{length(27, "text/event-stream") + nine, nine}, {nine, nine}, {nine, nine}},
		"a length, the header first": {{length(18, "text/plain"), ""}, {nine, nine}, {nine, nine}},
		"a length, pieces of all sizes": {{length(12_012, "text/plain") + nine, nine}, {"a", "a"},
			{"bc", "bc"}, {long, long}, {long, long}, {long, long}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
			next := make(chan bool, len(pieces))
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			r.all[0].Target, _ = target.Parse("http://" + l.Addr().String())
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				for _, p := range pieces {
					if !<-next {
						return
					}
					_, _ = io.WriteString(c, p.said)
				}
			}()
			defer close(next) // and with it the gateway
			c := r.dial()
			next <- true
			c.send(getLine + hostLine + "\r\n")
			res, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatal("the header: ", err)
			}
			for i, p := range pieces {
				if i > 0 {
					next <- true
				}
				got := make([]byte, len(p.passed))
				if n, err := io.ReadFull(res.Body, got); err != nil || string(got) != p.passed {
					t.Fatalf("behind piece %d: %d bytes passed, %v, want %d", i, n, err, len(got))
				}
			}
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Errorf("at the end: %q, %v", rest, err)
			}
		})
	}
}

// The same on the way up, where an open chunk waits for its end.
func TestAnUploadPassesAsItComes(t *testing.T) {
	for name, pieces := range map[string][]piece{
		"a length": {{"Content-Length: 12\r\n\r\nfour", "four"}, {"five", "five"},
			{"last", "last"}},
		"a length, header first": {{"Content-Length: 8\r\n\r\n", ""}, {"five", "five"}, {"last", "last"}},
		"chunks": {{"Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n", "four"},
			{"4\r\nfive\r\n", "five"}, {"0\r\n\r\n", ""}},
		"half a chunk": {{"Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n", "four"}, {"9\r\nfi", ""},
			{"ve, lon\r\n0\r\n\r\n", "five, lon"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
			next := make(chan bool)
			r.instead(func(_ http.ResponseWriter, req *http.Request) {
				for i, p := range pieces {
					got := make([]byte, len(p.passed))
					if n, err := io.ReadFull(req.Body, got); err != nil || string(got) != p.passed {
						t.Errorf("behind piece %d: %d bytes passed, %v, want %q", i, n, err, p.passed)
					}
					next <- true
				}
			})
			c := r.dial()
			for i, p := range pieces {
				if said := p.said; i == 0 {
					c.send(postLine + hostLine + said)
				} else {
					c.send(said)
				}
				<-next
			}
			if res, _ := c.answer(); res.StatusCode != 200 {
				t.Errorf("answered %d", res.StatusCode)
			}
		})
	}
}
