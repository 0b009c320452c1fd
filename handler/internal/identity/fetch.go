package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

// Env is what a credential needs from its surroundings. The zero value is an empty environment.
type Env struct {
	// Lookup reads a variable of the process environment by its exact name; nil = none is set.
	// azidentity reads IDENTITY_ENDPOINT and IDENTITY_HEADER from the process environment itself,
	// at each request, so Lookup must show the same.
	Lookup func(name string) (string, bool)

	// TenantID is the tenant that a developer's tool is asked for, a GUID (TargetTenantID); "" =
	// the tool's own choice.
	TenantID string

	// CertificateFolder is where App Service on Linux puts certificates; "" = /var/ssl/private.
	CertificateFolder string

	// RootCAs are trusted for the authority (secret, certificate, workload); nil = the system's,
	// which SSL_CERT_FILE can replace.
	RootCAs *x509.CertPool
}

func (e Env) get(name string) string {
	if e.Lookup == nil {
		return ""
	}
	value, _ := e.Lookup(name)
	return value
}

// deployed tells whether this is a function app in Azure.
// https://learn.microsoft.com/azure/app-service/reference-app-settings: WEBSITE_INSTANCE_ID, WEBSITE_SITE_NAME
func (e Env) deployed() bool {
	return e.get("WEBSITE_INSTANCE_ID") != "" || e.get("WEBSITE_SITE_NAME") != ""
}

// Fetch returns the way to get tokens for resource: an App ID URI or client id, with or without
// "/.default". It asks for none, but refuses what can never work in env: a *token.Error of kind
// Refused, whose Hint says what to do. The Fetch itself never answers from a cache, makes one
// try, and returns a *token.Error that holds no secret.
func (c Connection) Fetch(resource string, env Env) (token.Fetch, error) {
	ask, failure := c.fetch(resource, env)
	return c.finish(ask, failure, resource, env)
}

// tryTime bounds one try, so that a hung endpoint leaves time for another within a source's
// deadline.
var tryTime = 5 * time.Second

// finish makes a token.Fetch, with a limit for each try and hints in its errors. A developer's tool
// has a limit of its own.
func (c Connection) finish(ask fetch, failure *token.Error, resource string, env Env) (token.Fetch, error) {
	if failure != nil {
		return nil, c.hinted(failure, resource, env)
	}
	return func(ctx context.Context) (token.Token, error) {
		if !c.Kind.Developer() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, tryTime, fmt.Errorf("no answer within %s: %w", tryTime, context.DeadlineExceeded))
			defer cancel()
		}
		t, failure := ask(ctx)
		if failure != nil {
			return token.Token{}, c.hinted(failure, resource, env)
		}
		return t, nil
	}, nil
}

// fetch is one try. It returns a token or an error, never both.
type fetch func(ctx context.Context) (token.Token, *token.Error)

func (c Connection) fetch(resource string, env Env) (fetch, *token.Error) {
	if strings.TrimSpace(resource) == "" {
		return nil, refused(cause.TargetAppForm, "", "the resource is empty: want the App ID URI or client id of the API")
	}
	scope := resource
	if !strings.HasSuffix(scope, "/.default") {
		scope += "/.default"
	}
	switch c.Kind {
	case SystemAssigned, UserAssigned:
		return c.managed(scope, env)
	case ClientSecret, ClientCertificate, Workload, Federated:
		return c.registration(scope, env)
	case AzureCLI, AzureDeveloperCLI:
		return c.developer(scope, env)
	}
	return nil, refused(cause.IdentityString, "", "no identity: the connection string was not parsed")
}

// hinted gives an error without a hint of its own the fix of its cause.
func (c Connection) hinted(e *token.Error, resource string, env Env) *token.Error {
	known := cause.Of(e.Code)
	if e.Hint != "" || known == nil || e.Code == cause.TokenUnavailable {
		return e
	}
	tenant := c.TenantID
	if tenant == "" {
		tenant = env.TenantID
	}
	gaps := cause.Gaps{
		"app": env.get("WEBSITE_SITE_NAME"), "group": env.get("WEBSITE_RESOURCE_GROUP"),
		"client": c.ClientID, "resource": strings.TrimSuffix(resource, "/.default"), "tenant": tenant,
	}
	if !env.deployed() {
		gaps["here"] = "no function app"
	}
	if _, number := cause.OfAADSTS(e.Error()); number > 0 {
		gaps["number"] = strconv.Itoa(number)
	}
	e.Hint = known.FixFor(gaps)
	return e
}

// get asks a credential once.
func get(ctx context.Context, cred azcore.TokenCredential, o policy.TokenRequestOptions) (token.Token, error) {
	tk, err := cred.GetToken(ctx, o)
	if err != nil {
		return token.Token{}, err
	}
	return token.Token{Value: tk.Token, ExpiresOn: tk.ExpiresOn, RefreshOn: tk.RefreshOn}, nil
}

// refused and unavailable make errors of a cause. Without a hint of their own, hinted gives them
// the fix of the cause.
func refused(code cause.Code, hint, format string, args ...any) *token.Error {
	return &token.Error{Kind: token.Refused, Code: code, Err: fmt.Errorf(format, args...), Hint: hint}
}

func unavailable(code cause.Code, hint, format string, args ...any) *token.Error {
	e := refused(code, hint, format, args...)
	e.Kind = token.Unavailable
	return e
}

// Silent is the cause where nothing answers a request for a token in time.
func (c Connection) Silent() cause.Code {
	switch {
	case c.Kind.Managed():
		return cause.IdentityEndpointHangs
	case c.Kind.Developer():
		return cause.AzSlow
	}
	return cause.AuthorityUnreachable
}

// late names a context's end, or returns nil while it lasts. azidentity's own texts say "context
// canceled" or "signal: killed".
func (c Connection) late(ctx context.Context, who string) *token.Error {
	if ctx.Err() == nil {
		return nil
	}
	ended := context.Cause(ctx)
	if errors.Is(ended, context.DeadlineExceeded) {
		return unavailable(c.Silent(), "", "%s did not answer in time: %w", who, ended)
	}
	return unavailable(c.Silent(), "", "asking %s was given up: %w", who, ended)
}
