package host

import (
	"bytes"
	"context"
	"errors"
	"net"
	"syscall"
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

// endanger puts the other faults of the handler's side on a request. The context that it returns is the exchange's; stop frees what it holds.
func (inv *invocation) endanger(ctx context.Context, o *outgoing) (exchange context.Context, stop func()) {
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

// writeBroken sends what the fault makes of o, once: tries that the host makes again are as they should be.
func (o *outgoing) writeBroken(c *handlerConn, head []byte) error {
	name := o.broken
	o.broken = ""
	if name == FaultGarbage {
		_, err := c.Write(o.garbled())
		return err
	}
	whole := bytes.NewBuffer(head)
	for _, piece := range o.pieces {
		if o.chunked {
			_ = writeChunk(whole, piece)
		} else {
			whole.Write(piece)
		}
	}
	part := len(head) + (whole.Len()-len(head))/2
	if !o.hasBody() {
		part = len(head) / 2
	}
	_, _ = c.Write(whole.Bytes()[:part])
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	return syscall.ECONNRESET
}

// garbled is the head and a chunk without a size, or bytes that are no request where no body belongs.
func (o *outgoing) garbled() []byte {
	var b bytes.Buffer
	if !o.hasBody() {
		b.WriteString("\x16\x03\x01 this is not HTTP\r\n\r\n")
		return b.Bytes()
	}
	b.WriteString(o.method + " " + o.target + " HTTP/1.1\r\n")
	hdr := o.hdr.without("Content-Length", "Transfer-Encoding")
	hdr.add("Transfer-Encoding", "chunked")
	hdr.write(&b)
	b.WriteString("this is no chunk\r\n\r\n")
	return b.Bytes()
}
