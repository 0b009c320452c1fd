// Package observe is what the program tells about itself: log lines in the form that the Functions host reads, W3C trace context, and
// OTLP export of traces and metrics where the standard OTEL_* variables ask for it.
//
// The export is our own. It was OpenTelemetry's SDK for Go before, and is still what that would export: names, values, defaults, samplers,
// limits, batches and the variables that say so are the SDK's, and the tests make the same calls with both and compare. The SDK was left for
// what it costs: it makes a dozen objects of each span and hashes the labels of each measurement, 8 us for an exported call of which a quarter
// is left, and it made the deployed program a seventh larger, exported or not. Here a span is one piece of memory that is written at its end
// into the message that will be sent (queue.go, span_proto.go), and a measurement is added to its series in place (instrument.go). Where
// nothing is to be exported, nothing of this is begun.
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

// NewHandler returns a slog handler whose lines the Functions host files under the level that they were written with. Each record is one
// JSON line and one Write.
//
// The host knows only two streams and one word (Azure/azure-functions-host, WorkerProcess.cs; recording E-console): a line on stdout is
// Information, a line on stderr is an Error, or a Warning where it contains "warn" in any case. So records below Warn go to stdout, the
// others to stderr; a Warn line contains the word as its level ("level":"WARN"), and in Error lines the first letter of each "warn" is
// written as a JSON escape, which leaves the content as it was. No line begins with LanguageWorkerConsoleLog, since each begins with a
// brace. The host masks nothing: what must not be read must not be logged.
//
// level is asked at each record; nil means Info. The handler may be used by any number of goroutines; stdout and stderr may be the same
// writer, and are never written to at the same time.
func NewHandler(stdout, stderr io.Writer, level slog.Leveler) slog.Handler {
	if level == nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	mu := new(sync.Mutex)
	to := func(w io.Writer) stream { return stream{slog.NewJSONHandler(w, options), w} }
	return &handler{
		info:  to(&lineWriter{mu: mu, w: stdout}),
		warn:  to(&lineWriter{mu: mu, w: stderr}),
		error: to(&errorWriter{lineWriter{mu: mu, w: stderr}}),
	}
}

// handler keeps one stream for each of the host's levels, because they differ in what happens to the finished line.
type handler struct{ info, warn, error stream }

// stream writes lines by slog's JSON handler, or past it.
type stream struct {
	slog.Handler
	past io.Writer // nil = each line has attributes of the logger's own, which only the handler knows
}

func (s stream) Handle(ctx context.Context, record slog.Record) error {
	if s.past == nil {
		return s.Handler.Handle(ctx, record)
	}
	pooled := linePool.Get().(*[]byte)
	defer linePool.Put(pooled)
	line, ok := appendRecord((*pooled)[:0], record)
	*pooled = line
	if !ok {
		return s.Handler.Handle(ctx, record)
	}
	_, err := s.past.Write(line)
	return err
}

func (h *handler) at(level slog.Level) stream {
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
	return &handler{stream{change(h.info.Handler), nil}, stream{change(h.warn.Handler), nil}, stream{change(h.error.Handler), nil}}
}

// lineWriter serializes the lines of the three JSON handlers: each of them has a lock of its own, and two share a stream.
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
		// Letters stand inside strings only, and w begins no escape of JSON and is no hexadecimal digit: the escape is always legal here.
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

// indexWarn finds "warn" in any case. The host compares ordinally (StringComparison.OrdinalIgnoreCase), and no letter outside ASCII has
// one of these four as its upper case.
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

// StdLog returns a logger for what net/http has to say, in http.Server.ErrorLog and by package log. Each of its messages becomes one record of logger:
// an Error where it tells of a panic, else a Warn. Messages of several lines (stack traces) stay one record. What a gateway said out of turn is left out:
// net/http quotes it as a whole, and it may be an answer with anything in it (net/http/transport.go, "Unsolicited response received").
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
