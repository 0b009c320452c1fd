package policy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"apimrelay/internal/policy"

	"github.com/google/go-cmp/cmp"
)

func TestSetHeader(t *testing.T) {
	rows := []struct {
		name, statement string
		want            []string
	}{
		{"override is the default", `<set-header name="x-a"><value>new</value></set-header>`, []string{"new"}},
		{"override with several values", `<set-header name="X-A" exists-action="override"><value>1</value><value> 2 </value></set-header>`, []string{"1", "2"}},
		{"skip leaves what is there", `<set-header name="X-A" exists-action="skip"><value>new</value></set-header>`, []string{"old"}},
		{"append adds", `<set-header name="X-A" exists-action="append"><value>new</value></set-header>`, []string{"old", "new"}},
		{"delete removes", `<set-header name="X-A" exists-action="delete" />`, nil},
		{"a named value", `<set-header name="X-A"><value>{{client-id}}!</value></set-header>`, []string{clientID + "!"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in := policy.Input{Request: policy.Request{Header: http.Header{"X-A": {"old"}}}}
			v := inbound(t, row.statement).Evaluate(in)
			if diff := cmp.Diff(row.want, v.Request.Header["X-A"]); diff != "" || !v.Pass {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if in.Request.Header.Get("X-A") != "old" {
				t.Error("the input was changed")
			}
			if strings.Contains(fmt.Sprint(v.Rules), clientID) {
				t.Error("the trace shows a header's value")
			}
		})
	}
	v := inbound(t, `<set-header name="X-B" exists-action="skip"><value>new</value></set-header>`).Evaluate(policy.Input{})
	if v.Request.Header.Get("X-B") != "new" {
		t.Errorf("skip sets what is absent: got %v", v.Request.Header)
	}
}

func TestSetQueryParameter(t *testing.T) {
	rows := []struct{ name, attributes, values, before, want string }{
		{"override replaces all of them in any case", ``, "<value>n w</value>", "a=1&K=2&b=%2f&k=3", "a=1&b=%2f&k=n+w"},
		{"skip leaves what is there", `exists-action="skip"`, "<value>n</value>", "k=", "k="},
		{"skip sets what is absent", `exists-action="skip"`, "<value>n</value>", "", "k=n"},
		{"append adds", `exists-action="append"`, "<value>2</value><value>3</value>", "k=1", "k=1&k=2&k=3"},
		{"delete removes an escaped name", `exists-action="delete"`, "", "x&%6B=1&y=2", "x&y=2"},
		{"delete without one leaves every byte", `exists-action="delete"`, "", "&&a=%zz&=", "&&a=%zz&="},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := inbound(t, `<set-query-parameter name="k" `+row.attributes+`>`+row.values+`</set-query-parameter>`)
			if v := p.Evaluate(policy.Input{Request: policy.Request{RawQuery: row.before}}); v.Request.RawQuery != row.want {
				t.Errorf("want %q, got %q", row.want, v.Request.RawQuery)
			}
		})
	}
}

func TestCheckHeader(t *testing.T) {
	statement := `<check-header name="x-api-Version" failed-check-httpcode="412" failed-check-error-message="which?" ignore-case="%v"><value>One</value><value>two</value></check-header>`
	rows := []struct {
		name   string
		fold   bool
		value  string
		reason string
	}{
		{"a listed value", false, "two", ""},
		{"another case is another value", false, "one", "HeaderValueNotAllowed"},
		{"unless case is ignored", true, "oNE", ""},
		{"a value that is not listed", true, "three", "HeaderValueNotAllowed"},
		{"no header", false, "", "HeaderNotFound"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in := policy.Input{Request: policy.Request{Header: http.Header{}}}
			if row.value != "" {
				in.Request.Header.Set("X-Api-Version", row.value)
			}
			v := inbound(t, fmt.Sprintf(statement, row.fold)).Evaluate(in)
			if got := reason(v); got != row.reason {
				t.Fatalf("want %q, got %+v", row.reason, v.Error)
			}
			if row.reason != "" && (v.Answer.Status != 412 || v.Answer.Body != `{ "statusCode": 412, "message": "which?" }`) {
				t.Errorf("answer: got %+v", v.Answer)
			}
		})
	}
	if v := inbound(t, fmt.Sprintf(statement, true)).Evaluate(policy.Input{Claims: map[string]any{}}); !v.Pass || ruleOf(t, v, "X-Api-Version").Result != policy.NotChecked {
		t.Errorf("with claims alone the request's headers are not known: got %+v", v.Error)
	}
	present := inbound(t, `<check-header name="A" failed-check-httpcode="400" failed-check-error-message="m" ignore-case="true" />`)
	if v := present.Evaluate(policy.Input{Request: policy.Request{Header: http.Header{"A": {""}}}}); !v.Pass {
		t.Errorf("without values the header must only be there: got %+v", v.Error)
	}
}

