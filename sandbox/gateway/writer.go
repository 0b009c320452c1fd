package gateway

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// writer counts what goes to the caller, keeps net/http from adding to it, and breaks it where a fault asks for that.
type writer struct {
	http.ResponseWriter
	call   *call
	status int
	bytes  int64
}

// Unwrap lets http.ResponseController flush, hijack and turn on full duplex.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
		header := w.Header()
		if _, there := header["Content-Type"]; !there {
			header["Content-Type"] = nil // net/http would guess one
		}
		if w.call.has(FaultClockSkew) {
			header.Set("Date", w.call.now.UTC().Format(http.TimeFormat))
		}
	}
	w.ResponseWriter.WriteHeader(status)
	if status >= 200 && w.call.record.Fault == FaultResetInBody && w.bodyless(status) {
		w.breakOff()
	}
}

// bodyless tells that no Write will come to be broken.
func (w *writer) bodyless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified || w.call.r.Method == http.MethodHead ||
		w.Header().Get("Content-Length") == "0"
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.call.record.Fault == FaultResetInBody && len(p) > 0 {
		n, _ := w.ResponseWriter.Write(p[:len(p)/2])
		w.bytes += int64(n)
		w.breakOff()
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// breakOff sends what is written and cuts the connection.
func (w *writer) breakOff() {
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	w.reset()
	panic(http.ErrAbortHandler)
}

// reset closes the connection so that the peer gets a reset rather than an orderly end.
func (w *writer) reset() {
	conn, _, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil { // HTTP/2 or a recorder: end the stream
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// garbage answers with bytes that are no HTTP.
func (w *writer) garbage() {
	conn, _, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, "\x16\x03\x01 this is not HTTP\r\n\r\n")
	_ = conn.Close()
}

// countingBody counts what the backend was sent. The count is read while the transport may still be reading.
type countingBody struct {
	io.ReadCloser
	n atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

func (b *countingBody) count() int64 { return b.n.Load() }
