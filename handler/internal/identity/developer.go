package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

// toolTime bounds one run of a developer's tool, shortly under a source's deadline: az is a
// Python program, whose first start takes seconds.
const toolTime = token.Deadline - time.Second

// tool is a command-line program that a developer is signed in to.
type tool struct {
	name    string // its executable
	install string
	login   string
}

var (
	az  = tool{"az", "install the Azure CLI: https://aka.ms/azure-cli", "az login"}
	azd = tool{"azd", "install the Azure Developer CLI: https://aka.ms/azd", "azd auth login"}
)

// developer runs the tool for each token: azidentity keeps none of what a tool gave.
func (c Connection) developer(scope string, env Env) (fetch, *token.Error) {
	if strings.ContainsFunc(scope, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".-_/:", r))
	}) {
		// azidentity's own rule: the text becomes part of a command line.
		return nil, refused(cause.TargetAppForm, "correct TargetApp", "the resource holds a character that a command line must not: want letters, digits and . - _ / : only")
	}
	t, tenant := az, env.TenantID
	var cred azcore.TokenCredential
	var err error
	if c.Kind == AzureDeveloperCLI {
		t = azd
		cred, err = azidentity.NewAzureDeveloperCLICredential(&azidentity.AzureDeveloperCLICredentialOptions{TenantID: tenant})
	} else {
		cred, err = azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: tenant})
	}
	if err != nil {
		return nil, refused(cause.TokenUnavailable, "correct TargetTenantID", "making a credential for %s: %s", t.name, bounded(err.Error(), 200))
	}
	return func(ctx context.Context) (token.Token, *token.Error) {
		ctx, cancel := context.WithTimeoutCause(ctx, toolTime, fmt.Errorf("no token within %s: %w", toolTime, context.DeadlineExceeded))
		defer cancel()
		tk, err := get(ctx, cred, policy.TokenRequestOptions{Scopes: []string{scope}})
		if err == nil {
			return tk, nil
		}
		return token.Token{}, c.toolFailed(ctx, t, err, strings.TrimSuffix(scope, "/.default"), tenant, env)
	}, nil
}

// noAuthority is what MSAL for Python (authority.py) makes of an authority that does not know the
// tenant; az shows it as a traceback.
const noAuthority = "Unable to get authority configuration"

// toolFailed tells the tool's failures apart by what it wrote, which is all there is of them, each
// with the command that mends it.
func (c Connection) toolFailed(ctx context.Context, t tool, err error, resource, tenant string, env Env) *token.Error {
	if e := c.late(ctx, t.name); e != nil { // azidentity says "signal: killed"
		e.Hint = "see how long it takes by hand: " + t.byHand(resource, tenant)
		return e
	}
	said := bounded(withoutTrace(strings.TrimPrefix(sdkText(err), "ERROR: ")), 300)
	login := t.login
	if t == az {
		if tenant != "" {
			login += " --tenant " + tenant
		}
	} else if tenant != "" {
		login += " --tenant-id " + tenant
	}
	if code, _ := cause.OfAADSTS(said); code != "" {
		hint := ""
		if known := cause.Of(code); known.SignIn {
			hint = login
			if t == az {
				hint += " --scope " + resource + "/.default" // shows the question that a token without a person cannot
			}
		}
		e := refused(code, hint, "%s: %s", t.name, withTitle(code, said))
		if cause.Of(code).Passes {
			e.Kind = token.Unavailable
		}
		return e
	}
	switch low := strings.ToLower(said); {
	case strings.Contains(low, "executable not found on path"):
		hint := t.install + ", and see that it is on the PATH of this process"
		if env.deployed() {
			hint = "a function app in Azure has no " + t.name + ": use RunAs=App"
		}
		return refused(cause.AzMissing, hint, "%s is missing: no such executable on PATH", t.name)
	case strings.Contains(said, noAuthority):
		return refused(cause.TenantUnknown, "there is no such tenant: correct TargetTenantID, or: "+login,
			"%s: %s: %s", t.name, cause.Of(cause.TenantUnknown).Title, said[strings.Index(said, noAuthority):])
	case strings.Contains(low, t.login), t == az && strings.Contains(low, "az account set"):
		return refused(cause.AzSignedOut, login, "%s: not logged in: %s", t.name, said)
	case isJSONError(err):
		return unavailable(cause.AzOutput, "see what it prints: "+t.byHand(resource, tenant), "%s printed something other than a token in JSON: %s", t.name, said)
	}
	return unavailable(cause.AzFailed, "see what it says: "+t.byHand(resource, tenant), "%s failed: %s", t.name, said)
}

// byHand is the command that a person can run to see the failure.
func (t tool) byHand(resource, tenant string) string {
	if t == azd {
		cmd := "azd auth token --output json --scope " + resource + "/.default"
		if tenant != "" {
			cmd += " --tenant-id " + tenant
		}
		return cmd
	}
	cmd := "az account get-access-token --query expiresOn --resource " + resource
	if tenant != "" {
		cmd += " --tenant " + tenant
	}
	return cmd
}

func isJSONError(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind)
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
