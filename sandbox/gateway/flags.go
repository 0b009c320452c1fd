package gateway

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
	"apimrelay/internal/policy"
	"apimrelay/internal/secret"
)

// options are what the command line says.
type options struct {
	addr, manage                        string
	policy, productPolicy, globalPolicy string
	namedValues, backend, ca, clientCA  string
	path, key, secondary                string
	keyHeader, keyQuery                 string
	noKey, json                         bool
	metadataTTL, metadataRetry          time.Duration
	history                             int
	operations                          []string
}

const usage = `usage: sandbox gateway [-addr HOST:PORT] [-policy FILE] [-named-values FILE] [-backend URL] [...]

A stand-in for API Management on loopback: route, subscription key, policy, backend. Without -policy there are none, without -backend a sample
backend answers what arrived.

`

// parseFlags reads the command line; its own messages go to stderr.
func parseFlags(args []string, stderr io.Writer, managed bool) (options, error) {
	var o options
	f := flag.NewFlagSet("sandbox gateway", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, usage); f.PrintDefaults() }
	f.StringVar(&o.addr, "addr", "127.0.0.1:0", "loopback `HOST:PORT` to listen on; port 0 takes a free one")
	f.StringVar(&o.policy, "policy", "", "policy `FILE` of the API")
	f.StringVar(&o.productPolicy, "product-policy", "", "policy `FILE` of the product")
	f.StringVar(&o.globalPolicy, "global-policy", "", "policy `FILE` of all APIs")
	f.StringVar(&o.namedValues, "named-values", "", "`FILE` with the named values, a JSON object of texts")
	f.StringVar(&o.backend, "backend", "", "service `URL` of the API; absent: the sample backend")
	f.StringVar(&o.ca, "ca", "", "PEM `FILE` of certificates to trust for metadata and backend, besides the system's")
	f.StringVar(&o.clientCA, "client-ca", "", "PEM `FILE` of authorities: serve https with a private certificate, and only callers that have a certificate of these")
	f.StringVar(&o.path, "path", "", "URL suffix of the API, for instance orders; absent: the root")
	f.Func("operation", "`\"METHOD TEMPLATE[=FILE]\"`, an operation of the API with its policy; may be repeated; absent: every method and path",
		func(v string) error { o.operations = append(o.operations, v); return nil })
	f.StringVar(&o.key, "key", "", "primary subscription `KEY`; absent: generated and printed")
	f.StringVar(&o.secondary, "secondary-key", "", "secondary subscription `KEY`; absent: generated and printed")
	f.StringVar(&o.keyHeader, "key-header", DefaultKeyHeader, "`NAME` of the key's header")
	f.StringVar(&o.keyQuery, "key-query", DefaultKeyQuery, "`NAME` of the key's query parameter")
	f.BoolVar(&o.noKey, "no-key", false, "the API requires no subscription")
	f.DurationVar(&o.metadataTTL, "metadata-ttl", time.Hour, "how long issuers' metadata is kept")
	f.DurationVar(&o.metadataRetry, "metadata-retry", 5*time.Minute, "how often an unknown key id or a failed fetch makes a new attempt; 0: at once")
	f.IntVar(&o.history, "history", 200, "how many requests are remembered")
	f.BoolVar(&o.json, "json", false, "print each request as one JSON object")
	if managed {
		f.StringVar(&o.manage, "manage", "", "loopback `HOST:PORT` of the management API; absent: none")
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", f.Arg(0))
		fmt.Fprintln(stderr, err)
		f.Usage()
		return o, err
	}
	return o, nil
}

// config reads the files and makes the configuration. Every fault comes back.
func (o options) config() (Config, error) {
	c := Config{Backend: o.backend, MetadataTTL: o.metadataTTL, MetadataRetry: o.metadataRetry, HistorySize: o.history}
	if o.metadataRetry == 0 {
		c.MetadataRetry = -1
	}
	var faults []error
	read := func(file string) *policy.Document {
		if file == "" {
			return nil
		}
		d, err := readPolicy(file)
		faults = append(faults, err)
		return d
	}
	c.Global = read(o.globalPolicy)
	api := API{Name: "api", Path: o.path, Open: o.noKey, KeyHeader: o.keyHeader, KeyQuery: o.keyQuery, Policy: read(o.policy)}
	for _, text := range o.operations {
		operation, file, err := readOperation(text)
		faults = append(faults, err)
		operation.Policy = read(file)
		api.Operations = append(api.Operations, operation)
	}
	c.APIs = []API{api}
	c.Products = []Product{{Name: "sandbox", APIs: []string{"api"}, Policy: read(o.productPolicy)}}
	subscription := Subscription{Name: "sandbox", Product: "sandbox"}
	if o.key != "" {
		subscription.Primary = secret.New(o.key)
	}
	if o.secondary != "" {
		subscription.Secondary = secret.New(o.secondary)
	}
	c.Subscriptions = []Subscription{subscription}
	var err error
	if o.namedValues != "" {
		if c.NamedValues, err = hostfile.Texts(o.namedValues); err != nil {
			faults = append(faults, fmt.Errorf("reading the named values: %w", err))
		}
	}
	if o.ca != "" {
		c.RootCAs, err = x509.SystemCertPool()
		if err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		faults = append(faults, addCertificates(c.RootCAs, "-ca", o.ca))
	}
	return c, errors.Join(faults...)
}

func readPolicy(file string) (*policy.Document, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading a policy: %w", err)
	}
	defer f.Close()
	document, err := policy.Parse(file, f)
	return document, Advise(err)
}

// Advise adds to what is wrong with a policy where it is judged also if the stand-in does not play it.
func Advise(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; what this stand-in does not play, \"handler doctor -policy FILE\" (build/app/handler) judges", err)
}

// readOperation reads "GET /orders/{id}=operation.xml".
func readOperation(text string) (Operation, string, error) {
	route, file, _ := strings.Cut(text, "=")
	method, template, ok := strings.Cut(strings.TrimSpace(route), " ")
	if template = strings.TrimSpace(template); !ok || !strings.HasPrefix(template, "/") {
		return Operation{}, "", fmt.Errorf("operation %q: want \"METHOD /TEMPLATE\" or \"METHOD /TEMPLATE=FILE\"", text)
	}
	return Operation{Method: strings.ToUpper(method), Template: template}, strings.TrimSpace(file), nil
}

// addCertificates adds those of a flag's file to a pool.
func addCertificates(pool *x509.CertPool, flag, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%s: reading certificates: %w", flag, err)
	}
	if !pool.AppendCertsFromPEM(data) {
		return fmt.Errorf("%s: reading certificates: %s: want certificates in PEM", flag, file)
	}
	return nil
}
