package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

func TestStopWaitsForNoPause(t *testing.T) {
	const app = `{
		"retry":{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 0 0 1 1 *"}],"retry":{"strategy":"fixedDelay","maxRetryCount":5,"delayInterval":"00:10:00"}},
		"queue":{"bindings":[{"type":"queueTrigger","direction":"in","name":"m","queueName":"q","connection":"c"}]}
	}`
	for name, wantLog := range map[string]string{"retry": "Invocation cancelled - exiting retry loop.",
		"queue": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, json.RawMessage(
				`{"version":"2.0","extensions":{"queues":{"visibilityTimeout":"00:10:00"}},"customHandler":{"description":{"defaultExecutablePath":"handler"}}}`), json.RawMessage(app))
			r.write(script{Answered: answer{Default: &answer{Status: 500},
				Probe: &answer{Status: 200}}})
			r.start(r.config())
			fired, err := r.host.Fire(name, Event{Input: ptr("x")})
			if err != nil {
				t.Fatal(err)
			}
			poll.Until(t, "the first failure",
				func() bool { h := r.host.History(); return len(h) == 1 && h[0].Status == Failed })
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
	h := inProcess(t, "", twoFunctions, nil,
		&answering{hold: func(http.ResponseWriter, *http.Request) { <-release }}).host
	result := make(chan error, 1)
	go func() {
		_, _, _, err := call(t.Context(), h, "/api/hello")
		result <- err
	}()
	poll.Until(t, "the call", func() bool { return len(h.History()) == 1 })
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

func TestOneSignalIsNotTakenForTwo(t *testing.T) {
	release := make(chan struct{})
	h := inProcess(t, "", twoFunctions, nil,
		&answering{hold: func(http.ResponseWriter, *http.Request) { <-release }}).host
	result := make(chan error, 1)
	go func() {
		status, _, _, err := call(t.Context(), h, "/api/hello")
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		result <- err
	}()
	poll.Until(t, "the call", func() bool { return h.Running() == 1 })
	signals := make(chan os.Signal, 1)
	signals <- os.Interrupt
	stderr := &syncBuffer{}
	stopped := make(chan struct{})
	go func() {
		h.stopFor(signals, stderr)
		close(stopped)
	}()
	poll.Until(t, "why it waits",
		func() bool { return strings.Contains(stderr.String(), "1 running: waiting up to 30s") })
	close(release)
	<-stopped
	if err := <-result; err != nil {
		t.Errorf("the call that ran: %v", err)
	}
}

func TestAMessageOutlivesTheInside(t *testing.T) {
	const app = `{"queue":{"bindings":[{"type":"queueTrigger","direction":"in","name":"m","queueName":"q","connection":"c"}]}}`
	r := newRig(t,
		json.RawMessage(
			`{"version":"2.0","extensions":{"queues":{"maxDequeueCount":3}},"customHandler":{"description":{"defaultExecutablePath":"handler"}}}`), json.RawMessage(app))
	r.write(script{Answered: answer{Default: &answer{Status: 200, Delay: 30},
		Probe: &answer{Status: 200}}})
	r.start(r.config())
	fired, err := r.host.Fire("queue", Event{Input: ptr("x")})
	if err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "the delivery", func() bool { return len(requests(r.events(), false)) == 1 })
	r.write(script{Answered: wrappedAnswer("{}")})
	r.host.Restart()
	if err := fired.Err(); err != nil {
		t.Error(err)
	}
	h := r.host.History()
	if len(h) != 2 || h[0].Status != Failed || h[1].Status != Succeeded ||
		!strings.Contains(h[1].Details, "DequeueCount: 2") || h[0].ID == h[1].ID {
		t.Errorf("history: %+v", h)
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
			poll.Until(t, "the call",
				func() bool { return len(h.History()) == 1 && h.History()[0].Faults != nil })
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
	poll.Until(t, "the call", func() bool { return len(h.Faults()) == 0 })
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
		t.Errorf("got %v", err)
	}
}
