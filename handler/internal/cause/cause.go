// Package cause has one name for each cause for which a call can fail, and says what it means and
// how it is mended.
//
// Whoever finds a cause says its [Code]: package identity for tokens, relay for the gateway,
// settings for what was configured. The log line carries the code, the doctor prints its entry, and
// docs/troubleshooting.md is made from the same table. Codes are stable: they stand in logs, in the
// doctor's JSON and in links.
//
// What others call a failure leads to a code as well: Entra by its error numbers, our own answers
// by their problem codes, the gateway's refusals by their class and its answers by their status.
// An error of the network is known by its type. Nothing here or elsewhere searches the texts of
// another package of ours.
package cause

//go:generate go test -run TestPage -update

import (
	"slices"
	"strings"
)

// Code names a cause. The zero value means that none is known.
type Code string

// Cause is one entry of the table: a cause, or several that nothing inside the program tells apart.
type Cause struct {
	Code  Code
	Title string   // what is wrong, in few words
	Means []string // how it comes about: each a possible cause
	Tells string   // how a person tells the causes apart; "" where there is one
	// Fix is what to do, in one line, with a command where there is one. Gaps in braces, such as
	// {app}, are filled in by FixFor.
	Fix string
	// FixHere is the fix where no function app runs the program: on a laptop, in a container. ""
	// means that Fix is right everywhere.
	FixHere string
	// OwnHint says that a hint which came with the error goes before Fix, since whoever found the
	// cause knows more of it than the table.
	OwnHint bool
	Link    string // a page of Microsoft's about it; "" where the entry says all

	// Passes says that it may pass by itself: asking again can help.
	Passes bool
	// SignIn says that a developer mends it by signing in again.
	SignIn bool

	AADSTS   []int    // Entra's error numbers that mean it
	Problems []string // our own answers that it stands for, where nothing finer is known
	Refusals []string // classes of refused calls that it stands for
	Statuses []int    // of the gateway's last answer, where nothing finer is known
}

// Of returns the entry of a code, or nil where there is none. The table is not to be changed.
func Of(code Code) *Cause {
	return find(func(c *Cause) bool { return c.Code == code })
}

// OfAADSTS returns the code of the first of Entra's error numbers, AADSTS and digits, in a message.
// A number that the table does not have is EntraRefused; a message without a number is "".
//
// Source: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func OfAADSTS(message string) (code Code, number int) {
	_, rest, found := strings.Cut(message, "AADSTS")
	for found {
		number = 0
		for _, r := range rest {
			if r < '0' || r > '9' || number > 1e8 {
				break
			}
			number = number*10 + int(r-'0')
		}
		if number > 0 {
			break
		}
		_, rest, found = strings.Cut(rest, "AADSTS")
	}
	if !found {
		return "", 0
	}
	c := find(func(c *Cause) bool { return slices.Contains(c.AADSTS, number) })
	return codeOf(c, EntraRefused), number
}

// OfProblem returns what a problem code of our own stands for, or "".
func OfProblem(problem string) Code {
	return codeOf(find(func(c *Cause) bool { return slices.Contains(c.Problems, problem) }), "")
}

// OfRefusal returns what a class of refused calls stands for, or "".
func OfRefusal(class string) Code {
	return codeOf(find(func(c *Cause) bool { return slices.Contains(c.Refusals, class) }), "")
}

// OfStatus returns what a status of the gateway's last answer stands for, or "".
func OfStatus(status int) Code {
	return codeOf(find(func(c *Cause) bool { return slices.Contains(c.Statuses, status) }), "")
}

func find(fits func(*Cause) bool) *Cause {
	for i := range Table {
		if fits(&Table[i]) {
			return &Table[i]
		}
	}
	return nil
}

func codeOf(c *Cause, otherwise Code) Code {
	if c == nil {
		return otherwise
	}
	return c.Code
}

// Gaps are values for the gaps of a fix, by name: app, group, client, object, resource, tenant,
// role, login and number.
type Gaps map[string]string

// unknown is what stands in a gap without a value.
var unknown = [...][2]string{
	{"app", "<app>"}, {"group", "<group>"}, {"client", "<client id>"},
	{"object", "<object id of the identity>"}, {"resource", "<TargetApp>"},
	{"tenant", "<tenant id>"}, {"role", "<role>"}, {"number", "<number>"},
	{"login", "az login --tenant {tenant}"},
}

// FixFor is the fix with its gaps filled. A gap without a value keeps its name in angle brackets.
// The gap here says, with any value, that no function app runs the program.
func (c *Cause) FixFor(values Gaps) string {
	if c.FixHere != "" && values["here"] != "" {
		return Fill(c.FixHere, values)
	}
	return Fill(c.Fix, values)
}

// Fill fills the gaps of a text.
func Fill(text string, values Gaps) string {
	pairs := make([]string, 0, 2*len(unknown))
	for _, gap := range unknown {
		value := values[gap[0]]
		if value == "" {
			value = gap[1]
			if tenant := values["tenant"]; tenant != "" {
				value = strings.ReplaceAll(value, "{tenant}", tenant)
			}
			value = strings.ReplaceAll(value, "{tenant}", "<tenant id>")
		}
		pairs = append(pairs, "{"+gap[0]+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
