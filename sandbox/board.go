package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"apimrelay/internal/policy"
	"apimrelay/internal/secret"
	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
	"apimrelay/sandbox/loopback"
)

// The gateway's API in the sandbox: its path, and what its backend is called where people read it.
const (
	apiPath     = "sample"
	backendName = "sample backend"
)

// lastCalls is how long running invocations have after Ctrl-C, where the real host gives them 30 s.
const lastCalls = 2 * time.Second

// firstTick is how long after the start the timer is due for the first time.
const firstTick = 2 * time.Second

// board is a running sandbox: the stand-ins, the host on the script root, the console.
type board struct {
	options
	functions []functionInfo
	environ   []string // of the host
	settings  map[string]string
	identity  *identity.Server // nil: az
	gateway   *gateway.Gateway // nil: real
	host      *host.Host
	store     *store
	collector *collector
	keys      struct{ function, master string }
	consoleAt string
	servers   []*http.Server
	stop      context.CancelFunc
	stderr    io.Writer
	printing  sync.Mutex
	began     time.Time
}

// start brings everything up. What could not start is one error that names the cause and what mends it; what had started by then is closed.
func start(o options, environ []string, stderr io.Writer) (*board, error) {
	b := &board{options: o, store: &store{}, settings: map[string]string{}, stderr: stderr, began: time.Now()}
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	if err := b.startAll(ctx, environ); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *board) startAll(ctx context.Context, environ []string) error {
	var err error
	if b.functions, err = readApp(b.root); err != nil {
		return err
	}
	base := map[string]string{}
	if b.options.identity == "az" {
		if base, err = readLocalSettings(b.options.settings); err != nil {
			return err
		}
	}
	if err := b.startIdentity(base); err != nil {
		return err
	}
	backend := backendName
	if b.options.gateway == "real" {
		backend = ""
	}
	b.collector = newCollector(b.store, b.identity, backend)
	if err := b.startGateway(base); err != nil {
		return err
	}
	b.environ = hostEnvironment(environ, merge(base, b.settings))
	if err := b.takeTraces(); err != nil {
		return err
	}
	if err := b.startHost(); err != nil {
		return err
	}
	go b.collector.run(ctx)
	return b.startConsole()
}

func (b *board) startIdentity(base map[string]string) error {
	if b.options.identity == "az" {
		if !strings.Contains(strings.ToLower(strings.ReplaceAll(base["FunctionIdentity"], " ", "")), "runas=developer") {
			b.settings["FunctionIdentity"] = "RunAs=Developer;DeveloperTool=AzureCli"
		}
		if base["FUNCTIONS_WORKER_RUNTIME"] == "" {
			b.settings["FUNCTIONS_WORKER_RUNTIME"] = "custom"
		}
		return nil
	}
	b.identity = identity.New(identity.Config{})
	at, err := b.serve("127.0.0.1:0", b.identity.Handler())
	if err != nil {
		return err
	}
	maps.Copy(b.settings, sandboxSettings())
	for _, pair := range b.identity.Environment("http://" + at) {
		name, value, _ := strings.Cut(pair, "=")
		b.settings[name] = value
	}
	b.settings["metadata"] = "http://" + at + b.identity.MetadataPath(identity.APIURI)
	return nil
}

func (b *board) startGateway(base map[string]string) error {
	metadata := b.settings["metadata"]
	delete(b.settings, "metadata")
	if b.options.gateway == "real" {
		return nil
	}
	namedValues := map[string]string{"openid-config-url": metadata, "client-id": identity.APIClientID, "app-id-uri": identity.APIURI}
	if b.identity == nil {
		// The real tenant's tokens: version 2 of the metadata, as the deployment registers the API.
		app := strings.TrimSuffix(strings.TrimSpace(base["TargetApp"]), "/.default")
		metadata = "https://login.microsoftonline.com/" + strings.TrimSpace(base["TargetTenantID"]) + "/v2.0/.well-known/openid-configuration"
		if b.metadata != "" {
			metadata = b.metadata
		}
		namedValues = map[string]string{"openid-config-url": metadata, "app-id-uri": app, "client-id": strings.TrimPrefix(app, "api://")}
	}
	api := gateway.API{Name: apiPath, Path: apiPath}
	var err error
	if api.Policy, err = readPolicy(b.policy, "-policy"); err != nil {
		return err
	}
	api.Operations = []gateway.Operation{{Name: "read", Method: "GET", Template: "/*"}, {Name: "look", Method: "HEAD", Template: "/*"}}
	var write *policy.Document
	if b.writePolicy != "" {
		if write, err = readPolicy(b.writePolicy, "-write-policy"); err != nil {
			return err
		}
	}
	for name, method := range map[string]string{"create": "POST", "replace": "PUT", "change": "PATCH", "remove": "DELETE"} {
		api.Operations = append(api.Operations, gateway.Operation{Name: name, Method: method, Template: "/*", Policy: write})
	}
	b.gateway, err = gateway.New(gateway.Config{
		APIs: []gateway.API{api}, NamedValues: namedValues, OnRecord: b.collector.onRecord,
		// A person rotates keys and wants to see what comes of it now, not in five minutes.
		MetadataRetry: time.Second,
	})
	if err != nil {
		return fmt.Errorf("the policy cannot be used: %w", err)
	}
	at, err := b.serve("127.0.0.1:0", b.gateway)
	if err != nil {
		return err
	}
	b.settings["ApimUrl"] = "http://" + at + "/" + apiPath
	return b.takeKeys()
}

