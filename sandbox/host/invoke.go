package host

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
)

// invocation is one call of a function, retries of its policy included: they share the id.
type invocation struct {
	in      *instance
	fn      *function
	id      string
	way     string
	reason  func() string // computed for each attempt: a timer's holds the time
	details string
	single  bool          // one attempt, whatever the policy
	message *queueMessage // nil for other triggers
	req     *request
	// attempt makes the exchange with the handler; what it returns is success or the failure that
	// is logged.
	attempt func(ctx context.Context, inv *invocation, retry string) error

	record *Invocation
	timed  bool // a time-out was logged while the exchange went on
}

const byHostAPI = "This function was programmatically called via the host APIs."

var errTimeout = errors.New("the function's time is over")

func (inv *invocation) category() string { return "Function." + inv.fn.name }

func (inv *invocation) log(level Level, category, format string, args ...any) {
	inv.in.h.emit(LogEntry{Level: level, Category: category, Text: sprintf(format, args),
		Invocation: inv.id})
}

// run makes attempts until one succeeds or the policy is spent.
func (inv *invocation) run(ctx context.Context) error {
	p := inv.fn.retry
	if p == nil || inv.fn.http() || inv.single {
		return inv.once(ctx, 0, "")
	}
	var last *exception
	for n := 0; ; n++ {
		err := inv.once(ctx, n, retryContext(inv, n, p.max, last))
		if err == nil {
			return nil
		}
		last = asException(err)
		if p.max >= 0 && n >= p.max {
			inv.log(Error, inv.category(), "Function execution failed after '%d' retries.\n%s",
				p.max, inv.failure(last).chain())
			return err
		}
		wait := p.wait(n+1, rand.Float64())
		inv.log(Debug, inv.category(),
			"Waiting for `%s` before retrying function execution. Next attempt: '%d'. Max retry count: '%d'.",
			hostfile.FormatTimeSpan(wait), n+1, p.max)
		// The host that stops cancels the pause (Azure/azure-webjobs-sdk
		// src/Microsoft.Azure.WebJobs.Host/Executors/FunctionExecutorExtensions.cs,
		// TryExecuteAsync; TimerListener.StopAsync): no attempt follows, and nothing waits for one.
		if !inv.in.h.clock.sleep(inv.in.halted, wait) {
			inv.log(Warning, inv.category(), "Invocation cancelled - exiting retry loop.")
			return err
		}
	}
}

// failure wraps what went wrong as the host does.
func (inv *invocation) failure(e *exception) *exception {
	if e.class == timeoutException {
		return e
	}
	return newException(invocationException, "Exception while executing function: Functions.%s",
		inv.fn.name).because(e)
}

const (
	invocationException = "Microsoft.Azure.WebJobs.Host.FunctionInvocationException"
	timeoutException    = "Microsoft.Azure.WebJobs.Host.FunctionTimeoutException"
)

func (inv *invocation) once(ctx context.Context, n int, retry string) error {
	h := inv.in.h
	inv.in.running.add()
	defer inv.in.running.done()
	started := h.clock.right()
	inv.record = &Invocation{ID: inv.id, Function: inv.fn.name, Trigger: inv.fn.trigger.kind,
		Way: inv.way, Reason: inv.reason(), Details: inv.details,
		Attempt: n, Started: started, Status: Running}
	if p := inv.fn.retry; p != nil && p.max >= 0 && !inv.fn.http() && !inv.single {
		inv.record.Attempts = p.max + 1
	}
	if m := inv.message; m != nil {
		inv.record.Message, inv.record.Delivery, inv.record.Most = m.id, m.count, inv.in.cfg.maxDequeue
	}
	if inv.req != nil {
		inv.record.Method, inv.record.Path = inv.req.Method,
			inv.req.path+inv.req.query.without("code")
		inv.record.Faults = inv.req.faults
	}
	h.history.start(inv.record)
	inv.log(Information, inv.category(), "Executing 'Functions.%s' (Reason='%s', Id=%s)",
		inv.fn.name, inv.record.Reason, inv.id)
	if inv.details != "" {
		inv.log(Information, inv.category(), "Trigger Details: %s", inv.details)
	}
	exchange, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- inv.attempt(exchange, inv, retry) }()
	expired, stop := h.clock.after(inv.in.cfg.functionTimeout)
	defer stop()
	select {
	case err := <-done:
		inv.finish(started, err)
		return err
	case <-expired:
	}
	limit := hostfile.FormatTimeSpan(inv.in.cfg.functionTimeout)
	inv.log(Error, inv.category(),
		"Timeout value of %s exceeded by function 'Functions.%s' (Id: '%s'). Initiating cancellation.", limit,
		inv.fn.name, inv.id)
	err := newException(timeoutException,
		"Timeout value of %s was exceeded by function: Functions.%s", limit, inv.fn.name)
	inv.finish(started, err)
	inv.timed = true
	// The host waits for the function's task once more, and kills the handler if that does not
	// end, whatever the way (Azure/azure-functions-host
	// src/WebJobs.Script.WebHost/WebScriptHostExceptionHandler.cs, OnTimeoutExceptionAsync).
	// What ends in time is passed on where it streams (recording P-ans-slow-12s, whose answer
	// came within a millisecond of the kill); any other answer is the failure's 500.
	grace, stopGrace := h.clock.after(h.durations.TimeoutGrace)
	defer stopGrace()
	select {
	case ended := <-done:
		if inv.way == "proxied" {
			return ended
		}
		return err
	case <-grace:
	}
	h.log(Warning, "Microsoft.Azure.WebJobs.Script.WebHost.WebScriptHostExceptionHandler",
		"A function timeout has occurred. Restarting worker process executing invocationId '%s'.",
		inv.id)
	cancel(errTimeout)
	inv.in.worker.restart()
	if inv.way == "proxied" {
		// The exchange writes to the caller itself. A caller that reads slowly holds it up no
		// longer.
		caller := http.NewResponseController(inv.req.w)
		_ = caller.SetWriteDeadline(time.Unix(1, 0))
		<-done
		_ = caller.SetWriteDeadline(time.Time{})
	}
	return err
}

