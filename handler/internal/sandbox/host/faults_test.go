package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The three ways in, by the flags of customHandler.
var ways = []struct{ name, flags string }{
	{"wrapped", ""},
	{"forwarded", `,"enableForwardingHttpRequest":true`},
	{"proxied", `,"enableProxyingHttpRequest":true`},
}

var longText = strings.Repeat("fault ", 500)

// answering is a handler that counts its calls and answers longText, in the way that it is called. hold, unless nil, comes first.
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
	_ = json.NewEncoder(w).Encode(map[string]any{"Outputs": map[string]any{"res": map[string]any{"body": longText}}})
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
func call(ctx context.Context, h *Host, path string) (status int, header http.Header, body string, err error) {
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
				check func(status int, header http.Header, body string, err error, took time.Duration) bool
			}{
				{"reset instead of an answer", Fault{Name: FaultReset}, 1, func(status int, _ http.Header, _ string, err error, _ time.Duration) bool {
					return status == 0 && isReset(err)
				}},
				{"reset in the body", Fault{Name: FaultResetInBody}, 1, func(status int, _ http.Header, body string, err error, _ time.Duration) bool {
					return status == 200 && err != nil && len(body) < len(longText) && strings.HasPrefix(longText, body)
				}},
				{"garbage", Fault{Name: FaultGarbage}, 1, func(_ int, _ http.Header, _ string, err error, _ time.Duration) bool {
					return err != nil && strings.Contains(err.Error(), "malformed HTTP")
				}},
				{"429 with Retry-After", Fault{Name: FaultStatus, Status: 429, RetryAfter: "7"}, 0, func(status int, header http.Header, body string, err error, _ time.Duration) bool {
					return status == 429 && header.Get("Retry-After") == "7" && header.Get("X-FUNCTION-SCALEOUT") == "1" && body == "" && err == nil
				}},
				{"503", Fault{Name: FaultStatus, Status: 503}, 0, func(status int, header http.Header, body string, err error, _ time.Duration) bool {
					return status == 503 && header["Retry-After"] == nil && body == "Function host is not running." && err == nil
				}},
				{"latency", Fault{Name: FaultLatency, On: ToCaller, DelayMS: 80}, 1, func(status int, _ http.Header, body string, err error, took time.Duration) bool {
					return status == 200 && body == longText && err == nil && took >= 80*time.Millisecond
				}},
			} {
				t.Run(tc.name, func(t *testing.T) {
					handler.calls.Store(0)
					tc.fault.Times = 1
					mustSet(t, h, tc.fault)
					began := time.Now()
					status, header, body, err := call(t.Context(), h, "/api/hello")
					if !tc.check(status, header, body, err, time.Since(began)) {
						t.Errorf("status %d, header %v, %d bytes, %v", status, header, len(body), err)
					}
					if got := handler.calls.Load(); got != tc.calls {
						t.Errorf("the handler was called %d times, want %d", got, tc.calls)
					}
					if on := h.Faults(); len(on) > 0 {
						t.Errorf("once is over, and yet on: %v", on)
					}
					if status, _, body, err := call(t.Context(), h, "/api/hello"); status != 200 || body != longText || err != nil {
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
						if status, _, body, err := call(t.Context(), h, "/api/hello"); status != 200 || body != longText || err != nil {
							t.Errorf("status %d, %v", status, err)
						}
					})
				}
				until(t, "two calls that hang", func() bool { return len(h.Faults()) == 0 && len(h.History()) == 2 })
				if got := handler.calls.Load(); side == ToHandler && got != 0 {
					t.Errorf("the handler was called %d times", got)
				}
				for _, inv := range h.History() {
					if !slices.Equal(inv.Faults, []string{"hang on the " + side + "'s side"}) || side == ToHandler && inv.Status != Running {
						t.Errorf("history: %+v", inv)
					}
				}
				mustSet(t, h, Fault{Name: FaultReset, Function: "other"}) // another fault frees nothing
				if status, _, _, err := call(t.Context(), h, "/api/hello"); status != 200 || err != nil {
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
				return ask(h.Addr(), askText("POST /api/hello\n\nthe body of the request"), 10*time.Second)
			}
			t.Run("latency", func(t *testing.T) {
				mustSet(t, h, Fault{Name: FaultLatency, DelayMS: 80, Times: 1})
				began := time.Now()
				if got := post(); got.statusLine != "HTTP/1.1 200 OK" || time.Since(began) < 80*time.Millisecond {
					t.Errorf("%q after %s, %v", got.statusLine, time.Since(began), got.err)
				}
			})
			for _, name := range []string{FaultGarbage, FaultResetInBody} {
				t.Run(name, func(t *testing.T) {
					handler.calls.Store(0)
					bodies.Clear()
					mustSet(t, h, Fault{Name: name, On: ToHandler, Times: 1})
					got := post()
					if handler.calls.Load() > 0 { // the head had arrived, so the body must be at fault
						until(t, "the handler's reading", func() bool { _, ok := bodies.Load(int32(1)); return ok })
						if err, _ := bodies.Load(int32(1)); err == nil {
							t.Error("the handler read a whole body")
						}
					}
					if name == FaultGarbage && handler.calls.Load() == 0 {
						t.Error("the handler never saw the head")
					}
					if name == FaultResetInBody && !strings.HasPrefix(got.statusLine, "HTTP/1.1 500") {
						t.Errorf("the caller got %q, %v", got.statusLine, got.err)
					}
					if got := post(); got.statusLine != "HTTP/1.1 200 OK" {
						t.Errorf("the next call: %q, %v", got.statusLine, got.err)
					}
				})
			}
			t.Run("the host gives up on a handler that works", func(t *testing.T) {
				mustSet(t, h, Fault{Name: FaultReset, On: ToHandler, Function: "HELLO", DelayMS: 30, Times: 1})
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
				if last.Status != Failed || !strings.Contains(last.Error, "A task was canceled.") || !slices.Equal(last.Faults, []string{"reset on the handler's side"}) {
					t.Errorf("history: %+v", last)
				}
			})
		})
	}
}

