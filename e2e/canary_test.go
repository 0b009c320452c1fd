package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"apimrelay/sandbox/host"
)

// TestCanaries lets everything go wrong that can, with secrets that are easy to find: a gateway and an identity endpoint that echo what they got, answers
// that break off, refusals, an exporter. No log line, answer or export may hold a secret, in any spelling or in a fragment of twelve characters.
func TestCanaries(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every kind of call and failure on the built programs")
	}
	root := t.TempDir()
	writeFunction(t, root, "http", trigger{kind: "httpTrigger"})
	writeFunction(t, root, "wrapped", trigger{kind: "httpTrigger", wrapped: true})
	writeFunction(t, root, "queue", trigger{bindings: triggers[4].bindings})
	writeFunction(t, root, "denied", trigger{kind: "httpTrigger"})
	writeFunction(t, root, "doctor", trigger{kind: "httpTrigger"})
	if err := stage(root); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var tokens []string
	turn := 0
	upstream := newSpy(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		bearer := r.Header.Get("Authorization")
		if bearer != "" { // doctor probes without
			tokens = append(tokens, strings.TrimPrefix(bearer, "Bearer "))
		}
		turn++
		n := turn
		mu.Unlock()
		// A backend that echoes, in headers; what stands in a body is the backend's own and is not searched.
		w.Header().Set("X-Echo", bearer)
		w.Header().Set("X-Echo-Key", r.Header.Get("Ocp-Apim-Subscription-Key"))
		w.Header().Set("Location", "/x?token="+strings.TrimPrefix(bearer, "Bearer "))
		switch n % 6 {
		case 0:
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, refusal)
		case 1:
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`)
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, "done")
		}
	}))
	defer upstream.server.Close()
	good := newTokens(t)
	denier := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "-8002-") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"statusCode":400,"message":"header %s was not good"}`, r.Header.Get("X-IDENTITY-HEADER"))
			return
		}
		good.server.Config.Handler.ServeHTTP(w, r)
	}))
	defer denier.Close()
	var exported strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = r.Write(&exported)
	}))
	defer collector.Close()
	environ := []string{"IDENTITY_ENDPOINT=" + denier.URL + "/msi/token", "IDENTITY_HEADER=" + identityKey, "PATH=" + os.Getenv("PATH"), "FUNCTIONS_WORKER_RUNTIME=custom",
		"AzureWebJobsStorage=UseDevelopmentStorage=true", "TargetApp=api://relayed", "TargetTenantID=" + tokenTenant, "FunctionIdentity=RunAs=App",
		"denied__FunctionIdentity=RunAs=App;AppId=00000000-0000-4000-8002-000000000000", "ApimKey=" + primaryKey, "ApimKeySecondary=" + secondaryKey, "RelayLogLevel=debug",
		"ApimUrl=" + upstream.server.URL, "OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=otlp"}
	var log logBook
	h := startHostOn(t, host.Config{Root: root, Environ: environ, OnLog: log.add, Speed: 100})
	if glimpse("a "+primaryKey[1:17]+" b", primaryKey) == "" || glimpse("nothing", primaryKey) != "" {
		t.Fatal("the search is blind")
	}
	var answers strings.Builder
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: patience}
	for i := range 12 {
		for _, call := range []string{"GET http", "POST http", "POST wrapped", "GET denied", "GET doctor"} {
			method, name, _ := strings.Cut(call, " ")
			if name == "doctor" && i > 0 {
				continue
			}
			var body *strings.Reader
			if body = strings.NewReader(""); method == "POST" {
				body = strings.NewReader(`{"a":1}`)
			}
			req, err := http.NewRequest(method, fmt.Sprintf("http://%s/api/%s?n=%d&code=%s", h.Addr(), name, i, functionKey), body)
			if err != nil {
				t.Fatal(err)
			}
			if method == "GET" {
				req.Body = nil
			}
			req.Header.Set("x-functions-key", functionKey)
			if res, err := client.Do(req); err == nil {
				_ = res.Write(&answers)
				res.Body.Close()
			}
		}
		if i%4 > 0 {
			continue
		}
		if fired, err := h.Fire("queue", host.Event{Input: text(fmt.Sprintf(`{"n":%d}`, i))}); err == nil {
			select {
			case <-fired.Done():
			case <-time.After(patience):
				t.Fatal("an event does not end")
			}
		}
	}
	h.Stop()
	mu.Lock()
	defer mu.Unlock()
	secrets := map[string]string{"primary key": primaryKey, "secondary key": secondaryKey, "identity header": identityKey, "function key": functionKey}
	for i, token := range tokens {
		secrets[fmt.Sprint("token ", i)] = token
	}
	if len(tokens) < 50 || answers.Len() < 1000 {
		t.Fatalf("%d calls, %d bytes of answers: too little to look at", len(tokens), answers.Len())
	}
	for where, text := range map[string]string{"log": log.of(""), "answers": answers.String(), "exports": exported.String()} {
		for what, secret := range secrets {
			if found := glimpse(text, secret); found != "" {
				t.Errorf("the %s hold %q of the %s", where, found, what)
			}
		}
	}
}

// guarded passes a host's log on, the handler's with it, and holds each line against the secrets of all tests: the keys, whole, in any spelling and in
// fragments, and anything that begins as a token does.
func guarded(t *testing.T, next func(host.LogEntry)) func(host.LogEntry) {
	var leaks []string
	var mu sync.Mutex
	t.Cleanup(func() { // runs when the host has stopped, whose own clean-up is registered later
		mu.Lock()
		defer mu.Unlock()
		for _, leak := range leaks {
			t.Error(leak)
		}
	})
	return func(e host.LogEntry) {
		for _, text := range canaries() {
			if strings.Contains(e.Text, text) {
				mu.Lock()
				if len(leaks) < 10 {
					leaks = append(leaks, fmt.Sprintf("the log holds %q: %s", text, e.Text))
				}
				mu.Unlock()
				break
			}
		}
		if next != nil {
			next(e)
		}
	}
}

// canaries are all texts that no log may hold.
var canaries = sync.OnceValue(func() []string {
	all := []string{"eyJ"} // {" in base64: each part of a token but the signature
	for _, secret := range []string{primaryKey, secondaryKey, identityKey, functionKey, masterKey} {
		all = append(all, spellings(secret)...)
		for i := 0; i+fragment <= len(secret); i++ {
			all = append(all, secret[i:i+fragment])
		}
	}
	return all
})

// fragment is how many characters of a secret are too many.
const fragment = 12

// glimpse returns the first spelling or fragment of a secret that text holds, or "".
func glimpse(text, secret string) string {
	for _, s := range spellings(secret) {
		if strings.Contains(text, s) {
			return s
		}
	}
	// Of a token the signature is the secret part: the rest repeats what is public. The tests' signatures are alike, so the whole payload counts.
	if parts := strings.Split(secret, "."); len(parts) == 3 {
		secret = parts[1]
	}
	for i := 0; i+fragment <= len(secret); i++ {
		if piece := secret[i : i+fragment]; strings.Contains(text, piece) {
			return piece
		}
	}
	if whole := base64.StdEncoding.EncodeToString([]byte(secret)); strings.Contains(text, whole) {
		return whole
	}
	return ""
}
