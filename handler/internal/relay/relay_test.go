package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/header"
	"apimrelay/internal/poll"
)

func TestCredentialsOfACallAreOursAlone(t *testing.T) {
	b := newBench(t, "https://gw/orders", ok)
	b.function.Headers = http.Header{"Api-Version": {"2"}}
	req := get()
	// Each of these is a caller's forgery, or the platform's; none may arrive.
	for _, name := range []string{
		"Authorization", "Proxy-Authorization", "Apim-Debug-Authorization", "X-Functions-Key", "Cookie", "X-Zumo-Auth", "X-Identity-Header", "X-Ms-Invocation-Id", "X-Original-Url", "X-Rewrite-Url", "Disguised-Host", "Client-Ip", "X-Client-Ip", "X-Client-Port", "Was-Default-Hostname", "Forwarded", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Content-Length", "Host",
		"Ocp-Apim-Subscription-Key", "Ocp-Apim-Trace", "X-Ms-Client-Principal", "X-Ms-Client-Principal-Id", "X-Ms-Token-Aad-Access-Token",
		"X-Arr-Ssl", "X-Appservice-Proto", "X-Waws-Unencoded-Url", "X-Site-Deployment-Id", "X-Azure-Functions-Invocationid",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Anything", "Api-Version",
		"X-Azure-Fdid", "X-Azure-Clientip", "X-Azure-Socketip", "X-Azure-Ref", "X-Original-Host", "X-Original-For",
		"X-Ms-Original-Url", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Cluster-Client-Ip", "X-Envoy-Original-Path",
		"X-Ms-Client-Cert", "X-Client-Cert", "X-Ssl-Client-Verify", "Front-End-Https", "Subscription-Key",
		"Ocp_apim_subscription_key", "X_ms_client_principal", "X_forwarded_for", "X_functions_key", "Api_version", "X_Named",
	} {
		req.Header[name] = []string{"canary"}
	}
	req.Header["Connection"] = []string{"Authorization, Ocp-Apim-Subscription-Key, Api-Version, X-Named"}
	req.Header["Accept"] = []string{"text/plain"}
	req.Header["X-Own"] = []string{"one", "two"}
	req.Header["X_request_id"] = []string{"mine"}
	req.Header["User-Agent"] = []string{"curl/8 Azure-Functions-Host/4.1037.0.0"}
	w, _ := b.call(req, func(c *Call) { c.RawQuery = "a=1&code=canary&subscription-key=canary" })
	if w.Code != 200 || w.Body.String() != "done" {
		t.Fatalf("answer %d %q", w.Code, w.Body)
	}
	sent := b.gateway.requests(t, 1)[0]
	want := http.Header{
		"Authorization": {"Bearer token-1"}, "Ocp-Apim-Subscription-Key": {"key-one"}, "Api-Version": {"2"},
		"Accept": {"text/plain"}, "X-Own": {"one", "two"}, "User-Agent": {"curl/8"},
		"X_request_id": {"mine"},
	}
	for name, values := range sent.header {
		if !slices.Equal(values, want[name]) {
			t.Errorf("the gateway got %s: %q, want %q", name, values, want[name])
		}
	}
	for name := range want {
		if sent.header[name] == nil {
			t.Errorf("the gateway did not get %s", name)
		}
	}
	if sent.uri != "https://gw/orders?a=1" {
		t.Errorf("the gateway got %s", sent.uri)
	}
}

// Fixed headers arrive as set, whatever the caller sent under the name.
func TestFixedHeaders(t *testing.T) {
	b := newBench(t, "https://gw/orders", ok)
	b.function.Headers = http.Header{}
	req := get()
	names := []string{"Api-Version", "User-Agent", "X-Forwarded-Host", "X-Azure-Functions-Anything", "X-Arr-Ssl", "Client-Ip", "Forwarded"}
	for _, name := range names {
		b.function.Headers[name], req.Header[name] = []string{"ours"}, []string{"canary"}
	}
	b.call(req, nil)
	sent := b.gateway.requests(t, 1)[0].header
	for _, name := range names {
		if !slices.Equal(sent[name], []string{"ours"}) {
			t.Errorf("the gateway got %s: %q", name, sent[name])
		}
	}
}

