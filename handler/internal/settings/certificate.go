package settings

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"software.sslmate.com/src/go-pkcs12"
)

// Trust is whom a function's calls trust, and who they say they are, when they speak TLS with the
// gateway. Nil is the system's authorities and no certificate of ours. It does not change.
type Trust struct {
	authorities *x509.CertPool   // nil = the system's
	certificate *tls.Certificate // nil = none
	id          string
}

// ID is the same for functions whose settings say the same, so that they can share connections. It is
// a hash; "" stands for nil.
func (t *Trust) ID() string {
	if t == nil {
		return ""
	}
	return t.id
}

// HasCertificate reports whether calls have a client certificate.
func (t *Trust) HasCertificate() bool { return t != nil && t.certificate != nil }

// Config is a new configuration of TLS. API Management asks for a client certificate after the
// handshake where "Negotiate client certificate" is off, so one renegotiation is allowed
// (learn.microsoft.com "Secure APIs using client certificate authentication in API Management").
func (t *Trust) Config() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Renegotiation: tls.RenegotiateOnceAsClient}
	if t == nil {
		return c
	}
	c.RootCAs = t.authorities
	if own := t.certificate; own != nil {
		// Whatever authorities the gateway names: its list is often not that of its policy.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return c
}

// trust reads both settings; nil where neither is set.
func (f *Function) trust(authority, certificate reading, usable func(reading) bool) {
	t := &Trust{}
	sum := sha256.New()
	if usable(authority) {
		data, err := certificateText(authority.text)
		if err == nil {
			t.authorities, err = authoritiesOf(data)
		}
		if err != nil {
			authority.fault("write the PEM text of the authorities' certificates, or the path of a PEM or DER file", "want certificates of authorities, got %v", err)
		}
		sum.Write(data)
	}
	sum.Write([]byte{0})
	if usable(certificate) {
		data, err := certificateText(certificate.text)
		if err == nil {
			t.certificate, err = clientCertificate(data)
		}
		if err != nil {
			certificate.fault("write PEM text with the certificate and its private key, the path of such a file or of a PKCS#12 file without a password, or a Key Vault "+
				"reference to the secret of a certificate", "want a certificate and its private key, got %v", err)
		}
		sum.Write(data)
	}
	if t.authorities == nil && t.certificate == nil {
		return
	}
	t.id = hex.EncodeToString(sum.Sum(nil))
	f.Trust = t
}

// certificateText returns what a setting holds: PEM text, the content of the file that it names, or
// what its base64 stands for. Its errors hold nothing of the setting's but a file's name.
func certificateText(text string) ([]byte, error) {
	if strings.Contains(text, "-----BEGIN") {
		// Portals and shells turn line breaks into \n.
		return []byte(strings.ReplaceAll(text, `\n`, "\n")), nil
	}
	packed := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	if data, err := base64.StdEncoding.DecodeString(packed); err == nil && len(data) > 100 {
		return data, nil
	}
	if len(text) > 4096 || strings.ContainsAny(text, "\r\n\x00") {
		return nil, errors.New("neither PEM text nor base64 nor a path")
	}
	data, err := os.ReadFile(text)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("neither PEM text nor base64 nor the path of a file that is there")
	}
	if err != nil {
		return nil, fmt.Errorf("a file that cannot be read: %w", errors.Unwrap(err))
	}
	return data, nil
}

// authoritiesOf adds certificates to the system's.
func authoritiesOf(data []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		certificates, err := x509.ParseCertificates(data)
		if err != nil || len(certificates) == 0 {
			return nil, errors.New("neither PEM nor DER of a certificate")
		}
		for _, c := range certificates {
			pool.AddCert(c)
		}
		return pool, nil
	}
	found := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM of another kind beside certificates: %s", strings.ToLower(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("a certificate that cannot be read")
		}
		pool.AddCert(c)
		found++
	}
	if found == 0 {
		return nil, errors.New("PEM without a whole certificate")
	}
	return pool, nil
}

// clientCertificate reads PEM, in any order, or PKCS#12 without a password.
func clientCertificate(data []byte) (*tls.Certificate, error) {
	if bytes.Contains(data, []byte("-----BEGIN")) {
		certificate, key := false, false
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
				return nil, errors.New("a private key with a password")
			}
			certificate = certificate || block.Type == "CERTIFICATE"
			key = key || slices.Contains([]string{"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"}, block.Type)
		}
		switch {
		case !certificate:
			return nil, errors.New("no certificate")
		case !key:
			return nil, errors.New("no private key")
		}
		pair, err := tls.X509KeyPair(data, data)
		if err != nil {
			return nil, errors.New("a certificate and a private key that do not belong together, or cannot be read")
		}
		return &pair, nil
	}
	key, leaf, chain, err := pkcs12.DecodeChain(data, "")
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, errors.New("a PKCS#12 file with a password")
	case err != nil:
		return nil, errors.New("neither PEM nor PKCS#12 with a certificate and one private key")
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: leaf, Certificate: [][]byte{leaf.Raw}}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return &pair, nil
}
