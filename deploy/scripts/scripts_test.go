// Not under the race detector: nothing here is concurrent, and each of some hundred calls of the fake az would start a binary that it
// makes ten times slower.

//go:build !race

// Package scripts tests the shell scripts of this folder against a fake az: the test binary itself, called again under that name.
package scripts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	principal = "aaaaaaaa-0000-0000-0000-000000000001"
	apiClient = "bbbbbbbb-0000-0000-0000-000000000001"
	apiSP     = "bbbbbbbb-0000-0000-0000-000000000002"
)

func TestMain(m *testing.M) {
	if state := os.Getenv("FAKE_AZ_STATE"); state != "" {
		os.Exit(fakeAz(state, os.Args[1:]))
	}
	os.Exit(m.Run())
}

func TestGrantRole(t *testing.T) {
	grant := []string{"--principal", principal, "--api", apiClient, "--role", "Api.Read"}
	t.Run("gives the role once, and a second run writes nothing", func(t *testing.T) {
		c := newCloud(t)
		c.run(t, 0, "Gave Api.Read", "grant-role", grant...)
		if got := len(c.load(t).Assignments); got != 1 {
			t.Fatalf("got %d assignments, want 1", got)
		}
		c.run(t, 0, "holds Api.Read already", "grant-role", grant...)
		c.wantWrites(t, 1)
	})
	t.Run("a dry run writes nothing", func(t *testing.T) {
		c := newCloud(t)
		c.run(t, 0, "Would give Api.Read", "grant-role", append([]string{"-n"}, grant...)...)
		c.wantWrites(t, 0)
	})
	t.Run("undo takes it back, once", func(t *testing.T) {
		c := newCloud(t)
		c.run(t, 0, "Gave", "grant-role", grant...)
		c.run(t, 0, "Would take", "grant-role", append([]string{"--undo", "-n"}, grant...)...)
		c.run(t, 0, "Took Api.Read", "grant-role", append([]string{"--undo"}, grant...)...)
		if got := len(c.load(t).Assignments); got != 0 {
			t.Errorf("got %d assignments, want 0", got)
		}
		c.run(t, 0, "nothing to undo", "grant-role", append([]string{"--undo"}, grant...)...)
		c.wantWrites(t, 2)
	})
	t.Run("waits until a new identity is known everywhere", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) {
			s.Fail = []failure{
				{"GET", "/appRoleAssignments", "Not Found({\"error\":{\"code\":\"Request_ResourceNotFound\"}})"},
				{"POST", "/appRoleAssignedTo", "Bad Request({\"error\":{\"message\":\"Not a valid reference update.\"}})"},
				{"POST", "/appRoleAssignedTo", "Not Found({\"error\":{\"code\":\"Request_ResourceNotFound\"}})"},
			}
		})
		c.run(t, 0, "Gave Api.Read", "grant-role", grant...)
	})
	t.Run("one that somebody else made in the meantime is a success", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) {
			s.Fail = []failure{{"POST", "/appRoleAssignedTo", "Permission being assigned already exists on the object"}}
		})
		c.run(t, 0, "Gave", "grant-role", grant...)
	})
	t.Run("gives up in the end and says what to look at", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) {
			for range 3 {
				s.Fail = append(s.Fail, failure{"POST", "/appRoleAssignedTo", "Not a valid reference update."})
			}
		})
		c.run(t, 1, "object id of a service principal (not a client id)", "grant-role", grant...)
	})
	t.Run("no right to do it", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Fail = []failure{{"POST", "/appRoleAssignedTo", "Authorization_RequestDenied"}} })
		c.run(t, 1, "Cloud Application Administrator", "grant-role", grant...)
	})
	t.Run("a role that the API does not have", func(t *testing.T) {
		c := newCloud(t)
		c.run(t, 1, "it has: Api.Read Api.Write", "grant-role", "--principal", principal, "--api", apiClient, "--role", "Api.Delete")
	})
	t.Run("an API without service principal", func(t *testing.T) {
		c := newCloud(t)
		c.run(t, 1, "az ad sp create", "grant-role", "--principal", principal, "--api", "nobody", "--role", "Api.Read")
	})
	for name, args := range map[string][]string{
		"nothing":                {},
		"a display name":         {"--principal", "my identity", "--api", apiClient, "--role", "Api.Read"},
		"a role with a quote":    {"--principal", principal, "--api", apiClient, "--role", "x' || 'y"},
		"an argument misspelt":   {"--princpal", principal},
		"an argument cut short":  {"--principal"},
		"the API in both places": {"--principal", apiSP, "--api", apiClient, "--role", "Api.Read"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			c := newCloud(t)
			c.run(t, 2, "grant-role:", "grant-role", args...)
			c.wantWrites(t, 0)
		})
	}
}

