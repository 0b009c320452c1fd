package main

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"apimrelay/deploy/functionjson"
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

func checkSettings(c *choices, functions []function, fault func(string, ...any)) {
	has := func(name string) bool {
		for key := range c.Settings {
			if strings.EqualFold(key, name) {
				return true
			}
		}
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		value := c.Settings[name]
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
		case (strings.EqualFold(key, "ApimHeaders") || strings.EqualFold(name, "OTEL_EXPORTER_OTLP_HEADERS")) && keyLike(text):
			fault("settings: %s: a value in it looks like a key or a token, which must not lie in this file: put the whole setting into a vault and want @Microsoft.KeyVault(SecretUri=…)", name)
		case strings.Contains(text, "PRIVATE KEY-----"):
			fault("settings: %s holds a private key, which must not lie in this file: want @Microsoft.KeyVault(SecretUri=…)", name)
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
		for _, named := range f.connections {
			connection, resolved := functionjson.Resolve(named, c.texts())
			if !resolved || strings.EqualFold(connection, "AzureWebJobsStorage") {
				continue // a setting that is missing has its fault already
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

var (
	secretName   = regexp.MustCompile(`(?i)key|secret|token|passw|pwd|auth|credential|signature|cookie|session`)
	secretScheme = regexp.MustCompile(`(?i)^(bearer|basic|digest|apikey|sharedaccesssignature)\s`)
	product      = regexp.MustCompile(`^[A-Za-z][A-Za-z.-]*/[0-9][0-9.]*$`)
	hexadecimal  = regexp.MustCompile(`^[0-9a-fA-F]+$`)
	quoted       = regexp.MustCompile(`"([^"]*)"\s*:\s*"([^"]*)"`)
)

// keyLike reports whether one of the headers in a setting (pairs by ; or , or a JSON object) has a
// name or a value of a kind that secrets have: no look at it can be sure, so versions, dates, GUIDs,
// media types and products pass, and long words of letters and digits mixed do not.
func keyLike(text string) bool {
	if strings.HasPrefix(strings.TrimSpace(text), "@Microsoft.KeyVault(") {
		return false
	}
	var pairs [][2]string
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		for _, match := range quoted.FindAllStringSubmatch(text, -1) {
			pairs = append(pairs, [2]string{match[1], match[2]})
		}
	} else {
		for pair := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ';' || c == ',' }) {
			if i := strings.IndexAny(pair, ":="); i >= 0 {
				pairs = append(pairs, [2]string{pair[:i], pair[i+1:]})
			} else {
				pairs = append(pairs, [2]string{"", pair})
			}
		}
	}
	for _, pair := range pairs {
		value := strings.TrimSpace(pair[1])
		if value != "" && secretName.MatchString(pair[0]) || secretScheme.MatchString(value) {
			return true
		}
		for word := range strings.FieldsFuncSeq(value, func(c rune) bool { return strings.ContainsRune(" \t\"'()=?&", c) }) {
			if randomWord(word) {
				return true
			}
		}
	}
	return false
}

func randomWord(word string) bool {
	if len(word) < 16 || guid.MatchString(word) || product.MatchString(word) {
		return false
	}
	var digits, upper, lower int
	for _, c := range word {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'A' && c <= 'Z':
			upper++
		case c >= 'a' && c <= 'z':
			lower++
		}
	}
	switch {
	case hexadecimal.MatchString(word):
		return upper+lower > 0 && digits > 0
	case upper > 1 && lower > 1 && digits > 0:
		return true
	default:
		return len(word) >= 24 && digits >= 4 && upper+lower >= 4
	}
}

// ourGateway is the address of a service that this deployment makes: main.bicep, apimName.
var ourGateway = regexp.MustCompile(`^apim-[a-z0-9]{13}\.azure-api\.(net|us|cn)$`)

// strangers says which functions call another host than all others, by an ApimUrl of their own, and
// take our key or a token for our API there. It is a warning: one service may have several names.
func strangers(c *choices) []string {
	ours := "the gateway of this deployment"
	known := func(host string) bool { return ourGateway.MatchString(host) }
	var address string
	switch service := c.existingService(); {
	case c.External != nil:
		address = c.External.URL
	case c.API != nil && c.API.GatewayURL != "":
		address = c.API.GatewayURL
	case service != nil:
		address = "https://" + service.Name + ".azure-api.net"
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		ours = u.Hostname()
		known = func(host string) bool { return strings.EqualFold(host, ours) }
	}
	keyNeeded := c.External == nil || c.External.KeyHeader != "none"

	set := map[string]bool{}
	for name := range c.Settings {
		set[strings.ToLower(name)] = true
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		i := strings.LastIndex(name, "__")
		if i <= 0 || !strings.EqualFold(name[i+2:], "ApimUrl") {
			continue
		}
		text, _ := c.Settings[name].(string)
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Hostname() == "" || known(u.Hostname()) {
			continue
		}
		function := name[:i]
		has := func(setting string) bool { return set[strings.ToLower(function+"__"+setting)] }
		var goes, add []string
		if keyNeeded && !has("ApimKey") && !has("ApimKeySecondary") {
			goes, add = append(goes, "our subscription key"), append(add, function+"__ApimKey")
		}
		if !has("TargetApp") {
			goes, add = append(goes, "a token for our API"), append(add, function+"__TargetApp")
			if !has("FunctionIdentity") {
				add = append(add, function+"__FunctionIdentity")
			}
		}
		if len(goes) > 0 {
			all = append(all, fmt.Sprintf("settings: %s names %s, where the other functions call %s: %s would go there. Unless both are one service, add %s",
				name, u.Hostname(), ours, strings.Join(goes, " and "), strings.Join(add, ", ")))
		}
	}
	return all
}
