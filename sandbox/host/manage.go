package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The most that the management API takes of a body.
const maxManaged = 10 << 20

// Manage serves what the console and scripts do to a host. It answers JSON and holds no key:
//
//	GET    /functions               name, trigger, and the way in which each is called
//	POST   /functions/{name}        fires it: a Firing
//	GET    /invocations             History, oldest first
//	GET    /outputs                 what functions wrote to queues and other outputs, poison queues included
//	GET    /faults                  {"on":[…],"names":[…]}
//	POST   /faults                  a Fault
//	DELETE /faults?name=N           one, or all without name
//	POST   /keys/{key}/rotate       function, host or master: a new key, which rotated gets
//	POST   /restart                 Restart
//	POST   /reset                   faults, and what is remembered
//
// It checks neither origin nor host: wrap it in loopback.Guard. Unlike POST
// /admin/functions/{name}, which is the real host's and runs a function once, it delivers a queue's
// message as its queue would.
func (h *Host) Manage(rotated func(key, value string)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /functions", func(w http.ResponseWriter,
		_ *http.Request) {
		manageJSON(w, h.managedFunctions())
	})
	mux.HandleFunc("POST /functions/{name}", h.manageFire)
	mux.HandleFunc("GET /invocations", func(w http.ResponseWriter,
		_ *http.Request) {
		manageJSON(w, managedHistory(h.History()))
	})
	mux.HandleFunc("GET /outputs", func(w http.ResponseWriter,
		_ *http.Request) {
		manageJSON(w, managedOutputs(h.Outputs()))
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		manageJSON(w, map[string]any{"on": append([]Fault{}, h.Faults()...), "names": FaultNames()})
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		err := decodeManaged(w, r, &f)
		if err == nil {
			err = h.SetFault(f)
		}
		managed(w, err)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, r *http.Request) {
		h.ClearFault(r.URL.Query().Get("name"))
		managed(w, nil)
	})
	mux.HandleFunc("POST /keys/{key}/rotate", func(w http.ResponseWriter, r *http.Request) {
		key, err := h.RotateKey(r.PathValue("key"))
		if err == nil && rotated != nil {
			rotated(r.PathValue("key"), key.Reveal())
		}
		managed(w, err)
	})
	mux.HandleFunc("POST /restart", func(w http.ResponseWriter,
		_ *http.Request) {
		h.Restart()
		managed(w, nil)
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter,
		_ *http.Request) {
		h.Reset()
		managed(w, nil)
	})
	return mux
}

// Reset clears the faults and forgets invocations and outputs. What runs goes on.
func (h *Host) Reset() {
	h.ClearFault("")
	h.history.forget()
	h.outMu.Lock()
	defer h.outMu.Unlock()
	h.out = nil
}

// Firing is a run by hand. HTTP functions take Method, Path, Header and Body, others Input or Many,
// and Metadata.
type Firing struct {
	Method string            `json:"method"` // GET when empty
	Path   string            `json:"path"`   // path and query
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
	// the event's data: text, or any JSON as it stands; empty text is none
	Input    json.RawMessage   `json:"input"`
	Many     []json.RawMessage `json:"many"` // the items of a batch
	Metadata map[string]string `json:"metadata"`
}

// Event is a Firing's event.
func (f Firing) Event() Event {
	e := Event{Metadata: f.Metadata}
	if len(f.Input) > 0 {
		if text := eventText(f.Input); text != "" {
			e.Input = &text
		}
	}
	for _, item := range f.Many {
		e.Many = append(e.Many, eventText(item))
	}
	return e
}

