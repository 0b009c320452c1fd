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
	token    string
	programs map[string]string // by name: ours, bare, tutorial, codec, before
}

// Sizes of bodies by the path that they have at the gateway.
var sizes = map[string]int{
	"/1k": 1 << 10, burstPath: 1 << 10, "/100k": 100 << 10, "/1m": 1 << 20, "/10m": 10 << 20, peakPath: 10 << 20,
}

// The gateway takes so long over these answers that calls which came at the same time are in hand at
// the same time.
const (
	burstPath = "/1k/burst"
	peakPath  = "/10m/peak"
	answering = 500 * time.Millisecond
)

var delays = map[string]time.Duration{burstPath: answering, peakPath: answering}

// newSet builds the programs and starts what stands round them. before is the folder of another
// checkout of the module whose handler takes part; "" = none does.
func newSet(ctx context.Context, before string) (*set, error) {
	s := &set{token: jwt(tenantID, day), programs: map[string]string{}}
	var err error
	if s.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	bodies := make(map[string]text)
	for path, size := range sizes {
		bodies[path] = text{jsonText(size), int64(size)}
	}
	if s.gateway, err = startGateway(s.dir, s.token, bodies); err != nil {
		return nil, fmt.Errorf("starting a gateway: %w", err)
	}
	if s.identity, s.asked, err = startIdentity(s.token); err != nil {
		return nil, fmt.Errorf("starting an identity endpoint: %w", err)
	}
	if err := s.writeApp(); err != nil {
		return nil, err
	}
	for name, pkg := range map[string]string{
		oursName: "./handler", "bare": "./handler/cmd/bench/bare", "tutorial": "./handler/cmd/bench/tutorial",
		"codec": "./handler/cmd/bench/codec",
	} {
		if s.programs[name], err = build(ctx, filepath.Join(s.dir, name), ".", pkg); err != nil {
			return nil, err
		}
	}
	if before != "" {
		s.programs[beforeName], err = build(ctx, filepath.Join(s.dir, beforeName), before, "./handler")
	}
	return s, err
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

// environment is what a program gets: the app settings of the handler, and the same facts for the
// references. Every feature of the handler is on but the export of traces and metrics.
func (s *set) environment(secure bool) []string {
	url := s.gateway.url(secure)
	return []string{
		"SSL_CERT_FILE=" + s.gateway.certFile,
		"IDENTITY_ENDPOINT=" + s.identity, "IDENTITY_HEADER=bench",
		"FUNCTIONS_APP_ROOT_PATH=" + filepath.Join(s.dir, "app"),
		"TargetApp=" + benchResource, "TargetTenantID=" + tenantID, "FunctionIdentity=" + connection,
		"ApimUrl=" + url, "ApimKey=" + gatewayKey, "ApimKeySecondary=" + strings.ToUpper(gatewayKey), "ApimHeaders=" + apiHeader,
		"BENCH_URL=" + url, "BENCH_KEY=" + gatewayKey, "BENCH_TOKEN=" + s.token, "BENCH_CLIENT=" + benchClient, "BENCH_RESOURCE=" + benchResource,
	}
}

// forwarded is a GET as the host forwards it, with the header that front ends add (recordings of host
// 4.1037 behind App Service's header names).
func (s *set) forwarded(path string) request {
	return request{head: fmt.Appendf(nil, "GET /api/relay%s HTTP/1.1\r\nHost: app.azurewebsites.net\r\nAccept: */*\r\n"+
		"X-Forwarded-For: 203.0.113.7:51234, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"+
		"X-Forwarded-Host: app.azurewebsites.net\r\nX-Original-URL: /api/relay%s\r\n"+
		"X-ARR-LOG-ID: 11111111-2222-3333-4444-555555555555\r\nX-ARR-SSL: 2048|256|CN=x|CN=y\r\n"+
		"CLIENT-IP: 203.0.113.7:51234\r\nDISGUISED-HOST: app.azurewebsites.net\r\nX-SITE-DEPLOYMENT-ID: app\r\n"+
		"WAS-DEFAULT-HOSTNAME: app.azurewebsites.net\r\nX-MS-REQUEST-ID: rid\r\n"+
		"X-Azure-Functions-HostVersion: 4.1037.0.0\r\n"+
		"X-Azure-Functions-InvocationId: 7fcb7313-2fac-4af1-8ac3-743035dc91d1\r\n"+
		"User-Agent: client/1 Azure-Functions-Host/4.1037.0.0\r\n\r\n", path, path)}
}

// proxied is an upload as the host proxies it, idempotent so that nothing of the handler's is spared.
func (s *set) proxied(path string) request {
	body := s.gateway.bodies[path]
	return request{body: body, head: fmt.Appendf(nil, "PUT /api/relay%s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Azure-Functions-HostVersion: 4.1037.0.0\r\n"+
		"X-Azure-Functions-InvocationId: e3ba6749-0361-4bc0-a26f-6baac7e5b44e\r\nx-ms-invocation-id: e3ba6749-0361-4bc0-a26f-6baac7e5b44e\r\n"+
		"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: localhost:7240\r\nX-Forwarded-Proto: http\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		path, body.size)}
}
