package settings

import (
	"slices"
	"strings"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/target"
	"apimrelay/internal/secret"
)

// reading is one setting of one function while it is judged.
type reading struct {
	f       *Function
	setting string
	cell    *cell  // nil where nobody sets it
	scope   *scope // where it is set; the shared one where nobody sets it
	text    string // trimmed
}

// missing tells whether there is no text.
func (r reading) missing() bool { return r.text == "" }

// name of the setting as found, or as it would be written.
func (r reading) name() string {
	if r.cell != nil && r.cell.name != "" {
		return r.cell.name
	}
	return r.scope.nameOf(r.setting)
}

// fault records a fault for the function. About a shared setting it is the same fault for all who inherit it.
func (r reading) fault(hint, format string, args ...any) {
	r.f.Faults = append(r.f.Faults, fault(r.scope.function, r.name(), hint, format, args...))
}

// faultOf is fault for a cause that any setting can have.
func (r reading) faultOf(code cause.Code, hint, format string, args ...any) {
	r.f.Faults = append(r.f.Faults, faultOf(code, r.scope.function, r.name(), hint, format, args...))
}

func (r reading) warn(hint, format string, args ...any) {
	r.f.Warnings = append(r.f.Warnings, fault(r.scope.function, r.name(), hint, format, args...))
}

// require records a fault where the setting is missing or blank.
func (r reading) require(want string) bool {
	if !r.missing() {
		return true
	}
	if r.cell != nil {
		r.faultOf(cause.SettingsMissing, "fill in "+r.name(), "want %s, got a blank value", want)
	} else {
		// The hint names no function: the fault is one for all who inherit the setting.
		r.faultOf(cause.SettingsMissing, "add the app setting "+r.name()+", or <function>__"+r.setting+" for one function alone", "want %s, got nothing: the app setting is missing", want)
	}
	return false
}

// examples are the values of local.settings.json.example that work for nobody.
var examples = map[string]string{
	"TargetApp":   "api://11111111-1111-1111-1111-111111111111",
	tenantSetting: "22222222-2222-2222-2222-222222222222",
	"ApimUrl":     "https://contoso.azure-api.net/orders",
	keySetting:    "00000000000000000000000000000000",
}

// check judges the function's settings and fills the function in.
func (f *Function) check(shared, own *scope) {
	read := func(setting string) reading {
		r := reading{f: f, setting: setting, cell: own.cells[setting], scope: own, text: strings.TrimSpace(f.text.get(setting))}
		if r.cell == nil {
			r.cell, r.scope = shared.cells[setting], shared
		}
		if r.cell != nil {
			f.Faults = append(f.Faults, r.cell.faults...)
			f.Warnings = append(f.Warnings, r.cell.warnings...)
		}
		if left := examples[setting]; left != "" && r.text == left {
			r.warn("put the real value in its place", "the value is the one of local.settings.json.example")
		}
		return r
	}
	// usable tells whether a value is there that is worth reading further.
	usable := func(r reading) bool { return !r.missing() && !r.placeholder() && !r.unresolved() }

	if r := read("TargetApp"); r.require("the App ID URI or client id of the API's app registration") && usable(r) {
		f.TargetApp = r.targetApp()
	}
	if r := read(tenantSetting); r.require("the GUID of the tenant that tokens come from") && usable(r) {
		f.TargetTenantID = r.tenant()
	}
	if r := read(identitySetting); r.require("a connection string such as RunAs=App") && usable(r) {
		c, warnings, err := identity.Parse(r.text)
		for _, w := range warnings {
			r.warn("", "%s", w)
		}
		if err != nil {
			r.fault("correct the connection string, for instance RunAs=App or RunAs=App;AppId=<client id>", "%v", err)
		}
		f.Identity = c
		// A token comes from the tenant in which the application signs in, and one from another tenant
		// than TargetTenantID would be refused at its first use.
		if identity.IsGUID(c.TenantID) && f.TargetTenantID != "" && !strings.EqualFold(c.TenantID, f.TargetTenantID) {
			r.faultOf(cause.TokenTenant, "write the same tenant in both: the one whose tokens the API takes",
				"want a TenantId that is TargetTenantID, from which tokens must come: got TenantId %s and TargetTenantID %s", c.TenantID, f.TargetTenantID)
		}
	}
	if r := read("ApimUrl"); r.require("the URL of the API or operation") && usable(r) {
		f.target(r)
	}
	f.keys(read(keySetting), read(keySecondarySetting), read(keyHeaderSetting), usable)
	if r := read("ApimHeaders"); usable(r) {
		f.Headers = r.headers()
	}
	f.trust(read(authoritySetting), read(certificateSetting), usable)
	f.Method = f.defaultMethod()
	if r := read("ApimMethod"); usable(r) {
		f.method(r)
	}
	if r := read("ApimTimeout"); usable(r) {
		f.Timeout = r.timeout()
	}
	if r := read("ApimAttempts"); usable(r) {
		f.Attempts = r.attempts()
	}
	if r := read("ApimAcknowledge"); usable(r) {
		f.Acknowledge = r.statuses()
	}
	if r := read("TargetRole"); usable(r) {
		f.TargetRole = r.text
	}
}

