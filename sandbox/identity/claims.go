package identity

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// principal is who a token speaks of.
type principal struct {
	clientID, objectID string
	credential         string // appidacr, azpacr: "0" public client, "1" secret, "2" certificate (a managed identity shows 2)
	roles              []string
	developer          *Developer // delegated token; nil: app-only
	scopes             string
	mirid              string // ARM path of the identity
	tenant             string // where the token comes from; "" = the server's own
}

// Facts are what may be shown of a token. The token itself never leaves the answer that carries it.
type Facts struct {
	Hash    string    `json:"hash"` // 12 hex digits of the SHA-256
	KeyID   string    `json:"kid"`
	Version string    `json:"ver"`
	Issuer  string    `json:"iss"`
	Aud     string    `json:"aud"`
	Tenant  string    `json:"tid"`
	Caller  string    `json:"caller"` // client id of whom it was minted for: appid or azp
	Roles   []string  `json:"roles,omitempty"`
	Scopes  string    `json:"scp,omitempty"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Cached  bool      `json:"cached,omitempty"` // from the platform's cache
}

type minted struct {
	token              string
	facts              Facts
	notBefore, expires time.Time
	once               bool // minted under a fault that is on for a number of tokens: not to be kept
}

// mintLocked signs a token for who, to be used at r. The caller holds s.mu.
func (s *Server) mintLocked(who principal, r *Resource, audience string, life time.Duration, change func(map[string]any)) (*minted, error) {
	now := s.cfg.Now().Add(s.faults.skew())
	tenant := cmp.Or(who.tenant, s.cfg.TenantID)
	if s.faults.on(WrongTenant) {
		tenant = OtherTenantID
	}
	if d, ok := s.faults.life(); ok {
		life = d
	}
	issued := now.Truncate(time.Second)
	expires := now.Add(life).Truncate(time.Second)
	if s.faults.on(ExpiredToken) {
		issued, expires = issued.Add(-life-10*time.Minute), issued.Add(-10*time.Minute)
	}
	claims := map[string]any{
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": expires.Unix(),
		"aio": randomText(44), "rh": "0." + randomText(30), "uti": randomText(22),
		"oid": who.objectID, "sub": who.objectID, "tid": tenant,
	}
	v1 := r.Version != 2
	v1Issuer := "https://sts.windows.net/" + tenant + "/"
	if v1 {
		claims["ver"], claims["iss"], claims["aud"] = "1.0", v1Issuer, audience
		claims["appid"], claims["appidacr"], claims["idp"] = who.clientID, who.credential, v1Issuer
	} else {
		claims["ver"], claims["iss"], claims["aud"] = "2.0", issuerOf(tenant), r.ClientID
		claims["azp"], claims["azpacr"] = who.clientID, who.credential
	}
	if roles := who.roles; len(roles) > 0 && !s.faults.on(RoleMissing) {
		claims["roles"] = roles // absent, not empty, without an assignment
	}
	if who.mirid != "" && r.hasURI(managementURI) {
		claims["xms_mirid"] = who.mirid // seen in tokens for Azure Resource Manager, not promised for others
	}
	if r.Idtyp {
		claims["idtyp"] = map[bool]string{true: "user", false: "app"}[who.developer != nil]
	}
	if d := who.developer; d != nil {
		claims["sub"] = "pairwise-" + shortHash(d.ObjectID+r.ClientID)
		claims["name"], claims["scp"] = d.Name, who.scopes
		if v1 {
			delete(claims, "idp") // home-tenant user
			claims["acr"], claims["amr"], claims["ipaddr"] = "1", []string{"pwd", "mfa"}, "192.0.2.7"
			claims["unique_name"], claims["upn"] = d.UPN, d.UPN
		} else {
			claims["preferred_username"] = d.UPN
		}
	}
	if change != nil {
		change(claims)
	}
	token, kid, err := s.signLocked(claims, v1)
	if err != nil {
		return nil, err
	}
	m := &minted{token: token, notBefore: issued, expires: expires}
	m.facts = factsOf(token, kid, claims)
	m.once = s.faults.countMint()
	return m, nil
}

func (s *Server) signLocked(claims map[string]any, x5t bool) (token, kid string, err error) {
	key := s.keys[0]
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
	t.Header["kid"] = key.kid
	if x5t {
		t.Header["x5t"] = key.kid
	}
	if token, err = t.SignedString(key.private); err != nil {
		return "", "", fmt.Errorf("signing a token: %w", err)
	}
	return token, key.kid, nil
}

func factsOf(token, kid string, claims map[string]any) Facts {
	text := func(names ...string) string {
		for _, name := range names {
			if v, ok := claims[name].(string); ok {
				return v
			}
		}
		return ""
	}
	moment := func(name string) time.Time {
		if n, ok := claims[name].(int64); ok {
			return time.Unix(n, 0).UTC()
		}
		return time.Time{}
	}
	f := Facts{
		Hash: shortHash(token), KeyID: kid, Version: text("ver"), Issuer: text("iss"), Aud: text("aud"), Tenant: text("tid"),
		Caller: text("appid", "azp"), Scopes: text("scp"), Issued: moment("iat"), Expires: moment("exp"),
	}
	f.Roles, _ = claims["roles"].([]string)
	return f
}

func (r *Resource) hasURI(uri string) bool {
	for _, u := range r.URIs {
		if u == uri {
			return true
		}
	}
	return false
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

// Mint describes a token for a test. The zero value is one of the system-assigned identity for the first resource.
type Mint struct {
	ClientID string               // a managed identity, an application, or "developer"; "": the system-assigned identity
	Resource string               // URI or client id; "": the first resource
	Life     time.Duration        // 0: Config.Life
	Change   func(map[string]any) // the claims, before they are signed
	OtherKey bool                 // sign with a key that the key set does not hold
}

// MintToken signs a token as the issuer would, past its cache and its history. Safe for concurrent use.
func (s *Server) MintToken(m Mint) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Resource == "" {
		m.Resource = s.cfg.Resources[0].ClientID
		if uris := s.cfg.Resources[0].URIs; len(uris) > 0 {
			m.Resource = uris[0]
		}
	}
	r, audience := s.cfg.resource(m.Resource)
	if r == nil {
		return "", fmt.Errorf("minting a token: no resource %q", m.Resource)
	}
	who, ok := s.principalLocked(m.ClientID, r)
	if !ok {
		return "", fmt.Errorf("minting a token: nobody has the client id %q", m.ClientID)
	}
	if m.Life == 0 {
		m.Life = s.cfg.Life
	}
	if m.OtherKey {
		key, err := newSigningKey()
		if err != nil {
			return "", err
		}
		defer func(keys []*signingKey) { s.keys = keys }(s.keys)
		s.keys = []*signingKey{key}
	}
	out, err := s.mintLocked(who, r, audience, m.Life, m.Change)
	if err != nil {
		return "", err
	}
	return out.token, nil
}

func (s *Server) principalLocked(clientID string, r *Resource) (principal, bool) {
	if clientID == "developer" {
		return s.developerLocked(r), true
	}
	for i := range s.cfg.Identities {
		id := &s.cfg.Identities[i]
		if id.ClientID == clientID || clientID == "" && id.System {
			return managedPrincipal(id, r), true
		}
	}
	for i := range s.cfg.Applications {
		if app := &s.cfg.Applications[i]; app.ClientID == clientID {
			return principal{clientID: app.ClientID, objectID: app.ObjectID, credential: "1", roles: app.Roles[r.ClientID]}, true
		}
	}
	return principal{}, false
}
