package doctor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
)

// WriteRequest prints, as Markdown, the page that the team owning the API needs from the team
// owning the functions: who calls, with which role, by which command it is granted, what the
// policy has to check, which calls come, and how the answer is proved before anything is
// deployed. It asks the identity for a token to learn its object id; what it cannot learn stands
// as the command that tells. The page holds no secret.
func WriteRequest(ctx context.Context, w io.Writer, o Options) error {
	o = o.withDefaults()
	walked := newWalk(o)
	ctx, cancel := context.WithTimeout(ctx, o.times.whole)
	defer cancel()
	out := bufio.NewWriter(w)
	fmt.Fprint(out, "# Request: let these functions call your API\n\n"+
		"We run an Azure Functions app that calls your API in API Management with a token of its identity (an app role) and a subscription key.\n"+
		"This page says what we need from you. It holds no secret.\n")
	asked := map[string]bool{}
	n := 0
	for _, r := range walked.routes {
		key := r.key(ofRole)
		if asked[key] {
			continue
		}
		asked[key] = true
		n++
		var same []*route
		for _, other := range walked.routes {
			if other.key(ofRole) == key {
				same = append(same, other)
			}
		}
		walked.request(ctx, out, n, same)
	}
	if n == 0 {
		fmt.Fprint(out, "\nThe app has no function that calls an API.\n")
	}
	return out.Flush()
}

// caller is what is known of an identity.
type caller struct {
	client, object, version, audience string
	err                               error
}

func (w *walk) caller(ctx context.Context, r *route) caller {
	v := &visit{walk: w, route: r, f: r.f}
	c := caller{client: r.f.Identity.ClientID}
	if r.f.Identity.Kind == identity.None {
		return c
	}
	// Before the API knows the identity there may be no token for it; the object id stands in any
	// token.
	for _, resource := range []string{r.f.TargetApp, v.control()} {
		if resource == "" {
			continue
		}
		tok, err := v.fetch(ctx, resource, w.o.times.token/2)
		if err != nil {
			c.err = err
			continue
		}
		w.redact.add(tok.Value)
		f, err := token.ReadFacts(tok.Value)
		if err != nil {
			continue
		}
		c.client, c.object, c.err = f.ClientID, f.ObjectID, nil
		if resource == r.f.TargetApp {
			c.version, c.audience = f.Version, strings.Join(f.Audience, " ")
		}
		break
	}
	return c
}

