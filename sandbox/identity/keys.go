package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"
)

// signingKey is one of the issuer's keys with the certificate that its key set shows, as Entra does (x5c; kid and x5t are the
// certificate's SHA-1).
type signingKey struct {
	kid     string
	private *rsa.PrivateKey
	cert    []byte
}

// jwk is an entry of the key set. Fields in the order in which Entra writes them.
type jwk struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use"`
	Kid    string   `json:"kid"`
	X5t    string   `json:"x5t"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X5c    []string `json:"x5c"`
	Issuer string   `json:"issuer,omitempty"`
}

func newSigningKey() (*signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "sandbox signing key"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(5, 0, 0),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("making a signing key's certificate: %w", err)
	}
	sum := sha1.Sum(cert)
	return &signingKey{kid: base64.RawURLEncoding.EncodeToString(sum[:]), private: private, cert: cert}, nil
}

func (k *signingKey) jwk(issuer string) jwk {
	return jwk{
		Kty: "RSA", Use: "sig", Kid: k.kid, X5t: k.kid,
		N:      base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
		E:      base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
		X5c:    []string{base64.StdEncoding.EncodeToString(k.cert)},
		Issuer: issuer,
	}
}

// RotateKeys has the issuer sign with a new key from now on. With keepOld the old keys stay in the key set, as in Entra's
// announced rotations; without it tokens signed by them are refused by whoever reads the key set again. Managed identities get
// a new token (the old one is of no use to anybody).
func (s *Server) RotateKeys(keepOld bool) (kid string, err error) {
	key, err := newSigningKey()
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if keepOld {
		s.keys = append([]*signingKey{key}, s.keys...)
	} else {
		s.keys = []*signingKey{key}
		clear(s.cache)
	}
	return key.kid, nil
}

// KeySet returns the JSON of the issuer's public keys, as the jwks_uri serves it.
func (s *Server) KeySet() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keySetLocked("")
}

// randomText returns n characters of the URL-safe alphabet.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// newGUID returns a random version 4 GUID.
func newGUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