// A caller who could send the key of an event would make the backend take that event for a
// repetition.
func TestACallerCannotSendTheKeyOfAnEvent(t *testing.T) {
	for name, c := range map[string]struct {
		field  string
		lines  []string
		passes bool
	}{
		"a key of the caller's":    {"Idempotency-Key", []string{"7f-event-1"}, true},
		"two keys":                 {"Idempotency-Key", []string{"a", "b"}, true},
		"an event's":               {"Idempotency-Key", []string{"event-0123"}, false},
		"an event's, another case": {"Idempotency-Key", []string{"Event-0123"}, false},
		"an event's, in quotes":    {"Idempotency-Key", []string{`"event-0123"`}, false},
		"an event's behind a key":  {"Idempotency-Key", []string{"a", "event-0123"}, false},
		"an event's in a list":     {"Idempotency-Key", []string{"a, event-0123"}, false},
		"with an underscore":       {"Idempotency_key", []string{"event-0123"}, false},
		"any with an underscore":   {"Idempotency_key", []string{"a"}, false},
		"no key at all":            {"X-Idempotency", []string{"event-0123"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "https://gw/orders", ok)
			req := get()
			req.Header[c.field] = c.lines
			_, call := b.call(req, nil)
			sent := b.gateway.requests(t, 1)[0].header[c.field]
			if c.passes != slices.Equal(sent, c.lines) || !c.passes && sent != nil {
				t.Errorf("the gateway got %q", sent)
			}
			if dropped := len(call.Outcome.Dropped) > 0; dropped == c.passes {
				t.Errorf("the outcome says that %q were dropped", call.Outcome.Dropped)
			}
		})
	}
	b := newBench(t, "https://gw/orders", func(n int, req *http.Request) (*http.Response, error) {
		if _, ok := req.Trailer["X-Sum"]; !ok || len(req.Trailer) != 1 {
			t.Errorf("the gateway got the trailers %v, want X-Sum", req.Trailer)
		}
		return ok(n, req)
	})
	req := post("text")
	req.ContentLength = -1
	req.Trailer = http.Header{"Idempotency-Key": nil, "Idempotency_key": nil, "X-Sum": nil}
	b.call(req, nil)
	b.gateway.requests(t, 1)
}

func TestARenamedKeyHeaderIsStrippedToo(t *testing.T) {
	b := newBench(t, "https://gw/orders", ok)
	b.credentials.Keys, b.function.KeyHeader = nil, "X-Api-Key"
	req := get()
	req.Header.Set("X-Api-Key", "canary")
	b.call(req, nil)
	if h := b.gateway.requests(t, 1)[0].header; h["X-Api-Key"] != nil || h["Ocp-Apim-Subscription-Key"] != nil {
		t.Errorf("the gateway got %v", h)
	}
}

// A header of an answer that has our key for its name, in whatever letters, is dropped, and the log does
// not repeat it.
func TestAHeaderWhoseNameIsASecretIsDropped(t *testing.T) {
	b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) {
		return answered(200, "x", "Key-One: v", "X-key-tWO-x: v", "TOKEN-1: \u00e9", "X-Fine: v"), nil
	})
	w, call := b.call(get(), nil)
	if diff := cmp.Diff(http.Header{"X-Fine": {"v"}}, w.Header()); diff != "" {
		t.Errorf("the answer's header:\n%s", diff)
	}
	for _, name := range call.Outcome.Dropped {
		if name != "(a name that holds a secret)" {
			t.Errorf("dropped %q", name)
		}
	}
	if len(call.Outcome.Dropped) != 3 {
		t.Errorf("dropped %q", call.Outcome.Dropped)
	}
}

func TestWithoutATokenNothingIsSent(t *testing.T) {
	b := newBench(t, "https://gw/orders", ok)
	b.tokens.err = errors.New("no identity")
	w, _ := b.call(get(), nil)
	b.gateway.requests(t, 0)
	if w.Code != 599 || len(b.problems) != 1 || !errors.Is(b.problems[0], b.tokens.err) {
		t.Errorf("answer %d, problems %v: want the token's error as the problem", w.Code, b.problems)
	}
}

func TestAnswersPassAsTheyAre(t *testing.T) {
	for name, c := range map[string]struct {
		answer *http.Response
		status int
		body   string
		header http.Header
	}{
		"a redirect is not followed": {answered(302, "", "Location: https://elsewhere/"), 302, "", http.Header{"Location": {"https://elsewhere/"}}},
		"cookies stay apart":         {answered(200, "x", "Set-Cookie: a=1", "Set-Cookie: b=2"), 200, "x", http.Header{"Set-Cookie": {"a=1", "b=2"}}},
		"a refusal passes":           {answered(401, keyMissingBody, "WWW-Authenticate: AzureApiManagementKey realm=\"x\""), 401, keyMissingBody, http.Header{"Www-Authenticate": {"AzureApiManagementKey realm=\"x\""}}},
		"no Content-Type is added":   {answered(200, "<html>"), 200, "<html>", http.Header{}},
		"values outside ASCII go":    {answered(200, "x", "X-Name: Zoë", "X-Other: a"), 200, "x", http.Header{"X-Other": {"a"}}},
		"a Location is escaped":      {answered(301, "", "Location: /Zürich%20x"), 301, "", http.Header{"Location": {"/Z%C3%BCrich%20x"}}},
		"a 205 loses its body":       {answered(205, "x", "X-A: b"), 205, "", http.Header{"X-A": {"b"}, "Content-Length": {"0"}}},
		"our token does not return":  {answered(200, "x", "X-Echo: Bearer token-1", "X-B: c"), 200, "x", http.Header{"X-B": {"c"}}},
		"our key does not return":    {answered(200, "x", "Location: /?k=key%2Dtwo"), 200, "x", http.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) { return c.answer, nil })
			b.tokens.same = true
			w, call := b.call(get(), nil)
			res := w.Result()
			for name, values := range res.Header {
				if len(values) == 0 {
					delete(res.Header, name) // how the relay keeps net/http from adding its own
				}
			}
			if w.Code != c.status || w.Body.String() != c.body {
				t.Errorf("answer %d %q, want %d %q", w.Code, w.Body, c.status, c.body)
			}
			for name := range c.header {
				if !slices.Equal(res.Header[name], c.header[name]) {
					t.Errorf("%s: %q, want %q", name, res.Header[name], c.header[name])
				}
			}
			if len(res.Header) != len(c.header) {
				t.Errorf("header %v, want %v", res.Header, c.header)
			}
			if call.Outcome.Status != c.status {
				t.Errorf("outcome %+v", call.Outcome)
			}
		})
	}
}

