//go:build !race

package scripts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"apimrelay/internal/hostfile"
	"apimrelay/internal/policy"
)

const (
	globalPolicy    = "<policies>\r\n\t<inbound>\r\n\t\t<cors><allowed-origins><origin>*</origin></allowed-origins></cors>\r\n\t</inbound>\r\n\t<backend><forward-request /></backend>\r\n\t<outbound />\r\n</policies>"
	apiPolicy       = "<policies>\n  <inbound>\n    <base />\n    <!-- <validate-jwt header-name=\"Old\" />\n    -->\n    <set-header name=\"X-Big\" exists-action=\"override\">\n      <value>@(context.Request.Headers.Count > 3 && true ? \"a\" : \"b\")</value>\n    </set-header>\n    <validate-jwt header-name=\"Authorization\">\n      <audiences><audience>{{client-id}}</audience></audiences>\n    </validate-jwt>\n    <include-fragment fragment-id=\"house-rules\" />\n  </inbound>\n</policies>"
	operationPolicy = "<policies>\n<inbound><base />\n<validate-jwt header-name=\"Authorization\"><required-claims><claim name=\"roles\"><value>Api.Write</value></claim></required-claims></validate-jwt></inbound>\n</policies>"
	fragmentPolicy  = "<fragment>\n\t<check-header name=\"X-Tenant\" failed-check-httpcode=\"400\" failed-check-error-message=\"no tenant\" />\n</fragment>"
	secretValue     = "value-of-a-secret-named-value"
)

// liveService is a service with policies in every scope.
func liveService(t *testing.T) *live {
	t.Helper()
	list := func(items ...string) (all []json.RawMessage) {
		for _, item := range items {
			if !json.Valid([]byte(item)) {
				t.Fatalf("not JSON: %s", item)
			}
			all = append(all, json.RawMessage(item))
		}
		return all
	}
	return &live{
		Policies: map[string]string{
			"policies/policy":                                     globalPolicy,
			"apis/orders/policies/policy":                         apiPolicy,
			"apis/orders/operations/put-order/policies/policy":    operationPolicy,
			"policyFragments/house-rules":                         fragmentPolicy,
			"policyFragments/unused":                              "<fragment><check-header name=\"X-Other\" /></fragment>",
			"products/internal/policies/policy":                   "<policies><inbound><base /><rate-limit calls=\"5\" renewal-period=\"60\" /></inbound></policies>",
			"apis/another/operations/put-order/policies/policy":   "not ours",
			"apis/orders/operations/other-order/policies/policy2": "not a policy",
		},
		Lists: map[string][]json.RawMessage{
			"apis/orders/products": list(`{"name": "internal"}`, `{"name": "starter"}`),
			"apis/orders/operations": list(
				`{"name": "get-order", "properties": {"method": "GET", "urlTemplate": "/{id}"}}`,
				`{"name": "list-orders", "properties": {"method": "GET", "urlTemplate": "/"}}`,
				`{"name": "put-order", "properties": {"method": "PUT", "urlTemplate": "/{id}"}}`),
			"policyFragments": list(`{"name": "house-rules"}`, `{"name": "unused"}`),
			"namedValues": list(
				`{"name": "1", "properties": {"displayName": "client-id", "value": "5a9d \"quoted\"\tand\nmore", "secret": false}}`,
				`{"name": "2", "properties": {"displayName": "backend-key", "value": "`+secretValue+`", "secret": true}}`,
				`{"name": "3", "properties": {"displayName": "from-vault", "value": "`+secretValue+`", "secret": false, "keyVault": {"secretIdentifier": "https://kv.vault.azure.net/secrets/s"}}}`,
				`{"name": "4", "properties": {"displayName": "says-nothing", "value": "`+secretValue+`"}}`,
				`{"name": "5", "properties": {"displayName": "tenant", "value": "contoso", "secret": false, "tags": ["a"]}}`),
		},
	}
}

