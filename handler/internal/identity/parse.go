package identity

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"apimrelay/internal/secret"
)

// The keys of a connection string, as the original library's documentation spells them.
const (
	keyRunAs           = "RunAs"
	keyTool            = "DeveloperTool"
	keyAppID           = "AppId"
	keyAppKey          = "AppKey"
	keyTenant          = "TenantId"
	keyStore           = "CertificateStoreLocation"
	keyThumbprint      = "CertificateThumbprint"
	keySubject         = "CertificateSubjectName"
	keyVaultCert       = "KeyVaultCertificateSecretIdentifier"
	keyVaultIdentity   = "KeyVaultUserAssignedManagedIdentityId"
	keyRetryTimeout    = "MsiRetryTimeout"
	keyFederated       = "FederatedIdentity" // ours
	wantRunAs          = "want RunAs=App, RunAs=Developer or RunAs=Workload"
	wantTool           = "want DeveloperTool=AzureCli or DeveloperTool=AzureDeveloperCli"
	insteadCertificate = "use a managed identity (RunAs=App), which needs no certificate, or " +
		"AppKey as a Key Vault reference of the app setting"
)

var keys = []string{keyRunAs, keyTool, keyAppID, keyAppKey, keyTenant, keyStore, keyThumbprint,
	keySubject, keyVaultCert, keyVaultIdentity, keyRetryTimeout, keyFederated}

// Parse reads a connection string. Warnings are for what is accepted and has no effect. Texts are
// one line without the name of the setting; they name keys, positions and shapes, and never hold a
// value that could be a secret: neither AppKey's nor one that strayed elsewhere.
func Parse(s string) (Connection, []string, error) {
	c, warnings, err := parse(s)
	if err != nil {
		return Connection{}, nil, err
	}
	return c, warnings, nil
}

func parse(s string) (Connection, []string, error) {
	pairs, err := split(s)
	if err != nil {
		return Connection{}, nil, fmt.Errorf(
			"reading the connection string: %w (the form is Key1=Value1;Key2=Value2)", err)
	}
	if strings.TrimSpace(s) == "" {
		return Connection{}, nil, fmt.Errorf(
			"the connection string is empty: %s; no identity is guessed", wantRunAs)
	}
	v, err := collect(pairs)
	if err != nil {
		return Connection{}, nil, err
	}
	runAs, ok := v.get(keyRunAs)
	if !ok {
		return Connection{}, nil, fmt.Errorf("RunAs is missing: %s", wantRunAs)
	}
	switch strings.ToLower(runAs) {
	case "":
		return Connection{}, nil, fmt.Errorf("RunAs is empty: %s", wantRunAs)
	case "app":
		return v.app()
	case "developer":
		return v.developer()
	case "workload":
		return v.workload()
	case "currentuser":
		return Connection{}, nil, errors.New("RunAs=CurrentUser is the sign-in of a Windows " +
			"domain, which a function app does not have: want RunAs=App, or " +
			"RunAs=Developer;DeveloperTool=AzureCli on your own machine")
	}
	if strings.Contains(runAs, ",") {
		return Connection{}, nil, fmt.Errorf("RunAs has a comma in its value: pairs are separated "+
			"by a semicolon; %s", wantRunAs)
	}
	return Connection{}, nil, fmt.Errorf("RunAs has an unknown value%s: %s", shown(runAs),
		wantRunAs)
}

// values are the pairs of a connection string by known key.
type values struct {
	by       map[string]string
	warnings []string
}

// collect refuses repeated and unknown keys. A pair is named by its position, since an unquoted
// secret may stand in it.
func collect(pairs []pair) (*values, error) {
	v := &values{by: map[string]string{}}
	for i, p := range pairs {
		name := known(p.key)
		switch {
		case name == "" && strings.Contains(p.key, ";"):
			_, last, _ := cutLast(p.key, ";")
			what := "a key"
			if k := known(strings.TrimSpace(last)); k != "" {
				what = k
			}
			return nil, fmt.Errorf("pair %d: a word without = stands before %s and would swallow "+
				"it: want Key=Value between semicolons, and a value that holds a semicolon in "+
				"quotes", i+1, what)
		case name == "":
			return nil, fmt.Errorf("pair %d: unknown key%s: want one of %s", i+1, meant(p.key),
				strings.Join(keys, ", "))
		}
		if _, twice := v.by[name]; twice {
			return nil, fmt.Errorf("pair %d: %s is repeated: want it once", i+1, name)
		}
		v.by[name] = p.value
	}
	return v, nil
}