func TestRotateKey(t *testing.T) {
	t.Run("replaces both keys, each only while the other works", func(t *testing.T) {
		c := newCloud(t)
		out := c.run(t, 0, "primary: new key in the vault", "rotate-key")
		s := c.load(t)
		if s.Keys["primary"] == "primary-1" || s.Keys["secondary"] == "secondary-1" {
			t.Errorf("keys were not replaced: %v", s.Keys)
		}
		if s.Vault["apim-key"] != s.Keys["primary"] || s.Vault["apim-key-secondary"] != s.Keys["secondary"] {
			t.Errorf("vault %v, gateway %v", s.Vault, s.Keys)
		}
		for _, call := range s.Calls {
			for _, key := range []string{"primary-", "secondary-"} {
				if strings.Contains(call, key) {
					t.Errorf("a key stood among the arguments: %s", call)
				}
			}
		}
		if strings.Contains(out, "primary-2") {
			t.Error("a key was printed")
		}
	})
	t.Run("a dry run changes nothing", func(t *testing.T) {
		c := newCloud(t)
		c.run(t, 0, "would regenerate", "rotate-key", "-n")
		c.wantWrites(t, 0)
	})
	// Wherever it breaks, one of the keys that the app holds (the vault's) is one that the gateway takes, and a second run finishes.
	for i, step := range []failure{
		{"POST", "regenerateSecondaryKey", "boom"}, {"POST", "listSecrets", "boom"}, {"PUT", "/secrets/apim-key-secondary", "Forbidden"}, {"PUT", "/secrets/apim-key?", "Forbidden"}, {"POST", "/refresh", "boom"},
		{"POST", "regeneratePrimaryKey", "boom"},
	} {
		t.Run(fmt.Sprintf("broken at %s", step.URL), func(t *testing.T) {
			c := newCloud(t)
			c.edit(t, func(s *state) { s.Fail = []failure{step} })
			c.run(t, 1, "", "rotate-key")
			s := c.load(t)
			if s.Vault["apim-key"] != s.Keys["primary"] && s.Vault["apim-key-secondary"] != s.Keys["secondary"] {
				t.Errorf("case %d: the app has no working key: vault %v, gateway %v", i, s.Vault, s.Keys)
			}
			c.run(t, 0, "primary: new key in the vault", "rotate-key")
		})
	}
	t.Run("leaves the last working key alone", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Dead = []string{"primary-1"} })
		c.run(t, 1, "nothing was changed", "rotate-key")
		if s := c.load(t); s.Keys["secondary"] != "secondary-1" {
			t.Errorf("keys %v", s.Keys)
		}
	})
	t.Run("without the right to write secrets both keys stay", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Fail = []failure{{"PUT", "/secrets/", "Forbidden"}} })
		c.run(t, 1, "nothing was changed", "rotate-key")
		s := c.load(t)
		if s.Keys["primary"] != "primary-1" || s.Keys["secondary"] != "secondary-1" || len(s.Writes) != 0 {
			t.Errorf("keys %v, writes %v", s.Keys, s.Writes)
		}
	})
	t.Run("another team's API", func(t *testing.T) {
		c := newCloud(t)
		c.env = append(c.env, "RELAY_CALLER_ONLY=true")
		c.run(t, 2, "belongs to another team", "rotate-key")
	})
}

