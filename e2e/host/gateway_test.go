package host_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	tenant         = "11111111-2222-3333-4444-555555555555"
	gatewayKey     = "key-that-must-not-be-printed"
	identityHeader = "header-that-must-not-be-printed"
	signature      = "c2lnbmF0dXJlLXRoYXQtbXVzdC1ub3QtYmUtcHJpbnRlZA"
)

// gateway is API Management and the identity endpoint in one, which write down what they get.
type gateway struct {
	url    string
	mu     sync.Mutex
	got    []arrived
	gone   chan struct{} // closed at the end, which lets go what it holds
	stream chan string   // pieces of the answer to /up/stream; closed is its end
}

// arrived is a request to the gateway.
type arrived struct {
	method, uri string
	header      http.Header
	body        []byte
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{gone: make(chan struct{}), stream: make(chan string)}
	server := httptest.NewServer(g)
	g.url = server.URL
	t.Cleanup(func() {
		close(g.gone)
		server.Close()
	})
	return g
}

// clear forgets what has arrived; since returns it.
func (g *gateway) clear() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got = nil
}

func (g *gateway) since() []arrived {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]arrived(nil), g.got...)
}

func token() string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now()
	return part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." +
		part(map[string]any{"aud": "api://host-suite", "tid": tenant,
			"iss": "https://sts.windows.net/" + tenant + "/", "ver": "1.0", "appid": tenant,
			"idtyp": "app", "roles": []string{"Api.Read"},
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(24 * time.Hour).Unix()}) + "." +
		signature
}

// ServeHTTP answers by the path behind /up/: what the caller of the function has asked for.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		if r.Header.Get("X-Identity-Header") != identityHeader {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		expires := strconv.FormatInt(time.Now().Add(24*time.Hour).Unix(), 10)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"access_token": token(),
			"expires_on": expires, "resource": "api://host-suite", "token_type": "Bearer"})
		return
	}
	body, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	g.got = append(g.got, arrived{r.Method, r.RequestURI, r.Header.Clone(), body})
	g.mu.Unlock()
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") ||
		r.Header.Get("Ocp-Apim-Subscription-Key") != gatewayKey {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	what, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/up/"), "/")
	switch what {
	case "status":
		code, _ := strconv.Atoi(rest)
		w.Header().Set("X-Backend", "yes")
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(code)
	case "large":
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, strings.Repeat("0123456789abcdef", 1<<16))
	case "binary":
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(allBytes())
	case "cookies":
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
	case "slow":
		select {
		case <-r.Context().Done():
		case <-g.gone:
		}
	case "stream":
		w.Header().Set("Content-Type", "text/event-stream")
		for piece := range g.stream {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
		}
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Backend", "yes")
		_, _ = fmt.Fprintf(w, `{"method":%q,"uri":%q,"bytes":%d}`, r.Method, r.RequestURI,
			len(body))
	}
}

func allBytes() []byte {
	b := make([]byte, 1024)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}