// defaultMethod: a timer asks, a message is handed over, and an HTTP call brings its own.
func (f *Function) defaultMethod() string {
	switch {
	case f.App.HTTP():
		return ""
	case strings.EqualFold(f.App.Trigger.Type, "timerTrigger"):
		return "GET"
	}
	return "POST"
}

// usualMethods are those that no backend takes for a slip.
var usualMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "PROPFIND", "REPORT"}

func (f *Function) method(r reading) {
	method := strings.ToUpper(r.text)
	if !header.Token(method) || method == "CONNECT" || method == "TRACE" {
		r.fault("write a method such as GET or POST", "want an HTTP method other than CONNECT and TRACE, got %q", shown(r.text))
		return
	}
	if !slices.Contains(usualMethods, method) {
		r.warn("correct it, if it is a slip", "%q is no usual method: want one of %s", shown(r.text), strings.Join(usualMethods, ", "))
	}
	if !f.App.HTTP() {
		f.Method = method
	} else if r.scope.function != "" {
		r.warn("remove it", "no effect on an HTTP function, whose calls keep the caller's method")
	}
}

// target reads ApimUrl, and judges the names in it where all values that there can be are known: for HTTP the route's parameters, for a timer none.
func (f *Function) target(r reading) {
	t, err := target.Parse(r.text)
	if err != nil {
		r.fault("write it like https://<name>.azure-api.net/<api>", "%v", err)
		return
	}
	f.Target = t
	var known []string
	switch {
	case f.App.HTTP() && f.App.Route != nil:
		known = f.App.Route.Params
	case strings.EqualFold(f.App.Trigger.Type, "timerTrigger"):
	default:
		return
	}
	for _, name := range t.Names() {
		if contains(known, name) || contains(systemNames, name) {
			continue
		}
		list := "none"
		if len(known) > 0 {
			list = "{" + strings.Join(known, "}, {") + "}"
		}
		// Told by the function's name even where the URL is shared: other functions may know the name.
		f.Faults = append(f.Faults, fault(f.App.Name, r.name(), "correct the name in ApimUrl, or give this function its own "+
			(&scope{function: f.App.Name}).nameOf("ApimUrl"), "the expression {%s} has no value in this function: its trigger knows %s, besides {%s}", name, list,
			strings.Join(systemNames, "}, {")))
	}
}

// systemNames are the binding expressions that the host knows for every trigger (Azure/azure-webjobs-sdk
// src/Microsoft.Azure.WebJobs.Host/Bindings/SystemBindingData.cs, Path/BindingParameterResolver.cs).
var systemNames = []string{"rand-guid", "DateTime", "sys.UtcNow", "sys.RandGuid", "sys.MethodName"}

func contains(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) })
}

// keys reads both keys and the header that carries them.
func (f *Function) keys(primary, secondary, field reading, usable func(reading) bool) {
	none := false
	if usable(field) {
		none = strings.EqualFold(field.text, "none")
		switch {
		case none:
			f.KeyHeader = ""
		case !header.Token(field.text) || !header.Fixed(field.text) && !strings.HasPrefix(strings.ToLower(field.text), "ocp-apim-"):
			field.fault("write the header's name as the API's settings have it, or none", "want the name of a header that carries no other credential, or none, got %q",
				shown(field.text))
		default:
			f.KeyHeader = field.text
		}
	}
	if primary.missing() && secondary.missing() {
		if !none {
			primary.requireKey()
		}
		return
	}
	for _, r := range []reading{primary, secondary} {
		switch {
		case r.missing() || r.placeholder() || r.unresolved():
		case none:
			r.warn("remove it, or correct "+keyHeaderSetting, "the key is not sent, since %s is none", field.name())
		case r.key():
			if key := r.text; !slices.ContainsFunc(f.Keys, func(k secret.String) bool { return k.Reveal() == key }) {
				f.Keys = append(f.Keys, secret.New(key))
			}
		}
	}
}

