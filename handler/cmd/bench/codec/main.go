// Codec is what a careful user would write by hand for wrapped calls: encoding/json into types of
// its own, one tuned transport, a token that is at hand, a log line. It keeps each body in memory
// whole. It is never deployed.
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"apimrelay/handler/cmd/bench/reference"
)

type envelope struct {
	Data struct {
		Req struct {
			URL     string `json:"Url"`
			Method  string
			Headers http.Header
			Body    string
		} `json:"req"`
	}
}

type answer struct {
	Outputs struct {
		Res response `json:"res"`
	}
	Logs        []string
	ReturnValue any
}

type response struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

type handler struct {
	api    reference.API
	client *http.Client
	log    *slog.Logger
}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	api, err := reference.FromEnvironment()
	if err == nil {
		h := &handler{api, &http.Client{Transport: reference.Transport()}, log}
		err = reference.Serve(h)
	}
	log.Error("serving", "error", err)
	os.Exit(1)
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	status, err := h.relay(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
	h.log.Info("invocation", "function", "relay", "way", "wrapped", "status", status,
		"invocation_id", r.Header.Get("X-Azure-Functions-InvocationId"),
		"duration_ms", float64(time.Since(began))/float64(time.Millisecond))
}

func (h *handler) relay(w http.ResponseWriter, r *http.Request) (status int, err error) {
	var in envelope
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return 0, err
	}
	caller := in.Data.Req
	from, err := url.Parse(caller.URL)
	if err != nil {
		return 0, err
	}
	u := *h.api.URL
	u.Path, u.RawQuery = strings.TrimPrefix(from.Path, h.api.Prefix), from.RawQuery
	req, err := http.NewRequestWithContext(r.Context(), caller.Method, u.String(), strings.NewReader(caller.Body))
	if err != nil {
		return 0, err
	}
	for name, values := range caller.Headers {
		if name != "Host" && name != "Content-Length" {
			req.Header[name] = values
		}
	}
	req.Header.Set("Authorization", "Bearer "+h.api.Token)
	req.Header.Set("Ocp-Apim-Subscription-Key", h.api.Key)
	res, err := h.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var body strings.Builder
	body.Grow(int(max(res.ContentLength, 0)))
	if _, err := io.Copy(&body, res.Body); err != nil {
		return 0, err
	}
	var out answer
	out.Outputs.Res = response{res.StatusCode, map[string]string{"Content-Type": res.Header.Get("Content-Type")}, body.String()}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return 0, err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(b.Bytes())
	return res.StatusCode, err
}
