package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apimrelay/internal/hostfile"
	"apimrelay/sandbox/identity"
)

// The app settings of the relay that lead to a gateway and to an identity: the sandbox decides about
// them, shared or a function's own (OrdersWriter__ApimUrl), as far as it stands in for either. Names
// compare without case, as on Windows plans.
var (
	gatewaySettings  = []string{"ApimUrl", "ApimKey", "ApimKeySecondary", "ApimKeyHeader"}
	identitySettings = []string{"TargetApp", "TargetTenantID", "TargetTentantID", "FunctionIdentity"}
)

// platform are variables that would send the handler to an identity endpoint, or a host, other than the stand-ins.
var platform = []string{
	"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT", "WEBSITE_SITE_NAME", "WEBSITE_INSTANCE_ID",
	"FUNCTIONS_APP_ROOT_PATH", "FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT",
}

// setting is one app setting of the user's.
type setting struct {
	name, value string
	file        bool // it stands in the file, not in the environment
}

// userSettings are the environment and the file of settings, where the environment has no setting of
// the name; without what the platform would set. The file may be missing.
func userSettings(file string, environ []string) ([]setting, error) {
	var out []setting
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); !listed(platform, name) {
			out = append(out, setting{name: name, value: value})
		}
	}
	values, err := hostfile.Settings(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if _, have := find(out, name); !have && !listed(platform, name) {
			out = append(out, setting{name, values[name], true})
		}
	}
	return out, nil
}

func find(list []setting, name string) (string, bool) {
	for _, s := range list {
		if strings.EqualFold(s.name, name) {
			return s.value, true
		}
	}
	return "", false
}

func listed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(n string) bool { return strings.EqualFold(n, name) })
}

// split takes OrdersWriter__ApimUrl apart. function is "" for a shared setting.
func split(name string) (function, own string) {
	if at := strings.LastIndex(name, "__"); at > 0 {
		return name[:at], name[at+2:]
	}
	return "", name
}

// standIns is what takes the place of the user's settings. A field is zero where the real thing is used.
type standIns struct {
	tenant             *identity.Config
	own                map[string]bool // client ids that were registered for functions
	gateway            string          // http://127.0.0.1:1234
	primary, secondary string          // its keys
}

// replace returns the settings that the host gets of the user's, and the names of those that it gets
// not, or with another value. What leads to nowhere else stays as it is: schedules, connections,
// methods, headers. A value that the handler refuses stays as well, for it to say so.
func (in *standIns) replace(list []setting) (kept []setting, replaced []string) {
	for _, s := range list {
		function, own := split(s.name)
		shared := function == ""
		value, keep := s.value, true
		switch {
		case in.gateway == "":
		case strings.EqualFold(own, "ApimUrl"):
			value, keep = in.url(s.value), !shared
		case strings.EqualFold(own, "ApimKey") && strings.TrimSpace(value) != "":
			value, keep = in.primary, !shared
		case strings.EqualFold(own, "ApimKeySecondary") && strings.TrimSpace(value) != "":
			value, keep = in.secondary, !shared
		case listed(gatewaySettings, own):
			keep = !shared && !strings.EqualFold(own, "ApimKeyHeader")
		case s.file && strings.HasPrefix(strings.ToUpper(s.name), "OTEL_"):
			keep = false // a collector of the deployed app's
		}
		switch {
		case !listed(identitySettings, own):
		case in.tenant == nil:
			// The Azure CLI stands for every identity: the platform's is not at hand here.
			if strings.EqualFold(own, "FunctionIdentity") && !strings.EqualFold(runAs(value), "Developer") {
				keep = false
			}
		case shared || !strings.EqualFold(own, "FunctionIdentity"):
			keep = false
		default:
			value = in.identityOf(function, s.value, list)
		}
		if !keep || value != s.value {
			replaced = append(replaced, s.name)
		}
		if keep {
			kept = append(kept, setting{s.name, value, s.file})
		}
	}
	return kept, replaced
}

// url keeps path and query, which may hold expressions, and changes where they lead to.
func (in *standIns) url(value string) string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(value), "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return value
	}
	at := strings.IndexAny(rest, `/\?#`)
	if at < 0 {
		return in.gateway
	}
	return in.gateway + rest[at:]
}

