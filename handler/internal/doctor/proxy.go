package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"apimrelay/handler/internal/cause"
)

// proxy is what the environment says about a proxy for calls to the gateway.
type proxy struct {
	variable string   // that names it, as it is spelled in the environment; "" = none is set
	address  *url.URL // nil: calls go without one
	ignored  string   // why the variable's value is no address, without the value; "" = it is one
}

// proxy reads the variables as net/http does (golang.org/x/net/http/httpproxy, which it has a
// copy of), which leaves an address that it cannot read aside without a word.
func (v *visit) proxy() proxy {
	if v.f.Target == nil {
		return proxy{}
	}
	get := func(names ...string) (name, value string) {
		for _, name := range names {
			if value, _ := v.o.Lookup(name); value != "" {
				return name, value
			}
		}
		return "", ""
	}
	p := proxy{}
	value := ""
	config := httpproxy.Config{}
	_, config.NoProxy = get("NO_PROXY", "no_proxy")
	if v.f.Target.Scheme() == "https" {
		p.variable, value = get("HTTPS_PROXY", "https_proxy")
		config.HTTPSProxy = value
	} else {
		p.variable, value = get("HTTP_PROXY", "http_proxy")
		config.HTTPProxy = value
	}
	if value == "" {
		return proxy{}
	}
	_, err := url.Parse(value)
	if err != nil {
		if _, second := url.Parse("http://" + value); second == nil { // without a scheme it is http's
			err = nil
		}
	}
	if err != nil {
		p.ignored = "it is no URL"
		if _, ok := errors.AsType[url.EscapeError](err); ok {
			p.ignored = "it holds a % that begins no escape: write %25"
		}
		return p
	}
	target, err := url.Parse(v.f.Target.Scheme() + "://" + v.f.Target.Host() + "/")
	if err != nil {
		return proxy{}
	}
	p.address, err = config.ProxyFunc()(target)
	if err != nil || p.address == nil { // NO_PROXY, or a loopback address
		return proxy{}
	}
	return p
}

// checkProxy looks for the proxy that calls take, before the gateway is blamed for it.
func checkProxy(ctx context.Context, v *visit) []outcome {
	if _, _, out := v.host(); out.status != "" {
		return one(out)
	}
	p := v.proxy()
	switch {
	case p.ignored != "":
		return one(warn(cause.ProxyAddress, p.variable+" is not used: "+p.ignored, v.fill()))
	case p.address == nil:
		return nil
	}
	host := p.address.Host
	if p.address.Port() == "" {
		port := map[string]string{"https": "443", "socks5": "1080", "socks5h": "1080"}[p.address.Scheme]
		if port == "" {
			port = "80"
		}
		host = net.JoinHostPort(p.address.Hostname(), port)
	}
	ctx, cancel := context.WithTimeout(ctx, v.o.times.connect)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		why := plainError(err)
		if d, ok := errors.AsType[*net.DNSError](err); ok {
			why = "its name: " + plainDNS(d)
		}
		return one(find(cause.ProxyDown, fmt.Sprintf("the proxy %s of %s: %s", p.address.Host, p.variable, why), v.fill()))
	}
	_ = conn.Close()
	return one(ok("%s, of %s", p.address.Host, p.variable))
}

// throughProxy gives a transport the proxy that checkProxy looks at.
func (v *visit) throughProxy(t *http.Transport) {
	t.Proxy = func(*http.Request) (*url.URL, error) { return v.proxy().address, nil }
}

// clouds are those whose management endpoint is another one, by the end of a gateway's name and
// by the authority (learn.microsoft.com "Azure Government endpoint mapping", "Azure China
// endpoint mapping").
var clouds = []struct{ gateway, authority, management string }{
	{".azure-api.us", ".microsoftonline.us", "https://management.usgovcloudapi.net/"},
	{".azure-api.cn", ".chinacloudapi.cn", "https://management.chinacloudapi.cn/"},
	{".azure-api.cn", ".partner.microsoftonline.cn", "https://management.chinacloudapi.cn/"},
}

// control is a resource that every tenant of the cloud has. Where it works and TargetApp does not,
// TargetApp is the fault, else the platform.
func (v *visit) control() string {
	if v.f.Target != nil {
		host := strings.ToLower(v.f.Target.Host())
		for _, c := range clouds {
			if name, _, _ := strings.Cut(host, ":"); strings.HasSuffix(name, c.gateway) {
				return c.management
			}
		}
	}
	authority, _ := v.o.Lookup("AZURE_AUTHORITY_HOST")
	if u, err := url.Parse(authority); err == nil {
		for _, c := range clouds {
			if strings.HasSuffix("."+strings.ToLower(u.Hostname()), c.authority) {
				return c.management
			}
		}
	}
	return "https://management.azure.com/"
}
