package settings

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// issue makes a certificate that signs itself, and its key in PKCS#8.
func issue(t *testing.T, key any, public any) (certificate *x509.Certificate, keyDER []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err = x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, keyDER
}

func TestCertificatesInTheFormsThatPeopleHave(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	one, oneKey := issue(t, ec, &ec.PublicKey)
	two, twoKey := issue(t, rsaKey, &rsaKey.PublicKey)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	certPEM, keyPEM := block("CERTIFICATE", one.Raw), block("PRIVATE KEY", oneKey)
	rsaPEM := block("CERTIFICATE", two.Raw) + block("PRIVATE KEY", twoKey)
	file := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p12 := func(e *pkcs12.Encoder, password string) []byte {
		data, err := e.Encode(ec, one, []*x509.Certificate{two}, password)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	legacy, modern := p12(pkcs12.LegacyDES, ""), p12(pkcs12.Modern2023, "")
	base64Of := base64.StdEncoding.EncodeToString
	for _, row := range []struct {
		name, setting, value string
		fault                string // "" = works
	}{
		{"an authority as text", authoritySetting, certPEM, ""},
		{"with \\n for line breaks", authoritySetting, strings.ReplaceAll(certPEM, "\n", `\n`), ""},
		{"two authorities", authoritySetting, certPEM + block("CERTIFICATE", two.Raw), ""},
		{"a PEM file", authoritySetting, file("a.pem", []byte(certPEM)), ""},
		{"a DER file", authoritySetting, file("a.cer", one.Raw), ""},
		{"words", authoritySetting, "my authority", "neither PEM text nor base64 nor the path"},
		{"a missing file", authoritySetting, filepath.Join(t.TempDir(), "none.pem"), "path of a file that is there"},
		{"a private key", authoritySetting, keyPEM, "PEM of another kind beside certificates: private key"},
		{"half a certificate", authoritySetting, certPEM[:60], "PEM without a whole certificate"},

		{"certificate and key as text", certificateSetting, certPEM + keyPEM, ""},
		{"in the other order", certificateSetting, keyPEM + certPEM, ""},
		{"RSA", certificateSetting, rsaPEM, ""},
		{"a PEM file of both", certificateSetting, file("c.pem", []byte(certPEM+keyPEM)), ""},
		{"a PKCS#12 file", certificateSetting, file("c.pfx", modern), ""},
		{"Key Vault's base64, old ciphers", certificateSetting, base64Of(legacy), ""},
		{"Key Vault's base64, new ciphers", certificateSetting, base64Of(modern), ""},
		{"without a key", certificateSetting, certPEM, "no private key"},
		{"without a certificate", certificateSetting, keyPEM, "no certificate"},
		{"with a key of another", certificateSetting, certPEM + block("PRIVATE KEY", twoKey), "do not belong together"},
		{"a PKCS#12 file with a password", certificateSetting, base64Of(p12(pkcs12.Modern2023, "canary")), "with a password"},
		{"an encrypted key", certificateSetting, certPEM + block("ENCRYPTED PRIVATE KEY", oneKey), "with a password"},
		{"words instead", certificateSetting, "canary", "neither PEM text nor base64 nor the path"},
	} {
		t.Run(row.setting+" "+row.name, func(t *testing.T) {
			s := load(t, map[string]string{"orders": orders}, with(map[string]string{row.setting: row.value}))
			said := report(t, s)
			f := s.Functions[0]
			if row.fault != "" {
				if len(s.Faults) != 1 || s.Faults[0].Setting != row.setting || !strings.Contains(s.Faults[0].Text, row.fault) {
					t.Errorf("want a fault with %q, got\n%s", row.fault, said)
				}
				if strings.Contains(said, "-----BEGIN") {
					t.Error("the fault holds the value")
				}
				return
			}
			if len(s.Faults)+len(s.Warnings) > 0 || f.Trust.ID() == "" {
				t.Fatalf("want trust, got %v\n%s", f.Trust, said)
			}
			if f.Trust.HasCertificate() != (row.setting == certificateSetting) || (f.Trust.Config().RootCAs != nil) != (row.setting == authoritySetting) {
				t.Errorf("got %+v", f.Trust.Config())
			}
		})
	}
	if s := load(t, map[string]string{"orders": orders}, with(nil)); s.Functions[0].Trust != nil {
		t.Error("trust without a setting")
	}
}
