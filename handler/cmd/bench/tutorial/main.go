// Tutorial is what articles about custom handlers and managed identities show, put together, to measure the handler beside. It is never deployed.
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-chi/chi/v5"
)

type invokeRequest struct {
	Data     map[string]json.RawMessage
	Metadata map[string]any
}

type httpRequest struct {
	URL     string `json:"Url"`
	Method  string
	Headers map[string][]string
	Body    string
}

type invokeResponse struct {
	Outputs     map[string]any
	Logs        []string
	ReturnValue any
}

type app struct {
	cred  *azidentity.ManagedIdentityCredential
	scope string
	api   string
	key   string
}

func main() {
	cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(os.Getenv("BENCH_CLIENT"))})
	if err != nil {
		log.Fatal(err)
	}
	a := &app{cred, os.Getenv("BENCH_RESOURCE") + "/.default", os.Getenv("BENCH_URL"), os.Getenv("BENCH_KEY")}
	r := chi.NewRouter()
	r.Post("/relay", a.wrapped)
	r.HandleFunc("/api/relay/*", a.forwarded)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), r))
}

// call asks for a token and calls the API.
func (a *app) call(r *http.Request, method, path, contentType string, body []byte) (*http.Response, []byte, error) {
	token, err := a.cred.GetToken(r.Context(), policy.TokenRequestOptions{Scopes: []string{a.scope}})
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequest(method, a.api+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	req.Header.Set("Ocp-Apim-Subscription-Key", a.key)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	log.Printf("%s %s: %d", method, path, res.StatusCode)
	return res, answer, err
}

func (a *app) forwarded(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	res, answer, err := a.call(r, r.Method, strings.TrimPrefix(r.URL.Path, "/api/relay"), r.Header.Get("Content-Type"), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(answer)
}

func (a *app) wrapped(w http.ResponseWriter, r *http.Request) {
	envelope, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var invocation invokeRequest
	if err := json.Unmarshal(envelope, &invocation); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var req httpRequest
	if err := json.Unmarshal(invocation.Data["req"], &req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	u, err := url.Parse(req.URL)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	contentType := ""
	if values := req.Headers["Content-Type"]; len(values) > 0 {
		contentType = values[0]
	}
	res, answer, err := a.call(r, req.Method, strings.TrimPrefix(u.Path, "/api/relay"), contentType, []byte(req.Body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	headers := map[string]string{"Content-Type": res.Header.Get("Content-Type")}
	out, err := json.Marshal(invokeResponse{
		Outputs: map[string]any{"res": map[string]any{"statusCode": res.StatusCode, "headers": headers, "body": string(answer)}},
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out)
}
