package console

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
	"apimrelay/sandbox/loopback"
)

const maxBody = 10 << 20

// API is the management API behind the page. Its fields are set before Handler is called and not changed
// after. docs/sandbox.md lists its calls; keep the two together.
type API struct {
	Board     *Board
	Where     string
	Functions []Function
	StandIns  []StandIn
	Host      *host.Host              // nil in tests
	Identity  *identity.Server        // nil when tokens come from elsewhere
	Gateway   *gateway.Gateway        // nil when calls go elsewhere
	Rotated   func(key, value string) // gets the host's new keys
	Actions   []Action
	Fire      func(context.Context, string, host.Firing) (Fired, error)
	Reset     func()
	// Token, where set, is wanted of each caller: in the query of the first request, which makes it a
	// cookie, or in the header X-Console-Token.
	Token string
	// tick is how often a reader of /events learns of a changed overview; a second when zero.
	tick time.Duration
}

// Function is what the console shows of a function and how it fires it.
type Function struct {
	Name    string   `json:"name"`
	Trigger string   `json:"trigger"`          // http, timer, queue, ...
	Detail  string   `json:"detail,omitempty"` // schedule, queue name or route
	Methods []string `json:"methods,omitempty"`
	Path    string   `json:"path,omitempty"`   // an example that fits the route
	Sample  string   `json:"sample,omitempty"` // an example of an event's data
}

// Action is a button of the console: a POST without a body.
type Action struct {
	ID    string       `json:"id"`
	Label string       `json:"label"`
	Help  string       `json:"help"`
	Path  string       `json:"path"`
	Do    func() error `json:"-"` // nil: served elsewhere
}

// Fired is what came of firing a function.
type Fired struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   string      `json:"body,omitempty"` // the first 4 KiB
	ID     string      `json:"id,omitempty"`   // of an event's first invocation
}

// ErrNoFunction is answered with 404.
var ErrNoFunction = errors.New("no such function")

// Handler serves the page and the API to loopback alone.
func (m *API) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", Page())
	mux.HandleFunc("GET /overview", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, m.overview()) })
	mux.HandleFunc("GET /invocations", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, m.Board.All()) })
	mux.HandleFunc("GET /invocations/{id}", m.serveInvocation)
	mux.HandleFunc("GET /events", m.serveEvents)
	mux.HandleFunc("GET /faults", m.serveFaults)
	mux.HandleFunc("POST /faults/{standin}", m.setFault)
	mux.HandleFunc("DELETE /faults/{standin}", m.clearFault)
	mux.HandleFunc("POST /functions/{name}", m.serveFire)
	for _, a := range m.Actions {
		if a.Do != nil {
			mux.HandleFunc("POST "+a.Path, func(w http.ResponseWriter, _ *http.Request) {
				if err := a.Do(); err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				w.WriteHeader(http.StatusNoContent)
			})
		}
	}
	if m.Host != nil {
		mux.Handle("/host/", http.StripPrefix("/host", m.Host.Manage(m.Rotated)))
	}
	if m.Identity != nil {
		mux.Handle("/identity/", http.StripPrefix("/identity", m.Identity.Manage()))
	}
	if m.Gateway != nil {
		mux.Handle("/gateway/", http.StripPrefix("/gateway", gatewayAPI(m.Gateway)))
	}
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		for _, s := range m.StandIns {
			s.clear("")
		}
		if m.Reset != nil {
			m.Reset()
		}
		m.Board.reset()
		w.WriteHeader(http.StatusNoContent)
	})
	return loopback.Guard(m.known(mux))
}

// known lets pass who has the token: other users of the machine reach loopback as well.
func (m *API) known(next http.Handler) http.Handler {
	if m.Token == "" {
		return next
	}
	same := func(text string) bool { return subtle.ConstantTimeCompare([]byte(text), []byte(m.Token)) == 1 }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A cookie is sent to every port of a host, so its name tells consoles apart.
		_, port, _ := net.SplitHostPort(r.Host)
		name := "sandbox-console-" + port
		cookie, err := r.Cookie(name)
		switch query := r.URL.Query(); {
		case err == nil && same(cookie.Value), same(r.Header.Get("X-Console-Token")):
			next.ServeHTTP(w, r)
		case r.Method == http.MethodGet && same(query.Get("token")):
			http.SetCookie(w, &http.Cookie{Name: name, Value: m.Token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
			w.Header().Set("Referrer-Policy", "no-referrer")
			http.Redirect(w, r, r.URL.Path, http.StatusSeeOther)
		default:
			http.Error(w, "open the console by the URL that the terminal shows: real identity or gateway is in use, so it has a token", http.StatusForbidden)
		}
	})
}

