package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

func (h *Host) answer(ctx context.Context, req *request) (rp *reply, sent bool) {
	in := h.inside()
	// Limits, customHeaders, functions and start page in the order of the host's middleware
	// (Azure/azure-functions-host
	// src/WebJobs.Script.WebHost/WebJobsApplicationBuilderExtension.cs).
	if adminPath(req.path) {
		rp = h.admin(in, req)
		if in.fault == "" {
			in.withCustom(rp.hdr)
		}
		return rp, false
	}
	if in.fault != "" {
		h.refused(req, "", http.StatusServiceUnavailable, "the host is not running: "+in.fault)
		return notRunning(), false
	}
	release, ok := in.limits.enter()
	if !ok {
		h.refused(req, "", http.StatusTooManyRequests,
			"more requests than host.json allows (maxOutstandingRequests)")
		return status(http.StatusTooManyRequests, "X-FUNCTION-SCALEOUT", "1"), false
	}
	defer release()
	if fn, params := in.match(req); fn != nil {
		req.arm(h, fn)
		if f, ok := h.faults.take(FaultStatus, ToCaller, fn.name); ok {
			return faultReply(f), false
		}
		rp, sent := in.call(ctx, fn, params, req)
		if rp != nil && !sent {
			in.withCustom(rp.hdr)
			if in.traceMode() == TraceAppInsights {
				rp.hdr.Set("Request-Context", "appId=") // what its SDK adds
			}
		}
		return rp, sent
	}
	if req.path == "/" { // by any method (HomepageMiddleware.cs)
		rp = h.homepage(in)
	} else {
		function, reason := in.noRoute(req)
		rp = h.refused(req, function, http.StatusNotFound, reason)
	}
	in.withCustom(rp.hdr)
	return rp, false
}

// withCustom adds extensions.http.customHeaders where the answer has none of the name: to every
// answer but the 429 of the limits, which comes before (Azure/azure-functions-host
// src/WebJobs.Script.WebHost/Middleware/CustomHttpHeadersMiddleware.cs; recording E-http-limits).
func (in *instance) withCustom(hdr http.Header) {
	for name, values := range in.cfg.customHeaders {
		if hdr[name] == nil {
			hdr[name] = values
		}
	}
}

// match finds the function: in order of name, the first whose template and method fit. A disabled
// one is found by the master key only.
func (in *instance) match(req *request) (*function, []routeValue) {
	path, ok := strings.CutPrefix(req.path, "/")
	if !ok {
		return nil, nil
	}
	for _, f := range in.functions {
		if f.http() && f.takes(req.Method) {
			if params, ok := f.route.match(path); ok {
				return f, params
			}
		}
	}
	return nil, nil
}

