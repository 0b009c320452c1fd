package main

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/server"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/token"
	"apimrelay/internal/secret"
)

// program is the app, its settings and its token sources, put together.
type program struct {
	settings *settings.Settings
	handler  http.Handler
	log      *slog.Logger
	sources  []*token.Source
	// byFunction has the source of each function that can be called.
	byFunction map[*app.Function]*token.Source
	// telemetry is nil where nothing is exported.
	telemetry *observe.Telemetry
}

// assemble reads the app and its settings and connects the parts. It never fails.
func assemble(env *settings.Environment, stdout, stderr io.Writer) *program {
	a := app.Load(root(env.Lookup), env.App)
	set := settings.Load(env, a)
	p := &program{settings: set, byFunction: make(map[*app.Function]*token.Source), log: slog.New(observe.NewHandler(stdout, stderr, set.LogLevel))}
	logFaults(p.log, set)

	// azidentity reads the identity endpoint's variables from the process by their exact names; so
	// must we.
	sources := identity.Sources{
		Env: identity.Env{Lookup: os.LookupEnv}, Log: p.log, Spread: rand.Float64(),
	}
	credentials := make(map[*settings.Function]*relay.Credentials)
	keys := new(keyRings)
	for _, f := range set.Functions {
		if len(f.Faults) == 0 && !f.App.Reserved() {
			source := sources.Source(f.Identity, f.TargetApp, f.TargetTenantID)
			p.byFunction[f.App] = source
			credentials[f] = &relay.Credentials{Tokens: source, Keys: keys.of(f)}
		}
	}
	p.sources = sources.All()
	counters := new(observe.Counters)
	// OpenTelemetry's SDK reads its variables from the process, too; then the secrets leave it.
	p.telemetry = observe.Start(observe.Config{
		Lookup: os.LookupEnv, Version: version, Log: p.log,
		Counters: counters, Tokens: p.tokenStats,
	})
	settings.Scrub()
	p.handler = server.New(server.Config{
		App: a, Functions: set.Functions, Credentials: credentials, Log: p.log,
		Facts:     func(t string) observe.Token { f, _ := token.ReadFacts(t); return f.Log() },
		Healthy:   p.healthy,
		Telemetry: p.telemetry,
		Counters:  counters,
		Doctor: &doctorFunction{
			settings: set, sources: p.byFunction, all: p.sources, counters: counters,
		},
	})
	return p
}

// root is the script root. The host says where it is; by hand the working directory is.
func root(lookup func(string) (string, bool)) string {
	if dir, ok := lookup("FUNCTIONS_APP_ROOT_PATH"); ok && dir != "" {
		return dir
	}
	return "."
}

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

// healthy reports whether any function can work: its settings are in order, and its last fetch of a
// token did not fail, or one is in hand all the same. It asks nobody. An app without functions of its
// own is as healthy as it can be.
func (p *program) healthy() bool {
	relaying := 0
	for _, f := range p.settings.Functions {
		if f.App.Reserved() {
			continue
		}
		relaying++
		source := p.byFunction[f.App]
		if source == nil {
			continue
		}
		if st := source.State(); !st.Failing || st.Usable {
			return true
		}
	}
	return relaying == 0
}

// tokenStats are the sources' states as metrics have them.
func (p *program) tokenStats() []observe.TokenStats {
	var all []observe.TokenStats
	for _, s := range p.sources {
		st := s.State()
		all = append(all, observe.TokenStats{
			Identity: st.Identity, Resource: st.Resource, ReceivedAt: st.ReceivedAt,
			Outcomes: map[string]uint64{
				"new": st.Counts.New, "same": st.Counts.Same,
				"refused": st.Counts.Refused, "unavailable": st.Counts.Unavailable,
			},
		})
	}
	return all
}
