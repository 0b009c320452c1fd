package host

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

// Rules of the real host that were recorded, or read in its code, without an exchange in testdata.
// Each row is one exchange.

const rulesApp = `{
	"hello": {"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]},
	"retfn": {"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"$return"}]},
	"noout": {"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"}]},
	"rest":  {"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","route":"rest/{*path}"},{"type":"http","direction":"out","name":"res"}]},
	"item":  {"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","route":"items/{name:alpha}/{id:int:min(3)=7}"},{"type":"http","direction":"out","name":"res"}]}
}`

func hostJSONOf(flags string) json.RawMessage {
	return json.RawMessage(
		`{"version":"2.0","functionTimeout":"00:00:10","customHandler":{"description":{"defaultExecutablePath":"handler"}` + flags + `}}`)
}

func wrappedAnswer(body string) answer {
	text, _ := json.Marshal(body)
	return answer{Status: 200, Headers: [][2]string{{"Content-Type", "application/json"}},
		Body: text}
}

type rule struct {
	name   string
	ask    string // request line without the version, then header lines, a blank line and the body
	answer answer
	status string   // of the caller's answer
	header []string // that are there
	lacks  []string // names that are not
	body   string
	got    []string // what the handler got contains
	failed bool     // the invocation is logged as failed
	none   bool     // the handler got nothing
}

func askText(text string) clientRequest {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	c := clientRequest{RequestLine: lines[0] + " HTTP/1.1",
		Headers: [][2]string{{"Host", "localhost:7071"}}}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		c.Headers = append(c.Headers, [2]string{name, value})
	}
	if body != "" {
		c.Headers = append(c.Headers, [2]string{"Content-Length", fmt.Sprint(len(body))})
		c.Body, _ = json.Marshal(body)
	}
	return c
}

func playRules(t *testing.T, flags string, rules []rule) {
	g := newRig(t, hostJSONOf(flags), json.RawMessage(rulesApp))
	cfg := g.config()
	cfg.Speed = replaySpeed
	g.start(cfg)
	poll.Until(t, "the handler", func() bool { return len(requests(g.events(), true)) > 0 })
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			g.write(script{Speed: replaySpeed, Answered: r.answer})
			g.clearEvents()
			g.clearLog()
			got := ask(g.host.Addr(), askText(r.ask), 5*time.Second)
			if statusCode(got.statusLine) != statusCode("HTTP/1.1 "+r.status) {
				t.Errorf("want status %q, got %q (%v)", r.status, got.statusLine, got.err)
			}
			all := ""
			for _, h := range got.headers {
				all += strings.ToLower(h[0]) + ": " + elements(h[1]) + "\n"
			}
			for _, want := range r.header {
				name, value, _ := strings.Cut(want, ": ")
				if !strings.Contains(all, strings.ToLower(name)+": "+elements(value)+"\n") {
					t.Errorf("want the header line %q, got\n%s", want, all)
				}
			}
			for _, name := range r.lacks {
				if header(got.headers, name) != "" {
					t.Errorf("want no header %s, got\n%s", name, all)
				}
			}
			if string(got.body) != r.body && !strings.HasPrefix(r.status, "501") {
				t.Errorf("want body %q, got %q", r.body, got.body)
			}
			received := requests(g.events(), false)
			if r.none != (len(received) == 0) {
				t.Fatalf("requests to the handler: %d", len(received))
			}
			for _, want := range r.got {
				text := received[0].RequestLine + "\n" + strings.Join(fieldSet(received[0].Headers),
					"\n") + "\n\n" + string(received[0].Body)
				if !strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
					t.Errorf("want the handler to get %q, got\n%s", want, short(text))
				}
			}
			poll.Until(t, "the end of the invocation", func() bool {
				return r.none || strings.Contains(strings.Join(entryLines(g.entries()), "\n"),
					"Executed 'Functions.")
			})
			if failed := strings.Contains(strings.Join(entryLines(g.entries()), "\n"),
				"(Failed,"); failed != r.failed {
				t.Errorf("the invocation failed: want %v, got %v", r.failed, failed)
			}
		})
	}
}

