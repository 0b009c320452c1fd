package doctor

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/settings"
	"apimrelay/sandbox/gateway"
	sandbox "apimrelay/sandbox/identity"
)

const httpFunction = `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","methods":["METHOD"],"route":"ROUTE"},{"type":"http","direction":"out","name":"res"}]}`

func httpJSON(method, route string) string {
	return strings.NewReplacer("METHOD", method, "ROUTE", route).Replace(httpFunction)
}

// of returns the results of a check.
func of(r *Report, id string) []Result {
	var all []Result
	for _, one := range r.Checks {
		if one.ID == id {
			all = append(all, one)
		}
	}
	return all
}

func only(t *testing.T, r *Report, id string) Result {
	t.Helper()
	found := of(r, id)
	if len(found) != 1 {
		t.Fatalf("want one result of %s, got %d\n%s", id, len(found), table(t, r))
	}
	return found[0]
}

func TestAHealthySetUpHasNoFinding(t *testing.T) {
	s := newStage(t)
	r := s.run()
	if got := anchors(r); len(got) > 0 || !r.OK {
		t.Fatalf("want nothing, got %v\n%s", got, table(t, r))
	}
	for _, id := range []string{"settings", "token", "token-role", "operation", "key", "call"} {
		if got := only(t, r, id); got.Status != OK {
			t.Errorf("%s: want ok, got %s: %s", id, got.Status, got.Saw)
		}
	}
	s.mustHoldNoSecret(r)
}

func TestProbesGoFromNothingToAll(t *testing.T) {
	s := newStage(t)
	s.run()
	sent := map[string]int{}
	for _, h := range s.probes(4) {
		sent[h.Method+" key "+h.KeyFrom]++
	}
	// Nothing, a made-up key, the key alone, key and token.
	if diff := cmp.Diff(map[string]int{"GET key ": 1, "GET key header": 3}, sent); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
}

func TestWithoutAnExpectationTheRolesArePrinted(t *testing.T) {
	s := newStage(t)
	s.settings["TargetRole"] = ""
	r := s.run()
	got := only(t, r, "token-role")
	if got.Status != NotRun || !strings.Contains(got.Saw, "Api.Read") || !strings.Contains(got.Saw, "expectation unknown") {
		t.Errorf("want the roles and \"expectation unknown\", got %s: %s", got.Status, got.Saw)
	}
	if r.Exit() != 0 {
		t.Errorf("want exit status 0, got %d\n%s", r.Exit(), table(t, r))
	}
}

func TestEachDistinctCombinationIsWalkedOnce(t *testing.T) {
	s := newStage(t)
	s.files["again/function.json"] = s.files["poll/function.json"]
	s.files["stranger/function.json"] = s.files["poll/function.json"]
	s.settings["stranger__FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.StrangerClientID
	r := s.run()
	if got := of(r, "token"); len(got) != 2 {
		t.Errorf("want two tokens, got %d", len(got))
	}
	roles := of(r, "token-role")
	if len(roles) != 2 || !slices.Equal(roles[0].Functions, []string{"again", "poll"}) || roles[0].Status != OK ||
		!slices.Equal(roles[1].Functions, []string{"stranger"}) || roles[1].Status != Finding {
		t.Errorf("want one role for two functions and a finding for the third, got %+v", roles)
	}
	if n := len(s.probes(5)); n != 5 { // nothing, a made-up key, the key, and two calls
		t.Errorf("want 5 probes, got %d", n)
	}
}

// A method that changes something is sent on demand only, whatever the gateway lets pass.
func TestNoPostIsSentUnasked(t *testing.T) {
	for _, call := range []bool{false, true} {
		s := newStage(t)
		delete(s.files, "poll/function.json")
		s.files["write/function.json"] = httpJSON("post", "write")
		s.settings["TargetRole"] = ""
		s.options.Call = call
		var posts atomic.Int32
		s.front = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet && r.Method != http.MethodHead {
					posts.Add(1)
				}
				next.ServeHTTP(w, r)
			})
		}
		s.api(func(a *gateway.API) {
			a.Operations = []gateway.Operation{{Name: "write", Method: "POST", Template: "/"}}
		})
		r := s.run()
		got := only(t, r, "call")
		switch {
		case !call && (posts.Load() != 0 || got.Status != NotRun || r.Exit() != 0 || only(t, r, "operation").Fix != "handler doctor -call"):
			t.Errorf("without -call: want no POST and \"not run\", got %d and\n%s", posts.Load(), table(t, r))
		case call && (posts.Load() != 4 || got.Status != OK):
			t.Errorf("with -call: want four POSTs and ok, got %d and\n%s", posts.Load(), table(t, r))
		}
	}
}

