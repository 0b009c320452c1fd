package host

import (
	"encoding/json"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

// On the real host (4.1037) a POST whose handler is killed meanwhile is answered after ten tries.
func TestAProxiedBodyIsSentOnceAndTriedTenTimes(t *testing.T) {
	g := newRig(t, hostJSONOf(`,"enableProxyingHttpRequest":true`), json.RawMessage(rulesApp))
	g.write(script{Answered: answer{Default: &answer{Close: true}, Probe: &answer{Status: 200}}})
	g.start(g.config())
	poll.Until(t, "the handler", func() bool { return len(requests(g.events(), true)) > 0 })
	began := time.Now()
	got := ask(g.host.Addr(), askText("POST /api/hello\n\nx"), 10*time.Second)
	if took := time.Since(began); statusCode(got.statusLine) != "500" ||
		took < 1800*time.Millisecond || took > 4*time.Second {
		t.Errorf("want 500 after 1.85 s, got %q after %s", got.statusLine, took)
	}
	if n := len(requests(g.events(), false)); n != 1 {
		t.Errorf("the handler got %d requests, want 1", n)
	}
}
