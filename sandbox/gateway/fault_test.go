package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"apimrelay/sandbox/gateway"
)

// try sends one request on a connection of its own and returns its end.
func try(ctx context.Context, url string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, "", err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func set(t *testing.T, g *gateway.Gateway, f gateway.Faults) {
	t.Helper()
	if err := g.SetFaults(f); err != nil {
		t.Fatal(err)
	}
}

func TestFaults(t *testing.T) {
	g, server := open(t, gateway.Config{})
	t.Run("reset before any answer", func(t *testing.T) {
		set(t, g, gateway.Faults{Reset: "before"})
		if _, _, err := try(t.Context(), server.URL); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			t.Errorf("want a reset, got %v", err)
		}
	})
	t.Run("reset in the body", func(t *testing.T) {
		set(t, g, gateway.Faults{Reset: "body"})
		status, body, err := try(t.Context(), server.URL)
		if status != 200 || err == nil || body == "" {
			t.Errorf("want a broken body after status 200, got %d, %d bytes, %v", status, len(body), err)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		set(t, g, gateway.Faults{Garbage: true})
		if _, _, err := try(t.Context(), server.URL); err == nil || !strings.Contains(err.Error(), "malformed HTTP") {
			t.Errorf("want an answer that is no HTTP, got %v", err)
		}
	})
	t.Run("a status with Retry-After, twice", func(t *testing.T) {
		set(t, g, gateway.Faults{Status: 429, RetryAfter: "7", Times: 2})
		for i, want := range []int{429, 429, 200} {
			got := send(t, "GET", server.URL, nil)
			if got.status != want || want == 429 && (got.header.Get("Retry-After") != "7" || got.body != `{ "statusCode": 429, "message": "Too Many Requests" }`) {
				t.Errorf("call %d: want %d, got %d %s", i+1, want, got.status, got.body)
			}
		}
	})
	t.Run("latency", func(t *testing.T) {
		set(t, g, gateway.Faults{LatencyMS: 80})
		start := time.Now()
		if status, _, err := try(t.Context(), server.URL); status != 200 || err != nil || time.Since(start) < 80*time.Millisecond {
			t.Errorf("want 200 after 80 ms, got %d after %s (%v)", status, time.Since(start), err)
		}
	})
	t.Run("a hanging request goes on when the fault ends", func(t *testing.T) {
		set(t, g, gateway.Faults{Hang: true})
		done := make(chan int, 1)
		go func() { status, _, _ := try(context.Background(), server.URL); done <- status }()
		select {
		case status := <-done:
			t.Fatalf("got an answer %d while it should hang", status)
		case <-time.After(50 * time.Millisecond):
		}
		set(t, g, gateway.Faults{})
		if status := <-done; status != 200 {
			t.Errorf("want 200, got %d", status)
		}
		idle(t)
	})
	t.Run("a hanging request ends with its caller", func(t *testing.T) {
		g.Reset()
		set(t, g, gateway.Faults{Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, _, err := try(ctx, server.URL); err == nil {
			t.Error("want no answer")
		}
		if record := last(t, g); record.Fault != "hang" || record.Status != 0 {
			t.Errorf("record: got %+v", record)
		}
	})
	g.Reset()
	if len(g.Faults()) != 0 {
		t.Errorf("Reset ends faults, got %+v", g.Faults())
	}
	for name, f := range map[string]gateway.Faults{
		"two that end a request": {Hang: true, Garbage: true}, "an unknown reset": {Reset: "after"}, "a status that is none": {Status: 99},
		"Retry-After alone": {RetryAfter: "1"}, "negative latency": {LatencyMS: -1},
	} {
		if err := g.SetFaults(f); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestAClockThatIsOffRefusesTokensAndShowsInTheDate(t *testing.T) {
	i := newIssuer(t, false)
	g, server := withPolicy(t, i, gateway.Config{})
	token := i.token(t, time.Now(), nil)
	for seconds, want := range map[int]string{-90: "not-before", 3700: "expires", -30: ""} {
		set(t, g, gateway.Faults{ClockSkewSeconds: seconds})
		got := send(t, "GET", server.URL+"/orders/1", credentials(primary, token))
		refused := ""
		if want != "" {
			if rule := last(t, g).Refused(); rule != nil {
				refused = rule.Check
			}
		}
		if (got.status == 200) != (want == "") || refused != want {
			t.Errorf("%d s: want %q, got %d %q", seconds, want, got.status, refused)
		}
		date, err := http.ParseTime(got.header.Get("Date"))
		if off := time.Until(date).Seconds() - float64(seconds); err != nil || off < -5 || off > 5 {
			t.Errorf("%d s: the Date header is %s", seconds, got.header.Get("Date"))
		}
		g.Reset()
	}
}

func TestHistoryIsBoundedAndHasNoSecret(t *testing.T) {
	var seen []gateway.Record
	g, server := open(t, gateway.Config{HistorySize: 3, OnRecord: func(r gateway.Record) { seen = append(seen, r) }})
	for n := range 5 {
		send(t, "GET", server.URL+"/status/"+strconv.Itoa(400+n)+"?code=hush&a=b&sig=hush", http.Header{"Traceparent": {"00-1-2-01"}, "Idempotency-Key": {"i"}})
	}
	idle(t)
	h := g.History()
	if len(h) != 3 || h[0].Status != 402 || h[0].Traceparent != "00-1-2-01" || h[0].IdempotencyKey != "i" {
		t.Errorf("want the newest three, oldest first, got %+v", h)
	}
	text, err := json.Marshal(h)
	if err != nil || strings.Contains(string(text), "hush") || h[0].Query != "code=REDACTED&a=b&sig=REDACTED" {
		t.Errorf("want no secret, got %s (%v)", text, err)
	}
	g.Reset()
	if len(g.History()) != 0 {
		t.Error("Reset forgets the history")
	}
	server.Close() // waits for the handlers, which write seen
	if len(seen) != 5 {
		t.Errorf("OnRecord saw %d of 5", len(seen))
	}
}
