package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"apimrelay/internal/policy"
)

// proxy is the way to the backends.
type proxy struct {
	transport *http.Transport
}

// sampleHost is the host of the sample backend's address: a name that leads nowhere else (RFC 6761).
const sampleHost = "backend.invalid"

func newProxy(roots *x509.CertPool, s *sample) *proxy {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &proxy{transport: &http.Transport{
		// No proxy: backends of a stand-in are near. No compression: answers pass as they are.
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(address); s != nil && host == sampleHost {
				return s.dial(ctx)
			}
			return dialer.DialContext(ctx, network, address)
		},
		MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second, ExpectContinueTimeout: time.Second,
	}}
}

// errTimeout ends a request whose backend sent no header in time.
var errTimeout = errors.New("the backend did not answer within the forward-request timeout")

// forward sends the request to the backend and its answer to the caller, both as streams.
func (p *proxy) forward(c *call) {
	_ = http.NewResponseController(c.w).EnableFullDuplex() // HTTP/2 has it anyway
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	timer := time.AfterFunc(c.verdict.Timeout, func() { cancel(errTimeout) })
	defer timer.Stop()
	sent := time.Now()
	c.record.Durations.BackendAt = millis(sent.Sub(c.start))
	reverse := httputil.ReverseProxy{
		Transport:     p.transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // errors are in the record
		Rewrite:       func(pr *httputil.ProxyRequest) { c.rewrite(pr) },
		ModifyResponse: func(r *http.Response) error {
			timer.Stop()
			c.record.BackendStatus, c.record.Durations.BackendMS = r.StatusCode, millis(time.Since(sent))
			c.outbound(r)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			c.record.Durations.BackendMS = millis(time.Since(sent))
			switch cause := context.Cause(ctx); {
			case errors.Is(cause, errTimeout):
				c.internalError("Timeout", errTimeout.Error())
			case c.r.Context().Err() != nil:
				c.record.Stage = "gateway"
				c.record.Error = &policy.LastError{Source: "client", Reason: "ClientConnectionFailure", Message: "the caller left"}
			default:
				c.internalError("BackendConnectionFailure", err.Error())
			}
		},
	}
	reverse.ServeHTTP(c.w, c.r.WithContext(ctx))
}

// rewrite makes the backend's request: the one that the policies left, at the service URL.
func (c *call) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	service := c.api.service
	if service == nil {
		service = &url.URL{Scheme: "http", Host: sampleHost}
	}
	escaped := strings.TrimRight(service.EscapedPath(), "/") + c.rest
	if escaped == "" {
		escaped = "/"
	}
	path, err := url.PathUnescape(escaped)
	if err != nil { // net/http has parsed it, and so has parseService
		path = escaped
	}
	out.URL = &url.URL{Scheme: service.Scheme, Host: service.Host, Path: path, RawPath: escaped, RawQuery: c.verdict.Request.RawQuery}
	out.Host = "" // the service's own, as API Management sends it
	// ReverseProxy has removed hop-by-hop headers from Out; the rest is what the policies left. It also drops what stands in In but is taken for
	// a proxy's own: API Management passes X-Forwarded-* on.
	hop := http.Header{}
	for _, name := range []string{"Te", "Connection", "Upgrade"} {
		if values, there := out.Header[name]; there {
			hop[name] = values
		}
	}
	removed := connectionNames(pr.In.Header)
	clear(out.Header)
	for name, values := range c.verdict.Request.Header {
		if !hopByHop[name] && !removed[name] {
			out.Header[name] = values
		}
	}
	maps.Copy(out.Header, hop)
	if host := out.Header.Get("Host"); host != "" { // only a set-header puts it there
		out.Host = host
		delete(out.Header, "Host")
	}
	// The caller's own map: it is filled when the body ends, which the copy that ReverseProxy made would not see.
	out.Trailer = pr.In.Trailer
}

// hopByHop are the headers of a connection (RFC 9110 section 7.6.1).
var hopByHop = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Te": true,
	"Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// connectionNames are the headers that Connection names.
func connectionNames(h http.Header) map[string]bool {
	names := map[string]bool{}
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			names[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	return names
}

// outbound runs the section outbound on the backend's answer.
func (c *call) outbound(r *http.Response) {
	maps.Copy(r.Header, c.verdict.Header)
	answer := &policy.Response{Status: r.StatusCode, Header: r.Header}
	rules, answered := c.policy.Outbound(answer, c.input)
	c.record.Rules = append(c.record.Rules, rules...)
	r.Header = answer.Header
	if !answered {
		return
	}
	_ = r.Body.Close()
	r.StatusCode, r.Status = answer.Status, ""
	r.Body = io.NopCloser(strings.NewReader(answer.Body))
	r.ContentLength, r.TransferEncoding, r.Trailer = int64(len(answer.Body)), nil, nil
}
