package host

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// timerStatus is what the host keeps of a timer: the blob azure-webjobs-hosts/timers/…/status.
type timerStatus struct {
	Last, Next, LastUpdated time.Time
}

const offsetLayout = "2006-01-02T15:04:05"

func offsetTime(t time.Time) string {
	if t.IsZero() {
		t = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return t.Format(offsetLayout) + ticksFraction(t) + t.Format("-07:00")
}

func (s *timerStatus) json(noZone bool) string {
	if s == nil {
		return "null"
	}
	last := offsetTime(s.Last)
	if noZone && s.Last.IsZero() {
		last = strings.TrimSuffix(last, "+00:00")
	}
	return members{{"Last", quoteJSON(last)}, {"Next", quoteJSON(offsetTime(s.Next))},
		{"LastUpdated", quoteJSON(offsetTime(s.LastUpdated))}}.String()
}

func timeZone(lookup func(string) (string, bool)) (*time.Location, error) {
	name, _ := lookup("WEBSITE_TIME_ZONE")
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, hostErrorf("The time zone '%s' of WEBSITE_TIME_ZONE is unknown here.", name)
	}
	return zone, nil
}

// monitored reports whether the timer keeps a status: not with useMonitor false, not where it fires
// more often than once a minute.
func (f *function) monitored(now time.Time) bool {
	if !boolOf(f.trigger.prop("useMonitor"), true) {
		return false
	}
	t := f.schedule.Next(now)
	for range 4 {
		next := f.schedule.Next(t)
		if !next.IsZero() && next.Sub(t) < time.Minute {
			return false
		}
		t = next
	}
	return true
}

// listen is a timer's listener (Azure/azure-webjobs-sdk-extensions
// Extensions/Timers/Listener/TimerListener.cs; recordings C-timer-*).
func (in *instance) listen(f *function) {
	h := in.h
	if h.cfg.NoTicks {
		return
	}
	unlock, ok := in.lock(f)
	if !ok {
		return
	}
	defer unlock()
	now := h.clock.now()
	var seen *timerStatus
	pastDue := false
	if f.monitored(now) {
		stored, ok := h.timerStatus(f.name)
		switch expected := f.schedule.Next(laterOf(stored.Last, stored.LastUpdated)); {
		case !ok:
			h.setTimerStatus(f.name, timerStatus{Next: f.schedule.Next(now), LastUpdated: now})
			seen = &timerStatus{Next: f.schedule.Next(now)}
		case !expected.Equal(stored.Next) && f.schedule.Cron():
			// The schedule is another one than that of the status.
			stored = timerStatus{Next: f.schedule.Next(now), LastUpdated: now}
			h.setTimerStatus(f.name, stored)
			seen = &stored
		default:
			seen, pastDue = &stored, now.After(stored.Next)
		}
	}
	in.logOccurrences(f, now)
	next := f.schedule.Next(now)
	if pastDue {
		in.catchUp(f, seen)
		seen, next = in.advance(f, seen, now)
	} else if boolOf(f.trigger.prop("runOnStartup"), false) {
		in.tick(f, seen, false, "UnscheduledInvocationReason: RunOnStartup")
		seen, next = in.advance(f, seen, now)
	}
	for !next.IsZero() {
		if !h.clock.sleep(in.halted, next.Sub(h.clock.now())) {
			return
		}
		if missed, ok := h.faults.take(FaultMissedTick, "", f.name); ok {
			if !h.wait(in.halted, missed, missed.delay()) {
				return
			}
			if now := h.clock.now(); seen == nil {
				next = f.schedule.Next(now)
			} else {
				seen.Next = next
				in.catchUp(f, seen)
				seen, next = in.advance(f, seen, now)
			}
			continue
		}
		fired := h.clock.now()
		if fired.Before(next) {
			fired = next
		}
		if seen != nil {
			seen.Next = next
		}
		in.tick(f, seen, false, "")
		if in.ctx.Err() != nil {
			return
		}
		seen, next = in.advance(f, seen, fired)
	}
}

// catchUp runs a timer whose tick was missed.
func (in *instance) catchUp(f *function, seen *timerStatus) {
	in.h.log(Debug, "Host.Triggers.Timer", "Function '%s' is past due on startup. Executing now.",
		f.name)
	in.tick(f, seen, true,
		"UnscheduledInvocationReason: IsPastDue, OriginalSchedule: "+seen.Next.Format(
			"2006-01-02T15:04:05.0000000-07:00"))
}

