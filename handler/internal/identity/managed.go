package identity

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

const (
	envEndpoint = "IDENTITY_ENDPOINT"
	envHeader   = "IDENTITY_HEADER"
)

// pastCache is a claims challenge that asks for nothing. With any claims azidentity does not look
// into its process-wide cache, and sends the same request: managedidentity.go AcquireToken,
// createAppServiceAuthRequest (microsoft-authentication-library-for-go v1.10.1).
const pastCache = "{}"

// managed fetches from the platform's identity endpoint.
// https://learn.microsoft.com/azure/app-service/overview-managed-identity, "REST endpoint reference"
func (c Connection) managed(scope string, env Env) (fetch, *token.Error) {
	if err := endpoint(env); err != nil {
		return nil, err
	}
	o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: policy.ClientOptions{
		Retry:     policy.RetryOptions{MaxRetries: -1}, // the token source counts the tries
		Transport: client(endpointOnly{direct()}),
	}}
	if c.Kind == UserAssigned {
		o.ID = azidentity.ClientID(c.ClientID)
	}
	cred, err := azidentity.NewManagedIdentityCredential(o)
	if err != nil {
		return nil, refused(cause.TokenUnavailable, "", "making a managed identity credential: %w", err)
	}
	return func(ctx context.Context) (token.Token, *token.Error) {
		ctx, x := noted(ctx)
		t, err := get(ctx, cred, policy.TokenRequestOptions{Scopes: []string{scope}, Claims: pastCache})
		if err == nil && x.status == http.StatusOK {
			return t, nil
		}
		return token.Token{}, c.managedError(ctx, x, err, env)
	}, nil
}

// endpoint refuses an environment without the identity endpoint. azidentity would ask the
// metadata service of a virtual machine instead, which a function app does not have, for minutes.
func endpoint(env Env) *token.Error {
	address, header := env.get(envEndpoint), env.get(envHeader)
	switch {
	case address == "" && header == "":
		why := "the app has no identity endpoint (IDENTITY_ENDPOINT and IDENTITY_HEADER are not set): identity is not enabled or the app was not restarted"
		if strings.EqualFold(env.get("WEBSITE_DISABLE_MSI"), "true") {
			return refused(cause.IdentityEndpointMissing, "remove the app setting WEBSITE_DISABLE_MSI", "%s; WEBSITE_DISABLE_MSI is true", why)
		}
		hint := "enable the app's managed identity, then restart the app: az functionapp identity assign --name <app> --resource-group <group>"
		if !env.deployed() {
			hint = "on your own machine use RunAs=Developer;DeveloperTool=AzureCli, or the sandbox"
		}
		return refused(cause.IdentityEndpointMissing, hint, "%s", why)
	case env.get("IDENTITY_SERVER_THUMBPRINT") != "" && address != "" && header != "":
		// azidentity would take the endpoint for that of Service Fabric, which wants other
		// requests.
		return refused(cause.IdentityServiceFabric, "", "IDENTITY_SERVER_THUMBPRINT is set, which is Service Fabric's: want IDENTITY_ENDPOINT and IDENTITY_HEADER alone")
	case address == "":
		return refused(cause.IdentityEndpointHalf, "restart the app; do not set IDENTITY_HEADER yourself", "half an identity endpoint: IDENTITY_HEADER is set and IDENTITY_ENDPOINT is not")
	case header == "":
		return refused(cause.IdentityEndpointHalf, "restart the app; do not set IDENTITY_ENDPOINT yourself", "half an identity endpoint: IDENTITY_ENDPOINT is set and IDENTITY_HEADER is not")
	}
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return refused(cause.IdentityEndpointHalf, "restart the app; do not set IDENTITY_ENDPOINT yourself", "IDENTITY_ENDPOINT is no URL: want http:// or https:// and a host")
	}
	return nil
}

// direct is a transport without a proxy: IDENTITY_HEADER must not travel to one. The endpoint is
// on the machine or its network, so a connection comes at once or not at all; how long an answer
// takes is bounded by the context alone.
func direct() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConns:        2,
		IdleConnTimeout:     30 * time.Second,
	}
}

// endpointOnly refuses every request that is not of App Service's kind, so that no way through
// azidentity leads to another service.
type endpointOnly struct{ base http.RoundTripper }

func (e endpointOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("X-IDENTITY-HEADER") == "" {
		return nil, errors.New("the request is not for the app's identity endpoint")
	}
	return e.base.RoundTrip(req)
}

