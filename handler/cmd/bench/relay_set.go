//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

const (
	benchResource = "api://bench"
	benchClient   = "22222222-2222-2222-2222-222222222222"
)

// set is everything that stands round the programs that are measured.
type set struct {
	dir      string
	gateway  *gateway
	identity string
	asked    *atomic.Int64
	otlp     string
	exported *atomic.Int64
	token    string
	programs map[string]string // by name: ours, bare, stock, tutorial, codec
}

// Sizes of bodies by the path that they have at the gateway.
var sizes = map[string]int{"/1k": 1 << 10, "/1k/1ms": 1 << 10, "/100k": 100 << 10, "/1m": 1 << 20, "/10m": 10 << 20, "/10m/500ms": 10 << 20, "/10m/500ms/up": 10 << 20}

// delays are how long the gateway takes over an answer: nothing at all, a millisecond (no real one is quicker), or so long that calls which came at the
// same time are in hand at the same time.
var delays = map[string]time.Duration{"/1k/1ms": time.Millisecond, "/10m/500ms": 500 * time.Millisecond, "/10m/500ms/up": 500 * time.Millisecond}

const streamPath, streamBlock = "/stream", 64 << 10

func newSet(ctx context.Context, stream int64) (*set, error) {
	s := &set{token: jwt(tenantID, day), programs: map[string]string{}}
	var err error
	if s.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	bodies := map[string]text{streamPath: {jsonText(streamBlock), stream}}
	for path, size := range sizes {
		bodies[path] = text{jsonText(size), int64(size)}
	}
	if s.gateway, err = startGateway(s.dir, s.token, bodies); err != nil {
		return nil, fmt.Errorf("starting a gateway: %w", err)
	}
	s.gateway.answers = map[string]text{"/10m/500ms/up": bodies["/1k"]}
	if s.identity, s.asked, err = startIdentity(s.token); err != nil {
		return nil, fmt.Errorf("starting an identity endpoint: %w", err)
	}
	if s.otlp, s.exported, err = startCollector(); err != nil {
		return nil, fmt.Errorf("starting a collector: %w", err)
	}
	if err := s.writeApp(); err != nil {
		return nil, err
	}
	for name, pkg := range map[string]string{
		"ours": "./handler", "bare": "./handler/cmd/bench/bare", "stock": "./handler/cmd/bench/stock", "tutorial": "./handler/cmd/bench/tutorial",
		"codec": "./handler/cmd/bench/codec",
	} {
		if s.programs[name], err = build(ctx, s.dir, pkg); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *set) close() { _ = os.RemoveAll(s.dir) }

// writeApp makes a script root with one function, which the host may hand over in each way.
func (s *set) writeApp() error {
	for name, text := range map[string]string{
		"host.json": `{"version":"2.0","functionTimeout":"00:05:00","customHandler":{"description":{"defaultExecutablePath":"handler"},` +
			`"enableForwardingHttpRequest":true,"enableProxyingHttpRequest":true}}`,
		"relay/function.json": `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"function","methods":["get","post","put"],` +
			`"route":"relay/{*path}"},{"type":"http","direction":"out","name":"res"}]}`,
	} {
		file := filepath.Join(s.dir, "app", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// environment is what a program gets: the app settings of the handler, and the same facts for the references. Every feature of the handler is on.
func (s *set) environment(secure, otlp bool) []string {
	url := s.gateway.url(secure)
	env := []string{
		"SSL_CERT_FILE=" + s.gateway.certFile,
		"IDENTITY_ENDPOINT=" + s.identity, "IDENTITY_HEADER=bench",
		"FUNCTIONS_APP_ROOT_PATH=" + filepath.Join(s.dir, "app"),
		"TargetApp=" + benchResource, "TargetTenantID=" + tenantID, "FunctionIdentity=" + connection,
		"ApimUrl=" + url, "ApimKey=" + gatewayKey, "ApimKeySecondary=" + strings.ToUpper(gatewayKey), "ApimHeaders=" + apiHeader,
		"BENCH_URL=" + url, "BENCH_KEY=" + gatewayKey, "BENCH_TOKEN=" + s.token, "BENCH_CLIENT=" + benchClient, "BENCH_RESOURCE=" + benchResource,
	}
	if otlp {
		env = append(env, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.otlp, "OTEL_TRACES_SAMPLER=always_on")
	}
	return env
}

// forwarded is a request as the host forwards it, with the header that front ends add (recordings of host 4.1037 behind App Service's header names).
func (s *set) forwarded(method, path string) request {
	req := request{head: fmt.Appendf(nil, "%s /api/relay%s HTTP/1.1\r\nHost: app.azurewebsites.net\r\nAccept: */*\r\nX-Forwarded-For: 203.0.113.7:51234, 10.0.0.1\r\n"+
		"X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.azurewebsites.net\r\nX-Original-URL: /api/relay%s\r\nX-ARR-LOG-ID: 11111111-2222-3333-4444-555555555555\r\n"+
		"X-ARR-SSL: 2048|256|CN=x|CN=y\r\nCLIENT-IP: 203.0.113.7:51234\r\nDISGUISED-HOST: app.azurewebsites.net\r\nX-SITE-DEPLOYMENT-ID: app\r\n"+
		"WAS-DEFAULT-HOSTNAME: app.azurewebsites.net\r\nX-MS-REQUEST-ID: rid\r\nX-Azure-Functions-HostVersion: 4.1037.0.0\r\n"+
		"X-Azure-Functions-InvocationId: 7fcb7313-2fac-4af1-8ac3-743035dc91d1\r\nUser-Agent: client/1 Azure-Functions-Host/4.1037.0.0\r\n", method, path, path)}
	if method == "POST" {
		req.body = s.gateway.bodies[path]
		req.head = fmt.Appendf(req.head, "Content-Type: application/json\r\nContent-Length: %d\r\n", req.body.size)
	}
	req.head = append(req.head, "\r\n"...)
	return req
}

// proxied is an upload as the host proxies it, idempotent so that nothing of the handler's is spared.
func (s *set) proxied(path string) request {
	body := s.gateway.bodies[path]
	return request{body: body, head: fmt.Appendf(nil, "PUT /api/relay%s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Azure-Functions-HostVersion: 4.1037.0.0\r\n"+
		"X-Azure-Functions-InvocationId: e3ba6749-0361-4bc0-a26f-6baac7e5b44e\r\nx-ms-invocation-id: e3ba6749-0361-4bc0-a26f-6baac7e5b44e\r\n"+
		"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: localhost:7240\r\nX-Forwarded-Proto: http\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		path, body.size)}
}
