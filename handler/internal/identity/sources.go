package identity

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"apimrelay/handler/internal/token"
)

// Sources makes token sources: one for each identity, resource and tenant, so that all functions
// with the same three share it and no others do. The zero value works in an empty environment. Safe
// for concurrent use.
type Sources struct {
	Env Env          // TenantID is set for each source
	Log *slog.Logger // nil = silent
	// Spread is that of every source (token.Options). A random one for each process keeps the
	// instances of an app from asking at the same moment.
	Spread float64

	mu  sync.Mutex
	by  map[string]*token.Source
	all []*token.Source
}

// Source returns the source of c's tokens for resource that come from tenantID ("" = any tenant).
// An identity that can never work here (Fetch's error) has a source too: each call fails at once
// with that error, and its State shows it.
func (s *Sources) Source(c Connection, resource, tenantID string) *token.Source {
	resource = strings.TrimSuffix(resource, "/.default")
	// The separator can stand in none of the parts: Key says so, a tenant is a GUID, and the
	// resource is the last one.
	key := c.Key() + " " + strings.ToLower(tenantID) + " " + resource
	s.mu.Lock()
	defer s.mu.Unlock()
	if source, ok := s.by[key]; ok {
		return source
	}
	env := s.Env
	env.TenantID = tenantID
	fetch, err := c.Fetch(resource, env)
	if err != nil {
		fetch = func(context.Context) (token.Token, error) { return token.Token{}, err }
	}
	o := token.Options{Fetch: fetch, TenantID: tenantID, Identity: c.String(), Resource: resource,
		Spread: s.Spread}
	if s.Log != nil {
		o.Log = s.Log.With("identity", c.String())
	}
	source := token.NewSource(o)
	if s.by == nil {
		s.by = map[string]*token.Source{}
	}
	s.by[key] = source
	s.all = append(s.all, source)
	return source
}

// All returns every source made so far, in the order of their making.
func (s *Sources) All() []*token.Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*token.Source(nil), s.all...)
}
