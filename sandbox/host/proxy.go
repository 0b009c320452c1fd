package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
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
		m[http.CanonicalHeaderKey(n)] = true
	}
	return m
}()

func (in *instance) proxiedRequest(req *request, id string) *outgoing {
	o := &outgoing{method: dotnetMethod(req.Method), target: escapePathAll(req.path),
		hdr: http.Header{}}
	if req.rawQuery != "?" {
		o.target += escapeURI(queryOf(req))
	}
	for name, values := range req.hdr {
		if name != "Host" && name != "Content-Length" && !hopByHop[name] {
			o.hdr.Set(name, joined(name, values))
		}
	}
	delete(o.hdr, "X-Forwarded-Prefix")
	o.hdr.Set(versionHeader, hostVersion)
	o.hdr.Set(idHeader, id)
	if o.hdr["X-Ms-Invocation-Id"] == nil {
		o.hdr.Set("X-Ms-Invocation-Id", id)
	}
	in.trace(o.hdr, req, traceForwarded)
	o.hdr.Set("X-Forwarded-For", req.remote)
	o.hdr.Set("X-Forwarded-Host", req.Host)
	o.hdr.Set("X-Forwarded-Proto", in.scheme(req))
	if hasToken(req.hdr, "Connection", "Upgrade") && req.hdr["Upgrade"] != nil {
		o.hdr.Set("Connection", "Upgrade")
		o.hdr.Set("Upgrade", req.hdr.Get("Upgrade"))
	}
	if req.ContentLength != 0 {
		o.stream, o.length = req.Body, req.ContentLength
	}
	return o
}

// The tries of RetryProxyHandler.
const proxyTries = 10

// proxy makes the exchange and writes the answer to the caller as it comes. sent reports whether it has
// begun.
func (inv *invocation) proxy(ctx context.Context) (sent bool, err error) {
	in, req := inv.in, inv.req
	in.worker.await(ctx)
	// an answer may come before the upload is over
	_ = http.NewResponseController(req.w).EnableFullDuplex()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// net/http looks whether the caller hangs up once the upload has been read.
	defer context.AfterFunc(req.Context(), func() { cancel(errCallerGone) })()
	err = inv.holdUp(ctx)
	var answer *http.Response
	if err == nil {
		o := in.proxiedRequest(req, inv.id)
		var stop func()
		ctx, stop = inv.endanger(ctx, o)
		defer stop()
		answer, err = inv.tryProxy(ctx, o)
	}
	if err != nil {
		return false, newException(invalidOperation,
			"Failed to proxy request with ForwarderError: Request").because(asException(err))
	}
	defer answer.Body.Close()
	in.h.history.update(func() { inv.record.HTTP = answer.StatusCode })
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return tunnel(in.h, req, answer)
	}
	return in.stream(req, answer)
}

var errCallerGone = errors.New("the caller has hung up")

// An exchange ends when no byte has moved for so long (DefaultHttpProxyService.cs,
// ActivityTimeout).
const activityTimeout = 240 * time.Second

// tryProxy repeats an exchange without an answer, 1.85 s of pauses in all (recordings P-ans-closed,
// P-headers-utf8). A body is sent once; the tries that cannot send it take their time all the same
// (seen on 4.1037: a POST whose handler is killed is answered after ten of them).
func (inv *invocation) tryProxy(ctx context.Context, o *outgoing) (*http.Response, error) {
	h := inv.in.h
	pause := h.durations.ProxyPause
	sent := false
	for try := 1; ; try++ {
		var answer *http.Response
		var err error
		switch {
		case slices.ContainsFunc(slices.Collect(maps.Values(o.hdr)),
			func(values []string) bool { return !isASCII(strings.Join(values, "")) }):
			err = newException(httpRequestException,
				"Request headers must contain only ASCII characters.")
		case sent:
			err = newException(invalidOperation, "Stream was already consumed.")
		default:
			answer, err = inv.in.worker.proxy.send(ctx, o)
			sent = o.stream != nil && (err == nil || !refused(err))
		}
		if err == nil {
			return answer, nil
		}
		if asException(err).class != httpRequestException && !sent || try == proxyTries ||
			ctx.Err() != nil || !h.clock.sleep(ctx, pause) {
			return nil, err
		}
		pause = min(2*pause, h.durations.ProxyMost)
	}
}

