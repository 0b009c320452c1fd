package app

import (
	"strconv"
	"strings"

	"apimrelay/internal/hostfile"
)

// flatten writes every leaf of a JSON value into config under its path in lower case, joined by colons,
// as .NET's configuration knows it.
func flatten(config map[string]string, path string, v *hostfile.Value) {
	join := func(name string) string {
		if path == "" {
			return strings.ToLower(name)
		}
		return path + ":" + strings.ToLower(name)
	}
	switch v.Kind {
	case hostfile.Object:
		for _, m := range v.Members {
			flatten(config, join(m.Name), m.Value)
		}
	case hostfile.Array:
		for i, item := range v.Items {
			flatten(config, join(strconv.Itoa(i)), item)
		}
	default:
		config[path] = v.Text()
	}
}
