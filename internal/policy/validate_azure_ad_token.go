package policy

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// validateAzureADToken is <validate-azure-ad-token>: https://learn.microsoft.com/azure/api-management/validate-azure-ad-token-policy
//
// Keys and issuers come from both metadata documents of the tenant, v1 and v2, so that it takes tokens of either version. Identifiers under
// backend-application-ids count as audiences, plain and as api:// addresses.
var validateAzureADToken = kind{
	name: "validate-azure-ad-token", sections: []Section{Inbound}, build: buildAzureAD,
	spec: &spec{
		attrs: []attrSpec{
			{name: "tenant-id", required: true}, {name: "header-name", check: headerName}, {name: "query-parameter-name"}, {name: "token-value"},
			{name: "authentication-endpoint"}, {name: "failed-validation-httpcode", check: number(200, 599)},
			{name: "failed-validation-error-message"}, {name: "output-token-variable-name"}, {name: "id"},
		},
		// The service takes these children in any order, unlike those of validate-jwt.
		children: []childSpec{
			{name: "backend-application-ids", max: 1, spec: listOf("application-id")},
			{name: "client-application-ids", max: 1, spec: listOf("application-id")},
			{name: "audiences", max: 1, spec: listOf("audience")},
			{name: "required-claims", max: 1, spec: requiredClaimsSpec},
			{name: "decryption-keys", max: 1, spec: &spec{children: []childSpec{
				{name: "key", min: 1, spec: &spec{attrs: []attrSpec{{name: "certificate-id", required: true}}}},
			}}},
		},
		more: oneTokenSource(false),
	},
}

// entraRule is what validate-azure-ad-token checks beyond validate-jwt.
type entraRule struct {
	tenant       string
	applications []string // client ids of callers; none: not checked
}

func buildAzureAD(e *element) (statement, Errors) {
	v := &validator{
		header: http.CanonicalHeaderKey(e.attr("header-name")), query: e.attr("query-parameter-name"), literal: e.attr("token-value"),
		status: http.StatusUnauthorized, text: e.attr("failed-validation-error-message"), requireExpiry: true, requireSigned: true,
		audiences: texts(e.child("audiences"), "audience"), claims: buildClaims(e),
	}
	if v.header == "" && v.query == "" && v.literal == "" {
		v.header = "Authorization"
	}
	if n, err := strconv.Atoi(e.attr("failed-validation-httpcode")); err == nil {
		v.status = n
	}
	for _, id := range texts(e.child("backend-application-ids"), "application-id") {
		v.audiences = append(v.audiences, id, "api://"+id)
	}
	base, tenant, err := tenantAddress(e.attr("authentication-endpoint"), e.attr("tenant-id"))
	if err != nil {
		return v, Errors{e.fault("%v", err)}
	}
	v.entra = &entraRule{tenant: tenant, applications: texts(e.child("client-application-ids"), "application-id")}
	v.metadata = []string{base + "/v2.0" + wellKnown, base + wellKnown}
	return v, nil
}

// tenantAddress joins the endpoint and the tenant, which may be a GUID, a domain, a word like organizations, or a whole URL.
func tenantAddress(endpoint, tenant string) (address, name string, err error) {
	tenant = strings.Trim(strings.TrimSpace(tenant), "/")
	if strings.Contains(tenant, "://") {
		u, err := url.Parse(tenant)
		if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
			return "", "", fmt.Errorf("attribute \"tenant-id\" is %q: want a tenant's GUID, domain or address", tenant)
		}
		name, _, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
		return u.Scheme + "://" + u.Host + "/" + name, name, nil
	}
	if strings.ContainsAny(tenant, "/?# ") {
		return "", "", fmt.Errorf("attribute \"tenant-id\" is %q: want a tenant's GUID, domain or address", tenant)
	}
	endpoint = strings.TrimRight(strings.TrimSpace(endpoint), "/")
	switch {
	case endpoint == "":
		endpoint = "https://login.microsoftonline.com"
	case !strings.Contains(endpoint, "://"):
		endpoint = "https://" + endpoint
	}
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" {
		return "", "", fmt.Errorf("attribute \"authentication-endpoint\" is %q: want an address", endpoint)
	}
	return endpoint + "/" + tenant, tenant, nil
}

// application checks who asked for the token.
func (v *validator) application(t *token) outcome {
	o := outcome{rule: Rule{
		Check: "caller", Result: Pass, Want: "appid or azp is one of " + list(v.entra.applications), Got: orNone(t.caller()),
	}}
	for _, id := range v.entra.applications {
		if strings.EqualFold(id, t.caller()) {
			return o
		}
	}
	if len(v.entra.applications) == 0 {
		o.rule.Result, o.rule.Want, o.rule.Why = NotChecked, "", "the policy has no client-application-ids: any caller of the tenant may ask"
		return o
	}
	o.rule.Result, o.rule.Why = Refuse, "the token was given to another application"
	o.rule.Fixes = []Fix{
		{SidePolicy, "add <application-id>" + orNone(t.caller()) + "</application-id> to client-application-ids"},
		{SideCaller, "use the identity whose client id the policy lists (setting FunctionIdentity, AppId=)"},
	}
	o.reason = "TokenClaimValueNotAllowed"
	o.message = fmt.Sprintf("Claim appid value of %s is not allowed.", clip(t.caller()))
	return o
}
