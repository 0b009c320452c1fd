package token

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"apimrelay/handler/internal/observe"
)

// Facts are the claims of an access token that may be shown: none of them lets anybody in. The zero
// value of a field means that the token does not have the claim. Claims:
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
type Facts struct {
	Issuer    string    // iss
	Audience  []string  // aud
	Roles     []string  // roles: the app roles; absent (not empty) where none was granted
	Scope     string    // scp: delegated permissions, only in tokens of a person
	TenantID  string    // tid
	ClientID  string    // azp (version 2.0) or appid (version 1.0): who asked
	ObjectID  string    // oid
	Version   string    // ver: 1.0 or 2.0; the resource's registration decides
	IssuedAt  time.Time // iat
	NotBefore time.Time // nbf
	ExpiresOn time.Time // exp
	// the first 12 hexadecimal digits of the token's SHA-256, to tell tokens apart in logs
	Hash string
}

// errOpaque is ReadFacts's answer to a token that is none of our business.
var errOpaque = errors.New(
	"reading a token: it is opaque: not a signed JWT whose claims can be read")

// ReadFacts reads the claims of a signed JWT. It does not check the signature: only the gateway,
// which has the issuer's keys, is to trust the token. A token that cannot be read is opaque: an
// error, and Facts with the Hash alone. Neither holds anything of the token itself.
func ReadFacts(tok string) (Facts, error) {
	f := Facts{Hash: Hash(tok)}
	parts := strings.Split(tok, ".")
	if len(parts) != 3 {
		return f, errOpaque
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return f, errOpaque
	}
	// A map and no struct: what encoding/json has to learn of a struct first takes longer than the
	// first token does.
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return f, errOpaque // the cause would quote the payload
	}
	f.Issuer, f.Audience = c.text("iss"), c.texts("aud")
	f.Roles, f.Scope = c.texts("roles"), c.text("scp")
	f.TenantID, f.ClientID, f.ObjectID = c.text("tid"), c.text("azp"), c.text("oid")
	if f.ClientID == "" {
		f.ClientID = c.text("appid")
	}
	f.Version = c.text("ver")
	f.IssuedAt, f.NotBefore, f.ExpiresOn = c.moment("iat"), c.moment("nbf"), c.moment("exp")
	return f, nil
}

// Hash names a token in logs without showing it: the first 12 hexadecimal digits of its SHA-256.
func Hash(tok string) string {
	sum := sha256.Sum256([]byte(tok))
	return hex.EncodeToString(sum[:6])
}

// Log returns what a log line says of the token.
func (f Facts) Log() observe.Token {
	return observe.Token{
		Hash: f.Hash, Issuer: f.Issuer, Audience: strings.Join(f.Audience, " "),
		Roles: strings.Join(f.Roles, " "), Scope: f.Scope, TenantID: f.TenantID,
		ClientID: f.ClientID, Version: f.Version, IssuedAt: f.IssuedAt, ExpiresOn: f.ExpiresOn,
	}
}

// LogValue implements slog.LogValuer: one group of the claims that are there.
func (f Facts) LogValue() slog.Value { return f.Log().LogValue() }

// claims are read by their exact names, and leniently: one of an unexpected type counts as absent
// and leaves the others readable. The gateway judges, we only report.
type claims map[string]json.RawMessage

func (c claims) text(name string) string {
	var s string
	_ = json.Unmarshal(c[name], &s)
	return s
}

func (c claims) texts(name string) []string {
	if one := c.text(name); one != "" {
		return []string{one}
	}
	var list []any
	if json.Unmarshal(c[name], &list) != nil {
		return nil
	}
	var texts []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

func (c claims) moment(name string) time.Time {
	var seconds float64
	// Above 1e11 it is no NumericDate in seconds (RFC 7519 section 2) of this age.
	if json.Unmarshal(c[name], &seconds) != nil || seconds <= 0 || seconds >= 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// GoString keeps %#v as harmless as %v is.
func (f Facts) GoString() string { return fmt.Sprintf("token.Facts{Hash:%q}", f.Hash) }
