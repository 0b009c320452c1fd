package host

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Level is the level of a line of the host's log. The zero value is Trace.
type Level int

// The levels of Microsoft.Extensions.Logging, which the host logs with.
const (
	Trace Level = iota
	Debug
	Information
	Warning
	Error
	Critical
)

var levelNames = [...]string{"Trace", "Debug", "Information", "Warning", "Error", "Critical"}

// String is the level's name in .NET, such as Information.
func (l Level) String() string {
	if l < Trace || l > Critical {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return levelNames[l]
}

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// LogEntry is one line of the host's log. Text may hold line breaks (the stack of a failed
// invocation).
type LogEntry struct {
	Time     time.Time `json:"-"` // without the fault clock-skew
	Level    Level     `json:"level"`
	Category string    `json:"category"`
	Text     string    `json:"text"`
	// Invocation is the id of the invocation that the line belongs to; empty for lines of the
	// process's console, which the host cannot tie to one.
	Invocation string `json:"-"`
}

// The category of the lines that the handler's process writes (Azure/azure-functions-host
// src/WebJobs.Script/Diagnostics/WorkerFunctionConsoleLog…).
const consoleCategory = "Host.Function.Console"

// WriteJSON returns an OnLog that writes each entry as one line of JSON:
// {"level":"Information","category":"Function.orders.User","text":"…"}.
func WriteJSON(w io.Writer) func(LogEntry) {
	var mu sync.Mutex
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return func(e LogEntry) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(e)
	}
}

// WriteText returns an OnLog for a person's eyes: time, level, category, text. Debug and Trace are
// left out.
func WriteText(w io.Writer) func(LogEntry) {
	short := [...]string{"trce", "dbug", "info", "warn", "fail", "crit"}
	var mu sync.Mutex
	return func(e LogEntry) {
		if e.Level < Information || e.Level > Critical {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(w, "%s %s %s: %s\n", e.Time.Format("15:04:05.000"), short[e.Level],
			e.Category, e.Text)
	}
}

func (h *Host) log(level Level, category, format string, args ...any) {
	h.emit(LogEntry{Level: level, Category: category, Text: sprintf(format, args)})
}

func sprintf(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// emit hands the entry to the listener, where host.json's levels let it pass, and to the
// invocations that run meanwhile; one at a time, so that the order is the same for all.
func (h *Host) emit(e LogEntry) {
	if h.muted.Load() {
		return
	}
	h.logMu.Lock()
	defer h.logMu.Unlock()
	e.Time = h.clock.right()
	h.history.note(e)
	if rules := h.logRules.Load(); h.cfg.OnLog != nil &&
		(rules == nil || rules.passes(e.Level, e.Category)) {
		h.cfg.OnLog(e)
	}
}
