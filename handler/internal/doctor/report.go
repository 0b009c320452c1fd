package doctor

import (
	"encoding/json"
	"io"
	"slices"

	"apimrelay/handler/internal/cause"
)

// Status is what a check came to.
type Status string

// The statuses. NotRun stands for a check whose need failed, or that has nothing to compare with.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Finding Status = "finding"
	NotRun  Status = "not-run"
)

// Result is one line of a report. Its texts hold no secret.
type Result struct {
	ID        string     `json:"id"`        // of the check
	Title     string     `json:"title"`     // the statement
	Functions []string   `json:"functions"` // that it is about; empty: the whole app
	Status    Status     `json:"status"`
	Saw       string     `json:"saw"`    // one line
	Fix       string     `json:"fix"`    // one line, "" where nothing is to be done
	Anchor    cause.Code `json:"anchor"` // its entry in docs/troubleshooting.md; "" where there is none
	// Needs is the check whose failure kept this one from running; "" where it ran, or has
	// nothing to compare with.
	Needs string `json:"needs,omitempty"`
}

// Report is the result of a run.
type Report struct {
	Version int      `json:"version"`           // of the format: 1
	Program string   `json:"program,omitempty"` // version of the program that looked; "" where it did not say
	OK      bool     `json:"ok"`                // no finding
	Checks  []Result `json:"checks"`
	// Counters stand only in the answer of the function doctor: a command has just started.
	Counters *Counters `json:"counters,omitempty"`
}

// newReport joins results that say the same of several functions.
func newReport(results []Result) *Report {
	r := &Report{Version: 1, OK: true, Checks: []Result{}}
	for _, one := range results {
		if one.Functions == nil {
			one.Functions = []string{}
		}
		r.OK = r.OK && one.Status != Finding
		i := slices.IndexFunc(r.Checks, func(have Result) bool {
			return have.ID == one.ID && have.Title == one.Title && have.Status == one.Status && have.Saw == one.Saw && have.Fix == one.Fix && have.Anchor == one.Anchor && have.Needs == one.Needs
		})
		if i < 0 {
			r.Checks = append(r.Checks, one)
			continue
		}
		for _, f := range one.Functions {
			if !slices.Contains(r.Checks[i].Functions, f) {
				r.Checks[i].Functions = append(r.Checks[i].Functions, f)
			}
		}
	}
	return r
}

// Exit is the exit status that tells the result: 0 where nothing was found, warnings aside, else 1.
func (r *Report) Exit() int {
	if r.OK {
		return 0
	}
	return 1
}

// Count counts the results of a status.
func (r *Report) Count(s Status) int {
	n := 0
	for _, one := range r.Checks {
		if one.Status == s {
			n++
		}
	}
	return n
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// ReadJSON reads a report that WriteJSON or the function doctor wrote.
func ReadJSON(r io.Reader) (*Report, error) {
	report := new(Report)
	if err := json.NewDecoder(io.LimitReader(r, 16<<20)).Decode(report); err != nil {
		return nil, err
	}
	return report, nil
}