// Placeholder returns the key, as documents spell it, whose value bracketed takes for text that was left
// in from a document; "" means none. A secret in quotes is taken as it stands, and keys that are
// unknown are not looked at: a secret may stand there that was not quoted.
func Placeholder(s string, bracketed func(value string) bool) string {
	pairs, err := split(s)
	if err != nil {
		return "" // Parse says it by position
	}
	for _, p := range pairs {
		name := known(p.key)
		if name != "" && bracketed(strings.TrimSpace(p.value)) && !(name == keyAppKey && p.quoted) {
			return name
		}
	}
	return ""
}

func known(key string) string {
	for _, k := range keys {
		if strings.EqualFold(k, key) {
			return k
		}
	}
	return ""
}

// meant guesses which known key a wrong one stands for. It shows the guess and nothing of the key.
func meant(key string) string {
	letters := strings.ToLower(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return -1
	}, key))
	aliases := map[string]string{
		"clientid": keyAppID, "applicationid": keyAppID, "appclientid": keyAppID,
		"clientsecret": keyAppKey, "appsecret": keyAppKey, "secret": keyAppKey,
		"tenant": keyTenant, "tool": keyTool, "thumbprint": keyThumbprint, "runsas": keyRunAs,
	}
	guess := aliases[letters]
	if guess == "" {
		guess = known(letters)
	}
	if guess == "" {
		return ""
	}
	return " (is " + guess + " meant?)"
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// shown is a value for an error text, where it is a short word of letters; anything else might be a
// secret that strayed.
func shown(value string) string {
	if value == "" || len(value) > 24 || strings.ContainsFunc(value,
		func(r rune) bool { return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') }) {
		return ""
	}
	return " " + strconv.Quote(value)
}

func (v *values) get(key string) (string, bool) {
	value, ok := v.by[key]
	return value, ok
}

func (v *values) has(key string) bool {
	_, ok := v.by[key]
	return ok
}

// filled returns a value that must be there and not blank.
func (v *values) filled(key, why string) (string, error) {
	value, ok := v.by[key]
	if !ok {
		return "", fmt.Errorf("%s is missing: %s", key, why)
	}
	if strings.TrimSpace(value) == "" {
		return "", fmt.Errorf("%s is empty: %s", key, why)
	}
	return value, nil
}

// unused warns of keys that have no effect here.
func (v *values) unused(why string, names ...string) {
	for _, k := range names {
		if v.has(k) {
			v.warnings = append(v.warnings, fmt.Sprintf("%s has no effect: %s", k, why))
		}
	}
}

// app decides in the order of the original library. Unlike there, a secret or a certificate is
// never ignored.
func (v *values) app() (Connection, []string, error) {
	if err := v.retryTimeout(); err != nil {
		return Connection{}, nil, err
	}
	v.unused("RunAs=App uses no developer's tool", keyTool)
	if !v.has(keyAppID) {
		if v.has(keyFederated) {
			return Connection{}, nil, fmt.Errorf("%s is given without AppId: want AppId=<client id of "+
				"the application that it stands for> too, or RunAs=App;AppId=<client id> to call as "+
				"that identity itself", keyFederated)
		}
		for _, k := range []string{keyAppKey, keyStore, keyThumbprint, keySubject, keyVaultCert,
			keyVaultIdentity} {
			if v.has(k) {
				return Connection{}, nil, fmt.Errorf("%s is given without AppId: want "+
					"AppId=<client id of the app registration> too, or RunAs=App alone for the "+
					"system-assigned identity", k)
			}
		}
		v.unused("a managed identity knows its own tenant", keyTenant)
		return Connection{Kind: SystemAssigned}, v.warnings, nil
	}
	id, err := v.filled(keyAppID,
		"want the client id of the identity, or no AppId for the system-assigned one")
	if err != nil {
		return Connection{}, nil, err
	}
	if err := guid(keyAppID, id); err != nil {
		return Connection{}, nil, err
	}
	c := Connection{Kind: UserAssigned, ClientID: id}
	switch {
	case v.has(keyFederated):
		return v.federated(c)
	case v.has(keyStore), v.has(keyThumbprint), v.has(keySubject):
		return v.certificate(c)
	case v.has(keyVaultCert), v.has(keyVaultIdentity):
		return Connection{}, nil, fmt.Errorf(
			"a certificate from Key Vault is not supported (%s): %s", keyVaultCert, insteadCertificate)
	case v.has(keyAppKey):
		return v.clientSecret(c)
	}
	v.unused("a managed identity knows its own tenant", keyTenant)
	return c, v.warnings, nil
}

func (v *values) clientSecret(c Connection) (Connection, []string, error) {
	key, err := v.filled(keyAppKey,
		"want the value of the client secret, or no AppKey for a managed identity")
	if err != nil {
		return Connection{}, nil, err
	}
	c.TenantID, err = v.tenant(
		"want it beside AppKey: the tenant in which the app registration signs in")
	if err != nil {
		return Connection{}, nil, err
	}
	if IsGUID(key) {
		v.warnings = append(v.warnings, "AppKey looks like the id of a client secret: want its "+
			"value, which is shown once when the secret is made")
	}
	c.Kind, c.Secret = ClientSecret, secret.New(key)
	return c, v.warnings, nil
}

// federated is an application that proves itself with the token of a managed identity.
func (v *values) federated(c Connection) (Connection, []string, error) {
	for _, k := range []string{keyAppKey, keyStore, keyThumbprint, keySubject, keyVaultCert,
		keyVaultIdentity} {
		if v.has(k) {
			return Connection{}, nil, fmt.Errorf(
				"%s stands beside %s: want one of them, since each proves the application", k, keyFederated)
		}
	}
	id, err := v.filled(keyFederated, "want the client id of a user-assigned identity of this app")
	if err != nil {
		return Connection{}, nil, err
	}
	if err := guid(keyFederated, id); err != nil {
		return Connection{}, nil, err
	}
	if strings.EqualFold(id, c.ClientID) {
		return Connection{}, nil, fmt.Errorf("%s is the same as AppId: want the application in AppId, "+
			"and the identity that proves it in %s", keyFederated, keyFederated)
	}
	c.TenantID, err = v.tenant("want it beside " + keyFederated + ": the tenant of the API")
	if err != nil {
		return Connection{}, nil, err
	}
	c.Kind, c.Assertion = Federated, id
	return c, v.warnings, nil
}

func (v *values) certificate(c Connection) (Connection, []string, error) {
	store, err := v.filled(keyStore, "want CurrentUser or LocalMachine beside the certificate")
	if err != nil {
		return Connection{}, nil, err
	}
	if !strings.EqualFold(store, "CurrentUser") && !strings.EqualFold(store, "LocalMachine") {
		return Connection{}, nil, fmt.Errorf("%s has an unknown value%s: want CurrentUser or "+
			"LocalMachine", keyStore, shown(store))
	}
	if !v.has(keyThumbprint) {
		if v.has(keySubject) {
			return Connection{}, nil, fmt.Errorf("%s is not supported, since several certificates "+
				"can have one subject: want %s", keySubject, keyThumbprint)
		}
		return Connection{}, nil, fmt.Errorf("%s is missing: want it beside %s", keyThumbprint,
			keyStore)
	}
	c.Thumbprint, err = v.filled(keyThumbprint,
		"want the certificate's thumbprint in hexadecimal digits")
	if err != nil {
		return Connection{}, nil, err
	}
	c.Thumbprint = strings.TrimSpace(c.Thumbprint)
	if len(c.Thumbprint) > 64 || strings.ContainsFunc(c.Thumbprint,
		func(r rune) bool { return !hexDigit(r) }) {
		return Connection{}, nil, fmt.Errorf("%s is no thumbprint: want hexadecimal digits only, "+
			"got %d characters (copied text often holds an invisible one)", keyThumbprint,
			len([]rune(c.Thumbprint)))
	}
	c.TenantID, err = v.tenant(
		"want it beside the certificate: the tenant in which the app registration signs in")
	if err != nil {
		return Connection{}, nil, err
	}
	v.unused("the thumbprint decides", keySubject)
	v.unused("the certificate decides", keyAppKey)
	v.unused("the certificate comes from the store", keyVaultCert, keyVaultIdentity)
	c.Kind = ClientCertificate
	return c, v.warnings, nil
}

func (v *values) developer() (Connection, []string, error) {
	tool, err := v.filled(keyTool, wantTool)
	if err != nil {
		return Connection{}, nil, err
	}
	var c Connection
	switch strings.ToLower(tool) {
	case "azurecli":
		c.Kind = AzureCLI
	case "azuredevelopercli":
		c.Kind = AzureDeveloperCLI
	case "visualstudio", "visualstudiocode":
		return Connection{}, nil, fmt.Errorf("DeveloperTool=%s is not supported: %s", tool,
			wantTool)
	default:
		return Connection{}, nil, fmt.Errorf("DeveloperTool has an unknown value%s: %s",
			shown(tool), wantTool)
	}
	v.unused("the developer signed in to the tool is used", keyFederated, keyAppID, keyAppKey, keyStore,
		keyThumbprint, keySubject, keyVaultCert, keyVaultIdentity)
	v.unused("TargetTenantID is passed to the tool", keyTenant)
	v.unused("the token source has a deadline of its own", keyRetryTimeout)
	return c, v.warnings, nil
}

func (v *values) workload() (Connection, []string, error) {
	c := Connection{Kind: Workload}
	var err error
	if v.has(keyAppID) {
		c.ClientID, err = v.filled(keyAppID,
			"want the client id of the identity, or no AppId for that of AZURE_CLIENT_ID")
		if err == nil {
			err = guid(keyAppID, c.ClientID)
		}
		if err != nil {
			return Connection{}, nil, err
		}
	}
	if v.has(keyTenant) {
		c.TenantID, err = v.tenant("want a tenant, or no TenantId for that of AZURE_TENANT_ID")
		if err != nil {
			return Connection{}, nil, err
		}
	}
	v.unused("a workload identity proves itself with the platform's token", keyFederated, keyTool, keyAppKey,
		keyStore, keyThumbprint, keySubject, keyVaultCert, keyVaultIdentity)
	v.unused("the token source has a deadline of its own", keyRetryTimeout)
	return c, v.warnings, nil
}

// retryTimeout checks MsiRetryTimeout as the original library does: whole seconds, not negative.
// The value itself is not used.
func (v *values) retryTimeout() error {
	text, ok := v.get(keyRetryTimeout)
	if !ok {
		return nil
	}
	// 31 bits, as the original has it
	if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32); err != nil || n < 0 {
		return fmt.Errorf("%s is no number of seconds: want a whole number from 0 on",
			keyRetryTimeout)
	}
	v.unused("the token source has a deadline of its own", keyRetryTimeout)
	return nil
}