// requireKey records that neither key is there.
func (r reading) requireKey() {
	want := "a subscription key in " + r.scope.nameOf(keySetting) + " or " + r.scope.nameOf(keySecondarySetting)
	hint := "add the app setting " + r.scope.nameOf(keySetting) + ", or " + r.scope.nameOf(keyHeaderSetting) + "=none where the API needs no key"
	got := "nothing: the app setting is missing"
	if r.cell != nil {
		got = "a blank value"
	}
	f := faultOf(cause.SettingsMissing, r.scope.function, r.scope.nameOf(keySetting), hint, "want %s, got %s", want, got)
	r.f.Faults = append(r.f.Faults, f)
}

// librarySetting is where AzureServiceTokenProvider itself looked for a connection string
// (Microsoft.Azure.Services.AppAuthentication, AzureServiceTokenProvider.cs).
const librarySetting = "AzureServicesAuthConnectionString"

// pointToLibrary adds to the fault of a missing FunctionIdentity that the library's own setting is there.
func (f *Function) pointToLibrary() {
	for i := range f.Faults {
		fault := &f.Faults[i]
		if _, setting, _ := splitName(fault.Setting); fault.Cause == cause.SettingsMissing && (fault.Setting == identitySetting || setting == identitySetting) {
			fault.Hint += "; " + librarySetting + " is set, which this program does not read: copy its value"
		}
	}
}

// checkIdentityEndpoint compares the identity with what the platform offers.
func (f *Function) checkIdentityEndpoint(s *Settings) {
	kind := f.Identity.Kind
	if kind.Endpoint() && s.IdentityEndpoint != s.IdentityHeader {
		have, lacks := "IDENTITY_ENDPOINT", "IDENTITY_HEADER"
		if s.IdentityHeader {
			have, lacks = lacks, have
		}
		hint := "set both or neither; on Azure the platform sets them: restart the app"
		if s.azureArc {
			hint = "the Azure Arc agent of this machine sets IDENTITY_ENDPOINT alone, for tokens of the machine that an app cannot use here: " +
				"set RunAs=Developer;DeveloperTool=AzureCli and sign in with az login, or remove IDENTITY_ENDPOINT from the environment"
			have += " (of Azure Arc, since IMDS_ENDPOINT is set)"
		}
		f.Faults = append(f.Faults, faultOf(cause.IdentityEndpointHalf, "", lacks, hint, "want both halves of the identity endpoint, got only %s", have))
	}
	if o := f.origins[identitySetting]; kind.Developer() && s.IdentityEndpoint && s.IdentityHeader {
		function := ""
		if o.own {
			function = f.App.Name
		}
		f.Faults = append(f.Faults, faultOf(cause.DeveloperInAzure, function, o.name, "set it to RunAs=App, or RunAs=App;AppId=<client id> for a user-assigned identity",
			"want a managed identity where an identity endpoint exists, got RunAs=Developer, for which nobody is signed in there"))
	}
}

// checkHost warns of a function whose own ApimUrl names another host than the shared one while it
// inherits keys or identity: they go there. One service may have several names, so it is no fault.
func (f *Function) checkHost(shared, own *scope) {
	if own.cells["ApimUrl"] == nil || shared.cells["ApimUrl"] == nil || f.Target == nil {
		return
	}
	usual, err := target.Parse(strings.TrimSpace(shared.cells["ApimUrl"].value))
	if err != nil || strings.EqualFold(usual.Host(), f.Target.Host()) {
		return
	}
	var goes, settings []string
	for _, inherited := range []struct{ setting, what string }{
		{keySetting, "the shared subscription key"}, {identitySetting, "a token of the shared identity"},
	} {
		if own.cells[inherited.setting] == nil && shared.cells[inherited.setting] != nil {
			goes, settings = append(goes, inherited.what), append(settings, own.nameOf(inherited.setting))
			if inherited.setting == identitySetting && own.cells["TargetApp"] == nil {
				settings = append(settings, own.nameOf("TargetApp"))
			}
		}
	}
	if len(goes) == 0 {
		return
	}
	f.Warnings = append(f.Warnings, fault(f.App.Name, own.cells["ApimUrl"].name, "if that is another service, add "+strings.Join(settings, ", "),
		"the host is %s, the shared one %s: there goes %s", f.Target.Host(), usual.Host(), strings.Join(goes, " and ")))
}
