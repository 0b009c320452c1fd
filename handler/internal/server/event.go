package server

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
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

// event serves the invocation of any trigger but HTTP: its data is sent as the body of one request.
// Whatever is not a success is answered with 500, which is all that the host's retry policies and
// poison queues look at; but for what no repetition can change, where the function has an output for
// such events.
func (s *Server) event(x *exchange, r *http.Request, f *settings.Function, outputs []invocation.Output) {
	x.call.Way = relay.Event
	x.trace, _ = observe.Continue(r.Header)
	x.call.Set = traceHeaders(x.trace)
	s.begin(x, "")
	if x.call.Credentials = s.credentials[f]; x.call.Credentials == nil {
		s.failEvent(x, errSettings)
		return
	}
	trigger := f.App.Trigger
	ev, err := invocation.Read(r.Body, r.ContentLength, invocation.Binding{
		Type: trigger.Type, Name: trigger.Name, DataType: trigger.DataType, Cardinality: trigger.Cardinality,
	})
	if err != nil {
		s.failEvent(x, unreadable(err))
		return
	}
	s.fillEvent(x, f, ev)
	var refused *invocation.Output
	if b, ok := f.App.Refused(); ok {
		i := slices.IndexFunc(outputs, func(o invocation.Output) bool { return o.Name == b.Name })
		refused, outputs = &outputs[i], slices.Concat(outputs[:i], outputs[i+1:])
	}
	answer, err := s.relay.Do(r.Context(), &x.call)
	if err != nil {
		s.eventFailed(x, f, ev, refused, err)
		return
	}
	defer answer.Close()
	success := answer.Status >= 200 && answer.Status <= 299
	if success || slices.Contains(f.Acknowledge, answer.Status) {
		if !success {
			outputs = nil // only what succeeded feeds them
		}
		s.eventDone(x, f, answer, outputs)
		return
	}
	s.eventRefused(x, f, ev, refused, answer)
}

// eventDone ends an invocation with success. The outputs get the answer's body whole: half a message
// would be one that nobody sent.
func (s *Server) eventDone(x *exchange, f *settings.Function, answer *relay.Answer, outputs []invocation.Output) {
	body := invocation.Body{Spill: &s.spill, Log: s.log}
	defer body.Free()
	if len(outputs) == 0 {
		_, _ = io.CopyN(io.Discard, answer.Body, 64<<10) // lets the connection be used again
	} else {
		body.Expect(int(min(max(answer.Length, 0), maxOutput)))
		if _, err := body.ReadFrom(io.LimitReader(answer.Body, maxOutput+1)); err != nil {
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
		for _, o := range outputs {
			if err := o.Holds(body.Len()); err != nil {
				s.failEvent(x, err)
				return
			}
		}
	}
	s.writeEvent(x, f, outputs, &body)
}

// writeEvent tells the host that the invocation succeeded.
func (s *Server) writeEvent(x *exchange, f *settings.Function, outputs []invocation.Output, body *invocation.Body) {
	o := &x.call.Outcome
	line := fmt.Sprintf("%s %s: %d in %d ms, %d attempt(s)", x.call.Method, f.Target.Redacted(), o.Status,
		o.Upstream.Milliseconds(), o.Attempts)
	x.Header()["Content-Type"] = []string{invocation.ContentType}
	err := invocation.WriteEvent(x, outputs, []string{line}, body)
	if !x.cutUnread(err) && is[*invocation.BodyError](err) {
		s.failEvent(x, err)
	}
}

// eventRefused ends an invocation whose answer is neither a success nor counts as one.
func (s *Server) eventRefused(
	x *exchange, f *settings.Function, ev *invocation.Event, refused *invocation.Output, answer *relay.Answer,
) {
	// Nothing of a backend's answer is logged: nobody knows what it holds.
	prefix, err := io.ReadAll(io.LimitReader(answer.Body, relay.ForGoodPrefix))
	x.call.Outcome.Message = relay.Message(answer.Status, prefix)
	failure := fmt.Errorf("%w: want 2xx, got %d", errNotDone, answer.Status)
	if refused != nil && err == nil && relay.ForGood(x.call.Method, answer.Status, answer.Header, prefix) {
		failure = s.refuse(x, f, ev, *refused, failure, invocation.Refusal{
			Status: answer.Status, Reason: invocation.Reason(prefix),
		})
	}
	if failure != nil {
		s.failEvent(x, failure)
	}
}

// lasting are the codes of our own problems that no repetition of the event can change.
var lasting = []string{"bad-path", "body-damaged"}

// eventFailed ends an invocation for which no answer came.
func (s *Server) eventFailed(
	x *exchange, f *settings.Function, ev *invocation.Event, refused *invocation.Output, failure error,
) {
	if code := problemOf(failure).code; refused != nil && slices.Contains(lasting, code) {
		x.problem, x.err = code, failure
		failure = s.refuse(x, f, ev, *refused, failure, invocation.Refusal{Code: code, Reason: failure.Error()})
	}
	if failure != nil {
		s.failEvent(x, failure)
	}
}

// refuse puts an event that no repetition can make succeed into the output for such events, and ends
// the invocation with success. What the output cannot hold stays a failure, which is returned.
func (s *Server) refuse(
	x *exchange, f *settings.Function, ev *invocation.Event, out invocation.Output, failure error, r invocation.Refusal,
) error {
	r.Function, r.Invocation, r.At = f.App.Name, x.call.InvocationID, time.Now()
	if x.call.Holds(r.Reason) {
		r.Reason = "withheld: the answer holds a credential"
	}
	body := ev.Refused(r)
	if err := out.Holds(len(body)); err != nil {
		return fmt.Errorf("%w; it is not put into the output %s: %w", failure, out.Name, err)
	}
	why := r.Code
	if why == "" {
		why = strconv.Itoa(r.Status)
	}
	s.counters.ForGood(f.App.Name, why)
	x.refusedForGood = true
	s.writeEvent(x, f, []invocation.Output{out}, invocation.InMemory(body))
	return nil
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

// eventGUID is the value of {rand-guid}. It follows from the invocation id, which the host keeps when
// it repeats an invocation by a retry policy (recording C-timer-retry), so that all attempts go to
// the same URL.
func eventGUID(invocationID string) string {
	if invocationID == "" {
		return target.NewGUID()
	}
	b := sha256.Sum256([]byte("rand-guid\x00" + invocationID))
	return target.GUID([16]byte(b[:16]))
}

// failEvent fails the invocation. The reason is in the log line: the host drops the answer's text and
// its Logs.
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
