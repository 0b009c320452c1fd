//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"apimrelay/handler/cmd/bench/reference"
	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/server"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/token"
)

// assemble puts the handler's parts together as its main does, in this process: where allocations are counted and profiles are taken.
func (s *set) assemble() (http.Handler, *slog.Logger, error) {
	for name, value := range map[string]string{"IDENTITY_ENDPOINT": s.identity, "IDENTITY_HEADER": "bench"} {
		if err := os.Setenv(name, value); err != nil { // azidentity reads them from the process
			return nil, nil, err
		}
	}
	env := settings.Index(s.environment(false, false))
	a := app.Load(filepath.Join(s.dir, "app"), env.App)
	set := settings.Load(env, a)
	if len(set.Faults) > 0 {
		return nil, nil, fmt.Errorf("the settings have a fault: %s", set.Faults[0])
	}
	log := slog.New(observe.NewHandler(io.Discard, os.Stderr, set.LogLevel))
	sources := identity.Sources{Env: identity.Env{Lookup: os.LookupEnv}}
	credentials := make(map[*settings.Function]*relay.Credentials)
	for _, f := range set.Functions {
		credentials[f] = &relay.Credentials{
			Keys: relay.NewKeys(f.KeyHeader, f.Keys...), Tokens: sources.Source(f.Identity, f.TargetApp, f.TargetTenantID),
		}
	}
	return server.New(server.Config{
		App: a, Functions: set.Functions, Credentials: credentials, Log: log, Counters: new(observe.Counters),
		Facts: func(t string) observe.Token { f, _ := token.ReadFacts(t); return f.Log() },
	}), log, nil
}

// serving is an *http.Server, or one that serves like it.
type serving interface {
	Serve(net.Listener) error
	Close() error
}

// inside serves ours and bare within this process.
func (s *set) inside(name string) (serving, error) {
	if name == oursName {
		h, log, err := s.assemble()
		if err != nil {
			return nil, err
		}
		return server.HTTPServer(h, log), nil
	}
	u, err := url.Parse(s.gateway.url(false))
	api := reference.API{URL: u, Key: gatewayKey, Token: s.token, Prefix: "/api/relay"}
	return &http.Server{Handler: reference.Bare(api, reference.Transport(), slog.New(slog.NewJSONHandler(io.Discard, nil)))}, err
}

// calls sends n requests to a program within this process and returns the allocations of each, those of the load and the gateway included.
func (s *set) calls(name string, req request, check bool, want text, n int) (float64, error) {
	srv, err := s.inside(name)
	if err != nil {
		return 0, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return 0, err
	}
	w := newWire(c)
	defer w.Close()
	see, size := want.check, want.size
	if !check {
		see, size = func([]byte, int64) bool { return true }, -1
	}
	run := func(n int) error {
		for range n {
			if err := w.roundTrip(req, see, size); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	if err := run(100); err != nil {
		return 0, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := run(n); err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n), nil
}

func allocations(_ context.Context, s *set, _ pace) (result, error) {
	var counts [2]float64
	for i, name := range []string{oursName, "bare"} {
		var tries []float64
		for range 3 {
			n, err := s.calls(name, s.forwarded("GET", "/1k"), true, s.gateway.bodies["/1k"], 1000)
			if err != nil {
				return result{}, err
			}
			tries = append(tries, n)
		}
		counts[i] = slices.Min(tries)
	}
	return result{fmt.Sprintf("%.1f", counts[0]), fmt.Sprintf("%.1f", counts[1]), fmt.Sprintf("%+.1f", counts[0]-counts[1]), counts[0] <= counts[1]+15}, nil
}

// benchProfile writes a processor profile of the handler under the bench's load, for the compiler (default.pgo) and for people.
func benchProfile(ctx context.Context, args []string, _, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench profile", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "", "write the profile to this `file`")
	program := flags.String("of", oursName, "`who`: ours or bare")
	wrapped := flags.Bool("wrapped", true, "with wrapped calls, a third of all")
	if flags.Parse(args) != nil || *out == "" {
		fmt.Fprintln(stderr, "bench profile: want -o FILE")
		return 2
	}
	if err := profile(ctx, *out, *program, *wrapped); err != nil {
		fmt.Fprintln(stderr, "bench profile:", err)
		return 1
	}
	return 0
}

func profile(ctx context.Context, out, program string, wrapped bool) error {
	s, err := newSet(ctx, 1<<20)
	if err != nil {
		return err
	}
	defer s.close()
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		for _, path := range []string{"/1k", "/1k", "/1m"} {
			n := 2000 / (1 + int(s.gateway.bodies[path].size>>13))
			if _, err := s.calls(program, s.forwarded("GET", path), true, s.gateway.bodies[path], n); err != nil {
				return err
			}
		}
		if wrapped {
			if _, err := s.calls(program, s.wrapped("POST", "/1k"), false, text{}, 2000); err != nil {
				return err
			}
		}
	}
	return nil
}
