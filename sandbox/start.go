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

	"apimrelay/sandbox/console"
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

// sandbox is a running sandbox: the stand-ins, the host on the script root, the console.
type sandbox struct {
	options
	functions []console.Function
	environ   []string          // of the host
	user      []setting         // the user's own, of file and environment
	settings  map[string]string // the stand-ins', in their place
	sources   string            // one line
	soon      bool              // poll's schedule is the sandbox's: it ticks soon after the start
	identity  *identity.Server  // nil: az
	gateway   *gateway.Gateway  // nil: real
	host      *host.Host
	board     *console.Board
	collector *console.Collector
	keys      struct{ function, master string }
	consoleAt string
	servers   []*http.Server
	stop      context.CancelFunc
	stderr    io.Writer
	printing  sync.Mutex
	began     time.Time
}

// start brings everything up. What could not start is one error that names the cause and what mends it; what had started by then is closed.
func start(o options, environ []string, stderr io.Writer) (*sandbox, error) {
	s := &sandbox{options: o, board: &console.Board{}, settings: map[string]string{}, stderr: stderr, began: time.Now()}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	if err := s.startAll(ctx, environ); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sandbox) startAll(ctx context.Context, environ []string) error {
	var err error
	if s.functions, err = readApp(s.root); err != nil {
		return err
	}
	if s.user, err = userSettings(s.options.settings, environ); err != nil {
		return err
	}
	if err := s.checkReal(); err != nil {
		return err
	}
	in := &standIns{}
	if s.options.identity != "az" {
		if in.tenant, err = readTenant(s.tenant); err != nil {
			return err
		}
		in.replace(s.user) // registers the functions' own identities, for the start
	}
	if err := s.startIdentity(in); err != nil {
		return err
	}
	backend := backendName
	if s.options.gateway == "real" {
		backend = ""
	}
	s.collector = console.NewCollector(s.board, s.identity, backend)
	if err := s.startGateway(in); err != nil {
		return err
	}
	kept, replaced := in.replace(s.user)
	s.environ = pairs(kept)
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		s.environ = with(s.environ, name+"="+s.settings[name])
	}
	for name, value := range map[string]string{"AzureWebJobsStorage": "UseDevelopmentStorage=true", "FUNCTIONS_WORKER_RUNTIME": "custom"} {
		if have, _ := find(kept, name); have == "" {
			s.environ = with(s.environ, name+"="+value)
		}
	}
	s.sources = sources(s.options.settings, s.user, replaced)
	if _, ok := s.lookup("PollSchedule"); !ok {
		s.soon = true
		s.environ = with(s.environ, "PollSchedule="+minuteFrom(time.Now(), firstTick))
	}
	s.functions = resolved(s.functions, s.lookup)
	s.hints(s.lookup)
	if err := s.takeTraces(); err != nil {
		return err
	}
	if err := s.startHost(); err != nil {
		return err
	}
	go s.collector.Run(ctx)
	return s.startConsole()
}

// checkReal finds what the real things need and is not there.
func (s *sandbox) checkReal() error {
	if s.options.identity != "az" {
		return nil
	}
	need := []string{"TargetApp", "TargetTenantID"}
	if s.options.gateway == "real" {
		need = append(need, "ApimUrl")
	}
	for _, name := range need {
		if _, ok := find(s.user, name); ok {
			continue
		}
		if _, err := os.Stat(s.options.settings); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading the settings: no %s: copy local.settings.json.example to %[1]s and fill it in", s.options.settings)
		}
		return fmt.Errorf("reading the settings: %s: %s is missing: add it under Values", s.options.settings, name)
	}
	identity, _ := find(s.user, "FunctionIdentity")
	tool, where := "az", "the Azure CLI: https://aka.ms/azure-cli"
	if strings.EqualFold(connection(identity)["developertool"], "AzureDeveloperCli") {
		tool, where = "azd", "the Azure Developer CLI: https://aka.ms/azd"
	}
	if !haveCommand(pairs(s.user), tool) {
		return fmt.Errorf("-identity az needs %s, which is not on PATH: install %s", tool, where)
	}
	return nil
}

// readTenant is the default tenant and what a file of the user's adds to it.
func readTenant(file string) (*identity.Config, error) {
	c, err := identity.ReadConfig(file)
	c.Identities = append(identity.DefaultIdentities(), c.Identities...)
	c.Resources = append(identity.DefaultResources(), c.Resources...)
	return &c, err
}

