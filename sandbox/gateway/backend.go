package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Backend is the sample backend: it answers JSON that tells what arrived, so that one sees that token and key did not. The last segments of the
// path choose something else:
//
//	…/status/418          that status, with the usual body
//	…/bytes/1000000       so many bytes
//	…/sse or …/sse/5      so many server-sent events (default 10), one each 100 ms
//	…/slow/3              after so many seconds
//	…/headers?Name=value  with these headers
func Backend() http.Handler { return http.HandlerFunc(serveSample) }

// Echo is the sample backend's answer. Values of credentials are not repeated.
type Echo struct {
	Method  string              `json:"method"`
	Path    string              `json:"path"` // escaped, as it arrived
	Query   string              `json:"query"`
	Headers map[string][]string `json:"headers"`
	// Length counts the body's bytes; Body holds it where it is text of up to 64 KiB.
	Length int64  `json:"length"`
	Body   string `json:"body,omitempty"`
}

func serveSample(w http.ResponseWriter, r *http.Request) {
	segments := split(r.URL.Path)
	last, before := "", ""
	if n := len(segments); n > 0 {
		last = segments[n-1]
		if n > 1 {
			before = segments[n-2]
		}
	}
	number, err := strconv.ParseInt(last, 10, 64)
	numbered := err == nil && number >= 0
	switch {
	case numbered && before == "status" && number >= 200 && number <= 599:
		echo(w, r, int(number))
	case numbered && before == "bytes":
		sendBytes(w, number)
	case last == "sse":
		sendEvents(w, r, 10)
	case numbered && before == "sse":
		sendEvents(w, r, number)
	case numbered && before == "slow":
		select {
		case <-time.After(time.Duration(min(number, 3600)) * time.Second):
			echo(w, r, http.StatusOK)
		case <-r.Context().Done():
		}
	case last == "headers":
		for name, values := range r.URL.Query() {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
		echo(w, r, http.StatusOK)
	default:
		echo(w, r, http.StatusOK)
	}
}

func echo(w http.ResponseWriter, r *http.Request, status int) {
	e := Echo{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Headers: map[string][]string{}}
	for name, values := range r.Header {
		e.Headers[name] = values
		if name == "Authorization" || strings.EqualFold(name, DefaultKeyHeader) {
			e.Headers[name] = []string{fmt.Sprintf("arrived here (%d bytes): the policy did not remove it", len(strings.Join(values, "")))}
		}
	}
	const most = 64 << 10
	head, err := io.ReadAll(io.LimitReader(r.Body, most))
	rest := int64(0)
	if err == nil {
		rest, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the upload broke off: there is nobody to answer
	}
	e.Length = int64(len(head)) + rest
	if rest == 0 && utf8.Valid(head) {
		e.Body = string(head)
	}
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		http.Error(w, "encoding the echo: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}

func sendBytes(w http.ResponseWriter, n int64) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	block := make([]byte, 32<<10)
	for i := range block {
		block[i] = byte('a' + i%26)
	}
	for n > 0 {
		wrote, err := w.Write(block[:min(n, int64(len(block)))])
		if err != nil {
			return
		}
		n -= int64(wrote)
	}
}

func sendEvents(w http.ResponseWriter, r *http.Request, n int64) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	control := http.NewResponseController(w)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: {\"event\":%d}\n\n", i+1, i+1); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
		if i+1 == n {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// sample runs the sample backend inside the process, over pipes: it takes no port and nobody else can reach it.
type sample struct {
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once
}

func startSample() *sample {
	s := &sample{conns: make(chan net.Conn), done: make(chan struct{}), server: &http.Server{Handler: Backend(), ReadHeaderTimeout: time.Minute}}
	go func() { _ = s.server.Serve(s) }() // ends with close
	return s
}

func (s *sample) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case s.conns <- far:
		return near, nil
	case <-s.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *sample) close() { _ = s.server.Close() }

// Accept, Close and Addr make it a net.Listener.
func (s *sample) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (s *sample) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Addr is only for show.
func (s *sample) Addr() net.Addr { return &net.UnixAddr{Name: sampleHost, Net: "pipe"} }
