package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
	"apimrelay/sandbox/identity"
)

// appSettings are the relay's own app settings, which the sandbox decides about. Names compare without case, as on Windows plans.
var appSettings = []string{
	"TargetApp", "TargetTenantID", "TargetTentantID", "FunctionIdentity", "ApimUrl", "ApimKey", "ApimKeySecondary", "ApimKeyHeader", "ApimHeaders", "ApimMethod",
	"ApimTimeout", "ApimAttempts", "ApimAcknowledge", "TargetRole", "PollSchedule",
}

// platform are variables that would send the handler to an identity endpoint, or a host, other than the stand-ins.
var platform = []string{
	"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT", "WEBSITE_SITE_NAME", "WEBSITE_INSTANCE_ID",
	"FUNCTIONS_APP_ROOT_PATH", "FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT",
}

// hostEnvironment is what the host, and with it the handler, runs in: the caller's environment without any setting of the relay or the
// platform, and then settings.
func hostEnvironment(environ []string, settings []string) []string {
	drop := slices.Concat(appSettings, platform)
	var out []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		own := slices.ContainsFunc(drop, func(n string) bool {
			return strings.EqualFold(n, name) || len(name) > len(n)+2 && strings.EqualFold(name[len(name)-len(n)-2:], "__"+n)
		})
		if !own {
			out = append(out, pair)
		}
	}
	return append(out, settings...)
}

// with replaces variables of an environment, whatever their spelling in case.
func with(environ []string, pairs ...string) []string {
	out := slices.Clone(environ)
	for _, pair := range pairs {
		name, _, _ := strings.Cut(pair, "=")
		out = slices.DeleteFunc(out, func(have string) bool {
			n, _, _ := strings.Cut(have, "=")
			return strings.EqualFold(n, name)
		})
		out = append(out, pair)
	}
	return out
}

// readLocalSettings reads a local.settings.json, the file of Azure Functions Core Tools.
func readLocalSettings(file string) (map[string]string, error) {
	values, err := hostfile.Settings(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading the settings: %w: copy local.settings.json.example to %s and fill it in", err, file)
	case err != nil:
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	return values, nil
}

// merge puts settings of one source over those of another, whatever their spelling in case.
func merge(base map[string]string, over map[string]string) []string {
	out := map[string]string{}
	for name, value := range base {
		out[name] = value
	}
	for name, value := range over {
		for have := range out {
			if strings.EqualFold(have, name) {
				delete(out, have)
			}
		}
		out[name] = value
	}
	var pairs []string
	for name, value := range out {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return pairs
}

// sandboxSettings are the app settings that fit the stand-ins.
func sandboxSettings() map[string]string {
	return map[string]string{
		"TargetApp": identity.APIURI, "TargetTenantID": identity.TenantID, "FunctionIdentity": "RunAs=App;AppId=" + identity.ReaderClientID,
		"TargetRole": "Api.Read", "AzureWebJobsStorage": "UseDevelopmentStorage=true", "FUNCTIONS_WORKER_RUNTIME": "custom",
	}
}

// minuteFrom is an NCRONTAB expression that is due a moment from now and then once a minute, so that nobody has to wait for the first tick.
func minuteFrom(now time.Time, wait time.Duration) string {
	return fmt.Sprintf("%d * * * * *", now.Add(wait+time.Second-1).Second())
}
