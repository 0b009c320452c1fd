package app

import (
	"fmt"
	"strings"

	"apimrelay/internal/hostfile"
)

// expand fills in the names between percent signs from the app settings.
func expand(text string, lookup func(string) (string, bool)) (string, error) {
	return hostfile.Expand(text, func(name string) (string, error) {
		value, err := Resolve(name, lookup)
		if err != nil {
			err = fmt.Errorf("%%%s%% does not resolve to a value: %w", name, err)
		}
		return value, err
	})
}

// Resolve returns the value of an app setting that a binding can use. A blank one is none, and so is
// a reference that the platform has left in the value's place.
func Resolve(name string, lookup func(string) (string, bool)) (string, error) {
	value, ok := lookup(name)
	switch reference := Unresolved(value); {
	case !ok:
		return "", fmt.Errorf("no app setting %s", name)
	case strings.TrimSpace(value) == "":
		return "", fmt.Errorf("the app setting %s is blank", name)
	case reference != "":
		return "", fmt.Errorf("the app setting %s is an unresolved %s…) reference", name, reference)
	}
	return value, nil
}

// Unresolved returns the beginning of a reference to another store that the platform has not resolved,
// or "" where the value is none
// (https://learn.microsoft.com/azure/app-service/app-service-key-vault-references).
func Unresolved(value string) string {
	value = strings.TrimSpace(value)
	for _, prefix := range []string{"@Microsoft.KeyVault(", "@Microsoft.AppConfiguration("} {
		if len(value) >= len(prefix) && strings.EqualFold(value[:len(prefix)], prefix) {
			return prefix
		}
	}
	return ""
}