func TestAKilledHandlerFailsItsCallAndCounts(t *testing.T) {
	g := newRig(t, hostJSONOf(""), json.RawMessage(helloFunction))
	g.write(script{Answered: answer{Default: &answer{Status: 200, Delay: 20}, Probe: &answer{Status: 200}}})
	g.start(g.config())
	mustSet(t, g.host, Fault{Name: FaultKill, DelayMS: 20})
	for i := range maxErrors {
		until(t, "the handler", func() bool {
			return len(kindsOf(g.events(), "start")) == i+1 && len(requests(g.events(), true)) == 2*i+1
		})
		if got := ask(g.host.Addr(), askText("POST /api/hello\n\nx"), 10*time.Second); got.statusLine != "HTTP/1.1 500 Internal Server Error" {
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
	if status, _, _, err := call(t.Context(), h, "/api/other"); status != 200 || err != nil || len(h.Faults()) > 0 {
		t.Errorf("cleared: status %d, %v, on %v", status, err, h.Faults())
	}
}

func TestFaultsThatMakeNoSenseAreRefused(t *testing.T) {
	h := inProcess(t, "", twoFunctions, nil, &answering{}).host
	for want, f := range map[string]Fault{
		"want one of latency, hang":                       {Name: "latensy"},
		"delay_ms is 0: want more than 0":                 {Name: FaultLatency},
		"delay_ms is 5: want none":                        {Name: FaultHang, DelayMS: 5},
		"delay_ms is -1: want 0 or more":                  {Name: FaultKill, DelayMS: -1},
		`on is "callr": want caller or handler`:           {Name: FaultReset, On: "callr"},
		`on is "handler": want caller`:                    {Name: FaultStatus, On: ToHandler, Status: 500},
		`on is "caller": want nothing`:                    {Name: FaultMissedTick, On: ToCaller, DelayMS: 1},
		"status is 0: want 200 to 599":                    {Name: FaultStatus},
		"belong to the fault status":                      {Name: FaultHang, RetryAfter: "1"},
		"retry_after is no header value":                  {Name: FaultStatus, Status: 503, RetryAfter: "1\r\nX: y"},
		"times is -1: want 0 or more":                     {Name: FaultHang, Times: -1},
		`function is "nobody": want one of hello, other`:  {Name: FaultHang, Function: "nobody"},
		"delay_ms is 0: want how far":                     {Name: FaultClockSkew},
		"want neither times nor function":                 {Name: FaultClockSkew, DelayMS: 1, Times: 1},
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

func TestAHeldCallDoesNotHoldTheStop(t *testing.T) {
	for _, side := range []string{ToHandler, ToCaller} {
		t.Run(side, func(t *testing.T) {
			h := inProcess(t, "", twoFunctions, nil, &answering{}).host
			mustSet(t, h, Fault{Name: FaultHang, On: side})
			ended := make(chan struct{})
			go func() {
				_, _, _, _ = call(t.Context(), h, "/api/hello")
				close(ended)
			}()
			until(t, "the call", func() bool { return len(h.History()) == 1 && h.History()[0].Faults != nil })
			began := time.Now()
			h.Stop()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the stop took %s", took)
			}
			<-ended
		})
	}
}

func TestARestartLetsHeldCallsFail(t *testing.T) {
	h := inProcess(t, "", twoFunctions, nil, &answering{}).host
	mustSet(t, h, Fault{Name: FaultHang, Times: 1})
	result := make(chan int, 1)
	go func() {
		status, _, _, _ := call(t.Context(), h, "/api/hello")
		result <- status
	}()
	until(t, "the call", func() bool { return len(h.Faults()) == 0 })
	h.Restart()
	select {
	case status := <-result:
		if status != 500 {
			t.Errorf("the held call got %d, want 500", status)
		}
	case <-time.After(5 * time.Second): // before functionTimeout
		t.Error("the restart left the held call")
	}
	if status, _, _, err := call(t.Context(), h, "/api/hello"); status != 200 || err != nil {
		t.Errorf("after the restart: %d, %v", status, err)
	}
}

func TestASkewedClockShowsInDateAndTimers(t *testing.T) {
	const app = `{"tick":{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 0 0 1 1 *"}]},` +
		`"hello":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]}}`
	h := inProcess(t, "", app, nil, &answering{}).host
	ahead := func() time.Duration {
		_, header, _, err := call(t.Context(), h, "/api/hello")
		at, perr := http.ParseTime(header.Get("Date"))
		if err != nil || perr != nil {
			t.Fatal(err, perr)
		}
		return time.Until(at).Round(time.Hour)
	}
	mustSet(t, h, Fault{Name: FaultClockSkew, DelayMS: int(2 * time.Hour / time.Millisecond)})
	if got := ahead(); got != 2*time.Hour {
		t.Errorf("Date is %s ahead, want 2h", got)
	}
	mustSet(t, h, Fault{Name: FaultClockSkew, DelayMS: -int(3 * time.Hour / time.Millisecond)})
	if got := ahead(); got != -3*time.Hour {
		t.Errorf("Date is %s ahead, want -3h", got)
	}
	if last := h.History()[1]; time.Since(last.Started) > time.Minute {
		t.Errorf("the history follows the skewed clock: %s", last.Started)
	}
	h.ClearFault(FaultClockSkew)
	if got := ahead(); got != 0 {
		t.Errorf("Date is %s ahead, want none", got)
	}
}

func TestAMissedTickComesPastDue(t *testing.T) {
	const app = `{"tick":{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 * * * * *"}]}}`
	ticks := make(chan string, 10)
	h := inProcess(t, "", app, func(c *Config) {
		c.Start, c.Speed = time.Date(2026, 11, 23, 16, 10, 59, 0, time.UTC), 20
	}, &answering{hold: func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ticks <- string(body)
	}}).host
	mustSet(t, h, Fault{Name: FaultMissedTick, Function: "tick", DelayMS: 50, Times: 1})
	for i, due := range []string{"true", "false"} {
		select {
		case body := <-ticks:
			if !strings.Contains(body, `IsPastDue\":`+due) && !strings.Contains(body, `"IsPastDue":`+due) {
				t.Errorf("tick %d: want IsPastDue %s in %s", i, due, body)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("tick %d did not come", i)
		}
	}
	first := h.History()[0]
	if !strings.Contains(first.Details, "IsPastDue, OriginalSchedule: 2026-11-23T16:11:00") || first.Started.Before(time.Date(2026, 11, 23, 16, 11, 0, 0, time.UTC)) {
		t.Errorf("history: %+v", first)
	}
}

func TestRotatedKeysTakeTheOldOnesPlace(t *testing.T) {
	const app = `{"fkey":{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"function"},{"type":"http","direction":"out","name":"res"}]}}`
	h := inProcess(t, "", app, nil, &answering{}).host
	for name, old := range map[string]string{KeyFunction: testFunctionKey, KeyHost: testHostKey, KeyMaster: testMasterKey} {
		fresh, err := h.RotateKey(name)
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]int{old: 401, fresh.Reveal(): 200} {
			if status, _, _, err := call(t.Context(), h, "/api/fkey?code="+key); status != want || err != nil {
				t.Errorf("%s: status %d, want %d, %v", name, status, want, err)
			}
		}
	}
	if _, err := h.RotateKey("system"); err == nil || !strings.Contains(err.Error(), "want function, host or master") {
		t.Errorf("got %v", err)
	}
}

func TestStopWaitsForNoPause(t *testing.T) {
	const app = `{
		"retry":{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 0 0 1 1 *"}],"retry":{"strategy":"fixedDelay","maxRetryCount":5,"delayInterval":"00:10:00"}},
		"queue":{"bindings":[{"type":"queueTrigger","direction":"in","name":"m","queueName":"q","connection":"c"}]}
	}`
	for name, wantLog := range map[string]string{"retry": "Invocation cancelled - exiting retry loop.", "queue": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, json.RawMessage(`{"version":"2.0","extensions":{"queues":{"visibilityTimeout":"00:10:00"}},"customHandler":{"description":{"defaultExecutablePath":"handler"}}}`), json.RawMessage(app))
			r.write(script{Answered: answer{Default: &answer{Status: 500}, Probe: &answer{Status: 200}}})
			r.start(r.config())
			fired, err := r.host.Fire(name, Event{Input: ptr("x")})
			if err != nil {
				t.Fatal(err)
			}
			until(t, "the first failure", func() bool { h := r.host.History(); return len(h) == 1 && h[0].Status == Failed })
			began := time.Now()
			r.host.Stop()
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("the stop took %s", took)
			}
			if fired.Err() == nil {
				t.Error("the run succeeded")
			}
			found := wantLog == ""
			for _, e := range r.entries() {
				found = found || e.Text == wantLog && e.Level == Warning
			}
			if !found {
				t.Errorf("no line %q in the log", wantLog)
			}
		})
	}
}