func TestAnInventedPathIsNoFinding(t *testing.T) {
	set := func(s *stage) {
		delete(s.files, "poll/function.json")
		s.files["read/function.json"] = httpJSON("get", "read/{*rest}")
		s.api(func(a *gateway.API) {
			a.Operations = []gateway.Operation{{Name: "one", Method: "GET", Template: "/items/{id}"}}
		})
	}
	s := newStage(t)
	set(s)
	r := s.run()
	if got := only(t, r, "operation"); got.Status != NotRun || !strings.Contains(got.Fix, "-value rest=") {
		t.Errorf("want a hint at -value, got %s: %s", got.Status, got.Fix)
	}
	s = newStage(t)
	set(s)
	s.options.Values = map[string]string{"rest": "items/17"}
	if r := s.run(); only(t, r, "call").Status != OK {
		t.Errorf("with a value: want ok\n%s", table(t, r))
	}
}

func TestASecondaryKeyThatWorksMakesARefusedOneAWarning(t *testing.T) {
	s := newStage(t)
	s.broken = func(s *stage) {
		_, secondary, err := s.gate.Keys("sandbox")
		must(t, err)
		s.settings["ApimKeySecondary"] = secondary.Reveal()
		_, err = s.gate.RotateKey("sandbox", gateway.Primary)
		must(t, err)
	}
	r := s.run()
	if got := anchors(r); !slices.Equal(got, []string{"key-invalid"}) || r.Exit() != 0 || only(t, r, "call").Status != OK {
		t.Errorf("want a warning and a call that works\n%s", table(t, r))
	}
}

