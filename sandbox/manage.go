package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"apimrelay/sandbox/console"
	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
	"apimrelay/sandbox/loopback"
)

const maxBody = 10 << 20

// management is the API behind the console. docs/sandbox.md lists its calls; keep the two together.
type management struct {
	store     *store
	where     string
	functions []functionInfo
	standIns  []standIn
	host      *host.Host              // nil in tests
	identity  *identity.Server        // nil when tokens come from elsewhere
	gateway   *gateway.Gateway        // nil when calls go elsewhere
	rotated   func(key, value string) // gets the host's new keys
	actions   []action
	fire      func(context.Context, string, host.Firing) (fireAnswer, error)
	reset     func()
	// tick is how often a reader of /events learns of a changed overview; a second when zero.
	tick time.Duration
}

// functionInfo is what the console shows of a function and how it fires it.
type functionInfo struct {
	Name    string   `json:"name"`
	Trigger string   `json:"trigger"`          // http, timer, queue, ...
	Detail  string   `json:"detail,omitempty"` // schedule, queue name or route
	Methods []string `json:"methods,omitempty"`
	Path    string   `json:"path,omitempty"`   // an example that fits the route
	Sample  string   `json:"sample,omitempty"` // an example of an event's data
}

// action is a button of the console: a POST without a body.
type action struct {
	ID    string       `json:"id"`
	Label string       `json:"label"`
	Help  string       `json:"help"`
	Path  string       `json:"path"`
	do    func() error // nil: served elsewhere
}

type fireAnswer struct {
	Status int    `json:"status"`
	Body   string `json:"body,omitempty"` // the first 4 KiB
}

// errNoFunction is answered with 404.
var errNoFunction = errors.New("no such function")

func (m *management) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", console.Handler())
	mux.HandleFunc("GET /overview", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, m.overview()) })
	mux.HandleFunc("GET /invocations", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, m.store.all()) })
	mux.HandleFunc("GET /invocations/{id}", m.serveInvocation)
	mux.HandleFunc("GET /events", m.serveEvents)
	mux.HandleFunc("GET /faults", m.serveFaults)
	mux.HandleFunc("POST /faults/{standin}", m.setFault)
	mux.HandleFunc("DELETE /faults/{standin}", m.clearFault)
	mux.HandleFunc("POST /functions/{name}", m.serveFire)
	for _, a := range m.actions {
		if a.do != nil {
			mux.HandleFunc("POST "+a.Path, func(w http.ResponseWriter, _ *http.Request) {
				if err := a.do(); err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				w.WriteHeader(http.StatusNoContent)
			})
		}
	}
	if m.host != nil {
		mux.Handle("/host/", http.StripPrefix("/host", m.host.Manage(m.rotated)))
	}
	if m.identity != nil {
		mux.Handle("/identity/", http.StripPrefix("/identity", m.identity.Manage()))
	}
	if m.gateway != nil {
		mux.Handle("/gateway/", http.StripPrefix("/gateway", gatewayAPI(m.gateway)))
	}
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		for _, s := range m.standIns {
			s.clear("")
		}
		if m.reset != nil {
			m.reset()
		}
		m.store.reset()
		w.WriteHeader(http.StatusNoContent)
	})
	return loopback.Guard(mux)
}

type overview struct {
	Where     string            `json:"where"`
	Functions []functionInfo    `json:"functions"`
	StandIns  []standInState    `json:"stand_ins"`
	People    []identity.Person `json:"people"`
	Roles     []string          `json:"roles"`
	Resource  string            `json:"resource"`
	Actions   []action          `json:"actions"`
}

type standInState struct {
	Name   string   `json:"name"`
	Faults []string `json:"faults"`
	Places []string `json:"places,omitempty"`
	On     any      `json:"on"`
}

func (m *management) overview() overview {
	o := overview{
		Where: m.where, Functions: m.functions, StandIns: m.faults(), People: []identity.Person{}, Actions: m.actions,
		Roles: []string{"Api.Read", "Api.Write"}, Resource: identity.APIURI,
	}
	if m.identity != nil {
		o.People = m.identity.People()
	}
	return o
}

func (m *management) faults() []standInState {
	out := []standInState{}
	for _, s := range m.standIns {
		out = append(out, standInState{s.name, s.names(), s.places, s.on()})
	}
	return out
}

func (m *management) serveInvocation(w http.ResponseWriter, r *http.Request) {
	inv, ok := m.store.get(r.PathValue("id"))
	if !ok {
		http.Error(w, "no invocation "+r.PathValue("id")+" is kept", http.StatusNotFound)
		return
	}
	answerJSON(w, http.StatusOK, inv)
}

// serveEvents is a stream of server-sent events: "invocation" with an Invocation whenever one begins or changes, "state" without data
// whenever the overview is another.
func (m *management) serveEvents(w http.ResponseWriter, r *http.Request) {
	invocations, stop := m.store.listen()
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

func (m *management) serveFaults(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, m.faults())
}

func (m *management) find(name string) (standIn, bool) {
	for _, s := range m.standIns {
		if s.name == name {
			return s, true
		}
	}
	return standIn{}, false
}

func (m *management) setFault(w http.ResponseWriter, r *http.Request) {
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

func (m *management) clearFault(w http.ResponseWriter, r *http.Request) {
	s, ok := m.find(r.PathValue("standin"))
	if !ok {
		http.Error(w, "no stand-in "+r.PathValue("standin"), http.StatusNotFound)
		return
	}
	s.clear(r.URL.Query().Get("name"))
	w.WriteHeader(http.StatusNoContent)
}

func (m *management) serveFire(w http.ResponseWriter, r *http.Request) {
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
	answer, err := m.fire(r.Context(), r.PathValue("name"), fire)
	switch {
	case errors.Is(err, errNoFunction):
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
