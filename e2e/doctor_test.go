package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"apimrelay/internal/poll"
	"apimrelay/sandbox/gateway"
	sandbox "apimrelay/sandbox/identity"

	"apimrelay/internal/policy"
)

// patient is a staged app with stand-ins around it.
type patient struct {
	t        *testing.T
	root     string
	identity *sandbox.Server
	gate     *gateway.Gateway
	settings map[string]string
	environ  []string // what the platform sets
}

const doctorHeader = "canary-identity-header"

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{t: t, root: t.TempDir(), identity: sandbox.New(sandbox.Config{Header: doctorHeader})}
	if err := stage(p.root, "poll", "doctor", "health"); err != nil {
		t.Fatal(err)
	}
	endpoint := httptest.NewServer(p.identity.Handler())
	t.Cleanup(endpoint.Close)
	file, err := os.Open("../deploy/policies/api.xml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	document, err := policy.Parse("api.xml", file)
	if err != nil {
		t.Fatal(err)
	}
	p.gate, err = gateway.New(gateway.Config{
		APIs: []gateway.API{{Name: "orders", Path: "orders", Policy: document}},
		NamedValues: map[string]string{
			"openid-config-url": endpoint.URL + p.identity.MetadataPath(sandbox.APIURI), "client-id": sandbox.APIClientID, "app-id-uri": sandbox.APIURI,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	gate := httptest.NewServer(p.gate)
	t.Cleanup(gate.Close)
	t.Cleanup(func() { _ = p.gate.Close() })
	key, _, err := p.gate.Keys("sandbox")
	if err != nil {
		t.Fatal(err)
	}
	p.environ = p.identity.Environment(endpoint.URL)
	p.settings = map[string]string{
		"TargetApp": sandbox.APIURI, "TargetTenantID": sandbox.TenantID, "FunctionIdentity": "RunAs=App;AppId=" + sandbox.ReaderClientID, "TargetRole": "Api.Read",
		"ApimUrl": gate.URL + "/orders", "ApimKey": key.Reveal(), "PollSchedule": "0 */5 * * * *", "AzureWebJobsStorage": "UseDevelopmentStorage=true",
	}
	return p
}

// doctor runs the built program and returns its exit status and both outputs.
func (p *patient) doctor(environ []string, stdin string, args ...string) (status int, stdout, stderr string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), filepath.Join(p.root, "handler"), append([]string{"doctor"}, args...)...)
	var out, failed bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &failed
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.t.TempDir()}, environ...)
	cmd.Dir = p.root
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	for _, secret := range []string{doctorHeader, p.settings["ApimKey"], "eyJ"} {
		if strings.Contains(out.String()+failed.String(), secret) {
			p.t.Errorf("doctor %q prints the secret %.6s…:\n%s%s", args, secret, out.String(), failed.String())
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), failed.String()
}

func (p *patient) all() []string {
	environ := append([]string{"FUNCTIONS_APP_ROOT_PATH=" + p.root}, p.environ...)
	for name, value := range p.settings {
		environ = append(environ, name+"="+value)
	}
	return environ
}

