package console

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Report writes the way of an invocation for a person: trigger, token, key, each rule of the policy, backend, answer. brief counts the rules
// that passed instead of listing them.
func (inv Invocation) Report(w io.Writer, brief bool) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "  %-9s %s\n", label, printable(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(w, "%s  ->  %s in %s\n", printable(inv.Request), outcome(inv), milliseconds(inv.DurationMS))
	line("trigger", "%s", strings.Join(nonEmpty(inv.Trigger, inv.Way, "function "+inv.Function, "invocation "+inv.ID), ", "))
	if t := inv.Token; t != nil && t.Unread {
		line("token", "sent, %s", t.Source)
	} else if t != nil {
		roles := "no roles"
		if len(t.Roles) > 0 {
			roles = "roles " + strings.Join(t.Roles, " ")
		}
		who := t.Name
		if who == "" {
			who = t.Caller
		}
		line("token", "%s, audience %s, %s, version %s, valid until %s (%s)", who, t.Aud, roles, t.Version, t.Expires.Local().Format("2 Jan 15:04"), t.Source)
	} else if len(inv.Calls) == 0 {
		line("token", "none reached the gateway")
	}
	if len(inv.Calls) == 0 {
		line("gateway", "not called")
	}
	for n, c := range inv.Calls {
		if n > 0 {
			line("again", "%s after the call began", milliseconds(float64(c.Started.Sub(inv.Calls[0].Started).Microseconds())/1000))
		}
		if c.Fault != "" {
			line("fault", "%s", c.Fault)
		}
		if c.Key != "" {
			line("key", "%s", c.Key)
		}
		label := "policy"
		passed := 0
		for _, r := range c.Rules {
			if brief && (r.Result == "pass" || r.Result == "done") {
				passed++
				continue
			}
			line(label, "%-8s %s", r.Result, ruleText(r))
			label = ""
			if r.Result == "refuse" {
				line("", "         %s", strings.Join(nonEmpty(r.Why, prefixed("want ", r.Want), prefixed("got ", r.Got)), "; "))
				for _, fix := range r.Fixes {
					line("", "         fix: %s", fix)
				}
			}
		}
		if passed > 0 {
			line(label, "%d rules passed, one by one as above", passed)
		}
		switch b := c.Backend; {
		case len(c.Rules) == 0 && b == nil && c.Fault == "" && c.Status != 0:
			// a real gateway, or one without a policy, tells nothing of its backend
		case b != nil && b.Error != "":
			line("backend", "%s %s  ->  %s", b.Method, b.URL, b.Error)
		case b != nil:
			line("backend", "%s %s  ->  %d in %s", b.Method, b.URL, b.Status, milliseconds(b.DurationMS))
		default:
			line("backend", "not called")
		}
		line("gateway", "%s", strings.Join(nonEmpty(statusText(c.Status), fmt.Sprintf("%d bytes", c.Bytes), "in "+milliseconds(c.DurationMS), c.Message), ", "))
	}
	line("answer", "%s", inv.Result())
}

func ruleText(r Rule) string {
	where := "built in"
	if r.Line > 0 {
		where = fmt.Sprintf("%s:%d", filepath.Base(r.File), r.Line)
	}
	text := r.Statement
	if r.Check != "" {
		text += ", " + r.Check
	}
	if r.Result == "pass" && r.Got != "" {
		text += ": " + r.Got
	}
	return fmt.Sprintf("%-12s %s", where, text)
}

// Result is the answer's status, or the outcome where there is none, and the cause of what went wrong.
func (inv Invocation) Result() string { return strings.Join(nonEmpty(outcome(inv), inv.Cause), ": ") }

// Line is one line about an invocation that has ended.
func (inv Invocation) Line() string {
	name := inv.Function
	if name == "" {
		name = "-"
	}
	took := ""
	if inv.Outcome != refused {
		took = " in " + milliseconds(inv.DurationMS)
	}
	request := strings.Join(nonEmpty(inv.Request, inv.Turn), ", ")
	return printable(fmt.Sprintf("%s  %-10s %s  ->  %s%s%s", inv.Started.Local().Format("15:04:05"), name, request, outcome(inv), took, prefixed(": ", inv.Cause)))
}

// printable writes control characters as Go does, so that a path cannot speak to the terminal.
func printable(text string) string {
	var out strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			out.WriteRune(r)
		} else {
			out.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return out.String()
}

func outcome(inv Invocation) string {
	if inv.Status > 0 {
		return statusText(inv.Status)
	}
	return inv.Outcome
}

func statusText(status int) string {
	if status == 0 {
		return "no answer"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

func milliseconds(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
}

func nonEmpty(texts ...string) []string {
	var out []string
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