// eventText is the content of a JSON string; anything else is JSON as it was sent.
func eventText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// Call sends a request to an HTTP function through the host's own address, with the key that fits
// every level, and returns the status, the header and the first 4 KiB of the body. Redirects are not followed.
// A caller's fault is the error that any caller sees.
func (h *Host) Call(ctx context.Context, f Firing) (
	status int, header http.Header, body string, err error,
) {
	if f.Method == "" {
		f.Method = http.MethodGet
	}
	if !strings.HasPrefix(f.Path, "/") {
		return 0, nil, "", fmt.Errorf("calling the host: path is %q: want one that begins with /",
			f.Path)
	}
	req, err := http.NewRequestWithContext(ctx, f.Method, "http://"+h.Addr()+f.Path,
		bytes.NewReader([]byte(f.Body)))
	if err != nil {
		return 0, nil, "", fmt.Errorf("making a request: %w", err)
	}
	h.keys.mu.Lock()
	req.Header.Set("x-functions-key", h.keys.master.Reveal())
	h.keys.mu.Unlock()
	for name, value := range f.Header {
		req.Header.Set(name, value)
	}
	client := &http.Client{
		// no proxy: the host is on this machine
		Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request,
			[]*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, "", fmt.Errorf("calling the host: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return 0, nil, "", fmt.Errorf("reading the host's answer: %w", err)
	}
	return res.StatusCode, res.Header, string(text), nil
}

type fired struct {
	Status int    `json:"status"`
	Body   string `json:"body,omitempty"`
	ID     string `json:"id,omitempty"` // of an event's (first) invocation
}

func (h *Host) manageFire(w http.ResponseWriter, r *http.Request) {
	var f Firing
	if err := decodeManaged(w, r, &f); err != nil && !errors.Is(err, io.EOF) {
		managed(w, err)
		return
	}
	name := r.PathValue("name")
	in := h.inside()
	if in == nil || in.find(name) == nil {
		http.Error(w, fmt.Sprintf("firing %s: %s", name, errNotThere), http.StatusNotFound)
		return
	}
	if in.find(name).http() {
		status, _, body, err := h.Call(r.Context(), f)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		manageJSON(w, fired{Status: status, Body: body})
		return
	}
	run, err := h.Fire(name, f.Event())
	if err != nil {
		managed(w, err)
		return
	}
	manageJSON(w, fired{Status: http.StatusAccepted, ID: run.ID})
}

type managedFunction struct {
	Name     string `json:"name"`
	Trigger  string `json:"trigger"`
	Way      string `json:"way"`
	Disabled bool   `json:"disabled,omitempty"`
}

func (h *Host) managedFunctions() []managedFunction {
	out := []managedFunction{}
	if in := h.inside(); in != nil {
		for _, f := range in.functions {
			out = append(out, managedFunction{f.name, f.trigger.kind, in.way(f), f.disabled})
		}
	}
	return out
}

type managedInvocation struct {
	ID         string    `json:"id"`
	Function   string    `json:"function"`
	Trigger    string    `json:"trigger"`
	Way        string    `json:"way"`
	Reason     string    `json:"reason"`
	Details    string    `json:"details,omitempty"`
	Method     string    `json:"method,omitempty"`
	Path       string    `json:"path,omitempty"`
	Attempt    int       `json:"attempt"`
	Started    time.Time `json:"started"`
	DurationMS float64   `json:"duration_ms"`
	Outcome    Status    `json:"outcome"`
	Status     int       `json:"status,omitempty"`
	Error      string    `json:"error,omitempty"`
	Faults     []string  `json:"faults,omitempty"`
}

func managedHistory(all []Invocation) []managedInvocation {
	out := []managedInvocation{}
	for _, i := range all {
		out = append(out, managedInvocation{i.ID, i.Function, i.Trigger, i.Way, i.Reason, i.Details,
			i.Method, i.Path, i.Attempt, i.Started,
			float64(i.Duration.Microseconds()) / 1000, i.Status, i.HTTP, i.Error, i.Faults})
	}
	return out
}

type managedMessage struct {
	Time       time.Time `json:"time"`
	Function   string    `json:"function"`
	Invocation string    `json:"invocation"`
	Binding    string    `json:"binding"`
	Kind       string    `json:"kind"`
	Target     string    `json:"target"`
	Body       string    `json:"body"`
}

func managedOutputs(all []Message) []managedMessage {
	out := []managedMessage{}
	for _, m := range all {
		out = append(out, managedMessage{m.Time, m.Function, m.Invocation, m.Binding, m.Kind,
			m.Target, string(m.Body)})
	}
	return out
}

func decodeManaged(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxManaged))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("reading the body: want a JSON object: %w", err)
	}
	return nil
}

func managed(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func manageJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(v) // the reader may be gone
}