func (v *values) tenant(why string) (string, error) {
	t, err := v.filled(keyTenant, why)
	if err != nil {
		return "", err
	}
	// azidentity accepts the same. It keeps the text within one segment of the authority's URL.
	if strings.ContainsFunc(t, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' ||
			r == '.')
	}) {
		return "", fmt.Errorf("%s is no tenant: want a GUID or a domain", keyTenant)
	}
	return t, nil
}

// guid refuses a value that is no GUID. The error holds the value's shape and not its text:
// somebody may have pasted a secret there.
func guid(key, value string) error {
	if IsGUID(value) {
		return nil
	}
	got := fmt.Sprintf("%d characters", len([]rune(value)))
	switch {
	case len(value) == 38 && value[0] == '{' && IsGUID(value[1:37]):
		got = "one in braces"
	case strings.ContainsAny(value, "<>{}"):
		got = "a placeholder"
	}
	return fmt.Errorf("%s is no GUID: want the form 00000000-0000-0000-0000-000000000000, got %s",
		key, got)
}

// IsGUID reports whether s has the form with hyphens that portals show: 8-4-4-4-12 hexadecimal
// digits of either case.
func IsGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		switch i {
		case 8, 13, 18, 23:
			if r != '-' {
				return false
			}
		default:
			if !hexDigit(r) {
				return false
			}
		}
	}
	return true
}

func hexDigit(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'f' || 'A' <= r && r <= 'F'
}
