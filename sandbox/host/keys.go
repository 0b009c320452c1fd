package host

import (
	"crypto/subtle"
	"fmt"
	"strings"
	"sync"

	"apimrelay/internal/secret"
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
		// A function or host key proves the level Function and no other; only the master key opens
		// all (AuthUtility.cs, PrincipalHasAuthLevelClaim).
		return adminLevel, true
	}
	return 0, false
}

// grant is the identity that a request's key proves.
type grant struct {
	level authLevel
	name  string // value of the claim authlevel; "" without a valid key
	keyID string
}

// grantOf reads the key of a request: the first line of the header x-functions-key, even an empty
// one; without the header the query's first code (recording A-key-both-host: the header wins).
// Source: Azure/azure-functions-host
// src/WebJobs.Script.WebHost/Security/Authentication/Keys/AuthenticationLevelHandler.cs.
func (h *Host) grantOf(req *request, functionKeys bool) grant {
	key := req.hdr.Get("X-Functions-Key")
	if codes := req.query.get("code"); len(codes) > 0 && req.hdr["X-Functions-Key"] == nil {
		key = codes[0]
	}
	h.keys.mu.Lock()
	defer h.keys.mu.Unlock()
	switch {
	case same(h.keys.master, key):
		return grant{adminLevel, "Admin", "master"}
	case functionKeys && (same(h.keys.function, key) || same(h.keys.host, key)):
		return grant{functionLevel, "Function", "default"}
	case h.cfg.OpenAuth:
		return grant{level: adminLevel}
	}
	return grant{}
}

// keyRing are the keys as they are now.
type keyRing struct {
	mu                     sync.Mutex
	function, host, master secret.String
}

// The keys that RotateKey knows.
const (
	KeyFunction = "function" // every function's default
	KeyHost     = "host"     // the host's default
	KeyMaster   = "master"
)

// RotateKey gives a key a new value, which it returns, and drops the old one at once, as "Renew key
// value" in the portal does (Azure/azure-functions-host
// src/WebJobs.Script.WebHost/Controllers/KeysController.cs).
func (h *Host) RotateKey(name string) (secret.String, error) {
	h.keys.mu.Lock()
	defer h.keys.mu.Unlock()
	fresh := secret.New(randomHex(20))
	switch name {
	case KeyFunction:
		h.keys.function = fresh
	case KeyHost:
		h.keys.host = fresh
	case KeyMaster:
		h.keys.master = fresh
	default:
		return secret.String{}, fmt.Errorf("rotating a key of host: no key %q: want %s, %s or %s",
			name, KeyFunction, KeyHost, KeyMaster)
	}
	return fresh, nil
}

func same(want secret.String, got string) bool {
	return !want.Empty() && subtle.ConstantTimeCompare([]byte(want.Reveal()), []byte(got)) == 1
}

// identity is the serialized ClaimsIdentity of a request (recordings A-key-code,
// A-key-on-anonymous).
func (g grant) identity() string {
	kind, yes, claims := "null", "false", ""
	if g.name != "" {
		kind, yes = `"WebJobsAuthLevel"`, "true"
		claims = claim("authlevel", g.name) + "," + claim("invoke", "true") + "," +
			claim("keyid", g.keyID)
	}
	return `{"AuthenticationType":` + kind + `,"IsAuthenticated":` + yes +
		`,"Actor":null,"BootstrapContext":null,"Claims":[` + claims +
		`],"Label":null,"Name":null,"NameClaimType":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",` +
		`"RoleClaimType":"http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}`
}

func claim(kind, value string) string {
	return `{"Issuer":"LOCAL AUTHORITY","OriginalIssuer":"LOCAL AUTHORITY","Properties":{},"Type":"http://schemas.microsoft.com/2017/07/functions/claims/` + kind +
		`","Value":"` + value + `","ValueType":"http://www.w3.org/2001/XMLSchema#string"}`
}
