// Package gateway is a stand-in for the data plane of API Management: enough of it that a policy, a key and a token can be tried on a laptop, with
// the order of checks, the bodies and the headers of the real thing, and with faults on demand.
//
// A request meets the route (404), the subscription key (401), the policies (package policy, on the very files that are deployed) and the
// backend, in this order (https://learn.microsoft.com/azure/api-management/api-management-subscriptions). Answers carry the bytes that were captured
// from the service. Nothing here is safe to expose: it listens on loopback only.
//
// Different from the real thing:
//
//   - The policies that package policy interprets, and its own list of differences.
//   - An operation's method may be "*"; API Management wants one operation for each method. URL templates have no query part.
//   - Letter case of paths and of query parameters' names is ignored.
//   - Versions, revisions, workspaces, backends, certificates, WebSocket, GraphQL and SOAP APIs do not exist.
//   - Keys are compared as they are; the service's other credentials (the built-in all-access subscription, admin keys) do not exist. A subscription
//     without product and API covers all APIs.
//   - A product is published or not there; approval, quotas and expiry dates of subscriptions do not exist: a subscription is active or suspended.
//   - The realm of WWW-Authenticate has the scheme of the request, http as a rule.
//   - No time limit of the Consumption tier, no limits on sizes, no capacity throttling, unless by a fault.
//   - Requests and answers are streamed, whatever buffer-response says; 1xx answers and upgrades pass. X-Forwarded-For is not added.
//   - The reason phrase of a return-response is not sent: net/http writes the standard one.
//   - Metadata is fetched when a request needs it, not when a policy is saved.
//   - Tracing, Application Insights and Request-Context do not exist: History has more than they.
package gateway

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"apimrelay/internal/policy"
)

// Config describes a gateway. The zero value is a whole one: one API at the root with every operation and no policy, in one product, a subscription
// "sandbox" with generated keys, and the sample backend.
type Config struct {
	APIs          []API
	Products      []Product
	Subscriptions []Subscription
	// Global is the policy of all APIs; nil is a new service's, which forwards.
	Global *policy.Document
	// NamedValues fill the policies.
	NamedValues map[string]string
	// Backend is the service URL of APIs that have none; "" is the sample backend, inside the process.
	Backend string
	// RootCAs are trusted for https metadata and backends; nil is the system's.
	RootCAs *x509.CertPool
	// MetadataTTL is how long issuers' metadata is kept, 0: an hour. MetadataRetry is how often an unknown key id or a failed fetch makes a new
	// attempt, 0: 5 minutes, <0: at once. Both as documented: https://learn.microsoft.com/azure/api-management/validate-jwt-policy#usage-notes
	MetadataTTL, MetadataRetry time.Duration
	// HistorySize bounds History, 0: 200.
	HistorySize int
	// Now is the clock, nil: time.Now.
	Now func() time.Time
	// OnRecord is called with each request's record, from the request's own goroutine; nil: nobody.
	OnRecord func(Record)
}

// API is an API of the gateway.
type API struct {
	Name string
	// Path is the API URL suffix, "" the root.
	Path string
	// ServiceURL is the backend; "" is Config.Backend.
	ServiceURL string
	// Open: no subscription required. A key that is sent must be valid all the same.
	Open bool
	// KeyHeader and KeyQuery name the subscription key; "" is Ocp-Apim-Subscription-Key and subscription-key.
	KeyHeader, KeyQuery string
	Policy              *policy.Document
	// Operations; none is every method and path.
	Operations []Operation
}

// Operation is a method and a URL template below the API's path: "/orders/{id}", "/files/*".
type Operation struct {
	Name, Method, Template string
	Policy                 *policy.Document
}

// Product groups APIs, by name. Open: no subscription required.
type Product struct {
	Name   string
	APIs   []string
	Open   bool
	Policy *policy.Document
}

// The names of the subscription key where an API has not renamed it.
const (
	DefaultKeyHeader = "Ocp-Apim-Subscription-Key"
	DefaultKeyQuery  = "subscription-key"
)

// Gateway serves the data plane as an http.Handler. It is safe for concurrent use. Close it when done.
type Gateway struct {
	config   Config
	apis     []*api
	subs     *subscriptions
	metadata *metadataCache
	proxy    *proxy
	sample   *sample // nil where every API has a backend of its own
	limits   policy.Limits
	history  ring
	faults   faultSwitch
	close    sync.Once
}

