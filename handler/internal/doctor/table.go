package doctor

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"apimrelay/handler/internal/cause"
)

// Style says how a report is written for people. The zero value is plain and whole.
type Style struct {
	Short  bool // findings and warnings alone
	Colour bool // with the escapes of a terminal
	// Page is the address of docs/troubleshooting.md of the release that runs. Without one the
	// report names the command that prints an entry.
	Page string
}

// words of the table, all of one width, with the colour of each (ECMA-48, SGR).
var words = map[Status]struct{ text, colour string }{
	OK: {"ok     ", "32"}, Warning: {"warning", "33"}, Finding: {"FINDING", "1;31"}, NotRun: {"not run", "2"},
}

func (s Style) word(status Status) string {
	word, known := words[status]
	switch {
	case !known:
		return string(status) // of a later version
	case s.Colour:
		return "\x1b[" + word.colour + "m" + word.text + "\x1b[0m"
	}
	return word.text
}

func (s Style) see(code cause.Code) string {
	if s.Page != "" {
		return s.Page + "#" + string(code)
	}
	return "handler doctor -explain " + string(code)
}

// groups of the table, by the check that each begins with.
var groups = []struct{ first, title string }{{"app", "settings"}, {"identity", "identity and token"}, {"proxy", "gateway"}}

// groupOf is the group of a check; "" for what is no check of this version.
func groupOf(id string) string {
	group := ""
	for _, c := range checks {
		for _, g := range groups {
			if g.first == c.id {
				group = g.title
			}
		}
		if c.id == id {
			return group
		}
	}
	return ""
}

// WriteTable writes the report for people, in groups: a line for each check, and below those that
// are not in order what was seen, the fix and where to read on. Checks that were not run because
// another one failed are one line below that one.
func (r *Report) WriteTable(w io.Writer, s Style) error {
	out := bufio.NewWriter(w)
	if r.Program != "" && !s.Short {
		fmt.Fprintf(out, "apimrelay %s\n\n", r.Program)
	}
	width, folded, last := 0, map[string]int{}, map[string]int{}
	for i, one := range r.Checks {
		if one.Needs != "" {
			folded[one.Needs]++
			continue
		}
		width = max(width, utf8.RuneCountInString(one.Title))
		if one.Status == Finding || one.Status == NotRun {
			last[one.ID] = i
		}
	}
	width = min(width, 72)
	group := ""
	for i, one := range r.Checks {
		if one.Needs != "" || s.Short && one.Status != Finding && one.Status != Warning {
			continue
		}
		if g := groupOf(one.ID); g != group {
			if group != "" {
				fmt.Fprintln(out)
			}
			group = g
			fmt.Fprintln(out, g)
		}
		line := s.word(one.Status) + "  " + one.Title
		if len(one.Functions) > 0 {
			line += strings.Repeat(" ", max(0, width-utf8.RuneCountInString(one.Title))) + "  [" + strings.Join(one.Functions, ", ") + "]"
		}
		fmt.Fprintln(out, line)
		detail := func(name, text string) {
			if text != "" {
				fmt.Fprintf(out, "         %s  %s\n", name, text)
			}
		}
		detail("saw", one.Saw)
		detail("fix", one.Fix)
		if one.Anchor != "" && (one.Status == Finding || one.Status == Warning) {
			detail("see", s.see(one.Anchor))
		}
		if n := folded[one.ID]; n > 0 && last[one.ID] == i {
			detail("so ", fmt.Sprintf("%s not run, which need this", count(n, "check")))
		}
	}
	if r.Counters != nil {
		r.Counters.write(out)
	}
	fmt.Fprintf(out, "\n%s, %s, %d ok, %d not run\n", count(r.Count(Finding), "finding"), count(r.Count(Warning), "warning"), r.Count(OK), r.Count(NotRun))
	return out.Flush()
}

func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
