package host

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

// The three ways in, by the flags of customHandler.
var ways = []struct{ name, flags string }{
	{"wrapped", ""},
	{"forwarded", `,"enableForwardingHttpRequest":true`},
	{"proxied", `,"enableProxyingHttpRequest":true`},
}

var longText = strings.Repeat("fault ", 500)

// answering is a handler that counts its calls and answers longText, in the way that it is called.
// hold, unless nil, comes first.
type answering struct {
	calls atomic.Int32
	hold  func(w http.ResponseWriter, r *http.Request)
}

func (a *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		return
	}
	a.calls.Add(1)
	if a.hold != nil {
		a.hold(w, r)
	}
	if strings.HasPrefix(r.URL.Path, "/api/") {
		_, _ = io.WriteString(w, longText)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(
		map[string]any{"Outputs": map[string]any{"res": map[string]any{"body": longText}}})
}

const twoFunctions = `{
	"hello":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]},
	"other":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]}
}`

func mustSet(t *testing.T, h *Host, f Fault) {
	t.Helper()
	if err := h.SetFault(f); err != nil {
		t.Fatal(err)
	}
}

// call is a caller of its own connection.
func call(ctx context.Context, h *Host, path string) (status int, header http.Header, body string,
	err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+h.Addr()+path, nil)
	if err != nil {
		return 0, nil, "", err
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(text), err
}

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) }

func TestFaultsOfTheCallersSide(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			handler := &answering{}
			h := inProcess(t, way.flags, twoFunctions, nil, handler).host
			for _, tc := range []struct {
				name  string
				fault Fault
				calls int32 // of the handler
				check func(status int, header http.Header, body string, err error,
					took time.Duration) bool
			}{
				{"reset instead of an answer", Fault{Name: FaultReset}, 1,
					func(status int, _ http.Header, _ string, err error, _ time.Duration) bool {
						return status == 0 && isReset(err)
					}},
				{"reset in the body", Fault{Name: FaultResetInBody}, 1,
					func(status int, _ http.Header, body string, err error, _ time.Duration) bool {
						return status == 200 && err != nil && len(body) < len(longText) &&
							strings.HasPrefix(longText, body)
					}},
				{"garbage", Fault{Name: FaultGarbage}, 1, func(_ int, _ http.Header, _ string,
					err error, _ time.Duration) bool {
					return err != nil && strings.Contains(err.Error(), "malformed HTTP")
				}},
				{"429 with Retry-After", Fault{Name: FaultStatus, Status: 429, RetryAfter: "7"}, 0,
					func(status int, header http.Header, body string, err error,
						_ time.Duration) bool {
						return status == 429 && header.Get("Retry-After") == "7" &&
							header.Get("X-FUNCTION-SCALEOUT") == "1" && body == "" && err == nil
					}},
				{"503", Fault{Name: FaultStatus, Status: 503}, 0,
					func(status int, header http.Header, body string, err error,
						_ time.Duration) bool {
						return status == 503 && header["Retry-After"] == nil &&
							body == "Function host is not running." && err == nil
					}},
				{"latency", Fault{Name: FaultLatency, On: ToCaller, DelayMS: 80}, 1,
					func(status int, _ http.Header, body string, err error,
						took time.Duration) bool {
						return status == 200 && body == longText && err == nil &&
							took >= 80*time.Millisecond
					}},
			} {
				t.Run(tc.name, func(t *testing.T) {
					handler.calls.Store(0)
					tc.fault.Times = 1
					mustSet(t, h, tc.fault)
					began := time.Now()
					status, header, body, err := call(t.Context(), h, "/api/hello")
					if !tc.check(status, header, body, err, time.Since(began)) {
						t.Errorf("status %d, header %v, %d bytes, %v", status, header, len(body),
							err)
					}
					if got := handler.calls.Load(); got != tc.calls {
						t.Errorf("the handler was called %d times, want %d", got, tc.calls)
					}
					if on := h.Faults(); len(on) > 0 {
						t.Errorf("once is over, and yet on: %v", on)
					}
					if status, _, body, err := call(t.Context(), h, "/api/hello"); status != 200 ||
						body != longText || err != nil {
						t.Errorf("the next call: status %d, %v", status, err)
					}
				})
			}
		})
	}
}

