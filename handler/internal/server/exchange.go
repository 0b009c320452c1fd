package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/target"
)

// invocationHeader carries the host's id of the invocation (recording D-get-query).
const invocationHeader = "X-Azure-Functions-Invocationid"

// exchange is one request of the host's, from the first byte to the log line. It is the
// ResponseWriter of the request, and belongs to the goroutine that serves it.
type exchange struct {
	w       http.ResponseWriter
	status  int // sent; 0 = the header is unsent
	started time.Time

	call    relay.Call
	trigger string
	method  string // the caller's
	path    string // the caller's, without its query
	trace   observe.Trace
	traceID string // as a text, where the header that goes on holds it
	// answered is the status that the caller gets where it is not the one of this exchange: in an envelope.
	answered int
	problem  string // code of our own problem answer
	err      error
	// cut says that the answer ended behind its header, and why: the caller's connection is cut.
	cut      error
	writeErr error // of the first piece of an answer that could not be written
	// refusedForGood: no repetition can make the event succeed, and it is in the output for such events.
	refusedForGood bool
	probe          bool    // the host's readiness probe: not logged
	upload         *upload // of a proxied or forwarded call that has one
}

// exchangeOf returns the exchange of a request: every ResponseWriter that the router hands on is one.
func exchangeOf(w http.ResponseWriter) *exchange { return w.(*exchange) }

// ServeHTTP implements http.Handler: it identifies the invocation, keeps a panic from ending anything
// but its own exchange, and logs one line.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.fromHost(r) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	x := &exchange{w: w, started: time.Now(), method: r.Method}
	x.call.InvocationID, x.call.Started = invocationID(r.Header), x.started
	// A request line in absolute form may hold a user's name and password.
	if path, _, _ := strings.Cut(r.RequestURI, "?"); strings.HasPrefix(path, "/") || path == "*" {
		x.path = path
	}
	x.probe = x.path == "/" && x.call.InvocationID == ""
	defer func() {
		if p := recover(); p != nil {
			s.panicked(r, x, p)
		}
		s.end(r, x)
	}()
	s.router.ServeHTTP(x, r)
}

// fromHost reports whether a request can be the host's: its probe, or one with the host's id of the
// invocation, which a web page cannot send without asking first. All recorded requests of the host's
// have it but the probe. Where a function runs as a developer, on a machine with a browser, the name in
// Host must be this machine's as well: a page can have its own name turned to this address.
func (s *Server) fromHost(r *http.Request) bool {
	if r.Method == http.MethodGet && r.RequestURI == "/" {
		return true
	}
	why := ""
	switch {
	case len(r.Header[invocationHeader]) == 0:
		why = "want the host's " + invocationHeader + ", got none"
	case s.developer && !target.Loopback(hostname(r.Host)):
		why = "want a name of this machine in Host where a function runs as a developer, got another"
	default:
		return true
	}
	level := slog.LevelDebug
	if !s.strangers.Swap(true) {
		level = slog.LevelWarn
	}
	s.log.LogAttrs(r.Context(), level, "request that is not the host's", slog.String("text", "answered 404: "+why))
	return false
}

// hostname is a Host field without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// relayInvocation is the header of refusals and of our own problems that carries the invocation's id:
// by it whoever got the answer finds the log line.
const relayInvocation = "X-Relay-Invocation"

// mark adds the invocation's id to an answer's header where somebody will ask what happened.
func (x *exchange) mark(h http.Header, status int) {
	if (status == http.StatusUnauthorized || status == http.StatusForbidden) && x.call.InvocationID != "" {
		h[relayInvocation] = []string{x.call.InvocationID}
	}
}

// invocationID is the host's id: the last value of the last line, because a forwarded caller's own comes before it (recording D-req-fake-host-headers).
func invocationID(h http.Header) string {
	lines := h[invocationHeader]
	if len(lines) == 0 {
		return ""
	}
	id := lines[len(lines)-1]
	id = strings.TrimSpace(id[strings.LastIndexByte(id, ',')+1:])
	if len(id) > 64 {
		id = id[:64]
	}
	return id
}

// panicked answers an exchange whose code failed.
func (s *Server) panicked(r *http.Request, x *exchange, p any) {
	x.err = fmt.Errorf("serving the invocation: panic: %s", panicText(p))
	s.log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("invocation_id", x.call.InvocationID),
		slog.String("error", x.err.Error()), slog.String("stack", string(debug.Stack())))
	if x.status != 0 {
		x.cut = x.err
		return
	}
	s.answerProblem(x, x, r.Method, problemFor("internal"), x.err)
}

