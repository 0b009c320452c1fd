package observe

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// source is what all that is exported has in common: a Resource and an InstrumentationScope, as they stand in a message.
type source struct{ resource, scope []byte }

// resource says what the telemetry is about, as the bytes of a Resource. Names are OpenTelemetry's semantic conventions for resources; what
// OTEL_RESOURCE_ATTRIBUTES says wins, and OTEL_SERVICE_NAME over that (https://opentelemetry.io/docs/specs/otel/resource/sdk/).
func (v variables) resource(version string) ([]byte, error) {
	all := map[string]string{
		// The name opentelemetry is OpenTelemetry's own SDK's (https://opentelemetry.io/docs/specs/semconv/registry/attributes/telemetry/).
		"telemetry.sdk.name": scope, "telemetry.sdk.language": "go", "telemetry.sdk.version": version,
		"service.name": scope, "service.version": version,
	}
	if site := v.get("WEBSITE_SITE_NAME"); site != "" {
		all["service.name"], all["cloud.provider"], all["cloud.platform"] = site, "azure", "azure.functions"
		if id := v.get("WEBSITE_INSTANCE_ID"); id != "" {
			all["service.instance.id"] = id
		}
		if region := v.get("REGION_NAME"); region != "" {
			all["cloud.region"] = region
		}
	}
	if err := v.resourceAttributes(all); err != nil {
		return nil, err
	}
	if name := v.get("OTEL_SERVICE_NAME"); name != "" {
		all["service.name"] = name
	}
	b, at := open(nil, 1)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b = appendText(b, 1, strings.ToValidUTF8(name, "\uFFFD"), all[name])
	}
	return closed(b, at), nil
}

// resourceAttributes reads name=value pairs separated by commas, values percent-encoded. Of two with one name the last wins. A value that
// cannot be decoded is taken as it is, and a pair without a name is left out.
func (v variables) resourceAttributes(to map[string]string) error {
	const variable = "OTEL_RESOURCE_ATTRIBUTES"
	list := v.get(variable)
	if list == "" {
		return nil
	}
	for pair := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%s: want name=value pairs separated by commas, got %q", variable, pair)
		}
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if err != nil {
			v.odd(variable, err.Error())
			decoded = value
		}
		if name = strings.TrimSpace(name); name != "" {
			to[name] = decoded
		}
	}
	return nil
}
