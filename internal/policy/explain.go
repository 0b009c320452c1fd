package policy

import (
	"fmt"
	"slices"
	"strings"
)

// graph is Microsoft Graph, whose tokens others cannot validate: it is the resource of a token by mistake more often than any other.
var graph = []string{"00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.microsoft.com/"}

// explainAudience says why no audience fits and what would. v2 tokens carry the API's client id; v1 tokens the client id or the App ID URI as it
// was asked for (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference#payload-claims).
func explainAudience(got, allowed []string) (string, []Fix) {
	if len(got) == 0 {
		return "the token has no audience", []Fix{{SideCaller, "get an access token for the API (setting TargetApp)"}}
	}
	aud := got[0]
	caller := Fix{SideCaller, "ask for a token for " + list(allowed) + " (setting TargetApp)"}
	policy := Fix{SidePolicy, "add <audience>" + clip(aud) + "</audience>"}
	for _, want := range allowed {
		switch {
		case slices.Contains(graph, aud):
			return "the token is for Microsoft Graph, not for the API", []Fix{caller}
		case strings.TrimSuffix(aud, "/.default") == want:
			return "the audience has a scope's ending", []Fix{{SideCaller, "drop /.default from the resource (setting TargetApp)"}}
		case strings.TrimRight(aud, "/") == strings.TrimRight(want, "/"):
			return "the audience differs by a slash at its end", []Fix{policy, {SideCaller, "set TargetApp to " + want}}
		case strings.EqualFold(aud, want):
			return "the audience differs in case", []Fix{policy, {SideCaller, "set TargetApp to " + want}}
		case "api://"+aud == want:
			return "the audience is the client id, the policy lists the App ID URI: v2 tokens always carry the client id",
				[]Fix{policy, {SideRegistration, "set requestedAccessTokenVersion to 1, so that the token carries the App ID URI"}}
		case aud == "api://"+want:
			return "the audience is the App ID URI, the policy lists the client id",
				[]Fix{
					policy, {SideRegistration, "set requestedAccessTokenVersion to 2, so that the token carries the client id"},
					{SideCaller, "set TargetApp to " + want},
				}
		}
	}
	if guid().MatchString(aud) && !slices.ContainsFunc(allowed, guid().MatchString) {
		return "the audience is a client id, the policy lists App ID URIs only: v2 tokens always carry the client id",
			[]Fix{{SidePolicy, "add <audience>" + aud + "</audience>, if that is the API's client id"}, caller}
	}
	return "the token is for another API", []Fix{caller, {SidePolicy, "add <audience>" + clip(aud) + "</audience>, if that is this API"}}
}

// explainIssuer says why no issuer fits and what would. The version of a token follows from the registration of the API it is for, whatever
// endpoint it came from: https://learn.microsoft.com/entra/identity-platform/access-tokens#token-formats
func explainIssuer(got string, allowed, metadata []string) (why string, fixes []Fix, differs string) {
	if got == "" {
		return "the token has no issuer", []Fix{{SideCaller, "send the token as the issuer made it"}}, ""
	}
	list := Fix{SidePolicy, "add <issuers><issuer>" + clip(got) + "</issuer></issuers>"}
	is, known := readIssuer(got)
	for _, want := range allowed {
		other, ok := readIssuer(want)
		switch {
		case strings.Contains(want, "{tenantid}"):
			return "the metadata is of no certain tenant and its issuer a template, which no token carries",
				[]Fix{{SidePolicy, "take the metadata of the tenant instead of common or organizations"}, list}, ""
		case !known || !ok:
		case !strings.EqualFold(is.tenant, other.tenant):
			return fmt.Sprintf("the token comes from tenant %s, the policy trusts %s", is.tenant, other.tenant), []Fix{
				{SideCaller, "run in the tenant that the policy trusts: a managed identity gets tokens of its own tenant only"},
				{SidePolicy, "trust the token's tenant by its openid-config, if its callers are meant"},
			}, "tenant"
		case is.version != other.version:
			return fmt.Sprintf("the token is of version %d, the policy's metadata of version %d", is.version, other.version), []Fix{
				{SideRegistration, fmt.Sprintf("set requestedAccessTokenVersion to %d on the API's registration and get a new token", other.version)},
				{SidePolicy, metadataOfVersion(is.version, metadata)}, list,
			}, "version"
		}
	}
	return "the token comes from an issuer that the policy does not trust",
		[]Fix{{SideCaller, "get the token from an issuer that the policy trusts"}, list}, ""
}

// metadataOfVersion names the address of the other version's metadata.
func metadataOfVersion(version int, metadata []string) string {
	for _, address := range metadata {
		base, ok := strings.CutSuffix(address, wellKnown)
		if !ok {
			continue
		}
		base = strings.TrimSuffix(base, "/v2.0")
		if version == 2 {
			base += "/v2.0"
		}
		return "set the named value behind openid-config to " + base + wellKnown
	}
	return fmt.Sprintf("give the openid-config of version %d", version)
}

// explain says why a required claim is missing or has no value that is allowed.
func (c claimRule) explain(t *token, got []string, there bool) (string, []Fix) {
	if c.name != "roles" {
		if !there && c.name == "scp" {
			return "the token has no scp: a managed identity's token carries roles and never a user's scopes", []Fix{
				{SidePolicy, "ask for an app role in the claim roles instead of, or beside, the scope"}}
		}
		if !there {
			return "the token has no claim " + c.name, []Fix{{SideRegistration, "let the token carry the claim " + c.name},
				{SidePolicy, "drop the claim from required-claims, if it is not needed"}}
		}
		why := "no value is one of those that the policy lists"
		if !c.any {
			why = "every value that the policy lists is wanted, and not all are in the token: match is \"all\""
		}
		if len(got) == 1 && c.separator == "" && strings.ContainsAny(got[0], " ,") {
			why += "; the claim is one text, which a separator would split"
		}
		return why, []Fix{{SideRegistration, "let the token carry " + list(c.values)}, {SidePolicy, "list " + list(got) + ", if that may call"}}
	}
	wanted := list(c.values)
	grant := Fix{SideRegistration, "assign the app role " + wanted + " to the caller's service principal, then wait for a token that is newer than " +
		"the grant: the platform keeps managed identity tokens for about 24 hours"}
	if !there {
		if _, delegated := t.claims["scp"]; delegated {
			return "the token is a user's (it has scp and no roles)", []Fix{
				{SideRegistration, "let the app role " + wanted + " have User among its allowed member types and assign it to the user"},
				{SideCaller, "call as an application (az login --service-principal, or a managed identity)"},
			}
		}
		return "the token has no roles: the role is not assigned, or the token is older than the assignment", []Fix{grant}
	}
	for _, want := range c.values {
		for _, one := range got {
			if strings.EqualFold(want, one) && want != one {
				return "the role differs in case", []Fix{{SidePolicy, "write the role's value as the registration has it: " + one}}
			}
		}
	}
	if !c.any && len(c.values) > 1 {
		return "every one of the roles is wanted, and the caller lacks one: match is \"all\"", []Fix{grant, {SidePolicy, "set match=\"any\", if one of the roles is enough"}}
	}
	return "the caller has other roles", []Fix{grant,
		{SidePolicy, "list " + list(got) + ", if that role may call (the role's value, not its display name)"}}
}
