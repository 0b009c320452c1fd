package identity

import (
	"crypto/x509"
	"errors"

	"apimrelay/handler/internal/token"
)

// Env is what a credential needs from its surroundings.
type Env struct {
	// Lookup reads a variable of the process environment by its exact name; nil = none is set. azidentity reads IDENTITY_ENDPOINT and
	// IDENTITY_HEADER from the process environment itself, at each request, so Lookup must show the same.
	Lookup func(name string) (string, bool)

	// TenantID is the tenant that a developer's tool is asked for, a GUID (TargetTenantID); "" = the tool's own choice.
	TenantID string

	// CertificateFolder is where App Service on Linux puts certificates; "" = /var/ssl/private.
	CertificateFolder string

	// RootCAs are trusted for the authority (secret, certificate, workload); nil = the system's.
	RootCAs *x509.CertPool
}

// Fetch returns the way to get tokens for resource (an App ID URI or client id, without "/.default").
func (c Connection) Fetch(resource string, env Env) (token.Fetch, error) {
	return nil, errors.New("not there yet")
}