func TestStatusesThatAreNone(t *testing.T) {
	for _, status := range []int{101, 199, 600, 999} {
		b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) { return answered(status, ""), nil })
		b.function.Attempts = 1
		b.call(get(), nil)
		if len(b.problems) != 1 {
			t.Fatalf("status %d: problems %v", status, b.problems)
		}
		if _, ok := errors.AsType[*GatewayError](b.problems[0]); !ok {
			t.Errorf("status %d: %v, want a GatewayError", status, b.problems[0])
		}
	}
}

func TestRefusalsAreClassified(t *testing.T) {
	for name, c := range map[string]struct {
		answer *http.Response
		want   Refusal
	}{
		"no key":                                 {answered(401, keyMissingBody), KeyMissing},
		"no key, in the documentation's words":   {answered(401, strings.Replace(keyMissingBody, "an API", "this API", 1)), KeyMissing},
		"wrong key":                              {answered(401, keyInvalidBody), KeyInvalid},
		"token":                                  {answered(401, tokenRefusedBody), TokenRefused},
		"token, own words":                       {answered(401, `{"statusCode":401,"message":"no"}`), TokenRefused},
		"quota":                                  {answered(403, quotaBody), QuotaSpent},
		"ip filter":                              {answered(403, `{"statusCode":403,"message":"Access denied."}`), Forbidden},
		"a bare word, the gateway's or NestJS's": {answered(401, `{"statusCode":401,"message":"Unauthorized"}`), Unclear},
		"a bare 403":                             {answered(403, `{"statusCode":403,"message":"Forbidden"}`), Unclear},
		"NestJS with a text of its own":          {answered(401, `{"statusCode":401,"message":"Session ended"}`), TokenRefused},
		"NestJS with an error":                   {answered(401, `{"statusCode":401,"message":"No token","error":"Unauthorized"}`), NotGateways},
		"NestJS in another order":                {answered(401, `{"message":"No token","error":"Unauthorized","statusCode":401}`), NotGateways},
		"two members in another order":           {answered(401, `{"message":"Access denied","statusCode":401}`), NotGateways},
		"Fastify and Hapi":                       {answered(401, `{"statusCode":401,"error":"Unauthorized","message":"no token given"}`), NotGateways},
		"Fastify with a code":                    {answered(401, `{"statusCode":401,"code":"FST_ERR_X","error":"Unauthorized","message":"m"}`), NotGateways},
		"NestJS's 403":                           {answered(403, `{"statusCode":403,"message":"Forbidden resource","error":"Forbidden"}`), NotGateways},
		"Spring":                                 {answered(401, `{"status":401,"error":"Unauthorized","message":"x"}`), NotGateways},
		"a nested message":                       {answered(401, `{"statusCode":401,"message":{"text":"x"}}`), NotGateways},
		"a status as a text":                     {answered(401, `{"statusCode":"401","message":"x"}`), NotGateways},
		"a backend's 401":                        {answered(401, `{"error":"login"}`, "WWW-Authenticate: Bearer"), NotGateways},
		"another status in the body":             {answered(401, `{"statusCode":403,"message":"x"}`), NotGateways},
		"html":                                   {answered(403, "<html>"), NotGateways},
		"empty":                                  {answered(401, ""), NotGateways},
		"key scheme, other body":                 {answered(401, "<no/>", `WWW-Authenticate: AzureApiManagementKey realm="r"`), KeyMissing},
		"no refusal":                             {answered(404, tokenRefusedBody), NoRefusal},
		"a long body is not searched":            {answered(401, strings.Repeat(" ", refusalPrefix)+tokenRefusedBody), NotGateways},
	} {
		t.Run(name, func(t *testing.T) {
			body, _ := io.ReadAll(c.answer.Body)
			c.answer.Body = io.NopCloser(bytes.NewReader(body))
			if got, _ := classify(c.answer); got != c.want {
				t.Errorf("classify = %q, want %q", got, c.want)
			}
			if after, err := io.ReadAll(c.answer.Body); err != nil || !bytes.Equal(after, body) {
				t.Errorf("the body was %q and is %q (%v)", body, after, err)
			}
		})
	}
}

