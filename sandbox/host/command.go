package host

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"apimrelay/internal/hostfile"
)

// command is what the host starts, resolved from customHandler.description.
type command struct {
	path string
	args []string
	dir  string
	line string // arguments as one line, for the log
	lost []string
}

var percentName = regexp.MustCompile(`%([^%\s]+)%`)

// resolveCommand follows Azure/azure-functions-host
// src/WebJobs.Script/Workers/ProcessManagement/WorkerDescription.cs and WorkerProcessUtilities.cs;
// recordings E-exe-*, E-environment-arguments, E-environment-workerpath.
func resolveCommand(root string, d *hostfile.Value, environ []string) command {
	lookup := exactLookup(environ)
	var c command
	// Environment.ExpandEnvironmentVariables: what is not set stays
	expandSet := func(s string) string {
		return percentName.ReplaceAllStringFunc(s, func(m string) string {
			if v, ok := lookup(m[1 : len(m)-1]); ok {
				return v
			}
			return m
		})
	}
	under := func(base, p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		// Joined, not cleaned: "./handler" starts as <root>/./handler.
		joined := base + "/" + p
		if _, err := os.Stat(executable(joined)); err == nil {
			return joined
		}
		return p
	}
	base := root
	if w := textOf(d.Fold("workerDirectory")); w != "" {
		base = w
		if !filepath.IsAbs(w) {
			base = filepath.Join(root, w)
		}
	}
	c.path = under(base, expandSet(textOf(d.Fold("defaultExecutablePath"))))
	var parts []string
	list := func(name string) {
		if v := d.Fold(name); v != nil && v.Kind == hostfile.Array {
			for _, item := range v.Items {
				parts = append(parts, item.Text())
			}
		}
	}
	list("arguments")
	if w := textOf(d.Fold("defaultWorkerPath")); w != "" {
		parts = append(parts, `"`+under(base, expandSet(w))+`"`)
	}
	list("workerArguments")
	c.line = percentName.ReplaceAllStringFunc(strings.Join(parts, " "), func(m string) string {
		v, ok := lookup(m[1 : len(m)-1])
		if !ok {
			c.lost = append(c.lost, m[1:len(m)-1])
		}
		return v
	})
	c.args = splitArguments(c.line)
	c.dir = root
	if w := textOf(d.Fold("workingDirectory")); w != "" {
		c.dir = w
		if !filepath.IsAbs(w) {
			c.dir = filepath.Join(root, w)
		}
	}
	return c
}

// splitArguments takes a command line apart as .NET does on Unix (dotnet/runtime
// src/libraries/System.Diagnostics.Process/src/System/Diagnostics/Process.Unix.cs,
// ParseArgumentsIntoList): blanks separate outside of quotes, backslashes escape only in front of a
// quote, "" inside quotes is a quote.
func splitArguments(s string) []string {
	var out []string
	for i := 0; i < len(s); {
		for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
			i++
		}
		if i == len(s) {
			break
		}
		var b strings.Builder
		quoted := false
		for ; i < len(s); i++ {
			slashes := 0
			for i < len(s) && s[i] == '\\' {
				slashes++
				i++
			}
			if slashes > 0 {
				if i >= len(s) || s[i] != '"' {
					b.WriteString(strings.Repeat(`\`, slashes))
				} else {
					b.WriteString(strings.Repeat(`\`, slashes/2))
					if slashes%2 != 0 {
						b.WriteByte('"')
						continue
					}
				}
				if i >= len(s) {
					break
				}
			}
			c := s[i]
			if c == '"' {
				if quoted && i+1 < len(s) && s[i+1] == '"' {
					b.WriteByte('"')
					i++
					continue
				}
				quoted = !quoted
				continue
			}
			if (c == ' ' || c == '\t') && !quoted {
				break
			}
			b.WriteByte(c)
		}
		out = append(out, b.String())
	}
	return out
}

// exactLookup finds a variable by its exact name, as in the environment of a process; the last of
// equal names counts.
func exactLookup(environ []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := len(environ) - 1; i >= 0; i-- {
			if k, v, ok := strings.Cut(environ[i], "="); ok &&
				(k == name || runtime.GOOS == "windows" && strings.EqualFold(k, name)) {
				return v, true
			}
		}
		return "", false
	}
}

// settingLookup finds an app setting as the host's configuration does, the last of several.
func settingLookup(environ []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := len(environ) - 1; i >= 0; i-- {
			if k, v, ok := strings.Cut(environ[i], "="); ok &&
				strings.EqualFold(hostfile.ConfigurationName(k), name) {
				return v, true
			}
		}
		return "", false
	}
}