func TestRegistration(t *testing.T) {
	c := newCloud(t)
	c.run(t, 0, "Would write", "registration", "-n", "--name", "orders")
	c.wantWrites(t, 0)
	c.run(t, 0, `"appIdUri": "api://tenant-1/orders"`, "registration", "--name", "orders")
	s := c.load(t)
	if got, want := fmt.Sprint(s.Applications["orders"].roles()), "[Api.Read Api.Write]"; got != want {
		t.Errorf("roles %s, want %s", got, want)
	}
	ids := map[string]bool{}
	for _, r := range s.Applications["orders"].AppRoles {
		ids[r.ID] = true
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(r.ID) {
			t.Errorf("the id of %s: got %q, want a random GUID", r.Value, r.ID)
		}
	}
	if len(ids) != 2 {
		t.Errorf("got %d ids for two roles", len(ids))
	}
	if s.Applications["orders"].API.Version != 2 || !s.Required["client-of-orders"] {
		t.Errorf("got %+v, required %v: want v2 tokens and assignment required", s.Applications["orders"], s.Required)
	}
	writes := len(s.Writes)
	c.run(t, 0, "is complete", "registration", "--name", "orders")
	c.wantWrites(t, writes)
	before := s.Applications["orders"].AppRoles
	c.run(t, 0, "new roles: Api.Admin", "registration", "--name", "orders", "--role", "Api.Read", "--role", "Api.Admin")
	after := c.load(t).Applications["orders"].AppRoles
	for _, role := range before {
		if !slices.ContainsFunc(after, func(r appRole) bool { return r == role }) {
			t.Errorf("the role %v was lost or changed: %v", role, after)
		}
	}
}

