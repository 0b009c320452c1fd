package identity

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// problem is what is known about one of Entra's error codes.
type problem struct {
	what  string // in few words, for an error's text; "" = the message says it
	hint  string // what to do; {login} is the tool's command, {tenant} and {resource} what was asked for
	pass  bool   // it may pass: unavailable, not refused
	login bool   // a person can mend it by signing in again
}

var aadsts = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`AADSTS(\d+)`) })

// entra finds the first error code in a message.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func entra(message string) (problem, bool) {
	m := aadsts().FindStringSubmatch(message)
	if m == nil {
		return problem{}, false
	}
	p, known := problems()[m[1]]
	return p, known
}

// refusesByCode tells of any code, known or not, whether it is a no. Only few pass by themselves.
func refusesByCode(message string) (refuses, coded bool) {
	if !strings.Contains(message, "AADSTS") {
		return false, false
	}
	p, known := entra(message)
	return !known || !p.pass, true
}

const (
	wrongTenant  = "wrong tenant"
	notConsented = "app not consented"
	signInAgain  = "sign-in too old or too weak"
)

var problems = sync.OnceValue(func() map[string]problem {
	return map[string]problem{
		"7000215": {what: "wrong client secret", hint: "AppKey must be the value of the client secret, not its id: make a new secret if the value is lost"},
		"7000222": {what: "client secret expired", hint: "make a new client secret for the app registration, or use a managed identity"},
		"7000229": {hint: "the app registration has no service principal in this tenant: az ad sp create --id <AppId>"},
		"7000112": {what: "application disabled", hint: "enable the application in Entra"},
		"700016":  {what: wrongTenant, hint: "no application with this client id in the tenant: correct AppId or the tenant; for a developer: {login}", login: true},
		"700027":  {what: "certificate not accepted", hint: "upload the certificate to the app registration, and compare the clock"},
		"700024":  {hint: "the federated token is outside its time: compare the clock"},
		"700211":  {hint: "the federated credential names another issuer"},
		"700212":  {hint: "the federated credential names another audience"},
		"700213":  {hint: "the federated credential names another subject"},
		"90002":   {what: wrongTenant, hint: "there is no such tenant: correct TargetTenantID or TenantId; for a developer: {login}", login: true},
		"900023":  {what: wrongTenant, hint: "the tenant is neither a GUID nor a domain: correct TargetTenantID or TenantId"},
		"90072":   {what: wrongTenant, hint: "{login}", login: true},
		"50020":   {what: wrongTenant, hint: "the account does not exist in the tenant: {login}", login: true},
		"50034":   {what: wrongTenant, hint: "the account does not exist in the tenant: {login}", login: true},
		"50128":   {what: wrongTenant, hint: "{login}", login: true},
		"500011":  {what: "resource not found", hint: "TargetApp is misspelt, or has no service principal in this tenant"},
		"500341":  {what: "account deleted", hint: "{login}", login: true},
		"650057":  {hint: "the app registration does not list the API among its permissions"},
		"65001":   {what: notConsented, hint: "add the tool to the API's authorized client applications (Expose an API; Azure CLI is 04b07795-8ddb-461a-bbee-02f9e1bf7b46), or consent with: {login}", login: true},
		"65002":   {what: notConsented, hint: "the owner of the API must authorize the tool's application beforehand"},
		"90094":   {what: notConsented, hint: "an administrator has to consent"},
		"50105":   {what: "not assigned", hint: "the API demands an assignment: assign the person to it"},
		"501051":  {what: "not assigned", hint: "the API demands an assignment: grant the identity its app role"},
		"50076":   {what: signInAgain, hint: "{login}", login: true},
		"50079":   {what: signInAgain, hint: "{login}", login: true},
		"50078":   {what: signInAgain, hint: "{login}", login: true},
		"53003":   {what: "blocked by Conditional Access", hint: "use a device that complies, or: {login}", login: true},
		"530032":  {what: "blocked by Conditional Access", hint: "use a device that complies, or: {login}", login: true},
		"700082":  {what: signInAgain, hint: "{login}", login: true},
		"70043":   {what: signInAgain, hint: "{login}", login: true},
		"50173":   {what: signInAgain, hint: "{login}", login: true},
		"70011":   {hint: "TargetApp is no App ID URI or client id"},
		"1002012": {hint: "TargetApp is no App ID URI or client id"},
		"50196":   {what: "too many requests", pass: true},
		"90033":   {what: "temporarily unavailable", pass: true},
		"90055":   {what: "too many requests", pass: true},
		"90006":   {what: "temporarily unavailable", pass: true},
	}
})

// fill puts what was asked for into a hint.
func (p problem) fill(login, tenant, resource string) string {
	return strings.NewReplacer("{login}", login, "{tenant}", tenant, "{resource}", resource).Replace(p.hint)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}