type overview struct {
	Where     string            `json:"where"`
	Functions []Function        `json:"functions"`
	StandIns  []standInState    `json:"stand_ins"`
	People    []identity.Person `json:"people"`
	Roles     []string          `json:"roles"`
	Resource  string            `json:"resource"`
	Actions   []Action          `json:"actions"`
	Outputs   int               `json:"outputs"` // how many there are
}

type standInState struct {
	Name   string            `json:"name"`
	Faults []string          `json:"faults"`
	Help   map[string]string `json:"help"` // what each fault does
	Places []string          `json:"places,omitempty"`
	On     any               `json:"on"`
}

func (m *API) overview() overview {
	o := overview{
		Where: m.Where, Functions: m.Functions, StandIns: m.faults(), People: []identity.Person{}, Actions: m.Actions,
		Roles: []string{"Api.Read", "Api.Write"}, Resource: identity.APIURI,
	}
	if m.Identity != nil {
		o.People = m.Identity.People()
	}
	if m.Host != nil {
		o.Outputs = len(m.Host.Outputs())
	}
	return o
}

func (m *API) faults() []standInState {
	out := []standInState{}
	for _, s := range m.StandIns {
		out = append(out, standInState{s.name, s.names(), FaultHelp[s.name], s.places, s.on()})
	}
	return out
}

func (m *API) serveInvocation(w http.ResponseWriter, r *http.Request) {
	inv, ok := m.Board.Get(r.PathValue("id"))
	if !ok {
		http.Error(w, "no invocation "+r.PathValue("id")+" is kept", http.StatusNotFound)
		return
	}
	answerJSON(w, http.StatusOK, inv)
}

// serveEvents is a stream of server-sent events: "invocation" with an Invocation whenever one begins or changes, "state" without data
// whenever the overview is another.
func (m *API) serveEvents(w http.ResponseWriter, r *http.Request) {
	invocations, stop := m.Board.Listen()
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	io.WriteString(w, "retry: 1000\n\n")
	flush.Flush()
	tick := m.tick
	if tick <= 0 {
		tick = time.Second
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last, _ := json.Marshal(m.overview())
	for {
		select {
		case <-r.Context().Done():
			return
		case inv := <-invocations:
			data, err := json.Marshal(inv)
			if err != nil {
				continue
			}
			fmt.Fprintf(w, "event: invocation\ndata: %s\n\n", data)
		case <-ticker.C:
			now, _ := json.Marshal(m.overview())
			if bytes.Equal(now, last) {
				continue
			}
			last = now
			io.WriteString(w, "event: state\ndata: {}\n\n")
		}
		if flush.Flush() != nil {
			return
		}
	}
}

func (m *API) serveFaults(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, m.faults())
}

func (m *API) find(name string) (StandIn, bool) {
	for _, s := range m.StandIns {
		if s.name == name {
			return s, true
		}
	}
	return StandIn{}, false
}

func (m *API) setFault(w http.ResponseWriter, r *http.Request) {
	s, ok := m.find(r.PathValue("standin"))
	if !ok {
		http.Error(w, "no stand-in "+r.PathValue("standin"), http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = s.set(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (m *API) clearFault(w http.ResponseWriter, r *http.Request) {
	s, ok := m.find(r.PathValue("standin"))
	if !ok {
		http.Error(w, "no stand-in "+r.PathValue("standin"), http.StatusNotFound)
		return
	}
	s.clear(r.URL.Query().Get("name"))
	w.WriteHeader(http.StatusNoContent)
}

func (m *API) serveFire(w http.ResponseWriter, r *http.Request) {
	var fire host.Firing
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil && len(bytes.TrimSpace(body)) > 0 {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		err = d.Decode(&fire)
	}
	if err != nil {
		http.Error(w, "reading the body: want a JSON object with method, path, header, body, or input, many, metadata: "+err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := m.Fire(r.Context(), r.PathValue("name"), fire)
	switch {
	case errors.Is(err, ErrNoFunction):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
	default:
		answerJSON(w, http.StatusOK, answer)
	}
}

// readFault decodes a fault of a stand-in strictly.
func readFault[F any](body []byte, set func(F) error) error {
	var f F
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return fmt.Errorf("reading a fault: want a JSON object: %w", err)
	}
	return set(f)
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
