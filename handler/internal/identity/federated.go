package identity

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

// exchangeOf returns the resource whose tokens the authority's cloud takes as assertions.
//
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
func exchangeOf(env Env) string {
	const public = "api://AzureADTokenExchange"
	u, err := url.Parse(env.get("AZURE_AUTHORITY_HOST"))
	if err != nil {
		return public
	}
	switch strings.ToLower(u.Hostname()) {
	case "login.microsoftonline.us":
		return public + "USGov"
	case "login.chinacloudapi.cn", "login.partner.microsoftonline.cn":
		return public + "China"
	}
	return public
}

// AssertionFetch returns the way to get the assertion of a Federated connection: a token of its
// managed identity, for the resource that Entra takes assertions for. It fails as Fetch does.
func (c Connection) AssertionFetch(env Env) (token.Fetch, error) {
	fetch, failure := c.assertion(env)
	return c.finish(fetch, failure, exchangeOf(env), env)
}

func (c Connection) assertion(env Env) (fetch, *token.Error) {
	resource := exchangeOf(env)
	ask, failure := Connection{Kind: UserAssigned, ClientID: c.Assertion}.managed(resource+"/.default", env)
	if failure != nil {
		return nil, failure
	}
	return func(ctx context.Context) (token.Token, *token.Error) {
		t, failure := ask(ctx)
		switch {
		case failure == nil && t.Value == "":
			failure = unavailable(cause.IdentityAnswerEmpty, "", "the answer holds no token")
		case failure == nil:
			return t, nil
		case failure.Code == cause.IdentityNotAttached:
			failure.Hint = "FederatedIdentity must be the client id (not the object id) of a " +
				"user-assigned identity that is attached to this app: attach it, or correct it"
		}
		return token.Token{}, failure.With("getting the assertion of the identity %s for %s", c.Assertion, resource)
	}, nil
}

// federated fetches from Entra with an assertion that the identity endpoint gives for each try, so
// that no secret is kept anywhere. The two requests share the time of one try.
func (c Connection) federated(scope string, o policy.ClientOptions, env Env) (fetch, *token.Error) {
	assertion, failure := c.assertion(env)
	if failure != nil {
		return nil, failure
	}
	return func(ctx context.Context) (token.Token, *token.Error) {
		proof, failure := assertion(ctx)
		if failure != nil {
			return token.Token{}, failure
		}
		cred, err := azidentity.NewClientAssertionCredential(c.TenantID, c.ClientID,
			func(context.Context) (string, error) { return proof.Value, nil },
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
		if err != nil {
			return token.Token{}, refused(cause.TokenUnavailable, "", "making a credential for the %s: %s",
				c, bounded(err.Error(), 200, proof.Value))
		}
		ctx, x := noted(ctx)
		t, err := get(ctx, cred, policy.TokenRequestOptions{Scopes: []string{scope}})
		if err == nil && x.status == http.StatusOK {
			return t, nil
		}
		return token.Token{}, c.entraError(ctx, x, err, proof.Value)
	}, nil
}
