package settings

import (
	"bufio"
	"fmt"
	"io"

	"apimrelay/handler/internal/app"
)

func fault(function, setting, hint, format string, args ...any) app.Fault {
	return app.Fault{Function: function, Setting: setting, Text: fmt.Sprintf(format, args...), Hint: hint}
}

// Report writes every fault and then every warning as one line each: what is wrong and how to mend it. No line holds a secret.
func (s *Settings) Report(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, f := range s.Faults {
		line(out, "", f)
	}
	for _, f := range s.Warnings {
		line(out, "warning: ", f)
	}
	return out.Flush()
}

func line(out *bufio.Writer, kind string, f app.Fault) {
	_, _ = out.WriteString(kind + f.String()) // Flush tells
	if f.Hint != "" {
		_, _ = out.WriteString("; to mend it: " + f.Hint)
	}
	_ = out.WriteByte('\n')
}