// refused reports whether nothing of a request went out, so that its body can still be sent.
func refused(err error) bool {
	return strings.HasPrefix(asException(err).message, "Connection refused")
}

// stream writes an answer of the handler to the caller, piece by piece.
func (in *instance) stream(req *request, answer *http.Response) (sent bool, err error) {
	h, code := in.h, answer.StatusCode
	hdr := http.Header{}
	for name, values := range answer.Header {
		length := strings.Join(values, "")
		if hopByHop[name] || name == "Content-Length" && (code == http.StatusNotModified &&
			length == "0" || code == http.StatusNoContent) {
			continue
		}
		for _, v := range values {
			if notForHTTP(v) {
				return false, proxyFailure("ResponseHeaders", invalidOperation,
					"Invalid non-ASCII or control character in header: 0x00C3")
			}
		}
		hdr[name] = values
	}
	if names := announced(answer); names != nil {
		hdr["Trailer"] = names
	}
	in.withCustom(hdr)
	switch code {
	case http.StatusResetContent:
		var b [1]byte
		if n, _ := answer.Body.Read(b[:]); n > 0 {
			return false, proxyFailure("ResponseBodyClient", invalidOperation,
				"Responses with status code 205 cannot have a non-zero Content-Length value.")
		}
		hdr.Set("Content-Length", "0")
		fallthrough
	case http.StatusNoContent, http.StatusNotModified:
		req.send(h, &reply{status: code, hdr: hdr})
		return true, nil
	}
	finish(h, hdr)
	maps.Copy(req.w.Header(), hdr)
	req.w.WriteHeader(code)
	if req.Method == http.MethodHead {
		return true, nil
	}
	out := http.NewResponseController(req.w)
	if err := out.Flush(); err != nil {
		return true, proxyFailure("ResponseBodyDestination", "System.IO.IOException", "%s", err)
	}
	buf := make([]byte, 64<<10)
	idle := h.clock.real(activityTimeout)
	timer := time.AfterFunc(idle, func() { _ = answer.Body.Close() })
	defer timer.Stop()
	for {
		n, err := answer.Body.Read(buf)
		timer.Reset(idle)
		if n > 0 {
			_, werr := req.w.Write(buf[:n])
			if werr == nil {
				werr = out.Flush()
			}
			if werr != nil {
				return true, proxyFailure("ResponseBodyDestination", "System.IO.IOException", "%s",
					werr)
			}
		}
		if errors.Is(err, io.EOF) {
			maps.Copy(req.w.Header(), answer.Trailer)
			return true, nil
		}
		if err != nil {
			reset(req.w)
			return true, proxyFailure("ResponseBodyDestination", "System.Net.Http.HttpIOException",
				"The response ended prematurely. (ResponseEnded)")
		}
	}
}

// tunnel passes an upgraded connection on, both ways, until one side ends it.
func tunnel(h *Host, req *request, answer *http.Response) (sent bool, err error) {
	handler := answer.Body.(io.ReadWriteCloser) // as net/http hands out an upgraded connection
	conn, buffered, err := http.NewResponseController(req.w).Hijack()
	if err != nil {
		return false, proxyFailure("UpgradeResponseDestination", "System.IO.IOException", "%s", err)
	}
	defer context.AfterFunc(h.ctx, func() { _ = conn.Close() })()
	_, _ = fmt.Fprintf(buffered, "HTTP/1.1 %d %s\r\n", answer.StatusCode, phrase(answer))
	_ = answer.Header.Write(buffered)
	_, _ = buffered.WriteString("\r\n")
	if err := buffered.Flush(); err != nil {
		_ = conn.Close()
		return true, proxyFailure("UpgradeResponseDestination", "System.IO.IOException", "%s", err)
	}
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(handler, buffered); done <- struct{}{} }()
	go func() { _, _ = io.Copy(conn, handler); done <- struct{}{} }()
	<-done
	_ = handler.Close()
	_ = conn.Close()
	<-done
	return true, nil
}

func proxyFailure(kind, class, format string, args ...any) error {
	return newException(invalidOperation, "Failed to proxy request with ForwarderError: %s",
		kind).because(newException(class, format, args...))
}
