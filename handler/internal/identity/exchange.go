package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/token"
)

// exchange is what went over the wire for one token, noted below azidentity: its errors carry the
// answer for some credentials only, and in a text of many lines.
type exchange struct {
	status     int    // of the last answer; 0 = none came
	body       []byte // of the last answer
	mediaType  string
	retryAfter time.Duration
	failure    error // of the transport, instead of an answer
	from       string
}

type exchangeKey struct{}

// noted returns a context whose requests are noted in the exchange.
func noted(ctx context.Context) (context.Context, *exchange) {
	x := &exchange{}
	return context.WithValue(ctx, exchangeKey{}, x), x
}

// maxAnswer bounds the body of an answer: a token is a few KiB.
const maxAnswer = 1 << 20

// recorder notes each exchange and bounds its answer.
type recorder struct{ base http.RoundTripper }

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	x, _ := req.Context().Value(exchangeKey{}).(*exchange)
	if x == nil {
		x = &exchange{}
	}
	*x = exchange{from: (&url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Path: req.URL.Path}).String()}
	resp, err := r.base.RoundTrip(req)
	if err != nil {
		x.failure = err
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close()
	if err != nil {
		x.failure = err
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	x.status, x.body = resp.StatusCode, body
	x.mediaType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if wait, told := header.RetryAfter(resp.Header, time.Now()); told {
		x.retryAfter = min(wait, token.MaxRetryAfter)
	}
	return resp, nil
}

// client makes a client that notes its exchanges and follows no redirect: net/http would take
// X-IDENTITY-HEADER along to any host.
func client(base http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     recorder{base},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refuses tells whether the answer is a no that will be repeated. 400, 401 and 403 are;
// everything else but 200 may pass.
func (x *exchange) refuses() bool {
	return x.status == http.StatusBadRequest || x.status == http.StatusUnauthorized || x.status == http.StatusForbidden
}

// said is the answer's own message, bounded, on one line and without secrets.
func (x *exchange) said(secrets ...string) string {
	var fields struct {
		Message          string          `json:"message"`           // App Service
		ErrorDescription string          `json:"error_description"` // Entra, IMDS
		Error            json.RawMessage `json:"error"`             // Entra: a word; Azure Resource Manager's form: an object
		CorrelationID    string          `json:"correlationId"`     // App Service
		Correlation      string          `json:"correlation_id"`    // Entra
	}
	if json.Unmarshal(x.body, &fields) != nil {
		switch text := strings.TrimSpace(string(x.body)); {
		case text == "":
			return "nothing"
		case x.html():
			return "an HTML page, which a proxy may have sent"
		default:
			return bounded(text, 200, secrets...)
		}
	}
	text := fields.ErrorDescription
	if text == "" {
		text = fields.Message
	}
	if text == "" && json.Unmarshal(fields.Error, &text) != nil {
		var nested struct{ Message, Code string }
		_ = json.Unmarshal(fields.Error, &nested)
		text = strings.TrimSpace(nested.Code + " " + nested.Message)
	}
	if text == "" {
		return "JSON without a message"
	}
	text = withoutTrace(text)
	id := fields.CorrelationID
	if id == "" {
		id = fields.Correlation
	}
	if id != "" {
		return bounded(text, 300, secrets...) + " (correlation id " + bounded(id, 64, secrets...) + ")"
	}
	return bounded(text, 300, secrets...)
}

// html reports whether the body is a page instead of an answer.
func (x *exchange) html() bool {
	return x.mediaType == "text/html" || bytes.HasPrefix(bytes.TrimSpace(x.body), []byte("<"))
}

// errorWord is the answer's error code, as OAuth 2.0 has it (RFC 6749 section 5.2); "" where it
// has none.
func (x *exchange) errorWord() string {
	var fields struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(x.body, &fields)
	return fields.Error
}

// withoutTrace cuts the ids and the time that Entra appends to its messages.
func withoutTrace(text string) string {
	if i := strings.Index(text, "Trace ID:"); i > 0 {
		text = text[:i]
	}
	return strings.TrimSpace(text)
}

// Anything that could be a token or a key: a JWT, which begins with {" in base64, or a run of 40
// characters that is no path, no host and no GUID.
var credentials = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`eyJ[A-Za-z0-9_\-]{8,}(\.[A-Za-z0-9_\-]*)*|[A-Za-z0-9+_~]{40,}={0,2}`)
})

// bounded makes a foreign text safe to print: one line, at most n characters, without the secrets
// given and without what looks like one.
func bounded(text string, n int, secrets ...string) string {
	for _, s := range secrets {
		if len(s) > 3 {
			text = strings.NewReplacer(s, "REDACTED", url.QueryEscape(s), "REDACTED", url.PathEscape(s), "REDACTED").Replace(text)
		}
	}
	text = credentials().ReplaceAllString(text, "REDACTED")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(text); len(runes) > n {
		text = string(runes[:n]) + "…"
	}
	return text
}