// An echo of what it was sent must not reach any output, however it is wrapped.
func TestWhatAServiceRepeatsIsTakenOut(t *testing.T) {
	s := newStage(t)
	s.front = func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Location", "https://elsewhere/"+r.Header.Get("Ocp-Apim-Subscription-Key"))
			w.WriteHeader(401)
			_, _ = io.WriteString(w, `{ "statusCode": 401, "message": "no: `+r.Header.Get("Authorization")+" "+r.Header.Get("Ocp-Apim-Subscription-Key")+`" }`)
		})
	}
	s.endpoint = func(next http.Handler) http.Handler { return next }
	r := s.run()
	s.mustHoldNoSecret(r)
	if !strings.Contains(table(t, r), "REDACTED") {
		t.Errorf("want the echo to be seen\n%s", table(t, r))
	}

	s = newStage(t)
	s.endpoint = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"message":"no: `+r.Header.Get("X-Identity-Header")+`"}`)
		})
	}
	r = s.run()
	s.mustHoldNoSecret(r)
	if got := only(t, r, "token"); got.Status != Finding {
		t.Errorf("want a finding, got %s", got.Status)
	}
}

func TestItEndsInTimeWhateverHangs(t *testing.T) {
	if defaultTimes.whole >= 15*time.Second {
		t.Errorf("want less than 15 s, got %s", defaultTimes.whole)
	}
	s := newStage(t)
	s.options.times = times{
		whole: 1500 * time.Millisecond, dial: time.Second, token: time.Minute, control: time.Minute, name: time.Minute, connect: time.Minute, probe: time.Minute,
	}
	s.broken = func(s *stage) {
		must(t, s.identity.SetFault(sandbox.Fault{Name: sandbox.Hang, On: sandbox.ToEndpoint}))
		must(t, s.gate.SetFaults(gateway.Faults{Hang: true}))
	}
	s.start()
	s.broken(s)
	o := s.load()
	begin := time.Now()
	r := Run(t.Context(), o)
	took := time.Since(begin)
	s.free()
	if took > 3*time.Second {
		t.Errorf("want an end after 1.5 s, got %s", took)
	}
	if got := anchors(r); !slices.Equal(got, []string{"gateway-silent", "identity-endpoint-hangs"}) {
		t.Errorf("want both, got %v\n%s", got, table(t, r))
	}
}

func TestACheckThatPanicsIsNotRun(t *testing.T) {
	s := newStage(t)
	s.start()
	o := s.load()
	o.Held = func(*settings.Function) string { panic("canary") }
	r := Run(context.Background(), o)
	got := only(t, r, "token")
	if got.Status != NotRun || strings.Contains(got.Saw, "canary") {
		t.Errorf("want \"not run\" without the panic's text, got %s: %s", got.Status, got.Saw)
	}
}

func TestProgressCountsEachCheck(t *testing.T) {
	s := newStage(t)
	s.start()
	o := s.load()
	var mu sync.Mutex
	last, all := 0, 0
	o.Progress = func(_ string, done, of int) { mu.Lock(); last, all = max(last, done), of; mu.Unlock() }
	Run(t.Context(), o)
	mu.Lock()
	defer mu.Unlock()
	if last != all || all != len(checks) {
		t.Errorf("want %d of %d, got %d of %d", len(checks), len(checks), last, all)
	}
}

func TestTheTokenInHandIsTheOneThatIsJudged(t *testing.T) {
	s := newStage(t)
	s.start()
	old, err := s.identity.MintToken(sandbox.Mint{ClientID: sandbox.ReaderClientID, Change: func(c map[string]any) { delete(c, "roles") }})
	must(t, err)
	o := s.load()
	o.Held = func(*settings.Function) string { return old }
	r := Run(t.Context(), o)
	if got := anchors(r); !slices.Equal(got, []string{"role-missing"}) || !strings.Contains(only(t, r, "token").Saw, "in hand") {
		t.Errorf("want role-missing of the token in hand, got %v\n%s", got, table(t, r))
	}
}

func TestOfflineTheGatewayIsLeftAlone(t *testing.T) {
	s := newStage(t)
	s.options.Offline = true
	s.policy, s.values = shipped(t), entraValues(2)
	r := s.run()
	if n := len(s.gate.History()); n != 0 || r.Exit() != 0 {
		t.Errorf("want no request and status 0, got %d and %d\n%s", n, r.Exit(), table(t, r))
	}
	if got := of(r, "policy"); len(got) < 6 {
		t.Errorf("want the policy rule by rule, got %d results", len(got))
	}
}

// Both steps of an application by a federated identity are checks of their own, so that the finding says
// which of them failed. The application and the API are in another tenant than the identity.
func TestAFederatedIdentityIsCheckedInTwoSteps(t *testing.T) {
	const reader = "0b7ec700-0000-4000-8000-0000000000c2"
	for name, tc := range map[string]struct {
		subject, identity, assertion string
		want                         []string
	}{
		"it fits":         {reader, sandbox.ReaderClientID, "subject " + reader + ", audience fb60f99c", nil},
		"another subject": {sandbox.ReaderClientID, sandbox.ReaderClientID, "subject " + reader, []string{"federated-credential"}},
		"not attached":    {reader, sandbox.DetachedClientID, "", []string{"identity-not-attached"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.registration(nil, nil)
			application := &s.tenant.Applications[0]
			application.Tenants = []string{sandbox.OtherTenantID}
			application.Federated = []sandbox.FederatedCredential{{Issuer: "https://login.microsoftonline.com/" + sandbox.TenantID + "/v2.0", Subject: tc.subject}}
			s.metadataOf(sandbox.OtherTenantID, "/v2.0")
			s.settings["TargetTenantID"] = sandbox.OtherTenantID
			s.settings["FunctionIdentity"] = "RunAs=App;AppId=" + sandbox.AppClientID + ";TenantId=" + sandbox.OtherTenantID + ";FederatedIdentity=" + tc.identity
			r := s.run()
			if got := only(t, r, "assertion"); (got.Status == OK) != (tc.assertion != "") || !strings.Contains(got.Saw, tc.assertion) {
				t.Errorf("assertion: want %q, got %s: %s", tc.assertion, got.Status, got.Saw)
			}
			if got := anchors(r); !slices.Equal(got, tc.want) {
				t.Errorf("want %v, got %v\n%s", tc.want, got, table(t, r))
			}
			if got := only(t, r, "call"); (got.Status == OK) != (tc.want == nil) {
				t.Errorf("the call: got %s: %s", got.Status, got.Saw)
			}
			s.mustHoldNoSecret(r)
		})
	}
}
