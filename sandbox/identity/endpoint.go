package identity

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Texts of the real endpoint, word for word (their spelling), as the live tests of
// AzureAD/microsoft-authentication-library-for-dotnet (ManagedIdentityTests) expect them.
const (
	notAttached = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
	noToken     = "An unexpected error occured while fetching the AAD Token."
)

type endpointError struct {
	StatusCode    int    `json:"statusCode"`
	Message       string `json:"message"`
	CorrelationID string `json:"correlationId"`
}

type endpointAnswer struct {
	AccessToken string `json:"access_token"`
	ClientID    string `json:"client_id"`
	ExpiresOn   string `json:"expires_on"`
	NotBefore   string `json:"not_before"`
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
	RefreshIn   string `json:"refresh_in,omitempty"`
}

// Endpoint serves GET /msi/token as App Service does: 401 without the right X-IDENTITY-HEADER, 400 for an identity that the
// app does not have, 500 with one text for every refusal by Entra, and the same token for about 24 hours.
func (s *Server) Endpoint() http.Handler {
	return s.faulty(ToEndpoint, http.HandlerFunc(s.serveEndpoint))
}

func (s *Server) serveEndpoint(w http.ResponseWriter, r *http.Request) {
	entry := entryOf(r)
	entry.Kind = "managed identity"
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.refuseEndpoint(w, entry, http.StatusBadRequest, "The query is not readable.")
		return
	}
	entry.Resource = query.Get("resource")
	if !isEndpointPath(r.URL.Path) || r.Method != http.MethodGet {
		s.refuseEndpoint(w, entry, http.StatusNotFound, "Only GET /msi/token is served.")
		return
	}
	if v := query.Get("api-version"); v != "" && v != "2019-08-01" { // before the header: older versions had another
		entry.Cause = "api-version " + strconv.Quote(v) + " is not played, 2019-08-01 is"
		s.refuseEndpoint(w, entry, http.StatusBadRequest, "The api-version is not supported.")
		return
	}
	header := r.Header.Get("X-IDENTITY-HEADER")
	if subtle.ConstantTimeCompare([]byte(header), []byte(s.cfg.Header)) != 1 {
		entry.Cause = "X-IDENTITY-HEADER is wrong"
		if header == "" {
			entry.Cause = "X-IDENTITY-HEADER is missing"
		}
		s.refuseEndpoint(w, entry, http.StatusUnauthorized, "Unauthorized")
		return
	}
	if query.Get("api-version") == "" {
		entry.Cause = "api-version is missing: 2019-08-01 is played"
		s.refuseEndpoint(w, entry, http.StatusBadRequest, "The api-version is not supported.")
		return
	}
	if entry.Resource == "" {
		entry.Cause = "resource is missing"
		s.refuseEndpoint(w, entry, http.StatusBadRequest, "The parameter resource is missing.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.findIdentityLocked(query)
	if id == nil || id.Detached {
		entry.Cause = "the app has no such identity"
		entry.ClientID = query.Get("client_id")
		s.refuseEndpointLocked(w, entry, http.StatusBadRequest, notAttached)
		return
	}
	entry.ClientID = id.ClientID
	token, fault := s.managedTokenLocked(id, entry.Resource)
	if fault != nil {
		entry.Cause = fault.summary()
		s.refuseEndpointLocked(w, entry, http.StatusInternalServerError, noToken)
		return
	}
	entry.Token = &token.facts
	answer := endpointAnswer{
		AccessToken: token.token, ClientID: id.ClientID, Resource: entry.Resource, TokenType: "Bearer",
		ExpiresOn: strconv.FormatInt(token.expires.Unix(), 10), NotBefore: strconv.FormatInt(token.notBefore.Unix(), 10),
	}
	if s.cfg.RefreshIn > 0 {
		answer.RefreshIn = strconv.Itoa(int(s.cfg.RefreshIn / time.Second))
	}
	if s.faults.take(EmptyToken, ToEndpoint) {
		answer.AccessToken = ""
	}
	s.recordLocked(entry, http.StatusOK)
	writeJSON(w, http.StatusOK, answer)
}

// findIdentityLocked reads the id parameters, of several the first in this order: none means the system-assigned identity, never the only user-assigned one
// (that is IMDS). principal_id is the documented name of object_id.
func (s *Server) findIdentityLocked(query url.Values) *ManagedIdentity {
	match := func(id *ManagedIdentity) bool { return id.System }
	for _, by := range []struct {
		name string
		get  func(*ManagedIdentity) string
	}{
		{"client_id", func(id *ManagedIdentity) string { return id.ClientID }},
		{"principal_id", func(id *ManagedIdentity) string { return id.ObjectID }},
		{"object_id", func(id *ManagedIdentity) string { return id.ObjectID }},
		{"mi_res_id", func(id *ManagedIdentity) string { return id.ResourceID }},
	} {
		if query.Has(by.name) {
			want := query.Get(by.name)
			match = func(id *ManagedIdentity) bool { return want != "" && strings.EqualFold(by.get(id), want) }
			break
		}
	}
	for i := range s.cfg.Identities {
		if match(&s.cfg.Identities[i]) {
			return &s.cfg.Identities[i]
		}
	}
	return nil
}

// managedTokenLocked answers from the platform's cache, whose key is the resource as it was asked for.
func (s *Server) managedTokenLocked(id *ManagedIdentity, asked string) (*minted, *oauthError) {
	r, audience := s.cfg.resource(asked)
	if r == nil {
		return nil, s.errorf(500011, asked, s.cfg.TenantID)
	}
	who := managedPrincipal(id, r)
	if r.AssignmentRequired && len(who.roles) == 0 {
		return nil, s.errorf(501051, who.clientID, id.Name, r.ClientID, r.Name)
	}
	key := id.ClientID + "\x00" + asked
	if have := s.cache[key]; have != nil {
		now := s.cfg.Now()
		left, life := have.expires.Sub(now), have.expires.Sub(have.notBefore)
		if left > min(5*time.Minute, life/2) || s.faults.on(SameToken) {
			again := *have
			again.facts.Cached = true
			return &again, nil
		}
	}
	token, err := s.mintLocked(who, r, audience, s.cfg.Life, nil)
	if err != nil {
		return nil, &oauthError{code: 90100, description: err.Error()}
	}
	if !token.once {
		s.cache[key] = token
	}
	return token, nil
}

func managedPrincipal(id *ManagedIdentity, r *Resource) principal {
	return principal{clientID: id.ClientID, objectID: id.ObjectID, credential: "2", roles: id.Roles[r.ClientID], mirid: id.ResourceID}
}

func (s *Server) refuseEndpoint(w http.ResponseWriter, entry *Request, status int, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuseEndpointLocked(w, entry, status, message)
}

func (s *Server) refuseEndpointLocked(w http.ResponseWriter, entry *Request, status int, message string) {
	if entry.Cause == "" {
		entry.Cause = message
	}
	s.recordLocked(entry, status)
	writeJSON(w, status, endpointError{StatusCode: status, Message: message, CorrelationID: newGUID()})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // a caller that left is no problem of ours
}
