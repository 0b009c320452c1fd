package identity

import (
	"crypto/x509"
	"slices"
	"strings"
	"time"
)

// Ids of the default tenant. They are fixed so that settings can name them; keys and secrets are
// fresh at each start.
const (
	TenantID      = "5a9d0b0c-0000-4000-8000-000000000001" // the directory
	OtherTenantID = "5a9d0b0c-0000-4000-8000-0000000000ff" // where tokens of the fault wrong-tenant come from

	APIClientID = "5a9d0b0c-0000-4000-8000-0000000000a1" // app registration of the API
	APIURI      = "api://" + APIClientID                 // its App ID URI

	SystemClientID   = "5a9d0b0c-0000-4000-8000-0000000000b1" // system-assigned identity
	ReaderClientID   = "5a9d0b0c-0000-4000-8000-0000000000c1" // user-assigned, has Api.Read
	WriterClientID   = "5a9d0b0c-0000-4000-8000-0000000000c3" // user-assigned, has Api.Read and Api.Write
	StrangerClientID = "5a9d0b0c-0000-4000-8000-0000000000d1" // user-assigned, attached, has no role
	DetachedClientID = "5a9d0b0c-0000-4000-8000-0000000000d3" // user-assigned, exists, is not attached to this app
	AppClientID      = "5a9d0b0c-0000-4000-8000-0000000000e1" // app registration that signs in with a secret, Api.Read

	// AzureCLIClientID is the Azure CLI's own id in every tenant.
	AzureCLIClientID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

	managementURI = "https://management.azure.com/"

	// The resource whose tokens are taken as assertions, and its id in every tenant
	// (learn.microsoft.com "Configure an application to trust a managed identity").
	exchangeURI      = "api://AzureADTokenExchange"
	exchangeClientID = "fb60f99c-7a34-4190-8149-302f77469936"
)

// Config describes a tenant, and the app that the identity endpoint serves. Every field left at
// its zero value takes the default of the constants above.
type Config struct {
	TenantID string // GUID
	// Header is the value wanted in X-IDENTITY-HEADER; random when empty.
	Header string
	// Life is the life of a managed identity's token: 24 h 5 min when zero, as captured tokens
	// have it (Azure/azure-sdk-for-net#27019).
	Life time.Duration
	// RefreshIn, in whole seconds, is sent as refresh_in when positive. App Service is not
	// documented to send it.
	RefreshIn time.Duration

	Identities   []ManagedIdentity // nil: one system-assigned, reader, writer, stranger, and one that is not attached
	Resources    []Resource        // nil: the API. Azure Resource Manager is always known
	Applications []Application     // nil: one with a random secret
	Developer    *Developer        // nil: signed in, consented, without app roles

	Now func() time.Time `json:"-"` // nil: time.Now
}

// Assignments are app roles granted to a principal: client id of the resource -> role values.
type Assignments map[string][]string

// ManagedIdentity is an identity that exists in the tenant.
type ManagedIdentity struct {
	Name                           string // shown in the console
	ClientID, ObjectID, ResourceID string // ObjectID and ResourceID are made from ClientID when empty
	System                         bool   // the app's own; at most one
	Detached                       bool   // exists, but the app does not have it
	Roles                          Assignments
}

// Resource is an app registration that tokens are asked for.
type Resource struct {
	Name, ClientID string
	URIs           []string // App ID URIs
	// Version is api.requestedAccessTokenVersion of the manifest: 2, or 1 (null counts as 1). The
	// zero value is 1.
	Version            int
	AssignmentRequired bool     // no token without an app role
	UseGUID            bool     // optional claim aud with use_guid: v1 tokens name the client id
	Idtyp              bool     // optional claim idtyp
	Scopes             []string // delegated permissions
	PreAuthorized      []string // client ids that need no consent
}

// Application is an app registration that signs in by itself.
type Application struct {
	Name, ClientID, ObjectID string
	// Tenants are those that know it, where it is not the tenant alone: a multitenant application
	// is known in the tenant of an API as well. Nil means the tenant.
	Tenants      []string
	Secrets      []Secret
	Certificates []*x509.Certificate `json:"-"`
	Federated    []FederatedCredential
	Disabled     bool
	Roles        Assignments
}

// Secret is a client secret. The zero Expires never expires.
type Secret struct {
	ID, Value string
	Expires   time.Time
}

// FederatedCredential says whose assertions stand for an application. Comparison minds case.
type FederatedCredential struct {
	Issuer, Subject, Audience string // Audience "": api://AzureADTokenExchange
	// Keys are the issuer's public keys, *rsa.PublicKey or *ecdsa.PublicKey. None means this
	// server's own, with which it signs tokens of managed identities and of the pretended
	// cluster.
	Keys []any `json:"-"`
}

// in reports whether a tenant knows the application. home is the server's own tenant.
func (a *Application) in(tenant, home string) bool {
	if a.Tenants == nil {
		return strings.EqualFold(tenant, home)
	}
	return slices.ContainsFunc(a.Tenants, func(t string) bool { return strings.EqualFold(t, tenant) })
}

// Developer is the person at the Azure CLI.
type Developer struct {
	ObjectID, Name, UPN string
	SignedOut           bool
	// NoConsent has the CLI's own consent withdrawn: resources that do not pre-authorize the CLI
	// are refused.
	NoConsent bool
	Roles     Assignments // roles that allow users, granted to this one
}

