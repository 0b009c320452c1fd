// Package server is what the Functions host talks to: one HTTP server on the loopback address that takes invocations however the host hands them over,
// and answers each of them.
//
// HTTP triggers come proxied or forwarded, with the caller's method and path under the route prefix (routed.go), or wrapped into an envelope as
// POST /<Function> (wrapped.go); all other triggers come wrapped (event.go). Which way it is is decided for each request, not by configuration, since
// it depends on the host's version. What could not be relayed is answered in problem.go alone. One line is logged for each invocation (exchange.go).
package server

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/invocation"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
)

// Function is a function of the app as the server needs it.
type Function struct {
	Settings *settings.Function
	Relay    *relay.Function // nil where the settings are at fault, and for the reserved functions
}

// Config is what a Server is made of.
type Config struct {
	App       *app.App
	Functions []*Function
	// Transport sends the relay's requests; nil = relay.NewTransport.
	Transport http.RoundTripper
	// Facts are what may be said of a token in a log; nil = nothing.
	Facts func(token string) observe.Token
	// Healthy tells whether any function can work; nil = always.
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
	app       *app.App
	functions map[*app.Function]*Function
	relay     *relay.Relay
	handler   http.Handler
	healthy   func() bool
	doctor    http.Handler
	telemetry *observe.Telemetry
	log       *slog.Logger
	spill     invocation.Spill
}

// New makes a Server.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{app: c.App, functions: make(map[*app.Function]*Function), healthy: c.Healthy, doctor: c.Doctor, telemetry: c.Telemetry, log: c.Log}
	s.relay = relay.New(relay.Options{
		Transport: c.Transport, Problem: s.problem, Facts: c.Facts, Counters: c.Counters,
	})
	router := chi.NewRouter()
	// The host's routes ignore case, prefer no static ones and know any method; chi does none of that. So they are not chi's patterns. First of all:
	// later chi would walk through its routes for routers below them.
	router.NotFound(s.routed)
	router.MethodNotAllowed(s.routed)
	router.Get("/", s.ready)
	for _, f := range c.Functions {
		s.functions[f.Settings.App] = f
		if s.reachableWrapped(f.Settings.App) {
			router.Post("/"+f.Settings.App.Name, s.wrapped(f))
		}
	}
	s.handler = s.exchange(router)
	return s
}

// reachableWrapped tells whether POST /<Function> may be served for a function. An HTTP function that the host should proxy still comes wrapped from a
// host that knows neither flag, so it gets the path, too, unless callers from outside could reach it there: with an empty route prefix, and where the
// function's name is the prefix (recording E-prefix-empty; "/api" fits a catch-all, as "/api/rest" fits "rest/{*path}": recording D-route-catch-all-empty).
func (s *Server) reachableWrapped(f *app.Function) bool {
	if f.Wrapped && s.app.RoutePrefix == "" {
		return true // the app's own rules have refused what would be dangerous
	}
	return s.app.RoutePrefix != "" && !strings.EqualFold(f.Name, s.app.RoutePrefix)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// ready answers the host's probe. Any answer will do, so it says nothing of settings or identity: a handler that is not ready three times ends the host.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.app.RoutePrefix == "" && r.Header.Get(invocationHeader) != "" {
		// With an empty prefix "/" is a path of the caller's; the probe carries no header of an invocation (recording E-probe-late-listen).
		s.routed(w, r)
		return
	}
	w.WriteHeader(http.StatusOK)
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

// budget is how long a call may take until its answer's header, and altogether; 0 = unbounded.
// The first is 230 s for HTTP, since Azure's load balancer gives up then, functionTimeout for all,
// less a margin; ApimTimeout is an upper bound of it. The second is functionTimeout less the
// margin, whatever the way: two seconds after functionTimeout the host kills the process that all
// invocations share (Azure/azure-functions-host 4.1037,
// src/WebJobs.Script.WebHost/WebScriptHostExceptionHandler.cs, OnTimeoutExceptionAsync). The answer
// of recording P-ans-slow-12s, 12 s at a functionTimeout of 10 s, came just before that.
func (s *Server) budget(f *settings.Function, way relay.Way) (header, limit time.Duration) {
	limit = lessMargin(s.app.FunctionTimeout)
	header = limit
	if way != relay.Event {
		if frontEnd := lessMargin(frontEndLimit); header == 0 || header > frontEnd {
			header = frontEnd
		}
	}
	if f.Timeout > 0 && (header == 0 || f.Timeout < header) {
		header = f.Timeout
	}
	return header, limit
}

// frontEndLimit is when Azure's load balancer ends an idle request (learn.microsoft.com "Azure Functions scale and hosting").
const frontEndLimit = 230 * time.Second

// lessMargin leaves a tenth, one to ten seconds, to answer in; 0 stays 0.
func lessMargin(d time.Duration) time.Duration {
	return d - min(max(d/10, time.Second), 10*time.Second, d/2)
}
