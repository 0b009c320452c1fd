package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Proxying: YARP between caller and handler, bodies streamed both ways.
// Sources: Azure/azure-functions-host DefaultHttpProxyService.cs, RetryProxyHandler.cs; dotnet/yarp
// src/ReverseProxy/Forwarder/{HttpForwarder,HttpTransformer, RequestUtilities}.cs; recordings P-*.

// Headers that YARP passes in neither direction.
var hopByHop = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields(`connection transfer-encoding keep-alive upgrade proxy-connection proxy-authenticate proxy-authentication-info
		proxy-authorization proxy-features proxy-instruction security-scheme alpn close http2-settings upgrade-insecure-requests te alt-svc`) {
		m[n] = true
	}
	return m
}()

func (in *instance) proxiedRequest(req *request, id string) *outgoing {
	o := &outgoing{method: dotnetMethod(req.method), target: escapePathAll(req.path) + escapeURI(queryOf(req)), hdr: headers{{"Host", in.worker.addr()}}}
	if req.rawQuery == "?" {
		o.target = escapePathAll(req.path)
	}
	var content headers
	for _, g := range req.hdr.groups() {
		lower := strings.ToLower(g.name)
		switch {
		case lower == "host" || hopByHop[lower] || !isToken(g.name) || strings.HasPrefix(lower, "x-forwarded-") && forwardedByHost[lower]:
		case contentHeaders[lower]:
			content.add(dotnetName(g.name), joined(g))
		default:
			o.hdr.add(dotnetName(g.name), joined(g))
		}
	}
	o.hdr.replace(versionHeader, hostVersion)
	o.hdr.replace(idHeader, id)
	if !o.hdr.has("x-ms-invocation-id") {
		o.hdr.add("x-ms-invocation-id", id)
	}
	in.trace(&o.hdr, req, traceForwarded)
	o.hdr = append(o.hdr, field{"X-Forwarded-For", req.remote}, field{"X-Forwarded-Host", req.host}, field{"X-Forwarded-Proto", in.scheme(req)})
	if req.hdr.hasToken("Connection", "Upgrade") && req.hdr.has("Upgrade") {
		o.hdr = append(o.hdr, field{"Connection", "Upgrade"}, field{"Upgrade", req.hdr.get("Upgrade")})
	}
	switch {
	case req.chunked:
		o.hdr.add("Transfer-Encoding", "chunked")
	case req.length > 0:
	case len(content) > 0:
		content.replace("Content-Length", "0")
	case mustHaveBody(req.method):
		content.add("Content-Length", "0")
	}
	o.hdr = append(o.hdr, content...)
	return o
}

var forwardedByHost = map[string]bool{"x-forwarded-for": true, "x-forwarded-host": true, "x-forwarded-proto": true, "x-forwarded-prefix": true}

// The tries of RetryProxyHandler.
const proxyTries = 10

