package main

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// policyRoles are the app roles that the policies ask for: policies/api.xml wants the first of every
// call, policies/operation-write.xml the second.
var policyRoles = []string{"Api.Read", "Api.Write"}

// changing are the methods whose operations must say who may use them.
var changing = []string{"DELETE", "PATCH", "POST", "PUT"}

var (
	guid   = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	region = regexp.MustCompile(`^[a-z0-9]+$`)
	// What resource groups, identities and operations have in common of what Azure takes
	// (learn.microsoft.com "Naming rules and restrictions for Azure resources").
	groupName    = regexp.MustCompile(`^[\p{L}\p{N}_().-]{0,89}[\p{L}\p{N}_()-]$`)
	resourceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$`)
	actionGroup  = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/microsoft\.insights/actionGroups/[^/]+$`)
	subnetID     = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+$`)
)

// check finds what neither Bicep nor Azure would tell before half of the resources stand. Order and text are for people.
func check(c *choices, functions []function) []error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	known := func(name string) bool {
		return slices.ContainsFunc(functions, func(f function) bool { return f.name == name })
	}

	checkPlaces(c, fault)
	checkIdentities(c, known, fault)
	checkTarget(c, fault)
	checkAPI(c, fault)
	checkNetwork(c, fault)
	checkSettings(c, functions, fault)
	checkTimers(c, functions, known, fault)
	checkInstances(c, known, fault)

	for i, item := range c.TriggerRoles {
		oneOf(fault, fmt.Sprintf("triggerRoles[%d]: kind", i), item.Kind, "cosmosDb", "eventHubs", "serviceBus", "storage")
		if !guid.MatchString(item.Role) {
			fault("triggerRoles[%d]: role: want the GUID of a role definition, got %q", i, item.Role)
		}
		if item.Name == "" || item.ResourceGroup == "" {
			fault("triggerRoles[%d]: want the name and the resourceGroup of the account or namespace", i)
		}
	}
	for i, id := range c.ActionGroups {
		if !actionGroup.MatchString(id) {
			fault("actionGroups[%d]: want /subscriptions/…/resourceGroups/…/providers/Microsoft.Insights/actionGroups/…, got %q", i, id)
		}
	}
	within(fault, "retentionInDays", c.RetentionInDays, 30, 730)
	return faults
}

func oneOf(fault func(string, ...any), what, got string, want ...string) {
	if !slices.Contains(want, got) {
		fault("%s: want %s, got %q", what, strings.Join(want, ", "), got)
	}
}

func within(fault func(string, ...any), what string, n *int, low, high int) {
	if n != nil && (*n < low || *n > high) {
		fault("%s: want %d to %d, got %d", what, low, high, *n)
	}
}

func checkPlaces(c *choices, fault func(string, ...any)) {
	if c.ResourceGroup != "" && !groupName.MatchString(c.ResourceGroup) {
		fault("resourceGroup: want letters, digits and _ ( ) . - with no dot at the end, got %q", c.ResourceGroup)
	}
	if c.Locations != nil && len(c.Locations) == 0 {
		fault("locations: want at least one region, or leave it out")
	}
	for i, name := range c.Locations {
		if !region.MatchString(name) {
			fault("locations[%d]: want a region's short name such as westeurope, got %q", i, name)
		}
	}
	if sorted := slices.Sorted(slices.Values(c.Locations)); len(slices.Compact(sorted)) != len(c.Locations) {
		fault("locations: a region stands twice")
	}
	if v := c.Vault; v != nil && (v.Name == "" || v.ResourceGroup == "") {
		fault("vault: want the name and the resourceGroup of a vault that is there already")
	}
	if s := c.existingService(); s != nil && (s.Name == "" || s.ResourceGroup == "") {
		fault("api: existing: want the name and the resourceGroup of a service that is there already")
	}
}

func checkIdentities(c *choices, known func(string) bool, fault func(string, ...any)) {
	if c.IdentityKind != "" {
		oneOf(fault, "identityKind", c.IdentityKind, "SystemAssigned", "UserAssigned")
	}
	if c.Identities != nil && len(c.Identities) == 0 {
		fault("identities: want at least one, or leave it out: then there is one with Api.Read")
	}
	names, users := map[string]bool{}, map[string]string{}
	for i, item := range c.Identities {
		if item.Name == "" || names[strings.ToLower(item.Name)] {
			fault("identities[%d]: want a name of its own, got %q", i, item.Name)
		} else if !resourceName.MatchString(item.Name) {
			fault("identities[%d]: name: want letters, digits, - and _, got %q", i, item.Name)
		}
		names[strings.ToLower(item.Name)] = true
		checkRoles(c, i, item, fault)
		checkFederation(c, i, item, fault)
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

func checkRoles(c *choices, i int, item identity, fault func(string, ...any)) {
	if len(item.Roles) == 0 {
		fault("identities[%d] (%s): want at least one app role", i, item.Name)
		return
	}
	if c.External != nil {
		if i == 0 && item.Roles[0] != c.External.Role {
			fault("identities[0] (%s): roles: want external.role (%s) first, got %s: the doctor asks for that one",
				item.Name, c.External.Role, item.Roles[0])
		}
		return
	}
	for _, role := range item.Roles {
		if !slices.Contains(policyRoles, role) {
			fault("identities[%d] (%s): roles: the policies ask for Api.Read and Api.Write, no call would need %q", i, item.Name, role)
		}
	}
	if !slices.Contains(item.Roles, policyRoles[0]) {
		fault("identities[%d] (%s): roles: want Api.Read among them: the policy asks every call for it", i, item.Name)
	}
}

func checkFederation(c *choices, i int, item identity, fault func(string, ...any)) {
	if item.FederatedApp == "" {
		return
	}
	at := fmt.Sprintf("identities[%d] (%s): federatedApp", i, item.Name)
	if !guid.MatchString(item.FederatedApp) {
		fault("%s: want the client id (GUID) of a registration, got %q", at, item.FederatedApp)
	}
	if c.External == nil || c.External.TenantID == "" {
		fault("%s: it is for an API in another tenant: want external.tenantId", at)
	}
	if c.IdentityKind == "SystemAssigned" {
		fault("%s: want a user-assigned identity, whose principal is known before the registration trusts it", at)
	}
	if c.withLogicApp() {
		fault("%s: a Logic App cannot call by way of a registration: set logicApp to false", at)
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
		if c.External.Role == "" {
			fault("external: role: want the app role that the other team gives")
		}
	}
	if c.Registration != nil {
		if !guid.MatchString(c.Registration.ClientID) {
			fault("registration: clientId: want a GUID, got %q", c.Registration.ClientID)
		}
		if c.Registration.AppIDURI == "" || strings.HasSuffix(c.Registration.AppIDURI, "/.default") {
			fault("registration: appIdUri: want the App ID URI without /.default, got %q", c.Registration.AppIDURI)
		}
	}
	if a := c.Authentication; a != nil {
		if !guid.MatchString(a.ClientID) {
			fault("authentication: clientId: want a GUID, got %q", a.ClientID)
		}
		for i, id := range a.Callers {
			if !guid.MatchString(id) {
				fault("authentication: callers[%d]: want the client id (GUID) of an application, got %q", i, id)
			}
		}
	}
}

func checkAPI(c *choices, fault func(string, ...any)) {
	if c.API == nil {
		return
	}
	if c.API.Name != "" && !resourceName.MatchString(c.API.Name) {
		fault("api: name: want letters, digits, - and _, got %q", c.API.Name)
	}
	if strings.HasPrefix(c.API.Path, "/") || strings.HasSuffix(c.API.Path, "/") {
		fault("api: path: want no / at its ends, got %q", c.API.Path)
	}
	if c.API.CallPath != "" && !strings.HasPrefix(c.API.CallPath, "/") {
		fault("api: callPath: want a path that begins with /, got %q", c.API.CallPath)
	}
	if c.API.SKU != "" {
		oneOf(fault, "api: sku", c.API.SKU, "Basic", "BasicV2", "Consumption", "Developer", "Premium", "PremiumV2", "Standard", "StandardV2")
		if c.API.Existing != nil {
			fault("api: sku: the service is there already, its tier stays")
		}
	}
	if text := c.API.BackendURL; text != "" {
		if u, err := url.Parse(text); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			fault("api: backendUrl: want a URL, got %q", text)
		}
	}
	if text := c.API.GatewayURL; text != "" {
		if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" || text != "https://"+u.Host {
			fault("api: gatewayUrl: want https:// and a host, without a path, got %q", text)
		}
	}
	if mail := strings.ToLower(c.API.PublisherEmail); mail != "" && c.newService() {
		_, host, found := strings.Cut(mail, "@")
		if !found || host == "" || strings.HasPrefix(mail, "@") {
			fault("api: publisherEmail: want an address, got %q", c.API.PublisherEmail)
		}
		if strings.HasPrefix(host, "example.") || strings.HasSuffix(host, ".example") || strings.HasSuffix(host, ".example.com") {
			fault("api: publisherEmail: nobody reads %q: want the address of whom the service shall write to", c.API.PublisherEmail)
		}
	}
	names := map[string]bool{}
	for i, item := range c.API.Operations {
		at := fmt.Sprintf("api: operations[%d] (%s)", i, item.Name)
		if lower := strings.ToLower(item.Name); names[lower] {
			fault("%s: two operations have this name", at)
		} else {
			names[lower] = true
		}
		if !resourceName.MatchString(item.Name) {
			fault("%s: name: want letters, digits, - and _", at)
		}
		oneOf(fault, at+": method", item.Method, "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
		switch {
		case item.Access != "":
			oneOf(fault, at+": access", item.Access, "read", "write")
		case slices.Contains(changing, item.Method):
			fault("%s: access: want write, or read for a %s that changes nothing: left out it would ask for Api.Read alone", at, item.Method)
		}
		if err := checkTemplate(item.URLTemplate); err != nil {
			fault("%s: urlTemplate: %w", at, err)
		}
	}
}

// checkTemplate wants a path with {names}, {*rest} at its end included, as API Management takes it.
func checkTemplate(template string) error {
	if !strings.HasPrefix(template, "/") {
		return fmt.Errorf("want a path that begins with /, got %q", template)
	}
	names := map[string]bool{}
	for rest := template; ; {
		before, after, open := strings.Cut(rest, "{")
		if strings.Contains(before, "}") {
			return fmt.Errorf("a } closes nothing in %q", template)
		}
		if !open {
			return nil
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed || strings.Contains(name, "{") {
			return fmt.Errorf("a { is not closed in %q", template)
		}
		bare := strings.TrimPrefix(name, "*")
		if bare == "" || strings.ContainsAny(bare, "*/") {
			return fmt.Errorf("want a name between { and }, got %q", template)
		}
		if names[strings.ToLower(bare)] {
			return fmt.Errorf("{%s} stands twice in %q", bare, template)
		}
		names[strings.ToLower(bare)] = true
		rest = behind
	}
}

func checkNetwork(c *choices, fault func(string, ...any)) {
	n := c.Network
	if n == nil {
		return
	}
	regions := max(1, len(c.Locations))
	if !n.Isolated {
		if n.Subnets != nil || n.AddressPrefixes != nil || n.Zones != nil || n.ClosedApp {
			fault("network: isolated is false, so its other choices would do nothing")
		}
		return
	}
	if c.newService() {
		tier := "Consumption"
		if c.API != nil && c.API.SKU != "" {
			tier = c.API.SKU
		}
		if tier == "Consumption" || tier == "BasicV2" {
			fault("network: isolated: API Management's tier %s has no private endpoints: choose Developer, Basic, Standard, StandardV2, Premium or PremiumV2 (api.sku), or an existing service", tier)
		}
	}
	if c.withLogicApp() {
		fault("network: isolated: a Consumption Logic App cannot enter a closed vault: set logicApp to false")
	}
	if n.Subnets != nil && len(n.Subnets) != regions {
		fault("network: subnets: want one entry for each of the %d regions, got %d", regions, len(n.Subnets))
	}
	for i, pair := range n.Subnets {
		if !subnetID.MatchString(pair.App) || !subnetID.MatchString(pair.Endpoints) {
			fault("network: subnets[%d]: want app and endpoints, both the id of a subnet", i)
		}
	}
	if n.Subnets != nil && n.AddressPrefixes != nil {
		fault("network: addressPrefixes: the subnets are there already, so these would do nothing")
	}
	if n.Zones != nil && n.Subnets == nil {
		fault("network: zones: without subnets of your own the zones are made, so these would do nothing")
	}
	if n.AddressPrefixes != nil && len(n.AddressPrefixes) != regions {
		fault("network: addressPrefixes: want one for each of the %d regions, got %d", regions, len(n.AddressPrefixes))
	}
	for i, p := range n.AddressPrefixes {
		if r, err := netip.ParsePrefix(p); err != nil || r.Bits() != 24 || !r.Addr().Is4() || r != r.Masked() {
			fault("network: addressPrefixes: want a /24 such as 10.80.0.0/24, got %q", p)
		} else if slices.Contains(n.AddressPrefixes[:i], p) {
			fault("network: addressPrefixes: %s stands twice: the networks of the regions are joined", p)
		}
	}
	if c.StorageQueues || c.StorageTables {
		fault("network: isolated: private endpoints are made for blobs only, so storageQueues and storageTables would not be reached")
	}
}

func checkTimers(c *choices, functions []function, known func(string) bool, fault func(string, ...any)) {
	for _, name := range c.Timers {
		if !known(name) {
			fault("timers: there is no function %q", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.TimerMinutes)) {
		if !known(name) {
			fault("timerMinutes: there is no function %q", name)
		}
		if n := c.TimerMinutes[name]; n < 1 {
			fault("timerMinutes: %s: want 1 or more, got %d", name, n)
		}
	}
	if len(c.Locations) < 2 {
		return
	}
	for _, name := range timers(functions) {
		if c.Timers != nil && !slices.Contains(c.Timers, name) {
			fault("timers: %q is missing: it would run once in each of the %d regions. Without the list all timers are taken", name, len(c.Locations))
		}
		// Other regions switch it off by AzureWebJobs.<name>.Disabled, and Linux takes no setting
		// with a hyphen in its name (learn.microsoft.com "How to disable functions").
		if strings.Contains(name, "-") {
			fault("timers: %q cannot be switched off in the other regions, since Linux takes no setting with a hyphen in its name: rename the function", name)
		}
	}
}

func checkInstances(c *choices, known func(string) bool, fault func(string, ...any)) {
	if n := c.InstanceMemoryMB; n != nil && *n != 512 && *n != 2048 && *n != 4096 {
		fault("instanceMemoryMB: want 512, 2048 or 4096, got %d", *n)
	}
	within(fault, "maximumInstanceCount", c.MaximumInstanceCount, 40, 1000)
	within(fault, "httpConcurrency", c.HTTPConcurrency, 1, 1000)
	most := 40
	if c.MaximumInstanceCount != nil {
		most = *c.MaximumInstanceCount
	}
	groups := map[string]bool{}
	for i, item := range c.AlwaysReady {
		if name, one := strings.CutPrefix(item.Name, "function:"); item.Name != "http" && (!one || !known(name)) {
			fault("alwaysReady[%d]: name: want http or function:<name of a function>, got %q", i, item.Name)
		}
		if groups[item.Name] {
			fault("alwaysReady[%d]: %s stands twice", i, item.Name)
		}
		groups[item.Name] = true
		within(fault, fmt.Sprintf("alwaysReady[%d]: instanceCount", i), &item.InstanceCount, 1, most)
	}
}
