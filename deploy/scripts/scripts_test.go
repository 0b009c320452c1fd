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
		{"POST", "regenerateSecondaryKey", "boom"}, {"POST", "listSecrets", "boom"}, {"keyvault", "secret set", "Forbidden"}, {"POST", "/refresh", "boom"},
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
	t.Run("a region without Flex Consumption", func(t *testing.T) {
		c := newCloud(t)
		c.env = append(c.env, "AZURE_LOCATION=moon")
		c.run(t, 1, "choose one of: westeurope northeurope", "preflight")
	})
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
	t.Run("another team's API: prints the request and goes on", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Unresolved = 99 })
		c.env = append(c.env, "RELAY_CALLER_ONLY=true")
		out := c.run(t, 0, "the app role Api.Read of api://x", "wait-ready")
		if !strings.Contains(out, "--principal "+principal) || !strings.Contains(out, "az keyvault secret set") {
			t.Errorf("the request is incomplete:\n%s", out)
		}
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
		c.run(t, 0, "", seed(t, "rotate-key", `accepts "$SECRETS/other" ||`, `true ||`))
	})
	t.Run("verify that passes the key as an argument", func(t *testing.T) {
		c := newCloud(t)
		c.edit(t, func(s *state) { s.Doctor = "true" })
		cmd := seed(t, "verify", `--headers "@$SECRETS/headers" --query ok`, `--headers "$(cat "$SECRETS/headers")" --query ok`)
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
		"AZURE_SUBSCRIPTION_ID=sub-1", "AZURE_RESOURCE_GROUP=rg", "AZURE_LOCATION=West Europe", "AZURE_PRINCIPAL_ID=me", `RELAY_HOSTS=["app-1.example"]`,
		"RELAY_APPS=app-1", "RELAY_API_URL=https://gateway.example/relay", "RELAY_TARGET_APP=api://x", "RELAY_TARGET_ROLE=Api.Read",
		"RELAY_TARGET_TENANT_ID=tenant-1", "RELAY_APIM=apim", "RELAY_APIM_GROUP=rg", "RELAY_APIM_SUBSCRIPTION=sub-1", "RELAY_APIM_SID=relay",
		"RELAY_VAULT=kv", "RELAY_KEY_NAME=apim-key")
	c.save(t, &state{Keys: map[string]string{"primary": "primary-1", "secondary": "secondary-1"},
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