// proxy makes the exchange and writes the answer to the caller as it comes. sent tells that it has begun.
func (inv *invocation) proxy(ctx context.Context, conn *frontConn) (sent bool, err error) {
	in := inv.in
	in.worker.await(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := in.proxiedRequest(inv.req, inv.id)
	w := &callerWatch{conn: conn, gone: func() { cancel(errCallerGone) }}
	defer w.end()
	whole := atomic.Bool{}
	defer func() {
		if o.stream != nil && !whole.Load() {
			// The answer is there and the upload is not known to be over. Where the handler has read all of it this is only late to be noticed;
			// otherwise what is left of it cannot be told from the next request.
			_ = conn.net.SetReadDeadline(time.Now().Add(uploadGrace))
			o.uploads.Wait()
			_ = conn.net.SetReadDeadline(time.Time{})
			inv.req.closing = inv.req.closing || !whole.Load()
		}
	}()
	if inv.req.chunked || inv.req.length > 0 {
		o.stream = func(to io.Writer) error {
			err := copyUpload(to, inv.req)
			if err == nil {
				whole.Store(true)
				w.begin()
			}
			return err
		}
	} else {
		w.begin()
	}
	err = inv.holdUp(ctx)
	var answer *incoming
	if err == nil {
		var stop func()
		ctx, stop = inv.endanger(ctx, o)
		defer stop()
		answer, err = inv.tryProxy(ctx, o)
	}
	if err != nil {
		return false, newException(invalidOperation, "Failed to proxy request with ForwarderError: Request").because(asException(err))
	}
	defer answer.release(false)
	in.h.history.update(func() { inv.record.HTTP = answer.status })
	if answer.status == http.StatusSwitchingProtocols {
		w.end()
		return conn.tunnel(inv.req, answer)
	}
	return conn.stream(inv.req, answer, in.withCustom, in.h.clock.real(activityTimeout))
}

// uploadGrace is how long an upload may still be coming when its answer has gone out whole. Kestrel reads on for five seconds, of which nobody sees more
// than that the connection stays (dotnet/aspnetcore src/Servers/Kestrel/Core/src/Internal/Infrastructure/Constants.cs, RequestBodyDrainTimeout).
const uploadGrace = 100 * time.Millisecond

var errCallerGone = errors.New("the caller has hung up")

// An exchange ends when no byte has moved for so long (DefaultHttpProxyService.cs, ActivityTimeout).
const activityTimeout = 240 * time.Second

// tryProxy repeats an exchange without an answer, 1.85 s of pauses in all; a body can be sent once (recordings P-ans-closed, P-headers-utf8).
func (inv *invocation) tryProxy(ctx context.Context, o *outgoing) (*incoming, error) {
	h := inv.in.h
	pause := h.durations.ProxyPause
	for try := 1; ; try++ {
		err := error(nil)
		for _, f := range o.hdr {
			if !isASCII(f.value) {
				err = newException(httpRequestException, "Request headers must contain only ASCII characters.")
			}
		}
		var answer *incoming
		if err == nil {
			answer, err = inv.in.worker.proxy.send(ctx, o)
		}
		if err == nil {
			return answer, nil
		}
		if asException(err).class != httpRequestException || try == proxyTries || ctx.Err() != nil || !h.clock.sleep(ctx, pause) {
			return nil, err
		}
		pause = min(2*pause, h.durations.ProxyMost)
		if o.stream != nil && answer == nil && !refused(err) {
			return nil, newException(invalidOperation, "Stream was already consumed.")
		}
	}
}

// refused tells that nothing of a request went out, so that its body can still be sent.
func refused(err error) bool {
	return strings.HasPrefix(asException(err).message, "Connection refused")
}

// callerWatch looks whether the caller hangs up, from the moment when its upload has been read.
type callerWatch struct {
	conn  *frontConn
	gone  func()
	mu    sync.Mutex
	ended bool
	stop  func()
}

func (w *callerWatch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended && w.stop == nil {
		w.stop = w.conn.watch(w.gone)
	}
}

func (w *callerWatch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.stop != nil {
		w.stop()
	}
}

// copyUpload passes a body on as it comes; a chunked one keeps its pieces (recording P-post-chunked-json: 8, 10, 0).
func copyUpload(w io.Writer, req *request) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := req.body.Read(buf)
		if n > 0 {
			var werr error
			if req.chunked {
				werr = writeChunk(w, buf[:n])
			} else {
				_, werr = w.Write(buf[:n])
			}
			if werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			if req.chunked {
				_, err = io.WriteString(w, lastChunk)
				return err
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stream writes an answer of the handler to the caller, piece by piece.
func (c *frontConn) stream(req *request, in *incoming, custom func(headers) headers, idle time.Duration) (sent bool, err error) {
	var hdr, content headers // YARP copies the message's headers, then the content's (HttpTransformer.cs, TransformResponseAsync)
	for _, f := range in.hdr {
		lower := strings.ToLower(f.name)
		if hopByHop[lower] || lower == "content-length" && (in.chunked || in.status == 304 && f.value == "0" || in.status == 204) {
			continue
		}
		if !isASCII(f.value) || strings.ContainsFunc(f.value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return false, proxyFailure("ResponseHeaders", invalidOperation, "Invalid non-ASCII or control character in header: 0x00C3")
		}
		if contentHeaders[lower] {
			content.add(dotnetName(f.name), f.value)
		} else {
			hdr.add(dotnetName(f.name), f.value)
		}
	}
	hdr = append(hdr, content...)
	noBody := req.method == http.MethodHead || in.status == 204 || in.status == 304
	chunked := false
	if in.status == http.StatusResetContent {
		var b [1]byte
		if n, _ := in.body.Read(b[:]); n > 0 {
			return false, proxyFailure("ResponseBodyClient", invalidOperation,
				"Responses with status code 205 cannot have a non-zero Content-Length value.")
		}
		noBody = true
		hdr = append(hdr.without("Content-Length"), field{"Content-Length", "0"})
	}
	if !noBody && !hdr.has("Content-Length") {
		if chunked = !req.proto10; chunked {
			hdr.add("Transfer-Encoding", "chunked")
		} else {
			req.closing = true
		}
	}
	hdr = custom(hdr)
	var b bytes.Buffer
	writeStatus(&b, in.status, in.phrase())
	c.finish(req, &hdr)
	hdr.write(&b)
	if _, err := c.out.Write(b.Bytes()); err != nil {
		return true, proxyFailure("ResponseBodyDestination", "System.IO.IOException", "%s", err)
	}
	if noBody {
		in.release(true)
		return true, nil
	}
	buf := make([]byte, 64<<10)
	timer := time.AfterFunc(idle, func() { in.release(false) })
	defer timer.Stop()
	for {
		n, err := in.body.Read(buf)
		timer.Reset(idle)
		if n > 0 && err == nil && in.cutShort() {
			err = io.ErrUnexpectedEOF
			n = 0
		}
		if n > 0 {
			var werr error
			if chunked {
				werr = writeChunk(c.out, buf[:n])
			} else {
				_, werr = c.out.Write(buf[:n])
			}
			if werr != nil {
				return true, proxyFailure("ResponseBodyDestination", "System.IO.IOException", "%s", werr)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			c.reset(req)
			return true, proxyFailure("ResponseBodyDestination", "System.Net.Http.HttpIOException", "The response ended prematurely. (ResponseEnded)")
		}
	}
	in.release(true)
	if chunked {
		if _, err := io.WriteString(c.out, lastChunk); err != nil {
			return true, proxyFailure("ResponseBodyDestination", "System.IO.IOException", "%s", err)
		}
	}
	return true, nil
}

// cutShort tells whether the handler's connection has ended in the middle of the body: the reset that follows then overtakes the last piece,
// which the caller does not get (recording P-ans-chunked-cut).
func (in *incoming) cutShort() bool {
	switch b := in.body.(type) {
	case *lengthReader:
		if b.left == 0 {
			return false
		}
	case *chunkReader:
	default:
		return false
	}
	if in.conn.r.Buffered() > 2 { // more than the line break behind a chunk
		return false
	}
	want := in.conn.r.Buffered() + 1
	_ = in.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := in.conn.r.Peek(want)
	_ = in.conn.SetReadDeadline(time.Time{})
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// tunnel passes an upgraded connection on, both ways, until one side ends it.
func (c *frontConn) tunnel(req *request, in *incoming) (sent bool, err error) {
	req.closing = true
	var b bytes.Buffer
	writeStatus(&b, in.status, in.phrase())
	in.hdr.write(&b)
	if _, err := c.net.Write(b.Bytes()); err != nil {
		return true, proxyFailure("UpgradeResponseDestination", "System.IO.IOException", "%s", err)
	}
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(in.conn, c.r); done <- struct{}{} }()
	go func() { _, _ = io.Copy(c.net, in.conn.r); done <- struct{}{} }()
	<-done
	in.release(false)
	_ = c.net.Close()
	<-done
	return true, nil
}

func proxyFailure(kind, class, format string, args ...any) error {
	return newException(invalidOperation, "Failed to proxy request with ForwarderError: %s", kind).because(newException(class, format, args...))
}

// reset ends the connection so that the caller sees a reset (recording P-ans-chunked-cut).
func (c *frontConn) reset(req *request) {
	req.closing = true
	if tcp, ok := c.net.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.net.Close()
}

// watch calls gone when the caller hangs up while its request is being answered; stop ends the watch before the next request is read.
func (c *frontConn) watch(gone func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := c.r.Peek(1); err != nil {
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				gone()
			}
		}
	}()
	return func() {
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = c.net.SetReadDeadline(time.Time{})
	}
}
