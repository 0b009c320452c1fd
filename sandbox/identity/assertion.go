package identity

import (
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func itoa(n int) string { return strconv.Itoa(n) }

// checkAssertionLocked takes an assertion that the application signed itself (iss = client id:
// certificate) or one of an issuer that a federated credential names.
func (s *Server) checkAssertionLocked(app *Application, assertion string, r *http.Request, entry *Request) *oauthError {
	claims := assertionClaims{}
	token, _, err := jwt.NewParser().ParseUnverified(assertion, &claims)
	if err != nil {
		return s.errorf(50027, "the assertion is no JWT")
	}
	issuer, _ := claims.GetIssuer()
	if strings.EqualFold(issuer, app.ClientID) {
		entry.Kind = "certificate"
		return s.checkCertificateLocked(app, token, assertion, r)
	}
	entry.Kind = "federated"
	return s.checkFederatedLocked(app, claims, assertion)
}

// checkCertificateLocked finds the certificate by the header's x5t (SHA-1) or x5t#S256, as
// "Microsoft identity platform application authentication certificate credentials" describes the
// assertion.
func (s *Server) checkCertificateLocked(app *Application, token *jwt.Token, assertion string, r *http.Request) *oauthError {
	cert := slices.IndexFunc(app.Certificates, func(c *x509.Certificate) bool { return thumbprintMatches(c, token.Header) })
	if cert < 0 {
		return s.errorf(700027, "The key was not found., Thumbprint of key used by client: '"+thumbprintOf(token.Header)+"'")
	}
	return s.verifyLocked(assertion, []any{app.Certificates[cert].PublicKey}, func(claims assertionClaims) *oauthError {
		audiences, _ := claims.GetAudience()
		want := baseOf(r) + r.URL.Path
		for _, have := range audiences {
			if strings.EqualFold(have, want) || strings.HasPrefix(strings.ToLower(have), strings.ToLower(baseOf(r)+"/"+r.PathValue("tenant"))) {
				return nil
			}
		}
		return s.errorf(50027, "audience is not the token endpoint")
	})
}

func (s *Server) checkFederatedLocked(app *Application, claims assertionClaims, assertion string) *oauthError {
	issuer, _ := claims.GetIssuer()
	subject, _ := claims.GetSubject()
	audiences, _ := claims.GetAudience()
	if len(app.Federated) == 0 {
		return s.errorf(70021, issuer, subject)
	}
	byIssuer := func(f FederatedCredential) bool { return f.Issuer == issuer }
	if !slices.ContainsFunc(app.Federated, byIssuer) {
		return s.errorf(700211, issuer)
	}
	bySubject := func(f FederatedCredential) bool { return byIssuer(f) && f.Subject == subject }
	if !slices.ContainsFunc(app.Federated, bySubject) {
		return s.errorf(700213, subject)
	}
	i := slices.IndexFunc(app.Federated, func(f FederatedCredential) bool {
		audience := cmp.Or(f.Audience, exchangeURI)
		return bySubject(f) && (slices.Contains(audiences, audience) ||
			audience == exchangeURI && slices.Contains(audiences, exchangeClientID)) // as tokens of managed identities have it
	})
	if i < 0 {
		return s.errorf(700212, strings.Join(audiences, " "))
	}
	keys := app.Federated[i].Keys
	if keys == nil {
		for _, own := range s.keys {
			keys = append(keys, own.private.Public())
		}
	}
	return s.verifyLocked(assertion, keys, nil)
}

// verifyLocked checks signature and time, and then more.
func (s *Server) verifyLocked(assertion string, keys []any, more func(assertionClaims) *oauthError) *oauthError {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"}),
		jwt.WithTimeFunc(s.cfg.Now), jwt.WithLeeway(5*time.Minute), jwt.WithExpirationRequired())
	err := errors.New("no key is registered")
	for _, key := range keys {
		claims := assertionClaims{}
		_, err = parser.ParseWithClaims(assertion, &claims, func(*jwt.Token) (any, error) { return key, nil })
		switch {
		case err == nil:
			if more != nil {
				return more(claims)
			}
			return nil
		case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
			return s.errorf(700024, s.cfg.Now().UTC().Format(time.RFC3339), momentOf(claims, "nbf"), momentOf(claims, "exp"))
		}
	}
	return s.errorf(700027, "The signature is invalid: "+err.Error())
}

// assertionClaims are the claims of an assertion. Moments may be texts of numbers, as MSAL.NET
// writes them (Microsoft.Identity.Client 4.92, JsonWebToken), and Entra takes them.
type assertionClaims map[string]any

func (c assertionClaims) plain() jwt.MapClaims {
	plain := jwt.MapClaims{}
	for name, value := range c {
		if text, ok := value.(string); ok && (name == "exp" || name == "nbf" || name == "iat") {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				value = float64(n)
			}
		}
		plain[name] = value
	}
	return plain
}

func (c assertionClaims) GetExpirationTime() (*jwt.NumericDate, error) {
	return c.plain().GetExpirationTime()
}
func (c assertionClaims) GetNotBefore() (*jwt.NumericDate, error) { return c.plain().GetNotBefore() }
func (c assertionClaims) GetIssuedAt() (*jwt.NumericDate, error)  { return c.plain().GetIssuedAt() }
func (c assertionClaims) GetIssuer() (string, error)              { return c.plain().GetIssuer() }
func (c assertionClaims) GetSubject() (string, error)             { return c.plain().GetSubject() }
func (c assertionClaims) GetAudience() (jwt.ClaimStrings, error)  { return c.plain().GetAudience() }

func momentOf(claims assertionClaims, name string) string {
	if n, ok := claims.plain()[name].(float64); ok {
		return time.Unix(int64(n), 0).UTC().Format(time.RFC3339)
	}
	return "none"
}

func thumbprintMatches(c *x509.Certificate, header map[string]any) bool {
	one, wide := sha1.Sum(c.Raw), sha256.Sum256(c.Raw)
	sha1Text, _ := header["x5t"].(string)
	sha256Text, _ := header["x5t#S256"].(string)
	kid, _ := header["kid"].(string)
	return sha1Text == base64.RawURLEncoding.EncodeToString(one[:]) || sha1Text == base64.StdEncoding.EncodeToString(one[:]) ||
		// MSAL for Go writes standard base64 (accesstokens.go of v1.10.1), and Entra takes it.
		sha256Text == base64.RawURLEncoding.EncodeToString(wide[:]) || sha256Text == base64.StdEncoding.EncodeToString(wide[:]) ||
		strings.EqualFold(kid, hex.EncodeToString(one[:]))
}

func thumbprintOf(header map[string]any) string {
	for _, name := range []string{"x5t#S256", "x5t", "kid"} {
		if text, ok := header[name].(string); ok && text != "" {
			return clip(text)
		}
	}
	return "none"
}
