// Package server is what the Functions host talks to: one HTTP server on the loopback address that
// takes invocations however the host hands them over, and answers each of them.
//
// The router says which function a request is for. Each way in is a codec, in a file of its own: it
// makes a [relay.Call] of the host's request, and of the gateway's answer what this way can carry.
// HTTP triggers come proxied or forwarded, with the caller's method and path under the route prefix
// (proxied.go), or wrapped into an envelope as POST /<Function> (wrapped.go); all other triggers come
// wrapped (event.go). Which way it is is decided for each request, not by configuration, since it
// depends on the host's version. What could not be relayed is answered in problem.go alone. One line
// is logged for each invocation (exchange.go).
package server

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/invocation"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
)

// Config is what a Server is made of.
type Config struct {
	App       *app.App
	Functions []*settings.Function
	// Credentials are those of the functions that can be called. A function without is one whose
	// settings are at fault.
	Credentials map[*settings.Function]*relay.Credentials
	// Transport sends the relay's requests; nil = relay.NewTransport.
	Transport http.RoundTripper
	// Facts are what may be said of a token in a log; nil = nothing.
	Facts func(token string) observe.Token
	// Healthy reports whether any function can work; nil = always.
	Healthy func() bool
	// Doctor answers the doctor function; nil = 404.
	Doctor http.Handler
	// Telemetry exports spans and metrics; nil = nothing is exported.
	Telemetry *observe.Telemetry
	// Counters count the relay's retries, replays and refusals; nil = nothing is counted.
	Counters *observe.Counters
	Log      *slog.Logger // nil = discarded
}

// Server answers the host. It is an http.Handler, safe for concurrent use.
type Server struct {
	app         *app.App
	functions   map[*app.Function]*settings.Function
	credentials map[*settings.Function]*relay.Credentials
	relay       *relay.Relay
	router      *chi.Mux
	healthy     func() bool
	doctor      http.Handler
	telemetry   *observe.Telemetry
	counters    *observe.Counters
	log         *slog.Logger
	spill       invocation.Spill
	developer   bool        // a function runs as a developer
	strangers   atomic.Bool // a request that is not the host's has been reported
}

// New makes a Server.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		app: c.App, functions: make(map[*app.Function]*settings.Function), credentials: c.Credentials,
		relay:   relay.New(relay.Options{Transport: c.Transport, Facts: c.Facts, Counters: c.Counters}),
		healthy: c.Healthy, doctor: c.Doctor, telemetry: c.Telemetry,
		counters: c.Counters, log: c.Log,
	}
	s.router = chi.NewRouter()
	// The host's routes ignore case, prefer no static ones and know any method; chi does none of that.
	// So they are not chi's patterns. First of all: later chi would walk through its routes for routers
	// below them.
	s.router.NotFound(s.proxied)
	s.router.MethodNotAllowed(s.proxied)
	s.router.Get("/", s.ready)
	for _, f := range c.Functions {
		s.functions[f.App] = f
		s.developer = s.developer || f.Identity.Kind.Developer()
		if s.reachableWrapped(f.App) {
			s.router.Post("/"+f.App.Name, s.wrapped(f))
		}
	}
	return s
}

// reachableWrapped reports whether POST /<Function> may be served for a function. An HTTP function
// that the host should proxy still comes wrapped from a host that knows neither flag, so it gets the
// path, too, unless callers from outside could reach it there: with an empty route prefix, and where
// the function's name is the prefix (recording E-prefix-empty; "/api" fits a catch-all, as "/api/rest"
// fits "rest/{*path}": recording D-route-catch-all-empty).
func (s *Server) reachableWrapped(f *app.Function) bool {
	if f.Wrapped && s.app.RoutePrefix == "" {
		return true // the app's own rules have refused what would be dangerous
	}
	return s.app.RoutePrefix != "" && !strings.EqualFold(f.Name, s.app.RoutePrefix)
}

// ready answers the host's probe. Any answer will do, so it says nothing of settings or identity: a
// handler that is not ready three times ends the host.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.app.RoutePrefix == "" && r.Header.Get(invocationHeader) != "" {
		// With an empty prefix "/" is a path of the caller's; the probe carries no header of an
		// invocation (recording E-probe-late-listen).
		s.proxied(w, r)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// reserved answers the two functions that are the handler's own, whatever is wrong with the app.
func (s *Server) reserved(w http.ResponseWriter, r *http.Request, f *app.Function) error {
	switch {
	case strings.EqualFold(f.Name, "health"):
		status := http.StatusOK
		if s.healthy != nil && !s.healthy() {
			status = http.StatusServiceUnavailable
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(status)
	case s.doctor != nil:
		s.doctor.ServeHTTP(w, r)
	default:
		return errNoRoute
	}
	return nil
}

// HTTPServer wraps h for the host. No read or write time-out may cut a long upload or an event
// stream. Idle connections are kept longer than the host keeps them (74 s, recording
// E-idle-connection), so that it never writes into one that is closing.
func HTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    256 << 10,
		ErrorLog:          observe.StdLog(log),
		// Without it net/http answers "OPTIONS *" by itself, and every exchange has its line in the log.
		DisableGeneralOptionsHandler: true,
	}
}