func TestPreflight(t *testing.T) {
	existingService := []string{"RELAY_NEW_SERVICE=false", "RELAY_EXISTING_APIM=apim-old", "RELAY_EXISTING_APIM_GROUP=rg-old",
		"RELAY_CHOSEN_API=orders", "RELAY_CHOSEN_PATH=orders/v1"}
	t.Run("nobody signed in", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Fail = []failure{{"account", "show", "Please run 'az login'"}} })
		c.run(t, 1, "az login", "preflight")
	})
	t.Run("another subscription", func(t *testing.T) {
		c := newCloud(t)
		c.env = append(c.env, "AZURE_SUBSCRIPTION_ID=sub-2")
		c.run(t, 1, "az account set", "preflight")
	})
	for _, tt := range []struct {
		name   string
		env    []string
		cloud  func(*state)
		status int
		want   string
	}{
		{name: "azd has not asked yet", env: []string{"AZURE_SUBSCRIPTION_ID=", "AZURE_LOCATION="}, want: "azd asks for subscription and region after this"},
		{name: "a region without Flex Consumption", env: []string{"AZURE_LOCATION=moon"}, status: 1, want: "choose one of: westeurope northeurope"},
		{name: "a chosen region without it", env: []string{"RELAY_CHOSEN_REGIONS=westeurope moon"}, status: 1, want: "is not in moon"},
		{name: "a chosen group that is not there", env: []string{"RELAY_CHOSEN_GROUP=rg-mine"}, status: 1, want: "there is no group rg-mine"},
		{name: "a chosen group", env: []string{"RELAY_CHOSEN_GROUP=rg-mine"}, cloud: func(s *state) { s.Groups = map[string]string{"rg-mine": ""} }},
		{name: "somebody else's group under our name", cloud: func(s *state) { s.Groups = map[string]string{"rg-dev": ""} }, status: 1, want: "azd down would take it away"},
		{name: "the environment in another group", env: []string{"RELAY_CHOSEN_GROUP=rg-mine"}, cloud: func(s *state) {
			s.Groups, s.Resources = map[string]string{"rg-mine": ""}, "rg-dev\twesteurope\nrg-mine\twesteurope"
		}, status: 1, want: "stands in the group rg-dev"},
		{name: "the environment in its group, and one of its name in another region", cloud: func(s *state) {
			s.Groups, s.Resources = map[string]string{"rg-dev": "dev"}, "RG-dev\twesteurope\nrg-other\tnortheurope"
		}},
		{name: "our own group", cloud: func(s *state) { s.Groups = map[string]string{"rg-dev": "dev"} }},
		{name: "a pipeline without an address", env: []string{"RELAY_NEW_SERVICE=true"}, cloud: func(s *state) { s.Pipeline = true }, status: 1, want: "api.publisherEmail"},
		{name: "a pipeline with one", env: []string{"RELAY_NEW_SERVICE=true", "RELAY_CHOSEN_PUBLISHER=a@contoso.com"}, cloud: func(s *state) { s.Pipeline = true }},
		{name: "a pipeline that makes no service", env: []string{"RELAY_NEW_SERVICE=false"}, cloud: func(s *state) { s.Pipeline = true }},
		{name: "a deleted vault", cloud: func(s *state) { s.Deleted = map[string]string{"deletedVaults": "kv-1\twesteurope\tNone"} }, status: 1, want: "az keyvault purge --name kv-1"},
		{name: "a deleted vault that cannot be purged", cloud: func(s *state) { s.Deleted = map[string]string{"deletedVaults": "kv-1\twesteurope\tTrue"} }, status: 1, want: "choose another environment name"},
		{name: "a deleted vault of another region", cloud: func(s *state) { s.Deleted = map[string]string{"deletedVaults": "kv-1\tnortheurope\tTrue"} }},
		{name: "a deleted vault beside an existing one", env: []string{"RELAY_EXISTING_VAULT=kv-2"}, cloud: func(s *state) { s.Deleted = map[string]string{"deletedVaults": "kv-1\twesteurope\tTrue"} }},
		{name: "an existing vault with access policies", env: []string{"RELAY_EXISTING_VAULT=kv-2"}, cloud: func(s *state) { s.AccessPolicy = true }, status: 1, want: "goes by access policies"},
		{name: "a deleted gateway", cloud: func(s *state) { s.Deleted = map[string]string{"deletedservices": "apim-1\tWest Europe"} }, status: 1, want: "az apim deletedservice purge --service-name apim-1"},
		{name: "a deleted gateway of no use", env: []string{"RELAY_NEW_SERVICE=false"}, cloud: func(s *state) { s.Deleted = map[string]string{"deletedservices": "apim-1\tWest Europe"} }},
		{name: "a path that is free", env: existingService},
		{name: "a path that another API holds", env: existingService, cloud: func(s *state) { s.Paths = map[string]string{"orders/v1": "billing"} }, status: 1, want: "held by the API billing"},
		{name: "a path that our own API holds", env: append(existingService, "RELAY_APIM_SID=orders-abcdefghijk23"), cloud: func(s *state) { s.Paths = map[string]string{"orders/v1": "orders-abcdefghijk23"} }},
		{name: "a path that some environment's API holds", env: existingService, cloud: func(s *state) { s.Paths = map[string]string{"orders/v1": "orders-abcdefghijk23"} }, want: "warning: the path orders/v1"},
		{name: "a registration with v1 tokens", env: []string{"RELAY_CHOSEN_CLIENT_ID=x"}, cloud: func(s *state) { s.TokenVersion = "" }, status: 1, want: "tokens of version 1"},
		{name: "a registration with v2 tokens", env: []string{"RELAY_CHOSEN_CLIENT_ID=x"}},
		{name: "no right in Entra", cloud: func(s *state) { s.Directory = nil }, want: "warning: no right to make a registration"},
		{name: "no right in Entra, and none needed", env: []string{"RELAY_OWN_REGISTRATION=false"}, cloud: func(s *state) { s.Directory = nil }},
		{name: "no right to give roles", cloud: func(s *state) { s.Roles = []string{"Contributor"} }, want: "warning: no right to write role assignments"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCloud(t)
			c.env = append(c.env, tt.env...)
			if tt.cloud != nil {
				c.edit(t, tt.cloud)
			}
			out := c.run(t, tt.status, tt.want, "preflight")
			if tt.status == 0 && tt.want == "" && strings.Contains(out, "warning") {
				t.Errorf("warns of nothing:\n%s", out)
			}
		})
	}
	t.Run("registers what is missing and is quiet the second time", func(t *testing.T) {
		c := newCloud(t)
		c.run(t, 0, "Registering the resource provider Microsoft.App.", "preflight")
		writes := len(c.load(t).Writes)
		c.run(t, 0, "", "preflight")
		c.wantWrites(t, writes)
	})
}

