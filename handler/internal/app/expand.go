package app

import (
	"fmt"
	"strings"
)

// expand fills in %names% from the app settings, as Azure/azure-webjobs-sdk's NameResolverExtensions.ResolveWholeString does: once, a value's own
// percent signs are text.
func expand(text string, lookup func(string) (string, bool)) (string, error) {
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
		value, ok := lookup(name)
		if !ok {
			return "", fmt.Errorf("%%%s%% does not resolve to a value: no app setting %s", name, name)
		}
		out.WriteString(value)
		text = after
	}
}
