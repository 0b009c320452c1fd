package doctor

import (
	"slices"
	"strings"
	"testing"
)

const refusedLine = `{"time":"2026-11-25T10:00:00Z","level":"ERROR","msg":"invocation","function":"poll","invocation_id":"1","way":"event","trigger":"timerTrigger","status":500,` +
	`"upstream_status":401,"attempts":2,"upstream_ms":12.5,"key":"primary","refusal":"token-refused","replays":"token","token":{"hash":"0123456789ab",` +
	`"iss":"https://login.microsoftonline.com/5a9d0b0c-0000-4000-8000-000000000001/v2.0","aud":"5a9d0b0c-0000-4000-8000-0000000000a1",ROLES"tid":"5a9d0b0c-0000-4000-8000-000000000001",` +
	`"client_id":"5a9d0b0c-0000-4000-8000-0000000000c1","ver":"2.0","iat":"2026-11-25T09:00:00Z","exp":"2026-11-26T09:05:00Z"},` +
	`"error":"relaying the event: want 2xx, got 401","message":"Unauthorized. Access token is missing or invalid.","duration_ms":20}`

func TestALogLineExplainsAPastCall(t *testing.T) {
	roles := func(text string) string { return strings.Replace(refusedLine, "ROLES", text, 1) }
	call := func(fields string) string {
		return `{"time":"2026-11-25T10:00:00Z","level":"INFO","msg":"invocation","function":"poll","way":"proxied","method":"GET","path":"/api/x",` + fields + `}`
	}
	rows := []struct {
		name, line string
		want       []string // anchors
		saw        string
	}{
		{"no role", roles(""), []string{"role-missing"}, "class token-refused"},
		{"another role", roles(`"roles":"Other.Role",`), []string{"role-other"}, "2 attempts, primary key"},
		{"the role is there", roles(`"roles":"Api.Read",`), []string{"token-refused"}, "sent again with another token"},
		{"behind a console's prefix", "[2026-11-25T10:00:01.000Z] " + roles(""), []string{"role-missing"}, "401"},
		{"as a JSON text of Application Insights", `{"message":` + quoted(roles("")) + `}`, []string{"role-missing"}, "401"},
		{"a key", call(`"status":401,"upstream_status":401,"attempts":1,"key":"secondary","refusal":"key-invalid"`), []string{"key-invalid"}, "secondary key"},
		{"a quota", call(`"status":403,"upstream_status":403,"attempts":1,"key":"primary","refusal":"quota-spent"`), []string{"quota-spent"}, "quota-spent"},
		{"the backend's own 401", call(`"status":401,"upstream_status":401,"attempts":1,"key":"primary","refusal":"not-the-gateways"`), []string{"not-the-gateways"}, "401"},
		{"no token", call(`"status":503,"problem":"identity-unavailable","cause":"identity-endpoint-down","error":"getting a token: asking the identity endpoint http://x/msi/token: connection refused"`),
			[]string{"identity-endpoint-down"}, "identity-unavailable"},
		{"no identity", call(`"status":500,"problem":"identity-refused","cause":"identity-endpoint-missing","error":"getting a token for api://x: the app has no identity endpoint"`), []string{"identity-endpoint-missing"}, "500"},
		{"no gateway", call(`"status":502,"problem":"gateway-unreachable","cause":"gateway-name","attempts":3,"error":"calling the gateway: x: dial tcp: lookup x: no such host"`), []string{"gateway-name"}, "3 attempts"},
		{"our budget", call(`"status":504,"problem":"budget-spent","attempts":1`), []string{"budget-spent"}, "budget-spent"},
		{"a call that went well", call(`"status":200,"upstream_status":200,"attempts":1,"key":"primary"`), nil, "200"},
		{"a fault of the start", `{"time":"2026-11-25T10:00:00Z","level":"ERROR","msg":"fault","text":"ApimUrl: want the URL of the API or operation, got nothing: the app setting is missing","cause":"settings-missing","setting":"ApimUrl","hint":"add it"}`,
			[]string{"settings-missing"}, "ApimUrl"},
		{"a failed refresh", `{"level":"ERROR","msg":"token request failed","resource":"api://x","cause":"identity-header","error":"getting a token for api://x: the identity endpoint answered 401: nothing"}`,
			[]string{"identity-header"}, "401"},
		{"an old line: no token", call(`"status":503,"problem":"identity-unavailable","error":"getting a token: connection refused"`), []string{"token-unavailable"}, "an earlier version"},
		{"an old line: no gateway", call(`"status":502,"problem":"gateway-unreachable","attempts":3`), []string{"gateway-silent"}, "an earlier version"},
		{"an old line: a fault", `{"level":"ERROR","msg":"fault","text":"ApimUrl: want","setting":"ApimUrl","hint":"add it"}`, []string{""}, "an earlier version"},
		{"an old line: a failed refresh", `{"level":"ERROR","msg":"token request failed","resource":"api://x","error":"getting a token"}`, []string{"token-unavailable"}, "an earlier version"},
		{"a line of a later version", call(`"status":502,"problem":"gateway-unreachable","cause":"not-known-yet","attempts":3`), []string{"gateway-silent"}, "3 attempts"},
	}
	s := newStage(t)
	s.start()
	o := s.load()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r, err := Explain(strings.NewReader("\nhost started\n"+row.line+"\n"), o)
			must(t, err)
			if got := anchors(r); !slices.Equal(got, row.want) {
				t.Errorf("want %q, got %q\n%s", row.want, got, table(t, r))
			}
			if !strings.Contains(table(t, r), row.saw) {
				t.Errorf("want %q in\n%s", row.saw, table(t, r))
			}
		})
	}
	if _, err := Explain(strings.NewReader("no JSON\n{}\n"), o); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("want one line of error, got %v", err)
	}
}

// With the policy the line's token is held against it, as it was then.
func TestAPolicyJudgesTheTokenOfALogLine(t *testing.T) {
	s := newStage(t)
	s.start()
	s.policy, s.values = shipped(t), entraValues(1)
	s.settings["TargetRole"] = ""
	r, err := Explain(strings.NewReader(strings.Replace(refusedLine, "ROLES", `"roles":"Api.Read",`, 1)), s.load())
	must(t, err)
	if got := anchors(r); !slices.Equal(got, []string{"issuer-version"}) {
		t.Errorf("want issuer-version, got %v\n%s", got, table(t, r))
	}
}

func TestALogLineWithATokenInItIsNotRepeated(t *testing.T) {
	s := newStage(t)
	s.start()
	r, err := Explain(strings.NewReader(`{"msg":"invocation","function":"poll","status":500,"problem":"internal","error":"x eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln `+
		s.settings["ApimKey"]+`"}`), s.load())
	must(t, err)
	s.mustHoldNoSecret(r)
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
