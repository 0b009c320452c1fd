package functionjson

import (
	"regexp"
	"strings"

	"apimrelay/internal/hostfile"
)

var percentName = regexp.MustCompile(`%([^%\s]+)%`)

// Names gives the app settings that a text of a function.json names as %Name%, in their order.
func Names(text string) []string {
	var names []string
	for _, match := range percentName.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}

// Resolve puts the settings in the place of their %names%; known is false where one is missing, and
// its %name% then stays. Names are looked up as the host does it.
func Resolve(text string, settings map[string]string) (resolved string, known bool) {
	known = true
	resolved, err := hostfile.Expand(text, func(name string) (string, error) {
		for key, value := range settings {
			if strings.EqualFold(hostfile.ConfigurationName(key), name) {
				return value, nil
			}
		}
		known = false
		return "%" + name + "%", nil
	})
	if err != nil {
		return text, false
	}
	return resolved, known
}