// Sources: the reference of each row is the recording's name, or the file of the host in brackets.
func TestWrappedAnswersThatWereNotKept(t *testing.T) {
	res := func(s string) answer { return wrappedAnswer(`{"Outputs":{"res":` + s + `}}`) }
	ret := func(s string) answer { return wrappedAnswer(`{"Outputs":{},"ReturnValue":` + s + `}`) }
	playRules(t, "", []rule{
		{name: "an array goes out indented", ask: "GET /api/hello", answer: res(`{"body":[1,"a"]}`),
			status: "200 OK", body: "[\n  1,\n  \"a\"\n]"},
		{name: "a res that is a string with an object is taken", ask: "GET /api/hello",
			answer: res(`"{\"statusCode\":201,\"body\":\"x\"}"`), status: "201 Created", body: "x"},
		{name: "a res that is an array fails", ask: "GET /api/hello", answer: res(`[]`),
			status: "500 Internal Server Error", failed: true},
		{name: "status 999 is sent with an empty reason", ask: "GET /api/hello",
			answer: res(`{"statusCode":999,"body":"x"}`),
			status: "999 ", body: "x"},
		{name: "status 205 loses its body", ask: "GET /api/hello",
			answer: res(`{"statusCode":205,"body":"x"}`), status: "205 Reset Content"},
		{name: "a null body is empty", ask: "GET /api/hello", answer: res(`{"body":null}`),
			status: "200 OK", header: []string{"Content-Length: 0"}},
		{name: "a status that is a float counts", ask: "GET /api/hello",
			answer: res(`{"statusCode":201.0,"body":"x"}`),
			status: "201 Created", body: "x"},
		{name: "Logs that are a string fail", ask: "GET /api/hello",
			answer: wrappedAnswer(`{"Outputs":{"res":{"body":"x"}},"Logs":"l"}`),
			status: "500 Internal Server Error", failed: true},
		{name: "Logs of numbers are lines", ask: "GET /api/hello",
			answer: wrappedAnswer(`{"Outputs":{"res":{"body":"x"}},"Logs":[1,2.50]}`),
			status: "200 OK", body: "x"},
		{name: "NaN is read", ask: "GET /api/hello",
			answer: wrappedAnswer(`{"Outputs":{"res":{"body":"x"},"n":NaN}}`), status: "200 OK",
			body: "x"},
		{name: "junk behind the object is not read", ask: "GET /api/hello",
			answer: wrappedAnswer(`{"Outputs":{"res":{"body":"x"}}} junk`),
			status: "200 OK", body: "x"},
		{name: "single quotes and bare names are read", ask: "GET /api/hello",
			answer: wrappedAnswer(`{Outputs:{res:{'body':'it\'s'}}}`),
			status: "200 OK", body: "it's"},
		{name: "two objects named Outputs are one", ask: "GET /api/hello",
			answer: wrappedAnswer(`{"Outputs":{"res":{"body":"x"}},"Outputs":{"other":1}}`),
			status: "200 OK", body: "x"},
		{name: "a number as $return is its text", ask: "GET /api/retfn", answer: ret(`42`),
			status: "200 OK", body: "42"},
		{name: "Outputs.$return is ignored", ask: "GET /api/retfn",
			answer: wrappedAnswer(`{"Outputs":{"$return":{"body":"x"}}}`),
			status: "204 No Content"},
		{name: "text that is no base64 goes out as text", ask: "GET /api/retfn",
			answer: ret(`"a text!"`), status: "200 OK",
			body: "a text!", header: []string{"Content-Type: text/plain; charset=utf-8"}},
		{name: "a ReturnValue beside res is ignored", ask: "GET /api/hello",
			answer: wrappedAnswer(`{"Outputs":{"res":{"body":"x"}},"ReturnValue":{"body":"y"}}`),
			status: "200 OK", body: "x"},
		{name: "without an http output a text is not decoded", ask: "GET /api/noout",
			answer: ret(`"text"`), status: "200 OK", body: "text"},
		{name: "Content-MD5 is sent as given", ask: "GET /api/hello",
			answer: res(
				`{"body":"x","headers":{"Content-MD5":"AAAA","Content-Range":"bytes 0-1/2"}}`),
			status: "200 OK", body: "x",
			header: []string{"Content-MD5: AAAA", "Content-Range: bytes 0-1/2"}},
		{name: "a cookies key is ignored", ask: "GET /api/hello",
			answer: res(`{"body":"x","cookies":[{"name":"a","value":"b"}]}`),
			status: "200 OK", body: "x", lacks: []string{"Set-Cookie"}},
		{name: "an object as a header value has line breaks", ask: "GET /api/hello",
			answer: res(`{"body":"x","headers":{"X-A":"1","X-O":{"a":1}}}`),
			status: "500 Internal Server Error", header: []string{"X-A: 1"}},
		{name: "a time with an offset is rewritten", ask: "GET /api/hello",
			answer: res(`{"body":"2026-01-02T03:04:05+01:00"}`),
			status: "200 OK", body: "01/02/2026 02:04:05"},
		{name: "a date without a time is no date", ask: "GET /api/hello",
			answer: res(`{"body":"2026-01-02"}`), status: "200 OK", body: "2026-01-02"},
		{name: "a status beyond an int is none", ask: "GET /api/hello",
			answer: res(`{"statusCode":99999999999,"body":"x"}`), status: "200 OK", body: "x"},
		{name: "the true Content-Length frames the answer", ask: "GET /api/hello",
			answer: res(`{"body":"xyz","headers":{"Content-Length":"3"}}`),
			status: "200 OK", body: "xyz", header: []string{"Content-Length: 3"},
			lacks: []string{"Transfer-Encoding"}},
		{name: "a status with blanks around it counts", ask: "GET /api/hello",
			answer: res(`{"statusCode":" 201 ","body":"x"}`), status: "201 Created",
			body: "x"},
		{name: "a content type that says UTF-8 stays as it is", ask: "GET /api/hello",
			answer: res(`{"body":"x","headers":{"Content-Type":"text/html;charset=UTF-8"}}`),
			status: "200 OK", body: "x",
			header: []string{"Content-Type: text/html;charset=UTF-8"}},
		{name: "another charset is replaced where it stands", ask: "GET /api/hello",
			answer: res(
				`{"body":"x","headers":{"Content-Type":"text/html;charset=\"latin1\";v=1"}}`),
			status: "200 OK", body: "x",
			header: []string{"Content-Type: text/html;charset=utf-8;v=1"}},
		{name: "status 204 of the handler with a body is no success without one",
			ask:    "GET /api/hello",
			answer: answer{Raw: "HTTP/1.1 299 R\r\nContent-Type: text/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}"}, status: "204 No Content"},
	})
}

