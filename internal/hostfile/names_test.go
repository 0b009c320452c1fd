package hostfile_test

import (
	"errors"
	"strings"
	"testing"

	"apimrelay/internal/hostfile"
)

// What the Functions host (4.1037) made of %NAME% in a schedule, with one variable set.
func TestSettingsByName(t *testing.T) {
	unknown := errors.New("does not resolve to a value")
	for _, row := range []struct{ text, variable, value, want string }{ // want "" = unknown
		{"%Poll:Schedule%", "Poll__Schedule", "x", "x"},
		{"%Poll:Schedule%", "Poll:Schedule", "x", "x"},
		{"%Poll__Schedule%", "Poll__Schedule", "x", ""},
		{"%POLLSCHEDULE%", "PollSchedule", "x", "x"},
		{"%PollSchedule%", "PollSchedules", "x", ""},
		{"%PollSchedule%", "PollSchedule", "%Other:Name%", "%Other:Name%"},
		{"%A:B:C%/{id}-%A:B:C%", "a__b__c", "x", "x/{id}-x"},
		{"%ConnectionStrings:Bus%", "CUSTOMCONNSTR_Bus", "x", "x"},
		{"%CUSTOMCONNSTR_Bus%", "CUSTOMCONNSTR_Bus", "x", ""},
		{"0 * * * * *", "PollSchedule", "x", "0 * * * * *"},
		{"", "PollSchedule", "x", ""},
	} {
		got, err := hostfile.Expand(row.text, func(name string) (string, error) {
			if strings.EqualFold(hostfile.ConfigurationName(row.variable), name) {
				return row.value, nil
			}
			return "", unknown
		})
		if got != row.want || (err != nil) != (row.want == "" && row.text != "") {
			t.Errorf("%s with %s: want %q, got %q, %v", row.text, row.variable, row.want, got, err)
		}
	}
	if _, err := hostfile.Expand("100%", nil); err == nil || !strings.Contains(err.Error(), "no closing %") {
		t.Errorf("an open %%: got %v", err)
	}
}
