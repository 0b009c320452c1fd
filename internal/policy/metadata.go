package policy

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

// Metadata is what an OpenID Connect discovery document and its key set tell a gateway.
type Metadata struct {
	Issuer string
	Keys   []Key
	// Err says why there is none. Keys that are set all the same (from an earlier fetch) are used.
	Err error
}

// Key is one signing key.
type Key struct {
	ID     string // kid; "" fits every token
	Public crypto.PublicKey
}

// Need is a metadata address that a request's token needs.
type Need struct {
	URL   string
	KeyID string // kid of the token, "" where it has none or cannot be read
}

// Needs lists the metadata addresses that Evaluate will look up in Input.Keys for this request, so that a gateway can fetch them first and
// fetch again where the key id is unknown.
func (p *Policy) Needs(r Request) []Need {
	var needs []Need
	for _, s := range p.sections[Inbound] {
		v, ok := s.statement.(*validator)
		if !ok {
			continue
		}
		// Without a token that can be read the answer needs no keys, and a caller with none should not wait for an issuer that is down.
		t, _ := readToken(v.present(r).token)
		if t == nil || t.claims == nil {
			continue
		}
		for _, address := range v.metadata {
			needs = append(needs, Need{URL: address, KeyID: t.keyID})
		}
	}
	return needs
}

// ParseDiscovery reads an OpenID Connect discovery document (https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata).
func ParseDiscovery(document []byte) (issuer, keysURL string, err error) {
	var d struct {
		Issuer  string `json:"issuer"`
		KeysURL string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return "", "", fmt.Errorf("reading the discovery document: %w", err)
	}
	if d.Issuer == "" || d.KeysURL == "" {
		return "", "", fmt.Errorf("reading the discovery document: want issuer and jwks_uri, got %q and %q", d.Issuer, d.KeysURL)
	}
	return d.Issuer, d.KeysURL, nil
}

// ParseKeySet reads the RSA signing keys of a JSON Web Key Set (RFC 7517). Keys of other kinds and uses are skipped: the gateway takes
// RS256, RS512 and PS256 by metadata, no other.
func ParseKeySet(document []byte) ([]Key, error) {
	var set struct {
		Keys []struct {
			Type string   `json:"kty"`
			Use  string   `json:"use"`
			ID   string   `json:"kid"`
			N    string   `json:"n"`
			E    string   `json:"e"`
			X5c  []string `json:"x5c"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	var keys []Key
	for i, k := range set.Keys {
		if k.Type != "RSA" || k.Use == "enc" {
			continue
		}
		public, err := rsaKey(k.N, k.E)
		if err != nil && len(k.X5c) > 0 {
			public, err = certificateKey(k.X5c[0])
		}
		if err != nil {
			return nil, fmt.Errorf("reading the key set: key %d: %w", i+1, err)
		}
		keys = append(keys, Key{ID: k.ID, Public: public})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("reading the key set: no RSA signing key among %d keys", len(set.Keys))
	}
	return keys, nil
}

// rsaKey reads modulus and exponent, base64url as in RFC 7518 section 6.3; padding is tolerated.
func rsaKey(n, e string) (*rsa.PublicKey, error) {
	modulus, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(n, "="))
	if err != nil || len(modulus) < 128 {
		return nil, fmt.Errorf("modulus n: want at least 1024 bits in base64url")
	}
	exponent, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(e, "="))
	value := new(big.Int).SetBytes(exponent)
	if err != nil || value.BitLen() > 31 || value.Cmp(big.NewInt(2)) <= 0 {
		return nil, fmt.Errorf("exponent e: want a number from 3 to 2147483647 in base64url")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(value.Int64())}, nil
}

func certificateKey(text string) (*rsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("certificate x5c: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate x5c: %w", err)
	}
	public, ok := certificate.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("certificate x5c: want an RSA key")
	}
	return public, nil
}

// TokenParameters lists the query parameters in which the policy looks for tokens, so that a log can leave their values out.
func (p *Policy) TokenParameters() []string {
	var names []string
	for _, s := range p.sections[Inbound] {
		if v, ok := s.statement.(*validator); ok && v.query != "" {
			names = append(names, v.query)
		}
	}
	return names
}