func TestWrappedRequestsThatWereNotKept(t *testing.T) {
	ok := wrappedAnswer(`{"Outputs":{"res":{"body":"ok"}}}`)
	playRules(t, "", []rule{
		{name: "TRACE is the method", ask: "TRACE /api/hello", answer: ok, status: "200 OK",
			body: "ok",
			got:  []string{`"Method":"TRACE"`, "POST /hello HTTP/1.1"}},
		{name: "lines of one header are items",
			ask: "GET /api/hello\nX-Many: one\nX-lower: l\nX-many: two, three", answer: ok,
			status: "200 OK", body: "ok",
			got: []string{`"X-Many":["one","two, three"]`, `"X-Many":"one,two, three"`}},
		{name: "of Connection the first option arrives",
			ask: "GET /api/hello\nConnection: keep-alive, X-Hop\nX-Hop: 1", answer: ok,
			status: "200 OK", body: "ok",
			got: []string{`"Connection":["keep-alive"]`, `"X-Hop":["1"]`}},
		{name: "UTF-8 in a header arrives", ask: "GET /api/hello\nX-Utf8: é", answer: ok,
			status: "200 OK", body: "ok",
			got: []string{`"X-Utf8":["é"]`}},
		{name: "escapes that are no UTF-8 stay", ask: "GET /api/rest/%E9%2F%41", answer: ok,
			status: "200 OK", body: "ok",
			got: []string{`"Params":{"path":"%E9%2FA"}`, `/api/rest/%E9%2FA`}},
		{name: "duplicate keys: the last wins, in the place of the first",
			ask:    "POST /api/hello\n\n" + `{"a":1,"b":2,"a":3,"B":true}`,
			answer: ok, status: "200 OK", body: "ok",
			got: []string{`"Metadata":{"a":"\"3\"","b":"\"True\"",`}},
		{name: "a body that nests 64 deep is read", ask: "POST /api/hello\n\n" +
			strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64),
			answer: ok, status: "200 OK", body: "ok", got: []string{`"Metadata":{"a":{"a":`}},
		{name: "one that nests deeper is not", ask: "POST /api/hello\n\n" +
			strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
			answer: ok, status: "200 OK", body: "ok", got: []string{`"Metadata":{"Query":`}},
		{name: "a date in the body is culture text in Metadata", ask: "POST /api/hello\n\n" +
			`{"d":"2026-01-02T03:04:05Z"}`, answer: ok,
			status: "200 OK", body: "ok",
			got: []string{`"d":"\"01/02/2026 03:04:05\""`}},
		{name: "a default fills a missing parameter", ask: "GET /api/items/abc", answer: ok,
			status: "200 OK", body: "ok",
			got: []string{`"Params":{"name":"abc","id":"7"}`}},
		{name: "a constraint that fails is no match", ask: "GET /api/items/abc/2",
			status: "404 Not Found", none: true},
		{name: "an alpha parameter takes no digits", ask: "GET /api/items/a1/5",
			status: "404 Not Found", none: true},
		{name: "a number sign in the query is escaped", ask: "GET /api/hello?a=1#b", answer: ok,
			status: "200 OK", body: "ok",
			got: []string{`/api/hello?a=1%23b","Method"`, `"Query":{"a":"1#b"}`}},
		{name: "a method in small letters is a method", ask: "get /api/hello", answer: ok,
			status: "200 OK", body: "ok", got: []string{`"Method":"get"`}},
		{name: "a blank in front of the colon is refused", ask: "GET /api/hello\nX-A : 1",
			status: "400 Bad Request", none: true},
		{name: "the start page is there by any method", ask: "POST /", status: "200 OK",
			header: []string{"Content-Type: text/html"}, none: true,
			body: "<!DOCTYPE html>\n<title>Functions host stand-in</title>\n<p>Your Functions app is up and running, on a stand-in for the Functions host.</p>\n"},
		{name: "an odd Transfer-Encoding is refused",
			ask: "POST /api/hello\nTransfer-Encoding: identity", status: "501 Not Implemented",
			none: true},
		{name: "an empty one is refused, and what follows is no request",
			ask:    "POST /api/hello\nTransfer-Encoding: \nContent-Length: 43\n\nGET /api/hello?evil=1 HTTP/1.1\r\nHost: x\r\n\r\n",
			status: "501 Not Implemented", none: true},
		{name: "nor is a list of nothing",
			ask:    "POST /api/hello\nTransfer-Encoding: ,\nContent-Length: 43\n\nGET /api/hello?evil=1 HTTP/1.1\r\nHost: x\r\n\r\n",
			status: "501 Not Implemented", none: true},
		{name: "a target of more than 8 KiB is too long", ask: "GET /api/hello?q=" +
			strings.Repeat("x", 8<<10), status: "414 URI Too Long", none: true},
		{name: "a header of more than 32 KiB is too large", ask: "GET /api/hello\nX-A: " +
			strings.Repeat("x", 32<<10), status: "431 Request Header Fields Too Large",
			none: true},
		{name: "more than a hundred lines are too many", ask: "GET /api/hello" +
			strings.Repeat("\nX-A: 1", 100), status: "431 Request Header Fields Too Large",
			none: true},
	})
}

