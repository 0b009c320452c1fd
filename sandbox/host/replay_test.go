package host

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

var only = flag.String("recording", "", "replay the recordings whose name matches this expression")

// How much faster than real the replayed hosts run.
const replaySpeed = 10

// TestRecordingsAreRepeated replays every recording of the real host and holds the list of those
// that differ on purpose, which is in the package comment.
func TestRecordingsAreRepeated(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("the recordings are replayed in their own time, which the race detector does not keep")
	}
	all := loadRecordings(t)
	pick := regexp.MustCompile(*only)
	listed := deliberate(t)
	var mu sync.Mutex
	diffs := map[string][]string{}
	report := func(r *recording, d []string) {
		mu.Lock()
		defer mu.Unlock()
		diffs[r.Name] = d
	}
	groups := map[string][]*recording{}
	var singles []*recording
	for _, r := range all {
		switch {
		case !pick.MatchString(r.Name):
		case strings.IndexByte("ABDP", r.Name[0]) >= 0 && r.Name != "P-timer":
			if strings.HasSuffix(r.Name, "-admin-functions") || r.Name == "P-query-encoded" {
				// of which the recording lists those that matter
				r.FunctionJSON = everyFunction(t, all)
			}
			key := string(r.HostJSON) + string(r.FunctionJSON)
			if realTime[r.Name] {
				key = r.Name
			}
			groups[key] = append(groups[key], r)
		default:
			singles = append(singles, r)
		}
	}
	t.Run("replay", func(t *testing.T) {
		for _, group := range groups {
			t.Run(group[0].Name, func(t *testing.T) {
				t.Parallel()
				replayGroup(t, group, report)
			})
		}
		for _, r := range singles {
			t.Run(r.Name, func(t *testing.T) {
				t.Parallel()
				report(r, replayLife(t, r))
			})
		}
	})
	// Lives are full of times, which a machine that is busy with something else stretches. What
	// differs beside all the others is tried again, alone: a difference counts when it shows each
	// time.
	t.Run("again", func(t *testing.T) {
		for range 3 {
			for _, group := range groups {
				for _, r := range group {
					if len(diffs[r.Name]) > 0 && !listed[r.Name] {
						replayGroup(t, []*recording{r}, report)
					}
				}
			}
			for _, r := range singles {
				if len(diffs[r.Name]) > 0 && !listed[r.Name] {
					report(r, replayLife(t, r))
				}
			}
		}
	})
	equal, names := 0, []string{}
	for name := range diffs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		d := diffs[name]
		switch _, known := listed[name]; {
		case len(d) == 0 && !known:
			equal++
		case len(d) == 0:
			t.Errorf("%s is equal now: take it off the list in the package comment", name)
		case !known:
			t.Errorf("%s differs and is not listed in the package comment:\n%s", name,
				strings.Join(d, "\n"))
		}
	}
	fmt.Printf("%d of %d exchanges equal\n", equal, len(names))
	if *only == "" && equal+len(listed) != len(all) {
		t.Errorf("replayed %d recordings and listed %d, want %d in all", equal, len(listed),
			len(all))
	}
}

