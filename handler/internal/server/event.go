package server

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"apimrelay/handler/internal/invocation"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
)

// maxOutput bounds an answer that is to go into an output binding, in bytes.
const maxOutput = 100 << 20

// event serves the invocation of any trigger but HTTP: its data is sent as the body of one request. Whatever is not a success is answered with 500, which
// is all that the host's retry policies and poison queues look at.
func (s *Server) event(w http.ResponseWriter, r *http.Request, f *Function, outputs []invocation.Output) {
	x := exchangeOf(r.Context())
	trigger := f.Settings.App.Trigger
	x.function, x.trigger, x.call.Way = f, trigger.Type, relay.Event
	x.trace, _ = observe.Continue(r.Header)
	x.call.Set = traceHeaders(x.trace)
	s.begin(x, "")
	if f.Relay == nil {
		s.failEvent(w, x, errSettings)
		return
	}
	binding := invocation.Binding{Type: trigger.Type, Name: trigger.Name, DataType: trigger.DataType, Cardinality: trigger.Cardinality}
	ev, err := invocation.Read(r.Body, r.ContentLength, binding)
	if err != nil {
		s.failEvent(w, x, unreadable(err))
		return
	}
	req := s.eventRequest(r, f, ev, ev.Key(f.Settings.App.Name, time.Now(), x.call.InvocationID))
	res, err := s.relay.Do(req)
	if err != nil {
		s.failEvent(w, x, err)
		return
	}
	defer res.Body.Close()
	success := res.StatusCode >= 200 && res.StatusCode <= 299
	if !success && !slices.Contains(f.Settings.Acknowledge, res.StatusCode) {
		// Nothing of a backend's answer is logged: nobody knows what it holds.
		prefix, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
		x.call.Outcome.Message = relay.Message(res.StatusCode, prefix)
		s.failEvent(w, x, fmt.Errorf("%w: want 2xx, got %d", errNotDone, res.StatusCode))
		return
	}
	body := invocation.Body{Spill: &s.spill, Log: s.log}
	defer body.Free()
	if success && len(outputs) > 0 {
		// Only what succeeded feeds outputs, and only whole: half a message would be one that nobody sent.
		body.Expect(int(min(max(res.ContentLength, 0), maxOutput)))
		_, err = body.ReadFrom(io.LimitReader(res.Body, maxOutput+1))
		if err != nil {
			if !is[*invocation.BodyError](err) {
				err = cutError(&x.call)
			}
			s.failEvent(w, x, err)
			return
		}
		if body.Len() > maxOutput {
			s.failEvent(w, x, fmt.Errorf("%w: want an answer of at most 100 MiB for an output binding, got more", errNotDone))
			return
		}
	} else {
		_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // lets the connection be used again
	}
	o := &x.call.Outcome
	line := fmt.Sprintf("%s %s: %d in %d ms, %d attempt(s)", req.Method, f.Relay.Target.Redacted(), res.StatusCode, o.Upstream.Milliseconds(), o.Attempts)
	w.Header()["Content-Type"] = []string{invocation.ContentType}
	err = invocation.WriteEvent(w, outputs, []string{line}, &body)
	x.cutUnread(err)
	if is[*invocation.BodyError](err) {
		s.failEvent(w, x, err)
	}
}

// unreadable marks what is wrong with the invocation itself.
func unreadable(err error) error {
	if errors.Is(err, invocation.ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", errBadInvocation, err)
}

// eventRequest makes the one request of an event. GET and HEAD send neither body nor Content-Type.
func (s *Server) eventRequest(r *http.Request, f *Function, ev *invocation.Event, key string) *http.Request {
	x := exchangeOf(r.Context())
	x.call.Function = f.Relay
	x.call.Budget, x.call.Limit = s.budget(f.Settings, relay.Event)
	x.call.Values = relay.Values{Named: make(map[string]string), Event: true, GUID: eventGUID(x.call.InvocationID), Now: x.started}
	for _, name := range f.Relay.Target.Names() {
		if text, ok := ev.Value(name); ok {
			x.call.Values.Named[strings.ToLower(name)] = text
		}
	}
	x.call.Set["Idempotency-Key"] = []string{relay.EventKey + key}

	req := blank.WithContext(r.Context())
	req.Method, req.Header = f.Settings.Method, http.Header{"User-Agent": {"apimrelay"}}
	if req.Method != http.MethodGet && req.Method != http.MethodHead && ev.Body != nil {
		body := ev.Body
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
		req.ContentLength = int64(len(body))
		req.Header["Content-Type"] = []string{ev.ContentType}
	}
	return req
}

// eventGUID is the value of {rand-guid}. It follows from the invocation id, which the host keeps when it repeats an invocation by a retry policy
// (recording C-timer-retry), so that all attempts go to the same URL.
func eventGUID(invocationID string) string {
	if invocationID == "" {
		return relay.NewGUID()
	}
	b := sha256.Sum256([]byte("rand-guid\x00" + invocationID))
	return relay.GUID([16]byte(b[:16]))
}

// failEvent fails the invocation. The reason is in the log line: the host drops the answer's text and its Logs.
func (s *Server) failEvent(w http.ResponseWriter, x *exchange, err error) {
	p := problemOf(err)
	x.err = err
	if p.code != "internal" {
		x.problem = p.code
	}
	w.Header()["Content-Type"] = []string{invocation.ContentType}
	w.WriteHeader(http.StatusInternalServerError)
	text := p.title
	if errors.Is(err, errNotDone) {
		text = err.Error()
	}
	_ = invocation.WriteFailure(w, text)
}
