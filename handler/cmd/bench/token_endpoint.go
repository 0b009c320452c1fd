//go:build linux

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"time"
)

const tenantID = "aaaaaaaa-0000-0000-0000-000000000000"

// endpoint is the App Service identity endpoint in memory. Each resource has a behaviour and a count of its own, so that azidentity's process-wide
// cache, whose key is identity and resource, keeps the situations apart.
// https://learn.microsoft.com/azure/app-service/overview-managed-identity, "REST endpoint reference"
type endpoint struct {
	*httptest.Server
	mu        sync.Mutex
	resources map[string]*resource
	last      int
}

// resource is what one situation asks for.
type resource struct {
	name   string
	mu     sync.Mutex
	asked  int
	answer func(n int, w http.ResponseWriter, r *http.Request) // n counts from 1
}

func startEndpoint() (*endpoint, error) {
	e := &endpoint{resources: map[string]*resource{}}
	e.Server = httptest.NewServer(e)
	// azidentity reads them from the process environment at each request.
	for name, value := range map[string]string{"IDENTITY_ENDPOINT": e.URL + "/msi/token", "IDENTITY_HEADER": "bench"} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// resource makes a new one.
func (e *endpoint) resource(answer func(n int, w http.ResponseWriter, r *http.Request)) *resource {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	r := &resource{name: "api://bench-" + strconv.Itoa(e.last), answer: answer}
	e.resources[r.name] = r
	return r
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	res := e.resources[r.URL.Query().Get("resource")]
	e.mu.Unlock()
	if res == nil {
		http.Error(w, "no such resource", http.StatusBadRequest)
		return
	}
	res.mu.Lock()
	res.asked++
	n, answer := res.asked, res.answer
	res.mu.Unlock()
	answer(n, w, r)
}

// requests returns how often the resource was asked for since the last call.
func (r *resource) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.asked
	r.asked = 0
	return n
}

func (r *resource) say(answer func(n int, w http.ResponseWriter, r *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// behaviours

type answer = func(n int, w http.ResponseWriter, r *http.Request)

// good answers with a new token, after a delay.
func good(life, delay time.Duration) answer {
	return func(_ int, w http.ResponseWriter, r *http.Request) {
		if !pause(r.Context(), delay) {
			return
		}
		send(w, jwt(tenantID, life), life, 0)
	}
}

// goodUntilRefreshIn is good with refresh_in in seconds.
func goodUntilRefreshIn(life time.Duration, refreshIn int) answer {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { send(w, jwt(tenantID, life), life, refreshIn) }
}

// same answers with one token for ever, as the platform's cache does.
func same(life time.Duration) answer {
	tok, end := jwt(tenantID, life), time.Now().Add(life)
	return func(_ int, w http.ResponseWriter, _ *http.Request) { send(w, tok, time.Until(end), 0) }
}

func status(code int, retryAfter string) answer {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"statusCode":%d,"message":"An unexpected error occured while fetching the AAD Token."}`, code)
	}
}

func hang(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func html(_ int, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprint(w, "<html><body>proxy</body></html>")
}

func empty(_ int, w http.ResponseWriter, _ *http.Request) { send(w, "", time.Hour, 0) }

func expired(_ int, w http.ResponseWriter, _ *http.Request) {
	send(w, jwt(tenantID, -time.Hour), -time.Hour, 0)
}

func otherTenant(_ int, w http.ResponseWriter, _ *http.Request) {
	send(w, jwt("bbbbbbbb-0000-0000-0000-000000000000", time.Hour), time.Hour, 0)
}

func send(w http.ResponseWriter, tok string, life time.Duration, refreshIn int) {
	body := map[string]string{"access_token": tok, "expires_on": strconv.FormatInt(time.Now().Add(life).Unix(), 10), "token_type": "Bearer"}
	if refreshIn > 0 {
		body["refresh_in"] = strconv.Itoa(refreshIn)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

var serial struct {
	sync.Mutex
	n int
}

func jwt(tenant string, life time.Duration) string {
	serial.Lock()
	defer serial.Unlock()
	serial.n++
	payload := fmt.Sprintf(`{"tid":%q,"exp":%d,"uti":"%d"}`, tenant, time.Now().Add(life).Unix(), serial.n)
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc([]byte(payload)) + ".c2ln"
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
