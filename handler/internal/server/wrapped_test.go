package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"apimrelay/handler/internal/token"
	"apimrelay/internal/recording"
)

// envelopeAnswer is what the host reads of an answer to a wrapped HTTP call.
type envelopeAnswer struct {
	Outputs map[string]struct {
		StatusCode int               `json:"statusCode"`
		Headers    map[string]string `json:"headers"`
		Body       string            `json:"body"`
	}
	Logs        []string
	ReturnValue any
}

// wrappedProblems are the recorded uploads that the host damages or loses, and what the caller is told.
var wrappedProblems = map[string]string{
	"A-post-chunked-json":      "body-lost",
	"A-post-chunked-empty":     "body-lost",
	"A-post-image-png":         "body-damaged",
	"A-post-text-latin1":       "body-damaged",
	"A-post-gzip-body":         "body-damaged",
	"A-post-invalid-utf8":      "body-damaged",
	"A-post-invalid-utf8-text": "body-damaged",
	"A-post-utf16":             "body-damaged",
}

// TestRecordedWrappedRequestsReachTheGateway plays every recorded wrapped HTTP call: the gateway must get the caller's request, as far as the host left it.
func TestRecordedWrappedRequestsReachTheGateway(t *testing.T) {
	played := 0
	for _, rec := range recording.Load[recorded](t, "A-*") {
		if rec.Client == nil || len(rec.Received) != 1 {
			continue
		}
		in := rec.Received[0]
		envelope, whole := in.bytes()
		if !whole {
			continue // the recording holds only the body's ends
		}
		played++
		t.Run(rec.Name, func(t *testing.T) {
			r := newRig(t, string(rec.HostJSON), texts(rec.FunctionJSON), nil)
			r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, `the "answer"`)
			}
			res, body, err := r.play(in, envelope)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(rec.Name, "A-noout") {
				if res.StatusCode != 200 || len(body) < 2 {
					t.Errorf("answered %d %q", res.StatusCode, body)
				}
				return
			}
			var answer envelopeAnswer
			if err := json.Unmarshal(body, &answer); err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("answered %d %s %q (%v)", res.StatusCode, res.Header, body, err)
			}
			out := answer.Outputs["res"]
			if code := wrappedProblems[rec.Name]; code != "" {
				if !strings.Contains(out.Body, `"code":"`+code+`"`) || out.StatusCode < 400 {
					t.Errorf("answered %+v, want the problem %s", out, code)
				}
				r.requests(0)
				return
			}
			if out.StatusCode != 202 || out.Body != `the "answer"` || out.Headers["Content-Type"] != "text/plain" {
				t.Errorf("answered %+v", out)
			}
			got := r.requests(1)[0]
			var data struct {
				Data map[string]struct {
					URL     string `json:"Url"`
					Method  string
					Headers map[string][]string
				}
			}
			if err := json.Unmarshal(envelope, &data); err != nil {
				t.Fatal(err)
			}
			req := data.Data["req"]
			u, _ := url.Parse(req.URL)
			_, rawQuery, _ := strings.Cut(req.URL, "?")
			path, _, _ := strings.Cut(strings.TrimPrefix(req.URL, u.Scheme+"://"+u.Host), "?")
			if want := wantURI(path, rawQuery); got.uri != want {
				t.Errorf("gateway got %s, want %s", got.uri, want)
			}
			if got.method != req.Method {
				t.Errorf("gateway got %s, want %s", got.method, req.Method)
			}
			wantBody, whole := rec.Client.bytes()
			if !whole {
				wantBody = got.body
			}
			if rec.Name == "A-post-bom" {
				wantBody = bytes.TrimPrefix(wantBody, []byte("\xef\xbb\xbf"))
			}
			if !bytes.Equal(got.body, wantBody) {
				t.Errorf("gateway got a body of %d bytes %.80q, want %d bytes %.80q", len(got.body), got.body, len(wantBody), wantBody)
			}
			for name, values := range req.Headers {
				if !arrives(name) || name == "Accept-Encoding" || strings.EqualFold(name, "traceparent") || strings.EqualFold(name, "tracestate") {
					continue
				}
				if name = http.CanonicalHeaderKey(name); !slices.Equal(got.header[name], values) {
					t.Errorf("%s: %q, want %q", name, got.header[name], values)
				}
			}
			for _, name := range []string{"Cookie", "X-Functions-Key", "Accept-Encoding"} {
				if got.header[name] != nil {
					t.Errorf("%s reached the gateway: %q", name, got.header[name])
				}
			}
			if rec.Name == "A-traceparent" && !strings.HasPrefix(got.header.Get("Traceparent"), req.Headers["traceparent"][0][:35]) {
				t.Errorf("traceparent %q does not continue %q", got.header.Get("Traceparent"), req.Headers["traceparent"])
			}
		})
	}
	if played < 45 {
		t.Errorf("only %d recordings were played", played)
	}
}

func wrappedGet(r *rig, extra string) (envelopeAnswer, *http.Response) {
	r.t.Helper()
	body := `{"Data":{"req":{"Url":"http://localhost:7102/api/hello?a=1","Method":"GET","Query":{"a":"1"},"Headers":{"Host":["localhost:7102"]` + extra +
		`},"Params":{},"Identities":[]}},"Metadata":{"sys":{"MethodName":"hello"}}}`
	res, got, err := r.play(message{
		RequestLine: "POST /hello HTTP/1.1",
		Headers: [][2]string{{"Host", "127.0.0.1:1"}, {"X-Azure-Functions-InvocationId", "915470b4-2e35-42d3-a995-1fbf45c607d9"},
			{"User-Agent", "Azure-Functions-Host/4.1037.0.0"}, {"Transfer-Encoding", "chunked"}, {"Content-Type", "application/json; charset=utf-8"}},
		Framing: "chunked",
	}, []byte(body))
	if err != nil {
		r.t.Fatal(err)
	}
	var answer envelopeAnswer
	if err := json.Unmarshal(got, &answer); err != nil {
		r.t.Fatalf("%v: %q", err, got)
	}
	return answer, res
}