func TestWaitReady(t *testing.T) {
	t.Run("waits for the references", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Unresolved = 2 })
		c.run(t, 0, "all Key Vault references are resolved", "wait-ready")
	})
	t.Run("fails with their names", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Unresolved = 99 })
		c.run(t, 1, "unresolved: ApimKey", "wait-ready")
	})
	t.Run("another team's API: prints what to ask for", func(t *testing.T) {
		const writer, registration = "aaaaaaaa-0000-0000-0000-000000000009", "cccccccc-0000-0000-0000-000000000001"
		tests := []struct {
			name, grants string
			want         []string
		}{
			{"user-assigned", principal + "=Api.Read= " + writer + "=Api.Write=", []string{
				"--principal " + principal + " --api api://x --role Api.Read\n",
				"--principal " + writer + " --api api://x --role Api.Write\n",
			}},
			{"system-assigned", "", []string{"--principal " + principal + " --api api://x --role Api.Read\n"}},
			{"federated", principal + "=Api.Read=" + registration, []string{
				"az ad sp create --id " + registration, "--api api://x --role Api.Read\n",
				"https://login.microsoftonline.com/tenant-1/v2.0", "subject  " + principal, "api://AzureADTokenExchange",
			}},
		}
		for _, tt := range tests {
			c := newCloud(t)
			c.env = append(c.env, "RELAY_CALLER_ONLY=true", "RELAY_GRANTS="+tt.grants)
			out := c.run(t, 0, "deploy/scripts/store-key KEYFILE", "wait-ready")
			for _, want := range append(tt.want, "holds a placeholder", "all Key Vault references are resolved") {
				if !strings.Contains(out, want) {
					t.Errorf("%s: the request lacks %q:\n%s", tt.name, want, out)
				}
			}
		}
	})
	t.Run("another team's API without a key", func(t *testing.T) {
		c := newCloud(t)
		c.env = append(c.env, "RELAY_CALLER_ONLY=true", "RELAY_GRANTS="+principal+"=Api.Read=", "RELAY_KEY_NAME=")
		if out := c.run(t, 0, "", "wait-ready"); strings.Contains(out, "store-key") {
			t.Errorf("asks for a key that nobody needs:\n%s", out)
		}
	})
}

func TestStoreKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	store := func(t *testing.T, c *cloud, status int, want, key string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := c.run(t, status, want, "store-key", file); strings.Contains(out, "0123456789") {
			t.Errorf("the key was printed:\n%s", out)
		}
	}
	for _, key := range []string{"0123456789abcdef\n", "0123456789abcdef\r\n", `0123456789"\`} {
		c := newCloud(t)
		c.env = append(c.env, "RELAY_CALLER_ONLY=true")
		store(t, c, 0, "read by the app", key)
		if got, want := c.load(t).Vault["apim-key"], strings.TrimRight(key, "\r\n"); got != want {
			t.Errorf("the vault holds %q, want %q", got, want)
		}
		for _, call := range c.load(t).Calls {
			if strings.Contains(call, "0123456789") {
				t.Errorf("the key stood among the arguments: %s", call)
			}
		}
	}
	t.Run("refused", func(t *testing.T) {
		c := newCloud(t)
		c.env = append(c.env, "RELAY_CALLER_ONLY=true")
		store(t, c, 1, "is empty", "\n")
		store(t, c, 1, "want one key", "primary: 0123456789abcdef")
		c.run(t, 2, "want one argument", "store-key")
		c.env = append(c.env, "RELAY_CALLER_ONLY=false")
		store(t, c, 2, "stored by the deployment", "0123456789abcdef")
		c.wantWrites(t, 0)
	})
}

func TestVerify(t *testing.T) {
	t.Run("all well", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Doctor = "true"; s.Fail = []failure{{"GET", "/api/health", "503"}} })
		c.run(t, 0, "the doctor finds nothing", "verify")
		for _, call := range c.load(t).Calls {
			if strings.Contains(call, "master-key") {
				t.Errorf("the master key stood among the arguments: %s", call)
			}
		}
	})
	t.Run("a finding fails the deployment", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Doctor = "false" })
		c.run(t, 1, "the key is refused", "verify")
	})
	t.Run("an app that does not come up fails the deployment", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) {
			s.Doctor = "true"
			for range 3 {
				s.Fail = append(s.Fail, failure{"GET", "/api/health", "503 Service Unavailable"})
			}
		})
		c.run(t, 1, "not healthy: ERROR: 503", "verify")
	})
	t.Run("a finding with another team's API is only shown", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Doctor = "false" })
		c.env = append(c.env, "RELAY_CALLER_ONLY=true")
		c.run(t, 0, "this may be as it should", "verify")
	})
}

func TestPredown(t *testing.T) {
	c := newCloud(t)
	c.env = append(c.env, "RELAY_UNIQUE_NAME=orders")
	c.run(t, 0, "There is no registration", "predown")
	c.run(t, 0, "Wrote", "registration", "--name", "orders")
	c.run(t, 0, "Deleted the registration orders", "predown")
	c.run(t, 0, "There is no registration", "predown")
	if s := c.load(t); len(s.Applications) != 0 || len(s.Purged) != 1 {
		t.Errorf("applications %v, purged %v", s.Applications, s.Purged)
	}
	c.env = append(c.env, "RELAY_UNIQUE_NAME=")
	c.run(t, 0, "not ours", "predown")
}

func TestPublishRegions(t *testing.T) {
	c := newCloud(t)
	c.run(t, 0, "", "publish-regions")
	c.wantWrites(t, 0) // azd itself deploys to the first
	zip := filepath.Join(t.TempDir(), "relay.zip")
	if err := os.WriteFile(zip, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = append(c.env, "RELAY_APPS=app-1 app-2 app-3", "RELAY_PACKAGE="+zip)
	c.run(t, 0, "Publishing to app-3", "publish-regions")
	c.wantWrites(t, 2)
	c.env = append(c.env, "RELAY_PACKAGE="+zip+".not")
	c.run(t, 1, "there is no", "publish-regions")
}

// Git Bash rewrites what looks like a path when it starts az for Windows: no script hands over such an
// argument.
func TestGitBash(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	caller, grants := "RELAY_CALLER_ONLY=true", "RELAY_GRANTS="
	into := t.TempDir()
	for _, command := range []struct {
		script string
		args   []string
		env    []string
	}{
		{script: "grant-role", args: []string{"--principal", principal, "--api", apiClient, "--role", "Api.Read"}},
		{script: "policies", args: []string{"--into", into, "orders"}},
		{script: "predown", env: []string{"RELAY_UNIQUE_NAME=orders"}},
		{script: "preflight"},
		{script: "preflight", env: []string{"RELAY_NEW_SERVICE=false", "RELAY_EXISTING_APIM=apim-old", "RELAY_EXISTING_APIM_GROUP=rg-old", "RELAY_CHOSEN_API=orders", "RELAY_CHOSEN_PATH=orders", "RELAY_EXISTING_VAULT=kv"}},
		{script: "publish-regions", env: []string{"RELAY_APPS=app-1 app-2", "RELAY_PACKAGE=lib.sh"}},
		{script: "registration", args: []string{"--name", "orders"}},
		{script: "rotate-key"},
		{script: "store-key", args: []string{key}, env: []string{caller}},
		{script: "trace", env: []string{"RELAY_APIM_SID=orders", "RELAY_API_URL=https://gateway.example/orders/7"}},
		{script: "verify"},
		{script: "wait-ready", env: []string{caller, grants}},
	} {
		t.Run(command.script, func(t *testing.T) {
			c := newCloud(t)
			c.edit(t, func(s *state) {
				s.Doctor, s.Live = "true", liveService(t)
				s.Live.Answer = gatewayAnswer{Status: 401, Header: map[string]string{"Apim-Trace-Id": traceID}}
				s.Live.Trace = json.RawMessage(`{"inbound": [{"source": "validate-jwt", "data": {"message": "refused"}}]}`)
			})
			c.env = append(append(c.env, "FAKE_GIT_BASH=1"), command.env...)
			c.run(t, 0, "", command.script, command.args...)
			if s := c.load(t); s.Addresses > 0 {
				t.Errorf("%d arguments were rewritten: %q", s.Addresses, s.Calls)
			}
		})
	}
}

func TestEachScriptSaysWhatItDoes(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.Contains(file.Name(), ".") {
			continue
		}
		c := newCloud(t)
		for _, option := range []string{"-h", "--help"} {
			if out := c.run(t, 0, "  "+file.Name(), file.Name(), option); strings.Contains(out, "set -eu") || strings.HasPrefix(out, "#") {
				t.Errorf("%s %s: want its comment alone, got\n%s", file.Name(), option, out)
			}
		}
		c.run(t, 2, "want", file.Name(), "--nonsense", "more")
		c.wantWrites(t, 0)
	}
}

// The checks above must find a script that has lost what they are there for.
func TestChecksFindSeededFaults(t *testing.T) {
	grant := []string{"--principal", principal, "--api", apiClient, "--role", "Api.Read"}
	t.Run("grant-role that does not look first", func(t *testing.T) {
		c := newCloud(t)
		script := seed(t, "grant-role", `if [ -n "$assignment" ]; then
  say "$principal holds`, `if false; then
  say "$principal holds`)
		c.run(t, 0, "", script, grant...)
		c.run(t, 0, "", script, grant...)
		if got := len(c.load(t).Writes); got != 2 {
			t.Errorf("got %d writes, want the seeded fault to make 2", got)
		}
	})
	t.Run("rotate-key that does not mind the other key", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Dead = []string{"primary-1"} })
		c.run(t, 0, "", seed(t, "rotate-key", `accepts other ||`, `true ||`))
	})
	t.Run("rotate-key with an address that Git Bash takes for a path", func(t *testing.T) {
		c := newCloud(t)
		c.env = append(c.env, "FAKE_GIT_BASH=1")
		c.run(t, 1, "", seed(t, "rotate-key", `subscription="$management/subscriptions`, `subscription="/subscriptions`))
		if c.load(t).Addresses == 0 {
			t.Error("the seeded fault was not rewritten")
		}
	})
	t.Run("verify that passes the key as an argument", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Doctor = "true" })
		cmd := seed(t, "verify", `--headers @headers --query ok`, `--headers "$(cat headers)" --query ok`)
		c.run(t, 1, "", cmd)
		if calls := strings.Join(c.load(t).Calls, "\n"); !strings.Contains(calls, "master-key") {
			t.Error("the seeded fault did not show the key")
		}
	})
}

