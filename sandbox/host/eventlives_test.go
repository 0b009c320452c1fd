package host

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"apimrelay/internal/poll"
)

func init() {
	for name, l := range map[string]life{
		"C-timer-normal-and-runOnStartup": {loose: true, before: at("2026-11-23T16:10:41.8Z")},
		"C-timer-forwarding-admin":        {loose: true}, // a tick may come before or after
		"C-timer-slow-overlap":            {before: at("2026-11-23T16:11:07.5Z")},
		"C-timer-retry":                   {loose: true, before: at("2026-11-23T16:11:39.5Z")},
		"C-timer-pastdue": {before: func(l *stage) {
			at("2026-11-23T16:13:02.9Z")(l)
			l.cfg.StatusDir = l.t.TempDir()
			last := time.Date(2026, 11, 23, 16, 11, 0, 6579800, time.UTC)
			h := &Host{cfg: l.cfg, statuses: map[string]timerStatus{}}
			h.setTimerStatus("minute", timerStatus{Last: last, Next: time.Date(2026, 11, 23, 16, 12,
				0, 0, time.UTC), LastUpdated: last})
			if _, err := filepath.Glob(filepath.Join(l.cfg.StatusDir, "*minute*")); err != nil {
				l.t.Fatal(err)
			}
		}},
		"F-queue-json":        {play: putMessage},
		"F-queue-array":       {play: putMessage},
		"F-queue-binary":      {play: putMessage},
		"F-queue-date-string": {play: putMessage, skip: 3},
		"F-queue-fail":        {play: putMessage},
		"F-queue-forwarding":  {play: putMessage},
	} {
		lives[name] = l
	}
}

// at sets the host's clock, so that schedules fall due as recorded.
func at(start string) func(*stage) {
	return func(l *stage) {
		t, err := time.Parse(time.RFC3339, start)
		if err != nil {
			l.t.Fatal(err)
		}
		l.cfg.Start = t
	}
}

var (
	putText  = regexp.MustCompile(`message put: '(.*?)' \(base64\)`)
	putBytes = regexp.MustCompile(`message put: (\[[0-9, ]*\]) \(base64\)`)
	stored   = regexp.MustCompile(`\(as stored\): (\[.*\])`)
)

// putMessage puts the message that the recording's note names, and compares what is on the output
// queue afterwards.
func putMessage(l *stage) {
	poll.Until(l.t, "the handler", func() bool { return len(requests(l.events(), true)) > 0 })
	text := ""
	if m := putText.FindStringSubmatch(l.r.Note); m != nil {
		text = m[1]
	} else {
		var bytes []byte
		var numbers []int
		if err := json.Unmarshal([]byte(putBytes.FindStringSubmatch(l.r.Note)[1]),
			&numbers); err != nil {
			l.t.Fatal(err)
		}
		for _, n := range numbers {
			bytes = append(bytes, byte(n))
		}
		text = string(bytes)
	}
	fired, err := l.host.Fire("q", Event{Input: &text})
	if err != nil {
		l.differ("%v", err)
		return
	}
	select {
	case <-fired.Done():
	case <-time.After(10 * time.Second):
		l.differ("the message was not done with")
	}
	l.waitForAll()
	var want, got []string
	if err := json.Unmarshal([]byte(strings.ReplaceAll(stored.FindStringSubmatch(l.r.Note)[1], "'",
		`"`)), &want); err != nil {
		l.t.Fatal(err)
	}
	poisoned := false
	for _, m := range l.host.Outputs() {
		switch m.Target {
		case "out-items":
			got = append(got, base64.StdEncoding.EncodeToString(m.Body))
		case "in-items-poison":
			poisoned = true
		}
	}
	if slicesDiffer(want, got) {
		l.differ("another output queue: want %q, got %q", want, got)
	}
	if failing := strings.HasSuffix(l.r.Name, "-fail") || strings.HasSuffix(l.r.Name,
		"-binary"); poisoned != failing {
		l.differ("the poison queue: want a message %v", failing)
	}
}
