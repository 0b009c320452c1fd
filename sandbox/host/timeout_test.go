package host

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

// The real host of 4.1037 was seen to do this with a proxied stream, a slow reader and a neighbour;
// for the other ways recordings E-hang-* say so.
func TestTwoSecondsBehindAFunctionsTimeOutTheHandlerIsKilledInEveryWay(t *testing.T) {
	endless := answer{Status: 200, Chunks: make([]any, 0, 200)}
	for range 100 { // 100 s of the host's time, with one piece each second
		endless.Chunks = append(endless.Chunks, "more", 1.0)
	}
	silent := answer{Status: 200, Delay: 60, Body: json.RawMessage(`"late"`)}
	large := answer{Status: 200, Body: json.RawMessage(`"` + strings.Repeat("x", 1<<10) + `"`),
		BodyRepeat: 64 << 10}
	const proxying, forwarding = `,"enableProxyingHttpRequest":true`,
		`,"enableForwardingHttpRequest":true`
	for name, c := range map[string]struct {
		flags  string
		answer answer
		slow   bool // the caller reads nothing
		status string
	}{
		"proxied, a stream without end": {flags: proxying, answer: endless, status: "200 R"},
		"proxied, no answer": {flags: proxying, answer: silent,
			status: "500 Internal Server Error"},
		"proxied, a caller that is slow": {flags: proxying, answer: large, slow: true},
		"forwarded, an endless answer": {flags: forwarding, answer: endless,
			status: "500 Internal Server Error"},
		"wrapped, no answer": {answer: silent, status: "500 Internal Server Error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, hostJSONOf(c.flags), json.RawMessage(rulesApp))
			cfg := g.config()
			cfg.Speed = 4 * replaySpeed
			g.start(cfg)
			poll.Until(t, "the handler", func() bool { return len(requests(g.events(), true)) > 0 })
			g.write(script{Speed: cfg.Speed, Answered: answer{Default: &c.answer,
				Probe: &answer{Status: 200}}})
			got := make(chan *clientGot, 1)
			if c.slow {
				conn, err := net.Dial("tcp", g.host.Addr())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprint(conn, "GET /api/hello HTTP/1.1\r\nHost: localhost:7071\r\n\r\n")
			} else {
				go func() { got <- ask(g.host.Addr(), askText("GET /api/hello"), 15*time.Second) }()
			}
			log := func() string {
				var b strings.Builder
				for _, e := range g.entries() {
					fmt.Fprintln(&b, e.Category, e.Text)
				}
				return b.String()
			}
			poll.Until(t, "the kill",
				func() bool { return strings.Contains(log(), "Restarting worker process executing invocationId") })
			poll.Until(t, "another handler", func() bool {
				pids := map[int]bool{}
				for _, e := range g.events() {
					if e.Ev == "listening" {
						pids[e.Pid] = true
					}
				}
				return len(pids) == 2
			})
			if !strings.Contains(log(), "Timeout value of 00:00:10 exceeded") {
				t.Errorf("the time-out is not logged:\n%s", log())
			}
			if c.slow {
				return
			}
			answered := <-got
			if statusCode(answered.statusLine) != statusCode("HTTP/1.1 "+c.status) {
				t.Errorf("the caller got %q, %v", answered.statusLine, answered.err)
			}
			if c.status == "200 R" && answered.err == nil {
				t.Error("the caller took the part of an answer for the whole")
			}
		})
	}
}
