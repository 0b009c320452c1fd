package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
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
	private, authority, err := o.private()
	if err != nil {
		return err
	}
	if authority != "" {
		defer os.Remove(authority)
	}
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
			o.announce(g, listener.Addr().String(), authority, stdout)
			if private != nil {
				listener = tls.NewListener(listener, private)
			}
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

// private is the TLS of -client-ca, and a file with the certificate that callers have to trust; nil
// without the flag. Who has no certificate of those authorities fails in the handshake, as with a
// reverse proxy in front of a private gateway. API Management itself asks for one and leaves it to
// policies:
// https://learn.microsoft.com/azure/api-management/api-management-howto-mutual-certificates-for-clients
func (o options) private() (*tls.Config, string, error) {
	if o.clientCA == "" {
		return nil, "", nil
	}
	clients := x509.NewCertPool()
	if err := addCertificates(clients, "-client-ca", o.clientCA); err != nil {
		return nil, "", err
	}
	certificate, pemText, err := loopback.NewCertificate()
	if err != nil {
		return nil, "", err
	}
	file, err := os.CreateTemp("", "sandbox-gateway-*.pem")
	if err != nil {
		return nil, "", fmt.Errorf("writing the https certificate: %w", err)
	}
	_, err = file.Write(pemText)
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(file.Name())
		return nil, "", fmt.Errorf("writing the https certificate: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}, file.Name(), nil
}

// announce prints what a caller needs. Keys that were given are not repeated. authority is the file
// of the https certificate, "" for http.
func (o options) announce(g *Gateway, addr, authority string, stdout io.Writer) {
	scheme := "http"
	if authority != "" {
		scheme = "https"
	}
	fmt.Fprintf(stdout, "gateway %s://%s/%s\n", scheme, addr, g.apis[0].Path)
	if authority != "" {
		fmt.Fprintf(stdout, "authority %s (setting ApimCertificateAuthority)\n", authority)
	}
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