// seed copies a script with one replacement beside its library, and gives its path.
func seed(t *testing.T, script, from, to string) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", ".seed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{script, "lib.sh"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == script {
			if !strings.Contains(string(text), from) {
				t.Fatalf("%s does not hold %q", script, from)
			}
			text = []byte(strings.Replace(string(text), from, to, 1))
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, script)
}

// cloud is one fake Azure: its state lies in a file, which every call of the fake az reads and writes.
type cloud struct {
	file string
	env  []string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "az"), fmt.Appendf(nil, "#!/bin/sh\nexec %q \"$@\"\n", self), 0o755); err != nil {
		t.Fatal(err)
	}
	c := &cloud{file: filepath.Join(dir, "state.json")}
	c.env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "FAKE_AZ_STATE="+c.file, "RELAY_PAUSE=0", "RELAY_TRIES=3",
		"AZURE_SUBSCRIPTION_ID=sub-1", "AZURE_RESOURCE_GROUP=rg", "AZURE_LOCATION=West Europe", "AZURE_ENV_NAME=dev", `RELAY_HOSTS=["app-1.example"]`,
		"RELAY_APPS=app-1", "RELAY_API_URL=https://gateway.example/relay", "RELAY_TARGET_APP=api://x", "RELAY_TARGET_ROLE=Api.Read",
		"RELAY_TARGET_TENANT_ID=tenant-1", "RELAY_APIM=apim", "RELAY_APIM_GROUP=rg", "RELAY_APIM_SUBSCRIPTION=sub-1", "RELAY_APIM_SID=relay",
		"RELAY_VAULT=kv", "RELAY_VAULT_ID="+vaultID, "RELAY_KEY_NAME=apim-key")
	c.save(t, &state{TokenVersion: "2", Directory: []string{"158c047a-c907-4556-b7ef-446551a6b5f7"}, Keys: map[string]string{"primary": "primary-1", "secondary": "secondary-1"},
		Vault: map[string]string{"apim-key": "primary-1", "apim-key-secondary": "secondary-1"}})
	return c
}

func (c *cloud) run(t *testing.T, status int, want, script string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"./" + script}, args...)...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("%s: status %d, want %d (%v):\n%s", script, got, status, err, out)
	}
	if !strings.Contains(string(out), want) {
		t.Fatalf("%s: said\n%s\nwant %q", script, out, want)
	}
	return string(out)
}

func (c *cloud) wantWrites(t *testing.T, want int) {
	t.Helper()
	if s := c.load(t); len(s.Writes) != want {
		t.Errorf("got %d writes, want %d: %q", len(s.Writes), want, s.Writes)
	}
}

func (c *cloud) edit(t *testing.T, change func(*state)) {
	t.Helper()
	s := c.load(t)
	change(s)
	c.save(t, s)
}

func (c *cloud) load(t *testing.T) *state {
	t.Helper()
	s, err := loadState(c.file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *cloud) save(t *testing.T, s *state) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
