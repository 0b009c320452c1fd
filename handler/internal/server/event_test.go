package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"apimrelay/handler/internal/target"
	"apimrelay/handler/internal/token"
	"apimrelay/internal/recording"
)

// TestRecordedEventsBecomeOneRequest plays every recorded timer tick and queue message.
func TestRecordedEventsBecomeOneRequest(t *testing.T) {
	played := 0
	for _, pattern := range []string{"C-*", "F-queue-*", "P-timer"} {
		for _, rec := range recording.Load[recorded](t, pattern) {
			for _, in := range rec.Received {
				name := strings.TrimSuffix(strings.TrimPrefix(in.RequestLine, "POST /"), " HTTP/1.1")
				body, whole := in.bytes()
				if _, ok := rec.FunctionJSON[name]; !ok || !whole || in.RequestLine == "GET / HTTP/1.1" {
					continue
				}
				played++
				t.Run(rec.Name+"/"+name, func(t *testing.T) {
					r := newRig(t, bothFlags, texts(rec.FunctionJSON), nil)
					res, got, err := r.play(in, body)
					if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
						t.Fatalf("answered %v %q (%v), log %s", res, got, err, r.log.String())
					}
					var answer struct {
						Outputs map[string]string
						Logs    []string
					}
					if err := json.Unmarshal(got, &answer); err != nil || len(answer.Logs) != 1 {
						t.Errorf("answered %q (%v), want an envelope with one line of Logs", got, err)
					}
					sent := r.requests(1)[0]
					if sent.method != "POST" || sent.uri != "/up" || sent.header.Get("Authorization") != "Bearer canary-token" ||
						!eventKey.MatchString(sent.header.Get("Idempotency-Key")) || sent.header["Traceparent"] != nil {
						t.Errorf("the gateway got %+v", sent)
					}
					var data struct{ Data map[string]json.RawMessage }
					_ = json.Unmarshal(body, &data)
					switch {
					case strings.HasPrefix(rec.Name, "F-"):
						var once, twice string
						if json.Unmarshal(data.Data["msg"], &once) != nil || json.Unmarshal([]byte(once), &twice) != nil || string(sent.body) != twice {
							t.Errorf("the gateway got the body %q, want the message %q", sent.body, twice)
						}
						for out, value := range answer.Outputs {
							if b, err := base64.StdEncoding.DecodeString(value); err != nil || string(b) != "done" {
								t.Errorf("output %s is %q, want the answer's bytes in base64", out, value)
							}
						}
					case string(sent.body) != string(data.Data["timer"]):
						t.Errorf("the gateway got the body %s, want %s", sent.body, data.Data["timer"])
					}
				})
			}
		}
	}
	if played < 25 {
		t.Errorf("only %d invocations were played", played)
	}
}

var eventKey = regexp.MustCompile(`^event-[0-9a-f]{32}$`)

const queueFunction = `{"bindings":[{"type":"queueTrigger","direction":"in","name":"msg","queueName":"in","connection":"AzureWebJobsStorage"}]}`

func message1(name, data string) (message, []byte) {
	return message{
		RequestLine: "POST /" + name + " HTTP/1.1",
		Headers:     [][2]string{{"Host", "127.0.0.1:1"}, {"X-Azure-Functions-InvocationId", "1c0e1f6c-5574-43b2-9520-8a50738d70f6"}, {"Transfer-Encoding", "chunked"}},
		Framing:     "chunked",
	}, []byte(data)
}

const queueMessage = `{"Data":{"msg":"\"{\\\"id\\\":\\\"a/b\\\",\\\"n\\\":7}\""},"Metadata":{"DequeueCount":"1","Id":"\"q-1\"","InsertionTime":"2026-11-23T16:40:29+00:00","id":"\"a/b\"","n":"\"7\"","sys":{"MethodName":"q","UtcNow":"2026-11-23T16:40:30Z","RandGuid":"b3b7"}}}`