// call runs an HTTP function for a caller.
func (in *instance) call(ctx context.Context, fn *function, params []routeValue,
	req *request) (rp *reply, sent bool) {
	g := in.h.grantOf(req, true)
	// Who may not call it does not learn that it is disabled (FunctionInvocationMiddleware.cs,
	// GetResultAsync).
	if g.level < fn.level {
		return in.h.refused(req, fn.name, http.StatusUnauthorized, fn.noKey(req, g)), false
	}
	if fn.disabled && g.level < adminLevel {
		return in.h.refused(req, fn.name, http.StatusNotFound, fn.name+" is disabled"), false
	}
	inv := &invocation{in: in, fn: fn, id: newGUID(), way: in.way(fn),
		reason: func() string { return byHostAPI }, req: req}
	if req.ContentLength > in.bodyLimit && in.bodyLimit > 0 && inv.way != "proxied" {
		return inv.refuse(ctx, fmt.Sprintf(
			"Request body too large. The max request body size is %d bytes.", in.bodyLimit)), false
	}
	var body []byte
	if req.ContentLength > 0 && inv.way != "proxied" {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return inv.refuse(ctx, "Unexpected end of request content."), false
		}
	}
	// Kept apart from the attempt: one that goes on behind its time-out may still write them.
	var made atomic.Pointer[reply]
	var begun atomic.Bool
	switch inv.way {
	case "proxied":
		inv.attempt = func(ctx context.Context, inv *invocation, _ string) error {
			if err := noHost(req, fn); err != nil {
				return err
			}
			sent, err := inv.proxy(ctx)
			if sent && context.Cause(ctx) == errTimeout {
				reset(req.w) // half an answer is all that the caller gets
			}
			in.worker.caughtUp()
			begun.Store(sent)
			return err
		}
	case "forwarded":
		inv.attempt = func(ctx context.Context, inv *invocation, _ string) error {
			if err := noHost(req, fn); err != nil {
				return err
			}
			r, err := inv.forward(ctx, body)
			made.Store(r)
			return err
		}
	default:
		inv.attempt = func(ctx context.Context, inv *invocation, retry string) error {
			if err := noHost(req, fn); err != nil {
				return err
			}
			e, err := inv.exchange(ctx, in.httpPayload(fn, req, body, params, g.identity()), retry)
			if err != nil {
				return err
			}
			r, err := httpReply(fn, e)
			if err != nil {
				return err
			}
			if err := in.h.deliver(in, fn, inv.id, e); err != nil {
				return err
			}
			made.Store(r)
			return nil
		}
	}
	err := inv.run(ctx)
	rp = made.Load()
	if begun.Load() {
		return nil, true
	}
	if err != nil || rp == nil {
		rp = status(http.StatusInternalServerError)
	}
	in.h.history.update(func() { inv.record.HTTP = rp.status })
	return rp, false
}

// refuse fails the invocation because of the caller's body, which Kestrel does not hand out.
func (inv *invocation) refuse(ctx context.Context, why string) *reply {
	inv.attempt = func(context.Context, *invocation, string) error {
		return newException(invalidOperation, "Exception binding parameter '%s'",
			inv.fn.trigger.name).because(newException(
			"Microsoft.AspNetCore.Server.Kestrel.Core.BadHttpRequestException", "%s", why))
	}
	_ = inv.run(ctx)
	return status(http.StatusInternalServerError)
}

// noHost is a request without a Host (HTTP/1.0): the host cannot make a Uri of it (recording
// P-http10).
func noHost(req *request, fn *function) error {
	if req.Host != "" {
		return nil
	}
	return newException(invalidOperation, "Exception binding parameter '%s'",
		fn.trigger.name).because(newException("System.UriFormatException",
		"Invalid URI: The hostname could not be parsed."))
}

// way is how a function is called: proxied or forwarded where it is simple and the flag is on, else
// wrapped.
func (in *instance) way(fn *function) string {
	switch {
	case in.cfg.legacyWorker && fn.http():
		return "forwarded"
	case !fn.simple():
	case in.cfg.proxying && !in.h.cfg.Switches.NoProxying:
		return "proxied"
	case in.cfg.forwarding:
		return "forwarded"
	}
	return "wrapped"
}

// limits are extensions.http.maxConcurrentRequests and maxOutstandingRequests (recording
// E-http-limits).
type limits struct {
	slots       chan struct{}
	outstanding atomic.Int64
	most        int64
}

func newLimits(cfg *hostConfig) *limits {
	l := &limits{most: int64(cfg.maxOutstanding)}
	if cfg.maxConcurrent > 0 {
		l.slots = make(chan struct{}, cfg.maxConcurrent)
	}
	return l
}

func (l *limits) enter() (func(), bool) {
	if n := l.outstanding.Add(1); l.most >= 0 && n > l.most {
		l.outstanding.Add(-1)
		return nil, false
	}
	if l.slots != nil {
		l.slots <- struct{}{}
	}
	return func() {
		if l.slots != nil {
			<-l.slots
		}
		l.outstanding.Add(-1)
	}, true
}

var errNotThere = errors.New("no such function")
