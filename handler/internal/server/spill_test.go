package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"apimrelay/handler/internal/invocation"
)

// temporaryFolder is where files of large answers go from now on.
func temporaryFolder(t *testing.T, dir string) {
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, dir)
	}
}

// openBelow counts this process's open files in a folder, without a name or with one. Only Linux tells.
func openBelow(t *testing.T, dir string) (n int) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not tell which files are open")
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(target, dir+"/") {
			n++
		}
	}
	return n
}

const blobFunction = `{"bindings":[{"type":"queueTrigger","direction":"in","name":"msg","queueName":"in","connection":"AzureWebJobsStorage"},
	{"type":"blob","direction":"out","name":"copy","path":"c/{rand-guid}","connection":"AzureWebJobsStorage"}]}`

func (r *rig) spill() *invocation.Spill { return &r.handler.spill }

// call sends a wrapped GET, or the event of the function q, as the host does.
func (r *rig) call(ctx context.Context, function string) (*http.Response, []byte, error) {
	body := `{"Data":{"req":{"Url":"http://localhost/api/hello","Method":"GET","Headers":{"Host":["localhost"]}}},"Metadata":{}}`
	if function == "q" {
		body = queueMessage
	}
	req, err := http.NewRequestWithContext(ctx, "POST", r.server.URL+"/"+function, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set(invocationHeader, "915470b4-2e35-42d3-a995-1fbf45c607d9")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return res, got, err
}

const large = 3 << 20

// TestLargeAnswersLeaveNothingBehind: however a call ends, its file is gone. While the answer comes it is there, and has no name.
func TestLargeAnswersLeaveNothingBehind(t *testing.T) {
	text := spell("a \"large\" answer\n", large)
	send := func(w http.ResponseWriter, text string, hold func()) {
		half := len(text) * 2 / 3
		_, _ = io.WriteString(w, text[:half])
		hold()
		_, _ = io.WriteString(w, text[half:])
	}
	for name, c := range map[string]struct {
		function string
		answer   func(w http.ResponseWriter, hold func())
		leaves   bool
		want     func(t *testing.T, res *http.Response, body []byte, err error)
	}{
		"an answer": {"hello", func(w http.ResponseWriter, hold func()) { send(w, text, hold) }, false, func(t *testing.T, _ *http.Response, body []byte, err error) {
			var got envelopeAnswer
			if err := errors.Join(err, json.Unmarshal(body, &got)); err != nil || got.Outputs["res"].Body != text || got.Outputs["res"].StatusCode != 200 {
				t.Errorf("answered %d bytes %.200q (%v)", len(body), body, err)
			}
		}},
		"an answer of a known length": {"hello", func(w http.ResponseWriter, hold func()) {
			w.Header().Set("Content-Length", "3145728")
			send(w, text, hold)
		}, false, func(t *testing.T, _ *http.Response, body []byte, err error) {
			var got envelopeAnswer
			if err := errors.Join(err, json.Unmarshal(body, &got)); err != nil || got.Outputs["res"].Body != text {
				t.Errorf("answered %d bytes %.200q (%v)", len(body), body, err)
			}
		}},
		"a binary answer": {"hello", func(w http.ResponseWriter, hold func()) { send(w, text+"\xc3", hold) }, false, problemWanted("cannot-carry", "a body that is not UTF-8 text")},
		"several cookies": {"hello", func(w http.ResponseWriter, hold func()) {
			w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
			send(w, text, hold)
		}, false, problemWanted("cannot-carry", "Set-Cookie")},
		"too large": {"hello", func(w http.ResponseWriter, hold func()) { send(w, strings.Repeat("x", 101<<20), hold) }, false, problemWanted("cannot-carry", "more than 100 MiB")},
		"cut": {"hello", func(w http.ResponseWriter, hold func()) {
			_, _ = io.WriteString(w, text)
			hold()
			panic(http.ErrAbortHandler)
		}, false, problemWanted("gateway-unreachable", "")},
		"a caller that leaves": {"hello", func(w http.ResponseWriter, hold func()) { send(w, text, hold) }, true, func(t *testing.T, _ *http.Response, _ []byte, err error) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("want a call that was left, got %v", err)
			}
		}},
		"an event's output": {"q", func(w http.ResponseWriter, hold func()) { send(w, text+"\xff", hold) }, false, func(t *testing.T, res *http.Response, body []byte, err error) {
			var got struct{ Outputs map[string]string }
			if err := errors.Join(err, json.Unmarshal(body, &got)); err != nil || got.Outputs["copy"] != base64.StdEncoding.EncodeToString([]byte(text+"\xff")) {
				t.Errorf("answered %d bytes %.200q (%v)", len(body), body, err)
			}
		}},
		"an event whose answer breaks off": {"q", func(w http.ResponseWriter, hold func()) {
			_, _ = io.WriteString(w, text)
			hold()
			panic(http.ErrAbortHandler)
		}, false, func(t *testing.T, res *http.Response, _ []byte, err error) {
			if err != nil || res.StatusCode != 500 {
				t.Errorf("answered %v (%v), want 500", res, err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes files that nobody has closed
			dir := t.TempDir()
			r := newRig(t, bothFlags, map[string]string{"hello": helloFunction, "q": blobFunction}, nil)
			temporaryFolder(t, dir)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var during atomic.Int64
			r.answer = func(w http.ResponseWriter, req *http.Request, _ []byte) {
				c.answer(w, func() {
					_ = http.NewResponseController(w).Flush()
					for deadline := time.Now().Add(10 * time.Second); during.Load() == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
						during.Store(int64(openBelow(t, dir)))
					}
					if c.leaves {
						cancel()
						<-req.Context().Done()
					}
				})
			}
			res, body, err := r.call(ctx, c.function)
			c.want(t, res, body, err)
			if during.Load() != 1 {
				t.Errorf("%d files were open while the answer came, want one", during.Load())
			}
			r.server.Close() // waits for the exchange
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if open := openBelow(t, dir); open > 0 || err != nil || len(left) > 0 {
				t.Errorf("%d files are open, and %v is left (%v)", open, left, err)
			}
			if log := r.log.String(); strings.Contains(log, "stay in memory") || strings.Count(log, `"msg":"invocation"`) != 1 {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func problemWanted(code, title string) func(*testing.T, *http.Response, []byte, error) {
	return func(t *testing.T, _ *http.Response, body []byte, err error) {
		t.Helper()
		var got envelopeAnswer
		if err := errors.Join(err, json.Unmarshal(body, &got)); err != nil {
			t.Fatalf("%v: %.200q", err, body)
		}
		if out := got.Outputs["res"]; !strings.Contains(out.Body, `"code":"`+code+`"`) || !strings.Contains(out.Body, title) || out.Headers["Content-Type"] != "application/problem+json" {
			t.Errorf("answered %d %.200q, want %s: %s", out.StatusCode, out.Body, code, title)
		}
	}
}

// TestWithoutATemporaryFolderAnswersStayInMemory: they arrive all the same, and one line says so.
func TestWithoutATemporaryFolderAnswersStayInMemory(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	r := newRig(t, bothFlags, map[string]string{"hello": helloFunction, "q": blobFunction}, nil)
	temporaryFolder(t, missing)
	text := spell("a large answer ", large)
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) { _, _ = io.WriteString(w, text) }
	for range 2 {
		_, body, err := r.call(t.Context(), "hello")
		var got envelopeAnswer
		if err := errors.Join(err, json.Unmarshal(body, &got)); err != nil || got.Outputs["res"].Body != text {
			t.Errorf("answered %d bytes %.200q (%v)", len(body), body, err)
		}
		if res, body, err := r.call(t.Context(), "q"); err != nil || res.StatusCode != 200 || !strings.Contains(string(body), base64.StdEncoding.EncodeToString([]byte(text))) {
			t.Errorf("answered %v %d bytes (%v)", res, len(body), err)
		}
	}
	r.server.Close()
	if log := r.log.String(); strings.Count(log, `"level":"WARN"`) != 1 || !strings.Contains(log, `"msg":"large answers stay in memory","dir":"`+missing+`","error":"`) {
		t.Errorf("want one warning with the folder, got: %s", log)
	}
}

// brokenFile is a disk that takes all, and gives back so many bytes.
type brokenFile struct {
	data  []byte
	reads int
}

func (f *brokenFile) Write(p []byte) (int, error) { f.data = append(f.data, p...); return len(p), nil }
func (f *brokenFile) Close() error                { return nil }
func (f *brokenFile) ReadAt(p []byte, at int64) (int, error) {
	if int(at)+len(p) > f.reads {
		return 0, syscall.EIO
	}
	return copy(p, f.data[at:]), nil
}

// TestAnAnswerThatCannotBeReadBack is a problem while nothing of it is sent, and then an answer that breaks off.
func TestAnAnswerThatCannotBeReadBack(t *testing.T) {
	for name, c := range map[string]struct {
		function string
		reads    int
		check    func(*http.Response, []byte, error) bool
		logged   []string
	}{
		"a call's, from the beginning": {"hello", 0, func(res *http.Response, body []byte, err error) bool {
			return err == nil && res.StatusCode == 200 && strings.Contains(string(body), `\"code\":\"internal\"`)
		}, []string{`"problem":"internal"`, `"status":500`, "input/output error"}},
		"a call's, in its middle": {"hello", large / 2, func(_ *http.Response, _ []byte, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF)
		}, []string{`"problem":"answer-cut"`, "input/output error"}},
		"an event's, from the beginning": {"q", 0, func(res *http.Response, body []byte, err error) bool {
			return err == nil && res.StatusCode == 500 && len(body) > 0
		}, []string{`"level":"ERROR"`, "input/output error"}},
		"an event's, in its middle": {"q", large / 2, func(_ *http.Response, _ []byte, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF)
		}, []string{`"problem":"answer-cut"`, "input/output error"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"hello": helloFunction, "q": blobFunction}, nil)
			r.spill().Create = func() (invocation.File, error) { return &brokenFile{reads: c.reads}, nil }
			r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) { _, _ = io.WriteString(w, spell("text", large)) }
			if res, body, err := r.call(t.Context(), c.function); !c.check(res, body, err) {
				t.Errorf("answered %v, %d bytes %.200q (%v)", res, len(body), body, err)
			}
			r.server.Close()
			for _, want := range append(c.logged, "reading a large answer back from its temporary file") {
				if !strings.Contains(r.log.String(), want) {
					t.Errorf("the log has no %s: %s", want, r.log.String())
				}
			}
		})
	}
}

