package doctor

import (
	"fmt"
	"strings"
)

// catalogueForPeople is docs/troubleshooting.md: the catalogue for people. A test holds the file to it.
func catalogueForPeople() string {
	var b strings.Builder
	b.WriteString("# Troubleshooting\n\n" +
		"Each entry is a finding of `handler doctor`, which prints its name behind *see*. Entries with several causes are those that nothing inside the app tells\n" +
		"apart; *tells* is the command that does.\n\n" +
		"- On a laptop: `build/app/handler doctor` (settings from the environment, else from local.settings.json).\n" +
		"- A deployed app: `make doctor APP=<name>`.\n" +
		"- A past call: `handler doctor -log '<the log line>'`.\n" +
		"- A policy, before it is deployed: `handler doctor -offline -policy policy.xml -named-values named-values.json`.\n\n" +
		"This page is made from the catalogue: `UPDATE=1 go test ./handler/internal/doctor -run Document`.\n")
	for i := range catalogue {
		e := &catalogue[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", e.anchor, strings.ToUpper(e.title[:1])+e.title[1:])
		for _, c := range e.causes {
			fmt.Fprintf(&b, "- %s\n", markdown(c))
		}
		if e.tells != "" {
			fmt.Fprintf(&b, "\n*Tells:* %s\n", markdown(e.tells))
		}
		fmt.Fprintf(&b, "\n*Fix:* %s\n", markdown(e.fixFor(nil)))
	}
	return b.String()
}

// markdown keeps placeholders in angle brackets from being taken for HTML.
func markdown(s string) string { return strings.NewReplacer("<", `\<`, "*", `\*`).Replace(s) }
