package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// spy stands between the handler and the gateway, and keeps what the handler sent, credentials included: that the gateway's own record leaves out.
type spy struct {
	server *httptest.Server
	mu     sync.Mutex
	all    []spied
	tokens map[string]bool // all that were ever sent
}

type spied struct {
	Method, URL string // the URL's path and query as sent
	Header      http.Header
	Body        []byte
}

// newSpy passes everything on to next, or answers by itself where next is a handler.
func newSpy(next http.Handler) *spy {
	s := &spy{tokens: map[string]bool{}}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.mu.Lock()
		s.all = append(s.all, spied{r.Method, r.RequestURI, r.Header.Clone(), body})
		s.tokens[r.Header.Get("Authorization")] = true
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	}))
	return s
}

func spyOn(gateway string) (*spy, error) {
	target, err := url.Parse(gateway)
	if err != nil {
		return nil, err
	}
	return newSpy(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = target.Scheme, target.Host }}), nil
}

func (s *spy) seen() []spied {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func (s *spy) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

// callerOf names the identity that a token was made for, by the client id of the sandbox's default tenant.
func callerOf(authorization string) string {
	parts := strings.Split(strings.TrimPrefix(authorization, "Bearer "), ".")
	if len(parts) != 3 {
		return "none"
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "unreadable"
	}
	var claims struct{ Azp, Appid string }
	if json.Unmarshal(payload, &claims) != nil {
		return "unreadable"
	}
	names := map[string]string{"b1": "system", "c1": "reader", "c3": "writer", "d1": "stranger"}
	id := claims.Azp + claims.Appid
	if name := names[id[max(0, len(id)-2):]]; name != "" {
		return name
	}
	return id
}