func TestIPFilter(t *testing.T) {
	list := `<address>192.0.2.7</address><address-range from="198.51.100.0" to="198.51.100.9" /><address>2001:db8::1</address>`
	rows := []struct {
		name, action, address string
		pass                  bool
	}{
		{"an address that is allowed", "allow", "192.0.2.7", true},
		{"with its port", "allow", "192.0.2.7:443", true},
		{"as IPv6 writes it", "allow", "[::ffff:192.0.2.7]:443", true},
		{"the end of a range", "allow", "198.51.100.9", true},
		{"beyond a range", "allow", "198.51.100.10", false},
		{"an IPv6 address", "allow", "[2001:db8::1]:1", true},
		{"an address that is forbidden", "forbid", "192.0.2.7", false},
		{"one that is not", "forbid", "192.0.2.8", true},
		{"no address is nobody's", "allow", "", false},
		{"nor does it slip past a ban", "forbid", "", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			v := inbound(t, `<ip-filter action="`+row.action+`">`+list+`</ip-filter>`).Evaluate(policy.Input{Request: policy.Request{RemoteAddr: row.address}})
			if v.Pass != row.pass {
				t.Fatalf("want pass %v, got %+v", row.pass, v.Error)
			}
			if !row.pass && (v.Answer.Status != 403 || v.Answer.Body != `{"statusCode":403,"message":"Forbidden"}` || v.Error.Reason != "CallerIpNotAllowed") {
				t.Errorf("answer: got %+v %+v", v.Answer, v.Error)
			}
		})
	}
	for text, want := range map[string]string{
		"<address>x</address>":                            `p.xml:1: address is "x": want an IP address`,
		`<address-range from="10.0.0.2" to="10.0.0.1" />`: `p.xml:1: address range from 10.0.0.2 to 10.0.0.1 is empty`,
		`<address-range from="10.0.0.2" to="::1" />`:      `is empty`,
	} {
		d := parse(t, "p.xml", `<policies><inbound><ip-filter action="allow">`+text+`</ip-filter></inbound></policies>`)
		if _, err := policy.Merge(policy.Scopes{API: d}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %s, got %v", text, want, err)
		}
	}
}

func TestRateLimitIsASlidingWindowForEachSubscription(t *testing.T) {
	p := inbound(t, `<rate-limit calls="2" renewal-period="60" remaining-calls-header-name="X-Left" total-calls-header-name="X-Total" />`)
	limits := &policy.Limits{}
	at := func(seconds int, subscription string) policy.Verdict {
		return p.Evaluate(policy.Input{Now: now.Add(time.Duration(seconds) * time.Second), Limits: limits, Subscription: subscription})
	}
	for i, left := range []string{"1", "0"} {
		v := at(i*10, "a")
		if !v.Pass || v.Header.Get("X-Left") != left || v.Header.Get("X-Total") != "2" {
			t.Errorf("call %d: want a pass with %s left, got %+v %v", i+1, left, v.Error, v.Header)
		}
	}
	v := at(30, "a")
	if v.Pass || reason(v) != "RateLimitExceeded" || v.Error.Message != "Rate limit is exceeded" || v.Answer.Status != 429 ||
		v.Answer.Body != `{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 30 seconds." }` || v.Answer.Header.Get("Retry-After") != "30" {
		t.Errorf("the third call within the minute: got %+v %+v", v.Error, v.Answer)
	}
	if v := at(30, "b"); !v.Pass {
		t.Errorf("another subscription has a limit of its own: got %+v", v.Error)
	}
	if v := at(60, "a"); !v.Pass {
		t.Errorf("after the first call's minute one is free: got %+v", v.Error)
	}
	if v := at(61, "a"); v.Pass {
		t.Error("and only one")
	}
	for range 3 {
		if v := at(61, ""); !v.Pass || ruleOf(t, v, "").Result != policy.NotChecked {
			t.Errorf("calls without a key are not counted: got %+v", v.Error)
		}
	}
	limits.Reset()
	if v := at(61, "a"); !v.Pass {
		t.Errorf("after Reset: got %+v", v.Error)
	}
	if v := p.Evaluate(policy.Input{Subscription: "a"}); !v.Pass || ruleOf(t, v, "").Result != policy.NotChecked {
		t.Errorf("without counters nothing is counted: got %+v", v.Error)
	}
}