func (s *sandbox) startIdentity(in *standIns) error {
	if in.tenant == nil {
		if have, _ := find(s.user, "FunctionIdentity"); !strings.EqualFold(runAs(have), "Developer") {
			s.settings["FunctionIdentity"] = "RunAs=Developer;DeveloperTool=AzureCli"
		}
		return nil
	}
	s.identity = identity.New(*in.tenant)
	at, err := s.serve("127.0.0.1:0", s.identity.Handler())
	if err != nil {
		return err
	}
	maps.Copy(s.settings, sandboxSettings())
	s.settings["TargetTenantID"] = s.identity.TenantID()
	for _, pair := range s.identity.Environment("http://" + at) {
		name, value, _ := strings.Cut(pair, "=")
		s.settings[name] = value
	}
	s.settings["metadata"] = "http://" + at + s.identity.MetadataPath(identity.APIURI)
	return nil
}

func (s *sandbox) startGateway(in *standIns) error {
	metadata := s.settings["metadata"]
	delete(s.settings, "metadata")
	if s.options.gateway == "real" {
		return nil
	}
	namedValues := map[string]string{"openid-config-url": metadata, "client-id": identity.APIClientID, "app-id-uri": identity.APIURI}
	if s.identity == nil {
		// The real tenant's tokens: version 2 of the metadata, as the deployment registers the API.
		target, _ := find(s.user, "TargetApp")
		tenant, _ := find(s.user, "TargetTenantID")
		app := strings.TrimSuffix(strings.TrimSpace(target), "/.default")
		metadata = "https://login.microsoftonline.com/" + strings.TrimSpace(tenant) + "/v2.0/.well-known/openid-configuration"
		if s.metadata != "" {
			metadata = s.metadata
		}
		namedValues = map[string]string{"openid-config-url": metadata, "app-id-uri": app, "client-id": strings.TrimPrefix(app, "api://")}
	}
	api := gateway.API{Name: apiPath, Path: apiPath}
	var err error
	if api.Policy, err = readPolicy(s.policy, "-policy"); err != nil {
		return err
	}
	api.Operations = []gateway.Operation{{Name: "read", Method: "GET", Template: "/*"}, {Name: "look", Method: "HEAD", Template: "/*"}}
	var write *policy.Document
	if s.writePolicy != "" {
		if write, err = readPolicy(s.writePolicy, "-write-policy"); err != nil {
			return err
		}
	}
	for name, method := range map[string]string{"create": "POST", "replace": "PUT", "change": "PATCH", "remove": "DELETE"} {
		api.Operations = append(api.Operations, gateway.Operation{Name: name, Method: method, Template: "/*", Policy: write})
	}
	// A function's own URL keeps its path: an API at the root takes it, as it takes the first one's.
	whole := api
	whole.Name, whole.Path = "root", ""
	s.gateway, err = gateway.New(gateway.Config{
		APIs: []gateway.API{api, whole}, NamedValues: namedValues, OnRecord: s.collector.OnRecord,
		// A person rotates keys and wants to see what comes of it now, not in five minutes.
		MetadataRetry: time.Second,
	})
	if err != nil {
		return gateway.Advise(fmt.Errorf("the policy cannot be used: %w", err))
	}
	at, err := s.serve("127.0.0.1:0", s.gateway)
	if err != nil {
		return err
	}
	in.gateway = "http://" + at
	s.settings["ApimUrl"] = in.gateway + "/" + apiPath
	return s.takeKeys(in)
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
		return nil, gateway.Advise(fmt.Errorf("the policy is broken: %w", err))
	}
	return document, nil
}

// takeKeys puts the gateway's keys into the settings; the handler reads them at its start.
func (s *sandbox) takeKeys(in *standIns) error {
	primary, secondary, err := s.gateway.Keys("sandbox")
	if err != nil {
		return err
	}
	in.primary, in.secondary = primary.Reveal(), secondary.Reveal()
	s.settings["ApimKey"], s.settings["ApimKeySecondary"] = in.primary, in.secondary
	return nil
}

