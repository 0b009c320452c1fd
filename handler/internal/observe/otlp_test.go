package observe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A transport that is slow to let go of a body reads nothing of the message that has its memory by then.
func TestMessageIsNotReadAfterItWasGivenUp(t *testing.T) {
	var late []io.ReadCloser
	u := &uploader{url: "http://h", timeout: time.Minute, client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		again, err := r.GetBody()
		late = append(late, r.Body, again)
		first := make([]byte, 3)
		if _, readErr := io.ReadFull(r.Body, first); err != nil || readErr != nil || string(first) != "old" {
			t.Errorf("want the message's beginning, got %q, %v", first, errors.Join(err, readErr))
		}
		return response(400, ""), nil
	})}}
	message := bytes.Repeat([]byte("old"), 1000)
	if err := u.upload(context.Background(), message); err == nil {
		t.Error("want an error for status 400")
	}
	copy(message, "new")
	for _, body := range late {
		if b, err := io.ReadAll(body); len(b) > 0 || err == nil {
			t.Errorf("want an error and nothing else, got %d bytes, %v", len(b), err)
		}
	}
	if len(late) != 2 {
		t.Errorf("want one request, got %d bodies", len(late))
	}
}

// A collector may answer before it has read a message, as real ones do that are overloaded. What it reads of a message is that message alone.
func TestEarlyAnswers(t *testing.T) {
	var mu sync.Mutex
	var got [][]byte // of each connection
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var conns sync.WaitGroup
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for line := ""; line != "\r\n"; {
					if line, err = r.ReadString('\n'); err != nil {
						return
					}
				}
				_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				b, _ := io.ReadAll(r)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, b)
			})
		}
	}()
	telemetry := start(t, slog.DiscardHandler, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"+l.Addr().String(), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4000", "OTEL_BSP_MAX_QUEUE_SIZE", "4000",
		"OTEL_BSP_SCHEDULE_DELAY", "3600000")
	other := telemetry.Begin(NewTrace(), Invocation{})
	for round := range 8 { // each with the memory of those before
		letter := string(rune('A' + round))
		for range 1500 {
			telemetry.Begin(NewTrace(), Invocation{Path: strings.Repeat(letter, 2000)}).End(200, "")
		}
		if err := telemetry.Flush(context.Background()); err == nil {
			t.Fatal("want an error for status 413")
		}
	}
	other.End(200, "")
	telemetry.spans.upload.client.CloseIdleConnections()
	_ = l.Close()
	conns.Wait()
	mu.Lock()
	defer mu.Unlock()
	read := 0
	for _, message := range got {
		runs := regexp.MustCompile(`A{50,}|B{50,}|C{50,}|D{50,}|E{50,}|F{50,}|G{50,}|H{50,}`).FindAll(message, -1)
		for _, run := range runs {
			if run[0] != runs[0][0] || len(run) > 2000 {
				t.Fatalf("want a part of one message, got %d times %c after %c", len(run), run[0], runs[0][0])
			}
		}
		read += len(runs)
	}
	if read == 0 {
		t.Error("want something of the messages read, got nothing")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
