package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
)

// certificateFor is one that nobody trusts, for a name.
func certificateFor(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// What keeps calls from the gateway is named, and no fix is for a place where the program does not run.
func TestNetworkCausesAreToldApart(t *testing.T) {
	secure := func(change func(*tls.Config)) func(s *stage) {
		return func(s *stage) {
			server := quiet(http.NotFoundHandler())
			server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
			change(server.TLS)
			server.StartTLS()
			s.t.Cleanup(server.Close)
			s.settings["ApimUrl"] = server.URL + "/orders"
		}
	}
	behind := func(name, value string) func(s *stage) {
		return func(s *stage) {
			s.settings["ApimUrl"] = "https://contoso.invalid/orders"
			s.t.Setenv(name, value)
		}
	}
	answering := func(status int) func(s *stage) {
		return func(s *stage) {
			proxy := quiet(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			proxy.Start()
			s.t.Cleanup(proxy.Close)
			behind("HTTPS_PROXY", proxy.URL)(s)
		}
	}
	for name, tc := range map[string]struct {
		set  func(s *stage)
		want []string
		saw  string
	}{
		"a proxy that is not there":     {func(s *stage) { behind("HTTPS_PROXY", "http://"+closedPort(s.t))(s) }, []string{"proxy-down"}, "connection refused"},
		"a proxy in small letters":      {func(s *stage) { behind("https_proxy", closedPort(s.t))(s) }, []string{"proxy-down"}, "https_proxy"},
		"a proxy whose name is unknown": {behind("HTTPS_PROXY", "http://proxy.invalid:3128"), []string{"proxy-down"}, "its name: "},
		"a proxy that cannot be read":   {behind("HTTPS_PROXY", "http://user:pa%ssword-canary@proxy:3128"), []string{"gateway-name", "proxy-address"}, "HTTPS_PROXY is not used: it holds a %"},
		"a proxy that wants a password": {answering(407), []string{"proxy-refuses"}, "through the proxy of HTTPS_PROXY: "},
		"a proxy that reaches nothing":  {answering(502), []string{"proxy-refuses"}, "through the proxy of HTTPS_PROXY: "},
		"a client certificate, TLS 1.3": {secure(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), []string{"gateway-client-certificate"}, ""},
		"a client certificate, TLS 1.2": {secure(func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }), []string{"gateway-client-certificate"}, ""},
		"an old version alone":          {secure(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), []string{"gateway-tls"}, ""},
		"no common cipher": {secure(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}
		}), []string{"gateway-tls"}, ""},
		"an authority that nobody trusts": {secure(func(c *tls.Config) { c.Certificates = []tls.Certificate{ipCertificate(t)} }), []string{"gateway-certificate"}, ""},
		"a certificate for another name":  {secure(func(c *tls.Config) { c.Certificates = []tls.Certificate{certificateFor(t, "other.example")} }), []string{"gateway-certificate-name"}, ""},
		"a name that does not resolve":    {func(s *stage) { s.settings["ApimUrl"] = "https://contoso.invalid/orders" }, []string{"gateway-name"}, "connect the VPN"},
		"a connection that is not taken":  {func(s *stage) { s.settings["ApimUrl"] = "https://" + closedPort(s.t) + "/orders" }, []string{"gateway-connection"}, "connect the VPN"},
		"something else than TLS listens": {func(s *stage) {
			s.broken = func(s *stage) {
				s.settings["ApimUrl"] = strings.Replace(s.settings["ApimUrl"], "http://", "https://", 1)
			}
		}, []string{"gateway-tls"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			for _, variable := range []string{"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "WEBSITE_SITE_NAME", "WEBSITE_INSTANCE_ID"} {
				t.Setenv(variable, "")
			}
			s.broken = s.set(tc.set)
			r := s.run()
			text := table(t, r)
			if got := anchors(r); !slices.Equal(got, tc.want) {
				t.Errorf("want %v, got %v\n%s", tc.want, got, text)
			}
			if !strings.Contains(text, tc.saw) || strings.Contains(text, "az functionapp") || strings.Contains(text, "canary") {
				t.Errorf("want %q and no advice for a function app in\n%s", tc.saw, text)
			}
		})
	}
}

// set runs a set-up when everything has started, unless it leaves one for then itself.
func (s *stage) set(change func(s *stage)) func(s *stage) {
	return func(s *stage) {
		s.broken = nil
		change(s)
		if s.broken != nil {
			s.broken(s)
		}
	}
}

// ipCertificate is for 127.0.0.1, of an authority that nobody trusts.
func ipCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	server := quiet(http.NotFoundHandler())
	server.StartTLS()
	defer server.Close()
	return server.TLS.Certificates[0]
}

func TestTheControlResourceIsThatOfTheCloud(t *testing.T) {
	for _, tc := range []struct{ url, authority, want string }{
		{"https://contoso.azure-api.net/x", "", "https://management.azure.com/"},
		{"https://contoso.azure-api.cn/x", "", "https://management.chinacloudapi.cn/"},
		{"https://contoso.azure-api.us:443/x", "", "https://management.usgovcloudapi.net/"},
		{"https://api.contoso.com/x", "https://login.microsoftonline.us/", "https://management.usgovcloudapi.net/"},
		{"https://api.contoso.com/x", "https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn/"},
		{"https://api.contoso.com/x", "https://login.microsoftonline.com/", "https://management.azure.com/"},
		{"", "https://login.partner.microsoftonline.cn", "https://management.chinacloudapi.cn/"},
	} {
		f := &settings.Function{Identity: identity.Connection{}}
		if tc.url != "" {
			parsed, err := target.Parse(tc.url)
			must(t, err)
			f.Target = parsed
		}
		v := &visit{walk: &walk{o: Options{Lookup: func(name string) (string, bool) { return tc.authority, name == "AZURE_AUTHORITY_HOST" }}}, f: f}
		if got := v.control(); got != tc.want {
			t.Errorf("%s, %s: want %s, got %s", tc.url, tc.authority, tc.want, got)
		}
	}
}