func (c Config) withDefaults() Config {
	if c.TenantID == "" {
		c.TenantID = TenantID
	}
	if c.Header == "" {
		c.Header = randomText(32)
	}
	if c.Life == 0 {
		c.Life = 24*time.Hour + 5*time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Identities == nil {
		c.Identities = DefaultIdentities()
	}
	c.Identities = slices.Clone(c.Identities)
	for i := range c.Identities {
		id := &c.Identities[i]
		id.Roles = id.Roles.clone()
		if id.ObjectID == "" {
			id.ObjectID = derivedID(id.ClientID)
		}
		if id.ResourceID == "" && !id.System {
			id.ResourceID = "/subscriptions/" + c.TenantID + "/resourceGroups/sandbox/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + id.Name
		}
	}
	if c.Resources == nil {
		c.Resources = DefaultResources()
	}
	c.Resources = slices.Clone(c.Resources)
	if !slices.ContainsFunc(c.Resources, func(r Resource) bool { return slices.Contains(r.URIs, managementURI) }) {
		c.Resources = append(c.Resources, Resource{
			Name: "Azure Resource Manager", ClientID: "797f4846-ba00-4fd7-ba43-dac1f8f63013", Version: 1,
			URIs: []string{managementURI, "https://management.core.windows.net/"}, Scopes: []string{"user_impersonation"},
			PreAuthorized: []string{AzureCLIClientID},
		})
	}
	if !slices.ContainsFunc(c.Resources, func(r Resource) bool { return r.ClientID == exchangeClientID }) {
		c.Resources = append(c.Resources, Resource{
			Name: "Azure AD token exchange", ClientID: exchangeClientID, Version: 2, URIs: []string{exchangeURI},
		})
	}
	if c.Applications == nil {
		c.Applications = []Application{{
			Name: "app", ClientID: AppClientID, Secrets: []Secret{{ID: derivedID(AppClientID), Value: randomText(40)}},
			Roles: Assignments{APIClientID: {"Api.Read"}},
		}}
	}
	c.Applications = slices.Clone(c.Applications)
	for i := range c.Applications {
		app := &c.Applications[i]
		app.Roles = app.Roles.clone()
		if app.ObjectID == "" {
			app.ObjectID = derivedID(app.ClientID)
		}
	}
	developer := Developer{}
	if c.Developer != nil {
		developer = *c.Developer
	}
	developer.Roles = developer.Roles.clone()
	if developer.ObjectID == "" {
		developer.ObjectID = "5a9d0b0c-0000-4000-8000-0000000000f2"
	}
	if developer.Name == "" {
		developer.Name = "Jo Doe"
	}
	if developer.UPN == "" {
		developer.UPN = "jo@contoso.com"
	}
	c.Developer = &developer
	return c
}

// DefaultIdentities are those of the default tenant.
func DefaultIdentities() []ManagedIdentity {
	return []ManagedIdentity{
		{Name: "system", ClientID: SystemClientID, System: true, Roles: Assignments{APIClientID: {"Api.Read"}}},
		{Name: "reader", ClientID: ReaderClientID, Roles: Assignments{APIClientID: {"Api.Read"}}},
		{Name: "writer", ClientID: WriterClientID, Roles: Assignments{APIClientID: {"Api.Read", "Api.Write"}}},
		{Name: "stranger", ClientID: StrangerClientID},
		{Name: "detached", ClientID: DetachedClientID, Detached: true, Roles: Assignments{APIClientID: {"Api.Read"}}},
	}
}

// DefaultResources are the app registrations of the default tenant: the API.
func DefaultResources() []Resource {
	return []Resource{{
		Name: "api", ClientID: APIClientID, URIs: []string{APIURI}, Version: 2,
		Scopes: []string{"user_impersonation"}, PreAuthorized: []string{AzureCLIClientID},
	}}
}

func (a Assignments) clone() Assignments {
	out := Assignments{}
	for resource, roles := range a {
		out[resource] = slices.Clone(roles)
	}
	return out
}

// derivedID makes an object id from a client id, so that the two are told apart and stay the same
// at each start.
func derivedID(clientID string) string {
	if clientID == "" {
		return ""
	}
	last := clientID[len(clientID)-1]
	digits := "0123456789abcdef"
	next := digits[(strings.IndexByte(digits, last|0x20)+1)%len(digits)]
	return "0b7ec700" + clientID[min(8, len(clientID)):len(clientID)-1] + string(next)
}

// resource finds what a token is asked for: an App ID URI, with or without a slash at its end, or
// the client id. audience is the aud of a v1 token: what was asked for, unless the registration
// pins the client id.
func (c *Config) resource(asked string) (r *Resource, audience string) {
	for i := range c.Resources {
		r := &c.Resources[i]
		if strings.EqualFold(asked, r.ClientID) {
			return r, r.ClientID
		}
		for _, uri := range r.URIs {
			if strings.EqualFold(strings.TrimSuffix(uri, "/"), strings.TrimSuffix(asked, "/")) {
				if r.UseGUID {
					return r, r.ClientID
				}
				return r, asked
			}
		}
	}
	return nil, ""
}
