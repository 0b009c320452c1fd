package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/sandbox/identity"
)

// TestFunctionsOfOnesOwnReachStandInsAlone plays a function with a URL, a key and an identity that are
// real: what they lead to must not see a connection, whichever way the function is run.
func TestFunctionsOfOnesOwnReachStandInsAlone(t *testing.T) {
	var connections atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			conn.Close()
		}
	}()
	real := "http://" + l.Addr().String()
	root, flags := stage(t)
	for folder, example := range map[string]string{"NightlyReport": "timer", "OrderMessages": "queue", "OrdersWriter": "http-write"} {
		copyFile(t, filepath.Join("..", "deploy", "examples", example, "function.json"), filepath.Join(root, folder, "function.json"))
	}
	settings := map[string]string{
		"TargetApp": real, "TargetTenantID": "22222222-2222-2222-2222-222222222222", "ApimUrl": real + "/shared", "ApimKey": "realkey", "ApimKeyHeader": "X-Other",
		"FunctionIdentity": "RunAs=Developer;DeveloperTool=AzureCli", "OTEL_EXPORTER_OTLP_ENDPOINT": real,
		"orderswriter__APIMURL": real + "/real?first=1", "OrdersWriter__ApimKey": "realkey", "OrdersWriter__TargetApp": real,
		"OrdersWriter__FunctionIdentity": "RunAs=App;AppId=77777777-7777-7777-7777-777777777777;TenantId=x;AppKey=realsecret", "OrdersWriter__TargetRole": "Api.Write",
		"NightlyReport__ApimUrl": real + "/NIGHTLY", "NightlySchedule": "0 30 2 * * *",
		"OrderMessages__ApimUrl": real + "/messages", "OrderMessages__FunctionIdentity": "RunAs=App;AppId=<client id of the writer>", "OrderMessages__TargetRole": "Api.Write",
		"OrdersStorage__queueServiceUri": "https://contoso.queue.core.windows.net", "OrdersWriter__ApimMethod": "PUT",
	}
	data, _ := json.Marshal(map[string]any{"IsEncrypted": false, "Values": settings})
	if err := os.WriteFile(filepath.Join(root, "local.settings.json"), append([]byte("// mine\n"), data...), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := parseFlags(flags, &buffer{})
	if err != nil {
		t.Fatal(err)
	}
	stderr := &buffer{}
	s, err := start(o, []string{"SANDBOX_TEST_HANDLER=1", "OrdersWriter__ApimUrl=" + real + "/shell?first=1", "PATH=" + os.Getenv("PATH")}, stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	for _, pair := range s.environ {
		if strings.Contains(pair, l.Addr().String()) || strings.Contains(pair, "realkey") || strings.Contains(pair, "realsecret") {
			t.Errorf("the host gets %s", pair)
		}
	}
	own := func(name, want string) {
		t.Helper()
		if got, _ := s.lookup(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	gateway, _ := s.lookup("ApimUrl")
	gateway = strings.TrimSuffix(gateway, "/"+apiPath)
	own("OrdersWriter__ApimUrl", gateway+"/shell?first=1") // the environment wins
	own("OrdersWriter__FunctionIdentity", "RunAs=App;AppId=77777777-7777-7777-7777-777777777777")
	own("NightlyReport__ApimUrl", gateway+"/NIGHTLY")
	own("NightlySchedule", "0 30 2 * * *")
	own("OrdersStorage__queueServiceUri", "https://contoso.queue.core.windows.net")
	own("OrdersWriter__ApimMethod", "PUT")
	own("ApimKeyHeader", "")
	roles := map[string][]string{}
	for _, person := range s.identity.People() {
		roles[person.Name] = person.Roles["api"]
	}
	for _, name := range []string{"OrdersWriter", "OrderMessages"} {
		if !slices.Contains(roles[name], "Api.Write") {
			t.Errorf("%s has the roles %v", name, roles[name])
		}
	}
	for _, fire := range []string{"OrdersWriter", "NightlyReport", "OrderMessages", "relay", "poll"} {
		if status, body := send(t, "POST", strings.TrimSuffix(s.consoleAt, "/")+"/functions/"+fire, `{}`); status != http.StatusOK {
			t.Errorf("firing %s: %d %s", fire, status, body)
		}
	}
	if err := s.demonstrate(t.Context(), &buffer{}); err != nil {
		t.Error(err)
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections to what the settings name", n)
	}
	if stderr.String() != "" && strings.Contains(stderr.String(), "needs the app setting") {
		t.Errorf("a hint though all is set: %s", stderr)
	}
}

func TestIdentitiesAreNamedByIdNameOrRole(t *testing.T) {
	for value, want := range map[string]string{
		"RunAs=App;AppId=" + identity.WriterClientID: identity.WriterClientID,
		"runas = app ; appid = Writer":               identity.WriterClientID,
		`RunAs="App";AppId="Api.Write"`:              identity.WriterClientID,
		"RunAs=Developer;DeveloperTool=AzureCli":     identity.ReaderClientID,
		"RunAs=Workload":                             identity.ReaderClientID,
		"RunAs=App":                                  "",
		"RunAs=Apple;AppId=x":                        "",
	} {
		tenant, err := readTenant("")
		if err != nil {
			t.Fatal(err)
		}
		in := &standIns{tenant: tenant}
		got := in.identityOf("Mine", value, nil)
		if want == "" && got != value || want != "" && got != "RunAs=App;AppId="+want {
			t.Errorf("%s becomes %s", value, got)
		}
		if len(tenant.Identities) != len(identity.DefaultIdentities()) {
			t.Errorf("%s registers an identity", value)
		}
	}
}

// TestFunctionsMayShareAnIdentity has two functions with one AppId, of which the second names a role.
func TestFunctionsMayShareAnIdentity(t *testing.T) {
	tenant, err := readTenant("")
	if err != nil {
		t.Fatal(err)
	}
	in := &standIns{tenant: tenant}
	list := []setting{{name: "B__TargetRole", value: "Api.Write"}}
	const value = "RunAs=App;AppId=<client id of the writer>"
	if a, b := in.identityOf("A", value, list), in.identityOf("B", value, list); a != b {
		t.Errorf("%s and %s", a, b)
	}
	got := tenant.Identities[len(tenant.Identities)-1].Roles[identity.APIClientID]
	if !slices.Equal(got, []string{"Api.Read", "Api.Write"}) || len(tenant.Identities) != len(identity.DefaultIdentities())+1 {
		t.Errorf("roles %v of %d identities", got, len(tenant.Identities))
	}
}

func TestTenantFileAddsToTheTenant(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tenant.json")
	text := `{"Identities":[{"Name":"auditor","ClientID":"66666666-6666-6666-6666-666666666666","Roles":{"` + identity.APIClientID + `":["Api.Audit"]}}]}`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tenant, err := readTenant(file)
	if err != nil {
		t.Fatal(err)
	}
	in := &standIns{tenant: tenant}
	if got := in.identityOf("Mine", "RunAs=App;AppId=Api.Audit", nil); got != "RunAs=App;AppId=66666666-6666-6666-6666-666666666666" {
		t.Errorf("got %s", got)
	}
}

func TestHintsNameFileAndLine(t *testing.T) {
	root, flags := stage(t)
	for folder, example := range map[string]string{"NightlyReport": "timer", "OrderMessages": "queue"} {
		copyFile(t, filepath.Join("..", "deploy", "examples", example, "function.json"), filepath.Join(root, folder, "function.json"))
	}
	o, _ := parseFlags(flags, &buffer{})
	stderr := &buffer{}
	s, err := start(o, []string{"SANDBOX_TEST_HANDLER=1"}, stderr)
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	for _, want := range []string{
		`"NightlySchedule": "0 */5 * * * *"  to Values in ` + o.settings, `"OrdersStorage": "UseDevelopmentStorage=true"  to Values in ` + o.settings,
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no hint %s in:\n%s", want, stderr)
		}
	}
}

// TestWhatTheHostRefusesIsShown asks as newcomers do at first: the answers are empty, the console and
// the terminal say why.
func TestWhatTheHostRefusesIsShown(t *testing.T) {
	_, flags := stage(t)
	console, stdout, _ := up(t, flags)
	_, body := send(t, "GET", console+"/overview", "")
	if !strings.Contains(body, " * * * * * (PollSchedule)") {
		t.Errorf("the schedule of poll is not shown: %s", body)
	}
	_, rest, _ := strings.Cut(body, "Functions host ")
	host, _, _ := strings.Cut(rest, " ")
	ask := func(method, path, key string, want int) {
		t.Helper()
		r, _ := http.NewRequest(method, host+path, nil)
		if key != "" {
			r.Header.Set("x-functions-key", key)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s %s: %d", method, path, res.StatusCode)
		}
	}
	ask("GET", "/api/relay/hello", "", 401)
	ask("GET", "/api/relay/other", "wrong-key", 401)
	ask("POST", "/api/relay/x", "", 404)
	ask("GET", "/api/nowhere%1b%5b31m", "", 404)
	reasons := []string{"no function key", "not one that relay knows", "wrong method, relay takes GET", "no function has this route"}
	shown := eventually(t, console+"/invocations", func(body string) bool {
		for _, reason := range reasons {
			if !strings.Contains(body, reason) {
				return false
			}
		}
		return true
	})
	if strings.Contains(shown, "wrong-key") {
		t.Error("the console holds a key")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text := stdout.String()
		if !slices.ContainsFunc(reasons, func(r string) bool { return !strings.Contains(text, r) }) {
			if strings.ContainsRune(text, '\x1b') || !strings.Contains(text, `/api/nowhere\x1b[31m`) {
				t.Errorf("control characters reach the terminal: %q", text)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the terminal shows not each refusal:\n%s", text)
		}
	}
}

// TestRealGatewayIsReachedByOneGet has a gateway that counts: the first call asks for ApimUrl itself,
// the API's own 404 is no failure, and no timer runs.
func TestRealGatewayIsReachedByOneGet(t *testing.T) {
	for name, test := range map[string]struct {
		body, call, path, want string
		status                 int
	}{
		"the API's 404": {`{"error":"no such order"}`, "", "/orders", "", 0},
		"no operation":  {`{ "statusCode": 404, "message": "Resource not found" }`, "/5?x=1", "/orders/5?x=1", "CALL=", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []string
			asked := make(chan string, 10)
			gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r.URL.RequestURI()
				w.WriteHeader(http.StatusNotFound)
				w.Write([]byte(test.body))
			}))
			t.Cleanup(gateway.Close)
			root, flags := stage(t)
			eager := `{"bindings":[{"type":"timerTrigger","name":"timer","schedule":"%PollSchedule%","runOnStartup":true}]}`
			if err := os.WriteFile(filepath.Join(root, "poll", "function.json"), []byte(eager), 0o644); err != nil {
				t.Fatal(err)
			}
			tools := t.TempDir()
			if err := os.WriteFile(filepath.Join(tools, "az"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			environ := []string{"PATH=" + tools, "SANDBOX_TEST_HANDLER=1", "TargetApp=api://x", "TargetTenantID=22222222-2222-2222-2222-222222222222",
				"ApimUrl=" + gateway.URL + "/orders", "ApimKey=k", "PollSchedule=* * * * * *"}
			stdout, stderr := &buffer{}, &buffer{}
			status := run(t.Context(), append(flags, "-once", "-identity", "az", "-gateway", "real", "-call", test.call), environ, stdout, stderr)
			close(asked)
			for uri := range asked {
				seen = append(seen, strings.TrimSuffix(uri, "/"))
			}
			if status != test.status || len(seen) != 1 || seen[0] != test.path || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("exit status %d, asked %q\n%s\n%s", status, seen, stdout, stderr)
			}
		})
	}
}

