// Package identity turns a connection string into something that fetches tokens. The grammar, its
// quoting, its case rules and its order of decision are those of .NET's AzureServiceTokenProvider
// (package Microsoft.Azure.Services.AppAuthentication), which the setting's values come from; what
// that library did silently and dangerously is refused here, with the reason.
//
// It is the only package that knows azidentity.
package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"apimrelay/internal/secret"
)

// Kind is the credential that a connection string stands for.
type Kind int

// The kinds. None is the zero value: a Connection that Parse did not make.
const (
	None           Kind = iota
	SystemAssigned      // RunAs=App
	UserAssigned        // RunAs=App;AppId=…
	ClientSecret        // RunAs=App;AppId=…;TenantId=…;AppKey=…
	// RunAs=App;AppId=…;TenantId=…;CertificateThumbprint=…;CertificateStoreLocation=…
	ClientCertificate
	AzureCLI          // RunAs=Developer;DeveloperTool=AzureCli
	AzureDeveloperCLI // RunAs=Developer;DeveloperTool=AzureDeveloperCli: ours
	Workload          // RunAs=Workload: ours
	Federated         // RunAs=App;AppId=…;TenantId=…;FederatedIdentity=…: ours
)

// Managed reports whether the platform holds the credential, so that the identity endpoint is
// asked.
func (k Kind) Managed() bool { return k == SystemAssigned || k == UserAssigned }

// Endpoint reports whether the identity endpoint is asked, be it for an assertion alone.
func (k Kind) Endpoint() bool { return k.Managed() || k == Federated }

// Developer reports whether a person's sign-in on this machine is used.
func (k Kind) Developer() bool { return k == AzureCLI || k == AzureDeveloperCLI }

// Connection is a parsed connection string. Fields that its kind does not use are empty.
type Connection struct {
	Kind       Kind
	ClientID   string        // a GUID: of the user-assigned identity, or of the app registration
	TenantID   string        // a GUID or a domain: where the app registration signs in
	Secret     secret.String // the client secret
	Thumbprint string        // of the certificate: hexadecimal digits
	Assertion  string        // client id of the managed identity whose token is the assertion
}

// String names the identity for people and logs, such as "user-assigned managed identity, client id
// 2222…". It holds no secret.
func (c Connection) String() string {
	switch c.Kind {
	case SystemAssigned:
		return "system-assigned managed identity"
	case UserAssigned:
		return "user-assigned managed identity, client id " + c.ClientID
	case ClientSecret:
		return fmt.Sprintf("app registration with a client secret, client id %s, tenant %s",
			c.ClientID, c.TenantID)
	case ClientCertificate:
		return fmt.Sprintf("app registration with a certificate, client id %s, tenant %s, "+
			"thumbprint %s", c.ClientID, c.TenantID, c.Thumbprint)
	case Federated:
		return fmt.Sprintf("app registration by a federated identity, client id %s, tenant %s, identity %s",
			c.ClientID, c.TenantID, c.Assertion)
	case AzureCLI:
		return "developer signed in to the Azure CLI"
	case AzureDeveloperCLI:
		return "developer signed in to the Azure Developer CLI"
	case Workload:
		text := "workload identity"
		if c.ClientID != "" {
			text += ", client id " + c.ClientID
		}
		if c.TenantID != "" {
			text += ", tenant " + c.TenantID
		}
		return text
	}
	return "no identity"
}

// pepper makes a hash of a weak client secret worthless outside the process.
var pepper = sync.OnceValue(func() []byte {
	b := make([]byte, sha256.Size)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return b
})

// Key tells identities apart within one process: two connections have the same key exactly when
// they are the same identity, proven in the same way. The secret is in it as a keyed hash.
func (c Connection) Key() string {
	hash := ""
	if !c.Secret.Empty() {
		mac := hmac.New(sha256.New, pepper())
		mac.Write([]byte(c.Secret.Reveal()))
		hash = hex.EncodeToString(mac.Sum(nil))
	}
	// None of the parts can hold a slash: GUIDs, domains, hexadecimal digits.
	return fmt.Sprintf("%d/%s/%s/%s/%s/%s", c.Kind, strings.ToLower(c.ClientID),
		strings.ToLower(c.TenantID), strings.ToLower(c.Thumbprint), strings.ToLower(c.Assertion), hash)
}
