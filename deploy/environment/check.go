package main

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Names that a Flex Consumption app must not have: the platform sets them, or knows them no more
// (learn.microsoft.com "Migrate to the Flex Consumption plan", "App settings reference for Azure Functions").
var forbidden = []string{
	"ENABLE_ORYX_BUILD", "FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_WORKER_RUNTIME_VERSION",
	"SCM_DO_BUILD_DURING_DEPLOYMENT", "TZ", "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTSHARE", "WEBSITE_LOAD_CERTIFICATES",
	"WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT", "WEBSITE_MOUNT_ENABLED", "WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_TIME_ZONE",
	"WEBSITES_CONTAINER_START_TIME_LIMIT",
}

// own are the settings that the deployment itself makes of other choices: region.bicep. PollSchedule is there as a default only.
var own = []string{
	"ApimKey", "ApimKeySecondary", "ApimUrl", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "APPLICATIONINSIGHTS_CONNECTION_STRING",
	"AzureWebJobsStorage", "FunctionIdentity", "TargetApp", "TargetRole", "TargetTenantID",
}

var (
	guid   = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	prefix = regexp.MustCompile(`^\d+\.\d+\.\d+\.\d+/24$`)
)

// check finds what neither Bicep nor Azure would tell before half of the resources stand. Order and text are for people.
func check(c *choices, functions []function) []error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	known := func(name string) bool {
		return slices.ContainsFunc(functions, func(f function) bool { return f.name == name })
	}

	checkIdentities(c, known, fault)
	checkTarget(c, fault)
	checkNetwork(c, fault)
	checkSettings(c, functions, fault)

	for _, name := range c.Timers {
		if !known(name) {
			fault("timers: there is no function %q", name)
		}
	}
	if c.Timers != nil && len(c.Locations) > 1 {
		for _, name := range timers(functions) {
			if !slices.Contains(c.Timers, name) {
				fault("timers: %q is missing: it would run once in each of the %d regions. Without the list all timers are taken", name, len(c.Locations))
			}
		}
	}
	if sorted := slices.Sorted(slices.Values(c.Locations)); len(slices.Compact(sorted)) != len(c.Locations) {
		fault("locations: a region stands twice")
	}
	if n := c.InstanceMemoryMB; n != 0 && n != 512 && n != 2048 && n != 4096 {
		fault("instanceMemoryMB: want 512, 2048 or 4096, got %d", n)
	}
	if n := c.MaximumInstanceCount; n != 0 && (n < 40 || n > 1000) {
		fault("maximumInstanceCount: want 40 to 1000, got %d", n)
	}
	for i, item := range c.TriggerRoles {
		if !guid.MatchString(item.Role) {
			fault("triggerRoles[%d]: role: want the GUID of a role definition, got %q", i, item.Role)
		}
	}
	return faults
}

func checkIdentities(c *choices, known func(string) bool, fault func(string, ...any)) {
	names, users := map[string]bool{}, map[string]string{}
	for i, item := range c.Identities {
		if item.Name == "" || names[item.Name] {
			fault("identities[%d]: want a name of its own, got %q", i, item.Name)
		}
		names[item.Name] = true
		if len(item.Roles) == 0 {
			fault("identities[%d] (%s): want at least one app role", i, item.Name)
		}
		for _, name := range item.Functions {
			if !known(name) {
				fault("identities[%d] (%s): there is no function %q", i, item.Name, name)
			}
			if other, twice := users[name]; twice {
				fault("identities: the function %q is given to %s and to %s", name, other, item.Name)
			}
			users[name] = item.Name
		}
	}
	if c.IdentityKind == "SystemAssigned" && len(c.Identities) > 1 {
		fault("identityKind: an app has one system-assigned identity, but %d are listed: want UserAssigned", len(c.Identities))
	}
}

func checkTarget(c *choices, fault func(string, ...any)) {
	if c.External != nil {
		if c.API != nil || c.Registration != nil {
			fault("external: another team runs the API, so neither api nor registration may stand beside it")
		}
		if u, err := url.Parse(c.External.URL); err != nil || u.Scheme != "https" || u.Host == "" {
			fault("external: url: want an https URL, got %q", c.External.URL)
		}
		if c.External.TargetApp == "" || strings.HasSuffix(c.External.TargetApp, "/.default") {
			fault("external: targetApp: want the App ID URI without /.default, got %q", c.External.TargetApp)
		}
		if c.External.TenantID != "" && !guid.MatchString(c.External.TenantID) {
			fault("external: tenantId: want a GUID, got %q", c.External.TenantID)
		}
	}
	if c.Registration != nil && !guid.MatchString(c.Registration.ClientID) {
		fault("registration: clientId: want a GUID, got %q", c.Registration.ClientID)
	}
	if c.API != nil && c.API.CallPath != "" && !strings.HasPrefix(c.API.CallPath, "/") {
		fault("api: callPath: want a path that begins with /, got %q", c.API.CallPath)
	}
}