// TestLargeAnswersAreNotInMemory holds four answers of 10 MiB that are there but for their last byte, and looks at what the process holds then, and at what
// it has asked for meanwhile: one answer in memory would be more.
func TestLargeAnswersAreNotInMemory(t *testing.T) {
	const size, calls = 10 << 20, 4
	for name, length := range map[string]int64{"of a known length": size, "chunked": -1} {
		for _, function := range []string{"hello", "q"} {
			t.Run(function+", "+name, func(t *testing.T) {
				r := newRig(t, bothFlags, map[string]string{"hello": helloFunction, "q": blobFunction}, nil)
				var there sync.WaitGroup
				last := make(chan struct{})
				r.config.Log, r.config.Transport = nil, roundTrip(func(req *http.Request) (*http.Response, error) {
					h := http.Header{"Content-Type": {"text/plain"}}
					if length >= 0 {
						h.Set("Content-Length", "10485760")
					}
					return &http.Response{StatusCode: 200, Header: h, ContentLength: length, Request: req, Body: io.NopCloser(&heldBody{rest: size, there: there.Done, last: last})}, nil
				})
				s := fromHost(New(r.config))
				once := func(group *sync.WaitGroup) {
					group.Go(func() {
						req, _ := http.NewRequest("POST", "/"+function, strings.NewReader(map[string]string{
							"hello": `{"Data":{"req":{"Url":"http://localhost/api/hello","Method":"GET","Headers":{}}},"Metadata":{}}`, "q": queueMessage,
						}[function]))
						req.RequestURI = "/" + function
						w := &sink{header: http.Header{}}
						s.ServeHTTP(w, req)
						if w.status != 200 || w.n < size {
							t.Errorf("answered %d, %d bytes", w.status, w.n)
						}
					})
				}
				measure := func() (before, held, after runtime.MemStats) {
					last = make(chan struct{})
					runtime.GC()
					runtime.GC() // what pools have kept is gone with the second
					runtime.ReadMemStats(&before)
					var group sync.WaitGroup
					there.Add(calls)
					for range calls {
						once(&group)
					}
					there.Wait()
					runtime.GC()
					runtime.GC() // what pools have kept is gone with the second
					runtime.ReadMemStats(&held)
					close(last)
					group.Wait()
					runtime.ReadMemStats(&after)
					return before, held, after
				}
				measure() // fills the pools
				before, held, after := measure()
				if grown := int64(held.HeapAlloc) - int64(before.HeapAlloc); grown > size/2 {
					t.Errorf("%d answers of %d bytes hold %d bytes of the heap, want half of one answer at most", calls, size, grown)
				}
				if asked := after.TotalAlloc - before.TotalAlloc; asked > calls*4<<20 {
					t.Errorf("%d answers of %d bytes asked for %d bytes, want 4 MiB each at most", calls, size, asked)
				}
			})
		}
	}
}

// heldBody is a body of x that waits before its last byte.
type heldBody struct {
	rest  int
	there func()
	last  chan struct{}
}

func (b *heldBody) Read(p []byte) (int, error) {
	switch b.rest {
	case 0:
		return 0, io.EOF
	case 1:
		b.there()
		<-b.last
		p = p[:1]
	default:
		p = p[:min(len(p), b.rest-1)]
	}
	for i := range p {
		p[i] = 'x'
	}
	b.rest -= len(p)
	return len(p), nil
}
