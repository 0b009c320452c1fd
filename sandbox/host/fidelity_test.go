package host

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"apimrelay/internal/secret"
)

// rig is a host on a script root with the scripted handler in it.
type rig struct {
	t      *testing.T
	root   string
	dir    string
	script script
	host   *Host

	mu  sync.Mutex
	log []LogEntry
}

// write puts the script where the handler reads it.
func (r *rig) write(sc script) {
	r.t.Helper()
	sc.Out = filepath.Join(r.dir, "out.jsonl")
	text, err := json.Marshal(sc)
	if err == nil {
		if err = os.WriteFile(filepath.Join(r.dir, "next"), text, 0o644); err == nil {
			err = os.Rename(filepath.Join(r.dir, "next"), filepath.Join(r.dir, "script.json"))
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.script = sc
}

func (r *rig) file(path, text string) {
	r.t.Helper()
	path = filepath.Join(r.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func newRig(t *testing.T, hostJSON, functionJSON json.RawMessage) *rig {
	t.Helper()
	r := &rig{t: t, root: t.TempDir(), dir: t.TempDir()}
	r.file("host.json", string(hostJSON))
	functions := map[string]json.RawMessage{}
	if err := json.Unmarshal(functionJSON, &functions); err != nil {
		t.Fatal(err)
	}
	for name, text := range functions {
		r.file(name+"/function.json", string(text))
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(r.root, "handler")); err != nil {
		t.Fatal(err)
	}
	r.write(script{})
	return r
}

func (r *rig) config() Config {
	return Config{Root: r.root, FunctionKey: secret.New(testFunctionKey),
		HostKey: secret.New(testHostKey), MasterKey: secret.New(testMasterKey),
		Environ: []string{scriptVariable + "=" + filepath.Join(r.dir, "script.json"),
			"FUNCTIONS_WORKER_RUNTIME=custom", "PATH=" + os.Getenv("PATH"),
			"GOCOVERDIR=" + os.Getenv("GOCOVERDIR")},
		OnLog: func(e LogEntry) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.log = append(r.log, e)
		}}
}

func (r *rig) start(cfg Config) {
	r.t.Helper()
	h, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.host = h
	r.t.Cleanup(func() {
		h.durations.Shutdown = time.Millisecond
		h.Stop()
	})
}

func (r *rig) entries() []LogEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]LogEntry(nil), r.log...)
}

func (r *rig) clearLog() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = nil
}

// events reads the handler's notes.
func (r *rig) events() []event {
	f, err := os.Open(filepath.Join(r.dir, "out.jsonl"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []event
	dec := json.NewDecoder(f)
	for {
		var e event
		if dec.Decode(&e) != nil {
			return out
		}
		out = append(out, e)
	}
}

func (r *rig) clearEvents() { _ = os.Remove(filepath.Join(r.dir, "out.jsonl")) }

// requests are what the handler got, readiness probes left out unless wanted.
func requests(events []event, probes bool) []*received {
	var out []*received
	for _, e := range events {
		if e.Ev == "request" && (probes || e.Request.RequestLine != "GET / HTTP/1.1") {
			out = append(out, e.Request)
		}
	}
	return out
}

type clientGot struct {
	statusLine string
	headers    [][2]string
	framing    string
	body       []byte
	raw        string // all bytes, where the answer is not whole
	err        error
}

// ask sends a recorded request byte for byte and reads the answer by the framing it claims; no
// complete answer within wait is an error.
func ask(addr string, c clientRequest, wait time.Duration) *clientGot {
	got := &clientGot{framing: "none"}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		got.err = err
		return got
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait))
	var b strings.Builder
	line := c.RequestLine
	b.WriteString(latin1(placeholders.Replace(line)) + "\r\n")
	for _, h := range c.Headers {
		value := placeholders.Replace(h[1])
		if h[0] == "X-Latin1" {
			value = strings.ReplaceAll(value, "é", "\xe9")
		}
		b.WriteString(h[0] + ": " + value + "\r\n")
	}
	b.WriteString("\r\n")
	body := c.body()
	if c.chunked() {
		for _, n := range c.Chunks {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
			if len(c.Chunks) > 1 {
				_, _ = io.WriteString(conn, b.String())
				b.Reset()
				time.Sleep(20 * time.Millisecond)
			}
			body = body[n:]
		}
		b.WriteString("0\r\n\r\n")
	} else {
		b.Write(body)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		got.err = err
		return got
	}
	method, _, _ := strings.Cut(c.RequestLine, " ")
	var all strings.Builder
	got.read(bufio.NewReader(io.TeeReader(conn, &all)), method)
	got.raw = all.String()
	return got
}

// latin1 turns a request line, which the recorder wrote down as Latin-1, into its bytes.
func latin1(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > 0xff {
			b.WriteRune(r)
			continue
		}
		b.WriteByte(byte(r))
	}
	return b.String()
}

func (g *clientGot) read(r *bufio.Reader, method string) {
	line, err := r.ReadString('\n')
	for err == nil && strings.HasPrefix(line, "HTTP/1.1 100 Continue\r\n") {
		next, perr := r.Peek(2)
		if perr != nil || string(next) != "\r\n" {
			break
		}
		_, _ = r.Discard(2)
		line, err = r.ReadString('\n')
	}
	if err != nil {
		g.err = err
		return
	}
	g.statusLine = strings.TrimRight(line, "\r\n")
	length := -1
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			g.err = err
			return
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		g.headers = append(g.headers, [2]string{name, value})
		switch strings.ToLower(name) {
		case "content-length":
			length, _ = strconv.Atoi(value)
			if g.framing == "none" {
				g.framing = "content-length"
			}
		case "transfer-encoding":
			g.framing = "chunked"
		}
	}
	status := strings.Split(g.statusLine, " ")[1]
	if method == "HEAD" || status == "204" || status == "304" {
		g.framing = "none"
		return
	}
	switch g.framing {
	case "content-length":
		g.body = make([]byte, length)
		_, g.err = io.ReadFull(r, g.body)
	case "chunked":
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				g.err = err
				return
			}
			n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
			if err != nil {
				// No chunk at all: a real client goes on waiting for one.
				_, g.err = io.Copy(io.Discard, r)
				if g.err == nil {
					g.err = errors.New("ended early")
				}
				return
			}
			piece := make([]byte, n+2)
			if _, err := io.ReadFull(r, piece); err != nil {
				g.err = err
				return
			}
			g.body = append(g.body, piece[:n]...)
			if n == 0 {
				return
			}
		}
	}
}
