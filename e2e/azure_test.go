package e2e

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"apimrelay/internal/policy"
	"apimrelay/internal/secret"
	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

// azure is the stand-ins inside the test's process, for what their commands do not tell: the real handler binary runs below the host.
type azure struct {
	spy      *spy
	settings []string // of the reader
}

// newAzure starts identity endpoint and gateway with the deployed policies. The writer has both roles, as operation-write.xml asks.
func newAzure(t *testing.T) *azure {
	t.Helper()
	tenant := identity.New(identity.Config{Header: identityKey})
	if err := tenant.Grant(identity.WriterClientID, identity.APIURI, "Api.Read"); err != nil {
		t.Fatal(err)
	}
	issuer := httptest.NewServer(tenant.Handler())
	t.Cleanup(issuer.Close)
	api := gateway.API{Name: "orders", Path: "orders", Policy: readPolicy(t, "api.xml")}
	for _, method := range []string{"GET", "HEAD"} {
		api.Operations = append(api.Operations, gateway.Operation{Method: method, Template: "/*"})
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		api.Operations = append(api.Operations, gateway.Operation{Method: method, Template: "/*", Policy: readPolicy(t, "operation-write.xml")})
	}
	g, err := gateway.New(gateway.Config{
		APIs: []gateway.API{api}, Products: []gateway.Product{{Name: "orders", APIs: []string{"orders"}}},
		Subscriptions: []gateway.Subscription{
			{Name: "reader", Product: "orders", Primary: secret.New(primaryKey)}, {Name: "writer", Product: "orders", Primary: secret.New(secondaryKey)},
		},
		NamedValues: map[string]string{"openid-config-url": issuer.URL + tenant.MetadataPath(identity.APIURI), "client-id": identity.APIClientID, "app-id-uri": identity.APIURI},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	a := &azure{spy: newSpy(g)}
	t.Cleanup(a.spy.server.Close)
	a.settings = append(tenant.Environment(issuer.URL), "PATH="+os.Getenv("PATH"), "FUNCTIONS_WORKER_RUNTIME=custom", "AzureWebJobsStorage=UseDevelopmentStorage=true",
		"TargetApp="+identity.APIURI, "TargetTenantID="+identity.TenantID, "FunctionIdentity=RunAs=App;AppId="+identity.ReaderClientID,
		"ApimUrl="+a.spy.server.URL+"/orders", "ApimKey="+primaryKey)
	return a
}

func readPolicy(t *testing.T, name string) *policy.Document {
	t.Helper()
	f, err := os.Open(filepath.Join("../deploy/policies", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	document, err := policy.Parse(name, f)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// startHostOn starts a host, and ends it with the test. Its log may hold no secret.
func startHostOn(t *testing.T, c host.Config) *host.Host {
	t.Helper()
	c.FunctionKey, c.MasterKey = secret.New(functionKey), secret.New(masterKey)
	c.OnLog = guarded(t, c.OnLog)
	h, err := host.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Stop)
	return h
}
