package settings

import (
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/kelseyhightower/envconfig"
)

// mirroring: the process environment is one for all.
var mirroring sync.Mutex

// process lets envconfig fill the values of each function.
//
// envconfig looks every name up in upper case, whatever its tag says, and names are case-sensitive on Linux: as it stands it reads nothing of
// an app setting called TargetApp, without an error. So the values are copied to the names that it asks for: TARGETAPP for all functions and
// ORDERS__TARGETAPP for one, which with the prefix "ORDERS_" it asks for first. Inheritance is the library's own. Names for which environ has
// nothing are hidden meanwhile, so that only environ counts; in the end the process environment is as it was.
//
// Functions that set nothing themselves inherit the same, and are read once for all of them: most functions are such, and the library is slow.
func process(shared *scope, functions []*scope) []texts {
	mirroring.Lock()
	defer mirroring.Unlock()
	inheriting := slices.IndexFunc(functions, (*scope).empty)
	own := []*scope{shared}
	for i, s := range functions {
		if i == inheriting || !s.empty() {
			own = append(own, s)
		}
	}
	for _, s := range own {
		for _, setting := range names {
			defer replace(s.mirror(setting), s.cells[setting])()
		}
	}
	read := make([]texts, len(functions))
	for i, s := range functions {
		if i > inheriting && s.empty() {
			read[i] = read[inheriting]
			continue
		}
		// The only error there can be is one of the type of texts: its fields take every value.
		if err := envconfig.Process(s.key+"_", &read[i]); err != nil {
			panic(err)
		}
	}
	return read
}

// empty tells that nothing is set in the scope.
func (s *scope) empty() bool { return len(s.cells) == 0 }

// mirror is the name that envconfig asks for.
func (s *scope) mirror(setting string) string {
	if s.function == "" {
		return strings.ToUpper(setting)
	}
	return s.key + "__" + strings.ToUpper(setting)
}

// replace sets or hides one variable of the process and returns what undoes it.
func replace(name string, c *cell) (undo func()) {
	before, had := os.LookupEnv(name)
	if c == nil {
		_ = os.Unsetenv(name)
	} else {
		_ = os.Setenv(name, c.value) // fails only for a NUL, which no environment holds
	}
	return func() {
		if had {
			_ = os.Setenv(name, before)
			return
		}
		_ = os.Unsetenv(name)
	}
}