func TestAnInvalidKeyIsReplacedByTheOther(t *testing.T) {
	b := newBench(t, "https://gw/orders", func(n int, req *http.Request) (*http.Response, error) {
		if req.Header.Get(header.DefaultKey) == "key-one" {
			return answered(401, keyInvalidBody), nil
		}
		return answered(200, "done"), nil
	})
	for n, wantSent := range []int{2, 3} { // the second call begins with the key that worked
		w, call := b.call(post("body"), func(c *Call) { c.InvocationID = string(rune('a' + n)) })
		if w.Code != 200 || call.Outcome.Key != "secondary" {
			t.Fatalf("call %d: %d, %+v", n+1, w.Code, call.Outcome)
		}
		for _, sent := range b.gateway.requests(t, wantSent) {
			if sent.body != "body" {
				t.Errorf("a replay sent %q", sent.body)
			}
		}
	}
}

func TestBothKeysInvalid(t *testing.T) {
	b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) { return answered(401, keyInvalidBody), nil })
	w, call := b.call(get(), nil)
	b.gateway.requests(t, 2)
	if w.Code != 401 || w.Body.String() != keyInvalidBody || call.Outcome.Refusal != KeyInvalid {
		t.Errorf("answer %d %q %+v, want the gateway's own", w.Code, w.Body, call.Outcome)
	}
}

func TestARefusedTokenIsRenewedOnce(t *testing.T) {
	b := newBench(t, "https://gw/orders", func(n int, req *http.Request) (*http.Response, error) {
		if req.Header.Get("Authorization") == "Bearer token-1" {
			return answered(401, tokenRefusedBody), nil
		}
		return answered(200, "done"), nil
	})
	w, call := b.call(httptest.NewRequest("PUT", "/api/orders", strings.NewReader("body")), nil)
	sent := b.gateway.requests(t, 2)
	if w.Code != 200 || sent[1].header.Get("Authorization") != "Bearer token-2" || sent[1].body != "body" || !slices.Equal(b.tokens.renewed, []string{"token-1"}) {
		t.Errorf("answer %d, second request %+v, renewed %v", w.Code, sent[1], b.tokens.renewed)
	}
	if !slices.Equal(call.Outcome.Replays, []string{"token"}) || call.Outcome.Attempts != 2 {
		t.Errorf("outcome %+v", call.Outcome)
	}
}

// A backend can write what the gateway writes: what must not reach it twice is not sent again because
// of a token. The caller gets the refusal, and the next call has the new token.
func TestACallersPostIsSentOnceWhateverARefusalSays(t *testing.T) {
	for _, body := range []string{tokenRefusedBody, `{"statusCode":401,"message":"Unauthorized"}`} {
		b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) { return answered(401, body), nil })
		w, call := b.call(post("body"), nil)
		b.gateway.requests(t, 1)
		if w.Code != 401 || w.Body.String() != body || len(call.Outcome.Replays) > 0 {
			t.Errorf("answer %d %q, replays %v", w.Code, w.Body, call.Outcome.Replays)
		}
		poll.Until(t, "the renewed token", func() bool { tok, _ := b.tokens.Token(context.Background()); return tok == "token-2" })

		answer, call, err := b.event("POST", "data", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Close()
		if b.gateway.requests(t, 3); !slices.Equal(call.Outcome.Replays, []string{"token"}) {
			t.Errorf("an event: replays %v", call.Outcome.Replays)
		}
	}
}

func TestTheSameTokenIsNotSentAgain(t *testing.T) {
	for _, source := range []*tokens{{n: 1, same: true}, {n: 1, again: true}} {
		b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) { return answered(401, tokenRefusedBody), nil })
		b.credentials.Tokens = source
		w, call := b.call(get(), nil)
		b.gateway.requests(t, 1)
		if w.Code != 401 || w.Body.String() != tokenRefusedBody || call.Outcome.Refusal != TokenRefused || call.Outcome.Token == nil {
			t.Errorf("answer %d %q %+v", w.Code, w.Body, call.Outcome)
		}
	}
}

func TestA403IsNoReasonForANewToken(t *testing.T) {
	b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) {
		return answered(403, `{"statusCode":403,"message":"Unauthorized. Access token is missing or invalid."}`), nil
	})
	b.call(get(), nil)
	b.gateway.requests(t, 1)
	if len(b.tokens.renewed) != 0 {
		t.Error("a 403 renewed the token")
	}
}

func TestALongUploadIsNotReplayed(t *testing.T) {
	b := newBench(t, "https://gw/orders", func(n int, req *http.Request) (*http.Response, error) {
		if req.Header.Get("Authorization") == "Bearer token-1" {
			return answered(401, tokenRefusedBody), nil
		}
		return answered(200, "done"), nil
	})
	long := strings.Repeat("x", keptBody+1)
	for _, length := range []int64{int64(len(long)), -1} {
		b.tokens.n, b.gateway.seen = 1, nil
		req := httptest.NewRequest("PUT", "/api/orders", strings.NewReader(long))
		req.ContentLength = length
		w, _ := b.call(req, func(c *Call) { c.InvocationID = "" })
		if sent := b.gateway.requests(t, 1); w.Code != 401 || sent[0].body != long {
			t.Fatalf("answer %d, %d bytes sent", w.Code, len(sent[0].body))
		}
		// The next call has the new token: the renewal goes on aside.
		poll.Until(t, "the renewed token", func() bool { tok, _ := b.tokens.Token(context.Background()); return tok == "token-2" })
	}
	exact := strings.Repeat("x", keptBody)
	b.tokens.n, b.gateway.seen = 1, nil
	if w, _ := b.call(httptest.NewRequest("PUT", "/api/orders", strings.NewReader(exact)), func(c *Call) { c.InvocationID = "" }); w.Code != 200 || b.gateway.requests(t, 2)[1].body != exact {
		t.Errorf("a body of %d bytes was not replayed whole: %d", keptBody, w.Code)
	}
}

