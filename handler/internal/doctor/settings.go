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
		saw := v.f.App.Trigger.Type
		if next := v.f.App.NextRuns(v.o.Now()); len(next) > 0 {
			saw += ", next at " + strings.Join(next, ", ")
		}
		return one(ok("%s", saw))
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
	settings := ok("all shared")
	if own := v.f.Own(); own != nil {
		settings = ok("its own: %s; the others shared", strings.Join(own, ", "))
	}
	all = one(settings)
	kind := v.f.App.Trigger.Type
	if _, has := v.f.App.Refused(); !has && (strings.EqualFold(kind, "queueTrigger") || strings.EqualFold(kind, "serviceBusTrigger")) {
		all = append(all, warn(cause.NoRefusedOutput, "no output named refused", v.fill()).titled("messages that can never succeed are put aside"))
	}
	return all
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
	fix := f.Hint
	if fix == "" {
		fix = cause.Of(f.Cause).FixFor(nil)
	}
	return outcome{status: s, saw: f.String(), fix: fix, anchor: f.Cause}
}

// checkHostIdentity: the host's own connections (AzureWebJobsStorage by identity) use
// DefaultAzureCredential, which takes AZURE_CLIENT_ID for the identity to be (learn.microsoft.com
// "Guide to connections in Azure Functions"). Ours never reads it, workload identity aside.
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
