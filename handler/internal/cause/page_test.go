package cause

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/troubleshooting.md")

// TestPage holds docs/troubleshooting.md to the table.
func TestPage(t *testing.T) {
	const file = "../../../docs/troubleshooting.md"
	if *update {
		if err := os.WriteFile(file, []byte(page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(page(), "\n")
	for i, line := range strings.Split(string(have), "\n") {
		if i >= len(want) || line != want[i] {
			t.Fatalf("%s:%d is %q, which is not what the table says: go generate ./handler/internal/cause writes it",
				file, i+1, line)
		}
	}
	if len(have) != len(page()) {
		t.Errorf("%s ends before the table: go generate ./handler/internal/cause writes it", file)
	}
}

const head = `# Troubleshooting

Each entry is a cause that ` + "`handler doctor`" + ` tells from others. The doctor prints its name behind *see*, and the
log line of a failed call names it as ` + "`cause`" + `. Entries with several causes are those that nothing inside the app
tells apart; *tells* is the command that does.

- On a laptop: ` + "`build/app/handler doctor`" + ` (settings from the environment, else from local.settings.json).
- A deployed app: ` + "`make doctor APP=<name>`" + `.
- A past call: ` + "`handler doctor -log '<the log line>'`" + `. An answer with 401 or 403, and each problem of ours, carries
  ` + "`X-Relay-Invocation`" + `: the log line with that ` + "`invocation_id`" + ` is the call's, and ` + "`grep ID log | handler doctor -log -`" + ` explains
  it. In Azure, ` + "`deploy/queries/failures.kql`" + ` finds the line.
- A policy, before or after it is deployed, in any form that API Management hands out:
  ` + "`handler doctor -offline -policy policy.xml -named-values named-values.json`" + `. The policies of the other
  scopes go with ` + "`-global-policy`, `-product-policy` and `-operation-policy`, fragments with `-fragments DIR`" + `.
  Checks of tokens and headers are judged wherever they stand; the report names every other statement as not looked at.

Written from handler/internal/cause by ` + "`go test ./handler/internal/cause -run TestPage -update`" + `.
`

// page is docs/troubleshooting.md: the table for people.
func page() string {
	var b strings.Builder
	b.WriteString(head)
	for i := range Table {
		c := &Table[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", c.Code, strings.ToUpper(c.Title[:1])+c.Title[1:])
		for _, m := range c.Means {
			fmt.Fprintf(&b, "- %s\n", markdown(m))
		}
		if c.Tells != "" {
			fmt.Fprintf(&b, "\n*Tells:* %s\n", markdown(c.Tells))
		}
		fmt.Fprintf(&b, "\n*Fix:* %s\n", markdown(c.FixFor(nil)))
		if c.FixHere != "" {
			fmt.Fprintf(&b, "\n*Outside a function app:* %s\n", markdown(c.FixHere))
		}
		if from := leads(c); from != "" {
			fmt.Fprintf(&b, "\n*Known by:* %s\n", from)
		}
		if c.Link != "" {
			fmt.Fprintf(&b, "\n*Microsoft:* <%s>\n", c.Link)
		}
	}
	return b.String()
}

// leads is what leads to a cause, for people.
func leads(c *Cause) string {
	var all []string
	for _, n := range c.AADSTS {
		all = append(all, fmt.Sprintf("AADSTS%d", n))
	}
	for _, p := range c.Problems {
		all = append(all, "our answer `"+p+"`")
	}
	for _, r := range c.Refusals {
		all = append(all, "refusal `"+r+"`")
	}
	for _, s := range c.Statuses {
		all = append(all, fmt.Sprintf("the gateway's %d", s))
	}
	return strings.Join(all, ", ")
}

// markdown keeps placeholders in angle brackets from being taken for HTML.
func markdown(s string) string { return strings.NewReplacer("<", `\<`, "*", `\*`).Replace(s) }
