// Package settings reads the app settings: what each function of the app calls, as whom and with which key. It never fails; every fault is
// collected, with the setting's name as the portal shows it, so that one start tells all there is to mend.
package settings

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/target"
	"apimrelay/internal/secret"
)

// Settings is what Load found. It does not change afterwards and may be read by any number of goroutines.
type Settings struct {
	App       *app.App
	Functions []*Function // one for each of the app's, in its order
	// Faults holds every fault once: the app's, those of shared settings, those of single functions. Which function fails by which stands in
	// Function.Faults.
	Faults   []app.Fault
	Warnings []app.Fault // everything worth saying at start that fails nobody, those of the app and of single functions included
	LogLevel slog.Level  // RelayLogLevel, Info where it is not set
	// IdentityEndpoint and IdentityHeader tell which halves of the platform's identity endpoint are in the environment.
	IdentityEndpoint, IdentityHeader bool
	// azureArc: IMDS_ENDPOINT is set, as the agent of Azure Arc does beside IDENTITY_ENDPOINT
	// (learn.microsoft.com, "Authenticate against Azure resources with Azure Arc-enabled servers").
	azureArc bool
}

// Function is one function's effective settings: its own, and the shared ones that it inherits.
type Function struct {
	App            *app.Function
	TargetApp      string // the token's resource, without /.default
	TargetTenantID string // lower case
	TargetRole     string // "" = nobody told
	Identity       identity.Connection
	Target         *target.Target  // nil where ApimUrl is at fault
	Keys           []secret.String // in order of preference; empty where the API needs none
	KeyHeader      string          // "" = the API needs no key
	Headers        http.Header     // fixed extra headers; never a credential
	Trust          *Trust          // for TLS with the gateway; nil = the system's authorities, no certificate
	Method         string          // for triggers that bring none; "" for HTTP functions, which use the caller's
	Timeout        time.Duration   // upper bound of the budget; 0 = not set
	Attempts       int             // in all, at least 1
	Acknowledge    []int           // statuses besides 2xx that count as done for events, sorted
	Faults         []app.Fault     // all by which this function fails: its own, those of the app, those of shared settings that it inherits
	Warnings       []app.Fault     // its own

	origins map[string]origin
	text    texts
}

// origin tells where a function's value of a setting comes from.
type origin struct {
	name string // as found in the environment: "orders__apimurl"; "" where neither the function nor the app sets it
	own  bool   // the function's own, not the shared one
}

// Own lists the settings that are the function's own, by their names as found in the environment, in the order of Names.
func (f *Function) Own() []string {
	var list []string
	for _, n := range names {
		if o := f.origins[n]; o.own {
			list = append(list, o.name)
		}
	}
	return list
}

// of returns the settings of a function of the app, nil for one that is not.
func (s *Settings) of(f *app.Function) *Function {
	for _, own := range s.Functions {
		if own.App == f {
			return own
		}
	}
	return nil
}

// Load reads the settings of all functions of a from env. It never returns nil and never fails. While it runs the process environment holds copies in
// upper case, for envconfig; afterwards it is as before. So call it before other goroutines read the environment.
func Load(env *Environment, a *app.App) *Settings {
	s := &Settings{App: a, LogLevel: slog.LevelInfo}
	s.IdentityEndpoint = env.filled("IDENTITY_ENDPOINT")
	s.IdentityHeader = env.filled("IDENTITY_HEADER")
	s.azureArc = env.filled("IMDS_ENDPOINT")

	shared := env.scope("")
	s.readLogLevel(shared)
	scopes := make([]*scope, len(a.Functions))
	for i, f := range a.Functions {
		scopes[i] = env.scope(f.Name)
		scopes[i].cutKeys()
	}
	read := process(shared, scopes)
	for i, f := range a.Functions {
		s.Functions = append(s.Functions, newFunction(f, shared, scopes[i], read[i]))
	}
	for i, f := range s.Functions {
		f.Faults = append(f.Faults, a.Faults...)
		f.Faults = append(f.Faults, f.App.Faults...)
		if f.App.Reserved() {
			continue // they call nothing
		}
		f.check(shared, scopes[i])
		f.checkHost(shared, scopes[i])
		if env.filled(librarySetting) {
			f.pointToLibrary()
		}
		f.checkIdentityEndpoint(s)
		f.checkConnections(env, a)
	}
	s.checkTwins()
	s.findStrays(env)
	s.checkOverlaps()
	s.collect()
	return s
}