// takeTraces has the handler export its spans to the console, unless the caller's environment sends them elsewhere.
func (s *sandbox) takeTraces() error {
	if slices.ContainsFunc(s.environ, func(pair string) bool { return strings.HasPrefix(pair, "OTEL_") }) {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+console.TracesPath, s.collector.ServeTraces)
	at, err := s.serve("127.0.0.1:0", loopback.Guard(mux))
	if err != nil {
		return err
	}
	s.environ = with(s.environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://"+at+console.TracesPath)
	return nil
}

func (s *sandbox) startHost() error {
	s.keys.function, s.keys.master = randomKey(), randomKey()
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:7071"
	}
	if l, err := loopback.Listen(addr); err == nil {
		addr = l.Addr().String()
		l.Close()
	} else if s.addr != "" {
		return fmt.Errorf("%w: give another address with -addr, or none for a free port", err)
	} else {
		addr = "127.0.0.1:0"
	}
	h, err := s.newHost(addr, s.environ, s.gateway != nil)
	if err != nil {
		return err
	}
	s.host = h
	return nil
}

// newHost starts a host on the script root. Its invocations appear in the store.
func (s *sandbox) newHost(addr string, environ []string, ticks bool) (*host.Host, error) {
	h, err := host.New(host.Config{
		Root: s.root, Addr: addr, Environ: environ, NoTicks: !ticks, OnRefusal: s.collector.OnRefusal,
		FunctionKey: secret.New(s.keys.function), MasterKey: secret.New(s.keys.master), OnLog: s.onLog,
		// Ctrl-C should not take half a minute.
		Durations: host.Durations{Shutdown: lastCalls},
	})
	if err != nil {
		return nil, err
	}
	if err := h.Start(); err != nil {
		return nil, err
	}
	s.collector.Watch(h.History)
	return h, nil
}

// onLog shows what goes wrong outside of invocations: the host's own warnings and errors, and lines of the handler that are about none.
func (s *sandbox) onLog(e host.LogEntry) {
	s.collector.OnLog(e)
	if e.Level < host.Warning || e.Level > host.Critical || e.Invocation != "" {
		return
	}
	if console.AboutInvocation(e) {
		return
	}
	s.printing.Lock()
	defer s.printing.Unlock()
	fmt.Fprintf(s.stderr, "host: %s: %s: %s\n", e.Level, e.Category, strings.ReplaceAll(e.Text, "\n", "\n      "))
}

func (s *sandbox) startConsole() error {
	m := s.api()
	if s.identity == nil || s.gateway == nil {
		m.Token = randomKey()
	}
	addr := s.consoleAddr
	if addr == "" {
		addr = "127.0.0.1:7070"
	}
	at, err := s.serve(addr, m.Handler())
	if err != nil && s.consoleAddr == "" {
		at, err = s.serve("127.0.0.1:0", m.Handler())
	}
	if err != nil {
		return fmt.Errorf("%w: give another address with -console-addr", err)
	}
	s.consoleAt = "http://" + at + "/"
	if m.Token != "" {
		s.consoleAt += "?token=" + m.Token
	}
	return nil
}

func (s *sandbox) serve(addr string, h http.Handler) (string, error) {
	l, err := loopback.Listen(addr)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	s.servers = append(s.servers, server)
	go server.Serve(l) // ends at close
	return l.Addr().String(), nil
}

// close stops everything; the host goes first, and takes the handler with it.
func (s *sandbox) close() {
	if s.host != nil {
		why := time.AfterFunc(300*time.Millisecond, func() {
			if n := s.host.Running(); n > 0 {
				s.printing.Lock()
				defer s.printing.Unlock()
				fmt.Fprintf(s.stderr, "sandbox: %d running: waiting up to %s\n", n, lastCalls)
			}
		})
		s.host.Stop()
		why.Stop()
	}
	s.stop()
	for _, server := range s.servers {
		server.Close()
	}
	if s.gateway != nil {
		s.gateway.Close()
	}
}

// lookup finds an app setting of the host's as the host does: without case, __ for a colon.
func (s *sandbox) lookup(name string) (string, bool) {
	for _, pair := range s.environ {
		have, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.ReplaceAll(have, "__", ":"), strings.ReplaceAll(name, "__", ":")) && strings.TrimSpace(value) != "" {
			return value, true
		}
	}
	return "", false
}

// base is where callers reach the host.
func (s *sandbox) base() string { return "http://" + s.host.Addr() }

func randomKey() string {
	key := make([]byte, 20)
	rand.Read(key) // never fails, see crypto/rand
	return hex.EncodeToString(key)
}
