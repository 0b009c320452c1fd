package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
)

// proxied serves requests that come as the caller sent them: proxied or forwarded. The path tells the
// function, by the host's own rules.
func (s *Server) proxied(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(w)
	x.call.Way = wayOf(r)
	if err := s.relayProxied(x, r); err != nil {
		s.problem(x, x, r.Method, err)
	}
}

// relayProxied relays one request. An error is to be answered: the header is unsent.
func (s *Server) relayProxied(x *exchange, r *http.Request) error {
	if !relayed(r.Method) {
		return errMethod
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(path, "/") {
		return &target.PathError{Reason: "the request line holds no path"}
	}
	match, ok := s.app.Match(r.Method, path)
	if !ok {
		return errNoRoute
	}
	if trace, known := observe.Continue(r.Header); known {
		x.trace = trace
		x.traceID = r.Header["Traceparent"][0][3:35] // it is there, and valid
	} else {
		delete(r.Header, "Traceparent")
		delete(r.Header, "Tracestate")
	}
	if err := s.identify(x, s.functions[match.Function], match, query); err != nil {
		return err
	}
	if match.Function.Reserved() {
		return s.reserved(x, r, match.Function)
	}
	x.call.Method, x.call.Header = r.Method, r.Header
	x.readBody(r)
	answer, err := s.relay.Do(r.Context(), &x.call)
	if err != nil {
		return err
	}
	defer answer.Close()
	x.mark(answer.Header, answer.Status)
	x.cut = writeAnswer(x, answer)
	return nil
}

// relayed reports whether requests of a method are relayed. TRACE must not carry credentials, which its
// answer would repeat, and CONNECT is for proxies (RFC 9110 9.3.6, 9.3.8).
func relayed(method string) bool {
	return !strings.EqualFold(method, http.MethodTrace) && !strings.EqualFold(method, http.MethodConnect)
}

// wayOf tells proxied from forwarded. The host marks User-Agent when it forwards, and only then; a
// proxied caller may send the same mark, but not own the Host header and x-ms-invocation-id at the
// same time (recordings D-get-query, P-get-query, P-req-fake-host-headers).
func wayOf(r *http.Request) relay.Way {
	if _, marked := header.CallersAgent(r.Header["User-Agent"]); !marked {
		return relay.Proxied
	}
	if len(r.Header["X-Ms-Invocation-Id"]) > 0 {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string })
		if ok && r.Host == local.String() {
			return relay.Proxied
		}
	}
	return relay.Forwarded
}

// identify fills in what every call of an HTTP trigger has, however it came: its function, values,
// budget and span. The exchange knows its way already. Reserved functions have no call.
func (s *Server) identify(x *exchange, f *settings.Function, match app.Match, query string) error {
	x.call.Function, x.trigger = f, match.Function.Trigger.Type
	if match.Function.Reserved() {
		return nil
	}
	if x.call.Credentials = s.credentials[f]; x.call.Credentials == nil {
		return errSettings
	}
	s.begin(x, match.Function.Route.Template)
	x.call.RawQuery = query
	x.call.Values = target.Values{Named: match.Values, Escaped: true, CatchAll: match.Function.Route.CatchAll}
	x.addSys(f)
	x.call.Budget, x.call.Limit = s.budget(f, x.call.Way)
	return nil
}

// addSys gives an HTTP call's expressions the values that the host keeps under sys. They are made
// here: the envelope's own stand in Metadata, which a caller's query can replace (recording
// A-post-json-body-query-clash), and proxied or forwarded there are none.
func (x *exchange) addSys(f *settings.Function) {
	for _, name := range f.Target.Names() {
		value := ""
		switch strings.ToLower(name) {
		case "sys.methodname":
			value = f.App.Name
		case "sys.utcnow":
			value = x.started.UTC().Format("2006-01-02T15:04:05.9999999Z")
		case "sys.randguid":
			value = target.NewGUID()
		default:
			continue
		}
		x.call.Values.Named[strings.ToLower(name)] = value
	}
}

// readBody makes the request's body the call's. An early answer may go out while it is still coming:
// net/http would read it to its end first.
func (x *exchange) readBody(r *http.Request) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return
	}
	_ = http.NewResponseController(x.w).EnableFullDuplex()
	x.upload = &upload{ReadCloser: r.Body}
	x.call.Body = relay.Body{Reader: x.upload, Length: r.ContentLength, Trailer: r.Trailer}
}

// upload remembers whether it has come to its end. Where it has not when the answer begins, or broke
// off, the connection ends with the answer. With full duplex net/http (Go 1.26) reads what is left only
// after it has stopped watching the connection, starts to watch anew at its end, and panics at the next
// request of that connection; and behind a chunk that it could not read it takes anything for the next
// request.
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

// writeAnswer passes an answer on as it comes. An error is that of its body, or the caller's
// connection's, when the header is out already.
func writeAnswer(w http.ResponseWriter, answer *relay.Answer) error {
	h := w.Header()
	for name, values := range answer.Header {
		if earlier := h[name]; earlier != nil {
			values = append(earlier, values...)
		}
		h[name] = values
	}
	announced := len(answer.Trailer())
	for name := range answer.Trailer() {
		h.Add("Trailer", name)
	}
	for _, name := range []string{"Content-Type", "Date"} {
		if _, sent := h[name]; !sent {
			h[name] = nil // keeps net/http from sniffing the one and making up the other
		}
	}
	w.WriteHeader(answer.Status)
	if err := copyBody(w, answer); err != nil {
		return fmt.Errorf("passing the answer on: %w", err)
	}
	late := len(answer.Trailer()) != announced
	if late {
		flush(w) // or net/http would give a short body a length, and an answer with a length has no trailers
	}
	for name, values := range answer.Trailer() {
		if late {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], values...)
	}
	return nil
}
