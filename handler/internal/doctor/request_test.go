package doctor

import (
	"strings"
	"testing"

	sandbox "apimrelay/sandbox/identity"
)

func page(t *testing.T, s *stage) string {
	t.Helper()
	var b strings.Builder
	must(t, WriteRequest(t.Context(), &b, s.load()))
	for _, secret := range []string{s.settings["ApimKey"], canaryHeader, canarySecret, "eyJ"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("the page holds the secret %.6s…", secret)
		}
	}
	return b.String()
}

func TestTheRequestSaysAllThatTheOtherTeamNeeds(t *testing.T) {
	s := newStage(t)
	s.files["read/function.json"] = httpJSON("get", "read/{*rest}")
	s.files["write/function.json"] = s.files["poll/function.json"]
	s.settings["write__FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.WriterClientID
	s.settings["write__TargetRole"] = "Api.Write"
	s.start()
	got := page(t, s)
	for _, want := range []string{
		"## 1. user-assigned managed identity, client id " + sandbox.ReaderClientID, "## 2. user-assigned managed identity, client id " + sandbox.WriterClientID,
		"grant-role --principal 0b7ec700-0000-4000-8000-0000000000c2 --api " + sandbox.APIURI + " --role Api.Read", "--role Api.Write",
		"<audience>" + sandbox.APIURI + "</audience>", "<audience>" + sandbox.APIClientID + "</audience>", "<value>Api.Write</value>",
		"https://login.microsoftonline.com/" + sandbox.TenantID + "/v2.0/.well-known/openid-configuration", "| read | httpTrigger | GET |", "` and below |",
		"| poll | timerTrigger | GET |", "Ocp-Apim-Subscription-Key", "handler doctor -offline -policy",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	// The fragment is a policy that the token of this identity passes.
	_, fragment, _ := strings.Cut(got, "```xml\n")
	fragment, _, _ = strings.Cut(fragment, "```")
	s.policy = "<policies><inbound>" + fragment + "</inbound></policies>"
	s.values = map[string]string{"x": "y"}
	s.options.Offline = true
	delete(s.files, "write/function.json")
	for _, r := range of(Run(t.Context(), s.load()), "policy") {
		if r.Status == Finding {
			t.Errorf("the fragment refuses our own token: %s: %s", r.Title, r.Saw)
		}
	}
}

func TestWhatCannotBeLearnedStandsAsACommand(t *testing.T) {
	s := newStage(t)
	s.start()
	t.Setenv("IDENTITY_ENDPOINT", "")
	t.Setenv("IDENTITY_HEADER", "")
	s.settings["FunctionIdentity"] = "RunAs=App"
	delete(s.settings, "TargetRole")
	got := page(t, s)
	for _, want := range []string{"az functionapp identity show", "<object id>", "set TargetRole"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}