func checkNetwork(c *choices, fault func(string, ...any)) {
	n := c.Network
	if n == nil {
		return
	}
	regions := max(1, len(c.Locations))
	if !n.Isolated {
		if n.Subnets != nil || n.AddressPrefixes != nil || n.Zones != nil {
			fault("network: isolated is false, so its other choices would do nothing")
		}
		return
	}
	if c.External == nil && (c.API == nil || c.API.Existing == nil) {
		tier := "Consumption"
		if c.API != nil && c.API.SKU != "" {
			tier = c.API.SKU
		}
		if tier == "Consumption" || tier == "BasicV2" {
			fault("network: isolated: API Management's tier %s has no private endpoints: choose Developer, Basic, Standard, StandardV2 or Premium (api.sku), or an existing service", tier)
		}
	}
	if c.LogicApp == nil || *c.LogicApp {
		fault("network: isolated: a Consumption Logic App cannot enter a closed vault: set logicApp to false")
	}
	if n.Subnets != nil && len(n.Subnets) != regions {
		fault("network: subnets: want one entry for each of the %d regions, got %d", regions, len(n.Subnets))
	}
	if n.Subnets != nil && c.Vault == nil {
		fault("network: subnets: with subnets of your own the vault's private endpoint is yours too: name an existing vault")
	}
	if n.AddressPrefixes != nil && len(n.AddressPrefixes) != regions {
		fault("network: addressPrefixes: want one for each of the %d regions, got %d", regions, len(n.AddressPrefixes))
	}
	for _, p := range n.AddressPrefixes {
		if !prefix.MatchString(p) {
			fault("network: addressPrefixes: want a /24 such as 10.80.0.0/24, got %q", p)
		}
	}
	if c.StorageQueues || c.StorageTables {
		fault("network: isolated: private endpoints are made for blobs only, so storageQueues and storageTables would not be reached")
	}
}

func checkSettings(c *choices, functions []function, fault func(string, ...any)) {
	has := func(name string) bool {
		for key := range c.Settings {
			if strings.EqualFold(key, name) {
				return true
			}
		}
		return false
	}
	for name, value := range c.Settings {
		text, isText := value.(string)
		base, key := "", name
		if i := strings.Index(name, "__"); i >= 0 {
			base, key = name[:i], name[i+2:]
		}
		switch {
		case !isText:
			fault("settings: %s: app settings are text: want a string, got %v", name, value)
		case slices.ContainsFunc(forbidden, func(f string) bool { return strings.EqualFold(f, name) }):
			fault("settings: %s must not be set on Flex Consumption", name)
		case slices.ContainsFunc(own, func(o string) bool {
			return strings.EqualFold(o, name) || strings.EqualFold(o, base) && o == "AzureWebJobsStorage"
		}):
			fault("settings: %s is made by the deployment from the other choices", name)
		case (strings.EqualFold(key, "ApimKey") || strings.EqualFold(key, "ApimKeySecondary")) && !strings.HasPrefix(text, "@Microsoft.KeyVault("):
			fault("settings: %s: want a Key Vault reference, @Microsoft.KeyVault(SecretUri=…): a key must not lie in this file", name)
		case strings.Contains(strings.ToLower(text), "sharedaccesskey=") || strings.Contains(strings.ToLower(text), "accountkey="):
			fault("settings: %s holds a connection string with a key: want %s__fullyQualifiedNamespace (or its like), %s__credential and a role (triggerRoles), or a Key Vault reference", name, name, name)
		}
	}
	for _, f := range functions {
		for _, name := range f.names {
			if name != "PollSchedule" && !has(name) {
				fault("settings: the function %s needs %s (%%%s%% in its function.json), or it is in error at start", f.name, name, name)
			}
		}
		for _, connection := range f.connections {
			if strings.EqualFold(connection, "AzureWebJobsStorage") {
				continue
			}
			found := false
			for name := range c.Settings {
				lower, want := strings.ToLower(name), strings.ToLower(connection)
				found = found || lower == want || lower == "azurewebjobs"+want || strings.HasPrefix(lower, want+"__")
			}
			if !found {
				fault("settings: the function %s needs the connection %s: add %s__fullyQualifiedNamespace (Service Bus, Event Hubs), %s__blobServiceUri and kin (storage) or %s__accountEndpoint (Cosmos DB)",
					f.name, connection, connection, connection, connection)
			}
		}
	}
}