// finish logs the end of an attempt; the level shows success.
func (inv *invocation) finish(started time.Time, err error) {
	if inv.timed {
		return
	}
	h := inv.in.h
	took := h.clock.right().Sub(started)
	status, text := Succeeded, ""
	if err != nil {
		e := inv.failure(asException(err))
		status, text = Failed, e.chain()
	}
	h.history.update(
		func() { inv.record.Status, inv.record.Duration, inv.record.Error = status, took, text })
	if err == nil {
		inv.log(Information, inv.category(),
			"Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%dms)", inv.fn.name, inv.id,
			took.Milliseconds())
		return
	}
	inv.log(Error, inv.category(), "Executed 'Functions.%s' (Failed, Id=%s, Duration=%dms)\n%s",
		inv.fn.name, inv.id, took.Milliseconds(), text)
}

// exchange sends a wrapped request and reads the envelope; the answer that never means anything is
// waited for until ctx ends.
func (inv *invocation) exchange(ctx context.Context, p *payload, retry string) (*envelope, error) {
	in := inv.in
	in.worker.await(ctx)
	if err := inv.holdUp(ctx); err != nil {
		return nil, err
	}
	body := p.render(in.h, inv.fn, retry)
	o := in.wrappedRequest(inv.fn, inv.id, body, inv.req)
	ctx, stop := inv.endanger(ctx, o)
	defer stop()
	if in.traced {
		inv.traceRequest(o, body)
	}
	answer, err := in.follow(ctx, o)
	if err != nil {
		in.worker.caughtUp()
		return nil, err
	}
	text, err := readAll(answer)
	in.worker.caughtUp()
	if err != nil {
		return nil, err
	}
	if in.traced {
		inv.log(Trace, inv.category()+".User", "Invocation Response:%s", dump(answer, text))
		inv.log(Trace, inv.category()+".User", "%s", text)
	}
	e, err := readEnvelope(answer, text)
	if err != nil {
		return nil, err
	}
	if e == nil {
		<-ctx.Done()
		return nil, canceled(context.Cause(ctx))
	}
	for _, line := range e.logs {
		inv.log(Information, inv.category()+".User", "%s", line)
	}
	return e, nil
}

// traceRequest logs a request as the host does under Core Tools (recording
// E-request-tracing-coretools).
func (inv *invocation) traceRequest(o *outgoing, body string) {
	lines := ""
	for _, name := range slices.Sorted(maps.Keys(o.hdr)) {
		lines += "\n  " + name + ": " + strings.Join(o.hdr[name], ", ")
	}
	if o.chunked {
		lines += "\n  Transfer-Encoding: chunked"
	}
	inv.log(Trace, inv.category()+".User",
		"Invocation Request:Method: %s, RequestUri: 'http://%s%s', Version: 1.1, Content: System.Net.Http.ObjectContent`1"+
			"[Microsoft.Azure.WebJobs.Script.Workers.Http.HttpScriptInvocationContext], Headers:\n{%s\n}", o.method, inv.in.worker.addr(), o.target, lines)
	inv.log(Trace, inv.category()+".User", "%s", body)
}

// The redirects that HttpClient follows at most (MaxAutomaticRedirections).
const maxRedirects = 50

// follow sends o and follows redirects, unless forwarding is on: 301, 302 and 303 turn a POST into
// a GET, 307 and 308 repeat it (recordings B-handler-302*).
func (in *instance) follow(ctx context.Context, o *outgoing) (*http.Response, error) {
	for n := 0; ; n++ {
		answer, err := in.worker.client.send(ctx, o)
		if err != nil || in.cfg.forwarding || in.cfg.legacyWorker || n == maxRedirects {
			return answer, err
		}
		switch answer.StatusCode {
		case 301, 302, 303, 307, 308, 300:
		default:
			return answer, nil
		}
		target, ok := redirectTarget(in.worker.addr(), o.target, answer.Header.Get("Location"))
		if !ok {
			return answer, nil
		}
		if _, err := readAll(answer); err != nil {
			return nil, err
		}
		next := &outgoing{method: o.method, target: target, hdr: o.hdr, body: o.body,
			chunked: o.chunked}
		if answer.StatusCode != 307 && answer.StatusCode != 308 && o.method == http.MethodPost {
			next.method, next.body, next.hdr = http.MethodGet, nil, o.hdr.Clone()
			next.hdr.Del("Content-Type")
		}
		o = next
	}
}

// redirectTarget is the path of a Location, seen from the path that answered it, on the handler
// itself; the stand-in follows it nowhere else.
func redirectTarget(addr, from, location string) (string, bool) {
	base, err := url.Parse("http://" + addr + from)
	if err != nil || location == "" {
		return "", false
	}
	to, err := base.Parse(escapeURI(location))
	if err != nil || to.Scheme != "http" || to.Host != addr && to.Host != "localhost:"+base.Port() {
		return "", false
	}
	return to.RequestURI(), true
}
