package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"apimrelay/sandbox/loopback"
)

// Run is "sandbox identity": the stand-in alone, until ctx ends. It returns the exit status: 0, 1 when it could not serve, 2 for wrong
// arguments.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sandbox identity", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:0", "`host:port` of the identity endpoint and the issuer over http")
	tlsAddr := flags.String("tls-addr", "", "`host:port` of the issuer over https as well")
	caFile := flags.String("ca", "", "`file` to write the https certificate to, for clients to trust")
	manage := flags.String("manage", "", "`host:port` of the management API (faults, roles, history)")
	header := flags.String("header", "", "`value` wanted in X-IDENTITY-HEADER; random when empty")
	configFile := flags.String("config", "", "`file` with the tenant as JSON; the default tenant when empty")
	azDir := flags.String("az", "", "`folder` to write the pretended az and azd into, to be put first on PATH")
	var certificates []string
	flags.Func("certificate", "`client-id=file` (PEM) registers a certificate with an application; may be repeated", func(v string) error {
		certificates = append(certificates, v)
		return nil
	})
	var federated []string
	flags.Func("federated", "`[tenant/]client-id=issuer,subject` lets assertions of the issuer stand for an application, in the tenant that is named; "+
		"an unknown client id becomes an application with Api.Read; may be repeated", func(v string) error {
		federated = append(federated, v)
		return nil
	})
	workload := flags.String("workload", "", "`file` to write the token of a pretended cluster into, for RunAs=Workload")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "sandbox identity: unknown argument %q\n", flags.Arg(0))
		return 2
	}
	cfg, err := ReadConfig(*configFile)
	if err == nil {
		err = cfg.addCertificates(certificates)
	}
	if err != nil {
		fmt.Fprintln(stderr, "sandbox identity:", err)
		return 2
	}
	for _, text := range federated {
		if err := cfg.federate(text); err != nil {
			fmt.Fprintln(stderr, "sandbox identity:", err)
			return 2
		}
	}
	if *header != "" {
		cfg.Header = *header
	}
	if *workload != "" {
		_ = cfg.federate(AppClientID + "=" + clusterIssuer + "," + clusterSubject) // well formed
	}
	s := New(cfg)
	if *workload != "" {
		if err := s.writeWorkloadToken(*workload); err != nil {
			fmt.Fprintln(stderr, "sandbox identity:", err)
			return 1
		}
		fmt.Fprintf(stdout, "AZURE_FEDERATED_TOKEN_FILE=%s\nAZURE_CLIENT_ID=%s\nAZURE_TENANT_ID=%s\n", *workload, AppClientID, s.TenantID())
	}
	if err := serve(ctx, s, *addr, *tlsAddr, *caFile, *manage, *azDir, stdout); err != nil {
		fmt.Fprintln(stderr, "sandbox identity:", err)
		return 1
	}
	return 0
}

// ReadConfig reads a tenant from a file of JSON with the fields of Config; the zero Config where file
// is "".
func ReadConfig(file string) (Config, error) {
	var cfg Config
	if file == "" {
		return cfg, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return cfg, fmt.Errorf("reading the tenant: %w", err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&cfg); err != nil {
		return cfg, fmt.Errorf("reading the tenant: %s: %w", file, err)
	}
	return cfg, nil
}

// addCertificates registers certificates, each client-id=file, with applications.
func (c *Config) addCertificates(certificates []string) error {
	if len(certificates) > 0 {
		c.Applications = c.withDefaults().Applications
	}
	for _, pair := range certificates {
		id, name, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("registering a certificate: got %q, want client-id=file", pair)
		}
		cert, err := readCertificate(name)
		if err != nil {
			return err
		}
		found := false
		for i := range c.Applications {
			if c.Applications[i].ClientID == id {
				c.Applications[i].Certificates, found = append(c.Applications[i].Certificates, cert), true
			}
		}
		if !found {
			return fmt.Errorf("registering a certificate: no application has the client id %q", id)
		}
	}
	return nil
}

func readCertificate(name string) (*x509.Certificate, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("registering a certificate: %w", err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, fmt.Errorf("registering a certificate: %s holds no PEM block CERTIFICATE", name)
}

func serve(ctx context.Context, s *Server, addr, tlsAddr, caFile, manage, azDir string, stdout io.Writer) error {
	failed := make(chan error, 3)
	if azDir != "" {
		if err := os.MkdirAll(azDir, 0o755); err != nil {
			return fmt.Errorf("making the folder of az: %w", err)
		}
	}
	start := func(addr string, h http.Handler, wrap func(net.Listener) net.Listener) (string, *http.Server, error) {
		l, err := loopback.Listen(addr)
		if err != nil {
			return "", nil, err
		}
		server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
		go func() {
			if err := server.Serve(wrap(l)); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
		return l.Addr().String(), server, nil
	}
	plain := func(l net.Listener) net.Listener { return l }
	at, server, err := start(addr, s.Handler(), plain)
	if err != nil {
		return err
	}
	defer server.Close()
	base := "http://" + at
	fmt.Fprintf(stdout, "IDENTITY_ENDPOINT=%s/msi/token\nIDENTITY_HEADER=%s\n", base, s.Header())
	for _, r := range s.cfg.Resources {
		fmt.Fprintf(stdout, "# %s: resource %s, metadata %s%s\n", r.Name, strings.Join(r.URIs, " or "), base, s.MetadataPath(r.ClientID))
	}
	for _, app := range s.cfg.Applications {
		if len(app.Secrets) > 0 {
			fmt.Fprintf(stdout, "# application %s: client id %s, client secret %s\n", app.Name, app.ClientID, app.Secrets[0].Value)
		}
	}
	if tlsAddr != "" {
		cert, pemText, err := loopback.NewCertificate()
		if err != nil {
			return err
		}
		if caFile != "" {
			if err := os.WriteFile(caFile, pemText, 0o644); err != nil {
				return fmt.Errorf("writing the https certificate: %w", err)
			}
		}
		secure := func(l net.Listener) net.Listener {
			return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
		at, server, err := start(tlsAddr, s.Issuer(), secure)
		if err != nil {
			return err
		}
		defer server.Close()
		fmt.Fprintf(stdout, "AZURE_AUTHORITY_HOST=https://%s/\n", at)
	}
	if manage != "" {
		at, server, err := start(manage, loopback.Guard(s.Manage()), plain)
		if err != nil {
			return err
		}
		defer server.Close()
		fmt.Fprintf(stdout, "# management API: http://%s\n", at)
	}
	if azDir != "" {
		if err := os.MkdirAll(azDir, 0o755); err != nil {
			return fmt.Errorf("making the folder of az: %w", err)
		}
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
		if err := InstallCLI(azDir, base, exe); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "# az and azd: %s\n", azDir)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	}
}
