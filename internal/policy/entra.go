package policy

import (
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// entraIssuer is an issuer taken apart: https://login.microsoftonline.com/{tenant}/v2.0 or https://sts.windows.net/{tenant}/.
type entraIssuer struct {
	host, tenant string
	version      int // 1 or 2
}

var guid = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
})

// readIssuer recognises Entra's issuers by their path, so that those of sovereign clouds and of a local issuer count as well.
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference#payload-claims
func readIssuer(issuer string) (entraIssuer, bool) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return entraIssuer{}, false
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	i := entraIssuer{host: u.Host, tenant: parts[0], version: 1}
	if len(parts) == 2 && parts[1] == "v2.0" {
		i.version = 2
	} else if len(parts) != 1 {
		return entraIssuer{}, false
	}
	return i, guid().MatchString(i.tenant)
}

const wellKnown = "/.well-known/openid-configuration"

// v1Issuers are the issuers of v1 tokens by the host of the metadata; v2 tokens carry the metadata's own host.
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
var v1Issuers = map[string]string{
	"login.microsoftonline.com":        "https://sts.windows.net/",
	"login.microsoftonline.us":         "https://sts.windows.net/",
	"login.partner.microsoftonline.cn": "https://sts.chinacloudapi.cn/",
	"sts.windows.net":                  "https://sts.windows.net/",
}

// issuerOf derives the issuer from a metadata address of Entra, without fetching it. It cannot for other hosts, nor for a tenant that is given
// by a domain or as common: the document holds the GUID or a template there.
func issuerOf(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" {
		return "", false
	}
	path, ok := strings.CutSuffix(u.Path, wellKnown)
	v1, known := v1Issuers[strings.ToLower(u.Host)]
	if !ok || !known {
		return "", false
	}
	tenant, v2 := strings.CutSuffix(strings.Trim(path, "/"), "/v2.0")
	if !guid().MatchString(tenant) {
		return "", false
	}
	if v2 {
		return "https://" + strings.ToLower(u.Host) + "/" + tenant + "/v2.0", true
	}
	return v1 + tenant + "/", true
}
