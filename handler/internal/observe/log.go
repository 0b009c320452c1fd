// Package observe is what the program tells about itself: log lines in the form that the Functions
// host reads, W3C trace context, and OTLP export of traces and metrics where the standard OTEL_*
// variables ask for it.
package observe

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
)

// NewHandler returns a slog handler whose lines the Functions host files under the level that they
// were written with. Each record is one line, as [slog.JSONHandler] writes it, and one Write.
//
// The host knows only two streams and one word (Azure/azure-functions-host, WorkerProcess.cs;
// recording E-console): a line on stdout is Information, a line on stderr is an Error, or a Warning
// where it contains "warn" in any case. So records below Warn go to stdout, the others to stderr. A
// Warn line contains the word as its level ("level":"WARN"). In Error lines the first letter of
// each "warn" is written as a JSON escape, which leaves the content as it was. No line begins with
// LanguageWorkerConsoleLog, since each begins with a brace. The host masks nothing: what must not
// be read must not be logged.
//
// level is asked at each record; nil means Info. The handler may be used by any number of
// goroutines; stdout and stderr may be the same writer, and are never written to at the same time.
func NewHandler(stdout, stderr io.Writer, level slog.Leveler) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	mu := new(sync.Mutex)
	return &handler{
		info:  slog.NewJSONHandler(&lineWriter{mu: mu, w: stdout}, options),
		warn:  slog.NewJSONHandler(&lineWriter{mu: mu, w: stderr}, options),
		error: slog.NewJSONHandler(&errorWriter{lineWriter{mu: mu, w: stderr}}, options),
	}
}

// handler keeps one stream for each of the host's levels: they differ in what happens to the
// finished line.
type handler struct{ info, warn, error slog.Handler }

func (h *handler) at(level slog.Level) slog.Handler {
	switch {
	case level >= slog.LevelError:
		return h.error
	case level >= slog.LevelWarn:
		return h.warn
	}
	return h.info
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.info.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	return h.at(record.Level).Handle(ctx, record)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

func (h *handler) WithGroup(name string) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *handler) with(change func(slog.Handler) slog.Handler) slog.Handler {
	return &handler{info: change(h.info), warn: change(h.warn), error: change(h.error)}
}

// lineWriter writes one line at a time: each of the three JSON handlers has a lock of its own, and
// two of them share a stream.
type lineWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lineWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(line)
}

// errorWriter keeps Error lines from being read as Warnings.
type errorWriter struct{ lineWriter }

var escaped = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (e *errorWriter) Write(line []byte) (int, error) {
	at := indexWarn(line)
	if at < 0 {
		return e.lineWriter.Write(line)
	}
	buf := escaped.Get().(*bytes.Buffer)
	defer escaped.Put(buf)
	buf.Reset()
	rest := line
	for ; at >= 0; at = indexWarn(rest) {
		buf.Write(rest[:at])
		// Letters stand inside strings only, and w begins no escape of JSON and is no hexadecimal
		// digit: the escape is always legal here.
		if rest[at] == 'w' {
			buf.WriteString(`\u0077`)
		} else {
			buf.WriteString(`\u0057`)
		}
		rest = rest[at+1:]
	}
	buf.Write(rest)
	if _, err := e.lineWriter.Write(buf.Bytes()); err != nil {
		return 0, err
	}
	return len(line), nil
}

// indexWarn finds "warn" in any case. The host compares ordinally
// (StringComparison.OrdinalIgnoreCase), and no letter outside ASCII has one of these four as its
// upper case.
func indexWarn(line []byte) int {
	for from := 0; ; {
		at := bytes.IndexAny(line[from:], "wW")
		if at < 0 || from+at+4 > len(line) {
			return -1
		}
		at += from
		if line[at+1]|0x20 == 'a' && line[at+2]|0x20 == 'r' && line[at+3]|0x20 == 'n' {
			return at
		}
		from = at + 1
	}
}

// StdLog returns a logger for what net/http has to say, in http.Server.ErrorLog and by package log.
// Each of its messages becomes one record of logger: an Error where it tells of a panic, else a
// Warn. Messages of several lines (stack traces) stay one record. What a gateway said out of turn
// is left out: net/http quotes it as a whole, and it may be an answer with anything in it
// (net/http/transport.go, "Unsolicited response received").
func StdLog(logger *slog.Logger) *log.Logger { return log.New(stdWriter{logger}, "", 0) }

type stdWriter struct{ logger *slog.Logger }

func (s stdWriter) Write(p []byte) (int, error) {
	text, _, _ := strings.Cut(strings.TrimSpace(string(p)), " starting with ")
	level := slog.LevelWarn
	if strings.Contains(text, "panic") {
		level = slog.LevelError
	}
	s.logger.Log(context.Background(), level, "net/http reports a problem", "text", text)
	return len(p), nil
}