func TestForwardedExchangesThatWereNotKept(t *testing.T) {
	ok := answer{Status: 200, Body: json.RawMessage(`"ok"`)}
	playRules(t, `,"enableForwardingHttpRequest":true`, []rule{
		{name: "two Content-Type lines reach the caller", ask: "GET /api/hello",
			answer: answer{Raw: "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 1\r\n\r\nx"}, status: "200 OK", body: "x",
			header: []string{"Content-Type: a/b", "Content-Type: c/d"}},
		{name: "a tab in a header value passes", ask: "GET /api/hello",
			answer: answer{Status: 200, Headers: [][2]string{{"X-Tab", "a\tb"}},
				Body: json.RawMessage(`"x"`)}, status: "200 R", body: "x",
			header: []string{"X-Tab: a\tb"}},
		{name: "a handler's own id of the caller comes last",
			ask: "GET /api/hello\nX-Azure-Functions-InvocationId: fake", answer: ok,
			status: "200 R", body: "ok",
			got: []string{"X-Azure-Functions-InvocationId: fake, <guid>"}},
		{name: "percent-encoded percent is decoded once",
			ask: "GET /api/rest/%25C3%25A9/a%252Fb/%25", answer: ok, status: "200 R",
			body: "ok", got: []string{"GET /api/rest/%C3%A9/a%2Fb/%25 HTTP/1.1"}},
		{name: "of the spellings of a name in the query the second stays",
			ask: "GET /api/hello?A=1&b=3&a=2", answer: ok, status: "200 R", body: "ok",
			got: []string{"GET /api/hello?a=1,2&b=3 HTTP/1.1"}},
		{name: "dots in front of an escaped slash survive", ask: "GET /api/rest/a/%2E%2E%2Fb",
			answer: ok, status: "200 R", body: "ok",
			got: []string{"GET /api/rest/a/..%2Fb HTTP/1.1"}},
		{name: "a content type that is none ends the call",
			ask:    "POST /api/hello\nContent-Type: nonsense\n\n{}",
			status: "500 Internal Server Error",
			failed: true, none: true},
		{name: "a content type that is none does not matter without a body",
			ask: "POST /api/hello\nContent-Type: nonsense\nContent-Length: 0", answer: ok,
			status: "200 R", body: "ok"},
		{name: "a known method goes out in capitals", ask: "post /api/hello\n\nx", answer: ok,
			status: "200 R", body: "ok",
			got: []string{"POST /api/hello HTTP/1.1"}},
		{name: "a redirect is not followed", ask: "GET /api/hello",
			answer: answer{Status: 308, Headers: [][2]string{{"Location", "/x"}}},
			status: "308 R", header: []string{"Location: /x"}},
		{name: "a 205 without a body passes", ask: "GET /api/hello", answer: answer{Status: 205},
			status: "205 R"},
	})
}

