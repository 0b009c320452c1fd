package downstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mixed reads uploads as the relay's transport does, in a goroutine that may outlive the exchange, answers at any moment, and says whose bytes it saw. Each
// upload is one letter, which the request's path ends with.
type mixed struct {
	t    *testing.T
	read sync.WaitGroup
}

func (h *mixed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	letter := r.URL.Path[len(r.URL.Path)-1]
	q := r.URL.Query()
	whole := make(chan bool, 1)
	upload := r.Body
	read := func() {
		piece := make([]byte, 1000)
		for {
			n, err := upload.Read(piece)
			if len(bytes.Trim(piece[:n], string(letter))) > 0 {
				h.t.Errorf("the upload of %q holds %.100q", letter, piece[:n])
			}
			if err != nil {
				whole <- err == io.EOF
				return
			}
		}
	}
	duplex := q.Has("duplex")
	if duplex {
		_ = http.NewResponseController(w).EnableFullDuplex()
		h.read.Go(read)
	} else if q.Has("read") {
		read()
	}
	if q.Has("slow") { // longer than it takes to be watched
		select {
		case <-time.After(watchAfter + 5*time.Millisecond):
		case <-r.Context().Done():
		}
	}
	if duplex && q.Has("read") {
		<-whole
	}
	size, _ := strconv.Atoi(q.Get("size"))
	if q.Has("panic") {
		_, _ = w.Write(bytes.Repeat([]byte{letter}, size/2))
		panic(http.ErrAbortHandler)
	}
	for left := size; left > 0; left -= 700 {
		if _, err := w.Write(bytes.Repeat([]byte{letter}, min(left, 700))); err != nil {
			return
		}
		if q.Has("flush") {
			w.(http.Flusher).Flush()
		}
	}
}

// Callers of all kinds, some of whom leave at any point: nobody gets a byte of another's, and nothing stays behind.
func TestCallersOfEveryKind(t *testing.T) {
	h := &mixed{t: t}
	before, files := runtime.NumGoroutine(), descriptors()
	s := serve(t, h.ServeHTTP)
	var all sync.WaitGroup
	var answered, left atomic.Int64
	for caller := range 16 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(caller), 1))
			for range 60 {
				done, gone := converse(t, s.addr, random)
				answered.Add(done)
				left.Add(gone)
			}
		})
	}
	all.Wait()
	h.read.Wait()
	if answered.Load() < 500 || left.Load() < 100 {
		t.Errorf("%d answers, %d callers who left: the test says little", answered.Load(), left.Load())
	}
	until(t, "all connections are gone", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0
	})
	_ = s.Close()
	until(t, "all goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+2 })
	until(t, "all descriptors are closed", func() bool { return descriptors() <= files+2 })
}

// converse sends requests on one connection until something ends it.
func converse(t *testing.T, addr string, random *rand.Rand) (answered, left int64) {
	network, err := net.Dial("tcp4", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer network.Close()
	_ = network.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(network)
	theirs := false
	for range 1 + random.IntN(12) {
		letter := byte('a' + random.IntN(26))
		size, upload := random.IntN(6000), random.IntN(3)*random.IntN(5000)
		target := fmt.Sprintf("/%c?size=%d", letter, size)
		ends := false
		for _, what := range []string{"duplex", "read", "slow", "flush", "panic"} {
			if random.IntN(4) == 0 && (what != "panic" || random.IntN(4) == 0) {
				target += "&" + what
				ends = ends || what == "panic"
			}
		}
		var b strings.Builder
		fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: x\r\n", target)
		if random.IntN(30) == 0 {
			theirs = true
			b.WriteString("Expect: \r\n") // net/http's from here
		}
		if theirs && strings.Contains(target, "duplex") {
			return // with a handler that leaves an upload, net/http panics
		}
		if random.IntN(2) == 0 {
			fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", upload, strings.Repeat(string(letter), upload))
		} else {
			b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
			for n := upload; n > 0; n -= 333 {
				fmt.Fprintf(&b, "%x\r\n%s\r\n", min(n, 333), strings.Repeat(string(letter), min(n, 333)))
			}
			b.WriteString("0\r\n\r\n")
		}
		text := b.String()
		cut := random.IntN(len(text))
		_, _ = io.WriteString(network, text[:cut])
		if random.IntN(8) == 0 {
			if random.IntN(2) == 0 {
				_ = network.(*net.TCPConn).SetLinger(0)
			}
			return answered, 1
		}
		_, _ = io.WriteString(network, text[cut:])
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			if isTimeout(err) {
				t.Errorf("%s: no answer: %v", target, err)
			}
			return
		}
		body, err := io.ReadAll(res.Body)
		if strings.Trim(string(body), string(letter)) != "" || err == nil && !ends && len(body) != size || isTimeout(err) {
			t.Errorf("%s: answered %d bytes: %.100q, %v", target, len(body), body, err)
		}
		if err != nil || res.Close {
			return
		}
		answered++
	}
	return
}

// The server ends amid calls, just accepted connections and such as are being given to net/http: none stays open.
func TestEndsAmidCalls(t *testing.T) {
	before, files := runtime.NumGoroutine(), descriptors()
	for round := range 60 {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		var callers sync.WaitGroup
		var calls atomic.Int64
		for caller := range 6 {
			callers.Go(func() {
				for {
					c, err := net.Dial("tcp4", s.addr)
					if err != nil {
						return
					}
					_ = c.SetDeadline(time.Now().Add(20 * time.Second))
					in := bufio.NewReader(c)
					request := "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
					if caller%2 == 0 {
						request = "POST /a HTTP/1.1\r\nHost: x\r\nExpect: \r\nContent-Length: 3\r\n\r\nabc"
					}
					for range 3 {
						if _, err = io.WriteString(c, request); err != nil {
							break
						}
						var res *http.Response
						if res, err = http.ReadResponse(in, nil); err != nil {
							break
						}
						if _, err = io.Copy(io.Discard, res.Body); err != nil {
							break
						}
						calls.Add(1)
					}
					if isTimeout(err) {
						t.Errorf("round %d: a connection stays open: %v", round, err)
					}
					_ = c.Close()
				}
			})
		}
		for calls.Load() < int64(round) {
			runtime.Gosched()
		}
		if round%2 == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			if err := s.Shutdown(ctx); err != nil {
				t.Errorf("round %d: Shutdown: %v", round, err)
			}
			cancel()
		} else if err := s.Close(); err != nil {
			t.Errorf("round %d: Close: %v", round, err)
		}
		callers.Wait()
		if err := <-s.ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("round %d: Serve: %v", round, err)
		}
	}
	until(t, "all goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+2 })
	until(t, "all descriptors are closed", func() bool { return descriptors() <= files+2 })
}
