package server

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Whoever got a refusal, or a problem of ours, has the id of its log line. A caller's own mistake is no
// error in the log.
func TestRefusalsAndProblemsNameTheirInvocation(t *testing.T) {
	for _, row := range []struct {
		name, path string
		status     int // the gateway's
		want       int
		marked     bool
		level      string
	}{
		{"an answer", "/api/rest/x", 200, 200, false, "INFO"},
		{"not found", "/api/rest/x", 404, 404, false, "INFO"},
		{"a 401", "/api/rest/x", 401, 401, true, "INFO"},
		{"a 403", "/api/rest/x", 403, 403, true, "INFO"},
		{"a caller's path", "/api/rest/%2e%2e%2fsecret", 200, 400, true, "INFO"},
		{"no route", "/api/nothing", 200, 404, true, "INFO"},
	} {
		r := newRig(t, bothFlags, map[string]string{"rest": restFunction}, nil)
		r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("X-Relay-Invocation", "the gateway's")
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, "x")
		}
		call := r.proxiedCall("GET", row.path, nil)
		call.Header.Set("X-Azure-Functions-InvocationId", "id-7")
		res, _ := r.do(call)
		got := res.Header.Get("X-Relay-Invocation")
		if res.StatusCode != row.want || (got == "id-7") != row.marked {
			t.Errorf("%s: answered %d with %q", row.name, res.StatusCode, got)
		}
		if !strings.Contains(r.log.String(), `"level":"`+row.level+`"`) || strings.Contains(r.log.String(), `"level":"ERROR"`) {
			t.Errorf("%s: logged %s", row.name, r.log.String())
		}
	}
}
