package identity

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Server is a tenant with the identity endpoint of one app. Use New. Safe for concurrent use.
type Server struct {
	mu      sync.Mutex // guards what follows
	cfg     Config
	keys    []*signingKey      // the first one signs
	cache   map[string]*minted // the platform's: client id and resource as asked for
	faults  faults
	history history

	stale []byte // key set while the fault stale-metadata is on
}

// New makes a tenant. The zero Config is a complete one. It panics only if the system has no randomness.
func New(cfg Config) *Server {
	key, err := newSigningKey()
	if err != nil {
		panic(err)
	}
	return &Server{cfg: cfg.withDefaults(), keys: []*signingKey{key}, cache: map[string]*minted{}}
}

// Handler serves the identity endpoint and the issuer on one port.
func (s *Server) Handler() http.Handler {
	endpoint, issuer := s.Endpoint(), s.Issuer()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isEndpointPath(r.URL.Path) {
			endpoint.ServeHTTP(w, r)
			return
		}
		issuer.ServeHTTP(w, r)
	})
}

// TenantID is the tenant's id.
func (s *Server) TenantID() string { return s.cfg.TenantID }

// Header is the value wanted in X-IDENTITY-HEADER: the app's IDENTITY_HEADER. A secret: hand it to the child only.
func (s *Server) Header() string { return s.cfg.Header }

// Environment returns what the platform sets for an app with an identity, for a server at base ("http://127.0.0.1:1234").
func (s *Server) Environment(base string) []string {
	return []string{"IDENTITY_ENDPOINT=" + base + "/msi/token", "IDENTITY_HEADER=" + s.cfg.Header}
}

// ClientSecret returns the first secret of an application, "" when there is none.
func (s *Server) ClientSecret(clientID string) string {
	for _, app := range s.cfg.Applications {
		if app.ClientID == clientID && len(app.Secrets) > 0 {
			return app.Secrets[0].Value
		}
	}
	return ""
}

// MetadataPath is the path of the metadata that fits the tokens of a resource: the v1 or the v2 document.
func (s *Server) MetadataPath(resource string) string {
	if r, _ := s.cfg.resource(resource); r != nil && r.Version == 2 {
		return "/" + s.cfg.TenantID + "/v2.0/.well-known/openid-configuration"
	}
	return "/" + s.cfg.TenantID + "/.well-known/openid-configuration"
}

// Grant gives app roles of a resource to a managed identity, an application, or "developer". A token minted before keeps what
// it says: the platform's cache is untouched, see Forget.
func (s *Server) Grant(clientID, resource string, roles ...string) error {
	return s.assign(clientID, resource, func(have []string) []string {
		for _, role := range roles {
			if !slices.Contains(have, role) {
				have = append(have, role)
			}
		}
		return have
	})
}

// Revoke takes app roles away; none named takes all.
func (s *Server) Revoke(clientID, resource string, roles ...string) error {
	return s.assign(clientID, resource, func(have []string) []string {
		if len(roles) == 0 {
			return nil
		}
		return slices.DeleteFunc(have, func(role string) bool { return slices.Contains(roles, role) })
	})
}

func (s *Server) assign(clientID, resource string, change func([]string) []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, _ := s.cfg.resource(resource)
	if r == nil {
		return fmt.Errorf("assigning roles: no resource %q", resource)
	}
	assignments := s.assignmentsLocked(clientID)
	if assignments == nil {
		return fmt.Errorf("assigning roles: nobody has the client id %q", clientID)
	}
	assignments[r.ClientID] = change(slices.Clone(assignments[r.ClientID]))
	return nil
}

func (s *Server) assignmentsLocked(clientID string) Assignments {
	if clientID == "developer" {
		return s.cfg.Developer.Roles
	}
	for i := range s.cfg.Identities {
		if s.cfg.Identities[i].ClientID == clientID {
			return s.cfg.Identities[i].Roles
		}
	}
	for i := range s.cfg.Applications {
		if s.cfg.Applications[i].ClientID == clientID {
			return s.cfg.Applications[i].Roles
		}
	}
	return nil
}

// Attach gives an existing identity to the app, or takes it away.
func (s *Server) Attach(clientID string, attached bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.cfg.Identities {
		if s.cfg.Identities[i].ClientID == clientID {
			s.cfg.Identities[i].Detached = !attached
			return nil
		}
	}
	return fmt.Errorf("attaching an identity: nobody has the client id %q", clientID)
}

// RequireAssignment switches "assignment required" of a resource.
func (s *Server) RequireAssignment(resource string, required bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, _ := s.cfg.resource(resource)
	if r == nil {
		return fmt.Errorf("requiring assignment: no resource %q", resource)
	}
	r.AssignmentRequired = required
	return nil
}

// SignIn signs the developer in or out.
func (s *Server) SignIn(in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Developer.SignedOut = !in
}

// Forget empties the platform's token cache: the next request of each identity gets a new token.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.cache)
}

// Reset clears faults, history and the platform's cache. Keys, roles and identities stay.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.cache)
	s.faults.reset()
	s.history.reset()
	s.stale = nil
}

// Person is one line of the console's list of identities.
type Person struct {
	Name       string              `json:"name"`
	Kind       string              `json:"kind"` // system-assigned, user-assigned, application, developer
	ClientID   string              `json:"client_id"`
	Unattached bool                `json:"unattached,omitempty"`
	Roles      map[string][]string `json:"roles"` // by the resource's name
}

// People lists who can get tokens, in the order of the configuration.
func (s *Server) People() []Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := map[string]string{}
	for _, r := range s.cfg.Resources {
		names[r.ClientID] = r.Name
	}
	named := func(a Assignments) map[string][]string {
		out := map[string][]string{}
		for _, id := range slices.Sorted(maps.Keys(a)) {
			roles := slices.Clone(a[id])
			sort.Strings(roles)
			out[names[id]] = roles
		}
		return out
	}
	var out []Person
	for _, id := range s.cfg.Identities {
		kind := "user-assigned"
		if id.System {
			kind = "system-assigned"
		}
		out = append(out, Person{id.Name, kind, id.ClientID, id.Detached, named(id.Roles)})
	}
	for _, app := range s.cfg.Applications {
		out = append(out, Person{app.Name, "application", app.ClientID, false, named(app.Roles)})
	}
	return append(out, Person{s.cfg.Developer.Name, "developer", AzureCLIClientID, s.cfg.Developer.SignedOut, named(s.cfg.Developer.Roles)})
}

func isEndpointPath(path string) bool {
	return strings.EqualFold(strings.TrimSuffix(path, "/"), "/msi/token")
}