// managedError says what went wrong in the endpoint's own words.
func (c Connection) managedError(ctx context.Context, x *exchange, err error, env Env) *token.Error {
	who := "the identity endpoint"
	if x.from != "" {
		who += " " + x.from
	}
	if e := c.late(ctx, who); e != nil {
		return e
	}
	header := env.get(envHeader)
	switch {
	case x.failure != nil:
		return unavailable(cause.IdentityEndpointDown, "the platform's token service is not up yet, or not any more; if that stays so, restart the app", "asking %s: %s", who, bounded(x.failure.Error(), 300, header))
	case x.status == 0:
		return unavailable(cause.TokenUnavailable, "", "asking %s: %s", who, bounded(sdkText(err), 300, header))
	case x.status == http.StatusOK && x.html():
		return unavailable(cause.IdentityAnswerHTML, "", "%s answered 200 with an unusable body (%s): %s", who, x.shape(), bounded(sdkText(err), 200, header))
	case x.status == http.StatusOK:
		return unavailable(cause.IdentityAnswer, "", "%s answered 200 with an unusable body (%s): %s", who, x.shape(), bounded(sdkText(err), 200, header))
	}
	said := x.said(header)
	code, hint := c.endpointSaid(x, said)
	e := unavailable(code, hint, "%s answered %d: %s", who, x.status, said)
	e.RetryAfter = x.retryAfter
	if x.refuses() {
		e.Kind = token.Refused
	}
	return e
}

// endpointSaid knows the endpoint's answers as App Service gives them. The texts are the
// platform's.
func (c Connection) endpointSaid(x *exchange, said string) (code cause.Code, hint string) {
	low := strings.ToLower(said)
	if code, _ := cause.OfAADSTS(said); code != "" {
		return code, ""
	}
	switch {
	// "No User Assigned or Delegated Managed Identity found for specified
	// ClientId/ResourceId/PrincipalId.", as asserted by
	// AzureAD/microsoft-authentication-library-for-dotnet, class ManagedIdentityTests; "No MSI
	// found for …", "Identity not found" and the error identity_not_found of other versions
	case x.status == http.StatusBadRequest && (strings.Contains(low, "managed identity found for") || strings.Contains(low, "no msi found for") ||
		strings.Contains(low, "identity not found") || x.errorWord() == "identity_not_found"):
		if c.Kind == UserAssigned {
			return cause.IdentityNotAttached, "AppId must be the client id (not the object id, not the API's id) of an identity that is attached to this app: attach it, or correct AppId"
		}
		return cause.IdentityNotAttached, "this app has no system-assigned identity: enable it, or name the attached one with RunAs=App;AppId=<its client id>"
	case x.status == http.StatusTooManyRequests:
		return cause.IdentityThrottled, ""
	// "An unexpected error occured while fetching the AAD Token." (the platform's spelling), the
	// answer to a resource that Entra refused: same class
	case strings.Contains(low, "fetching the aad token"):
		return cause.ResourceRefused, "TargetApp may be misspelt, or have no service principal in this tenant, or the API demands an assignment that the identity has not; " +
			"if other resources fail too, it is the platform or its network"
	case x.status == http.StatusUnauthorized || x.status == http.StatusForbidden:
		return cause.IdentityHeader, "the endpoint does not accept IDENTITY_HEADER: restart the app, and do not set the variable yourself"
	case x.html():
		return cause.IdentityAnswerHTML, ""
	case x.status >= 500:
		return cause.IdentityPlatform, ""
	}
	return cause.TokenUnavailable, ""
}

// shape describes a body without showing it: an unusable answer may hold a token all the same.
func (x *exchange) shape() string {
	kind := x.mediaType
	if kind == "" {
		kind = "no Content-Type"
	}
	return kind + ", " + plural(len(x.body), "byte")
}

// sdkText is azidentity's message without the credential's name in front and the link behind.
func sdkText(err error) string {
	if err == nil {
		return "no error"
	}
	var failed *azidentity.AuthenticationFailedError
	text := err.Error()
	if errors.As(err, &failed) {
		text = failed.Error()
	}
	text, _, _ = strings.Cut(text, "To troubleshoot, visit")
	text, _, _ = strings.Cut(text, "json message bytes were:") // MSAL quotes a body that it could not read, and a token may be in it
	if name, rest, found := strings.Cut(text, "Credential: "); found && !strings.ContainsAny(name, " \n") {
		text = rest
	}
	return strings.TrimSuffix(strings.TrimSpace(text), ".")
}
