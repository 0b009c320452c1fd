package doctor

import (
	"context"
	"strings"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/cause"
)

// checkApp reports what is wrong with the files that the host reads.
func checkApp(_ context.Context, v *visit) []outcome {
	var all []outcome
	for _, f := range v.f.Faults {
		if f.File != "" {
			all = append(all, ofFault(f, Finding))
		}
	}
	if all == nil {
		return one(ok("%s", v.f.App.Trigger.Type))
	}
	return all
}

func checkSettings(_ context.Context, v *visit) []outcome {
	var all []outcome
	for _, f := range v.f.Faults {
		if f.File == "" {
			all = append(all, ofFault(f, Finding))
		}
	}
	if all != nil {
		return all
	}
	own := v.f.Own()
	if own == nil {
		return one(ok("all shared"))
	}
	return one(ok("its own: %s; the others shared", strings.Join(own, ", ")))
}

// checkSlips reports what fails nobody.
func checkSlips(_ context.Context, v *visit) []outcome {
	var all []outcome
	for _, f := range v.o.Settings.Warnings {
		all = append(all, ofFault(f, Warning))
	}
	if all == nil {
		return one(ok(""))
	}
	return all
}

func ofFault(f app.Fault, s Status) outcome {
	anchor := faultAnchor(f)
	fix := f.Hint
	if fix == "" {
		fix = cause.Of(anchor).FixFor(nil)
	}
	return outcome{status: s, saw: f.String(), fix: fix, anchor: anchor}
}

// faultAnchor finds the entry of the catalogue by the setting and by settings' own words, which the corpus holds together.
func faultAnchor(f app.Fault) cause.Code {
	setting := f.Setting
	if i := strings.LastIndex(setting, "__"); i >= 0 {
		setting = setting[i+2:]
	}
	setting = strings.ToLower(setting)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(f.Text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case f.File != "":
		return cause.AppFiles
	case has("placeholder"):
		return cause.SettingsPlaceholder
	case has("unresolved @Microsoft."):
		return cause.SettingsReference
	case has("a setting for the function"):
		return cause.SettingsStray
	case has("connection of the binding"):
		return cause.TriggerConnection
	case setting == "identity_endpoint" || setting == "identity_header":
		return cause.IdentityEndpointHalf
	case has("the app setting is missing", "got a blank value"):
		return cause.SettingsMissing
	}
	switch setting {
	case "functionidentity":
		if has("RunAs=Developer, for which nobody is signed in") {
			return cause.DeveloperInAzure
		}
		return cause.IdentityString
	case "targetapp":
		return cause.TargetAppForm
	case "apimurl":
		return cause.URLForm
	case "apimkey", "apimkeysecondary", "apimkeyheader":
		return cause.KeyForm
	}
	return cause.SettingsValue
}

// checkHostIdentity: the host's own connections (AzureWebJobsStorage by identity) use DefaultAzureCredential, which takes AZURE_CLIENT_ID for the
// identity to be (learn.microsoft.com "Guide to connections in Azure Functions"). Ours never reads it, workload identity aside.
func checkHostIdentity(_ context.Context, v *visit) []outcome {
	id, set := v.o.Lookup("AZURE_CLIENT_ID")
	if !set || id == "" {
		return one(ok("AZURE_CLIENT_ID is not set"))
	}
	if _, workload := v.o.Lookup("AZURE_FEDERATED_TOKEN_FILE"); workload {
		return one(ok("AZURE_CLIENT_ID is that of a workload identity"))
	}
	return one(warn(cause.HostIdentity, "AZURE_CLIENT_ID is "+id+": the host signs in to its own storage with it, and this app does not", nil))
}

// textAnchor is faultAnchor for a line of the log, where the file stands in the text.
func textAnchor(setting, text string) cause.Code {
	f := app.Fault{Setting: setting, Text: text}
	if setting == "" && strings.Contains(text, ".json: ") {
		f.File = "named in the text"
	}
	return faultAnchor(f)
}