func TestPolicies(t *testing.T) {
	fetch := func(t *testing.T, change func(*live), args ...string) (dir, out string, c *cloud) {
		c = newCloud(t)
		service := liveService(t)
		if change != nil {
			change(service)
		}
		c.edit(t, func(s *state) { s.Live = service })
		dir = filepath.Join(t.TempDir(), "policies of orders")
		return dir, c.run(t, 0, "Policies of orders are in", "policies", append([]string{"--into", dir, "orders"}, args...)...), c
	}
	for name, change := range map[string]func(*live){
		"as documented":   nil,
		"bare documents":  func(l *live) { l.Bare = true },
		"no own policies": func(l *live) { l.Policies = map[string]string{} },
	} {
		t.Run(name, func(t *testing.T) {
			dir, out, c := fetch(t, change)
			if name != "no own policies" {
				for file, want := range map[string]string{
					"global.xml": globalPolicy, "api.xml": apiPolicy, "operations/put-order.xml": operationPolicy, "fragments/house-rules.xml": fragmentPolicy,
				} {
					got, err := os.ReadFile(filepath.Join(dir, file))
					if err != nil {
						t.Fatal(err)
					}
					if text := strings.TrimPrefix(strings.TrimSuffix(string(got), "\n"), "\ufeff"); text != want {
						t.Errorf("%s: got %q, want %q", file, text, want)
					}
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "operations/get-order.xml")); err == nil {
				t.Error("an operation without a policy has a file")
			}
			judged(t, dir, out)
			if calls := strings.Join(c.load(t).Calls, "\n"); strings.Contains(calls, "listValue") || strings.Contains(calls, "--method POST") {
				t.Errorf("it asked for more than it needs:\n%s", calls)
			}
			c.wantWrites(t, 0)
		})
	}
	t.Run("named values: those that are not secret, over all pages", func(t *testing.T) {
		dir, out, _ := fetch(t, nil)
		got, err := hostfile.Texts(filepath.Join(dir, "named-values.json"))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got["client-id"] != "5a9d \"quoted\"\tand\nmore" || got["tenant"] != "contoso" {
			t.Errorf("got %q", got)
		}
		if !strings.Contains(out, "cannot know: backend-key from-vault says-nothing\n") {
			t.Errorf("the secret ones are not named:\n%s", out)
		}
		err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if strings.Contains(string(data), secretValue) {
				t.Errorf("%s holds the value of a secret", path)
			}
			return err
		})
		if err != nil || strings.Contains(out, secretValue) {
			t.Errorf("%v; printed:\n%s", err, out)
		}
	})
	t.Run("one operation, and nothing of an earlier run", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Live = liveService(t) })
		dir := t.TempDir()
		c.run(t, 0, "put-order.xml", "policies", "--into", dir, "orders")
		if out := c.run(t, 0, "internal.xml", "policies", "--into", dir, "--operation", "get-order", "orders"); strings.Contains(out, "put-order") {
			t.Errorf("the policy of another operation was left:\n%s", out)
		}
	})
	t.Run("keeps away from files of somebody else", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Live = liveService(t) })
		for _, mine := range []string{"api.xml", "fragments/notes.txt"} {
			dir := t.TempDir()
			file := filepath.Join(dir, mine)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.run(t, 2, "did not write", "policies", "--into", dir, "orders")
			if text, err := os.ReadFile(file); string(text) != "mine" {
				t.Errorf("%s: got %q (%v), want it as it was", mine, text, err)
			}
		}
	})
	// An empty policy in the place of one that could not be read would let the doctor vouch for anything.
	for _, fault := range []string{
		`Forbidden({"error":{"code":"AuthorizationFailed"}})`,
		`Not Found({"error":{"code":"ResourceGroupNotFound","message":"Resource group 'rg' could not be found."}})`,
		"HTTPSConnectionPool(host='management.azure.com', port=443): Max retries exceeded (Caused by NameResolutionError: Name or service not found)",
		"The keyring entry was not found. Please run 'az login'",
	} {
		for _, address := range []string{"/service/apim/policies/policy", "apis/orders/policies/policy", "operations/put-order/policies", "policyFragments/house-rules"} {
			t.Run("what cannot be read is no missing policy: "+address+": "+fault[:10], func(t *testing.T) {
				c, dir := newCloud(t), t.TempDir()
				c.edit(t, func(s *state) {
					s.Live = liveService(t)
					s.Fail = []failure{{"GET", address, fault}}
				})
				c.run(t, 1, fault, "policies", "--into", dir, "orders")
				if files, err := os.ReadDir(dir); len(files) > 0 || err != nil {
					t.Errorf("half of the policies were left: %v (%v)", files, err)
				}
			})
		}
	}
	t.Run("refuses", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Live = liveService(t) })
		c.run(t, 1, "there is no API nobody", "policies", "--into", t.TempDir(), "nobody")
		c.run(t, 2, "want an id", "policies", "../orders")
		c.run(t, 2, "want a resource id", "policies", "--service", "apim", "orders")
		c.run(t, 0, "Policies of", "policies", "--service", strings.TrimPrefix(service, management)+"/", "--into", t.TempDir(), "orders")
	})
}

