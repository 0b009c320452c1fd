package host

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// faultyAnswer stands between an answer and the caller's connection.
type faultyAnswer struct {
	http.ResponseWriter
	h     *Host
	holds []metFault // latency and hang, in this order
	ends  string     // reset, reset-in-body, garbage or ""
	begun bool
	over  bool // the connection has ended
}

var errFaultyAnswer = errors.New("a fault of the host has ended the answer")

// arm puts the faults of the caller's side on the answer to req; disarm takes them off.
func (r *request) arm(h *Host, fn *function) {
	a := &faultyAnswer{ResponseWriter: r.w, h: h}
	for _, name := range []string{FaultLatency, FaultHang, FaultReset, FaultResetInBody,
		FaultGarbage} {
		f, ok := h.faults.take(name, ToCaller, fn.name)
		if !ok {
			continue
		}
		r.faults = append(r.faults, f.text())
		if name == FaultLatency || name == FaultHang {
			a.holds = append(a.holds, f)
		} else if a.ends == "" {
			a.ends = name
		}
	}
	if len(r.faults) > 0 {
		r.w = a
	}
}

func (r *request) disarm() {
	// an answer without a body
	if a, ok := r.w.(*faultyAnswer); ok && a.ends == FaultResetInBody && !a.over {
		_ = http.NewResponseController(a.ResponseWriter).Flush()
		a.reset()
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (a *faultyAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// FlushError flushes what has been let through.
func (a *faultyAnswer) FlushError() error {
	if a.over {
		return errFaultyAnswer
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// WriteHeader begins the answer.
func (a *faultyAnswer) WriteHeader(code int) {
	if a.begin() {
		a.ResponseWriter.WriteHeader(code)
	}
}

// Write passes on what is left of an answer: of one that is reset in its body, half of the first
// piece.
func (a *faultyAnswer) Write(p []byte) (int, error) {
	if !a.begin() {
		return 0, errFaultyAnswer
	}
	if a.ends != FaultResetInBody {
		return a.ResponseWriter.Write(p)
	}
	n, _ := a.ResponseWriter.Write(p[:(len(p)+1)/2])
	_ = http.NewResponseController(a.ResponseWriter).Flush()
	a.reset()
	return n, errFaultyAnswer
}

func (a *faultyAnswer) reset() {
	a.over = true
	reset(a.ResponseWriter)
}

// begin holds the answer, and ends it where a fault wants that; it reports whether anything of it
// may go out.
func (a *faultyAnswer) begin() bool {
	if a.begun || a.over {
		return !a.over
	}
	a.begun = true
	for _, f := range a.holds {
		if !a.h.wait(context.Background(), f, f.delay()) {
			a.reset()
			return false
		}
	}
	switch a.ends {
	case FaultReset:
		a.reset()
	case FaultGarbage:
		a.over = true
		if conn, _, err := http.NewResponseController(a.ResponseWriter).Hijack(); err == nil {
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(conn, "\x16\x03\x01 this is not HTTP\r\n\r\n")
			_ = conn.Close()
		}
	}
	return !a.over
}

// faultReply is what FaultStatus answers.
func faultReply(f metFault) *reply {
	rp := status(f.Status)
	switch f.Status {
	case http.StatusTooManyRequests:
		rp.hdr.Set("X-FUNCTION-SCALEOUT", "1")
	case http.StatusServiceUnavailable:
		rp = notRunning()
	}
	if f.RetryAfter != "" {
		rp.hdr.Set("Retry-After", f.RetryAfter)
	}
	return rp
}

// notRunning is the answer of a host that is not ready.
func notRunning() *reply {
	return &reply{status: http.StatusServiceUnavailable, hdr: http.Header{},
		body: []byte("Function host is not running."), chunked: true}
}