func TestReturnResponseAnswersAndEndsTheSection(t *testing.T) {
	p := inbound(t, `<return-response><set-status code="418" reason="Teapot" /><set-header name="X-A"><value>1</value></set-header><set-body>{ "a": [1] }</set-body></return-response>
		<set-header name="X-Late"><value>1</value></set-header>`)
	v := p.Evaluate(policy.Input{})
	want := &policy.Response{Status: 418, Reason: "Teapot", Header: http.Header{"X-A": {"1"}}, Body: `{ "a": [1] }`}
	if diff := cmp.Diff(want, v.Answer); diff != "" || v.Pass || v.Error != nil || v.Forward {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v.Request.Header.Get("X-Late") != "" || ruleOf(t, v, "").Result != policy.Done || v.Rules[1].Result != policy.NotRun {
		t.Errorf("what follows does not run: got %+v", v.Rules)
	}
	if v := inbound(t, "<return-response />").Evaluate(policy.Input{}); v.Answer == nil || v.Answer.Status != 200 || v.Answer.Body != "" {
		t.Errorf("an empty one answers 200: got %+v", v.Answer)
	}
}

func TestScopesMergeThroughBase(t *testing.T) {
	doc := func(name, text string) *policy.Document {
		return parse(t, name+".xml", "<policies><inbound>"+text+`</inbound></policies>`)
	}
	mark := func(name string) string {
		return `<set-header name="X-Way" exists-action="append"><value>` + name + `</value></set-header>`
	}
	rows := []struct {
		name string
		s    policy.Scopes
		want []string
	}{
		{"each where its base is", policy.Scopes{
			Global: doc("g", mark("global")), Product: doc("p", "<base />"+mark("product")), API: doc("a", mark("before")+"<base />"+mark("api")),
			Operation: doc("o", mark("first")+"<base />"),
		}, []string{"first", "before", "global", "product", "api"}},
		{"without base the wider scopes do not apply", policy.Scopes{Global: doc("g", mark("global")), API: doc("a", mark("api"))}, []string{"api"}},
		{"an absent document inherits", policy.Scopes{Global: doc("g", mark("global")), Operation: doc("o", "<base />"+mark("operation"))}, []string{"global", "operation"}},
		{"base at the widest scope is nothing", policy.Scopes{Global: doc("g", "<base />"+mark("global"))}, []string{"global"}},
		{"an absent section inherits", policy.Scopes{Global: doc("g", mark("global")), API: parse(t, "a.xml", "<policies />")}, []string{"global"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			v := merge(t, row.s, nil).Evaluate(policy.Input{})
			if diff := cmp.Diff(row.want, v.Request.Header["X-Way"]); diff != "" || !v.Forward {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMergeReportsWhatParseCouldNotKnow(t *testing.T) {
	rows := []struct {
		name, statements string
		values           map[string]string
		want             []string
	}{
		{"a named value that is not defined, where it stands", "<validate-jwt header-name=\"a\"\nclock-skew=\"{{skew}}\"><openid-config url=\"{{ url }}\" /></validate-jwt>", nil,
			[]string{`p.xml:2: named value "skew" is not defined`, `p.xml:2: named value "url" is not defined`}},
		{"a blank one", `<set-header name="a"><value>{{b}}</value></set-header>`, map[string]string{"b": " "}, []string{`p.xml:1: named value "b" is blank`}},
		{"one that is an expression", `<set-header name="a"><value>{{b}}</value></set-header>`, map[string]string{"b": "@(1)"}, []string{`named value "b" is an expression`}},
		{"one in another", `<set-header name="a"><value>{{b}}</value></set-header>`, map[string]string{"b": "{{c}}", "c": "x"}, []string{`named value "b" refers to another`}},
		{"a name with a blank", `<set-header name="a"><value>{{b c}}</value></set-header>`, map[string]string{"b c": "x"}, []string{`"b c" is no name of a named value`}},
		{"one that does not end", `<set-header name="a"><value>{{b</value></set-header>`, nil, []string{`"{{" without "}}"`}},
		{"a value of the wrong type", `<validate-jwt header-name="a" clock-skew="{{s}}" />`, map[string]string{"s": "x"}, []string{`p.xml:1: attribute "clock-skew" of <validate-jwt> is "x": want a whole number`}},
		{"a header value with a line break", `<set-header name="a"><value>{{b}}</value></set-header>`, map[string]string{"b": "x\r\ny"}, []string{`p.xml:1: value in <value> holds a control character`}},
		{"a key that is not base64, and the key is not shown", `<validate-jwt header-name="a"><issuer-signing-keys><key>{{k}}</key></issuer-signing-keys></validate-jwt>`, map[string]string{"k": "s3cr3t!"},
			[]string{`p.xml:1: text of <key> is not base64`}},
		{"a modulus that is none", `<validate-jwt header-name="a"><issuer-signing-keys><key n="AQ" e="AQAB" /></issuer-signing-keys></validate-jwt>`, nil, []string{`p.xml:1: key: modulus n: want at least 1024 bits`}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := policy.Merge(policy.Scopes{API: parse(t, "p.xml", "<policies><inbound>"+row.statements+"</inbound></policies>")}, row.values)
			if err == nil {
				t.Fatal("want an error")
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %s, got %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
	global := parse(t, "g.xml", `<policies><inbound><rate-limit calls="1" renewal-period="1" /></inbound></policies>`)
	if _, err := policy.Merge(policy.Scopes{Global: global}, nil); err == nil || !strings.Contains(err.Error(), "g.xml:1: statement <rate-limit> may not stand at the global scope") {
		t.Errorf("rate-limit at the global scope: got %v", err)
	}
}

func TestANamedValueIsPlainText(t *testing.T) {
	v := merge(t, policy.Scopes{API: parse(t, "p.xml", `<policies><inbound><set-header name="X-A"><value>{{a}}</value></set-header></inbound></policies>`)},
		map[string]string{"a": `</value></set-header><set-header name="X-B"><value>&amp;`}).Evaluate(policy.Input{})
	if got := v.Request.Header.Get("X-A"); !strings.HasPrefix(got, "</value>") || v.Request.Header.Get("X-B") != "" {
		t.Errorf("a value must not add elements: got %v", v.Request.Header)
	}
}

func TestTheBackendSectionDecidesWhetherTheRequestIsForwarded(t *testing.T) {
	v := merge(t, policy.Scopes{API: parse(t, "p.xml", `<policies><backend><forward-request timeout="7" /></backend></policies>`)}, nil).Evaluate(policy.Input{})
	if !v.Forward || v.Timeout != 7*time.Second {
		t.Errorf("timeout: got %+v", v)
	}
	v = merge(t, policy.Scopes{API: parse(t, "p.xml", `<policies><backend><forward-request timeout-ms="70" /></backend></policies>`)}, nil).Evaluate(policy.Input{})
	if v.Timeout != 70*time.Millisecond {
		t.Errorf("timeout-ms: got %s", v.Timeout)
	}
	if v := merge(t, policy.Scopes{}, nil).Evaluate(policy.Input{}); !v.Forward || v.Timeout != 300*time.Second {
		t.Errorf("no policy at all forwards with the default: got %+v", v)
	}
	if v := merge(t, policy.Scopes{API: parse(t, "p.xml", `<policies><backend /></policies>`)}, nil).Evaluate(policy.Input{}); v.Forward || !v.Pass {
		t.Errorf("an empty backend section forwards nothing: got %+v", v)
	}
}

func TestOutboundAndOnErrorChangeAnswers(t *testing.T) {
	p := merge(t, policy.Scopes{API: parse(t, "p.xml", `<policies>
		<inbound><check-header name="A" failed-check-httpcode="400" failed-check-error-message="m" ignore-case="true" /></inbound>
		<outbound><set-header name="Server" exists-action="delete" /></outbound>
		<on-error><set-header name="X-Error"><value>yes</value></set-header></on-error>
		</policies>`)}, nil)
	v := p.Evaluate(policy.Input{})
	if v.Answer == nil || v.Answer.Header.Get("X-Error") != "yes" || v.Answer.Status != 400 || v.Rules[len(v.Rules)-1].Section != policy.OnError {
		t.Errorf("on-error runs for a refusal: got %+v", v.Answer)
	}
	r := &policy.Response{Status: 200, Header: http.Header{"Server": {"x"}}}
	rules, answered := p.Outbound(r, policy.Input{})
	if r.Header.Get("Server") != "" || answered || len(rules) != 1 {
		t.Errorf("outbound: got %+v %v", r, rules)
	}
	p = merge(t, policy.Scopes{API: parse(t, "p.xml", `<policies><outbound><return-response><set-status code="204" /></return-response></outbound></policies>`)}, nil)
	if _, answered := p.Outbound(r, policy.Input{}); !answered || r.Status != 204 {
		t.Errorf("a return-response takes the answer's place: got %+v", r)
	}
}

func TestErrorBody(t *testing.T) {
	if got, want := policy.ErrorBody(404, "Resource not found"), `{ "statusCode": 404, "message": "Resource not found" }`; got != want || len(got) != 54 {
		t.Errorf("want %s, got %s", want, got)
	}
}

func TestAnEvaluationCanRunBesideOthers(t *testing.T) {
	p := merge(t, policy.Scopes{API: shipped(t, "api.xml")}, namedValues)
	in := bearer(sign(t, good()))
	in.Limits, in.Subscription = &policy.Limits{}, "s"
	done := make(chan bool)
	for range 8 {
		go func() {
			ok := true
			for range 20 {
				ok = ok && p.Evaluate(in).Pass
			}
			done <- ok
		}()
	}
	for range 8 {
		if !<-done {
			t.Error("refused")
		}
	}
}