// TestWhatBecomesOfAnEvent is the paragraph on events in docs/calls.md: what the gateway answers, and what the host is told.
func TestWhatBecomesOfAnEvent(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		change func(*subject)
		want   int
		logged []string
		unsent bool
	}{
		"2xx succeeds":             {status: 201, want: 200, logged: []string{`"level":"INFO"`, `"upstream_status":201`}},
		"204 succeeds":             {status: 204, want: 200},
		"404 fails":                {status: 404, body: `{ "statusCode": 404, "message": "Resource not found" }`, want: 500, logged: []string{`"level":"ERROR"`, `want 2xx, got 404`, `"message":"Resource not found"`}},
		"404 acknowledged":         {status: 404, change: func(f *subject) { f.Acknowledge = []int{404} }, want: 200},
		"302 fails":                {status: 302, want: 500},
		"401 fails with its class": {status: 401, body: `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`, want: 500, logged: []string{`"refusal":"token-refused"`, `"cause":"token-refused"`}},
		"500 fails":                {status: 500, body: "backend's secret", want: 500, logged: []string{`got 500`}},
		"a message that holds the token is not logged": {status: 400, body: `{"statusCode":400,"message":"what is Bearer canary-token?"}`, want: 500, logged: []string{`got 400`}},
		"503 fails": {status: 503, want: 500},
		"no token": {change: func(f *subject) {
			f.Credentials.Tokens = fixedTokens{&token.Error{Kind: token.Unavailable, Err: errors.New("identity endpoint: no answer")}}
		}, want: 500, logged: []string{`"problem":"identity-unavailable"`, "identity endpoint: no answer"}, unsent: true},
		"no connection":                        {change: func(f *subject) { f.Target, _ = target.Parse("http://127.0.0.1:1/up") }, want: 500, logged: []string{`"problem":"gateway-unreachable"`, `"cause":"gateway-connection"`}, unsent: true},
		"settings":                             {change: func(f *subject) { f.Credentials = nil }, want: 500, logged: []string{`"problem":"settings"`, `"cause":"settings-value"`}, unsent: true},
		"a value that would leave its segment": {change: func(f *subject) { f.Target, _ = target.Parse("https://gw/{missing}/x") }, want: 500, logged: []string{`"problem":"bad-path"`, `"cause":"bad-path"`}, unsent: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"q": queueFunction}, c.change)
			r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}
			res, body, err := r.play(message1("q", queueMessage))
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != c.want || len(body) < 2 {
				t.Errorf("answered %d %q, want %d with a body", res.StatusCode, body, c.want)
			}
			log := r.log.String()
			for _, want := range append(c.logged, `"msg":"invocation"`, `"function":"q"`, `"way":"event"`) {
				if !strings.Contains(log, want) {
					t.Errorf("the log has no %s: %s", want, log)
				}
			}
			for _, secret := range []string{"canary", "backend's secret"} {
				if strings.Contains(log, secret) {
					t.Errorf("the log holds %q", secret)
				}
			}
			if c.unsent {
				r.requests(0)
			} else {
				r.requests(1)
			}
		})
	}
}

func TestExpressionsOfAnEvent(t *testing.T) {
	for target, want := range map[string]string{
		"/o/{id}/{N}?id={id}":                "/o/a%2Fb/7?id=a%2Fb",
		"/o/{rand-guid}":                     "/o/" + eventGUID("1c0e1f6c-5574-43b2-9520-8a50738d70f6"),
		"/o/{sys.randguid}/{sys.methodname}": "/o/b3b7/q",
	} {
		r := newRig(t, bothFlags, map[string]string{"q": queueFunction}, nil)
		r.target(target)
		if res, _, err := r.play(message1("q", queueMessage)); err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %v %v, log %s", target, res, err, r.log.String())
		}
		if got := r.requests(1)[0].uri; got != want {
			t.Errorf("%s: the gateway got %s, want %s", target, got, want)
		}
	}
}

func TestGetSendsNoBody(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"q": queueFunction}, func(f *subject) { f.Method = "GET" })
	if _, _, err := r.play(message1("q", queueMessage)); err != nil {
		t.Fatal(err)
	}
	if sent := r.requests(1)[0]; len(sent.body) != 0 || sent.header["Content-Type"] != nil || sent.header.Get("Content-Length") != "" {
		t.Errorf("the gateway got %+v", sent)
	}
}

func TestARedeliveryKeepsTheIdempotencyKey(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"q": queueFunction}, nil)
	again := strings.Replace(strings.Replace(queueMessage, `"DequeueCount":"1"`, `"DequeueCount":"2"`, 1), "b3b7", "ffff", 1)
	other := strings.Replace(queueMessage, "q-1", "q-2", 1)
	for _, m := range []string{queueMessage, again, other} {
		if _, _, err := r.play(message1("q", m)); err != nil {
			t.Fatal(err)
		}
	}
	s := r.requests(3)
	first, second, third := s[0].header.Get("Idempotency-Key"), s[1].header.Get("Idempotency-Key"), s[2].header.Get("Idempotency-Key")
	if first != second || first == third {
		t.Errorf("keys %s, %s, %s: want the second like the first, the third another", first, second, third)
	}
}

