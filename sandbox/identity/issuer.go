package identity

import (
	"encoding/json"
	"net/http"
	"strings"
)

// metadata is the OpenID Connect discovery document, as far as clients and gateways read it.
type metadata struct {
	TokenEndpoint         string   `json:"token_endpoint"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	JWKS                  string   `json:"jwks_uri"`
	ResponseModes         []string `json:"response_modes_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	Algorithms            []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	DeviceEndpoint        string   `json:"device_authorization_endpoint"`
	CloudInstance         string   `json:"cloud_instance_name"`
}

// Issuer serves metadata (v1 and v2), the key set, the token endpoint and, for the pretended Azure CLI, POST /cli. Addresses in
// its documents begin with the scheme and host of the request. Serve it over TLS for clients that insist on it.
func (s *Server) Issuer() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", s.serveInstance)
	for _, path := range []string{"/{tenant}/.well-known/openid-configuration", "/{tenant}/v2.0/.well-known/openid-configuration"} {
		mux.HandleFunc("GET "+path, s.serveMetadata)
	}
	for _, path := range []string{"/{tenant}/discovery/keys", "/{tenant}/discovery/v2.0/keys"} {
		mux.HandleFunc("GET "+path, s.serveKeys)
	}
	mux.HandleFunc("POST /{tenant}/oauth2/token", s.serveToken)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.serveToken)
	outer := http.NewServeMux()
	outer.HandleFunc("POST /cli", s.serveCLI) // its faults are those of the CLI
	outer.Handle("/", s.faulty(ToIssuer, mux))
	return outer
}

func baseOf(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func isTemplate(tenant string) bool {
	return tenant == "common" || tenant == "organizations" || tenant == "consumers"
}

// tenant returns a tenant as it is spelled here: the server's own, or another one that knows an
// application. Others are refused as Entra does it: 900023 for a text that is no tenant name, 90002 for
// one that does not exist.
func (s *Server) tenant(asked string) (string, *oauthError) {
	if strings.EqualFold(asked, s.cfg.TenantID) {
		return s.cfg.TenantID, nil
	}
	for _, app := range s.cfg.Applications {
		for _, tenant := range app.Tenants {
			if strings.EqualFold(asked, tenant) {
				return tenant, nil
			}
		}
	}
	if !isGUID(asked) && !strings.Contains(asked, ".") {
		return "", s.errorf(900023, asked)
	}
	return "", s.errorf(90002, asked)
}

// issuerOf is the issuer of a tenant's tokens of version 2, and of what managed identities show.
func issuerOf(tenant string) string { return "https://login.microsoftonline.com/" + tenant + "/v2.0" }

func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	entry, tenant := entryOf(r), r.PathValue("tenant")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !isTemplate(tenant) {
		known, refused := s.tenant(tenant)
		if refused != nil {
			s.refuseLocked(w, r, entry, refused)
			return
		}
		tenant = known
	}
	base, v2 := baseOf(r)+"/"+tenant, strings.Contains(r.URL.Path, "/v2.0/")
	issuerTenant := tenant
	if isTemplate(tenant) {
		issuerTenant = "{tenantid}" // what makes these documents useless for a gateway
	}
	m := metadata{
		AuthMethods:   []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		ResponseModes: []string{"query", "fragment", "form_post"}, SubjectTypes: []string{"pairwise"}, Algorithms: []string{"RS256"},
		ResponseTypes: []string{"code", "id_token", "code id_token", "token id_token", "token"}, CloudInstance: "microsoftonline.com",
	}
	if v2 {
		m.Issuer = "https://login.microsoftonline.com/" + issuerTenant + "/v2.0"
		m.TokenEndpoint, m.AuthorizationEndpoint = base+"/oauth2/v2.0/token", base+"/oauth2/v2.0/authorize"
		m.DeviceEndpoint, m.JWKS = base+"/oauth2/v2.0/devicecode", base+"/discovery/v2.0/keys"
	} else {
		m.Issuer = "https://sts.windows.net/" + issuerTenant + "/"
		m.TokenEndpoint, m.AuthorizationEndpoint = base+"/oauth2/token", base+"/oauth2/authorize"
		m.DeviceEndpoint, m.JWKS = base+"/oauth2/devicecode", base+"/discovery/keys"
	}
	s.recordLocked(entry, http.StatusOK)
	writeJSON(w, http.StatusOK, m)
}

func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	entry, tenant := entryOf(r), r.PathValue("tenant")
	s.mu.Lock()
	defer s.mu.Unlock()
	known, refused := s.tenant(tenant)
	if refused != nil && !isTemplate(tenant) {
		s.refuseLocked(w, r, entry, refused)
		return
	}
	if known == "" {
		known = s.cfg.TenantID
	}
	body := s.stale
	if body == nil {
		issuer := ""
		if strings.Contains(r.URL.Path, "/v2.0/") {
			issuer = issuerOf(known)
		}
		body = s.keySetLocked(issuer)
	}
	s.recordLocked(entry, http.StatusOK)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Write(body)
}

func (s *Server) keySetLocked(issuer string) []byte {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	for _, key := range s.keys {
		set.Keys = append(set.Keys, key.jwk(issuer))
	}
	body, err := json.Marshal(set)
	if err != nil {
		panic(err) // strings only
	}
	return body
}

// serveInstance answers what MSAL asks for an authority that it does not know.
func (s *Server) serveInstance(w http.ResponseWriter, r *http.Request) {
	base := baseOf(r)
	writeJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": base + "/" + s.cfg.TenantID + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []map[string]any{{
			"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host},
		}},
	})
}

func (s *Server) refuseLocked(w http.ResponseWriter, r *http.Request, entry *Request, e *oauthError) {
	entry.Cause = e.summary()
	s.recordLocked(entry, e.status)
	writeJSON(w, e.status, s.answerOf(e, r.Header.Get("client-request-id")))
}
