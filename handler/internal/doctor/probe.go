package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"sync"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/target"
)

// kind is what an answer says about the way through the gateway: route, key, policy, backend.
type kind int

const (
	reached      kind = iota // the backend, or something else that is not the gateway's: status below 500
	noOperation              // 404 in the gateway's form
	keyMissing               // 401
	keyInvalid               // 401
	unclear                  // a 401 or 403 that the gateway and a backend write alike
	tokenRefused             // 401 in the gateway's form that is not about the key
	forbidden                // 403 in the gateway's form
	quotaSpent               // 403
	rateLimited              // 429
	foreign                  // 401 or 403 that is not the gateway's
	foreign404               // 404 that is not the gateway's
	internal                 // 500 in the gateway's form
	frontDoor                // 5xx as HTML
	backendError             // any other 5xx
	portal                   // 2xx as HTML
	redirect                 // 3xx
	nothing                  // no answer
)

// answer is a probe's.
type answer struct {
	kind    kind
	status  int
	message string // the gateway's own; "" where the answer is not in its form
	header  http.Header
	err     error
	sent    time.Time
	proxy   string // the variable that names it; "" = none
	words   string // what it says, for comparison; see says
}

// saw is the answer in a few words. Nothing of a backend's body is shown: nobody knows what it
// holds.
func (a answer) saw() string {
	switch {
	case a.err != nil && cause.OfNetwork(a.err) == cause.ProxyRefuses:
		return "through the proxy of " + a.proxy + ": " + plainError(a.err)
	case a.err != nil:
		return plainError(a.err)
	case a.message != "":
		return fmt.Sprintf("%d %s", a.status, a.message)
	}
	what := strings.TrimSpace(fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)))
	if t := a.header.Get("Content-Type"); t != "" {
		what += " (" + strings.TrimSpace(strings.Split(t, ";")[0]) + ")"
	}
	return what
}

// transport sends the probes of a function.
func (v *visit) transport() http.RoundTripper {
	if v.o.Transport != nil {
		return v.o.Transport
	}
	t := relay.NewTransport(v.f.Trust)
	v.throughProxy(t)
	t.DisableKeepAlives = true // each probe stands for itself, and a run ends with nothing open
	return t
}

// probe sends one request. key is "" for none, tok likewise.
func (v *visit) probe(ctx context.Context, key, tok string) answer {
	a := answer{sent: v.o.Now()}
	u, err := v.f.Target.URL(v.route.values, "")
	if err != nil {
		return answer{kind: nothing, err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, v.o.times.probe)
	defer cancel()
	req := (&http.Request{Method: v.route.method, URL: u, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	for name, values := range v.f.Headers {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "apimrelay-doctor")
	if key != "" {
		req.Header.Set(v.f.KeyHeader, key)
	}
	if tok != "" {
		req.Header.Set("Authorization", "Bearer "+tok)
	}
	res, err := v.transport().RoundTrip(req)
	if err != nil {
		return answer{kind: nothing, err: err, proxy: v.proxy().variable}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 8<<10))
	if err != nil && len(body) == 0 {
		return answer{kind: nothing, err: err}
	}
	a.status, a.header = res.StatusCode, res.Header
	a.classify(body, v.redact)
	a.words = wordsOf(body, key)
	return a
}

// classify reads the answer as the relay does, and what the relay does not ask.
func (a *answer) classify(body []byte, redact *redactor) {
	var own struct {
		StatusCode int    `json:"statusCode"`
		Message    string `json:"message"`
		ActivityID string `json:"activityId"`
	}
	if json.Unmarshal(body, &own) == nil && own.StatusCode == a.status && own.Message != "" {
		a.message = clip(redact.text(own.Message))
		if own.ActivityID != "" {
			a.message += " (activity id " + clip(redact.text(own.ActivityID)) + ")"
		}
	}
	html := strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
	switch refusal := relay.Classify(a.status, a.header, body); {
	case refusal == relay.KeyMissing:
		a.kind = keyMissing
	case refusal == relay.KeyInvalid:
		a.kind = keyInvalid
	case refusal == relay.Unclear:
		a.kind = unclear
	case refusal == relay.TokenRefused:
		a.kind = tokenRefused
	case refusal == relay.Forbidden:
		a.kind = forbidden
	case refusal == relay.QuotaSpent:
		a.kind = quotaSpent
	case refusal != relay.NoRefusal:
		a.kind = foreign
	case a.status == http.StatusNotFound && a.message != "":
		a.kind = noOperation
	case a.status == http.StatusNotFound:
		a.kind = foreign404
	case a.status == http.StatusTooManyRequests:
		a.kind = rateLimited
	case a.status >= 500 && html:
		a.kind = frontDoor
	case a.status == http.StatusInternalServerError && a.message != "":
		a.kind = internal
	case a.status >= 500:
		a.kind = backendError
	case a.status >= 300 && a.status <= 399 && a.status != http.StatusNotModified:
		a.kind = redirect
	case a.status <= 299 && html:
		a.kind = portal
	}
}

// trouble is the finding of an answer that is one whatever was sent; ok is false for the others.
func (v *visit) trouble(a answer) (o outcome, found bool) {
	anchor := map[kind]cause.Code{
		forbidden: cause.Forbidden, quotaSpent: cause.QuotaSpent, rateLimited: cause.RateLimited, internal: cause.GatewayError, frontDoor: cause.FrontDoor,
		backendError: cause.BackendError, portal: cause.Portal, redirect: cause.Redirect,
	}[a.kind]
	switch {
	case a.kind == nothing:
		anchor = silentAnchor(a.err)
	case a.status == http.StatusProxyAuthRequired && v.proxy().address != nil:
		anchor = cause.ProxyRefuses
	}
	if anchor == "" {
		return outcome{}, false
	}
	saw := a.saw()
	if after := a.header.Get("Retry-After"); after != "" && (a.kind == quotaSpent || a.kind == rateLimited) {
		saw += ", Retry-After " + clip(v.redact.text(after))
	}
	if to := a.header.Get("Location"); to != "" && a.kind == redirect {
		if i := strings.IndexAny(to, "?#"); i >= 0 {
			to = to[:i]
		}
		saw += " to " + clip(v.redact.text(to))
	}
	return find(anchor, saw, v.fill()), true
}

// silentAnchor names a failure of the network.
func silentAnchor(err error) cause.Code {
	if _, ok := errors.AsType[*target.PathError](err); ok {
		return cause.URLForm
	}
	return cause.OfNetwork(err)
}

// clip keeps a foreign text short.
func clip(s string) string {
	if r := []rune(line(s)); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return line(s)
}

// headerOfRealm finds the name that the gateway itself gives for the key's header:
// WWW-Authenticate: AzureApiManagementKey realm="…",name="…",type="header".
var headerOfRealm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^AzureApiManagementKey .*name="([A-Za-z0-9!#$%&'*+.^_|~-]+)"`)
})
