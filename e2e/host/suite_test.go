package host_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestHost plays the suite on the host of -host, or on the stand-in.
func TestHost(t *testing.T) {
	if testing.Short() {
		t.Skip("plays a suite of calls on the built programs")
	}
	suite(t)
}

// TestFunc plays it on a program named func, where no other host is named.
func TestFunc(t *testing.T) {
	switch {
	case *hostCommand != "":
		t.Skip("another host is named")
	case testing.Short():
		t.Skip("the suite is played once")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program(t, "handler")
	content, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "func"+exeSuffix()), content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(fakeFunc, program(t, "sandbox"))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	*hostCommand = "func"
	t.Cleanup(func() { *hostCommand = "" })
	suite(t)
}

func suite(t *testing.T) {
	for _, way := range []app{
		{flags: map[string]any{}}, // as shipped: proxied where the host knows it, else forwarded
		{flags: map[string]any{"enableProxyingHttpRequest": false}},
		{flags: map[string]any{"enableProxyingHttpRequest": false,
			"enableForwardingHttpRequest": false}},
	} {
		r := start(t, way)
		t.Run(r.way, func(t *testing.T) {
			r.t = t
			r.requests()
			r.answers()
			if r.way == "proxied" {
				r.streams()
			}
			r.events()
			r.knownKeys()
			r.health()
			r.killed()
		})
		r.t = t
		r.stopNow()
	}
	t.Run("functionTimeout", func(t *testing.T) {
		r := start(t, app{timeout: "00:00:10"})
		before := r.handlers()
		a := r.get("/api/rw/slow")
		if a.status != http.StatusGatewayTimeout || a.code() != "budget-spent" ||
			a.took < 7*time.Second || a.took > 12*time.Second {
			t.Errorf("want 504 budget-spent before 10 s are over, got %d %s after %s: %s", a.status,
				a.code(), a.took, a.body)
		}
		if a := r.get("/api/rw/echo"); a.status != http.StatusOK {
			t.Errorf("the call after it: %d %s", a.status, a.body)
		}
		if after := r.handlers(); !slices.Equal(before, after) {
			t.Errorf("the host has killed the handler: %v became %v", before, after)
		}
	})
	t.Run("bad settings", func(t *testing.T) {
		r := start(t, app{without: "TargetApp"})
		r.gateway.clear() // where nobody asks for keys, the doctor has been
		if a := r.get("/api/rw/echo"); a.status != http.StatusInternalServerError ||
			a.code() != "settings" {
			t.Errorf("want 500 settings, got %d %s", a.status, a.body)
		}
		if a := r.get("/api/health"); a.status != http.StatusServiceUnavailable {
			t.Errorf("health: want 503, got %d", a.status)
		}
		if got := r.gateway.since(); len(got) != 0 {
			t.Errorf("the gateway was called: %+v", got)
		}
		if report := r.doctor(); report.OK || len(report.Checks) == 0 {
			t.Errorf("doctor finds nothing: %+v", report)
		}
	})
}

