package hostfile_test

import (
	"testing"
	"time"

	"apimrelay/internal/hostfile"
)

// Results of TimeSpan.Parse as its documentation lists them (learn.microsoft.com, TimeSpan.Parse),
// and as the host was seen to read functionTimeout.
func TestTimeSpans(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		bad  bool
	}{
		{text: "00:05:00", want: 5 * time.Minute},
		{text: "0:5:0", want: 5 * time.Minute},
		{text: " 00:00:30 ", want: 30 * time.Second},
		{text: "10:00", want: 10 * time.Hour},
		{text: "1.00:00:00", want: 24 * time.Hour},
		{text: "1:00:00:00", want: 24 * time.Hour},
		{text: "5", want: 120 * time.Hour},
		{text: "-1", want: -24 * time.Hour},
		{text: "-00:00:01", want: -time.Second},
		{text: "24:00:00", want: 24 * 24 * time.Hour},
		{text: "00:00:00.5", want: 500 * time.Millisecond},
		{text: "00:00:00.0000001", want: 100},
		{text: "6", want: 144 * time.Hour},
		{text: "6:12", want: 6*time.Hour + 12*time.Minute},
		{text: "6:12:14", want: 6*time.Hour + 12*time.Minute + 14*time.Second},
		{text: "6:12:14:45", want: 156*time.Hour + 14*time.Minute + 45*time.Second},
		{text: "6.12:14:45", want: 156*time.Hour + 14*time.Minute + 45*time.Second},
		{text: "6:12:14:45.3448", want: 156*time.Hour + 14*time.Minute + 45*time.Second + 344800*time.Microsecond},
		{text: "6:34:14:45", bad: true},
		{text: "1:2:3:4:5", bad: true},
		{text: "", bad: true},
		{text: "5m", bad: true},
		{text: "00:60:00", bad: true},
		{text: "00:00:60", bad: true},
		{text: "00:00:00.12345678", bad: true},
		{text: "99999999999", bad: true},
		{text: "200000", bad: true},
		{text: "24:00", bad: true},
	}
	for _, test := range tests {
		got, err := hostfile.ParseTimeSpan(test.text)
		if got != test.want || (err != nil) != test.bad {
			t.Errorf("%q: got %s, %v", test.text, got, err)
		}
	}
}

func TestTimeSpansAreWrittenAsDotNetDoes(t *testing.T) {
	for want, d := range map[string]time.Duration{"00:00:05": 5 * time.Second, "1.02:00:00": 26 * time.Hour, "-00:00:01": -time.Second,
		"00:00:01.9971330": 1997133 * time.Microsecond} {
		if got := hostfile.FormatTimeSpan(d); got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	}
}
