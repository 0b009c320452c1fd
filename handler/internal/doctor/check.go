package doctor

import (
	"context"
	"slices"

	"apimrelay/handler/internal/cause"
)

// check is one positive statement. Checks are data: what they need is written down, and they read
// nothing else of each other.
type check struct {
	id    string // stable: it stands in JSON
	title string // the statement
	of    part
	needs []string // checks that must be in order, warnings aside; otherwise this one is not run
	after []string // checks whose results are read, whatever they are
	run   func(ctx context.Context, v *visit) []outcome
	// anchor is the finding where the check has no answer in time.
	anchor cause.Code
}

// part is what a check's result depends on: functions that agree in it share one node.
type part int

const (
	ofApp      part = iota
	ofFunction      // this function
	ofIdentity      // identity, app, tenant
	ofRole          // and the wanted role
	ofGateway       // scheme, host and port
	ofURL           // URL, method, fixed headers
	ofKey           // and the keys and their header
	ofCall          // and identity, app, tenant, role
)

// checks in the order of the report. Each may wait only for checks of a part that its own contains.
var checks = []check{
	{id: "app", title: "host.json and function.json can be read", of: ofFunction, run: checkApp, anchor: cause.AppFiles},
	{id: "settings", title: "the settings are complete", of: ofFunction, run: checkSettings, anchor: cause.SettingsValue},
	{id: "slips", title: "no setting looks like a slip", of: ofApp, run: checkSlips, anchor: cause.SettingsValue},
	{id: "host-identity", title: "no setting changes the identity of the Functions host", of: ofApp, run: checkHostIdentity, anchor: cause.HostIdentity},

	{id: "identity", title: "FunctionIdentity names an identity", of: ofIdentity, run: checkIdentity, anchor: cause.IdentityString},
	{id: "identity-endpoint", title: "the identity endpoint is there", of: ofIdentity, needs: []string{"identity"}, run: checkEndpoint, anchor: cause.IdentityEndpointDown},
	{id: "assertion", title: "the federated identity gets an assertion", of: ofIdentity, needs: []string{"identity-endpoint"}, run: checkAssertion, anchor: cause.IdentityEndpointHangs},
	{id: "token", title: "the identity gets a token", of: ofIdentity, needs: []string{"identity-endpoint", "assertion"}, run: checkToken, anchor: cause.IdentityEndpointHangs},
	{id: "token-claims", title: "the token can be read", of: ofIdentity, needs: []string{"token"}, run: checkClaims, anchor: cause.TokenFormat},
	{id: "token-tenant", title: "the token comes from TargetTenantID", of: ofIdentity, needs: []string{"token-claims"}, run: checkTenant, anchor: cause.TokenTenant},
	{id: "token-caller", title: "the token was given to this identity", of: ofIdentity, needs: []string{"token-claims"}, run: checkCaller, anchor: cause.TokenCaller},
	{id: "token-audience", title: "the token is for TargetApp", of: ofIdentity, needs: []string{"token-claims"}, run: checkAudience, anchor: cause.TokenAudience},
	{id: "token-time", title: "the token is valid now", of: ofIdentity, needs: []string{"token"}, run: checkTime, anchor: cause.TokenTime},
	{id: "token-role", title: "the token carries the role that the API wants", of: ofRole, needs: []string{"token-claims"}, run: checkRole, anchor: cause.RoleMissing},
	{id: "policy", title: "the token passes the policy", of: ofCall, after: []string{"token"}, run: checkPolicy, anchor: cause.TokenRefused},

	{id: "proxy", title: "the proxy takes connections", of: ofGateway, run: checkProxy, anchor: cause.ProxyDown},
	{id: "gateway-name", title: "the gateway's name resolves", of: ofGateway, needs: []string{"proxy"}, run: checkName, anchor: cause.GatewayName},
	{id: "gateway-connection", title: "the gateway takes connections, and its certificate is trusted", of: ofGateway, needs: []string{"gateway-name"},
		run: checkConnection, anchor: cause.GatewayConnection},
	{id: "gateway", title: "the gateway answers", of: ofURL, needs: []string{"gateway-connection"}, run: checkGateway, anchor: cause.GatewaySilent},
	{id: "clock", title: "the gateway's clock agrees with ours", of: ofURL, needs: []string{"gateway"}, run: checkClock, anchor: cause.TokenTime},
	{id: "operation", title: "the operation exists", of: ofURL, needs: []string{"gateway"}, run: checkOperation, anchor: cause.OperationUnknown},
	{id: "key", title: "the gateway accepts the key", of: ofKey, needs: []string{"operation"}, after: []string{"gateway"}, run: checkKey, anchor: cause.GatewaySilent},
	{id: "call", title: "the gateway accepts the token", of: ofCall, needs: []string{"key", "token"}, run: checkCall, anchor: cause.GatewaySilent,
		after: []string{"token-claims", "token-tenant", "token-audience", "token-time", "token-role", "policy", "clock"}},
}

// checkOf finds a check by its id.
func checkOf(id string) *check {
	i := slices.IndexFunc(checks, func(c check) bool { return c.id == id })
	if i < 0 {
		panic("doctor: no check " + id)
	}
	return &checks[i]
}

func one(o outcome) []outcome { return []outcome{o} }
