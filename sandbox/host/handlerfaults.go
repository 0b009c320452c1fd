package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"time"
)

var (
	errHeld   = errors.New("the host ended while a fault held the call")
	errGaveUp = errors.New("the host has given the exchange up: fault reset")
)

// met notes a fault in the history of the invocation.
func (inv *invocation) met(f metFault) { inv.in.h.history.meet(inv.id, f.text()) }

// holdUp is latency and hang on the handler's side.
func (inv *invocation) holdUp(ctx context.Context) error {
	h := inv.in.h
	for _, name := range []string{FaultLatency, FaultHang} {
		f, ok := h.faults.take(name, ToHandler, inv.fn.name)
		if !ok {
			continue
		}
		inv.met(f)
		held, stop := context.WithCancel(ctx)
		unhook := context.AfterFunc(inv.in.ctx, stop) // an inside that is replaced holds nothing
		on := h.wait(held, f, f.delay())
		unhook()
		stop()
		if !on {
			cause := context.Cause(ctx)
			if cause == nil {
				cause = errHeld
			}
			return canceled(cause)
		}
	}
	return nil
}

// endanger puts the other faults of the handler's side on a request. The context that it returns is
// the exchange's; stop frees what it holds.
func (inv *invocation) endanger(ctx context.Context, o *outgoing) (exchange context.Context,
	stop func()) {
	h := inv.in.h
	exchange, cancel := context.WithCancelCause(ctx)
	var hooks []func()
	if f, ok := h.faults.take(FaultReset, ToHandler, inv.fn.name); ok {
		inv.met(f)
		hooks = append(hooks, func() { after(f.delay(), func() { cancel(errGaveUp) }) })
	}
	if f, ok := h.faults.take(FaultKill, ToHandler, inv.fn.name); ok {
		inv.met(f)
		hooks = append(hooks, func() { after(f.delay(), inv.in.worker.kill) })
	}
	for _, name := range []string{FaultGarbage, FaultResetInBody} {
		if f, ok := h.faults.take(name, ToHandler, inv.fn.name); ok {
			inv.met(f)
			o.broken = name
		}
	}
	if hooks != nil {
		o.out = func() {
			for _, hook := range hooks {
				hook()
			}
		}
	}
	return exchange, func() { cancel(nil) }
}

// after calls f once d is over; without d, before it returns.
func after(d time.Duration, f func()) {
	if d == 0 {
		f()
		return
	}
	time.AfterFunc(d, f)
}

// kill ends the handler as somebody else than the host would, so that it counts.
func (w *worker) kill() {
	w.mu.Lock()
	p := w.proc
	w.mu.Unlock()
	if p != nil {
		_ = p.cmd.Process.Kill()
	}
}

// sendBroken sends what the fault makes of o, once: tries that the host makes again are as they
// should be.
func (c *client) sendBroken(ctx context.Context, o *outgoing) (*http.Response, error) {
	name := o.broken
	o.broken = ""
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", c.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	head := *o
	head.stream = nil // what the caller uploads is not for this
	var whole bytes.Buffer
	_ = head.request(ctx, c.addr).Write(&whole)
	if name == FaultGarbage {
		_, _ = conn.Write(garbled(whole.Bytes(), o.body != nil || o.stream != nil))
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		answer.Body = &connBody{answer.Body, conn}
		return answer, nil
	}
	headerEnd := bytes.Index(whole.Bytes(), []byte("\r\n\r\n")) + 4
	part := headerEnd + (whole.Len()-headerEnd)/2
	if o.body == nil {
		part = headerEnd / 2
	}
	_, _ = conn.Write(whole.Bytes()[:part])
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
	return nil, errNoAnswer
}

// connBody is a body that ends its connection.
type connBody struct {
	io.ReadCloser
	conn net.Conn
}

func (c *connBody) Close() error { return c.conn.Close() }

// garbled is the head of a request and a chunk without a size, or bytes that are no request where
// no body belongs.
func garbled(request []byte, hasBody bool) []byte {
	if !hasBody {
		return []byte("\x16\x03\x01 this is not HTTP\r\n\r\n")
	}
	head, _, _ := bytes.Cut(request, []byte("\r\n\r\n"))
	return append(framingFields.ReplaceAll(head, nil),
		"\r\nTransfer-Encoding: chunked\r\n\r\nthis is no chunk\r\n\r\n"...)
}

var framingFields = regexp.MustCompile(`\r\n(Content-Length|Transfer-Encoding): [^\r]*`)