// judged runs each of the doctor's commands that were printed, as a shell reads it. The doctor must be able to read every file: what
// it finds missing here are the settings.
func judged(t *testing.T, dir, out string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*/*.xml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%v: %q", err, files)
	}
	for _, file := range append(files, filepath.Join(dir, "global.xml"), filepath.Join(dir, "api.xml")) {
		text, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Read(file, text); err != nil {
			t.Errorf("the doctor cannot read %s: %v", file, err)
		}
		_ = text.Close()
	}
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin+"/handler", "../../handler").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ran := 0
	for line := range strings.SplitSeq(out, "\n") {
		command, ok := strings.CutPrefix(line, "  handler doctor ")
		if !ok {
			continue
		}
		ran++
		cmd := exec.Command("sh", "-c", "handler doctor -json -offline -root ../../functions "+command)
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		report, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != 1 || strings.Contains(string(report), "policy-form") {
			t.Errorf("%s: status %d\n%s", line, status, report)
		}
	}
	if ran < 2 {
		t.Errorf("want a command for each product, got %d:\n%s", ran, out)
	}
}

func TestTrace(t *testing.T) {
	const (
		request = `{"source": "api-inspector", "timestamp": "2026-01-01T00:00:00.0000001Z", "elapsed": "00:00:00.0000001", "data": {"request": {"method": "GET", "url": "https://gateway.example/orders/7",
			"headers": [{"name": "Authorization", "value": "Bearer ` + ownToken + `"}, {"name": "Ocp-Apim-Subscription-Key", "value": "primary-1"}]}}}`
		matched   = `{"source": "api-inspector", "data": {"configuration": {"api": {"from": "/orders", "revision": "1"}, "operation": {"method": "PUT", "uriTemplate": "/{id}"}, "user": "-", "product": "-"}}}`
		corsRan   = `{"source": "cors", "elapsed": "00:00:00.5972352", "data": "Origin header was missing or empty and the request was classified as not cross-domain. CORS policy was not applied."}`
		jwtPassed = `{"source": "validate-jwt", "data": {"message": "JWT of ` + ownToken + ` was accepted"}}`
		jwtFailed = `{"source": "validate-jwt", "data": {"message": "JWT Validation Failed: Claim roles value of Api.Read is not allowed."}}`
		sent      = `"outbound": [{"source": "transfer-response", "data": {"message": "Response has been sent to the caller in full"}}]`
	)
	trace := func(inbound []string, rest string) json.RawMessage {
		text := `{"inbound": [` + strings.Join(inbound, ",") + `]` + rest + `}`
		if !json.Valid([]byte(text)) {
			t.Fatalf("not JSON: %s", text)
		}
		return json.RawMessage(text)
	}
	refusal := gatewayAnswer{Status: 401, Header: map[string]string{"Apim-Trace-Id": traceID}, Body: `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`}
	start := func(t *testing.T, answer gatewayAnswer, entries json.RawMessage) *cloud {
		c := newCloud(t)
		c.edit(t, func(s *state) {
			s.Live = liveService(t)
			s.Live.Answer, s.Live.Trace = answer, entries
		})
		c.env = append(c.env, "RELAY_APIM_SID=orders", "RELAY_API_URL=https://gateway.example/orders/7")
		return c
	}
	for name, c := range map[string]struct {
		answer  gatewayAnswer
		entries json.RawMessage
		want    []string
	}{
		"refused by the second of two statements": {refusal, trace([]string{request, matched, corsRan, jwtPassed, jwtFailed}, ","+sent), []string{
			"GET https://gateway.example/orders/7: 401 { \"statusCode\": 401",
			"inbound   cors ", "Claim roles value of Api.Read is not allowed.", "outbound  transfer-response",
			"validate-jwt refused, the last statement of the section inbound; it was number 2 of its name",
			"in the order of the scopes:\n  line 9 of the policy of the API orders\n  line 3 of the policy of the operation put-order\n",
		}},
		"refused in a fragment": {refusal, trace([]string{request, matched, corsRan, jwtPassed, `{"source": "check-header", "data": {"message": ["Header X-Tenant was not found", "400"]}}`}, ","+sent), []string{
			"Header X-Tenant was not found", "check-header refused", "It is:\n  line 2 of the fragment house-rules\n",
		}},
		"refused before any statement": {refusal, trace([]string{request}, `, "on-error": [{"source": "authorization", "data": {"message": "Access denied due to missing subscription key."}}]`), []string{
			"on-error  authorization", "No statement ran",
		}},
		"a statement that no policy has": {refusal, trace([]string{request, `{"source": "quota", "data": null}`}, ""), []string{
			"quota refused", "No policy of the API has a statement of that name",
		}},
		"the backend answered": {gatewayAnswer{Status: 200, Header: map[string]string{"apim-trace-id": traceID}, Body: "ok"},
			trace([]string{request, matched, jwtPassed}, `, "backend": [{"source": "forward-request", "data": {"message": "Request is being forwarded", "request": {"headers": []}}}],`+sent),
			[]string{": 200 ok", "The backend was called"}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := start(t, c.answer, c.entries)
			cloud.edit(t, func(s *state) { s.Live.Late = 2 })
			out := cloud.run(t, 0, "", "trace")
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			s := cloud.load(t)
			for _, secret := range []string{ownToken, "primary-1", debugToken} {
				if strings.Contains(out, secret) || strings.Contains(strings.Join(s.Calls, "\n"), secret) {
					t.Errorf("%s was printed, or is an argument:\n%s", secret, out)
				}
			}
			if s.Sent["Authorization"] != "Bearer "+ownToken || s.Sent["Ocp-Apim-Subscription-Key"] != "primary-1" || s.Sent["Apim-Debug-Authorization"] != debugToken {
				t.Errorf("sent %q", s.Sent)
			}
			cloud.wantWrites(t, 0)
		})
	}
	entries := trace([]string{request}, "")
	t.Run("an API that has renamed the key's header", func(t *testing.T) {
		c := start(t, refusal, entries)
		c.edit(t, func(s *state) { s.Live.Header = "X-Key" })
		c.run(t, 0, "401", "trace")
		if s := c.load(t); s.Sent["X-Key"] != "primary-1" || s.Sent["Ocp-Apim-Subscription-Key"] != "" {
			t.Errorf("sent %q", s.Sent)
		}
	})
	t.Run("no trace in the answer", func(t *testing.T) {
		for header, want := range map[string]string{"Apim-Debug-Authorization-WrongAPI": "WrongAPI: for another one", "Server": "another API than orders"} {
			start(t, gatewayAnswer{Status: 401, Header: map[string]string{header: "for another one"}}, entries).run(t, 1, want, "trace")
		}
	})
	t.Run("a trace that does not come", func(t *testing.T) {
		c := start(t, refusal, entries)
		c.edit(t, func(s *state) { s.Live.Late = 100 })
		c.run(t, 1, "does not come", "trace")
	})
	t.Run("a token and a key of one's own, or none", func(t *testing.T) {
		c := start(t, refusal, entries)
		file := filepath.Join(t.TempDir(), "given")
		if err := os.WriteFile(file, []byte("given-secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.run(t, 0, "401", "trace", "--token", file, "--key", "none")
		s := c.load(t)
		if _, key := s.Sent["Ocp-Apim-Subscription-Key"]; key || s.Sent["Authorization"] != "Bearer given-secret" {
			t.Errorf("sent %q", s.Sent)
		}
		if slices.ContainsFunc(s.Calls, func(call string) bool {
			return strings.Contains(call, "listSecrets") || strings.Contains(call, "get-access-token")
		}) {
			t.Errorf("it asked for what it was given: %q", s.Calls)
		}
		c.run(t, 0, "401", "trace", "--token", "none", "--key", file)
		if s := c.load(t); s.Sent["Authorization"] != "" || s.Sent["Ocp-Apim-Subscription-Key"] != "given-secret" {
			t.Errorf("sent %q", s.Sent)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		c := start(t, refusal, entries)
		c.run(t, 2, "want the URL", "trace", "http://gateway.example/orders/7")
		c.env = append(c.env, "RELAY_TARGET_APP=api://nobody")
		c.run(t, 1, "AADSTS500011", "trace")
	})
}
