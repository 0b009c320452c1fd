package identity

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

// registration fetches from Entra with the credential of an app registration. Each fetch makes a
// credential of its own, since azidentity's keep what they got; a certificate or federated token
// that was renewed on disk is read again with it.
func (c Connection) registration(scope string, env Env) (fetch, *token.Error) {
	o, err := authority(env)
	if err != nil {
		return nil, err
	}
	if c.Kind == Federated {
		return c.federated(scope, o, env)
	}
	if _, err := c.credential(o, env); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (token.Token, *token.Error) {
		cred, err := c.credential(o, env)
		if err != nil {
			return token.Token{}, err
		}
		ctx, x := noted(ctx)
		t, sdkErr := get(ctx, cred, policy.TokenRequestOptions{Scopes: []string{scope}})
		if sdkErr == nil && x.status == http.StatusOK {
			return t, nil
		}
		return token.Token{}, c.entraError(ctx, x, sdkErr, c.Secret.Reveal())
	}, nil
}

// authority is where tokens come from: AZURE_AUTHORITY_HOST, else the public cloud. Unlike the
// identity endpoint it is reached through the proxy that the environment names: a secret goes
// there inside TLS only. Instance discovery would ask login.microsoftonline.com whether the
// authority exists, a call more for each token; the operator named it.
func authority(env Env) (policy.ClientOptions, *token.Error) {
	host := env.get("AZURE_AUTHORITY_HOST")
	if host == "" {
		host = cloud.AzurePublic.ActiveDirectoryAuthorityHost
	}
	if !strings.HasPrefix(strings.ToLower(host), "https://") {
		return policy.ClientOptions{}, refused(cause.AuthorityForm, "correct AZURE_AUTHORITY_HOST, or remove it", "AZURE_AUTHORITY_HOST is no address of an authority: want https://")
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	if env.RootCAs != nil {
		base.TLSClientConfig = &tls.Config{RootCAs: env.RootCAs, MinVersion: tls.VersionTLS12}
	}
	return policy.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: host},
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Transport: client(base),
	}, nil
}

// credential makes the credential anew.
func (c Connection) credential(o policy.ClientOptions, env Env) (azcore.TokenCredential, *token.Error) {
	var cred azcore.TokenCredential
	var err error
	switch c.Kind {
	case ClientSecret:
		cred, err = azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.Secret.Reveal(),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	case ClientCertificate:
		certs, key, loadErr := loadCertificate(c.Thumbprint, env)
		if loadErr != nil {
			return nil, loadErr
		}
		cred, err = azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	case Workload:
		return c.workloadCredential(o, env)
	}
	if err != nil {
		return nil, refused(cause.TokenUnavailable, "", "making a credential for the %s: %s", c, bounded(err.Error(), 200, c.Secret.Reveal()))
	}
	return cred, nil
}

// workloadCredential proves itself with a token of the platform that lies in a file.
// https://learn.microsoft.com/azure/aks/workload-identity-overview, "Service account annotations": the three variables
func (c Connection) workloadCredential(o policy.ClientOptions, env Env) (azcore.TokenCredential, *token.Error) {
	wo := &azidentity.WorkloadIdentityCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true,
		ClientID: c.ClientID, TenantID: c.TenantID, TokenFilePath: env.get("AZURE_FEDERATED_TOKEN_FILE")}
	if wo.ClientID == "" {
		wo.ClientID = env.get("AZURE_CLIENT_ID")
	}
	if wo.TenantID == "" {
		wo.TenantID = env.get("AZURE_TENANT_ID")
	}
	const hint = "RunAs=Workload works where workload identity sets these variables (a Kubernetes cluster); a function app uses RunAs=App"
	var missing []string
	for name, value := range map[string]string{"AZURE_CLIENT_ID": wo.ClientID, "AZURE_TENANT_ID": wo.TenantID, "AZURE_FEDERATED_TOKEN_FILE": wo.TokenFilePath} {
		if value == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, refused(cause.WorkloadMissing, hint, "there is no workload identity here: %s not set", strings.Join(sorted(missing), ", "))
	}
	if text, err := os.ReadFile(wo.TokenFilePath); err != nil {
		return nil, refused(cause.WorkloadMissing, hint, "reading the federated token of AZURE_FEDERATED_TOKEN_FILE: %w", err)
	} else if strings.TrimSpace(string(text)) == "" {
		return nil, refused(cause.WorkloadMissing, hint, "reading the federated token of AZURE_FEDERATED_TOKEN_FILE: %s is empty", wo.TokenFilePath)
	}
	cred, err := azidentity.NewWorkloadIdentityCredential(wo)
	if err != nil {
		return nil, refused(cause.TokenUnavailable, hint, "making a workload identity credential: %s", bounded(err.Error(), 200))
	}
	return cred, nil
}

// entraError says what went wrong in Entra's own words. own is the secret that was sent.
func (c Connection) entraError(ctx context.Context, x *exchange, err error, own string) *token.Error {
	who := "the authority"
	if x.from != "" {
		who += " " + x.from
	}
	if e := c.late(ctx, who); e != nil {
		return e
	}
	switch {
	case x.failure != nil:
		code, hint := cause.AuthorityUnreachable, ""
		switch network := cause.OfNetwork(x.failure); network {
		case cause.GatewayCertificate, cause.GatewayCertificateName:
			code = cause.AuthorityCertificate
			hint = "the authority's certificate is not trusted: a proxy that opens TLS, or a stand-in; SSL_CERT_FILE names what to trust"
		case cause.ProxyDown, cause.ProxyRefuses:
			code = network
		}
		return unavailable(code, hint, "asking %s: %s", who, bounded(x.failure.Error(), 300, own))
	case x.status == 0:
		return unavailable(cause.AuthorityUnreachable, "", "asking %s: %s", who, bounded(sdkText(err), 300, own))
	case x.status == http.StatusOK:
		code := cause.IdentityAnswer
		switch {
		case x.html():
			code = cause.IdentityAnswerHTML
		case strings.HasSuffix(x.from, "/.well-known/openid-configuration"):
			code = cause.AuthorityForm // its metadata came and did not please: another issuer, or none
		}
		return unavailable(code, "", "%s answered 200 with something unusable (%s): %s", who, x.shape(), bounded(sdkText(err), 300, own))
	}
	said := x.said(own)
	code := x.entraSaid(said)
	said = withTitle(code, said)
	e := unavailable(code, "", "%s answered %d: %s", who, x.status, said)
	e.RetryAfter = x.retryAfter
	if (x.refuses() || code == cause.TenantUnknown) && !cause.Of(code).Passes && x.errorWord() != "temporarily_unavailable" {
		e.Kind = token.Refused
	}
	return e
}

// entraSaid names the cause of an answer of the authority other than 200.
func (x *exchange) entraSaid(said string) cause.Code {
	if code, _ := cause.OfAADSTS(said); code != "" {
		return code
	}
	switch {
	case x.errorWord() == "invalid_tenant": // without a number, by some authorities
		return cause.TenantUnknown
	case x.status == http.StatusTooManyRequests:
		return cause.IdentityThrottled
	case x.html():
		return cause.IdentityAnswerHTML
	case x.status >= 500:
		return cause.EntraBusy
	}
	return cause.EntraRefused
}

// withTitle puts the title of a cause that Entra's number names before the number.
func withTitle(code cause.Code, said string) string {
	if numbered, _ := cause.OfAADSTS(said); numbered == "" || numbered == cause.EntraRefused {
		return said
	}
	return cause.Of(code).Title + ": " + said
}