// requests are paths, queries, bodies and headers on their way to the gateway.
func (r *running) requests() {
	by := func(proxied, forwarded, wrapped string) string {
		return map[string]string{"proxied": proxied, "forwarded": forwarded,
			"wrapped": wrapped}[r.way]
	}
	for target, want := range map[string]string{
		"/api/rw/a%20b":  "/up/a%20b",
		"/api/rw/a%2Bb":  "/up/a+b",
		"/api/rw/a%2Fb":  by("/up/a%252Fb", "/up/a%2Fb", "/up/a%2Fb"),
		"/api/rw/a/../b": "/up/b",
		"/api/rw/%C3%A9?q=%C3%A9+x": by("/up/%C3%A9?q=%C3%A9+x", "/up/%C3%A9?q=%C3%A9%20x",
			"/up/%C3%A9?q=%C3%A9+x"),
		"/api/rw/x?id=1&id=2": by("/up/x?id=1&id=2", "/up/x?id=1,2", "/up/x?id=1&id=2"),
	} {
		r.gateway.clear()
		a := r.get(target)
		got := r.gateway.since()
		if a.status != http.StatusOK || len(got) != 1 || !sameURI(got[0].uri, want) {
			r.t.Errorf("GET %s: want the gateway to see %s, got %d %s, %+v", target, want, a.status,
				a.body, got)
			continue
		}
		h := got[0].header
		if many := strings.Join(h["X-Many"], ", "); many != "one, two, three" &&
			many != "one,two, three" {
			r.t.Errorf("X-Many arrived as %q", h["X-Many"])
		}
		if h["X-Functions-Key"] != nil || strings.Contains(h.Get("Authorization"),
			"of-the-caller") {
			r.t.Errorf("the caller's credentials went on: %v", h)
		}
	}
	r.gateway.clear()
	if a := r.get("/api/rw/%2e%2e%2fsecret"); a.status != http.StatusBadRequest ||
		a.code() != "bad-path" {
		r.t.Errorf("a way out of the path: want 400 bad-path, got %d %s", a.status, a.body)
	}
	if got := r.gateway.since(); len(got) != 0 {
		r.t.Errorf("it reached the gateway: %+v", got)
	}
	body := []byte(`{"n":1,"text":"é"}`)
	big := bytes.Repeat([]byte("x"), 1<<20)
	for _, c := range []struct {
		name, contentType string
		body              []byte
		chunked           bool
		refused           string // by the wrapped way
	}{
		{"JSON", "application/json", body, false, ""},
		{"a large text", "text/plain", big, false, ""},
		{"bytes", "application/octet-stream", allBytes(), false, ""},
		{"bytes of a type that the host takes for text", "image/png", allBytes(), false,
			"body-damaged"},
		{"a body in chunks", "text/plain", big, true, "body-lost"},
	} {
		r.gateway.clear()
		var content io.Reader = bytes.NewReader(c.body)
		if c.chunked {
			content = io.MultiReader(content) // of no length that a client knows
		}
		a := r.call(http.MethodPut, "/api/rw/echo", content, c.contentType)
		got := r.gateway.since()
		switch {
		case c.chunked && r.way == "forwarded": // the host cannot do it
			if a.status != http.StatusInternalServerError || len(got) != 0 {
				r.t.Errorf("PUT %s: want 500, got %d, %d calls", c.name, a.status, len(got))
			}
		case c.refused != "" && r.way == "wrapped":
			if a.code() != c.refused || len(got) != 0 {
				r.t.Errorf("PUT %s: want %s, got %d %s, %d calls", c.name, c.refused, a.status,
					a.body, len(got))
			}
		case a.status != http.StatusOK || len(got) != 1 || !bytes.Equal(got[0].body, c.body):
			r.t.Errorf("PUT %s: got %d %s, %d calls", c.name, a.status, a.body, len(got))
		}
	}
}

// sameURI compares what is escaped and what is not alike, where both mean the same in a query.
func sameURI(got, want string) bool {
	plain := strings.NewReplacer("%2C", ",", "%20", "+")
	path, query, _ := strings.Cut(got, "?")
	wantPath, wantQuery, _ := strings.Cut(want, "?")
	return path == wantPath && plain.Replace(query) == plain.Replace(wantQuery)
}

// answers are what the gateway's answers become.
func (r *running) answers() {
	for _, code := range []int{200, 201, 204, 304, 400, 404, 409, 418, 500} {
		a := r.get("/api/rw/status/" + strconv.Itoa(code))
		if a.status != code || a.header.Get("X-Backend") != "yes" || a.err != nil {
			r.t.Errorf("want %d of the backend, got %d %v %s, %v", code, a.status, a.header, a.body,
				a.err)
		}
	}
	r.gateway.clear()
	if a := r.get("/api/rw/status/503"); a.status != 503 || len(r.gateway.since()) != 3 {
		r.t.Errorf("want 503 after three tries, got %d after %d", a.status, len(r.gateway.since()))
	}
	if a := r.call(http.MethodHead, "/api/rw/echo", nil, ""); a.status != 200 || len(a.body) != 0 {
		r.t.Errorf("HEAD: got %d %s", a.status, a.body)
	}
	if a := r.get("/api/rw/large"); a.status != 200 || len(a.body) != 1<<20 || a.err != nil {
		r.t.Errorf("1 MiB: got %d, %d bytes, %v", a.status, len(a.body), a.err)
	}
	binary := r.get("/api/rw/binary")
	cookies := r.get("/api/rw/cookies")
	if r.way == "wrapped" {
		if binary.code() != "cannot-carry" || cookies.code() != "cannot-carry" {
			r.t.Errorf("what an envelope cannot carry: got %d %s, %d %s", binary.status,
				binary.code(), cookies.status, cookies.code())
		}
		return
	}
	if binary.status != 200 || !bytes.Equal(binary.body, allBytes()) {
		r.t.Errorf("bytes: got %d, %d bytes", binary.status, len(binary.body))
	}
	if !slices.Equal(cookies.header["Set-Cookie"], []string{"a=1", "b=2"}) {
		r.t.Errorf("cookies: got %q", cookies.header["Set-Cookie"])
	}
}