func TestRetries(t *testing.T) {
	unavailable := func(status int, header ...string) func(int, *http.Request) (*http.Response, error) {
		return func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return answered(status, "busy", header...), nil
			}
			return answered(200, "done"), nil
		}
	}
	refusedOnce := func(n int, _ *http.Request) (*http.Response, error) {
		if n == 1 {
			return nil, errors.New("connection refused")
		}
		return answered(200, "done"), nil
	}
	for name, c := range map[string]struct {
		method string
		event  bool
		answer func(int, *http.Request) (*http.Response, error)
		sent   int
		status int
	}{
		"GET after a 503":                 {"GET", false, unavailable(503), 2, 200},
		"GET after a 408":                 {"GET", false, unavailable(408), 2, 200},
		"GET after a 429":                 {"GET", false, unavailable(429), 2, 200},
		"GET after a 502":                 {"GET", false, unavailable(502), 2, 200},
		"PUT after a 504":                 {"PUT", false, unavailable(504), 2, 200},
		"DELETE after a broken line":      {"DELETE", false, refusedOnce, 2, 200},
		"GET after a 500":                 {"GET", false, unavailable(500), 1, 500},
		"GET after a 404":                 {"GET", false, unavailable(404), 1, 404},
		"POST after a 503":                {"POST", false, unavailable(503), 1, 503},
		"PATCH after a broken line":       {"PATCH", false, refusedOnce, 1, 599},
		"an event's POST after a 503":     {"POST", true, unavailable(503), 2, 200},
		"an event after a broken line":    {"POST", true, refusedOnce, 2, 200},
		"a Retry-After within the budget": {"GET", false, unavailable(429, "Retry-After: 20"), 2, 200},
		"a Retry-After past the budget":   {"GET", false, unavailable(429, "Retry-After: 31"), 1, 429},
		"a Retry-After as a date":         {"GET", false, unavailable(429, "Date: Mon, 23 Nov 2026 16:45:28 GMT", "Retry-After: Mon, 23 Nov 2026 16:45:30 GMT"), 2, 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "https://gw/orders", c.answer)
				status := 0
				if c.event {
					res, _, err := b.event(c.method, "data", nil)
					if err != nil {
						t.Fatal(err)
					}
					status = res.Status
					res.Body.Close()
				} else {
					w, _ := b.call(httptest.NewRequest(c.method, "/", nil), nil)
					status = w.Code
				}
				sent := b.gateway.requests(t, c.sent)
				if status != c.status {
					t.Errorf("status %d, want %d", status, c.status)
				}
				if c.sent > 1 {
					waited := sent[1].at.Sub(sent[0].at)
					after, told := map[string]time.Duration{"a Retry-After within the budget": 20 * time.Second, "a Retry-After as a date": 2 * time.Second}[name], strings.Contains(name, "Retry-After")
					if told && (waited < after || waited > after+firstWait+time.Millisecond) || !told && waited > firstWait+time.Millisecond {
						t.Errorf("waited %v before the retry", waited)
					}
				}
			})
		})
	}
}

// Whatever made another attempt necessary, it goes with the token that the source has by then, or with the one in hand where the source has none.
func TestARetryTakesTheTokenOfItsTime(t *testing.T) {
	broken := errors.New("connection reset")
	for name, c := range map[string]struct {
		status int // 0 = the connection breaks
		err    error
		want   string
	}{
		"after a broken connection":              {0, nil, "Bearer token-2"},
		"after a status":                         {503, nil, "Bearer token-2"},
		"after a broken connection, without one": {0, errors.New("no token"), "Bearer token-1"},
		"after a status, without one":            {503, errors.New("no token"), "Bearer token-1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b *bench
				b = newBench(t, "https://gw/orders", func(n int, _ *http.Request) (*http.Response, error) {
					if n > 1 {
						return answered(200, "done"), nil
					}
					b.tokens.mu.Lock()
					defer b.tokens.mu.Unlock()
					b.tokens.n, b.tokens.err = 2, c.err // the token in hand ended meanwhile, or is about to
					if c.status == 0 {
						return nil, broken
					}
					return answered(c.status, ""), nil
				})
				if w, _ := b.call(get(), nil); w.Code != 200 {
					t.Fatalf("answer %d: %v", w.Code, b.problems)
				}
				if got := b.gateway.requests(t, 2)[1].header.Get("Authorization"); got != c.want {
					t.Errorf("the second attempt went with %q, want %q", got, c.want)
				}
			})
		})
	}
}

