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
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
)

// maxOutput bounds an answer that is to go into an output binding, in bytes.
const maxOutput = 100 << 20

// event serves the invocation of any trigger but HTTP: its data is sent as the body of one request. Whatever is not a success is answered with 500, which
// is all that the host's retry policies and poison queues look at.
func (s *Server) event(x *exchange, r *http.Request, f *settings.Function, outputs []invocation.Output) {
	trigger := f.App.Trigger
	x.call.Way = relay.Event
	x.trace, _ = observe.Continue(r.Header)
	x.call.Set = traceHeaders(x.trace)
	s.begin(x, "")
	if x.call.Credentials = s.credentials[f]; x.call.Credentials == nil {
		s.failEvent(x, errSettings)
		return
	}
	binding := invocation.Binding{Type: trigger.Type, Name: trigger.Name, DataType: trigger.DataType, Cardinality: trigger.Cardinality}
	ev, err := invocation.Read(r.Body, r.ContentLength, binding)
	if err != nil {
		s.failEvent(x, unreadable(err))
		return
	}
	s.fillEvent(x, f, ev)
	answer, err := s.relay.Do(r.Context(), &x.call)
	if err != nil {
		s.failEvent(x, err)
		return
	}
	defer answer.Close()
	success := answer.Status >= 200 && answer.Status <= 299
	if !success && !slices.Contains(f.Acknowledge, answer.Status) {
		// Nothing of a backend's answer is logged: nobody knows what it holds.
		prefix, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
		x.call.Outcome.Message = relay.Message(answer.Status, prefix)
		s.failEvent(x, fmt.Errorf("%w: want 2xx, got %d", errNotDone, answer.Status))
		return
	}
	body := invocation.Body{Spill: &s.spill, Log: s.log}
	defer body.Free()
	if success && len(outputs) > 0 {
		// Only what succeeded feeds outputs, and only whole: half a message would be one that nobody sent.
		body.Expect(int(min(max(answer.Length, 0), maxOutput)))
		_, err = body.ReadFrom(io.LimitReader(answer.Body, maxOutput+1))
		if err != nil {
			if !is[*invocation.BodyError](err) {
				err = cutError(&x.call)
			}
			s.failEvent(x, err)
			return
		}
		if body.Len() > maxOutput {
			s.failEvent(x, fmt.Errorf("%w: want an answer of at most 100 MiB for an output binding, got more", errNotDone))
			return
		}
	} else {
		_, _ = io.CopyN(io.Discard, answer.Body, 64<<10) // lets the connection be used again
	}
	o := &x.call.Outcome
	line := fmt.Sprintf("%s %s: %d in %d ms, %d attempt(s)", x.call.Method, f.Target.Redacted(), answer.Status, o.Upstream.Milliseconds(), o.Attempts)
	x.Header()["Content-Type"] = []string{invocation.ContentType}
	err = invocation.WriteEvent(x, outputs, []string{line}, &body)
	if !x.cutUnread(err) && is[*invocation.BodyError](err) {
		s.failEvent(x, err)
	}
}

// unreadable marks what is wrong with the invocation itself.
func unreadable(err error) error {
	if errors.Is(err, invocation.ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", errBadInvocation, err)
}

// fillEvent makes a call of an event. GET and HEAD send neither body nor Content-Type.
func (s *Server) fillEvent(x *exchange, f *settings.Function, ev *invocation.Event) {
	c := &x.call
	c.Budget, c.Limit = s.budget(f, relay.Event)
	c.Values = target.Values{
		Named: make(map[string]string), Event: true, GUID: eventGUID(c.InvocationID), Now: x.started,
	}
	for _, name := range f.Target.Names() {
		if text, ok := ev.Value(name); ok {
			c.Values.Named[strings.ToLower(name)] = text
		}
	}
	c.Set["Idempotency-Key"] = []string{relay.EventKey + ev.Key(f.App.Name, time.Now(), c.InvocationID)}
	c.Method, c.Header = f.Method, http.Header{"User-Agent": {"apimrelay"}}
	if c.Method == http.MethodGet || c.Method == http.MethodHead || ev.Body == nil {
		return
	}
	body := ev.Body
	c.Body = relay.Body{
		Reader: bytes.NewReader(body), Length: int64(len(body)),
		Again: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
	c.Header["Content-Type"] = []string{ev.ContentType}
}

// eventGUID is the value of {rand-guid}. It follows from the invocation id, which the host keeps when it repeats an invocation by a retry policy
// (recording C-timer-retry), so that all attempts go to the same URL.
func eventGUID(invocationID string) string {
	if invocationID == "" {
		return target.NewGUID()
	}
	b := sha256.Sum256([]byte("rand-guid\x00" + invocationID))
	return target.GUID([16]byte(b[:16]))
}

// failEvent fails the invocation. The reason is in the log line: the host drops the answer's text and its Logs.
func (s *Server) failEvent(x *exchange, err error) {
	p := problemOf(err)
	x.err = err
	if p.code != "internal" {
		x.problem = p.code
	}
	x.Header()["Content-Type"] = []string{invocation.ContentType}
	x.WriteHeader(http.StatusInternalServerError)
	text := p.title
	if errors.Is(err, errNotDone) {
		text = err.Error()
	}
	_ = invocation.WriteFailure(x, text)
}