// everyFunction is the app that the exchanges of groups A, B and D were recorded on.
func everyFunction(t *testing.T, all []*recording) json.RawMessage {
	t.Helper()
	union := map[string]json.RawMessage{}
	for _, r := range all {
		if strings.IndexByte("ABD", r.Name[0]) < 0 {
			continue
		}
		var some map[string]json.RawMessage
		if err := json.Unmarshal(r.FunctionJSON, &some); err != nil {
			t.Fatal(err)
		}
		for name, text := range some {
			union[name] = text
		}
	}
	out, err := json.Marshal(union)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var listLine = regexp.MustCompile(`(?m)^//   - ([A-Z]-[a-z0-9-]+): `)

// deliberate reads the list of differences from the package comment.
func deliberate(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range listLine.FindAllStringSubmatch(string(text), -1) {
		out[m[1]] = true
	}
	return out
}

func parseAnswer(t *testing.T, r *recording) answer {
	t.Helper()
	var a answer
	if len(r.Answered) > 0 && string(r.Answered) != "null" {
		if err := json.Unmarshal(r.Answered, &a); err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
	} else {
		a = answer{Status: 200, Headers: [][2]string{{"Content-Type", "application/json"}},
			Body: json.RawMessage(`"{\"Outputs\":{}}"`)}
	}
	if a.Default == nil && a.Probe != nil {
		a.Default = &answer{Status: 200, Headers: [][2]string{{"Content-Type", "application/json"}},
			Body: json.RawMessage(`"{\"Outputs\":{}}"`)}
	}
	if r.Name == "B-large-string" {
		// Its text is cut in the recording.
		text, _ := json.Marshal(`{"Outputs":{"res":{"statusCode":200,"body":"` +
			strings.Repeat("x", r.ClientGot[0].BodyBytes) + `"}}}`)
		a.Body = text
	}
	if r.Name == "D-ans-100mb" {
		a.BodyBytes = 16384
	}
	if r.Name == "P-ans-slow-12s" {
		// The recorder's 12 s are functionTimeout and the grace behind it to the millisecond.
		// Nobody can play that race; a second earlier the answer comes within the grace, as it did
		// there.
		a.Delay--
	}
	return a
}

// realTime are exchanges so large that a tenth of their functionTimeout may not do.
var realTime = map[string]bool{"D-ans-100mb": true, "B-large-string": true}

// replayGroup plays exchanges of one app, one after another, against one host.
func replayGroup(t *testing.T, group []*recording, report func(*recording, []string)) {
	g := newRig(t, group[0].HostJSON, group[0].FunctionJSON)
	cfg := g.config()
	cfg.Speed = replaySpeed
	if strings.HasSuffix(group[0].Name, "-admin-functions") {
		cfg.Environ = append(cfg.Environ, "WEBSITE_HOSTNAME=app.azurewebsites.net")
	}
	if realTime[group[0].Name] {
		cfg.Speed = 1
	}
	g.start(cfg)
	poll.Until(t, "the handler",
		func() bool { return len(requests(g.events(), true)) > 0 || g.host.inside().worker == nil })
	for _, r := range group {
		g.write(script{Speed: replaySpeed, Answered: parseAnswer(t, r)})
		g.clearEvents()
		g.clearLog()
		report(r, replayOne(g, r))
	}
}

func replayOne(g *rig, r *recording) []string {
	wait := 15 * time.Second
	if strings.Contains(r.ClientGot[0].Error, "timed out") {
		wait = 400 * time.Millisecond
	}
	got := ask(g.host.Addr(), r.Client[0], wait)
	diffs := compareAnswer(r.ClientGot[0], got)
	if want := r.ClientGot[0]; want.Error != "" && len(want.Body) > 2 {
		var text string
		if json.Unmarshal(want.Body, &text) == nil && strings.HasPrefix(text, "HTTP/") {
			begun := &clientGot{framing: "none"}
			begun.read(bufio.NewReader(strings.NewReader(text)), "GET")
			if w, g := fieldSet(begun.headers),
				fieldSet(got.headers); statusCode(begun.statusLine) != statusCode(got.statusLine) ||
				slicesDiffer(w, g) {
				diffs = append(diffs, fmt.Sprintf(
					"caller got the beginning of another answer:\n\twant %q\n\tgot  %q", text,
					got.raw))
			}
		}
	}
	want := logLines(r)
	deadline := time.Now().Add(2 * time.Second)
	for len(entryLines(g.entries())) < len(want) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	diffs = append(diffs, compareLog(want, entryLines(g.entries()))...)
	received := requests(g.events(), false)
	wanted := len(r.Received)
	if m := regexp.MustCompile(`received: (\d+) requests`).FindStringSubmatch(r.Note); m != nil {
		_, _ = fmt.Sscan(m[1], &wanted)
	}
	if wanted != len(received) {
		diffs = append(diffs, fmt.Sprintf("handler got another number of requests: want %d, got %d",
			wanted, len(received)))
	}
	for i, w := range r.Received {
		if i < len(received) {
			diffs = append(diffs, compareReceived(w, received[i])...)
		}
	}
	return diffs
}