func TestCallsThatHangGoOnOnceTheFaultIsCleared(t *testing.T) {
	for _, way := range ways {
		for _, side := range []string{ToHandler, ToCaller} {
			t.Run(way.name+" on the "+side+"'s side", func(t *testing.T) {
				handler := &answering{}
				h := inProcess(t, way.flags, twoFunctions, nil, handler).host
				mustSet(t, h, Fault{Name: FaultHang, On: side, Times: 2})
				var calls sync.WaitGroup
				for range 2 {
					calls.Go(func() {
						if status, _, body,
							err := call(t.Context(), h, "/api/hello"); status != 200 ||
							body != longText || err != nil {
							t.Errorf("status %d, %v", status, err)
						}
					})
				}
				poll.Until(t, "two calls that hang",
					func() bool { return len(h.Faults()) == 0 && len(h.History()) == 2 })
				if got := handler.calls.Load(); side == ToHandler && got != 0 {
					t.Errorf("the handler was called %d times", got)
				}
				for _, inv := range h.History() {
					if !slices.Equal(inv.Faults, []string{"hang on the " + side + "'s side"}) ||
						side == ToHandler && inv.Status != Running {
						t.Errorf("history: %+v", inv)
					}
				}
				// another fault frees nothing
				mustSet(t, h, Fault{Name: FaultReset, Function: "other"})
				if status, _, _, err := call(t.Context(), h, "/api/hello"); status != 200 ||
					err != nil {
					t.Errorf("a third call: status %d, %v", status, err)
				}
				h.ClearFault(FaultHang)
				calls.Wait()
				if on := h.Faults(); len(on) != 1 || on[0].Name != FaultReset {
					t.Errorf("on: %v", on)
				}
			})
		}
	}
}

func TestFaultsOfTheHandlersSide(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			var bodies sync.Map // what reading the body came to, by call
			gone := make(chan struct{}, 10)
			var waits atomic.Bool
			handler := &answering{}
			handler.hold = func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				bodies.Store(handler.calls.Load(), err)
				if waits.Load() {
					<-r.Context().Done()
					gone <- struct{}{}
				}
			}
			h := inProcess(t, way.flags, twoFunctions, nil, handler).host
			post := func() *clientGot {
				return ask(h.Addr(), askText("POST /api/hello\n\nthe body of the request"),
					10*time.Second)
			}
			t.Run("latency", func(t *testing.T) {
				mustSet(t, h, Fault{Name: FaultLatency, DelayMS: 80, Times: 1})
				began := time.Now()
				if got := post(); got.statusLine != "HTTP/1.1 200 OK" ||
					time.Since(began) < 80*time.Millisecond {
					t.Errorf("%q after %s, %v", got.statusLine, time.Since(began), got.err)
				}
			})
			for _, name := range []string{FaultGarbage, FaultResetInBody} {
				t.Run(name, func(t *testing.T) {
					handler.calls.Store(0)
					bodies.Clear()
					mustSet(t, h, Fault{Name: name, On: ToHandler, Times: 1})
					got := post()
					// the head had arrived, so the body must be at fault
					if handler.calls.Load() > 0 {
						poll.Until(t, "the handler's reading",
							func() bool { _, ok := bodies.Load(int32(1)); return ok })
						if err, _ := bodies.Load(int32(1)); err == nil {
							t.Error("the handler read a whole body")
						}
					}
					if name == FaultGarbage && handler.calls.Load() == 0 {
						t.Error("the handler never saw the head")
					}
					if name == FaultResetInBody && !strings.HasPrefix(got.statusLine,
						"HTTP/1.1 500") {
						t.Errorf("the caller got %q, %v", got.statusLine, got.err)
					}
					if got := post(); got.statusLine != "HTTP/1.1 200 OK" {
						t.Errorf("the next call: %q, %v", got.statusLine, got.err)
					}
				})
			}
			t.Run("the host gives up on a handler that works", func(t *testing.T) {
				mustSet(t, h, Fault{Name: FaultReset, On: ToHandler, Function: "HELLO", DelayMS: 30,
					Times: 1})
				waits.Store(true)
				status, _, _, err := call(t.Context(), h, "/api/hello")
				if status != 500 || err != nil {
					t.Errorf("the caller got %d, %v", status, err)
				}
				select {
				case <-gone:
				case <-time.After(10 * time.Second):
					t.Error("the handler was not told")
				}
				last := h.History()[len(h.History())-1]
				if last.Status != Failed || !strings.Contains(last.Error, "A task was canceled.") ||
					!slices.Equal(last.Faults, []string{"reset on the handler's side"}) {
					t.Errorf("history: %+v", last)
				}
			})
		})
	}
}

func TestAKilledHandlerFailsItsCallAndCounts(t *testing.T) {
	g := newRig(t, hostJSONOf(""), json.RawMessage(helloFunction))
	g.write(script{Answered: answer{Default: &answer{Status: 200, Delay: 20},
		Probe: &answer{Status: 200}}})
	g.start(g.config())
	mustSet(t, g.host, Fault{Name: FaultKill, DelayMS: 20})
	for i := range maxErrors {
		poll.Until(t, "the handler", func() bool {
			return len(kindsOf(g.events(), "start")) == i+1 &&
				len(requests(g.events(), true)) == 2*i+1
		})
		if got := ask(g.host.Addr(), askText("POST /api/hello\n\nx"),
			10*time.Second); got.statusLine != "HTTP/1.1 500 Internal Server Error" {
			t.Errorf("call %d: %q, %v", i, got.statusLine, got.err)
		}
	}
	select {
	case <-g.host.Done():
	case <-time.After(10 * time.Second):
		t.Error("the host lives on after the third kill")
	}
}

