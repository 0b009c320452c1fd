package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"apimrelay/sandbox/loopback"
)

// Run is the command `sandbox gateway`: it serves until the context ends. It returns the exit status: 0, 1 where it could not start or broke off,
// 2 for a command line that it does not understand.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return RunManaged(ctx, args, stdout, stderr, nil)
}

// RunManaged is Run with the flag -manage, which serves what manage makes of the gateway on a second loopback address.
func RunManaged(ctx context.Context, args []string, stdout, stderr io.Writer, manage func(*Gateway) http.Handler) int {
	o, err := parseFlags(args, stderr, manage != nil)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	c, err := o.config()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	c.OnRecord = printer(stdout, o.json)
	g, err := New(c)
	if err != nil {
		fmt.Fprintln(stderr, Advise(err))
		return 1
	}
	defer g.Close()
	if err := serveAll(ctx, g, o, stdout, manage); err != nil {
		fmt.Fprintln(stderr, "sandbox gateway:", err)
		return 1
	}
	return 0
}

// serveAll listens, says so, and serves until the context ends or a listener fails.
func serveAll(ctx context.Context, g *Gateway, o options, stdout io.Writer, manage func(*Gateway) http.Handler) error {
	type service struct {
		addr    string
		handler http.Handler
	}
	services := []service{{o.addr, g}}
	if o.manage != "" {
		services = append(services, service{o.manage, manage(g)})
	}
	ended := make(chan error, len(services))
	for i, one := range services {
		listener, err := loopback.Listen(one.addr)
		if err != nil {
			return err
		}
		if i == 0 {
			o.announce(g, listener.Addr().String(), stdout)
		} else {
			fmt.Fprintf(stdout, "management http://%s\n", listener.Addr())
		}
		server := &http.Server{
			Handler: one.handler, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 4 * time.Minute, // API Management's front end drops idle ones then
			DisableGeneralOptionsHandler: true,
		}
		go func() { ended <- server.Serve(listener) }()
		defer server.Close()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// announce prints what a caller needs. Keys that were given are not repeated.
func (o options) announce(g *Gateway, addr string, stdout io.Writer) {
	fmt.Fprintf(stdout, "gateway http://%s/%s\n", addr, g.apis[0].Path)
	primary, secondary, err := g.Keys("sandbox")
	if err != nil {
		return // parseFlags always makes that subscription
	}
	show := func(which, given, key string) {
		if given != "" {
			key = "as given"
		}
		fmt.Fprintf(stdout, "%s key %s (header %s)\n", which, key, g.apis[0].KeyHeader)
	}
	show(Primary, o.key, primary.Reveal())
	show(Secondary, o.secondary, secondary.Reveal())
	backend := "sample, inside this process"
	if g.apis[0].service != nil {
		backend = g.apis[0].service.String()
	}
	fmt.Fprintf(stdout, "backend %s\n", backend)
}

// printer writes each request as one line.
func printer(w io.Writer, asJSON bool) func(Record) {
	var mu sync.Mutex
	return func(r Record) {
		mu.Lock()
		defer mu.Unlock()
		if asJSON {
			_ = json.NewEncoder(w).Encode(r) // nothing in a record fails to encode; a closed stdout is no reason to stop
			return
		}
		fmt.Fprintln(w, r.Line())
	}
}

// Line is the record in one line for people.
func (r Record) Line() string {
	line := fmt.Sprintf("%s %s -> %d by %s", r.Method, r.Path, r.Status, r.Stage)
	if r.Key != "" {
		line += fmt.Sprintf(", key %s", r.Key)
		if r.Subscription != "" {
			line += " of " + r.Subscription
		}
	}
	if r.Fault != "" {
		line += ", fault " + r.Fault
	}
	if rule := r.Refused(); rule != nil {
		line += fmt.Sprintf(", %s:%d %s %s: %s", rule.File, rule.Line, rule.Statement, rule.Check, rule.Why)
	} else if r.Error != nil {
		line += ", " + r.Error.Reason + ": " + r.Error.Message
	}
	return line
}
