package observe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sinkVariable asks a test process to be the sink of the benchmark's exports.
const sinkVariable = "TELEMETRY_TEST_SINK"

// TestSink is no test: the benchmark runs it in a process of its own, so that what a collector does is not counted as ours. It reads raw
// HTTP, answers 200 and ends with its standard input.
func TestSink(t *testing.T) {
	if os.Getenv(sinkVariable) == "" {
		t.Skip("a part of BenchmarkExportedCall")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("http://%s\n", l.Addr())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go sink(c)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func sink(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		var length int
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
			if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

func startSink(b *testing.B) string {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), self, "-test.run=^TestSink$")
	cmd.Env = append(os.Environ(), sinkVariable+"=1")
	stdin, _ := cmd.StdinPipe()
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// BenchmarkExportedCall is all that telemetry does for one call: two spans, their two durations, the header that goes on, and the export of
// what came together, collection of garbage included. cpu-ns/op is the processor's time, which counts where others use the machine.
func BenchmarkExportedCall(b *testing.B) {
	url := startSink(b)
	for _, row := range []struct {
		name    string
		environ []string
	}{
		{"everything", nil},
		{"traces alone", []string{"OTEL_METRICS_EXPORTER", "none"}},
		{"metrics alone", []string{"OTEL_TRACES_EXPORTER", "none"}},
		{"not sampled", []string{"OTEL_TRACES_SAMPLER", "always_off"}},
	} {
		b.Run(row.name, func(b *testing.B) {
			environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url}
			for i := 0; i < len(row.environ); i += 2 {
				environ[row.environ[i]] = row.environ[i+1]
			}
			for name, value := range environ {
				b.Setenv(name, value)
			}
			on, err := Start(func(n string) (string, bool) { v, ok := environ[n]; return v, ok }, one, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			other := on.Begin(NewTrace(), Invocation{Function: "g"}) // in flight throughout: what is exported is full batches
			incoming := NewTrace()
			header := http.Header{}
			b.ReportAllocs()
			before := processor()
			for n := 0; b.Loop(); n++ {
				if n%256 == 255 && on.spans != nil { // a call takes a hundredth of what one over a network takes: the queue would be full
					if err := on.spans.send(b.Context(), false); err != nil {
						b.Fatal(err)
					}
				}
				tr := incoming.Child()
				tr.Flags |= flagSampled
				span := on.Begin(tr, Invocation{ID: "6a465e51-2395-4392-9acd-360e8b8fca7c", Function: "relay", Trigger: "httpTrigger", Way: "forwarded",
					Method: "GET", Route: "relay/{*path}", Path: "/api/relay/1k"})
				attempt := span.Attempt(Attempt{Method: "GET", Scheme: "http", Host: "127.0.0.1:12345", Path: "/orders/1k"})
				attempt.Inject(header)
				attempt.End(200, "")
				span.End(200, "")
			}
			b.ReportMetric(float64((processor()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			other.End(200, "")
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if on.spans != nil && on.spans.dropped > 0 {
				b.Errorf("want every span exported, got %d lost of %d calls", on.spans.dropped, b.N)
			}
			if err := on.Stop(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// processor is the processor's time that this process has used.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