func TestProxiedExchangesThatWereNotKept(t *testing.T) {
	ok := answer{Status: 200, Body: json.RawMessage(`"ok"`)}
	playRules(t, `,"enableProxyingHttpRequest":true,"enableForwardingHttpRequest":true`, []rule{
		{name: "hop-by-hop headers are dropped, what Connection names passes",
			ask: "GET /api/hello\nConnection: close, X-Hop\nX-Hop: 1\nKeep-Alive: 1\nTE: trailers\nProxy-Authorization: Basic x", answer: ok, status: "200 R", body: "ok",
			got: []string{"X-Hop: 1\n"}},
		{name: "a path that is a fragment stays", ask: "GET /api/rest/a%23b%3Fc/%5Bd%5D",
			answer: ok, status: "200 R", body: "ok",
			got: []string{"GET /api/rest/a%23b%3Fc/%5Bd%5D HTTP/1.1"}},
		{name: "a number sign in the query is escaped", ask: "GET /api/hello?a=1#b", answer: ok,
			status: "200 R", body: "ok",
			got: []string{"GET /api/hello?a=1%23b HTTP/1.1"}},
		{name: "a known method goes out in capitals", ask: "Put /api/hello\n\nx", answer: ok,
			status: "200 R", body: "ok",
			got: []string{"PUT /api/hello HTTP/1.1"}},
		{name: "content types pass as they are", ask: "POST /api/hello\nContent-Type: a/b;c=d\n\nx",
			answer: answer{Status: 200, Headers: [][2]string{{"Content-Type",
				"text/html;charset=UTF-8"}}, Body: json.RawMessage(`"x"`)},
			status: "200 R", body: "x", header: []string{"Content-Type: text/html;charset=UTF-8"},
			got: []string{"Content-Type: a/b; c=d\n"}},
		{name: "a 103 in front of the answer vanishes", ask: "GET /api/hello",
			answer: answer{Raw: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}, status: "200 OK", body: "ok"},
		{name: "a redirect passes", ask: "GET /api/hello",
			answer: answer{Status: 302, Headers: [][2]string{{"Location", "/x"}}},
			status: "302 R", header: []string{"Location: /x"}},
		{name: "a body is sent once though nobody answers", ask: "POST /api/hello\n\nx",
			answer: answer{Close: true},
			status: "500 Internal Server Error", failed: true},
		{name: "an httpTrigger without output stays wrapped", ask: "GET /api/noout",
			answer: wrappedAnswer(`{}`), status: "204 No Content",
			got: []string{"POST /noout HTTP/1.1"}},
	})
}