// readLogLevel is done by itself: the level holds for the whole process.
func (s *Settings) readLogLevel(shared *scope) {
	c := shared.cells[logLevelSetting]
	if c == nil || strings.TrimSpace(c.value) == "" {
		return
	}
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[strings.ToLower(strings.TrimSpace(c.value))]
	if !ok {
		s.Warnings = append(s.Warnings, fault("", c.name, `write debug, info, warn or error`, "want debug, info, warn or error, got %q: info is used", shown(c.value)))
		return
	}
	s.LogLevel = level
}

// checkTwins finds functions whose own settings would have the same names.
func (s *Settings) checkTwins() {
	byScope := map[string]*Function{}
	for _, f := range s.Functions {
		key := scopeKey(f.App.Name)
		first := byScope[key]
		if first == nil {
			byScope[key] = f
			continue
		}
		for _, pair := range [][2]*Function{{f, first}, {first, f}} {
			if pair[0].App.Reserved() {
				continue
			}
			pair[0].Faults = append(pair[0].Faults, app.Fault{Cause: cause.AppFiles, Function: pair[0].App.Name, File: pair[0].App.File, Hint: "rename one of the two folders",
				Text: "its own settings have the same names as those of the function " + pair[1].App.Name + ", since a hyphen becomes an underscore"})
		}
	}
}

// checkOverlaps says which of two functions gets a request that fits both, where that decides with which settings the API is called.
func (s *Settings) checkOverlaps() {
	for _, o := range s.App.Overlaps {
		first, second := s.of(o.First), s.of(o.Second)
		if o.Second.Unreachable || o.First.Reserved() || first == nil || second == nil || first.text.equal(&second.text) {
			continue // unreachable: a fault already
		}
		methods := "all methods"
		if o.Methods != nil {
			methods = strings.Join(o.Methods, ", ")
		}
		s.Warnings = append(s.Warnings, app.Fault{Cause: cause.AppFiles, Function: o.Second.Name, File: o.Second.File, Hint: "change one of the two routes if that is not meant",
			Text: "its route " + o.Second.Route.Template + " overlaps with " + o.First.Route.Template + " of " + o.First.Name + ", whose settings differ: for " +
				methods + " on a path that fits both " + o.First.Name + " wins, being first by name"})
	}
}

// collect gathers every fault and warning once.
func (s *Settings) collect() {
	add := func(to *[]app.Fault, seen map[app.Fault]bool, faults []app.Fault) {
		for _, f := range faults {
			if !seen[f] {
				seen[f] = true
				*to = append(*to, f)
			}
		}
	}
	faults, warnings := map[app.Fault]bool{}, map[app.Fault]bool{}
	found := s.Warnings
	s.Warnings = nil
	add(&s.Faults, faults, s.App.Faults)
	add(&s.Warnings, warnings, s.App.Warnings)
	add(&s.Warnings, warnings, found)
	for _, f := range s.Functions {
		add(&s.Faults, faults, f.Faults)
		add(&s.Warnings, warnings, f.App.Warnings)
		add(&s.Warnings, warnings, f.Warnings)
	}
}

// originsOf lists where the function's values come from.
func originsOf(shared, own *scope) map[string]origin {
	origins := make(map[string]origin, len(names))
	for _, name := range names {
		c, isOwn := own.cells[name]
		if !isOwn {
			c = shared.cells[name]
		}
		if c != nil && c.name != "" { // a key that the other one cuts off has no name
			origins[name] = origin{c.name, isOwn}
		}
	}
	return origins
}

func newFunction(f *app.Function, shared, own *scope, t texts) *Function {
	return &Function{App: f, KeyHeader: header.DefaultKey, Attempts: defaultAttempts, origins: originsOf(shared, own), text: t}
}
