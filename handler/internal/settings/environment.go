package settings

import (
	"reflect"
	"slices"
	"strings"

	"apimrelay/handler/internal/app"
	"apimrelay/internal/hostfile"
	"apimrelay/internal/secret"
)

// texts are one function's values as envconfig reads them. They are plain text and judged afterwards, because envconfig stops at the first value
// that it cannot convert, and prints it. The tags are the names as the portal shows them.
type texts struct {
	TargetApp        string `envconfig:"TargetApp"`
	TargetTenantID   string `envconfig:"TargetTenantID"`
	FunctionIdentity hidden `envconfig:"FunctionIdentity"`
	ApimURL          string `envconfig:"ApimUrl"`
	ApimKey          hidden `envconfig:"ApimKey"`
	ApimKeySecondary hidden `envconfig:"ApimKeySecondary"`
	ApimKeyHeader    string `envconfig:"ApimKeyHeader"`
	ApimHeaders      hidden `envconfig:"ApimHeaders"`
	ApimMethod       string `envconfig:"ApimMethod"`
	ApimAuthority    string `envconfig:"ApimCertificateAuthority"`
	ApimCertificate  hidden `envconfig:"ApimClientCertificate"`
	ApimTimeout      string `envconfig:"ApimTimeout"`
	ApimAttempts     string `envconfig:"ApimAttempts"`
	ApimAcknowledge  string `envconfig:"ApimAcknowledge"`
	TargetRole       string `envconfig:"TargetRole"`
	RelayLogLevel    string `envconfig:"RelayLogLevel"`
}

// hidden is a secret that envconfig can fill.
type hidden struct{ secret.String }

// Decode implements envconfig.Decoder.
func (h *hidden) Decode(value string) error {
	h.String = secret.New(value)
	return nil
}

// The settings that code names by themselves.
const (
	tenantSetting       = "TargetTenantID"
	tenantAlias         = "TargetTentantID" // the article's slip: apps deployed from it carry it
	identitySetting     = "FunctionIdentity"
	keySetting          = "ApimKey"
	keySecondarySetting = "ApimKeySecondary"
	keyHeaderSetting    = "ApimKeyHeader"
	headersSetting      = "ApimHeaders"
	authoritySetting    = "ApimCertificateAuthority"
	certificateSetting  = "ApimClientCertificate"
	logLevelSetting     = "RelayLogLevel"
)

// secretNames are the settings whose values are never shown, and which Scrub removes. A fixed header
// may hold a secret of the backend's.
var secretNames = []string{keySetting, keySecondarySetting, identitySetting, headersSetting, certificateSetting}

var names = func() []string {
	var list []string
	for field := range reflect.TypeFor[texts]().Fields() {
		list = append(list, field.Tag.Get("envconfig"))
	}
	return list
}()

// Names lists the settings as the portal shows them, in the order of the documentation.
func Names() []string { return slices.Clone(names) }

// get returns a value by the setting's name.
func (t *texts) get(name string) string {
	switch v := reflect.ValueOf(t).Elem().Field(slices.Index(names, name)).Addr().Interface().(type) {
	case *hidden:
		return v.Reveal()
	case *string:
		return *v
	}
	return ""
}

// equal compares all values that decide how the API is called.
func (t *texts) equal(other *texts) bool {
	return !slices.ContainsFunc(names, func(n string) bool {
		return n != logLevelSetting && strings.TrimSpace(t.get(n)) != strings.TrimSpace(other.get(n))
	})
}

// variable is one entry of the environment.
type variable struct{ name, value string }

// Environment finds variables ignoring case: the portal's TargetApp may stand in the environment in any spelling, and all of them count. It does not
// change, and may be read by any number of goroutines.
type Environment struct {
	all    []variable            // in the order given
	byName map[string][]variable // under the name in upper case
	own    []ownVariable         // those of all that look like one of our settings for one function
	host   map[string]variable   // under the name as the host's configuration has it, in upper case
}

// ownVariable is a variable whose name has a function's in front: OrdersWriter__ApimUrl.
type ownVariable struct {
	variable
	key     string // scopeKey of the function's name
	setting string
}

// Index reads a list of "name=value" as os.Environ returns it. App Service sets a hundred variables and more, so it is done once.
func Index(environ []string) *Environment {
	e := &Environment{all: make([]variable, 0, len(environ)), byName: make(map[string][]variable, len(environ)),
		host: make(map[string]variable, len(environ))}
	for _, entry := range environ {
		// Windows has entries that begin with an equals sign.
		at := strings.IndexByte(strings.TrimPrefix(entry, "="), '=')
		if at < 0 {
			continue
		}
		at += len(entry) - len(strings.TrimPrefix(entry, "="))
		v := variable{entry[:at], entry[at+1:]}
		e.all = append(e.all, v)
		key := strings.ToUpper(v.name)
		e.host[strings.ToUpper(hostfile.ConfigurationName(v.name))] = v
		if n := len(e.all); e.byName[key] == nil {
			e.byName[key] = e.all[n-1 : n : n] // most names stand once: no list of their own
		} else {
			e.byName[key] = append(e.byName[key], v)
		}
		if function, setting, ok := splitName(v.name); ok {
			e.own = append(e.own, ownVariable{v, scopeKey(function), setting})
		}
	}
	return e
}

