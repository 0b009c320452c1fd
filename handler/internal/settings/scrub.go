package settings

import (
	"os"
	"strings"
)

// Scrub removes subscription keys and identities from the process environment: shared ones and those
// of any function, existing or not, in every spelling, with App Service's APPSETTING_ in front, too.
// The headers for OpenTelemetry collectors go with them: they hold the collectors' keys. Every child
// inherits the environment, and az is one. Call it once Load is done and telemetry has started,
// before other goroutines read the environment.
//
// IDENTITY_ENDPOINT and IDENTITY_HEADER stay: azidentity reads them at each request.
// AzureWebJobsStorage and other connections are the host's.
func Scrub() {
	for _, entry := range os.Environ() {
		name, _, ok := strings.Cut(entry, "=")
		if ok && holdsSecret(name) {
			_ = os.Unsetenv(name)
		}
	}
}

func holdsSecret(name string) bool {
	if len(name) > len(platform) && strings.EqualFold(name[:len(platform)], platform) {
		name = name[len(platform):]
	}
	if upper := strings.ToUpper(name); strings.HasPrefix(upper, exporter) && strings.HasSuffix(upper, "HEADERS") {
		return true
	}
	if at := strings.LastIndex(name, "__"); at >= 0 {
		name = name[at+2:]
	}
	for _, s := range secretNames {
		if strings.EqualFold(s, name) {
			return true
		}
	}
	return strings.EqualFold(librarySetting, name) // it may hold an AppKey
}

// exporter begins the variables of OpenTelemetry's exporters. Those that end with HEADERS, for all
// signals or for one, hold what a collector wants to see
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
const exporter = "OTEL_EXPORTER_OTLP_"

// platform is the prefix under which App Service sets every app setting a second time.
const platform = "APPSETTING_"