func TestConsoleOfRealThingsHasAToken(t *testing.T) {
	_, flags := stage(t)
	tools := t.TempDir()
	os.WriteFile(filepath.Join(tools, "az"), []byte("#!/bin/sh\nexit 1\n"), 0o755)
	o, err := parseFlags(append(flags, "-identity", "az", "-openid-config-url", "http://127.0.0.1:9/"), &buffer{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := start(o, []string{"PATH=" + tools, "SANDBOX_TEST_HANDLER=1", "TargetApp=api://x", "TargetTenantID=22222222-2222-2222-2222-222222222222"}, &buffer{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	base, query, _ := strings.Cut(s.consoleAt, "?")
	for _, path := range []string{"", "app.js", "overview", "invocations"} {
		if status, _ := send(t, "GET", base+path, ""); status != http.StatusForbidden {
			t.Errorf("GET /%s without the token: %d", path, status)
		}
	}
	if status, _ := send(t, "POST", base+"functions/relay?"+query, "{}"); status != http.StatusForbidden {
		t.Errorf("POST by the query alone: %d", status)
	}
	jar := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := jar.Get(s.consoleAt)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	cookies := res.Cookies()
	if res.StatusCode != http.StatusSeeOther || len(cookies) != 1 || !cookies[0].HttpOnly {
		t.Fatalf("with the token: %d, cookies %v", res.StatusCode, cookies)
	}
	r, _ := http.NewRequest("GET", base+"overview", nil)
	r.AddCookie(cookies[0])
	if res, err = jar.Do(r); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("with the cookie: %v %v", res, err)
	}
}
