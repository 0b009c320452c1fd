package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// faultyAnswer stands between an answer and the caller's connection.
type faultyAnswer struct {
	conn  *frontConn
	req   *request
	holds []metFault // latency and hang, in this order
	ends  string     // reset, reset-in-body, garbage or ""
	begun bool       // the header has gone out
	over  bool
}

var errFaultyAnswer = errors.New("a fault of the host has ended the answer")

// arm puts the faults of the caller's side on the answer to req; disarm takes them off.
func (c *frontConn) arm(req *request, fn *function) {
	faults := &c.front.h.faults
	a := &faultyAnswer{conn: c, req: req}
	for _, name := range []string{FaultLatency, FaultHang, FaultReset, FaultResetInBody, FaultGarbage} {
		f, ok := faults.take(name, ToCaller, fn.name)
		if !ok {
			continue
		}
		req.faults = append(req.faults, f.text())
		if name == FaultLatency || name == FaultHang {
			a.holds = append(a.holds, f)
		} else if a.ends == "" {
			a.ends = name
		}
	}
	if len(req.faults) > 0 {
		c.out = a
	}
}

// disarm reports whether the connection can go on.
func (c *frontConn) disarm() bool {
	a, ok := c.out.(*faultyAnswer)
	c.out = c.net
	if !ok {
		return true
	}
	if a.begun && !a.over && a.ends == FaultResetInBody { // an answer without a body
		a.over = true
		c.reset(a.req)
	}
	return !a.over
}

// Write passes on what is left of an answer.
func (a *faultyAnswer) Write(p []byte) (int, error) {
	if a.over {
		return 0, errFaultyAnswer
	}
	for _, f := range a.holds {
		if !a.conn.front.h.wait(context.Background(), f, f.delay()) {
			a.over = true
			a.conn.reset(a.req)
			return 0, errFaultyAnswer
		}
	}
	a.holds = nil
	switch a.ends {
	case FaultReset:
		a.over = true
		a.conn.reset(a.req)
		return 0, errFaultyAnswer
	case FaultGarbage:
		a.over, a.req.closing = true, true
		_ = a.conn.net.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(a.conn.net, "\x16\x03\x01 this is not HTTP\r\n\r\n")
		return 0, errFaultyAnswer
	case FaultResetInBody:
		return a.half(p)
	}
	return a.conn.net.Write(p)
}

// half lets the header pass, and half of the first piece of the body.
func (a *faultyAnswer) half(p []byte) (int, error) {
	header := 0
	if !a.begun {
		a.begun = true
		header = len(p)
		if i := bytes.Index(p, []byte("\r\n\r\n")); i >= 0 {
			header = i + 4
		}
	}
	if header == len(p) {
		return a.conn.net.Write(p)
	}
	n, _ := a.conn.net.Write(p[:header+(len(p)-header+1)/2])
	a.over = true
	a.conn.reset(a.req)
	return n, errFaultyAnswer
}

// faultReply is what FaultStatus answers.
func faultReply(f metFault) *reply {
	rp := status(f.Status)
	switch f.Status {
	case http.StatusTooManyRequests:
		rp.hdr.add("X-FUNCTION-SCALEOUT", "1")
	case http.StatusServiceUnavailable:
		rp = notRunning()
	}
	if f.RetryAfter != "" {
		rp.hdr.add("Retry-After", f.RetryAfter)
	}
	return rp
}

// notRunning is the answer of a host that is not ready.
func notRunning() *reply {
	return &reply{status: http.StatusServiceUnavailable, body: []byte("Function host is not running."), chunked: true}
}
