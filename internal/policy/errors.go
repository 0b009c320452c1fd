package policy

import (
	"fmt"
	"strings"
)

// Error is one fault of a policy document, with the place where its owner mends it.
type Error struct {
	File string // the name that was handed to Parse
	Line int    // from 1
	Text string // one line, lower case
}

// Error returns "file:line: text".
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// Errors holds every fault found at once, in the order of the documents and lines.
type Errors []*Error

// Error returns one line for each fault.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As reach a single *Error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// or returns nil for no faults: a nil Errors inside an error would not be nil.
func (e Errors) or() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
