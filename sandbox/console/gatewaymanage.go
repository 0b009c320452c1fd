package console

import (
	"fmt"
	"io"
	"net/http"

	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/loopback"
)

// gatewayAPI is what the console and scripts do to a gateway; docs/sandbox.md lists it. It answers no key, not even a
// rotated one: who holds the old one has to live with it.
func gatewayAPI(g *gateway.Gateway) http.Handler {
	mux := http.NewServeMux()
	faults := GatewayStandIn(g)
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, g.History()) })
	mux.HandleFunc("GET /subscriptions", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, g.Subscriptions()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, map[string]any{"on": faults.on(), "names": faults.names()})
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err == nil {
			err = faults.set(body)
		}
		done(w, err)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, r *http.Request) {
		faults.clear(r.URL.Query().Get("name"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /subscriptions/{name}/keys/{key}/rotate", func(w http.ResponseWriter, r *http.Request) {
		_, err := g.RotateKey(r.PathValue("name"), r.PathValue("key"))
		done(w, err)
	})
	mux.HandleFunc("POST /subscriptions/{name}/state/{state}", func(w http.ResponseWriter, r *http.Request) {
		state := gateway.State(r.PathValue("state"))
		if state != gateway.Active && state != gateway.Suspended {
			done(w, fmt.Errorf("state %q: want active or suspended", state))
			return
		}
		done(w, g.SetState(r.PathValue("name"), state))
	})
	mux.HandleFunc("POST /metadata/forget", func(w http.ResponseWriter, _ *http.Request) {
		g.ForgetMetadata()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		g.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// ManageGateway is the API of gatewayAPI for a gateway that runs alone, closed to other origins.
func ManageGateway(g *gateway.Gateway) http.Handler { return loopback.Guard(gatewayAPI(g)) }

func done(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