// Two functions with two identities keep a header each: neither makes the other build its own anew, and neither ever gets the other's.
func TestTwoIdentitiesKeepTheirHeadersApart(t *testing.T) {
	b := newBench(t, "https://gw/orders", func(_ int, req *http.Request) (*http.Response, error) {
		return answered(200, req.Header.Get("Authorization")), nil
	})
	other := newBench(t, "https://gw/orders", nil)
	other.tokens.n = 100
	var workers sync.WaitGroup
	for worker := range 8 {
		c, source, want := b.credentials, b.tokens, "Bearer token-1"
		if worker%2 == 1 {
			c, source, want = other.credentials, other.tokens, "Bearer token-100"
		}
		workers.Go(func() {
			for range 200 {
				w, _ := b.call(get(), func(call *Call) { call.Credentials = c })
				if w.Body.String() != want || w.Code != 200 {
					t.Errorf("the gateway got %q, want %q", w.Body, want)
					return
				}
			}
			if source.renewed != nil {
				t.Error("a renewal")
			}
		})
	}
	workers.Wait()
	one, two := b.credentials, other.credentials
	if n := testing.AllocsPerRun(100, func() { one.authorization("token-1"); two.authorization("token-100") }); n != 0 {
		t.Errorf("%v allocations for two headers that are known", n)
	}
}

func TestRetriesEndWithTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) { return answered(503, "busy"), nil })
		w, call := b.call(get(), nil)
		b.gateway.requests(t, 3)
		if w.Code != 503 || w.Body.String() != "busy" || call.Outcome.Attempts != 3 {
			t.Errorf("answer %d %q, %+v", w.Code, w.Body, call.Outcome)
		}
	})
}

func TestTheRetryBudgetLimitsTheLoad(t *testing.T) {
	const calls = 200
	for name, c := range map[string]struct {
		fails func(n int) bool
		limit int // attempts
	}{
		"a gateway that is away costs the saved retries":     {func(int) bool { return true }, calls + 10},
		"one that fails nine times of ten earns retries too": {func(n int) bool { return n%10 != 0 }, calls + calls/5 + 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "https://gw/orders", func(n int, _ *http.Request) (*http.Response, error) {
					if c.fails(n) {
						return answered(503, "busy"), nil
					}
					return answered(200, "done"), nil
				})
				for range calls {
					b.call(get(), nil)
				}
				if sent := len(b.gateway.seen); sent > c.limit || sent < c.limit-2 {
					t.Errorf("%d calls sent %d requests, want about %d", calls, sent, c.limit)
				}
			})
		})
	}
}

// Whatever is called, in whatever way, and whether it is tried again: ten attempts in a row that failed end the earning, and another answer lets it begin
// again.
func TestAGatewayThatIsAwayEarnsNoRetries(t *testing.T) {
	broken := func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }
	status := func(code int) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return answered(code, ""), nil }
	}
	untrusted := func(*http.Request) (*http.Response, error) {
		return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	}
	hang := func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	leave := func(b *bench) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		b.call(get().WithContext(ctx), nil)
	}
	callGet := func(b *bench) { b.call(get(), nil) }
	callPost := func(b *bench) { b.call(post("body"), func(c *Call) { c.InvocationID = "" }) }
	breakOff := func(b *bench) {
		req := httptest.NewRequest("PUT", "/api/orders", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("gone"))))
		b.call(req, nil)
	}
	event := func(b *bench) {
		if res, _, err := b.event("POST", "data", nil); err == nil {
			res.Body.Close()
		}
	}
	const failure, another, neither = "a failure", "another answer", "neither"
	for name, c := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		call   func(*bench)
		want   string
	}{
		"a GET without a connection":      {broken, callGet, failure},
		"a GET and a 503":                 {status(503), callGet, failure},
		"a GET and a 429":                 {status(429), callGet, failure},
		"a GET and a status that is none": {status(999), callGet, failure},
		"a POST without a connection":     {broken, callPost, failure},
		"a POST and a 502":                {status(502), callPost, failure},
		"an event without a connection":   {broken, event, failure},
		"an event and a 504":              {status(504), event, failure},
		"a GET and a 200":                 {status(200), callGet, another},
		"a GET and a 500":                 {status(500), callGet, another},
		"a GET and a 404":                 {status(404), callGet, another},
		"a POST and a 401":                {status(401), callPost, another},
		"an event and a 200":              {status(200), event, another},
		"a caller that leaves":            {hang, leave, neither},
		"no answer within the budget":     {hang, callGet, neither},
		"an upload that breaks off":       {status(200), breakOff, neither},
		"an untrusted certificate":        {untrusted, callGet, neither},
	} {
		t.Run(name, func(t *testing.T) {
			// before failures, then the one in question, then a call: has that one earned?
			earns := func(before int) (earned bool) {
				synctest.Test(t, func(t *testing.T) {
					answer := broken
					b := newBench(t, "https://gw/orders", func(_ int, req *http.Request) (*http.Response, error) { return answer(req) })
					b.function.Attempts = 1
					budget := b.relay.budgets.of("gw")
					budget.tenths.Store(0)
					for range before {
						callGet(b)
					}
					answer = c.answer
					c.call(b)
					answer = broken
					had := budget.tenths.Load()
					callGet(b)
					b.gateway.mu.Lock()
					defer b.gateway.mu.Unlock()
					if n := len(b.gateway.seen); n < before+1 {
						t.Errorf("the gateway saw %d requests", n)
					}
					earned = budget.tenths.Load() > had
				})
				return earned
			}
			if got, want := earns(awayAfter-1), c.want != failure; got != want {
				t.Errorf("after %d failures and it a call earns: %t, want %t", awayAfter-1, got, want)
			}
			if got, want := earns(awayAfter), c.want == another; got != want {
				t.Errorf("after %d failures and it a call earns: %t, want %t", awayAfter, got, want)
			}
		})
	}
}