// An invocation that the handler cannot read fails, and never with an empty 2xx: the host would wait for it until its time-out kills the process.
func TestUnreadableEventsFail(t *testing.T) {
	r := newRig(t, bothFlags, map[string]string{"q": queueFunction}, nil)
	for _, data := range []string{"", "null", "7", `{"Data":{}}`, `{"Data":{"other":"x"}}`, `{"Data":{"msg":`, "\xff\xfe"} {
		res, body, err := r.play(message1("q", data))
		if err != nil || res.StatusCode != 500 || len(body) == 0 {
			t.Errorf("%q: answered %v %q (%v), want 500", data, res, body, err)
		}
	}
	r.requests(0)
}

// An event that no repetition can make succeed is in the output for such events at once, with its
// reason. The gateway's own answers never count: one wrong setting must not empty a queue.
func TestAnEventThatCanNeverSucceedIsPutAside(t *testing.T) {
	const function = `{"bindings":[{"type":"queueTrigger","direction":"in","name":"msg","queueName":"in","connection":"AzureWebJobsStorage"},
		{"type":"queue","direction":"out","name":"answer","queueName":"out","connection":"AzureWebJobsStorage"},
		{"type":"queue","direction":"out","name":"refused","queueName":"in-refused","connection":"AzureWebJobsStorage"}]}`
	const reason = `{"message":"no such sku"}`
	for _, row := range []struct {
		name   string
		status int
		body   string
		change func(*subject)
		data   string // of the message; "" = a short one
		want   int
		aside  bool
		level  string
	}{
		{"the backend's 422", 422, reason, nil, "", 200, true, "WARN"},
		{"the backend's 400", 400, reason, nil, "", 200, true, "WARN"},
		{"the backend's 404", 404, reason, nil, "", 200, true, "WARN"},
		{"the gateway's 404", 404, `{ "statusCode": 404, "message": "Resource not found" }`, nil, "", 500, false, "ERROR"},
		{"401", 401, reason, nil, "", 500, false, "ERROR"},
		{"403", 403, reason, nil, "", 500, false, "ERROR"},
		{"409", 409, reason, nil, "", 500, false, "ERROR"},
		{"429", 429, reason, nil, "", 500, false, "ERROR"},
		{"503", 503, reason, nil, "", 500, false, "ERROR"},
		{"a success", 200, reason, nil, "", 200, false, "INFO"},
		{"acknowledged", 404, reason, func(f *subject) { f.Acknowledge = []int{404} }, "", 200, false, "INFO"},
		{"a value that leaves its segment", 200, "", func(f *subject) { f.Target, _ = target.Parse("https://gw/{missing}/x") }, "", 200, true, "WARN"},
		{"more than the output holds", 422, reason, nil, strings.Repeat("x", 60<<10), 500, false, "ERROR"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, bothFlags, map[string]string{"q": function}, row.change)
			r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.body)
			}
			message := `{"order":7` + `,"pad":"` + row.data + `"}`
			wrapped, _ := json.Marshal(message)
			twice, _ := json.Marshal(string(wrapped))
			req, err := http.NewRequest("POST", r.server.URL+"/q", strings.NewReader(`{"Data":{"msg":`+string(twice)+`},"Metadata":{"Id":"\"id-1\"","DequeueCount":"2"}}`))
			if err != nil {
				t.Fatal(err)
			}
			res, body := r.do(req)
			if res.StatusCode != row.want || !strings.Contains(r.log.String(), `"level":"`+row.level+`"`) ||
				strings.Contains(r.log.String(), `"refused_for_good":true`) != row.aside {
				t.Errorf("answered %d, logged %s", res.StatusCode, r.log.String())
			}
			if row.want != 200 {
				return
			}
			var answer struct{ Outputs map[string][]byte }
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Fatalf("answered %s: %v", body, err)
			}
			var put struct {
				Function, Reason string
				Status           int
				Code             string
				Data             map[string]any
			}
			if (answer.Outputs["refused"] != nil) != row.aside {
				t.Fatalf("the outputs are %s", body)
			}
			if !row.aside {
				return
			}
			if err := json.Unmarshal(answer.Outputs["refused"], &put); err != nil || put.Function != "q" || put.Data["order"] != 7.0 ||
				row.body != "" && (put.Status != row.status || put.Reason != "no such sku") || row.body == "" && put.Code != "bad-path" {
				t.Errorf("put aside: %s, %v", answer.Outputs["refused"], err)
			}
			if answer.Outputs["answer"] != nil {
				t.Errorf("another output was fed: %s", body)
			}
		})
	}
}
