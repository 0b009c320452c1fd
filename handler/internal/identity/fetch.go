package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"apimrelay/handler/internal/token"
)

// Env is what a credential needs from its surroundings. The zero value is an empty environment.
type Env struct {
	// Lookup reads a variable of the process environment by its exact name; nil = none is set. azidentity reads IDENTITY_ENDPOINT and
	// IDENTITY_HEADER from the process environment itself, at each request, so Lookup must show the same.
	Lookup func(name string) (string, bool)

	// TenantID is the tenant that a developer's tool is asked for, a GUID (TargetTenantID); "" = the tool's own choice.
	TenantID string

	// CertificateFolder is where App Service on Linux puts certificates; "" = /var/ssl/private.
	CertificateFolder string

	// RootCAs are trusted for the authority (secret, certificate, workload); nil = the system's, which SSL_CERT_FILE can replace.
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

// Fetch returns the way to get tokens for resource: an App ID URI or client id, with or without "/.default". It asks for none, but refuses what can
// never work in env: a *token.Error of kind Refused, whose Hint says what to do. The Fetch itself never answers from a cache, makes one try, and
// returns a *token.Error that holds no secret.
func (c Connection) Fetch(resource string, env Env) (token.Fetch, error) {
	if strings.TrimSpace(resource) == "" {
		return nil, refused("", "the resource is empty: want the App ID URI or client id of the API")
	}
	scope := resource
	if !strings.HasSuffix(scope, "/.default") {
		scope += "/.default"
	}
	switch c.Kind {
	case SystemAssigned, UserAssigned:
		return c.managed(scope, env)
	case ClientSecret, ClientCertificate, Workload:
		return c.registration(scope, env)
	case AzureCLI, AzureDeveloperCLI:
		return c.developer(scope, env)
	}
	return nil, refused("", "no identity: the connection string was not parsed")
}

// get asks a credential once.
func get(ctx context.Context, cred azcore.TokenCredential, o policy.TokenRequestOptions) (token.Token, error) {
	tk, err := cred.GetToken(ctx, o)
	if err != nil {
		return token.Token{}, err
	}
	return token.Token{Value: tk.Token, ExpiresOn: tk.ExpiresOn, RefreshOn: tk.RefreshOn}, nil
}

func refused(hint, format string, args ...any) *token.Error {
	return &token.Error{Kind: token.Refused, Err: fmt.Errorf(format, args...), Hint: hint}
}

func unavailable(hint, format string, args ...any) *token.Error {
	return &token.Error{Kind: token.Unavailable, Err: fmt.Errorf(format, args...), Hint: hint}
}

// late names a context's end, or returns nil while it lasts. azidentity's own texts say "context canceled" or "signal: killed".
func late(ctx context.Context, who string) *token.Error {
	if ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return unavailable("", "%s did not answer in time: %w", who, cause)
	}
	return unavailable("", "asking %s was given up: %w", who, cause)
}
