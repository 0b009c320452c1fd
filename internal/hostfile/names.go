package hostfile

import (
	"fmt"
	"strings"
)

// ConfigurationName is the name that an environment variable has in the host's configuration, which
// compares names ignoring case. Two underscores are a colon there, and the platform's connection
// strings stand under ConnectionStrings. So a binding that names Bus__Main finds nothing, whatever
// is set, and Bus:Main finds the variable Bus__Main. Sources: Azure/azure-functions-host,
// src/WebJobs.Script/Config/ScriptEnvironmentVariablesConfigurationSource.cs; the host itself, see
// the table of TestSettingsByName.
func ConfigurationName(variable string) string {
	name := strings.ReplaceAll(variable, "__", ":")
	const mark = "CONNSTR_"
	at := strings.Index(strings.ToUpper(name), mark)
	if at < 0 || strings.ContainsAny(name[:at], ":_.") {
		return name
	}
	return "ConnectionStrings:" + name[at+len(mark):]
}

// Expand fills in each %NAME% of a binding's property: once, percent signs of a value are text. The
// first name that resolve refuses is the error.
// Source: Azure/azure-webjobs-sdk, src/Microsoft.Azure.WebJobs.Host/NameResolverExtensions.cs,
// ResolveWholeString.
func Expand(text string, resolve func(name string) (string, error)) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "%")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "%")
		if !closed {
			return "", fmt.Errorf("the %% before %q has no closing %%", rest)
		}
		value, err := resolve(name)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		text = after
	}
}
