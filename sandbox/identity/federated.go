package identity

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// The pretended cluster of "sandbox identity -workload", whose tokens this server signs itself.
const (
	clusterIssuer  = "https://oidc.sandbox.example/cluster/"
	clusterSubject = "system:serviceaccount:default:sandbox"
)

// federate adds the federated credential of a flag, [tenant/]client-id=issuer,subject. An
// application that is not there is made, with the role Api.Read of the API.
func (c *Config) federate(text string) error {
	who, credential, ok := strings.Cut(text, "=")
	issuer, subject, found := strings.Cut(credential, ",")
	tenant, id, named := strings.Cut(who, "/")
	if !named {
		tenant, id = "", who
	}
	if !ok || !found || !isGUID(id) || named && !isGUID(tenant) || issuer == "" || subject == "" {
		return fmt.Errorf("registering a federated credential: want [tenant/]client-id=issuer,subject with GUIDs, got %q", text)
	}
	c.Applications = c.withDefaults().Applications
	i := -1
	for at := range c.Applications {
		if strings.EqualFold(c.Applications[at].ClientID, id) {
			i = at
		}
	}
	if i < 0 {
		c.Applications = append(c.Applications, Application{
			Name: "federated " + id[len(id)-4:], ClientID: id, ObjectID: derivedID(id), Roles: Assignments{APIClientID: {"Api.Read"}},
		})
		i = len(c.Applications) - 1
	}
	app := &c.Applications[i]
	app.Federated = append(app.Federated, FederatedCredential{Issuer: issuer, Subject: subject})
	if named {
		app.Tenants = append(app.Tenants, tenant)
	}
	return nil
}

// writeWorkloadToken writes what a cluster puts into a pod's AZURE_FEDERATED_TOKEN_FILE
// (learn.microsoft.com "Workload identity federation", projected service account token).
func (s *Server) writeWorkloadToken(file string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	token, _, err := s.signLocked(map[string]any{
		"iss": clusterIssuer, "sub": clusterSubject, "aud": []string{exchangeURI},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
	}, false)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return fmt.Errorf("writing the token of the pretended cluster: %w", err)
	}
	return nil
}
