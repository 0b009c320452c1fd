package identity

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Manage serves what the console and scripts do to a tenant. It answers JSON and holds no token and no secret:
//
//	GET    /requests?after=ID   history
//	GET    /people              identities, applications, the developer, and their roles
//	POST   /roles               {"client_id","resource","grant":[…],"revoke":[…]}; "client_id" may be "developer"
//	POST   /attach              {"client_id","attached":true}
//	POST   /assignment          {"resource","required":true}
//	POST   /developer           {"signed_in":true}
//	GET    /faults              {"on":[…],"names":[…]}
//	POST   /faults              a Fault
//	DELETE /faults?name=N       one, or all without name
//	POST   /keys/rotate?keep=1  new signing key; keep leaves the old one in the key set
//	POST   /forget              empties the platform's token cache
//	POST   /reset               faults, history and cache
//
// It checks neither origin nor host: wrap it in loopback.Guard.
func (s *Server) Manage() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
		writeJSON(w, http.StatusOK, s.History(after))
	})
	mux.HandleFunc("GET /people", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.People()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"on": append([]Fault{}, s.Faults()...), "names": FaultNames()})
	})
	mux.HandleFunc("POST /faults", command(s.SetFault))
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, r *http.Request) {
		s.ClearFault(r.URL.Query().Get("name"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /roles", command(func(c struct {
		ClientID string   `json:"client_id"`
		Resource string   `json:"resource"`
		Grant    []string `json:"grant"`
		Revoke   []string `json:"revoke"`
	}) error {
		if len(c.Revoke) > 0 {
			if err := s.Revoke(c.ClientID, c.Resource, c.Revoke...); err != nil {
				return err
			}
		}
		return s.Grant(c.ClientID, c.Resource, c.Grant...)
	}))
	mux.HandleFunc("POST /attach", command(func(c struct {
		ClientID string `json:"client_id"`
		Attached bool   `json:"attached"`
	}) error {
		return s.Attach(c.ClientID, c.Attached)
	}))
	mux.HandleFunc("POST /assignment", command(func(c struct {
		Resource string `json:"resource"`
		Required bool   `json:"required"`
	}) error {
		return s.RequireAssignment(c.Resource, c.Required)
	}))
	mux.HandleFunc("POST /developer", command(func(c struct {
		SignedIn bool `json:"signed_in"`
	}) error {
		s.SignIn(c.SignedIn)
		return nil
	}))
	mux.HandleFunc("POST /keys/rotate", func(w http.ResponseWriter, r *http.Request) {
		kid, err := s.RotateKeys(r.URL.Query().Get("keep") != "")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"kid": kid})
	})
	mux.HandleFunc("POST /forget", func(w http.ResponseWriter, _ *http.Request) { s.Forget(); w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) { s.Reset(); w.WriteHeader(http.StatusNoContent) })
	return mux
}

// command reads a JSON object and does something with it: 204, or 400 with the reason.
func command[T any](do func(T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var c T
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxForm))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			http.Error(w, "reading the body: want a JSON object: "+err.Error(), http.StatusBadRequest)
			return
		}
		if err := do(c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
