package downstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// exchangeWithin is a request within a conversation, and how it is sent.
type exchangeWithin struct {
	way     byte
	method  string
	framing int // of its body
	size    int
	slow    bool // it is watched when the next bytes come
	along   bool // the next request is sent before its answer is read
	joined  bool // and with the same write, where it is slow
	cut     int  // its header comes in two pieces; 0 = in one
	halves  bool // the second half of its body is sent when the answer has begun
}

// Framings.
const (
	noBody = iota
	byLength
	inChunks
	withTrailers
	theirs // an empty Expect makes the connection net/http's
	framings
)

// talkOf makes a conversation of any bytes, four for each request.
func talkOf(b []byte) (talk []exchangeWithin) {
	methods := []string{"GET", "POST", "HEAD", "PUT", "OPTIONS"}
	sizes := []int{1, 2, 3, 100, 4095, 9000, 70000}
	for q := range slices.Chunk(b, 4) {
		if len(q) < 4 || len(talk) == 8 {
			break
		}
		e := exchangeWithin{
			way: letters[int(q[0])%len(letters)], method: methods[int(q[1])%len(methods)], framing: int(q[2]) % framings, size: sizes[int(q[2]>>3)%len(sizes)],
			slow: q[3]&1 != 0, along: q[3]&2 != 0, cut: int(q[3] >> 3),
		}
		if e.way == 'i' && e.method == "HEAD" {
			e.way = 'y' // net/http passes a length that is none on
		}
		e.halves = e.way == 'd' && q[3]&4 != 0 && e.method != "HEAD" && e.framing != noBody && e.framing != theirs && e.size > 1
		if strings.IndexByte("smkcxXJ", e.way) >= 0 || e.halves {
			e.along = false // with bytes unread the network may throw the answer away, in both
		}
		if len(talk) > 0 && talk[len(talk)-1].joined {
			e.slow, e.halves = false, false
		}
		e.joined = e.slow && e.along && q[1]&128 != 0
		talk = append(talk, e)
		if strings.IndexByte("cxX", e.way) >= 0 {
			break // the handler gives up, and the connection ends, which an answer to HEAD does not show
		}
	}
	return talk
}

// text is what is sent, in two parts.
func (e *exchangeWithin) text() (head, body string) {
	path := "/quick/"
	if e.slow {
		path = "/slow/"
	}
	head = e.method + " " + path + string(e.way) + " HTTP/1.1\r\nHost: x\r\n"
	upload := strings.Repeat("GET / HTTP/1.1\r\n\r\n", 4000)[:e.size]
	switch e.framing {
	case theirs:
		head += "Expect: \r\n"
	case byLength:
		head, body = head+fmt.Sprintf("Content-Length: %d\r\n", e.size), upload
	case inChunks, withTrailers:
		head += "Transfer-Encoding: chunked\r\n"
		for len(upload) > 0 {
			n := min(len(upload), 1+e.size/3)
			body += fmt.Sprintf("%x\r\n%s\r\n", n, upload[:n])
			upload = upload[n:]
		}
		if body += "0\r\n"; e.framing == withTrailers {
			body += "X-Trailer: 1\r\n"
		}
		body += "\r\n"
	}
	return head + "\r\n", body
}

// talker is a caller who waits for answers.
type talker struct {
	*pair
	tb      testing.TB
	entered [2]chan bool
	proceed [2]chan bool
}

func newTalker(tb testing.TB) *talker {
	p := &talker{pair: newPair(tb), tb: tb}
	for i, h := range p.handlers {
		p.entered[i], p.proceed[i] = make(chan bool), make(chan bool)
		h.slow = func(w http.ResponseWriter) {
			ours, _ := w.(*response)
			if ours != nil {
				go ours.conn.late()
				waitFor(func() bool { // a body that is left unread keeps it from being watched
					ours.conn.mu.Lock()
					defer ours.conn.mu.Unlock()
					return ours.conn.watching || ours.conn.held || ours.conn.due && !ours.conn.drained
				})
			}
			p.entered[i] <- true
			if more := <-p.proceed[i]; more && ours != nil {
				waitFor(func() bool {
					ours.conn.mu.Lock()
					defer ours.conn.mu.Unlock()
					return ours.conn.held || !ours.conn.watching
				})
			}
		}
	}
	return p
}

func waitFor(ok func() bool) {
	for end := time.Now().Add(20 * time.Second); !ok() && time.Now().Before(end); time.Sleep(20 * time.Microsecond) {
	}
}