func TestAHurriedStopCutsWhatRuns(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	h := inProcess(t, "", twoFunctions, nil, &answering{hold: func(http.ResponseWriter, *http.Request) { <-release }}).host
	result := make(chan error, 1)
	go func() {
		_, _, _, err := call(t.Context(), h, "/api/hello")
		result <- err
	}()
	until(t, "the call", func() bool { return len(h.History()) == 1 })
	h.Hurry()
	began := time.Now()
	h.Stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if err := <-result; !isReset(err) {
		t.Errorf("the caller got %v, want a reset", err)
	}
}

func TestAMessageOutlivesTheInside(t *testing.T) {
	const app = `{"queue":{"bindings":[{"type":"queueTrigger","direction":"in","name":"m","queueName":"q","connection":"c"}]}}`
	r := newRig(t, json.RawMessage(`{"version":"2.0","extensions":{"queues":{"maxDequeueCount":3}},"customHandler":{"description":{"defaultExecutablePath":"handler"}}}`), json.RawMessage(app))
	r.write(script{Answered: answer{Default: &answer{Status: 200, Delay: 30}, Probe: &answer{Status: 200}}})
	r.start(r.config())
	fired, err := r.host.Fire("queue", Event{Input: ptr("x")})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the delivery", func() bool { return len(requests(r.events(), false)) == 1 })
	r.write(script{Answered: wrappedAnswer("{}")})
	r.host.Restart()
	if err := fired.Err(); err != nil {
		t.Error(err)
	}
	h := r.host.History()
	if len(h) != 2 || h[0].Status != Failed || h[1].Status != Succeeded || !strings.Contains(h[1].Details, "DequeueCount: 2") || h[0].ID == h[1].ID {
		t.Errorf("history: %+v", h)
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
						{Name: FaultLatency, DelayMS: 3}, {Name: FaultHang, Times: 2}, {Name: FaultHang, On: ToCaller, Times: 1}, {Name: FaultReset, Times: 3},
						{Name: FaultReset, On: ToHandler, DelayMS: 1}, {Name: FaultResetInBody}, {Name: FaultResetInBody, On: ToHandler}, {Name: FaultGarbage},
						{Name: FaultGarbage, On: ToHandler}, {Name: FaultStatus, Status: 503}, {Name: FaultClockSkew, DelayMS: 1000 * (n + 1)},
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
			if status, _, body, err := call(t.Context(), h, "/api/hello"); status != 200 || body != longText || err != nil {
				t.Errorf("after all: status %d, %d bytes, %v", status, len(body), err)
			}
		})
	}
}

func TestTheHostListensOnLoopbackOnly(t *testing.T) {
	r := newRig(t, hostJSONOf(""), json.RawMessage(helloFunction))
	cfg := r.config()
	cfg.Addr = "0.0.0.0:0"
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err == nil || !strings.Contains(err.Error(), "loopback only") {
		t.Errorf("got %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg.Addr = taken.Addr().String()
	if h, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", fmt.Sprint(err))
	}
}