const bothFlags = `{"version":"2.0","functionTimeout":"00:00:10","customHandler":{"description":{"defaultExecutablePath":"handler"},"enableForwardingHttpRequest":true,"enableProxyingHttpRequest":true}}`

func TestWrappedAnswersThatTheEnvelopeCannotCarry(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"binary":           func(w http.ResponseWriter) { _, _ = w.Write([]byte{0xff, 0xfe, 0}) },
		"compressed":       func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); _, _ = w.Write([]byte("abc")) },
		"several cookies":  func(w http.ResponseWriter) { w.Header()["Set-Cookie"] = []string{"a=1", "b=2"} },
		"nothing but date": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "2026-01-02T03:04:05.000Z") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"hello": helloFunction}, nil)
			r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) { answer(w) }
			got, _ := wrappedGet(r, "")
			out := got.Outputs["res"]
			if out.StatusCode != 502 || !strings.Contains(out.Body, `"code":"cannot-carry"`) || !strings.Contains(out.Body, "enableProxyingHttpRequest") {
				t.Errorf("answered %+v", out)
			}
			if !strings.Contains(r.log.String(), `"problem":"cannot-carry"`) {
				t.Errorf("log: %s", r.log.String())
			}
		})
	}
}

func TestWrappedProblemsTravelInside(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"hello": helloFunction}, func(f *subject) {
		f.Credentials.Tokens = fixedTokens{err: &token.Error{Kind: token.Refused, Err: errors.New("no such identity")}}
	})
	got, res := wrappedGet(r, "")
	out := got.Outputs["res"]
	if res.StatusCode != 200 || out.StatusCode != 500 || !strings.Contains(out.Body, `"code":"identity-refused"`) ||
		!strings.Contains(out.Body, "915470b4-2e35-42d3-a995-1fbf45c607d9") || out.Headers["Content-Type"] != "application/problem+json" {
		t.Errorf("answered %d %+v", res.StatusCode, out)
	}
	r.requests(0)
}

func TestAWrappedAnswerCutShortIsAProblem(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"hello": helloFunction}, nil)
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	}
	got, _ := wrappedGet(r, "")
	if out := got.Outputs["res"]; out.StatusCode != 502 || strings.Contains(out.Body, "half") {
		t.Errorf("answered %+v, want a problem in place of half an answer", out)
	}
}

func TestAnUnreadableEnvelopeFailsTheInvocation(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"hello": helloFunction}, nil)
	for _, body := range []string{"", "null", "[]", `{"Data":`, `{"Data":{}}`, `{"Data":{"req":7}}`} {
		res, got, err := r.play(message{RequestLine: "POST /hello HTTP/1.1", Headers: [][2]string{{"Host", "x"}, {"Transfer-Encoding", "chunked"}}, Framing: "chunked"}, []byte(body))
		if err != nil || res.StatusCode != 500 || !strings.Contains(string(got), "bad-invocation") {
			t.Errorf("%q: %v %q (%v)", body, res.StatusCode, got, err)
		}
	}
	r.requests(0)
}

func TestAWrappedCallThatNoRequestCanBe(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"hello": helloFunction}, nil)
	for _, header := range []string{`,"X A":["x"]`, `,"X-A":["x\r\ny: z"]`, `,"":["x"]`} {
		got, _ := wrappedGet(r, header)
		if out := got.Outputs["res"]; out.StatusCode != 500 || !strings.Contains(out.Body, `"code":"bad-invocation"`) {
			t.Errorf("%s: answered %+v", header, out)
		}
	}
	r.requests(0)
}

// A caller's Connection header takes away what came with it, not what the relay sets.
func TestAWrappedCallsTraceGoesOnWhateverItsConnectionHeaderNames(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"hello": helloFunction}, nil)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if got, _ := wrappedGet(r, `,"connection":["Traceparent, tracestate, X-Hop"],"traceparent":["`+trace+`"],"tracestate":["a=b"],"X-Hop":["x"]`); got.Outputs["res"].StatusCode != 200 {
		t.Fatalf("answered %+v", got)
	}
	h := r.requests(1)[0].header
	if h.Get("Traceparent") != trace || h.Get("Tracestate") != "a=b" || h["X-Hop"] != nil || h["Connection"] != nil {
		t.Errorf("gateway got %v", h)
	}
}

// Whatever carries a secret of the caller's or of the platform into a wrapped call stays there.
func TestWrappedCanaries(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"hello": helloFunction}, nil)
	wrappedGet(r, `,"Authorization":["Bearer leak"],"Ocp-Apim-Subscription-Key":["leak"],"X-MS-CLIENT-PRINCIPAL":["leak"],"Connection":["Authorization"],"Cookie":["leak"]`)
	for name, values := range r.requests(1)[0].header {
		for _, v := range values {
			if strings.Contains(v, "leak") {
				t.Errorf("%s: %q reached the gateway", name, v)
			}
		}
	}
	for _, secret := range []string{"leak", "canary", base64.StdEncoding.EncodeToString([]byte("canary-token"))} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log holds %q: %s", secret, r.log.String())
		}
	}
}