func (p *patient) localSettings(name string) string {
	p.t.Helper()
	data, err := json.Marshal(map[string]any{"IsEncrypted": false, "Values": p.settings})
	if err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Join(p.root, name)
	if err := os.WriteFile(file, append([]byte("\ufeff"), data...), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return file
}

func TestDoctorTellsByItsExitStatus(t *testing.T) {
	p := newPatient(t)
	status, out, _ := p.doctor(p.all(), "")
	if status != 0 || !strings.Contains(out, "0 findings") {
		t.Errorf("healthy: want status 0, got %d\n%s", status, out)
	}
	p.settings["FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.StrangerClientID
	status, out, _ = p.doctor(p.all(), "")
	if status != 1 || !strings.Contains(out, "-explain role-missing") || !strings.Contains(out, "grant-role --principal") {
		t.Errorf("without the role: want status 1 and the command, got %d\n%s", status, out)
	}
	status, out, _ = p.doctor(p.all(), "", "-json")
	var report struct {
		Version int
		OK      bool
		Checks  []struct{ ID, Status, Anchor string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != 1 || report.Version != 1 || report.OK || len(report.Checks) < 15 {
		t.Errorf("as JSON: want version 1 and not ok, got %d, %v, %+v", status, err, report)
	}
}

func TestDoctorThatCannotRunSaysWhy(t *testing.T) {
	p := newPatient(t)
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, "host.json"), []byte(`{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(empty, "damaged.json")
	if err := os.WriteFile(damaged, []byte(`{"Values":{"ApimKey":"canary`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"-root", empty}, "no function there"}, {[]string{"-settings", "missing.json"}, "missing.json"}, {[]string{"-settings", damaged}, "damaged.json: line 1: Values.ApimKey: want a quote"},
		{[]string{"-policy", "missing.xml"}, "missing.xml"}, {[]string{"-named-values", "x"}, "without -policy"}, {[]string{"-nonsense"}, "nonsense"}, {[]string{"more"}, `"more"`},
		{[]string{"-policy", "../deploy/policies/api.xml"}, "policy"}, {[]string{"-log", "no line"}, "want a JSON line"}, {[]string{"-show", damaged}, "want the JSON"},
		{[]string{"-value", "x"}, "name=text"},
	} {
		status, out, failed := p.doctor(p.all(), "", row.args...)
		if status != 2 || out != "" || !strings.Contains(failed, row.want) || strings.Contains(failed, "canary") {
			t.Errorf("%q: want status 2 and %q on stderr alone, got %d\n%s%s", row.args, row.want, status, out, failed)
		}
	}
}

// By hand the settings lie in local.settings.json, as Core Tools has them.
func TestDoctorByHandReadsLocalSettings(t *testing.T) {
	p := newPatient(t)
	p.localSettings("local.settings.json")
	status, out, failed := p.doctor(p.environ, "")
	if status != 0 || !strings.Contains(failed, "local.settings.json") {
		t.Errorf("found by itself: want status 0 and a word about the file, got %d\n%s%s", status, out, failed)
	}
	// What the environment holds goes first, setting by setting; the file has the rest.
	own := append([]string{"FunctionIdentity=RunAs=App;AppId=" + sandbox.StrangerClientID}, p.environ...)
	for name, args := range map[string][]string{
		"found by itself": nil, "with -settings": {"-settings", p.localSettings("other.json")},
	} {
		status, out, failed = p.doctor(own, "", args...)
		if status != 1 || !strings.Contains(out, "-explain role-missing") || strings.Contains(out, "-explain settings-missing") {
			t.Errorf("%s: want the environment's identity and the file's other settings, got %d\n%s", name, status, out)
		}
		if !strings.Contains(failed, "settings from the environment: FunctionIdentity; the others from ") {
			t.Errorf("%s: want what came from where, got %s", name, failed)
		}
	}
}

func TestDoctorWithoutSettingsSaysHowToGetSome(t *testing.T) {
	p := newPatient(t)
	_, _, failed := p.doctor(p.environ, "", "-offline")
	if !strings.HasPrefix(failed, "neither the environment nor a local.settings.json") || !strings.Contains(failed, "cp local.settings.json.example") {
		t.Errorf("got %s", failed)
	}
}

func TestDoctorHoldsTheTokenAgainstAPolicyOffline(t *testing.T) {
	p := newPatient(t)
	policyFile, err := filepath.Abs("../deploy/policies/api.xml")
	if err != nil {
		t.Fatal(err)
	}
	values := filepath.Join(p.root, "values.json")
	write := func(version string) {
		text := `{"openid-config-url":"https://login.microsoftonline.com/` + sandbox.TenantID + version + `/.well-known/openid-configuration","client-id":"` +
			sandbox.APIClientID + `","app-id-uri":"` + sandbox.APIURI + `"}`
		if err := os.WriteFile(values, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("/v2.0")
	status, out, failed := p.doctor(p.all(), "", "-offline", "-policy", policyFile, "-named-values", values)
	if status != 0 || !strings.Contains(out, "claim roles") {
		t.Errorf("want the rules, all passed, got %d\n%s%s", status, out, failed)
	}
	write("")
	status, out, _ = p.doctor(p.all(), "", "-offline", "-policy", policyFile, "-named-values", values)
	if status != 1 || !strings.Contains(out, "-explain issuer-version") || !strings.Contains(out, "on the side of the registration") || !strings.Contains(out, "on the side of the policy") {
		t.Errorf("want the version with both sides, got %d\n%s", status, out)
	}
	if n := len(p.gate.History()); n != 0 {
		t.Errorf("want no request to the gateway, got %d", n)
	}
}

// A policy that nobody interprets whole is judged as far as it can be, and never stops the other checks.
func TestDoctorJudgesAnyPolicy(t *testing.T) {
	p := newPatient(t)
	for _, row := range []struct {
		name, text string
		status     int
		says       []string
	}{
		{
			"a check behind C#, beside statements of every kind",
			"<policies><inbound><base />\n<set-variable name=\"v\" value=\"@(context.Request.Headers[\"a\"][0] + \"<\")\" />\n" +
				"<validate-azure-ad-token tenant-id=\"" + sandbox.TenantID + "\" />\n</inbound></policies>",
			0, []string{":3 <validate-azure-ad-token> issuer", "not looked at: set-variable (line 2)", "-global-policy FILE"},
		},
		{
			"a refusal under a condition is a warning",
			"<policies><inbound><choose><when condition=\"@(true)\">\n<validate-azure-ad-token tenant-id=\"" + sandbox.TenantID +
				"\"><required-claims><claim name=\"roles\"><value>Api.Other</value></claim></required-claims></validate-azure-ad-token></when></choose></inbound></policies>",
			0, []string{"<validate-azure-ad-token> claim roles, if line 1 holds", "where none of these conditions holds"},
		},
		{
			"a broken document is a finding, and the other checks are made",
			"<policies>\n<inbound>\n</policies>",
			1, []string{":3: not well-formed XML", "-explain policy-unreadable", "FunctionIdentity names an identity"},
		},
	} {
		file := filepath.Join(t.TempDir(), "their.xml")
		if err := os.WriteFile(file, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		status, out, failed := p.doctor(p.all(), "", "-offline", "-policy", file)
		if status != row.status {
			t.Errorf("%s: want exit status %d, got %d\n%s%s", row.name, row.status, status, out, failed)
		}
		for _, want := range row.says {
			if !strings.Contains(out, want) {
				t.Errorf("%s: want %q in\n%s", row.name, want, out)
			}
		}
	}
}

func TestDoctorExplainsLinesFromStandardInput(t *testing.T) {
	p := newPatient(t)
	line := `{"time":"2026-11-25T10:00:00Z","level":"INFO","msg":"invocation","function":"poll","way":"proxied","method":"GET","path":"/api/x","status":401,` +
		`"upstream_status":401,"attempts":1,"key":"primary","refusal":"key-invalid"}`
	if status, out, _ := p.doctor(p.all(), "noise\n"+line+"\n", "-log", "-"); status != 1 || !strings.Contains(out, "-explain key-invalid") {
		t.Errorf("want key-invalid, got %d\n%s", status, out)
	}
	if status, out, _ := p.doctor(p.all(), "", "-log", line); status != 1 || !strings.Contains(out, "-explain key-invalid") {
		t.Errorf("as an argument: want key-invalid, got %d\n%s", status, out)
	}
}

// The function answers the same from inside, with counters, and 200 whatever it finds; make doctor prints its table.
func TestTheFunctionDoctorAnswersJSONAndMakeDoctorPrintsIt(t *testing.T) {
	p := newPatient(t)
	p.settings["FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.StrangerClientID
	port := loopbackPort(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := exec.CommandContext(ctx, filepath.Join(p.root, "handler"))
	cmd.Env = append(p.all(), "FUNCTIONS_CUSTOMHANDLER_PORT="+port)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	base := "http://127.0.0.1:" + port
	awaitHandler(t, base)
	postTo(t, base+"/poll", `{"Data":{"timer":{}},"Metadata":{"sys":{"MethodName":"poll"}}}`)
	body := getFrom(t, base+"/api/doctor")
	stop()
	_ = cmd.Wait()
	var report struct {
		Program  string
		OK       bool
		Checks   []struct{ Anchor string }
		Counters struct {
			Tokens []struct {
				InHand    bool `json:"in_hand"`
				Refreshes map[string]int
			}
			Refusals map[string]int
		}
	}
	if err := json.Unmarshal(body, &report); err != nil || report.OK {
		t.Fatalf("want findings as JSON, got %v\n%s", err, body)
	}
	if report.Program == "" || !bytes.Contains(log.Bytes(), []byte(`"text":"apimrelay `+report.Program+`: 1 function, identity `)) {
		t.Errorf("want one version in the report and the line of the start, got %q and\n%s", report.Program, log.Bytes())
	}
	c := report.Counters
	if len(c.Tokens) != 1 || !c.Tokens[0].InHand || c.Tokens[0].Refreshes["new"] != 1 || c.Refusals["token-refused"] == 0 {
		t.Errorf("want one token in hand, fetched once, and a refusal, got %+v", c)
	}
	for _, secret := range []string{doctorHeader, p.settings["ApimKey"], "eyJ"} {
		if bytes.Contains(body, []byte(secret)) || bytes.Contains(log.Bytes(), []byte(secret)) {
			t.Errorf("answer or log hold the secret %.6s…", secret)
		}
	}

	report2 := filepath.Join(p.root, "report.json")
	if err := os.WriteFile(report2, body, 0o600); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	calls := filepath.Join(bin, "calls")
	az := "#!/bin/sh\necho \"$*\" >>" + calls + "\ncase \"$1 $2\" in\n'functionapp list') echo rg ;;\n'functionapp show') echo app.azurewebsites.net ;;\n" +
		"'functionapp keys') echo '{\"x-functions-key\":\"canary-master\"}' ;;\n'rest --skip-authorization-header') cat " + report2 + " ;;\nesac\n"
	if err := os.WriteFile(filepath.Join(bin, "az"), []byte(az), 0o700); err != nil {
		t.Fatal(err)
	}
	script := exec.CommandContext(t.Context(), "../handler/doctor.sh", filepath.Join(p.root, "handler"), "orders-app")
	script.Env = []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
	out, err := script.CombinedOutput()
	if script.ProcessState.ExitCode() != 1 || !bytes.Contains(out, []byte("-explain role-missing")) || !bytes.Contains(out, []byte("since the start of this instance")) {
		t.Errorf("want the table and status 1, got %v\n%s", err, out)
	}
	said, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(said, []byte("https://app.azurewebsites.net/api/doctor")) || bytes.Contains(append(said, out...), []byte("canary-master")) {
		t.Errorf("want the app's doctor asked and the key in no argument, got\n%s", said)
	}
}

// The page is printed with the settings alone.
func TestDoctorPrintsTheRequest(t *testing.T) {
	p := newPatient(t)
	status, out, failed := p.doctor(p.all(), "", "-request")
	if status != 0 || !strings.Contains(out, "grant-role --principal") || !strings.Contains(out, "<validate-jwt") {
		t.Errorf("want the page, got %d\n%s%s", status, out, failed)
	}
}

func loopbackPort(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	return s.URL[strings.LastIndexByte(s.URL, ':')+1:]
}

func awaitHandler(t *testing.T, url string) {
	t.Helper()
	poll.Until(t, "the handler to listen", func() bool {
		res, err := http.Get(url)
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return true
	})
}

// asHost sends a request with the header that is the host's.
func asHost(method, url, body string) (*http.Response, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header[hostsHeader] = []string{fmt.Sprint("doctor-", sends.Add(1))}
	return http.DefaultClient.Do(req)
}

func getFrom(t *testing.T, url string) []byte {
	t.Helper()
	res, err := asHost(http.MethodGet, url, "")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: want 200, got %d, %v\n%s", url, res.StatusCode, err, body)
	}
	return body
}

func postTo(t *testing.T, url, body string) {
	t.Helper()
	res, err := asHost(http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
}
