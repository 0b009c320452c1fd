package main

import (
	"slices"

	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/internal/secret"
)

// keyRings shares the keys, and which of the two is in use, among the functions that have the same
// ones: one refusal moves them all.
type keyRings struct{ rings []keyRing }

type keyRing struct {
	header string
	keys   []secret.String
	ring   *relay.Keys // nil where the API needs no key
}

func (k *keyRings) of(f *settings.Function) *relay.Keys {
	same := func(a, b secret.String) bool { return a.Reveal() == b.Reveal() }
	for _, r := range k.rings {
		if r.header == f.KeyHeader && slices.EqualFunc(r.keys, f.Keys, same) {
			return r.ring
		}
	}
	r := keyRing{f.KeyHeader, f.Keys, relay.NewKeys(f.KeyHeader, f.Keys...)}
	k.rings = append(k.rings, r)
	return r.ring
}