// New makes a gateway. Every fault of the configuration, the policies' included, comes back in one error.
func New(c Config) (*Gateway, error) {
	c = defaults(c)
	g := &Gateway{config: c, history: ring{size: c.HistorySize}}
	var faults []error
	needSample := false
	for i := range c.APIs {
		a, err := newAPI(c, &c.APIs[i])
		faults = append(faults, err)
		g.apis = append(g.apis, a)
		needSample = needSample || a.service == nil
	}
	faults = append(faults, checkNames(c)...)
	var err error
	g.subs, err = newSubscriptions(c)
	faults = append(faults, err)
	if err := distinct(faults); err != nil { // APIs share policies
		return nil, err
	}
	g.metadata = newMetadataCache(c)
	g.proxy = newProxy(c.RootCAs, nil)
	if needSample {
		g.sample = startSample()
		g.proxy = newProxy(c.RootCAs, g.sample)
	}
	return g, nil
}

func defaults(c Config) Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.HistorySize <= 0 {
		c.HistorySize = 200
	}
	if c.MetadataTTL == 0 {
		c.MetadataTTL = time.Hour
	}
	if c.MetadataRetry == 0 {
		c.MetadataRetry = 5 * time.Minute
	}
	if len(c.APIs) == 0 {
		c.APIs = []API{{Name: "sandbox"}}
	}
	c.APIs = append([]API(nil), c.APIs...)
	if len(c.Products) == 0 {
		all := Product{Name: "sandbox"}
		for _, a := range c.APIs {
			all.APIs = append(all.APIs, a.Name)
		}
		c.Products = []Product{all}
	}
	if len(c.Subscriptions) == 0 {
		c.Subscriptions = []Subscription{{Name: "sandbox", Product: c.Products[0].Name}}
	}
	return c
}

// checkNames finds names that stand twice or lead nowhere.
func checkNames(c Config) []error {
	var faults []error
	apis := map[string]bool{}
	paths := map[string]string{}
	for _, a := range c.APIs {
		if apis[a.Name] {
			faults = append(faults, fmt.Errorf("two APIs are named %q", a.Name))
		}
		path := strings.ToLower(strings.Trim(a.Path, "/"))
		if other, taken := paths[path]; taken {
			faults = append(faults, fmt.Errorf("APIs %q and %q have the same path %q", other, a.Name, path))
		}
		apis[a.Name], paths[path] = true, a.Name
	}
	products := map[string]bool{}
	for _, p := range c.Products {
		if products[p.Name] {
			faults = append(faults, fmt.Errorf("two products are named %q", p.Name))
		}
		products[p.Name] = true
		for _, name := range p.APIs {
			if !apis[name] {
				faults = append(faults, fmt.Errorf("product %q: no API is named %q", p.Name, name))
			}
		}
	}
	for _, s := range c.Subscriptions {
		if s.Product != "" && !products[s.Product] {
			faults = append(faults, fmt.Errorf("subscription %q: no product is named %q", s.Name, s.Product))
		}
		if s.API != "" && !apis[s.API] {
			faults = append(faults, fmt.Errorf("subscription %q: no API is named %q", s.Name, s.API))
		}
		if s.API != "" && s.Product != "" {
			faults = append(faults, fmt.Errorf("subscription %q: want a product or an API, got both", s.Name))
		}
	}
	return faults
}

// Close frees the gateway's connections and its sample backend. Requests in flight are cut off.
func (g *Gateway) Close() error {
	g.close.Do(func() {
		g.ClearFault("")
		g.proxy.transport.CloseIdleConnections()
		g.metadata.client.CloseIdleConnections()
		if g.sample != nil {
			g.sample.close()
		}
	})
	return nil
}

// Reset forgets history, rate limits, metadata and faults. Keys and subscriptions stay as they are.
func (g *Gateway) Reset() {
	g.ClearFault("")
	g.history.reset()
	g.limits.Reset()
	g.metadata.reset()
}

// ForgetMetadata drops the issuers' metadata, so that the next token makes the gateway fetch it.
func (g *Gateway) ForgetMetadata() { g.metadata.reset() }

func parseService(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("backend %q: want http://HOST[:PORT][/PATH] or https://…", text)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("backend %q: want no user, query or fragment", u.Redacted())
	}
	return u, nil
}

var _ http.Handler = (*Gateway)(nil)
