package doctor

import (
	"fmt"
	"io"
	"strings"

	"apimrelay/handler/internal/cause"
)

// WriteCause writes the entry of a cause, as docs/troubleshooting.md has it, for who has the
// program alone. Errors: there is no such cause.
func WriteCause(w io.Writer, code string) error {
	c := cause.Of(cause.Code(strings.TrimPrefix(code, "#")))
	if c == nil {
		return fmt.Errorf("explaining a cause: %q is none: want the code of a finding, such as key-invalid", code)
	}
	text := string(c.Code) + ": " + c.Title + "\n"
	for _, m := range c.Means {
		text += "  - " + m + "\n"
	}
	for _, line := range []struct{ name, text string }{
		{"tells", c.Tells}, {"fix", c.FixFor(nil)}, {"outside a function app", cause.Fill(c.FixHere, nil)}, {"Microsoft", c.Link},
	} {
		if line.text != "" {
			text += "  " + line.name + ": " + line.text + "\n"
		}
	}
	_, err := io.WriteString(w, text)
	return err
}
