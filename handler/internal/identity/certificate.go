package identity

import (
	"crypto"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"software.sslmate.com/src/go-pkcs12"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

// certificateFolder is where App Service on Linux puts the private certificates that
// WEBSITE_LOAD_CERTIFICATES names, as <thumbprint>.p12 without a password.
// https://learn.microsoft.com/azure/app-service/configure-ssl-certificate-in-code, "Load
// certificate in Linux/Windows containers"
const certificateFolder = "/var/ssl/private"

// loadCertificate reads the certificate with the thumbprint, PFX or PEM, and its key.
func loadCertificate(thumbprint string, env Env) ([]*x509.Certificate, crypto.PrivateKey, *token.Error) {
	folder := env.CertificateFolder
	if folder == "" {
		folder = certificateFolder
	}
	const hint = "name the thumbprint in the app setting WEBSITE_LOAD_CERTIFICATES and restart; plans without that setting (Flex Consumption) and other machines " +
		"have no certificates: use a managed identity (RunAs=App)"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, nil, refused(cause.CertificateMissing, hint, "loading the certificate %s: this machine has no certificate folder of App Service: %w", thumbprint, err)
	}
	i := slices.IndexFunc(entries, func(e os.DirEntry) bool {
		ext := filepath.Ext(e.Name())
		return strings.EqualFold(strings.TrimSuffix(e.Name(), ext), thumbprint) && slices.Contains([]string{".p12", ".pfx", ".pem"}, strings.ToLower(ext))
	})
	if i < 0 {
		return nil, nil, refused(cause.CertificateMissing, hint, "loading the certificate %s: not among the %s of %s", thumbprint, plural(len(entries), "file"), folder)
	}
	path := filepath.Join(folder, entries[i].Name())
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, refused(cause.CertificateMissing, hint, "loading the certificate %s: %w", thumbprint, err)
	}
	certs, key, err := parseCertificate(data)
	if err != nil {
		return nil, nil, refused(cause.CertificateMissing, "it must hold the certificate and its private key, without a password", "loading the certificate %s: reading %s: %w", thumbprint, path, err)
	}
	return certs, key, nil
}

// parseCertificate reads PEM and PFX. azidentity's own reader does not know the integrity check
// that OpenSSL 3 writes into a PFX by default (SHA-256).
func parseCertificate(data []byte) ([]*x509.Certificate, crypto.PrivateKey, error) {
	certs, key, err := azidentity.ParseCertificates(data, nil)
	if err == nil {
		return certs, key, nil
	}
	key, leaf, chain, pfxErr := pkcs12.DecodeChain(data, "")
	switch {
	case pfxErr == nil:
		return append([]*x509.Certificate{leaf}, chain...), key, nil
	case errors.Is(pfxErr, pkcs12.ErrIncorrectPassword):
		return nil, nil, errors.New("it is protected by a password")
	}
	return nil, nil, errors.New("neither PEM nor PFX with a certificate and one private key")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}