func TestAFaultForOneFunctionLeavesTheOthersAlone(t *testing.T) {
	h := inProcess(t, "", twoFunctions, nil, &answering{}).host
	mustSet(t, h, Fault{Name: FaultStatus, Status: 503})
	mustSet(t, h, Fault{Name: FaultStatus, Status: 418, Function: "Other"})
	for path, want := range map[string]int{"/api/hello": 503, "/api/other": 418} {
		if status, _, _, err := call(t.Context(), h, path); status != want || err != nil {
			t.Errorf("%s: status %d, %v", path, status, err)
		}
	}
	h.ClearFault("")
	if status, _, _, err := call(t.Context(), h, "/api/other"); status != 200 || err != nil ||
		len(h.Faults()) > 0 {
		t.Errorf("cleared: status %d, %v, on %v", status, err, h.Faults())
	}
}

func TestFaultsThatMakeNoSenseAreRefused(t *testing.T) {
	h := inProcess(t, "", twoFunctions, nil, &answering{}).host
	for want, f := range map[string]Fault{
		"want one of latency, hang":             {Name: "latensy"},
		"delay_ms is 0: want more than 0":       {Name: FaultLatency},
		"delay_ms is 5: want none":              {Name: FaultHang, DelayMS: 5},
		"delay_ms is -1: want 0 or more":        {Name: FaultKill, DelayMS: -1},
		`on is "callr": want caller or handler`: {Name: FaultReset, On: "callr"},
		`on is "handler": want caller`: {Name: FaultStatus, On: ToHandler,
			Status: 500},
		`on is "caller": want nothing`: {Name: FaultMissedTick, On: ToCaller,
			DelayMS: 1},
		"status is 0: want 200 to 599": {Name: FaultStatus},
		"belong to the fault status":   {Name: FaultHang, RetryAfter: "1"},
		"retry_after is no header value": {Name: FaultStatus, Status: 503,
			RetryAfter: "1\r\nX: y"},
		"times is -1: want 0 or more":                    {Name: FaultHang, Times: -1},
		`function is "nobody": want one of hello, other`: {Name: FaultHang, Function: "nobody"},
		"delay_ms is 0: want how far":                    {Name: FaultClockSkew},
		"want neither times nor function": {Name: FaultClockSkew, DelayMS: 1,
			Times: 1},
		"setting the fault reset of host: delay_ms is 20": {Name: FaultReset, DelayMS: 20},
	} {
		if err := h.SetFault(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %s", f, err, want)
		}
	}
	if on := h.Faults(); len(on) > 0 {
		t.Errorf("on: %v", on)
	}
}

func TestRotatedKeysTakeTheOldOnesPlace(t *testing.T) {
	const app = `{"fkey":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"function"},{"type":"http","direction":"out","name":"res"}]}}`
	h := inProcess(t, "", app, nil, &answering{}).host
	for name, old := range map[string]string{KeyFunction: testFunctionKey, KeyHost: testHostKey,
		KeyMaster: testMasterKey} {
		fresh, err := h.RotateKey(name)
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]int{old: 401, fresh.Reveal(): 200} {
			if status, _, _, err := call(t.Context(), h, "/api/fkey?code="+key); status != want ||
				err != nil {
				t.Errorf("%s: status %d, want %d, %v", name, status, want, err)
			}
		}
	}
	if _, err := h.RotateKey("system"); err == nil || !strings.Contains(err.Error(),
		"want function, host or master") {
		t.Errorf("got %v", err)
	}
}

// TestFaultsFlipUnderLoad is for the race detector.
func TestFaultsFlipUnderLoad(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			h := inProcess(t, way.flags, twoFunctions, nil, &answering{}).host
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			var all sync.WaitGroup
			for i := range 6 {
				all.Go(func() {
					for ctx.Err() == nil {
						_, _, _, _ = call(ctx, h, []string{"/api/hello", "/api/other"}[i%2])
					}
				})
			}
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					for _, f := range []Fault{
						{Name: FaultLatency, DelayMS: 3}, {Name: FaultHang, Times: 2},
						{Name: FaultHang, On: ToCaller, Times: 1}, {Name: FaultReset, Times: 3},
						{Name: FaultReset, On: ToHandler, DelayMS: 1}, {Name: FaultResetInBody},
						{Name: FaultResetInBody, On: ToHandler}, {Name: FaultGarbage},
						{Name: FaultGarbage, On: ToHandler}, {Name: FaultStatus, Status: 503},
						{Name: FaultClockSkew, DelayMS: 1000 * (n + 1)},
					} {
						if err := h.SetFault(f); err != nil {
							t.Error(err)
						}
						_ = h.Faults()
						_ = h.History()
						time.Sleep(time.Millisecond)
					}
					h.ClearFault("")
				}
			})
			all.Wait()
			h.ClearFault("")
			if status, _, body, err := call(t.Context(), h, "/api/hello"); status != 200 ||
				body != longText || err != nil {
				t.Errorf("after all: status %d, %d bytes, %v", status, len(body), err)
			}
		})
	}
}