func readPolicy(file, flagName string) (*policy.Document, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no policy in %s: run from the project's folder, or name the file with %s", file, flagName)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	defer f.Close()
	document, err := policy.Parse(file, f)
	if err != nil {
		return nil, fmt.Errorf("the policy is broken: %w", err)
	}
	return document, nil
}

// takeKeys puts the gateway's keys into the settings; the handler reads them at its start.
func (b *board) takeKeys() error {
	primary, secondary, err := b.gateway.Keys("sandbox")
	if err != nil {
		return err
	}
	b.settings["ApimKey"], b.settings["ApimKeySecondary"] = primary.Reveal(), secondary.Reveal()
	return nil
}

// takeTraces has the handler export its spans to the console, unless the caller's environment sends them elsewhere.
func (b *board) takeTraces() error {
	if slices.ContainsFunc(b.environ, func(pair string) bool { return strings.HasPrefix(pair, "OTEL_") }) {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+tracesPath, b.collector.serveTraces)
	at, err := b.serve("127.0.0.1:0", loopback.Guard(mux))
	if err != nil {
		return err
	}
	b.environ = with(b.environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://"+at+tracesPath)
	return nil
}

func (b *board) startHost() error {
	b.keys.function, b.keys.master = randomKey(), randomKey()
	addr := b.addr
	if addr == "" {
		addr = "127.0.0.1:7071"
	}
	if l, err := loopback.Listen(addr); err == nil {
		addr = l.Addr().String()
		l.Close()
	} else if b.addr != "" {
		return fmt.Errorf("%w: give another address with -addr, or none for a free port", err)
	} else {
		addr = "127.0.0.1:0"
	}
	environ := b.environ
	if b.identity != nil {
		environ = with(environ, "PollSchedule="+minuteFrom(time.Now(), firstTick))
	}
	h, err := b.newHost(addr, environ)
	if err != nil {
		return err
	}
	b.host = h
	return nil
}

// newHost starts a host on the script root. Its invocations appear in the store.
func (b *board) newHost(addr string, environ []string) (*host.Host, error) {
	h, err := host.New(host.Config{
		Root: b.root, Addr: addr, Environ: environ, FunctionKey: secret.New(b.keys.function), MasterKey: secret.New(b.keys.master), OnLog: b.onLog,
		// Ctrl-C should not take half a minute.
		Durations: host.Durations{Shutdown: lastCalls},
	})
	if err != nil {
		return nil, err
	}
	if err := h.Start(); err != nil {
		return nil, err
	}
	b.collector.watch(h.History)
	return h, nil
}

// onLog shows what goes wrong outside of invocations: the host's own warnings and errors, and lines of the handler that are about none.
func (b *board) onLog(e host.LogEntry) {
	b.collector.onLog(e)
	if e.Level < host.Warning || e.Level > host.Critical || e.Invocation != "" {
		return
	}
	if _, _, ok := readWideLine(e); ok {
		return
	}
	b.printing.Lock()
	defer b.printing.Unlock()
	fmt.Fprintf(b.stderr, "host: %s: %s: %s\n", e.Level, e.Category, strings.ReplaceAll(e.Text, "\n", "\n      "))
}

func (b *board) startConsole() error {
	m := b.management()
	addr := b.consoleAddr
	if addr == "" {
		addr = "127.0.0.1:7070"
	}
	at, err := b.serve(addr, m.handler())
	if err != nil && b.consoleAddr == "" {
		at, err = b.serve("127.0.0.1:0", m.handler())
	}
	if err != nil {
		return fmt.Errorf("%w: give another address with -console-addr", err)
	}
	b.consoleAt = "http://" + at + "/"
	return nil
}

func (b *board) serve(addr string, h http.Handler) (string, error) {
	l, err := loopback.Listen(addr)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	b.servers = append(b.servers, server)
	go server.Serve(l) // ends at close
	return l.Addr().String(), nil
}

// close stops everything; the host goes first, and takes the handler with it.
func (b *board) close() {
	if b.host != nil {
		why := time.AfterFunc(300*time.Millisecond, func() {
			if n := b.host.Running(); n > 0 {
				b.printing.Lock()
				defer b.printing.Unlock()
				fmt.Fprintf(b.stderr, "sandbox: %d running: waiting up to %s\n", n, lastCalls)
			}
		})
		b.host.Stop()
		why.Stop()
	}
	b.stop()
	for _, server := range b.servers {
		server.Close()
	}
	if b.gateway != nil {
		b.gateway.Close()
	}
}

// base is where callers reach the host.
func (b *board) base() string { return "http://" + b.host.Addr() }

func randomKey() string {
	key := make([]byte, 20)
	rand.Read(key) // never fails, see crypto/rand
	return hex.EncodeToString(key)
}