// talk has the conversation with one of the servers and returns what was answered and what the handler saw. It ends where the server ends it.
func (p *talker) talk(i int, talk []exchangeWithin) (answers, seen []string) {
	network, err := net.Dial("tcp4", p.listeners[i].Addr().String())
	if err != nil {
		p.tb.Fatal(err)
	}
	defer network.Close()
	_ = network.SetDeadline(time.Now().Add(20 * time.Second))
	c := &client{network, nil, bufio.NewReader(network)}
	if len(talk) == 0 || strings.IndexByte("cxX", talk[len(talk)-1].way) < 0 {
		talk = append(talk[:len(talk):len(talk)], exchangeWithin{way: 'k', method: "GET"})
	}
	open := []string(nil) // methods of requests that were sent
	held := false         // the last one waits to proceed
	joined := ""          // one that is sent with the next
	for _, e := range talk {
		head, body := e.text()
		rest := ""
		if e.halves {
			body, rest = body[:len(body)/2], body[len(body)/2:]
		}
		all, behind := joined+head+body, joined != ""
		if joined = ""; e.joined {
			if held {
				p.proceed[i] <- false
				held = false
			}
			joined = all
			open = append(open, e.method)
			continue
		}
		if cut := min(e.cut, len(all)); cut > 0 {
			_, _ = io.WriteString(c, all[:cut])
			all = all[cut:]
		}
		_, _ = io.WriteString(c, all)
		if held {
			p.proceed[i] <- true
		}
		held = e.slow && !e.halves
		open = append(open, e.method)
		if behind {
			if <-p.entered[i]; e.along {
				held = true
				continue
			}
			p.proceed[i] <- false
		}
		if e.along && !e.slow {
			continue
		}
		last := len(open) - 1
		for n, method := range open {
			if n == last && e.slow && !e.halves {
				break
			}
			first := ""
			if n == last {
				first = rest
			}
			said, ok := c.read(method, first, func() {
				if e.slow && n == last {
					<-p.entered[i]
					p.proceed[i] <- false
				}
			})
			if answers = append(answers, said); !ok {
				return answers, p.saw(i)
			}
		}
		open = open[last:]
		if !held {
			open = nil
			continue
		}
		<-p.entered[i]
		if e.along {
			continue
		}
		held = false
		p.proceed[i] <- false
		said, ok := c.read(e.method, "", func() {})
		if answers = append(answers, said); !ok {
			return answers, p.saw(i)
		}
		open = nil
	}
	return append(answers, "still open"), p.saw(i)
}

func (p *talker) saw(i int) []string {
	h := p.handlers[i]
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.seen
	h.seen = nil
	return seen
}

// read reads one answer, having sent the rest of the request when its header is there.
func (c *client) read(method, rest string, sent func()) (said string, ok bool) {
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	for err == nil && res.StatusCode == http.StatusEarlyHints {
		res, err = http.ReadResponse(c.in, &http.Request{Method: method})
	}
	if err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
			return "closed", false
		}
		return "no answer: " + err.Error(), false
	}
	if rest != "" {
		_, _ = io.WriteString(c, rest)
		sent()
	}
	body, err := io.ReadAll(res.Body)
	res.Header.Del("Date")
	said = fmt.Sprintf("%s %q length %d %q close %t trailer %q body %q broken %t", res.Status, fieldsOf(res.Header), res.ContentLength, res.TransferEncoding, res.Close,
		fieldsOf(res.Trailer), body, err != nil)
	return said, err == nil && !res.Close
}

func fieldsOf(h http.Header) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		all = append(all, fmt.Sprintf("%s=%q", name, h[name]))
	}
	return all
}

// A caller who waits for answers, sends the next request before it has one, or the rest of an upload when the answer has begun, sees the same as from
// net/http's server, be the requests watched or not.
func FuzzTalkSameAsNetHTTP(f *testing.F) {
	for i := range letters {
		f.Add([]byte{byte(i), 0, 0, 3, byte(i), 1, 1, 2, 18, 0, 4, 0})
		f.Add([]byte{byte(i), 128, 0, 3, 20, 0, 4, 2, byte(i), 1, 1, 2, 20, 1, 2, 3})
		f.Add([]byte{byte(i), 1, 2 + 5<<3, 7, 17, 1, 3 + 3<<3, 0xb7, 19, 2, 0, 1})
		f.Add([]byte{18, 1, 2 + 5<<3, 4, byte(i), 3, 1 + 4<<3, 3, 0, 0, 4, 3, 1, 1, 2, 1})
	}
	p := newTalker(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p.tb = t
		talk := talkOf(b)
		theirs, theySaw := p.talk(0, talk)
		ours, weSaw := p.talk(1, talk)
		if d := cmp.Diff(theirs, ours); d != "" {
			t.Errorf("answers to %+v (- net/http, + ours):\n%s", talk, d)
		}
		if d := cmp.Diff(theySaw, weSaw); d != "" {
			t.Errorf("requests of %+v (- net/http, + ours):\n%s", talk, d)
		}
	})
}
