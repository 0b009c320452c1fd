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
)

// Facts are the claims of an access token that may be shown: none of them lets anybody in. The zero value of a field means that the token
// does not have the claim. Claims: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
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
	Hash      string    // the first 12 hexadecimal digits of the token's SHA-256, to tell tokens apart in logs
}

// errOpaque is ReadFacts's answer to a token that is none of our business.
var errOpaque = errors.New("reading a token: it is opaque: not a signed JWT whose claims can be read")

// ReadFacts reads the claims of a signed JWT. It does not check the signature: only the gateway, which has the issuer's keys, is to trust the
// token. A token that cannot be read is opaque: an error, and Facts with the Hash alone. Neither holds anything of the token itself.
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
	var c struct {
		Iss   text   `json:"iss"`
		Aud   texts  `json:"aud"`
		Roles texts  `json:"roles"`
		Scp   text   `json:"scp"`
		Tid   text   `json:"tid"`
		Azp   text   `json:"azp"`
		AppID text   `json:"appid"`
		Oid   text   `json:"oid"`
		Ver   text   `json:"ver"`
		Iat   moment `json:"iat"`
		Nbf   moment `json:"nbf"`
		Exp   moment `json:"exp"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return f, errOpaque // the cause would quote the payload
	}
	f.Issuer, f.Audience, f.Roles, f.Scope = string(c.Iss), c.Aud, c.Roles, string(c.Scp)
	f.TenantID, f.ClientID, f.ObjectID = string(c.Tid), string(c.Azp), string(c.Oid)
	if f.ClientID == "" {
		f.ClientID = string(c.AppID)
	}
	f.Version = string(c.Ver)
	f.IssuedAt, f.NotBefore, f.ExpiresOn = time.Time(c.Iat), time.Time(c.Nbf), time.Time(c.Exp)
	return f, nil
}

// Hash names a token in logs without showing it: the first 12 hexadecimal digits of its SHA-256.
func Hash(tok string) string {
	sum := sha256.Sum256([]byte(tok))
	return hex.EncodeToString(sum[:6])
}

// LogValue implements slog.LogValuer: one group of the claims that are there.
func (f Facts) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("hash", f.Hash)}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("iss", f.Issuer)
	add("aud", strings.Join(f.Audience, " "))
	add("roles", strings.Join(f.Roles, " "))
	add("scp", f.Scope)
	add("tid", f.TenantID)
	add("client_id", f.ClientID)
	add("ver", f.Version)
	if !f.IssuedAt.IsZero() {
		add("iat", f.IssuedAt.UTC().Format(time.RFC3339))
	}
	if !f.ExpiresOn.IsZero() {
		add("exp", f.ExpiresOn.UTC().Format(time.RFC3339))
	}
	return slog.GroupValue(attrs...)
}

// Claims are read leniently: one of an unexpected type counts as absent and leaves the others readable. The gateway judges, we only report.
type (
	text   string
	texts  []string
	moment time.Time
)

func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = text(s)
	}
	return nil
}

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil && one != "" {
		*t = texts{one}
		return nil
	}
	var many []any
	if json.Unmarshal(data, &many) != nil {
		return nil
	}
	for _, v := range many {
		if s, ok := v.(string); ok {
			*t = append(*t, s)
		}
	}
	return nil
}

func (m *moment) UnmarshalJSON(data []byte) error {
	var seconds float64
	// Above 1e11 it is no NumericDate in seconds (RFC 7519 section 2) of this age.
	if json.Unmarshal(data, &seconds) == nil && seconds > 0 && seconds < 1e11 {
		*m = moment(time.Unix(int64(seconds), 0).UTC())
	}
	return nil
}

// GoString keeps %#v as harmless as %v is.
func (f Facts) GoString() string { return fmt.Sprintf("token.Facts{Hash:%q}", f.Hash) }