// lock is the singleton lock of a timer: of all hosts that share a StatusDir one runs it, the
// others wait (recordings E-two-hosts-same-app*). Azure keeps a lease on a blob.
func (in *instance) lock(f *function) (unlock func(), ok bool) {
	h := in.h
	if h.cfg.StatusDir == "" {
		return func() {}, true
	}
	path := filepath.Join(h.cfg.StatusDir, "Host.Functions."+f.name+".Listener")
	if err := os.MkdirAll(h.cfg.StatusDir, 0o755); err != nil {
		h.log(Error, "Host.Startup",
			"The listener for function 'Functions.%s' was unable to start: %s", f.name, err)
		return nil, false
	}
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			h.log(Error, "Host.Startup",
				"The listener for function 'Functions.%s' was unable to start: %s", f.name, err)
			return nil, false
		}
		if lockFile(file) {
			h.log(Debug, "Host.Singleton", "Singleton lock acquired (Host.Functions.%s.Listener)",
				f.name)
			return func() { _ = file.Close() }, true
		}
		_ = file.Close()
		if !h.clock.sleep(in.halted, lockPause) {
			return nil, false
		}
	}
}

// How often a host that does not hold a timer's lock tries to get it
// (SingletonOptions.ListenerLockRecoveryPollingInterval).
const lockPause = time.Minute

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// advance writes the status behind a run and returns the next occurrence after its start; one that is
// over fires at once.
func (in *instance) advance(f *function, seen *timerStatus, fired time.Time) (*timerStatus,
	time.Time) {
	next := f.schedule.Next(fired)
	if seen == nil {
		return nil, next
	}
	s := timerStatus{Last: fired, Next: next, LastUpdated: fired}
	in.h.setTimerStatus(f.name, s)
	return &s, next
}

func (in *instance) logOccurrences(f *function, now time.Time) {
	var lines strings.Builder
	t := now
	for range 5 {
		if t = f.schedule.Next(t); t.IsZero() {
			break
		}
		lines.WriteString(t.UTC().Format("01/02/2006 15:04:05Z") + "\n")
	}
	kind := "Constant: " + f.schedule.String()
	if f.schedule.Cron() {
		kind = "Cron: '" + f.schedule.String() + "'"
	}
	in.h.log(Information, "Host.Triggers.Timer",
		"The next 5 occurrences of the '%s' schedule (%s) will be:\n%s", f.name, kind,
		lines.String())
}

// tick runs the timer's function and waits for it: a timer never overlaps with itself.
func (in *instance) tick(f *function, s *timerStatus, pastDue bool, details string) {
	inv := &invocation{in: in, fn: f, id: newGUID(), way: "wrapped", details: details,
		reason: func() string { return "Timer fired at " + in.h.clock.now().Format("2006-01-02T15:04:05.0000000-07:00") }}
	inv.attempt = in.eventAttempt(f, timerPayload(in.h, f, s, pastDue, nil))
	_ = inv.run(in.ctx)
}

func timerPayload(h *Host, f *function, s *timerStatus, pastDue bool, input *string) *payload {
	due := "false"
	if pastDue {
		due = "true"
	}
	adjust := "false"
	if f.schedule.Cron() {
		adjust = "true"
	}
	p := &payload{data: members{{f.trigger.name, `{"Schedule":{"AdjustForDST":` + adjust +
		`},"ScheduleStatus":` + s.json(h.cfg.Switches.NoZone) +
		`,"IsPastDue":` + due + `}`}}}
	if input != nil {
		p.metadata.add(f.trigger.name, twice(*input))
	}
	return p
}

// eventAttempt is one attempt of everything that is no HTTP call.
func (in *instance) eventAttempt(f *function, p *payload) func(context.Context, *invocation,
	string) error {
	return func(ctx context.Context, inv *invocation, retry string) error {
		e, err := inv.exchange(ctx, p, retry)
		if err != nil {
			return err
		}
		return in.h.deliver(in, f, inv.id, e)
	}
}

func (h *Host) timerStatus(name string) (timerStatus, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, ok := h.statuses[name]; ok || h.cfg.StatusDir == "" {
		return s, ok
	}
	var s timerStatus
	text, err := os.ReadFile(h.statusFile(name))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return s, false
	}
	return s, true
}

func (h *Host) setTimerStatus(name string, s timerStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.statuses[name] = s
	if h.cfg.StatusDir == "" {
		return
	}
	text, err := json.Marshal(s)
	if err == nil {
		if err = os.MkdirAll(h.cfg.StatusDir, 0o755); err == nil {
			err = os.WriteFile(h.statusFile(name), text, 0o644)
		}
	}
	if err != nil {
		go h.log(Warning, "Host.Triggers.Timer", "The status of the timer '%s' was not written: %s",
			name, err)
	}
}

func (h *Host) statusFile(name string) string {
	return filepath.Join(h.cfg.StatusDir, "Host.Functions."+name+".json")
}
