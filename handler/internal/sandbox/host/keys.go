package host

import (
	"crypto/subtle"
	"strings"

	"apimrelay/handler/internal/secret"
)

// authLevel is a function's authLevel, and what a key proves.
type authLevel int

const (
	anonymous authLevel = iota
	functionLevel
	adminLevel
)

func parseAuthLevel(s string) (authLevel, bool) {
	switch strings.ToLower(s) {
	case "anonymous", "0":
		return anonymous, true
	case "function", "", "2":
		return functionLevel, true
	case "admin", "4":
		return adminLevel, true
	case "user", "system", "1", "3":
		return functionLevel, true
	}
	return 0, false
}

// grant is the identity that a request's key proves.
type grant struct {
	level authLevel
	name  string // value of the claim authlevel; "" without a valid key
	keyID string
}

// grantOf reads the key of a request: the header x-functions-key, without one the query's code (recording A-key-both-host: the header wins).
// Source: Azure/azure-functions-host src/WebJobs.Script.WebHost/Security/Authentication/Keys/AuthenticationLevelHandler.cs.
func (h *Host) grantOf(req *request, functionKeys bool) grant {
	key := req.hdr.get("x-functions-key")
	if key == "" {
		if codes := req.query.get("code"); len(codes) > 0 {
			key = strings.Join(codes, ",")
		}
	}
	c := h.cfg
	switch {
	case same(c.MasterKey, key):
		return grant{adminLevel, "Admin", "master"}
	case functionKeys && (same(c.FunctionKey, key) || same(c.HostKey, key)):
		return grant{functionLevel, "Function", "default"}
	case c.OpenAuth:
		return grant{level: adminLevel}
	}
	return grant{}
}

func same(want secret.String, got string) bool {
	return !want.Empty() && subtle.ConstantTimeCompare([]byte(want.Reveal()), []byte(got)) == 1
}

// identity is the serialized ClaimsIdentity of a request (recordings A-key-code, A-key-on-anonymous).
func (g grant) identity() string {
	kind, yes, claims := "null", "false", ""
	if g.name != "" {
		kind, yes = `"WebJobsAuthLevel"`, "true"
		claims = claim("authlevel", g.name) + "," + claim("invoke", "true") + "," + claim("keyid", g.keyID)
	}
	return `{"AuthenticationType":` + kind + `,"IsAuthenticated":` + yes + `,"Actor":null,"BootstrapContext":null,"Claims":[` + claims +
		`],"Label":null,"Name":null,"NameClaimType":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",` +
		`"RoleClaimType":"http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}`
}

func claim(kind, value string) string {
	return `{"Issuer":"LOCAL AUTHORITY","OriginalIssuer":"LOCAL AUTHORITY","Properties":{},"Type":"http://schemas.microsoft.com/2017/07/functions/claims/` + kind +
		`","Value":"` + value + `","ValueType":"http://www.w3.org/2001/XMLSchema#string"}`
}
