package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// lines counts writes, to show that a line is one of them.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	return len(p), nil
}

// hostLevel is the host's rule for a line of a handler (recording E-console;
// Azure/azure-functions-host, WorkerProcess.cs).
func hostLevel(line string, stderr bool) string {
	switch {
	case !stderr:
		return "Information"
	case strings.Contains(strings.ToLower(line), "warn"):
		return "Warning"
	}
	return "Error"
}

func TestHostFilesEachLineUnderItsLevel(t *testing.T) {
	payloads := []string{
		"plain", "a WARNING inside", "warn", "forewarned wArN warn",
		"line\nbreak\r\nand \u2028 more", "LanguageWorkerConsoleLog{}", `\warn \\warn "warn"`,
		"w", "war", "wwarn", "", "é😀\x00\xff", strings.Repeat("warn ", 20_000),
		"LanguageWorkerConsoleLog\nLanguageWorkerConsoleLog", "<html>&",
	}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelInfo + 1,
		slog.LevelWarn, slog.LevelWarn + 2, slog.LevelError, slog.LevelError + 4} {
		want := "Information"
		switch {
		case level >= slog.LevelError:
			want = "Error"
		case level >= slog.LevelWarn:
			want = "Warning"
		}
		for _, payload := range payloads {
			var stdout, stderr lines
			logger := slog.New(NewHandler(&stdout, &stderr, slog.LevelDebug))
			logger = logger.With("warn_with", payload).WithGroup("group")
			logger.Log(context.Background(), level, payload, "warn_key", payload, "error",
				errors.New(payload), "any", map[string]string{payload: payload})
			all := append(stdout.text, stderr.text...)
			if len(all) != 1 {
				t.Fatalf("%v %.20q: want one write, got %d", level, payload, len(all))
			}
			line := all[0]
			if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") ||
				strings.Contains(line, "\r") {
				t.Errorf("%v %.20q: want one line, got %.200q", level, payload, line)
			}
			if strings.HasPrefix(line, "LanguageWorkerConsoleLog") {
				t.Errorf("want no line for the host itself, got %.100q", line)
			}
			if got := hostLevel(line, len(stderr.text) > 0); got != want {
				t.Errorf("%v %.20q: want %s, the host makes it %s: %.200s", level, payload, want,
					got, line)
			}
			var content struct {
				Msg, Level string
				WarnWith   string `json:"warn_with"`
				Group      struct {
					WarnKey string `json:"warn_key"`
					Error   string
					Any     map[string]string
				}
			}
			if err := json.Unmarshal([]byte(line), &content); err != nil {
				t.Fatalf("want JSON, got %.200s: %v", line, err)
			}
			same := strings.ToValidUTF8(payload, "\uFFFD")
			if content.Msg != same || content.WarnWith != same || content.Group.WarnKey != same ||
				content.Group.Error != same || content.Group.Any[same] != same {
				t.Errorf("%v: want the content unchanged, got %.200s", level, line)
			}
			if content.Level != level.String() {
				t.Errorf("want level %v, got %s", level, content.Level)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	var stdout, stderr lines
	var level slog.LevelVar
	logger := slog.New(NewHandler(&stdout, &stderr, &level))
	logger.Debug("hidden")
	level.Set(slog.LevelDebug)
	logger.Debug("shown")
	level.Set(slog.LevelError)
	logger.Warn("hidden")
	slog.New(NewHandler(&stdout, &stderr, nil)).Debug("hidden")
	if len(stdout.text) != 1 || len(stderr.text) != 0 {
		t.Errorf("want one line on stdout, got %q and %q", stdout.text, stderr.text)
	}
}

func TestLinesOfManyGoroutines(t *testing.T) {
	var both bytes.Buffer // not safe by itself; the same writer for both streams
	logger := slog.New(NewHandler(&both, &both, nil))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				logger.Info("one", "i", i)
				logger.Warn("two", "i", i)
				logger.Error("three, forewarned", "i", i)
			}
		})
	}
	wg.Wait()
	n := 0
	for line := range bytes.Lines(both.Bytes()) {
		if !json.Valid(line) {
			t.Fatalf("want JSON, got %q", line)
		}
		n++
	}
	if n != 2400 {
		t.Errorf("want 2400 lines, got %d", n)
	}
}

func TestWriteErrorsAreReturned(t *testing.T) {
	full := errors.New("pipe is gone")
	h := NewHandler(broken{full}, broken{full}, nil)
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		record := slog.Record{Level: level, Message: "warn"}
		if err := h.Handle(context.Background(), record); !errors.Is(err, full) {
			t.Errorf("%v: want the writer's error, got %v", level, err)
		}
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestStdLog(t *testing.T) {
	var stdout, stderr lines
	std := StdLog(slog.New(NewHandler(&stdout, &stderr, nil)))
	std.Printf("http: proxy error: %v", "x")
	std.Printf("http: panic serving 127.0.0.1:1: boom\ngoroutine 1 [running]:\nwarn()\n")
	if len(stderr.text) != 2 || hostLevel(stderr.text[0], true) != "Warning" ||
		hostLevel(stderr.text[1], true) != "Error" {
		t.Errorf("want a Warning and an Error, one line each, got %q", stderr.text)
	}

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { panic("boom") }))
	server.Config.ErrorLog = std
	server.Start()
	_, err := http.Get(server.URL)
	server.Close()
	if err == nil {
		t.Error("want a cut connection, got an answer")
	}
	if len(stderr.text) != 3 || !strings.Contains(stderr.text[2], "boom") ||
		hostLevel(stderr.text[2], true) != "Error" {
		t.Errorf("want the panic as one Error, got %q", stderr.text)
	}
}

func TestLogAllocations(t *testing.T) {
	logger := slog.New(NewHandler(io.Discard, io.Discard, nil)).With("function", "f")
	attrs := []slog.Attr{slog.String("invocation_id", "x"), slog.Int("status", 200),
		slog.Int64("duration_us", 1500), slog.String("text", "a warning")}
	const limit = 2 // none but under the race detector, which empties pools at random
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelError, slog.LevelDebug} {
		if n := testing.AllocsPerRun(200, func() {
			logger.LogAttrs(context.Background(), level,
				"invocation", attrs...)
		}); n > limit {
			t.Errorf("%v: want %v allocations, got %v", level, limit, n)
		}
	}
}
