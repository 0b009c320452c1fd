package settings

import (
	"slices"
	"strings"

	"apimrelay/handler/internal/cause"
	"apimrelay/internal/hostfile"
)

// findStrays reports what looks like a setting for one function and is read by nobody: the function inherits the shared value in silence, another
// identity's perhaps.
func (s *Settings) findStrays(env *Environment) {
	known := map[string]bool{}
	var list []string
	for _, f := range s.App.Functions {
		known[scopeKey(f.Name)] = true
		list = append(list, f.Name)
	}
	for _, name := range s.App.Excluded {
		known[scopeKey(name)] = true
	}
	warn := func(name, hint, format string, args ...any) {
		s.Warnings = append(s.Warnings, faultOf(cause.SettingsStray, "", name, hint, format, args...))
	}
	for _, v := range env.all {
		if strings.HasPrefix(strings.ToUpper(v.name), platform) {
			continue
		}
		prefix, setting, ok := splitName(v.name)
		switch {
		case ok && !known[scopeKey(prefix)]:
			warn(v.name, "correct the name; the functions are "+strings.Join(list, ", "), "a setting for the function %q, which does not exist", prefix)
		case ok && setting == logLevelSetting:
			warn(v.name, "set "+logLevelSetting+" for the whole app", "the level holds for the whole app, not for one function: it is ignored")
		case !ok && slip(v.name) != "" && !s.hostReads(v.name):
			warn(v.name, "correct the name to "+slip(v.name), "nothing reads it: its name is close to %s", slip(v.name))
		case !ok:
			for _, f := range s.App.Functions {
				if hint := s.misnamed(f.Name, v.name); hint != "" {
					warn(v.name, hint, "a setting for the function %q that nothing reads: no setting has this name", f.Name)
					break
				}
			}
		}
	}
}

// slip is the setting that a name seems to mean: at most two letters differ, of six or more.
func slip(name string) string {
	if len(name) < 6 || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) ||
		strings.EqualFold(name, tenantAlias) {
		return ""
	}
	return nearest(name, 2)
}

// hostReads reports whether a binding uses a setting by its name: between percent signs, or as a
// connection or one of a connection's members.
func (s *Settings) hostReads(name string) bool {
	host := strings.ToUpper(hostfile.ConfigurationName(name))
	for _, f := range s.App.Functions {
		for _, b := range f.Bindings {
			list, _ := connections(b, s.App.BundleVersion)
			for _, c := range list {
				connection := strings.ToUpper(c.name)
				for _, prefix := range []string{"", "AZUREWEBJOBS", "CONNECTIONSTRINGS:"} {
					if host == prefix+connection || strings.HasPrefix(host, prefix+connection+":") {
						return true
					}
				}
			}
			for _, value := range b.Raw {
				text, _ := value.(string)
				for fields := strings.Split(text, "%"); len(fields) > 2; fields = fields[2:] {
					if strings.EqualFold(fields[1], host) {
						return true
					}
				}
			}
		}
	}
	return false
}

// misnamed tells how the name of a variable that is none of our settings is mended, where it looks like one for the function; "" where it does not.
// A function and a connection can have one name: what belongs to the connection (orders__fullyQualifiedNamespace) is the extension's to judge.
func (s *Settings) misnamed(function, name string) string {
	n := len(function)
	if len(name) <= n+1 || otherLetter(name[0], function[0]) || scopeKey(name[:n]) != scopeKey(function) {
		return ""
	}
	own := &scope{function: function}
	tail, two := strings.CutPrefix(name[n:], "__")
	if !two {
		// One underscore, or what other systems put there.
		if setting := nearest(name[n+1:], 0); setting != "" && strings.ContainsAny(name[n:n+1], "_:.-") {
			return "write two underscores: " + own.nameOf(setting)
		}
		return ""
	}
	if setting := nearest(tail, 2); setting != "" {
		return "correct the name, perhaps to " + own.nameOf(setting)
	}
	if s.hostReads(name) || s.mentions(name[:n]) {
		return ""
	}
	return "remove it, or correct the name; the settings are " + strings.Join(Names(), ", ")
}

// otherLetter tells most names apart, of which an app has some hundred, without making their key.
func otherLetter(a, b byte) bool {
	letter := func(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
	return letter(a) && letter(b) && a|0x20 != b|0x20
}

// mentions reports whether a binding has this as the value of a property that might name a
// connection: extensions that we do not know differ in theirs.
func (s *Settings) mentions(name string) bool {
	for _, f := range s.App.Functions {
		for _, b := range f.Bindings {
			for property, value := range b.Raw {
				if text, ok := value.(string); ok && strings.EqualFold(text, name) && !strings.EqualFold(property, "name") {
					return true
				}
			}
		}
	}
	return false
}

// nearest is the setting that a name differs least from, in any case and by so many letters at most; "" where there is none.
func nearest(name string, most int) string {
	best := ""
	for _, setting := range append(Names(), tenantAlias) {
		if d := distance(strings.ToLower(name), strings.ToLower(setting)); d <= most {
			best, most = setting, d-1
		}
	}
	return best
}

// distance is how many letters have to be added, dropped or exchanged to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