// connection reads a FunctionIdentity as far as the sandbox has to know it: which kind, and whose.
func connection(value string) map[string]string {
	parts := map[string]string{}
	for pair := range strings.SplitSeq(value, ";") {
		name, text, _ := strings.Cut(pair, "=")
		parts[strings.ToLower(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(text), `"'`)
	}
	return parts
}

func runAs(value string) string { return connection(value)["runas"] }

// identityOf makes an identity of the stand-in's tenant of a function's own. An AppId names one by its
// client id, its name or a role that it has; another one is registered, with the function's TargetRole.
func (in *standIns) identityOf(function, value string, list []setting) string {
	parts := connection(value)
	appID := parts["appid"]
	kind := strings.ToLower(parts["runas"])
	role := "Api.Read"
	for _, name := range []string{"TargetRole", function + "__TargetRole"} {
		if v, ok := find(list, name); ok && strings.TrimSpace(v) != "" {
			role = strings.TrimSpace(v)
		}
	}
	switch {
	case kind == "developer" || kind == "workload":
		appID = role
	case kind != "app" || appID == "":
		return value
	}
	return "RunAs=App;AppId=" + in.register(function, appID, role)
}

func (in *standIns) register(function, appID, role string) (clientID string) {
	roles := []string{role}
	if role == "Api.Write" {
		roles = []string{"Api.Read", role} // as deploy/policies ask of who writes
	}
	if !isGUID(appID) {
		clientID = fmt.Sprintf("5a9d0b0c-0000-4000-8000-%x", sha256.Sum256([]byte(strings.ToLower(appID))))[:36]
	} else {
		clientID = strings.ToLower(appID)
	}
	for _, matches := range []func(identity.ManagedIdentity) bool{
		func(m identity.ManagedIdentity) bool {
			return strings.EqualFold(m.ClientID, clientID) || strings.EqualFold(m.Name, appID)
		},
		func(m identity.ManagedIdentity) bool { // the system's own is no AppId's
			roles := m.Roles[identity.APIClientID]
			return !m.System && !m.Detached && slices.Contains(roles, appID)
		},
	} {
		if i := slices.IndexFunc(in.tenant.Identities, matches); i >= 0 {
			found := &in.tenant.Identities[i]
			for _, r := range roles { // two functions may share an identity, and each needs its role
				if have := found.Roles[identity.APIClientID]; in.own[found.ClientID] && !slices.Contains(have, r) {
					found.Roles[identity.APIClientID] = append(have, r)
				}
			}
			return found.ClientID
		}
	}
	if in.own == nil {
		in.own = map[string]bool{}
	}
	in.own[clientID] = true
	in.tenant.Identities = append(in.tenant.Identities, identity.ManagedIdentity{
		Name: function, ClientID: clientID, Roles: identity.Assignments{identity.APIClientID: roles},
	})
	return clientID
}

func isGUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range []byte(text) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// sources is one line that says where the settings come from. It names settings, no value.
func sources(file string, list []setting, replaced []string) string {
	n := 0
	var shell []string
	for _, s := range list {
		_, own := split(s.name)
		switch {
		case s.file:
			n++
		case listed(gatewaySettings, own) || listed(identitySettings, own):
			shell = append(shell, s.name)
		}
	}
	if n == 0 && len(shell) == 0 {
		return ""
	}
	text := fmt.Sprintf("settings: %d from %s", n, filepath.Base(file))
	if len(shell) > 0 {
		slices.Sort(shell)
		text += ", " + strings.Join(shell, " ") + " from the environment"
	}
	if len(replaced) > 0 {
		slices.Sort(replaced)
		text += "; for the stand-ins changed: " + strings.Join(replaced, " ")
	}
	return text
}

// pairs are NAME=value.
func pairs(list []setting) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, s.name+"="+s.value)
	}
	return out
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

// sandboxSettings are the app settings that fit the identity stand-in.
func sandboxSettings() map[string]string {
	return map[string]string{
		"TargetApp": identity.APIURI, "TargetTenantID": identity.TenantID, "FunctionIdentity": "RunAs=App;AppId=" + identity.ReaderClientID,
	}
}

// minuteFrom is an NCRONTAB expression that is due a moment from now and then once a minute, so that nobody has to wait for the first tick.
func minuteFrom(now time.Time, wait time.Duration) string {
	return fmt.Sprintf("%d * * * * *", now.Add(wait+time.Second-1).Second())
}

// haveCommand reports whether the PATH of environ has a program of the name.
func haveCommand(environ []string, name string) bool {
	for _, pair := range environ {
		n, path, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(n, "PATH") {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			for _, end := range []string{"", ".exe", ".cmd", ".bat"} {
				if info, err := os.Stat(filepath.Join(dir, name+end)); err == nil && !info.IsDir() {
					return true
				}
			}
		}
	}
	return false
}
