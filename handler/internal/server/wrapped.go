package server

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/invocation"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
)

// wrapped serves POST /<Function>: an event, or the request of an HTTP trigger in the host's envelope.
func (s *Server) wrapped(f *settings.Function) http.HandlerFunc {
	outputs := s.outputsOf(f.App)
	return func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(w)
		x.call.Function, x.trigger = f, f.App.Trigger.Type
		if f.App.HTTP() {
			s.wrappedHTTP(x, r, f, outputs)
		} else {
			s.event(x, r, f, outputs)
		}
	}
}

func (s *Server) outputsOf(f *app.Function) []invocation.Output {
	var out []invocation.Output
	for _, b := range f.Outputs() {
		out = append(out, invocation.Output{Type: b.Type, Name: b.Name, Most: s.app.MostBytes(b)})
	}
	return out
}

// wrappedHTTP takes the caller's request out of the envelope, relays it as any other, and puts the
// answer into an envelope. Problems travel inside, too: the host drops the body of any answer that is
// not 200 (recording B-handler-404).
func (s *Server) wrappedHTTP(x *exchange, r *http.Request, f *settings.Function, outputs []invocation.Output) {
	x.call.Way = relay.Wrapped
	answer := s.newEnvelope()
	defer answer.free()
	method := r.Method
	in, err := invocation.ReadHTTP(r.Body, f.App.Trigger.Name)
	switch {
	case in != nil:
		x.method, x.path, method = in.Method, in.Path, in.Method
		x.unwrap(r, in, answer)
		if err == nil {
			err = sendable(in)
		}
		if err == nil {
			err = s.relayWrapped(answer, x, r, f, in)
		}
	case !errors.Is(err, invocation.ErrTooLarge):
		s.answerProblem(x, x, method, problemFor("bad-invocation"), err) // bare: nobody would find a caller's answer in it
		return
	}
	if err != nil {
		answer.reset()
		s.problem(answer, x, method, err)
	}
	s.answerWrapped(x, method, answer, outputs)
}

// sendable tells whether net/http would write the request. A caller's HTTP cannot bring what it would not; an envelope's JSON can.
func sendable(in *invocation.HTTP) error {
	if !header.Token(in.Method) {
		return fmt.Errorf("%w: its method is none", errBadInvocation)
	}
	for name, values := range in.Header {
		for _, value := range values {
			if !header.Token(name) || !header.Printable(value) {
				return fmt.Errorf("%w: a header that no request can have", errBadInvocation)
			}
		}
	}
	return nil
}

// unwrap makes a call of what stands in the envelope.
func (x *exchange) unwrap(r *http.Request, in *invocation.HTTP, answer *envelope) {
	// The envelope cannot carry a compressed answer back.
	in.Header.Del("Accept-Encoding")
	trace, known := observe.Continue(r.Header)
	if !known {
		trace, _ = observe.Continue(in.Header)
	}
	in.Header.Del("Traceparent")
	in.Header.Del("Tracestate")
	x.trace = trace
	x.call.Set = traceHeaders(trace)
	x.call.Method, x.call.Header = in.Method, in.Header
	if len(in.Body) > 0 {
		answer.upload = &keptUpload{body: in.Body}
		first, _ := answer.upload.open()
		x.call.Body = relay.Body{Reader: first, Again: answer.upload.open, Length: int64(len(in.Body))}
	}
}

// traceHeaders passes the context on as it came: without an exporter there is no span of ours
// that the next one could be below. Where none came there is none: one that is made up, and so
// not sampled, would keep every backend from recording whose sampler follows its parent
// (OpenTelemetry specification, "ParentBased", which is the default).
func traceHeaders(t observe.Trace) http.Header {
	h := make(http.Header, 3)
	t.Inject(h)
	return h
}

// relayWrapped relays the request of an envelope and keeps the answer. Where that broke off it is an
// error: nothing is sent yet, and half an answer need not be.
func (s *Server) relayWrapped(to *envelope, x *exchange, r *http.Request, f *settings.Function, in *invocation.HTTP) error {
	if !relayed(in.Method) {
		return errMethod
	}
	match, ok := f.App.Match(in.Path)
	if !ok {
		return errNoRoute
	}
	if err := s.identify(x, f, match, in.RawQuery); err != nil {
		return err
	}
	if f.App.Reserved() {
		own := r.WithContext(r.Context())
		own.Method = in.Method
		return s.reserved(to, own, f.App)
	}
	answer, err := s.relay.Do(r.Context(), &x.call)
	if err != nil {
		return err
	}
	defer answer.Close()
	to.status = answer.Status
	maps.Copy(to.header, answer.Header)
	x.mark(to.header, answer.Status)
	_, err = io.Copy(to, answer.Body)
	switch {
	case to.refused != nil:
		return to.refused
	case err != nil:
		return cutError(&x.call)
	}
	return nil
}

// cutError says why an answer broke off.
func cutError(c *relay.Call) error {
	err := c.Outcome.Cut
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	if p := problemOf(err); p.code != "internal" {
		return err
	}
	return &relay.GatewayError{Host: c.Function.Target.Host(), Err: err}
}

// answerWrapped writes the envelope; what it cannot carry, or can no longer be read, becomes a problem
// in its place.
func (s *Server) answerWrapped(x *exchange, method string, answer *envelope, outputs []invocation.Output) {
	x.Header()["Content-Type"] = []string{invocation.ContentType}
	if method == http.MethodHead {
		answer.body.Reset()
	}
	dropped, err := invocation.WriteHTTP(x, outputs, answer.code(), answer.header, &answer.body)
	if x.cutUnread(err) {
		return
	}
	if is[*invocation.CannotCarryError](err) || is[*invocation.BodyError](err) {
		answer.reset()
		s.problem(answer, x, method, err)
		dropped, err = invocation.WriteHTTP(x, outputs, answer.code(), answer.header, &answer.body)
	}
	x.answered = answer.code()
	x.call.Outcome.Dropped = append(x.call.Outcome.Dropped, dropped...)
	if is[*invocation.CannotCarryError](err) {
		// A function without an http output: only a failed invocation shows that something went wrong.
		x.WriteHeader(http.StatusInternalServerError)
		_ = invocation.WriteFailure(x, x.problem)
	}
}

// cutUnread reports whether a body could not be read back from its file although the answer has begun:
// half of it must not look like the whole, so the exchange is cut.
func (x *exchange) cutUnread(err error) bool {
	unread := x.status != 0 && is[*invocation.BodyError](err)
	if unread {
		x.err, x.cut = err, err
	}
	return unread
}
