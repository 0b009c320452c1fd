package doctor

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// document is where the anchors stand.
const document = "docs/troubleshooting.md"

// words of the table, all of one width.
var words = map[Status]string{OK: "ok     ", Warning: "warning", Finding: "FINDING", NotRun: "not run"}

// WriteTable writes the report for people: a line for each check, and below those that are not in order what was seen, the fix and where to read on.
func (r *Report) WriteTable(w io.Writer) error {
	out := bufio.NewWriter(w)
	if r.Program != "" {
		fmt.Fprintf(out, "apimrelay %s\n\n", r.Program)
	}
	width := 0
	for _, one := range r.Checks {
		width = max(width, utf8.RuneCountInString(one.Title))
	}
	width = min(width, 72)
	for _, one := range r.Checks {
		word, known := words[one.Status]
		if !known {
			word = string(one.Status) // of a later version
		}
		line := word + "  " + one.Title
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
			detail("see", document+"#"+string(one.Anchor))
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