// request prints the part of one identity.
func (w *walk) request(ctx context.Context, out io.Writer, n int, routes []*route) {
	f := routes[0].f
	c := w.caller(ctx, routes[0])
	known := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	role := known(f.TargetRole, "<the role's value: set TargetRole>")
	object := known(c.object, "<object id>")
	resource := known(f.TargetApp, "<App ID URI: set TargetApp>")
	tenant := known(f.TargetTenantID, "<tenant id: set TargetTenantID>")

	who := f.Identity.String()
	if f.Identity.Kind == identity.None {
		who = "an identity that is still to be set (FunctionIdentity)"
	}
	fmt.Fprintf(out, "\n## %d. %s\n\n", n, who)
	fmt.Fprint(out, "| | |\n| --- | --- |\n")
	row := func(name, value string) { fmt.Fprintf(out, "| %s | %s |\n", name, w.redact.text(line(value))) }
	row("tenant", "`"+tenant+"`")
	row("client id", "`"+known(c.client, "<client id>")+"`")
	row("object id of its service principal", "`"+object+"`")
	row("API (token's resource)", "`"+resource+"`")
	row("app role", "`"+role+"`")
	var names []string
	for _, r := range routes {
		names = append(names, r.f.App.Name)
	}
	row("functions", strings.Join(names, ", "))
	if c.object == "" {
		fmt.Fprintf(out, "\nThe object id could not be learned here%s. Ask Azure:\n\n```sh\n", w.because(c.err))
		if c.client != "" {
			fmt.Fprintf(out, "az ad sp show --id %s --query id --output tsv\n", c.client)
		} else {
			fmt.Fprint(out, "az functionapp identity show --name <app> --resource-group <group> --query principalId --output tsv\n")
		}
		fmt.Fprint(out, "```\n")
	}
	if f.Identity.Kind.Developer() {
		fmt.Fprint(out, "\nThis is a person at a developer's machine: the app role has to allow users (allowedMemberTypes: User) and be assigned to the person.\n"+
			"For the deployed app run this page with its own FunctionIdentity (RunAs=App…).\n")
	}

	fmt.Fprintf(out, "\n### Grant the role\n\nBefore the first call: a token from before shows the role after up to 24 hours only.\n\n```sh\n%s\n```\n\nOr with az alone:\n\n```sh\n",
		cause.Fill(cause.GrantRole, cause.Gaps{"object": object, "resource": resource, "role": role}))
	fmt.Fprintf(out, `api=$(az ad sp show --id %s --query id --output tsv)
role=$(az ad sp show --id %s --query "appRoles[?value=='%s'].id" --output tsv)
az rest --method POST --url "https://graph.microsoft.com/v1.0/servicePrincipals/$api/appRoleAssignedTo" --headers Content-Type=application/json \
  --body "{\"principalId\":\"%s\",\"resourceId\":\"$api\",\"appRoleId\":\"$role\"}"
`, resource, resource, role, object)
	fmt.Fprint(out, "```\n")

	version := "/v2.0"
	note := "Tokens of version 2; where your registration asks for version 1 (the default), take the metadata without `/v2.0`."
	switch c.version {
	case "1.0":
		version, note = "", "Your registration makes tokens of version 1, so this is the metadata without `/v2.0`."
	case "2.0":
		note = "Your registration makes tokens of version 2."
	}
	fmt.Fprintf(out, "\n### Check it in the policy\n\n%s\n\n```xml\n", note)
	fmt.Fprint(out, policyFragment(tenant+version, audiences(c, resource), role))
	fmt.Fprint(out, "```\n")

	fmt.Fprint(out, "\n### Calls that come\n\n| function | trigger | method | URL |\n| --- | --- | --- | --- |\n")
	for _, r := range routes {
		url, below := "<set ApimUrl>", ""
		if r.f.Target != nil {
			url = r.f.Target.Redacted()
			if r.values.CatchAll != "" {
				below = " and below"
			}
		}
		fmt.Fprintf(out, "| %s | %s | %s | `%s`%s |\n", r.f.App.Name, r.f.App.Trigger.Type, methods(r), url, below)
	}
	if f.KeyHeader != "" {
		fmt.Fprintf(out, "\n### A subscription key\n\nWe send it in the header `%s`. Please give us primary and secondary key of a subscription whose scope covers the API, by a safe way "+
			"(a Key Vault secret, not this page).\n", f.KeyHeader)
	}
	fmt.Fprint(out, "\n### Proof\n\nYour policy and its named values prove the answer before anything is deployed: with both files we run\n\n```sh\n"+
		"handler doctor -offline -policy policy.xml -named-values named-values.json\n```\n")
}

func (w *walk) because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + clip(w.redact.text(err.Error())) + ")"
}

// audiences are both forms where they are known: version 2 carries the client id, version 1 that
// or the App ID URI.
func audiences(c caller, resource string) []string {
	list := []string{resource}
	for _, a := range []string{c.audience, guid().FindString(resource)} {
		// The GUID in an App ID URI is the client id by the portal's default form, api://<client
		// id>.
		if a != "" && !slices.Contains(list, a) && (a == c.audience || "api://"+a == resource) {
			list = append(list, a)
		}
	}
	return list
}

func policyFragment(tenantAndVersion string, audiences []string, role string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<validate-jwt header-name="Authorization" failed-validation-httpcode="401" require-expiration-time="true" require-scheme="Bearer"
              require-signed-tokens="true" clock-skew="60">
  <openid-config url="https://login.microsoftonline.com/%s/.well-known/openid-configuration" />
  <audiences>
`, escape(tenantAndVersion))
	for _, a := range audiences {
		fmt.Fprintf(&b, "    <audience>%s</audience>\n", escape(a))
	}
	fmt.Fprintf(&b, `  </audiences>
  <required-claims>
    <claim name="roles" match="any">
      <value>%s</value>
    </claim>
  </required-claims>
</validate-jwt>
`, escape(role))
	return b.String()
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace

func methods(r *route) string {
	f := r.f
	switch {
	case !f.App.HTTP():
		return f.Method
	case f.App.Methods == nil:
		return "any"
	}
	return strings.Join(f.App.Methods, " ")
}