// Lookup finds a variable ignoring the case of its name; an exact spelling goes first.
func (e *Environment) Lookup(name string) (string, bool) {
	found := e.byName[strings.ToUpper(name)]
	if len(found) == 0 {
		return "", false
	}
	return exactFirst(found, name)[0].value, true
}

// App finds an app setting as the Functions host does: by its name in the host's configuration, ignoring
// case (hostfile.ConfigurationName).
func (e *Environment) App(name string) (string, bool) {
	v, ok := e.host[strings.ToUpper(name)]
	return v.value, ok
}

func exactFirst(found []variable, name string) []variable {
	if i := slices.IndexFunc(found, func(v variable) bool { return v.name == name }); i > 0 {
		found = slices.Clone(found)
		found[0], found[i] = found[i], found[0]
	}
	return found
}

// filled tells whether a variable is set and not blank.
func (e *Environment) filled(name string) bool {
	return slices.ContainsFunc(e.byName[strings.ToUpper(name)], func(v variable) bool { return strings.TrimSpace(v.value) != "" })
}

// scopeKey is how a function's name stands in front of its settings, in upper case: a hyphen is no character of an app setting's name on Linux.
func scopeKey(function string) string { return strings.ToUpper(strings.ReplaceAll(function, "-", "_")) }

// splitName takes "OrdersWriter__ApimUrl" apart; ok is false for anything that is not one of our settings for one function.
func splitName(name string) (function, setting string, ok bool) {
	if !strings.Contains(name, "__") { // most names; to search from the end takes longer
		return "", "", false
	}
	at := strings.LastIndex(name, "__")
	if at <= 0 {
		return "", "", false
	}
	tail := name[at+2:]
	for _, s := range names {
		if strings.EqualFold(s, tail) {
			return name[:at], s, true
		}
	}
	return name[:at], tenantAlias, strings.EqualFold(tenantAlias, tail)
}

// scope is what the environment sets for one function, or for all where key is empty.
type scope struct {
	function string
	key      string
	cells    map[string]*cell // by the setting's name; missing where nothing sets it
}

// cell is one value as found.
type cell struct {
	name     string // as spelled in the environment
	value    string
	faults   []app.Fault // about the spelling
	warnings []app.Fault
}

// scope collects the settings of one function, or the shared ones for "".
func (e *Environment) scope(function string) *scope {
	s := &scope{function: function, key: scopeKey(function), cells: map[string]*cell{}}
	for _, setting := range names {
		if c := e.cell(s, setting); c != nil {
			s.cells[setting] = c
		}
	}
	alias := e.cell(s, tenantAlias)
	right := s.cells[tenantSetting]
	if alias == nil {
		return s
	}
	hint := "rename it to " + s.nameOf(tenantSetting)
	if right == nil {
		alias.warnings = append(alias.warnings, fault(function, alias.name, hint, "a misspelling of %s, read all the same", s.nameOf(tenantSetting)))
		s.cells[tenantSetting] = alias
		return s
	}
	if strings.TrimSpace(alias.value) != strings.TrimSpace(right.value) {
		right.faults = append(right.faults, fault(function, right.name, "remove "+alias.name, "want one value, got another one in the misspelled %s", alias.name))
		return s
	}
	right.warnings = append(right.warnings, fault(function, alias.name, "remove it", "a misspelling beside %s", right.name))
	return s
}

// nameOf is the name of a setting of this scope as the documentation writes it.
func (s *scope) nameOf(setting string) string {
	if s.function == "" {
		return setting
	}
	return strings.ReplaceAll(s.function, "-", "_") + "__" + setting
}

func (e *Environment) cell(s *scope, setting string) *cell {
	var found []variable
	if s.function == "" {
		found = e.byName[strings.ToUpper(setting)]
	} else {
		for _, v := range e.own {
			if v.setting == setting && v.key == s.key {
				found = append(found, v.variable)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	found = exactFirst(found, s.nameOf(setting))
	c := &cell{name: found[0].name, value: found[0].value}
	for _, other := range found[1:] {
		if other.value != c.value {
			c.faults = append(c.faults, fault(s.function, c.name, "remove "+other.name, "want one value, got another one in %s, which differs only in case or in a hyphen",
				other.name))
		}
	}
	return c
}

// cutKeys makes the function's own key stand alone: either key of its own cuts the inheritance of both.
func (s *scope) cutKeys() {
	own := ""
	for _, setting := range []string{keySetting, keySecondarySetting} {
		if c := s.cells[setting]; c != nil {
			own = c.name
		}
	}
	for _, setting := range []string{keySetting, keySecondarySetting} {
		if own != "" && s.cells[setting] == nil {
			s.cells[setting] = &cell{}
		}
	}
}
