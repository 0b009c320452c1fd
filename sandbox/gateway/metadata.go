package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"apimrelay/internal/policy"
)

// metadataCache keeps issuers' discovery documents and key sets. Its clock is the real one: a skewed gateway does not fetch more often.
type metadataCache struct {
	client     *http.Client
	ttl, retry time.Duration
	now        func() time.Time

	mu      sync.Mutex
	entries map[string]*metadataEntry
}

// metadataEntry is guarded by its own lock, so that one slow issuer does not hold up the others; a fetch holds it, so that callers share it.
type metadataEntry struct {
	mu             sync.Mutex
	have           policy.Metadata
	fetched, tried time.Time // the last success, the last attempt
}

func newMetadataCache(c Config) *metadataCache {
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment, // the public issuer may be behind one; loopback never is
		TLSClientConfig: &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
	}
	return &metadataCache{
		client: &http.Client{Transport: transport, Timeout: 10 * time.Second}, ttl: c.MetadataTTL, retry: c.MetadataRetry, now: c.Now,
		entries: map[string]*metadataEntry{},
	}
}

func (c *metadataCache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = map[string]*metadataEntry{}
}

// get returns the metadata of each need, fetched where that is due. Frozen is the fault: what is in hand is kept, however old.
func (c *metadataCache) get(ctx context.Context, needs []policy.Need, frozen bool) map[string]policy.Metadata {
	found := map[string]policy.Metadata{}
	for _, need := range needs {
		c.mu.Lock()
		e := c.entries[need.URL]
		if e == nil {
			e = &metadataEntry{}
			c.entries[need.URL] = e
		}
		c.mu.Unlock()
		found[need.URL] = e.get(ctx, c, need, frozen)
	}
	return found
}

func (e *metadataEntry) get(ctx context.Context, c *metadataCache, need policy.Need, frozen bool) policy.Metadata {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := c.now()
	expired := e.fetched.IsZero() || now.Sub(e.fetched) >= c.ttl
	unknown := need.KeyID != "" && !knows(e.have.Keys, need.KeyID)
	if !expired && !unknown || frozen && !e.fetched.IsZero() {
		return e.have
	}
	// A new attempt after a failure and for an unknown key id comes at most every retry; the end of the keeping time alone is no such case.
	if failed := e.have.Err != nil; (failed || !expired) && !e.tried.IsZero() && now.Sub(e.tried) < c.retry {
		return e.have
	}
	e.tried = now
	fresh, err := c.fetch(ctx, need.URL)
	if err != nil {
		e.have.Err = err // the keys in hand go on serving
		return e.have
	}
	e.have, e.fetched = fresh, now
	return e.have
}

func knows(keys []policy.Key, id string) bool {
	for _, k := range keys {
		if k.ID == id {
			return true
		}
	}
	return false
}

func (c *metadataCache) fetch(ctx context.Context, address string) (policy.Metadata, error) {
	// The fetch outlives a caller that leaves: others wait for it.
	ctx = context.WithoutCancel(ctx)
	document, err := c.read(ctx, address)
	if err != nil {
		return policy.Metadata{}, err
	}
	issuer, keysURL, err := policy.ParseDiscovery(document)
	if err != nil {
		return policy.Metadata{}, err
	}
	if document, err = c.read(ctx, keysURL); err != nil {
		return policy.Metadata{}, err
	}
	keys, err := policy.ParseKeySet(document)
	if err != nil {
		return policy.Metadata{}, err
	}
	return policy.Metadata{Issuer: issuer, Keys: keys}, nil
}

func (c *metadataCache) read(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching metadata: %w", err)
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetching metadata: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching metadata: %s: want status 200, got %d", address, answer.StatusCode)
	}
	const most = 1 << 20
	document, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	if err == nil && len(document) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	if err != nil {
		return nil, fmt.Errorf("fetching metadata: %s: %w", address, err)
	}
	return document, nil
}
