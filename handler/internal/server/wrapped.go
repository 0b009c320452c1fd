package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/invocation"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
)

// wrapped serves POST /<Function>: an event, or the request of an HTTP trigger in the host's envelope.
func (s *Server) wrapped(f *Function) http.HandlerFunc {
	outputs := outputsOf(f.Settings.App)
	if !f.Settings.App.HTTP() {
		return func(w http.ResponseWriter, r *http.Request) { s.event(w, r, f, outputs) }
	}
	return func(w http.ResponseWriter, r *http.Request) { s.wrappedHTTP(w, r, f, outputs) }
}

func outputsOf(f *app.Function) []invocation.Output {
	var out []invocation.Output
	for _, b := range f.Outputs() {
		out = append(out, invocation.Output{Type: b.Type, Name: b.Name})
	}
	return out
}

// wrappedHTTP takes the caller's request out of the envelope, relays it as any other, and puts the answer into an envelope. Problems travel inside, too:
// the host drops the body of any answer that is not 200 (recording B-handler-404).
func (s *Server) wrappedHTTP(w http.ResponseWriter, r *http.Request, f *Function, outputs []invocation.Output) {
	x := exchangeOf(r.Context())
	x.function, x.trigger, x.call.Way = f, f.Settings.App.Trigger.Type, relay.Wrapped
	answer := s.newEnvelope()
	defer answer.free()
	in, err := invocation.ReadHTTP(r.Body, f.Settings.App.Trigger.Name)
	if in == nil {
		if !errors.Is(err, invocation.ErrTooLarge) {
			s.answerProblem(w, r, problemFor("bad-invocation"), err) // bare: nobody would find a caller's answer in it
			return
		}
		s.problem(answer, r, err)
	} else {
		x.method, x.path = in.Method, in.Path
		if err == nil {
			err = sendable(in)
		}
		call := s.unwrap(r, in, answer)
		if err != nil {
			s.problem(answer, call, err)
		} else {
			s.relayWrapped(answer, call, f, in)
		}
		r = call
	}
	s.answerWrapped(w, r, answer, outputs)
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

// unwrap makes a request of what stands in the envelope.
func (s *Server) unwrap(r *http.Request, in *invocation.HTTP, answer *envelope) *http.Request {
	x := exchangeOf(r.Context())
	call := blank.WithContext(r.Context())
	call.Method, call.Header, call.Host, call.URL, call.RequestURI = in.Method, in.Header, in.Host, r.URL, in.Path
	if len(in.Body) > 0 {
		answer.upload = &keptUpload{body: in.Body}
		call.GetBody = answer.upload.open
		call.Body, _ = call.GetBody()
		call.ContentLength = int64(len(in.Body))
	}
	// The envelope cannot carry a compressed answer back.
	call.Header.Del("Accept-Encoding")
	trace, known := observe.Continue(r.Header)
	if !known {
		trace, _ = observe.Continue(call.Header)
	}
	call.Header.Del("Traceparent")
	call.Header.Del("Tracestate")
	x.trace = trace
	x.call.Set = traceHeaders(trace)
	return call
}

// blank is what all requests that come wrapped have in common.
var blank = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}

// traceHeaders passes the context on as it came: without an exporter there is no span of ours
// that the next one could be below. Where none came there is none: one that is made up, and so
// not sampled, would keep every backend from recording whose sampler follows its parent
// (OpenTelemetry specification, "ParentBased", which is the default).
func traceHeaders(t observe.Trace) http.Header {
	h := make(http.Header, 3)
	t.Inject(h)
	return h
}

func (s *Server) relayWrapped(answer *envelope, call *http.Request, f *Function, in *invocation.HTTP) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			// Proxied the caller's connection would be cut; here nothing is sent yet, and half an answer need not be.
			x := exchangeOf(call.Context())
			answer.reset()
			err := answer.refused
			if err == nil {
				err = cutError(&x.call)
			}
			s.problem(answer, call, err)
		default:
			panic(p)
		}
	}()
	match, ok := f.Settings.App.Match(in.Path)
	if !ok {
		s.problem(answer, call, errNoRoute)
		return
	}
	s.relayHTTP(answer, call, match, in.RawQuery)
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

// answerWrapped writes the envelope; what it cannot carry, or can no longer be read, becomes a problem in its place.
func (s *Server) answerWrapped(w http.ResponseWriter, r *http.Request, answer *envelope, outputs []invocation.Output) {
	x := exchangeOf(r.Context())
	w.Header()["Content-Type"] = []string{invocation.ContentType}
	if r.Method == http.MethodHead {
		answer.body.Reset()
	}
	dropped, err := invocation.WriteHTTP(w, outputs, answer.code(), answer.header, &answer.body)
	x.cutUnread(err)
	if is[*invocation.CannotCarryError](err) || is[*invocation.BodyError](err) {
		answer.reset()
		s.problem(answer, r, err)
		dropped, err = invocation.WriteHTTP(w, outputs, answer.code(), answer.header, &answer.body)
	}
	x.answered = answer.code()
	x.call.Outcome.Dropped = append(x.call.Outcome.Dropped, dropped...)
	if is[*invocation.CannotCarryError](err) {
		// A function without an http output: only a failed invocation shows that something went wrong.
		w.WriteHeader(http.StatusInternalServerError)
		_ = invocation.WriteFailure(w, x.problem)
	}
}

// cutUnread ends the exchange where a body could not be read back from its file and the answer has begun: half of it must not look like the whole.
func (x *exchange) cutUnread(err error) {
	if x.status != 0 && is[*invocation.BodyError](err) {
		x.err = err
		panic(http.ErrAbortHandler)
	}
}