// The outage has used up what was saved; the calls that follow it earn a retry in five, as ever, and nothing comes in a wave.
func TestAfterAnOutageRetriesAreEarnedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) {
			if down {
				return nil, errors.New("connection refused")
			}
			return answered(200, "done"), nil
		})
		budget := b.relay.budgets.of("gw")
		for range 100 {
			b.call(get(), nil)
		}
		budget.tenths.Store(0) // less than a whole one may be left
		down = false
		b.call(get(), nil) // says that the gateway is back
		for want := int64(earnedTenths); want <= retryTenths; want += earnedTenths {
			b.call(get(), nil)
			if got := budget.tenths.Load(); got != want {
				t.Errorf("%d tenths of a retry are saved, want %d", got, want)
			}
		}
		down = true
		_, call := b.call(get(), nil)
		if call.Outcome.Attempts != 2 {
			t.Errorf("%d attempts with one retry saved, want 2", call.Outcome.Attempts)
		}
	})
}

func TestTheRetryBudgetHoldsTenAtMost(t *testing.T) {
	b := newRetryBudget()
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			for n := range 1000 {
				b.earn()
				if b.spend() && n%2 == 0 {
					b.refund()
				}
				b.came(n%8 == worker)
				if have := b.tenths.Load(); have < 0 || have > savedTenths {
					t.Errorf("%d tenths are saved", have)
					return
				}
			}
		})
	}
	workers.Wait()
	b.failed.Store(0)
	b.tenths.Store(savedTenths)
	b.spend()
	for range retryTenths / earnedTenths {
		b.earn()
	}
	b.refund()
	if have := b.tenths.Load(); have != savedTenths {
		t.Errorf("%d tenths are saved, want %d", have, savedTenths)
	}
}

func TestTheBudgetEndsACall(t *testing.T) {
	hang := func(n int, req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "https://gw/orders", hang)
		start := time.Now()
		b.call(get(), func(c *Call) { c.Budget = 7 * time.Second })
		if len(b.problems) != 1 || !errors.Is(b.problems[0], ErrBudgetSpent) || time.Since(start) != 7*time.Second {
			t.Errorf("after %v: %v", time.Since(start), b.problems)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "https://gw/orders", hang)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		b.call(get().WithContext(ctx), nil)
		if len(b.problems) != 1 || !errors.Is(b.problems[0], context.Canceled) || errors.Is(b.problems[0], ErrBudgetSpent) {
			t.Errorf("a caller that left: %v", b.problems)
		}
	})
}

// slowReader gives one byte a second.
type slowReader struct{ left int }

func (s *slowReader) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(time.Second)
	s.left--
	p[0] = 'x'
	return 1, nil
}

func TestAnUploadThatMovesKeepsTheBudget(t *testing.T) {
	for name, c := range map[string]struct {
		limit   time.Duration
		problem bool
	}{"unbounded": {0, false}, "with a hard end": {10 * time.Second, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "https://gw/orders", func(_ int, req *http.Request) (*http.Response, error) {
					if err := context.Cause(req.Context()); err != nil {
						return nil, err
					}
					return answered(200, "done"), nil
				})
				req := httptest.NewRequest("POST", "/", &slowReader{left: 20})
				req.ContentLength = -1
				w, _ := b.call(req, func(c2 *Call) { c2.Budget, c2.Limit = 5*time.Second, c.limit })
				if c.problem != (len(b.problems) == 1) || !c.problem && w.Code != 200 {
					t.Errorf("answer %d, problems %v", w.Code, b.problems)
				}
			})
		})
	}
}

func TestAStreamLivesWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "https://gw/orders", func(_ int, req *http.Request) (*http.Response, error) {
			res := answered(200, "")
			res.ContentLength = -1
			res.Body = io.NopCloser(&contextReader{req.Context(), &slowReader{left: 600}})
			return res, nil
		})
		w, call := b.call(get(), func(c *Call) { c.Budget = 5 * time.Second })
		if w.Body.Len() != 600 || call.Outcome.Cut != nil {
			t.Errorf("%d bytes of a stream of ten minutes, cut by %v", w.Body.Len(), call.Outcome.Cut)
		}
	})
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func TestSilenceEndsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "https://gw/orders", func(_ int, req *http.Request) (*http.Response, error) {
			res := answered(200, "")
			res.ContentLength = -1
			res.Body = io.NopCloser(hangingReader{req.Context()})
			return res, nil
		})
		start := time.Now()
		res, call, err := b.event("GET", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(res.Body)
		if err == nil || !errors.Is(call.Outcome.Cut, ErrBudgetSpent) || time.Since(start) != silence {
			t.Errorf("after %v: %v, cut by %v", time.Since(start), err, call.Outcome.Cut)
		}
		res.Body.Close()
	})
}

