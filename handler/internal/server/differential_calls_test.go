package server

import (
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// A difference is what a way makes of a call otherwise than proxying does. change turns what proxying makes of the call into what this way is known to make
// of it; words are those of docs/calls.md that say so.
type difference struct {
	name, words string
	change      func(call, *outcome)
}

// The host refuses or never hands over: nothing reaches the gateway, and this is the answer.
func (o *outcome) refused(status int, problem string) {
	*o = outcome{Header: http.Header{}, Status: status, AnswerHeader: http.Header{}, AnswerBody: ""}
	if problem != "" {
		o.AnswerHeader.Set("Content-Type", "application/problem+json")
		o.AnswerBody = "problem " + problem
	}
}

// forwardedDifferences are the host's (recordings D-*); the handler adds none.
var forwardedDifferences = []difference{
	{"path", "cuts the path at `%3F` and `%23`", func(c call, o *outcome) {
		if o.Reached {
			path := "/up/" + c.arrives(func(a atom) string { return a.forwarded })
			path, _, o.Query = cutForwarded(path, o.Query)
			o.Path = path
		}
	}},
	{"query", "writes the query anew", func(_ call, o *outcome) { o.Query = rewrittenQuery(o.Query) }},
	{"content headers", "drops Content-Encoding and eight more content headers", func(c call, o *outcome) {
		for _, name := range []string{"Content-Encoding", "Content-Language", "Content-Disposition", "Content-Md5", "Content-Range", "Content-Location", "Expires", "Last-Modified", "Allow"} {
			o.Header.Del(name)
		}
		if c.body == "" {
			o.Header.Del("Content-Type")
		}
	}},
	{"hop-by-hop", "`Upgrade-Insecure-Requests` passes", func(c call, o *outcome) {
		if v := c.header("Upgrade-Insecure-Requests"); o.Reached && len(v) > 0 {
			o.Header["Upgrade-Insecure-Requests"] = v
		}
	}},
	{"chunked upload", "answers a chunked upload with 500", func(c call, o *outcome) {
		if c.chunked {
			o.refused(500, "")
		}
	}},
	{"answer headers", "drops empty ones", func(_ call, o *outcome) {
		for name, values := range o.AnswerHeader {
			values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
			if o.AnswerHeader[name] = values; len(values) == 0 {
				delete(o.AnswerHeader, name)
			}
		}
	}},
}

// cutForwarded is what is left of a path that holds an unescaped question mark or number sign once the host has put it together anew.
func cutForwarded(path, query string) (string, string, string) {
	i := strings.IndexAny(path, "?#")
	if i < 0 {
		return path, "", query
	}
	return path[:i], path[i:], query
}

// rewrittenQuery is the host's QueryHelpers round trip for the parameters that the calls have (recording D-get-query).
func rewrittenQuery(raw string) string {
	var names []string
	values := make(map[string][]string)
	for _, pair := range strings.Split(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "" {
			continue
		}
		key := strings.ToLower(name)
		if values[key] == nil {
			names = append(names, name)
		} else if len(values[key]) == 1 { // the second spelling of a name stays
			names[slices.IndexFunc(names, func(n string) bool { return strings.ToLower(n) == key })] = name
		}
		values[key] = append(values[key], strings.ReplaceAll(value, "+", "%20"))
	}
	for i, name := range names {
		names[i] = name + "=" + strings.Join(values[strings.ToLower(name)], ",")
	}
	return strings.Join(names, "&")
}

// wrappedDifferences are the host's and the envelope's (recordings A-*, B-*).
var wrappedDifferences = []difference{
	{"path", "Wrapped and forwarded `%252F` arrives as `%2F`", func(c call, o *outcome) {
		if o.Reached {
			o.Path = "/up/" + c.arrives(func(a atom) string { return a.wrapped })
		}
	}},
	{"accept-encoding", "`Accept-Encoding` and the headers that `Connection` lists are not passed on", func(_ call, o *outcome) { o.Header.Del("Accept-Encoding") }},
	{"hop-by-hop", "`Accept-Encoding` and the headers that `Connection` lists are not passed on", func(c call, o *outcome) {
		if v := c.header("Upgrade-Insecure-Requests"); o.Reached && len(v) > 0 {
			o.Header["Upgrade-Insecure-Requests"] = v
		}
		for _, line := range c.header("Connection") {
			for name := range strings.SplitSeq(line, ",") {
				if name = strings.TrimSpace(name); name == "X-Many" { // what is ours stays, whatever Connection names
					o.Header.Del(name)
				}
			}
		}
	}},
	{"answer that does not fit", "`cannot-carry`", func(c call, o *outcome) {
		h, body := http.Header{}, c.answer.body
		for _, f := range c.answer.headers {
			h.Add(f[0], f[1])
		}
		silent := c.method == http.MethodHead || c.answer.status == 204 || c.answer.status == 205 || c.answer.status == 304 || body == ""
		encoded := h.Get("Content-Encoding") != ""
		if o.Reached && (len(h["Set-Cookie"]) > 1 || !silent && (encoded || !utf8.ValidString(body) || body == isoDate || strings.Contains(h.Get("Content-Type"), "utf-16"))) {
			o.Status, o.AnswerHeader, o.AnswerBody = 502, http.Header{"Content-Type": {"application/problem+json"}}, "problem "+"cannot-carry"
			if c.method == http.MethodHead {
				o.AnswerBody = ""
			}
		}
	}},
	{"answer headers", "one line for each name", func(c call, o *outcome) {
		for name, values := range o.AnswerHeader {
			values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
			if o.AnswerHeader[name] = []string{strings.Join(values, ", ")}; len(values) == 0 {
				delete(o.AnswerHeader, name)
			}
		}
	}},
	{"content type", "`; charset=utf-8` is appended", func(c call, o *outcome) {
		switch kind := o.AnswerHeader.Get("Content-Type"); {
		case kind == "":
			o.AnswerHeader.Set("Content-Type", "text/plain; charset=utf-8")
		case kind != "" && !strings.Contains(kind, "charset="):
			o.AnswerHeader.Set("Content-Type", kind+"; charset=utf-8")
		}
	}},
	{"upload that is lost", "`body-lost`", func(c call, o *outcome) {
		if c.chunked {
			o.refusedWrapped(c, 411, "body-lost")
		}
	}},
	{"upload that is damaged", "`body-damaged`", func(c call, o *outcome) {
		if !c.chunked && !utf8.ValidString(c.body) && !slices.Contains(c.header("Content-Type"), "application/octet-stream") {
			o.refusedWrapped(c, 415, "body-damaged")
		}
	}},
}

func (o *outcome) refusedWrapped(c call, status int, problem string) {
	o.refused(status, problem)
	o.AnswerHeader.Set("Content-Type", "application/problem+json; charset=utf-8")
	if c.method == http.MethodHead {
		o.AnswerBody = ""
	}
}

const isoDate = "2026-01-02T03:04:05.000Z"

// pathAtoms: an escaped percent sign is kept from hexadecimal digits, since with them it would be an escape once decoded, which atoms by themselves do not say.
var pathAtoms = []atom{
	{"a", "a", "a", "a"}, {"b-c", "b-c", "b-c", "b-c"}, {"/", "/", "/", "/"}, {"/d/", "/d/", "/d/", "/d/"}, {"~!$&'()*,;=:@", "~!$&'()*,;=:@", "~!$&'()*,;=:@", "~!$&'()*,;=:@"},
	{"%20", "%20", "%20", "%20"}, {"%C3%A9", "%C3%A9", "%C3%A9", "%C3%A9"}, {"%25-", "%25-", "%25-", "%25-"}, {"+", "+", "+", "+"},
	{"%2B", "+", "+", "+"}, {"%2F", "%252F", "%2F", "%2F"}, {"%252F", "%252F", "%2F", "%2F"}, {"%3F", "%3F", "?", "%3F"}, {"%23", "%23", "#", "%23"},
	{"%E9", "%25E9", "%E9", "%E9"}, {".x", ".x", ".x", ".x"}, {"...", "...", "...", "..."},
}

var queryPairs = []string{"a=1", "a=2", "A=3", "b=two", "flag", "empty=", "plus=x+y", "enc=%20%2B%26%3D", "uni=%C3%A9", "code=secret", "Code=secret", "subscription-key=secret",
	"%63ode=secret", "coder=x", "a.b=1", "x-code=2"}

var requestHeaders = [][2]string{
	{"Accept", "*/*"}, {"Accept", "application/json, text/plain;q=0.5"}, {"Accept-Encoding", "gzip, br"}, {"Accept-Language", "de-CH"}, {"User-Agent", "Mozilla/5.0 (X11)"},
	{"X-Many", "one"}, {"X-Many", "two, three"}, {"x-lower", "v"}, {"X_Under", "v"}, {"If-None-Match", `"e1"`}, {"If-Modified-Since", "Wed, 21 Oct 2026 07:28:00 GMT"},
	{"Range", "bytes=0-9"}, {"Origin", "https://contoso.example"}, {"Referer", "https://contoso.example/x"}, {"Cache-Control", "no-cache"}, {"Prefer", "return=minimal"},
	{"Content-Language", "de"}, {"Content-Disposition", "attachment"}, {"Authorization", "Bearer caller"}, {"Proxy-Authorization", "Basic eA=="}, {"Cookie", "session=1"},
	{"Ocp-Apim-Subscription-Key", "caller"}, {"Ocp-Apim-Trace", "true"}, {"x-functions-key", "caller"}, {"X-Forwarded-For", "10.0.0.1"}, {"X-Forwarded-Host", "evil.example"},
	{"Forwarded", "for=10.0.0.1"}, {"X-MS-CLIENT-PRINCIPAL", "eA=="}, {"X-ARR-LOG-ID", "x"}, {"DISGUISED-HOST", "evil.example"}, {"X-Original-URL", "/evil"}, {"CLIENT-IP", "10.0.0.1:1"},
	{"X-HTTP-Method-Override", "DELETE"}, {"X-IDENTITY-HEADER", "x"}, {"X-Azure-Functions-InvocationId", "fake"}, {"x-ms-invocation-id", "fake"}, {"TE", "trailers"},
	{"Upgrade-Insecure-Requests", "1"}, {"Connection", "X-Many"}, {"Connection", "Authorization, Ocp-Apim-Subscription-Key"}, {"Idempotency-Key", "mine"}, {"ETag", `"x"`}, {"Via", "1.1 a"},
	{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"tracestate", "a=1"}, {"baggage", "k=v"}, {"Max-Forwards", "10"}, {"Priority", "u=1"},
	{"X-Tab", "a\tb"}, {"X-Quote", `a "b, c" d`}, {"X-Long", strings.Repeat("long ", 200)},
}

var answerHeaders = [][2]string{
	{"Content-Type", "application/json"}, {"Content-Type", "text/html; charset=utf-8"}, {"Content-Type", "application/vnd.x+json;v=1"}, {"Content-Type", "image/png"}, {"Etag", `"e1"`},
	{"Cache-Control", "no-store"}, {"Location", "/elsewhere?x=1"}, {"Location", "https://contoso.example/é"}, {"X-Many", "one"}, {"X-Many", "two"}, {"X-Empty", ""}, {"X-Utf8", "é"},
	{"Set-Cookie", "a=1; Path=/"}, {"Set-Cookie", "b=2"}, {"Vary", "Accept, Origin"}, {"Www-Authenticate", `Bearer realm="x", error="y"`}, {"Retry-After", "7"}, {"Link", "</x>; rel=next"},
	{"Access-Control-Allow-Origin", "*"}, {"Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT"}, {"Content-Language", "de"}, {"Content-Encoding", "gzip"}, {"X-Leak", "Bearer canary-token"},
	{"X-Leak-Key", "canary%2Dkey"}, {"Server", "backend"}, {"Date", "Wed, 25 Nov 2026 10:00:00 GMT"}, {"Allow", "GET, POST"}, {"X-Tab", "a\tb"}, {"Content-Disposition", "inline"},
}

func randomCall(r *rand.Rand) call {
	some := func(n int) int { return r.IntN(n + 1) }
	c := call{method: pick(r, "GET", "GET", "POST", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "REPORT")}
	c.path = []atom{pathAtoms[0]} // a remainder that begins with a slash is another matter
	for range some(5) {
		c.path = append(c.path, pick(r, pathAtoms...))
	}
	for range some(5) {
		c.query = append(c.query, pick(r, queryPairs...))
	}
	for range some(8) {
		c.headers = append(c.headers, pick(r, requestHeaders...))
	}
	c.headers = once(c.headers, "X-Many", "Accept")
	if r.IntN(2) == 0 && c.method != "HEAD" {
		kinds := []string{"application/json", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded", "image/png", ""}
		bodies := []string{`{"a":1,"d":"2026-01-02T03:04:05.000Z"}`, "plain", "zwei\r\nZeilen é\x00", "a=1&b=2", "\x00\x01\xff\xfe", isoDate, base64.StdEncoding.EncodeToString([]byte("word")), strings.Repeat("0123456789", 7000)}
		c.body = pick(r, bodies...)
		if kind := pick(r, kinds...); kind != "" {
			c.headers = append(c.headers, [2]string{"Content-Type", kind})
		}
		c.chunked = r.IntN(8) == 0
	}
	c.answer.status = pick(r, 200, 200, 200, 201, 202, 204, 205, 206, 301, 302, 304, 307, 400, 401, 403, 404, 405, 409, 410, 412, 418, 422, 429, 500, 501, 503, 599)
	for range some(6) {
		c.answer.headers = append(c.answer.headers, pick(r, answerHeaders...))
	}
	c.answer.headers = once(c.answer.headers, "X-Many", "Set-Cookie")
	if c.answer.status != 204 && c.answer.status != 304 {
		c.answer.body = pick(r, "", "text", `{"a":1.10,"d":"2026-01-02T03:04:05.000Z"}`, "é\x00\u2028", "\x89PNG\xff", isoDate, "aGVsbG8=", strings.Repeat("x", 70000))
	}
	return c
}

// once keeps the first field of each name but of those that may come on several lines.
func once(fields [][2]string, several ...string) [][2]string {
	seen := make(map[string]bool)
	return slices.DeleteFunc(fields, func(f [2]string) bool {
		key := strings.ToLower(f[0])
		again := seen[key] && !slices.Contains(several, f[0])
		seen[key] = true
		return again
	})
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