// end logs the exchange. Where its answer broke off it cuts the caller's connection: half an answer
// must not look like a whole one.
func (s *Server) end(r *http.Request, x *exchange) {
	if x.cut == nil {
		s.logExchange(r, x)
		return
	}
	x.problem = answerCut
	if x.err == nil {
		x.err = cutError(&x.call)
	}
	if x.writeErr != nil && x.call.Outcome.Cut == nil {
		x.problem, x.err = "caller-left", fmt.Errorf("answering: the caller left: %w", x.writeErr)
	}
	s.logExchange(r, x)
	// What is still in the server's buffer goes out first. Without a byte of an answer the host would
	// repeat a proxied exchange up to 40 times, a forwarded one up to four (recordings P-ans-closed,
	// D-ans-closed); one that is cut short it passes on as such (P-ans-chunked-cut).
	flush(x.w)
	panic(http.ErrAbortHandler) // net/http's way to have a connection cut
}

// panicText is the text of a fault of the program's own; of any other value only the type, since nobody knows what it holds.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}

// Header, Write, WriteHeader and Unwrap make the exchange the ResponseWriter that remembers whether the header is sent.
func (x *exchange) Header() http.Header { return x.w.Header() }

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= 200 {
		x.status = status
		if x.upload != nil && !x.upload.ended.Load() {
			x.w.Header().Set("Connection", "close")
		}
	}
	x.w.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.w.Write(b)
	if err != nil && x.writeErr == nil {
		x.writeErr = err
	}
	return n, err
}

func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// logExchange writes the wide line, failed invocations included: our own problems and failed events as Error, other answers from 500 on as Warn.
func (s *Server) logExchange(r *http.Request, x *exchange) {
	if x.probe {
		return
	}
	status := x.status
	if x.answered != 0 {
		status = x.answered
	}
	failure := x.problem
	if failure == "" && x.err != nil {
		failure = "failed"
	}
	x.call.Span.End(status, failure)
	level := slog.LevelInfo
	switch {
	case x.refusedForGood:
		level = slog.LevelWarn
	case x.call.Way == relay.Event && x.status >= 300:
		level = slog.LevelError
	case x.problem != "" && status < 500 && x.problem != answerCut:
		// A caller's own mistake is no more than the gateway's 4xx, or any caller could fill the error log.
	case x.problem != "":
		level = slog.LevelError
	case status >= 500:
		level = slog.LevelWarn
	}
	if x.problem == "caller-left" || errors.Is(x.err, context.Canceled) {
		level = slog.LevelInfo // the caller left; nothing of ours is wrong
	}
	line := observe.Line{
		Level: level, InvocationID: x.call.InvocationID, Way: string(x.call.Way), Trigger: x.trigger,
		Status: status, DurationMS: observe.Milliseconds(time.Since(x.started)),
		Problem: x.problem, TraceID: x.traceID, RefusedForGood: x.refusedForGood,
	}
	if x.call.Function != nil {
		line.Function = x.call.Function.App.Name
	}
	if x.call.Way != relay.Event {
		line.Method, line.Path = x.method, x.path
	}
	o := &x.call.Outcome
	line.Attempts, line.UpstreamStatus, line.Key = o.Attempts, o.Status, o.Key
	line.UpstreamMS = observe.Milliseconds(o.Upstream)
	line.Refusal, line.Token = string(o.Refusal), o.Token
	line.Replays, line.DroppedHeaders = strings.Join(o.Replays, ","), strings.Join(o.Dropped, ",")
	line.Cause = string(causeOf(x.err, x.call.Function, x.problem, o.Refusal))
	if o.Message != "" && !x.call.Holds(o.Message) {
		line.Words = strings.ToValidUTF8(o.Message[:min(len(o.Message), longestMessage)], "")
	}
	if x.err != nil {
		line.Error, line.Hint = x.err.Error(), hintOf(x.err)
	}
	if line.TraceID == "" && x.trace.Valid() {
		line.TraceID = x.trace.TraceIDString()
	}
	line.Log(r.Context(), s.log)
}

// longestMessage is how much of the gateway's words a line holds, in bytes; its own have up to 150.
const longestMessage = 300

// begin starts the invocation's span, where spans are exported. Its end is the log line's.
func (s *Server) begin(x *exchange, route string) {
	in := observe.Invocation{ID: x.call.InvocationID, Function: x.call.Function.App.Name, Trigger: x.trigger, Way: string(x.call.Way)}
	if x.call.Way == relay.Event {
		in.Way = string(relay.Wrapped)
	} else {
		in.Method, in.Route, in.Path = x.method, route, x.path
	}
	x.call.Span = s.telemetry.Begin(x.trace, in)
	x.trace = x.call.Span.Trace(x.trace)
}