// streams are pieces that reach the caller before the next one is sent.
func (r *running) streams() {
	go func() { r.gateway.stream <- "data: 1\n\n" }()
	res, _ := r.send(http.MethodGet, "/api/rw/stream", nil, "")
	defer res.Body.Close()
	for n := 1; n <= 3; n++ {
		want := "data: " + strconv.Itoa(n) + "\n\n"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			r.t.Fatalf("piece %d: got %q, %v", n, got, err)
		}
		if n < 3 {
			r.gateway.stream <- "data: " + strconv.Itoa(n+1) + "\n\n"
		}
	}
	close(r.gateway.stream)
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
		r.t.Errorf("the end: got %q, %v", rest, err)
	}
}

// events are a timer and a queue's message, fired by hand through the admin API.
func (r *running) events() {
	for name, want := range map[string]struct{ method, input, body string }{
		"poll":   {http.MethodGet, "", ""},
		"orders": {http.MethodPost, `{"order":7}`, `{"order":7}`},
	} {
		r.gateway.clear()
		fire, _ := json.Marshal(map[string]string{"input": want.input})
		a := r.call(http.MethodPost, "/admin/functions/"+name, bytes.NewReader(fire),
			"application/json", r.masterK)
		if a.status != http.StatusAccepted {
			r.t.Errorf("firing %s: want 202, got %d %s", name, a.status, a.body)
			continue
		}
		r.await("the call of "+name, 20*time.Second,
			func() bool { return len(r.gateway.since()) == 1 })
		got := r.gateway.since()[0]
		if got.method != want.method || string(got.body) != want.body ||
			!strings.HasPrefix(got.header.Get("Idempotency-Key"), "event-") {
			r.t.Errorf("%s: got %s %s %q, Idempotency-Key %q", name, got.method, got.uri, got.body,
				got.header.Get("Idempotency-Key"))
		}
	}
}

// knownKeys are who may call what.
func (r *running) knownKeys() {
	if !r.keys {
		r.t.Log("the host asks for no keys: not tried")
		return
	}
	for _, c := range []struct {
		target, name, key string
		want              int
	}{
		{"/api/rw/echo", "no key", "", 401},
		{"/api/rw/echo", "a wrong key", "wrong", 401},
		{"/api/rw/echo", "the function's key", r.functionK, 200},
		{"/api/rw/echo", "the master key", r.masterK, 200},
		{"/api/doctor", "the function's key", r.functionK, 401},
		{"/api/health", "no key", "", 200},
		{"/admin/functions", "the function's key", r.functionK, 401},
		{"/admin/functions", "the master key", r.masterK, 200},
	} {
		if a := r.get(c.target, c.key); a.status != c.want {
			r.t.Errorf("%s with %s: want %d, got %d", c.target, c.name, c.want, a.status)
		}
	}
}

// report is the doctor's JSON.
type report struct {
	Version int
	OK      bool
	Checks  []struct{ ID, Status string }
}

func (r *running) doctor() report {
	r.t.Helper()
	a := r.get("/api/doctor", r.masterK)
	var out report
	if err := json.Unmarshal(a.body, &out); a.status != http.StatusOK || err != nil ||
		out.Version != 1 {
		r.t.Errorf("doctor: got %d %s, %v", a.status, a.body, err)
	}
	return out
}

func (r *running) health() {
	if a := r.get("/api/health", ""); a.status != http.StatusOK {
		r.t.Errorf("health: got %d %s", a.status, a.body)
	}
	if checks := r.doctor().Checks; !slices.ContainsFunc(checks,
		func(c struct{ ID, Status string }) bool { return c.Status == "ok" }) {
		r.t.Errorf("doctor finds nothing in order: %+v", checks)
	}
}

// killed is a handler that ends in the middle of its work: the host starts another one.
func (r *running) killed() {
	before := r.handlers()
	if before == nil {
		r.t.Log("this system does not show whose process is whose: not tried")
		return
	}
	for _, pid := range before {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	r.await("another handler", time.Minute,
		func() bool { now := r.handlers(); return len(now) > 0 && !slices.Equal(now, before) })
	r.await("an answer of it", time.Minute,
		func() bool { return r.get("/api/rw/echo").status == http.StatusOK })
}

// handlers are the processes of the script root's handler; nil where the system does not show them.
func (r *running) handlers() []int {
	commands, _ := filepath.Glob("/proc/[0-9]*/exe")
	var out []int
	for _, link := range commands {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, r.root) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}
