package cause

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/troubleshooting.md")

// TestPage holds docs/troubleshooting.md to the table.
func TestPage(t *testing.T) {
	const file = "../../../docs/troubleshooting.md"
	if *update {
		if err := os.WriteFile(file, []byte(page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(page(), "\n")
	for i, line := range strings.Split(string(have), "\n") {
		if i >= len(want) || line != want[i] {
			t.Fatalf("%s:%d is %q, which is not what the table says: go generate ./handler/internal/cause writes it",
				file, i+1, line)
		}
	}
	if len(have) != len(page()) {
		t.Errorf("%s ends before the table: go generate ./handler/internal/cause writes it", file)
	}
}

const head = `# Troubleshooting

Each heading is the name that ` + "`handler doctor`" + ` prints after *see*. The log line of a failed call has it as ` + "`cause`" + `. Where
several causes look the same from inside the app, *How to tell* gives a command.

- On a laptop: ` + "`build/app/handler doctor`" + ` (settings from the environment, else from local.settings.json).
- A deployed app: ` + "`make doctor APP=<name>`" + `.
- A past call: ` + "`handler doctor -log '<the log line>'`" + `. An answer with 401 or 403, and each problem of ours, carries
  ` + "`X-Relay-Invocation`" + `: the log line with that ` + "`invocation_id`" + ` is the call's, and ` + "`grep ID log | handler doctor -log -`" + ` explains
  it. In Azure, ` + "`deploy/queries/failures.kql`" + ` finds the line.
- A policy, before or after it is deployed, in any form that API Management hands out:
  ` + "`handler doctor -offline -policy policy.xml -named-values named-values.json`" + `. The policies of the other
  scopes go with ` + "`-global-policy`, `-product-policy` and `-operation-policy`, fragments with `-fragments DIR`" + `.
  Checks of tokens and headers are judged wherever they stand; the report names every other statement as not looked at.
- The policies of a live service: ` + "`deploy/scripts/policies API`" + ` fetches those of all scopes, the fragments
  and the named values, and prints the doctor's command for them. Of secret named values it gets the names only.
- Which statement of a live service refuses: ` + "`deploy/scripts/trace`" + ` makes one call with your own token and prints the
  statement and its line, from API Management's own trace of the call.
- Findings and warnings alone: ` + "`handler doctor -short`" + `. An entry of this page without the page:
  ` + "`handler doctor -explain CODE`" + `.

Written from handler/internal/cause by ` + "`go test ./handler/internal/cause -run TestPage -update`" + `.
`

// symptoms is the index of the page: what people see, and what it may come from, the most likely first.
var symptoms = []struct {
	seen  string
	codes []Code
}{
	{"the function never runs", []Code{AppFiles, TriggerConnection, HostIdentity}},
	{"500 with our code `settings`; a `fault` line at the start", []Code{SettingsMissing, SettingsPlaceholder, SettingsReference, SettingsValue, IdentityString, URLForm, KeyForm}},
	{"a setting has no effect", []Code{SettingsStray, ProxyAddress}},
	{"500 with our code `identity-refused`", []Code{IdentityNotAttached, IdentityEndpointMissing, ClientSecretWrong, ClientSecretExpired, FederatedCredential, ResourceUnknown, AssignmentRequired, TokenTenant}},
	{"503 with our code `identity-unavailable`", []Code{IdentityEndpointDown, IdentityEndpointHangs, ResourceRefused, IdentityPlatform, AuthorityUnreachable, EntraBusy}},
	{"it works in Azure and not on a laptop", []Code{AzMissing, AzSignedOut, ConsentMissing, RoleUser, AccountOfAnotherTenant, GatewayName}},
	{"it works on a laptop and not in Azure", []Code{DeveloperInAzure, RoleMissing, GatewayName, GatewayConnection, Forbidden}},
	{"502 with our code `gateway-unreachable`", []Code{GatewayName, GatewayConnection, ProxyDown, ProxyRefuses, GatewayCertificate, GatewayCertificateName, GatewayClientCertificate, GatewayTLS, GatewaySilent}},
	{"504 with our code `budget-spent`", []Code{BudgetSpent}},
	{"401 \"Access denied due to missing subscription key\"", []Code{KeyMissing}},
	{"401 \"Access denied due to invalid subscription key\"", []Code{KeyInvalid}},
	{"401 with another text of the gateway's", []Code{RoleMissing, TokenAudience, IssuerVersion, TokenTime, TokenSignature, TokenRefused}},
	{"401 or 403 whose text is nobody's for certain", []Code{RefusalUnclear, KeyUnproven, NotTheGateways, Forbidden}},
	{"403 \"Out of call volume quota\"", []Code{QuotaSpent}},
	{"404 \"Resource not found\"", []Code{OperationUnknown, BackendNotFound}},
	{"429", []Code{RateLimited, IdentityThrottled}},
	{"500 or 502 to 504 of the gateway's", []Code{GatewayError, FrontDoor, BackendError}},
	{"a web page, or a redirect", []Code{Portal, Redirect, IdentityAnswerHTML}},
	{"an answer that ends early", []Code{AnswerCut}},
	{"everybody may call", []Code{APIOpen, TokenUnchecked, PolicyNoToken}},
	{"wrapped calls lose or change bodies", []Code{BodyLost, BodyDamaged, BodyTooLarge, CannotCarry}},
}

// page is docs/troubleshooting.md: the table for people.
func page() string {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("\n## By symptom\n\n| what is seen | causes |\n| --- | --- |\n")
	for _, s := range symptoms {
		var links []string
		for _, code := range s.codes {
			links = append(links, "["+string(code)+"](#"+string(code)+")")
		}
		fmt.Fprintf(&b, "| %s | %s |\n", s.seen, strings.Join(links, ", "))
	}
	for i := range Table {
		c := &Table[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", c.Code, strings.ToUpper(c.Title[:1])+c.Title[1:])
		for _, m := range c.Means {
			fmt.Fprintf(&b, "- %s\n", markdown(m))
		}
		if c.Tells != "" {
			fmt.Fprintf(&b, "\n*How to tell:* %s\n", markdown(c.Tells))
		}
		fmt.Fprintf(&b, "\n*Fix:* %s\n", markdown(c.FixFor(nil)))
		if c.FixHere != "" {
			fmt.Fprintf(&b, "\n*Outside a function app:* %s\n", markdown(c.FixHere))
		}
		if from := leads(c); from != "" {
			fmt.Fprintf(&b, "\n*Known by:* %s\n", from)
		}
		if c.Link != "" {
			fmt.Fprintf(&b, "\n*Microsoft:* <%s>\n", c.Link)
		}
	}
	return b.String()
}

// leads is what leads to a cause, for people.
func leads(c *Cause) string {
	var all []string
	for _, n := range c.AADSTS {
		all = append(all, fmt.Sprintf("AADSTS%d", n))
	}
	for _, p := range c.Problems {
		all = append(all, "our answer `"+p+"`")
	}
	for _, r := range c.Refusals {
		all = append(all, "refusal `"+r+"`")
	}
	for _, s := range c.Statuses {
		all = append(all, fmt.Sprintf("the gateway's %d", s))
	}
	return strings.Join(all, ", ")
}

// markdown keeps placeholders in angle brackets from being taken for HTML.
func markdown(s string) string { return strings.NewReplacer("<", `\<`, "*", `\*`).Replace(s) }
