package identity

import (
	"crypto/subtle"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

const maxForm = 1 << 20

type tokenAnswer struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    any    `json:"expires_in"` // number from the v2 endpoint, text from v1
	ExtExpiresIn any    `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on,omitempty"` // v1
	NotBefore    string `json:"not_before,omitempty"` // v1
	Resource     string `json:"resource,omitempty"`   // v1
	AccessToken  string `json:"access_token"`
}

// serveToken is the token endpoint, client credentials only: by secret, by an assertion signed with a registered certificate, or by
// somebody else's assertion (workload identity federation).
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	entry := entryOf(r)
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.refuseLocked(w, r, entry, s.errorf(900144, "grant_type"))
		return
	}
	v2 := strings.Contains(r.URL.Path, "/v2.0/")
	entry.ClientID = r.PostForm.Get("client_id")
	answer, refused := s.grantLocked(r, entry, v2)
	if refused != nil {
		s.refuseLocked(w, r, entry, refused)
		return
	}
	s.recordLocked(entry, http.StatusOK)
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) grantLocked(r *http.Request, entry *Request, v2 bool) (*tokenAnswer, *oauthError) {
	form := r.PostForm
	tenant, refused := s.tenant(r.PathValue("tenant"))
	if refused != nil {
		return nil, refused
	}
	switch grant := form.Get("grant_type"); grant {
	case "client_credentials":
	case "":
		return nil, s.errorf(900144, "grant_type")
	default:
		return nil, s.errorf(70003, grant)
	}
	basicID, basicSecret, basic := r.BasicAuth() // client_secret_basic
	if basic && entry.ClientID == "" {
		entry.ClientID = basicID
	}
	if entry.ClientID == "" {
		return nil, s.errorf(900144, "client_id")
	}
	app := s.applicationLocked(entry.ClientID)
	if app == nil || !app.in(tenant, s.cfg.TenantID) {
		return nil, s.errorf(700016, entry.ClientID, tenant)
	}
	if app.Disabled {
		return nil, s.errorf(7000112, app.ClientID, app.Name)
	}
	asked, refused := s.askedResource(r, v2)
	entry.Resource = asked
	if refused != nil {
		return nil, refused
	}
	resource, audience := s.cfg.resource(asked)
	if resource == nil {
		return nil, s.errorf(500011, asked, tenant)
	}
	secret := form.Get("client_secret")
	if basic && secret == "" {
		secret = basicSecret
	}
	who := principal{clientID: app.ClientID, objectID: app.ObjectID, credential: "1", roles: app.Roles[resource.ClientID], tenant: tenant}
	switch {
	case form.Get("client_assertion") != "":
		entry.Kind = "client assertion"
		if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			return nil, s.errorf(900144, "client_assertion_type")
		}
		who.credential = "2"
		if refused := s.checkAssertionLocked(app, form.Get("client_assertion"), r, entry); refused != nil {
			return nil, refused
		}
	case secret != "":
		entry.Kind = "client secret"
		if refused := s.checkSecretLocked(app, secret); refused != nil {
			return nil, refused
		}
	default:
		return nil, s.errorf(7000218)
	}
	if resource.AssignmentRequired && len(who.roles) == 0 {
		return nil, s.errorf(501051, app.ClientID, app.Name, resource.ClientID, resource.Name)
	}
	// 60 to 90 minutes at random ("Configurable token lifetimes", Microsoft identity platform).
	life := time.Hour + time.Duration(rand.IntN(30*60))*time.Second
	token, err := s.mintLocked(who, resource, audience, life, nil)
	if err != nil {
		return nil, &oauthError{code: 90100, kind: "server_error", status: 500, description: err.Error()}
	}
	entry.Token = &token.facts
	return s.tokenAnswerLocked(token, asked, v2), nil
}

func (s *Server) tokenAnswerLocked(token *minted, asked string, v2 bool) *tokenAnswer {
	left := int(token.expires.Sub(s.cfg.Now()).Seconds())
	answer := &tokenAnswer{TokenType: "Bearer", ExpiresIn: left, ExtExpiresIn: left, AccessToken: token.token}
	if !v2 {
		answer.ExpiresIn, answer.ExtExpiresIn = itoa(left), itoa(left)
		answer.ExpiresOn, answer.NotBefore, answer.Resource = itoa(int(token.expires.Unix())), itoa(int(token.notBefore.Unix())), asked
	}
	if s.faults.take(EmptyToken, ToIssuer) {
		answer.AccessToken = ""
	}
	return answer
}

// askedResource reads scope (v2: exactly one resource with /.default; the OpenID scopes beside it are dropped) or resource (v1).
func (s *Server) askedResource(r *http.Request, v2 bool) (string, *oauthError) {
	if !v2 {
		if resource := r.PostForm.Get("resource"); resource != "" {
			return resource, nil
		}
		return "", s.errorf(900144, "resource")
	}
	if r.PostForm.Has("resource") {
		return "", s.errorf(901002)
	}
	scope := r.PostForm.Get("scope")
	var resources []string
	for name := range strings.FieldsSeq(scope) {
		switch name {
		case "openid", "offline_access", "profile", "email":
		default:
			resources = append(resources, name)
		}
	}
	switch {
	case scope == "":
		return "", s.errorf(900144, "scope")
	case len(resources) != 1:
		return scope, s.errorf(70011, scope)
	case !strings.HasSuffix(resources[0], "/.default"):
		return resources[0], s.errorf(1002012, scope)
	}
	return strings.TrimSuffix(resources[0], "/.default"), nil
}

func (s *Server) checkSecretLocked(app *Application, sent string) *oauthError {
	for _, secret := range app.Secrets {
		if subtle.ConstantTimeCompare([]byte(secret.Value), []byte(sent)) != 1 {
			continue
		}
		if !secret.Expires.IsZero() && s.cfg.Now().After(secret.Expires) {
			return s.errorf(7000222, app.ClientID)
		}
		return nil
	}
	return s.errorf(7000215, app.ClientID)
}

func (s *Server) applicationLocked(clientID string) *Application {
	for i := range s.cfg.Applications {
		if strings.EqualFold(s.cfg.Applications[i].ClientID, clientID) {
			return &s.cfg.Applications[i]
		}
	}
	return nil
}
