package doctor

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// house rewrites each 401 as an on-error does, with an id of its own in each. says is the text for what
// the gateway would have said.
func house(says func(own string) string) func(http.Handler) http.Handler {
	var n atomic.Int64
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen := &rewritten{ResponseWriter: w}
			next.ServeHTTP(seen, r)
			if seen.status != http.StatusUnauthorized {
				return
			}
			w.Header().Del("Www-Authenticate")
			w.Header().Del("Content-Length")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":"%s","id":"0HN%d","at":"2026-11-30T10:00:%02dZ"}`, says(seen.text.String()), n.Add(1), n.Load()%60)
		})
	}
}

// rewritten keeps a 401 back.
type rewritten struct {
	http.ResponseWriter
	status int
	text   strings.Builder
}

func (w *rewritten) WriteHeader(status int) {
	w.status = status
	if status != http.StatusUnauthorized {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *rewritten) Write(b []byte) (int, error) {
	if w.status == http.StatusUnauthorized {
		return w.text.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

// A key is vouched for only where its answer says something else than that to a made-up key.
func TestAKeyIsVouchedForByProofAlone(t *testing.T) {
	const wrong = "ffffffffffffffffffffffffffffffff"
	alike := house(func(string) string { return "access_denied" })
	told := house(func(own string) string {
		switch {
		case strings.Contains(own, "missing subscription key"):
			return "key_missing"
		case strings.Contains(own, "invalid subscription key"):
			return "key_unknown"
		}
		return "denied"
	})
	for name, tc := range map[string]struct {
		front        func(http.Handler) http.Handler
		first, other string // "" = right; "none" = not set
		key, call    Status // the worst of the check
		anchors      []string
		saw          string
	}{
		"a wrong key, and all refusals alike":    {alike, wrong, "none", Warning, Finding, []string{"key-unproven"}, "cannot be told"},
		"a right key, and all refusals alike":    {alike, "", "none", Warning, OK, []string{"key-unproven"}, "the same without a key and with a made-up one"},
		"the secondary is right, and all alike":  {alike, wrong, "", Warning, Warning, []string{"key-invalid", "key-unproven"}, "the secondary key is taken"},
		"a wrong key, told from none":            {told, wrong, "none", Finding, NotRun, []string{"key-invalid"}, "what a made-up key gets"},
		"a right key, told from none":            {told, "", "none", OK, OK, nil, "a made-up key: 401"},
		"a wrong key at the gateway as it comes": {nil, wrong, "none", Finding, NotRun, []string{"key-invalid"}, "invalid subscription key"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.front = tc.front
			s.broken = func(s *stage) {
				primary, secondary, err := s.gate.Keys("sandbox")
				must(t, err)
				s.settings["ApimKey"] = primary.Reveal()
				if tc.first != "" {
					s.settings["ApimKey"] = tc.first
				}
				if tc.other == "" {
					s.settings["ApimKeySecondary"] = secondary.Reveal()
				}
			}
			r := s.run()
			if got := anchors(r); !slices.Equal(got, tc.anchors) {
				t.Errorf("want %v, got %v\n%s", tc.anchors, got, table(t, r))
			}
			for id, want := range map[string]Status{"key": tc.key, "call": tc.call} {
				worst := OK
				for _, one := range of(r, id) {
					if slices.Index(severity, one.Status) > slices.Index(severity, worst) {
						worst = one.Status
					}
				}
				if worst != want {
					t.Errorf("%s: want %s, got %s\n%s", id, want, worst, table(t, r))
				}
			}
			if text := table(t, r); !strings.Contains(text, tc.saw) || strings.Contains(text, "the gateway has accepted") {
				t.Errorf("want %q in\n%s", tc.saw, text)
			}
			s.mustHoldNoSecret(r)
		})
	}
}
