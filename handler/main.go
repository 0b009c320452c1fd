// Handler is the custom handler of an Azure Functions app that relays each invocation to an API in
// Azure API Management, with a managed-identity token and a subscription key. The Functions host
// starts it and finds it by host.json.
//
// Usage:
//
//	handler [serve]   serve the host on 127.0.0.1:$FUNCTIONS_CUSTOMHANDLER_PORT
//	handler doctor    say why calls are refused, and how to mend it
//	handler version   print the version
//
// It reads the app settings from its environment and the functions from $FUNCTIONS_APP_ROOT_PATH,
// else the working directory.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/server"
	"apimrelay/handler/internal/settings"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// Exit statuses. 0 is never the end of serving: the host would not notice that its handler is gone
// (recording E-exit0-later).
const (
	exitFailed  = 1
	exitUsage   = 2
	exitStopped = 128 // plus the signal's number, as in shells: 130 for SIGINT, 143 for SIGTERM
)

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "serve":
		if len(args) > 0 {
			return usage(stderr, fmt.Sprintf("serve takes no arguments, got %q", args))
		}
		return serve(ctx, environ, stdout, stderr)
	case "doctor":
		return runDoctor(ctx, args, environ, os.Stdin, stdout, stderr)
	case "version", "-version", "--version":
		fmt.Fprintln(stdout, "apimrelay", version())
		return 0
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usageText)
		return 0
	}
	return usage(stderr, fmt.Sprintf("unknown command %q", command))
}

const usageText = `usage: handler [serve | doctor | version]
  serve    serve the Functions host (the default); it sets FUNCTIONS_CUSTOMHANDLER_PORT
  doctor   say why calls are refused, and how to mend it: handler doctor -h
  version  print the version
`

func usage(stderr io.Writer, fault string) int {
	fmt.Fprintf(stderr, "handler: %s\n%s", fault, usageText)
	return exitUsage
}

// serve listens before it does anything that can take time, and goes on whatever is wrong with the
// app: a handler that ends is started three times, and then the host gives up on all functions.
// What is wrong fails the invocations, and stands on stderr.
func serve(ctx context.Context, environ []string, stdout, stderr io.Writer) int {
	env := settings.Index(environ)
	listener, err := listen(env.Lookup)
	if err != nil {
		fmt.Fprintln(stderr, "handler:", err)
		return exitFailed
	}
	defer listener.Close()
	// Before there is anything else to do: the runtime starts two threads for it, and goes back and
	// forth between them.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	tuneMemory()
	p := assemble(env, stdout, stderr)
	log.SetFlags(0)
	log.SetOutput(observe.StdLog(p.log).Writer()) // net/http's transport writes there
	p.logStart()
	for _, s := range p.sources {
		s.Prefetch()
	}
	srv := server.HTTPServer(p.handler, p.log)

	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	by := syscall.SIGTERM
	select {
	case err := <-served:
		p.log.Error("serving ended", "error", err.Error())
		return exitFailed
	case <-ctx.Done():
	case s := <-signals:
		by, _ = s.(syscall.Signal)
	}
	// The host gives no signal; others who stop us wait a few seconds at most.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = srv.Shutdown(grace)
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 200*time.Millisecond)
	defer cancel()
	_ = p.telemetry.Stop(flush)
	return exitStopped + int(by)
}

// How much memory the program trades for time. Its live heap is two or three megabytes, so that the
// runtime's default collects garbage every four: at many requests a second that is a tenth of its
// work. gcPercent lets it grow to fifteen or so under load. softLimit keeps large bodies of wrapped
// calls from being left lying about by that: an instance of 512 MB holds the host, too, which takes
// half of it.
const (
	gcPercent = 400
	softLimit = 160 << 20
)

// tuneMemory sets both, unless the environment has its own wish.
func tuneMemory() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(softLimit)
	}
}

// listen takes the port that the host chose. It listens on IPv4 loopback only: the host dials
// nothing else, and whoever reaches the port can call.
func listen(lookup func(string) (string, bool)) (net.Listener, error) {
	text, ok := lookup("FUNCTIONS_CUSTOMHANDLER_PORT")
	if !ok || strings.TrimSpace(text) == "" {
		return nil, errors.New("listening: FUNCTIONS_CUSTOMHANDLER_PORT is not set: " +
			"the Functions host sets it; start one with `make run`, or with `make start` " +
			"(Azure Functions Core Tools)")
	}
	port, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil {
		return nil, fmt.Errorf(
			"listening: FUNCTIONS_CUSTOMHANDLER_PORT: want a port number, got %q", text)
	}
	var config net.ListenConfig
	// There is one path to this machine. With more each connection would be more work, and the start
	// would have to ask the kernel.
	config.SetMultipathTCP(false)
	address := net.JoinHostPort("127.0.0.1", strconv.FormatUint(port, 10))
	l, err := config.Listen(context.Background(), "tcp4", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listening: %s: another process has the port: "+
			"stop it, or let the host choose another one", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// logStart writes the one line that says which program this is and what it relays for whom.
func (p *program) logStart() {
	var functions int
	var identities, gateways []string
	once := func(list *[]string, name string) {
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	for _, f := range p.settings.Functions {
		if f.App.Reserved() {
			continue
		}
		functions++
		if len(f.Faults) == 0 {
			once(&identities, f.Identity.String())
			once(&gateways, f.Target.Host())
		}
	}
	noun := "functions"
	if functions == 1 {
		noun = "function"
	}
	text := fmt.Sprintf("apimrelay %s: %d %s, identity %s, gateway %s", version(), functions, noun,
		orNone(identities), orNone(gateways))
	p.log.Info("start", "text", text, "version", version(), "functions", functions)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "; ")
}

// logFaults writes what is wrong, each on a line of its own, faults first.
func logFaults(log *slog.Logger, set *settings.Settings) {
	line := func(level slog.Level, message string, f app.Fault) {
		attrs := []slog.Attr{slog.String("text", f.String())}
		if f.Function != "" {
			attrs = append(attrs, slog.String("function", f.Function))
		}
		if f.Setting != "" {
			attrs = append(attrs, slog.String("setting", f.Setting))
		}
		if f.Cause != "" {
			attrs = append(attrs, slog.String("cause", string(f.Cause)))
		}
		if f.Hint != "" {
			attrs = append(attrs, slog.String("hint", f.Hint))
		}
		log.LogAttrs(context.Background(), level, message, attrs...)
	}
	for _, f := range set.Faults {
		line(slog.LevelError, "fault", f)
	}
	for _, f := range set.Warnings {
		line(slog.LevelWarn, "notice", f)
	}
}
