package host

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"apimrelay/internal/secret"
	"apimrelay/sandbox/loopback"
)

// Run is `sandbox host`: it serves the script root of -root until ctx ends, a SIGINT or SIGTERM
// comes or the host ends by itself, which is exit status 0. What runs then gets 30 s, as with the
// real host; a second signal ends it at once. 2 is a wrong command line, 1 a root or an address
// that cannot be used. The handler inherits this process's environment.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("sandbox host", flag.ContinueOnError)
	set.SetOutput(stderr)
	root := set.String("root", ".", "script `folder`: host.json and one folder for each function")
	addr := set.String("addr", "127.0.0.1:7071", "loopback `host:port` to serve callers on")
	functionKey := set.String("function-key", "",
		"every function's `key` named default; without one a fresh key is made and shown")
	masterKey := set.String("master-key", "",
		"the host's `key` named master; without one a fresh key is made and shown")
	asJSON := set.Bool("json", false, "print each log line as one line of JSON")
	open := set.Bool("no-auth", false, "ask for no keys, as func start does")
	statusDir := set.String("status", "", "`folder` that keeps the status of timers across starts")
	noProxying := set.Bool("no-proxying", false,
		"do not know enableProxyingHttpRequest, as host 4.1037 and older")
	exitZero := set.Bool("restart-on-exit-0", false,
		"start the handler again when it ends with exit code 0, as hosts since 2026")
	length := set.Bool("content-length", false,
		"send wrapped requests with Content-Length, as Core Tools does")
	manage := set.String("manage", "",
		"loopback `host:port` of the management API (faults, events, keys, history); none when empty")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if set.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "sandbox host: unknown argument: %q\n", set.Arg(0))
		return 2
	}
	cfg := Config{Root: *root, Addr: *addr, Environ: os.Environ(), OpenAuth: *open,
		StatusDir: *statusDir, OnLog: WriteText(stdout),
		Switches: Switches{NoProxying: *noProxying, RestartOnExitZero: *exitZero,
			ContentLength: *length}}
	if *asJSON {
		cfg.OnLog = WriteJSON(stdout)
	}
	for _, k := range []struct {
		name string
		flag *string
		into *secret.String
	}{{"function", functionKey, &cfg.FunctionKey}, {"master", masterKey, &cfg.MasterKey}} {
		if *k.flag == "" && !*open {
			*k.flag = randomHex(20)
			_, _ = fmt.Fprintf(stderr, "sandbox host: %s key of this run: %s\n", k.name, *k.flag)
		}
		*k.into = secret.New(*k.flag)
	}
	h, err := New(cfg)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "sandbox host: %s\n", err)
		return 1
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	var managed net.Listener
	if *manage != "" {
		if managed, err = loopback.Listen(*manage); err != nil {
			_, _ = fmt.Fprintf(stderr, "sandbox host: %s\n", err)
			return 1
		}
		defer managed.Close()
	}
	if err := h.Start(); err != nil {
		_, _ = fmt.Fprintf(stderr, "sandbox host: %s\n", err)
		return 1
	}
	_, _ = fmt.Fprintf(stderr, "sandbox host: serving %s on http://%s\n", h.cfg.Root, h.Addr())
	if managed != nil {
		server := &http.Server{ReadHeaderTimeout: 10 * time.Second,
			Handler: loopback.Guard(h.Manage(func(name, key string) {
				_, _ = fmt.Fprintf(stderr, "sandbox host: %s key from now on: %s\n", name, key)
			}))}
		go func() { _ = server.Serve(managed) }() // ends with Close
		defer server.Close()
		_, _ = fmt.Fprintf(stderr, "sandbox host: management API: http://%s\n", managed.Addr())
	}
	select {
	case <-ctx.Done():
	case <-signals:
	case <-h.Done():
	}
	h.stopFor(signals, stderr)
	return 0
}

const sameSignal = 300 * time.Millisecond

// stopFor stops as the host does, which may take 30 s while something runs. It says so, and a
// second signal ends the wait.
func (h *Host) stopFor(signals <-chan os.Signal, stderr io.Writer) {
	began := time.Now()
	stopped := make(chan struct{})
	go func() {
		h.Stop()
		close(stopped)
	}()
	patient := time.NewTimer(500 * time.Millisecond)
	defer patient.Stop()
	for {
		select {
		case <-stopped:
			return
		case <-patient.C:
			if n := h.Running(); n > 0 {
				_, _ = fmt.Fprintf(stderr,
					"sandbox host: %d running: waiting up to %s, as the host does; Ctrl-C again ends at once\n", n, h.durations.Shutdown)
			}
		case <-signals:
			// The signal that ended the caller's context may come here as well; a person's second
			// one comes later.
			if time.Since(began) > sameSignal {
				h.Hurry()
			}
		}
	}
}