type hangingReader struct{ ctx context.Context }

func (h hangingReader) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

func TestARepeatOfTheHostIsNotSentTwice(t *testing.T) {
	gatewayServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Cut") != "" {
			panic(http.ErrAbortHandler) // an exchange without an answer
		}
	}))
	defer gatewayServer.Close()
	for name, c := range map[string]struct {
		method string
		way    Way
		id     string
		want   bool
	}{
		"a proxied POST":       {"POST", Proxied, "id-1", true},
		"a proxied PATCH":      {"PATCH", Proxied, "id-1", true},
		"a proxied GET":        {"GET", Proxied, "id-1", false},
		"a proxied PUT":        {"PUT", Proxied, "id-1", false},
		"a forwarded POST":     {"POST", Forwarded, "id-1", false},
		"a POST without an id": {"POST", Proxied, "", false},
	} {
		for _, body := range []string{"", "x"} {
			t.Run(name+", body "+body, func(t *testing.T) {
				b := newBench(t, gatewayServer.URL+"/orders", ok)
				b.relay.transport = NewTransport(nil)
				b.function.Attempts = 1
				b.call(get(), nil) // its connection is kept
				repeat := func() {
					req := httptest.NewRequest(c.method, "/", strings.NewReader(body))
					req.Header.Set("X-Cut", "yes")
					b.call(req, func(call *Call) { call.Way, call.InvocationID = c.way, c.id })
				}
				repeat()
				repeat()
				if len(b.problems) != 2 {
					t.Fatalf("problems %v", b.problems)
				}
				if got := errors.Is(b.problems[1], ErrAlreadySent); got != c.want {
					t.Errorf("the repeat: %v, want already sent: %v", b.problems[1], c.want)
				}
				b.relay.now = func() time.Time { return time.Now().Add(sentMemory*3/2 + time.Second) }
				repeat()
				if errors.Is(b.problems[2], ErrAlreadySent) {
					t.Error("remembered for too long")
				}
			})
		}
	}
}

func TestAPostThatNeverLeftMayBeRepeated(t *testing.T) {
	b := newBench(t, "http://127.0.0.1:1/orders", ok)
	b.relay.transport = NewTransport(nil)
	b.function.Attempts = 1
	b.call(post("x"), nil)
	b.call(post("x"), nil)
	if len(b.problems) != 2 || errors.Is(b.problems[1], ErrAlreadySent) {
		t.Errorf("problems %v", b.problems)
	}
}

func TestACertificateThatIsNotTrustedIsNotTriedAgain(t *testing.T) {
	b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) {
		return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	})
	b.call(get(), nil)
	b.gateway.requests(t, 1)
}

func TestErrorsNeverShowTheURL(t *testing.T) {
	b := newBench(t, "http://127.0.0.1:1/orders?own=canary", ok)
	b.relay.transport = http.DefaultTransport
	b.function.Attempts = 1
	b.call(get(), func(c *Call) { c.RawQuery = "their=canary" })
	if len(b.problems) != 1 || strings.Contains(b.problems[0].Error(), "canary") || !strings.Contains(b.problems[0].Error(), "connection refused") {
		t.Errorf("problems %v", b.problems)
	}
}

// An answer whose end takes longer than the budget has left, or never comes, is given up for a retry without waiting for it.
func TestARetryDoesNotWaitForTheAnswerItGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "https://gw/orders", func(n int, req *http.Request) (*http.Response, error) {
			if n > 1 {
				return answered(200, "done"), nil
			}
			res := answered(503, "")
			res.ContentLength, res.Body = -1, io.NopCloser(hangingReader{req.Context()})
			return res, nil
		})
		w, _ := b.call(get(), func(c *Call) { c.Budget = 2 * time.Second })
		if w.Code != 200 {
			t.Errorf("answer %d, problems %v", w.Code, b.problems)
		}
	})
}

func TestAnUnboundedEventDoesNotWaitForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "https://gw/orders", func(int, *http.Request) (*http.Response, error) {
			return answered(429, "", "Retry-After: 2147483647"), nil
		})
		start := time.Now()
		res, _, err := b.event("POST", "data", func(c *Call) { c.Budget = 0 })
		if err != nil || res.Status != 429 || time.Since(start) > time.Minute {
			t.Fatalf("%v, %v after %v", res, err, time.Since(start))
		}
		res.Body.Close()
	})
}

// Silence bounds an answer also where more was allowed until its header.
func TestSilenceIsShorterThanALongBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "https://gw/orders", func(_ int, req *http.Request) (*http.Response, error) {
			res := answered(200, "")
			res.ContentLength, res.Body = -1, io.NopCloser(hangingReader{req.Context()})
			return res, nil
		})
		start := time.Now()
		res, _, err := b.event("GET", "", func(c *Call) { c.Budget = 590 * time.Second })
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(res.Body)
		if time.Since(start) != silence {
			t.Errorf("ended after %v", time.Since(start))
		}
		res.Body.Close()
	})
}
