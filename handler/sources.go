package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/server"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/token"
)

// sources holds one token source for each identity, resource and tenant: functions that agree in all three share one, others never do.
type sources struct {
	log   *slog.Logger
	env   identity.Env
	byKey map[sourceKey]*token.Source
	// byFunction is nil for a function whose identity was refused before any request.
	byFunction map[string]*token.Source
	all        []*token.Source
}

// sourceKey is a struct and not a joined text, so that no value can reach into its neighbour.
type sourceKey struct{ identity, resource, tenant string }

func newSources(log *slog.Logger, env identity.Env) *sources {
	return &sources{log: log, env: env, byKey: make(map[sourceKey]*token.Source), byFunction: make(map[string]*token.Source)}
}

func (s *sources) of(f *settings.Function) (relay.Tokens, error) {
	key := sourceKey{f.Identity.Key(), f.TargetApp, strings.ToLower(f.TargetTenantID)}
	source, ok := s.byKey[key]
	if !ok {
		env := s.env
		env.TenantID = f.TargetTenantID
		fetch, err := f.Identity.Fetch(f.TargetApp, env)
		if err != nil {
			return nil, err
		}
		source = token.NewSource(token.Options{Fetch: fetch, TenantID: f.TargetTenantID, Resource: f.TargetApp, Log: s.log})
		s.byKey[key] = source
		s.all = append(s.all, source)
	}
	s.byFunction[f.App.Name] = source
	return source, nil
}

// refusing is the source of a function whose identity can never work here.
type refusing struct{ err error }

func (r refusing) Token(context.Context) (string, error)         { return "", r.err }
func (r refusing) Renew(context.Context, string) (string, error) { return "", r.err }

// keyRings shares the keys, and which of the two is in use, among functions with the same ones.
type keyRings struct {
	rings []*keyRing
}

type keyRing struct {
	header string
	keys   []string
	ring   *relay.Keys
}

func newKeyRings() *keyRings { return new(keyRings) }

func (k *keyRings) of(f *settings.Function) *relay.Keys {
	var keys []string
	for _, key := range f.Keys {
		keys = append(keys, key.Reveal())
	}
	for _, r := range k.rings {
		if r.header == f.KeyHeader && strings.Join(r.keys, "\n") == strings.Join(keys, "\n") { // a key holds no line break
			return r.ring
		}
	}
	r := &keyRing{f.KeyHeader, keys, relay.NewKeys(f.KeyHeader, f.Keys...)}
	k.rings = append(k.rings, r)
	return r.ring
}

// healthy tells whether any function can work: its settings are in order, and its last fetch of a token did not fail or one is in hand. An app without
// functions of its own is as healthy as it can be.
func healthy(functions []*server.Function, s *sources) bool {
	relaying := 0
	for _, f := range functions {
		if f.Settings.App.Reserved() {
			continue
		}
		relaying++
		source := s.byFunction[f.Settings.App.Name]
		if f.Relay == nil || source == nil {
			continue
		}
		if st := source.State(); !st.Failing || st.Usable && st.ExpiresOn.After(time.Now()) {
			return true
		}
	}
	return relaying == 0
}
