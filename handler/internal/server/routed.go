package server

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
)

// routed serves requests that come as the caller sent them: proxied or forwarded. The path tells the function, by the host's own rules.
func (s *Server) routed(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r.Context())
	x.call.Way = wayOf(r)
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(path, "/") {
		s.problem(w, r, &relay.PathError{Reason: "the request line holds no path"})
		return
	}
	match, ok := s.app.Match(r.Method, path)
	if !ok {
		s.problem(w, r, errNoRoute)
		return
	}
	if trace, known := observe.Continue(r.Header); known {
		x.trace = trace
		x.traceID = r.Header["Traceparent"][0][3:35] // it is there, and valid
	} else {
		delete(r.Header, "Traceparent")
		delete(r.Header, "Tracestate")
	}
	s.relayHTTP(w, r, match, query)
}

// wayOf tells proxied from forwarded. The host marks User-Agent when it forwards, and only then; a proxied caller may send the same mark, but not own the Host header and x-ms-invocation-id at the same time (recordings D-get-query, P-get-query, P-req-fake-host-headers).
func wayOf(r *http.Request) relay.Way {
	if _, marked := relay.CallersAgent(r.Header["User-Agent"]); !marked {
		return relay.Proxied
	}
	if len(r.Header["X-Ms-Invocation-Id"]) > 0 {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }); ok && r.Host == local.String() {
			return relay.Proxied
		}
	}
	return relay.Forwarded
}

// fullDuplex lets an early answer out while the upload is still coming: net/http would read it to its end first. Calls that are answered before this keep
// net/http's own way.
func (x *exchange) fullDuplex(r *http.Request) {
	if r.ContentLength == 0 || x.call.Way == relay.Wrapped {
		return
	}
	_ = http.NewResponseController(x.w).EnableFullDuplex()
	x.upload = &upload{ReadCloser: r.Body}
	r.Body = x.upload
}

// upload remembers whether it has come to its end. Where it has not when the answer begins, or broke off, the connection ends with the answer. With full
// duplex net/http (Go 1.26) reads what is left only after it has stopped watching the connection, starts to watch anew at its end, and panics at the next
// request of that connection; and behind a chunk that it could not read it takes anything for the next request.
type upload struct {
	io.ReadCloser
	ended atomic.Bool
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err == io.EOF {
		u.ended.Store(true)
	}
	return n, err
}

// relayHTTP relays the request of an HTTP trigger, however it came. The exchange knows its way already.
func (s *Server) relayHTTP(w http.ResponseWriter, r *http.Request, match app.Match, query string) {
	x := exchangeOf(r.Context())
	f := s.functions[match.Function]
	x.function, x.trigger = f, match.Function.Trigger.Type
	if match.Function.Reserved() {
		s.reserved(w, r, match.Function)
		return
	}
	if f.Relay == nil {
		s.problem(w, r, errSettings)
		return
	}
	s.begin(x, match.Function.Route.Template)
	x.call.Function = f.Relay
	x.call.RawQuery = query
	x.call.Values = relay.Values{Named: match.Values, Escaped: true, CatchAll: match.Function.Route.CatchAll}
	s.addSys(x, f)
	x.call.Budget, x.call.Limit = s.budget(f.Settings, x.call.Way)
	x.fullDuplex(r)
	s.relay.ServeHTTP(w, r)
}

// addSys gives an HTTP call's expressions the values that the host keeps under sys. They are made here: the envelope's own stand in Metadata, which a
// caller's query can replace (recording A-post-json-body-query-clash), and proxied or forwarded there are none.
func (s *Server) addSys(x *exchange, f *Function) {
	for _, name := range f.Relay.Target.Names() {
		value := ""
		switch strings.ToLower(name) {
		case "sys.methodname":
			value = f.Settings.App.Name
		case "sys.utcnow":
			value = x.started.UTC().Format("2006-01-02T15:04:05.9999999Z")
		case "sys.randguid":
			value = relay.NewGUID()
		default:
			continue
		}
		x.call.Values.Named[strings.ToLower(name)] = value
	}
}

// reserved answers the two functions that are the handler's own, whatever is wrong with the app.
func (s *Server) reserved(w http.ResponseWriter, r *http.Request, f *app.Function) {
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
		s.problem(w, r, errNoRoute)
	}
}
