package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
	sandbox "apimrelay/sandbox/identity"
)

var osEnv = identity.Env{Lookup: os.LookupEnv}

func TestManagedIdentity(t *testing.T) {
	s := tenant(t, sandbox.Config{RefreshIn: time.Hour})
	for _, tc := range []struct{ name, connection, client string }{
		{"system-assigned", "RunAs=App", sandbox.SystemClientID},
		{"user-assigned", "RunAs=App;AppId=" + sandbox.ReaderClientID, sandbox.ReaderClientID},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := fetcher(t, tc.connection, osEnv)
			if facts := fetch(t, f); facts.ClientID != tc.client ||
				facts.TenantID != sandbox.TenantID || facts.Roles[0] != "Api.Read" {
				t.Fatalf("%+v", facts)
			}
			tok, err := f(t.Context())
			if err != nil || time.Until(tok.RefreshOn).Round(time.Minute) != time.Hour {
				t.Fatalf("refresh on %s (%v), want in an hour", tok.RefreshOn, err)
			}
		})
	}
	if n := len(s.History(0)); n != 4 {
		t.Errorf("%d requests for 4 fetches: azidentity's own cache answered", n)
	}
}

func TestTheHeaderIsReadAtEachRequest(t *testing.T) {
	s := tenant(t, sandbox.Config{})
	f := fetcher(t, "RunAs=App", osEnv)
	fetch(t, f)
	t.Setenv("IDENTITY_HEADER", "rotated-away")
	_, err := f(t.Context())
	wantError(t, err, token.Refused, "answered 401", "restart the app", "rotated-away")
	t.Setenv("IDENTITY_HEADER", s.Header())
	fetch(t, f)
}

func TestWithoutAnIdentityEndpointNothingIsAsked(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		text string
		hint string
	}{
		{"neither variable, on a laptop", nil,
			"identity is not enabled or the app was not restarted",
			"RunAs=Developer;DeveloperTool=AzureCli"},
		{"neither variable, in Azure", map[string]string{"WEBSITE_INSTANCE_ID": "x"},
			"identity is not enabled or the app was not restarted",
			"az functionapp identity assign"},
		{"switched off", map[string]string{"WEBSITE_DISABLE_MSI": "true"},
			"WEBSITE_DISABLE_MSI is true", "remove the app setting"},
		{"the endpoint alone", map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1/"},
			"half an identity endpoint: IDENTITY_ENDPOINT is set", "restart"},
		{"the header alone", map[string]string{"IDENTITY_HEADER": "hdr-canary"},
			"half an identity endpoint: IDENTITY_HEADER is set", "restart"},
		{"an endpoint that is no URL", map[string]string{"IDENTITY_ENDPOINT": "127.0.0.1:1",
			"IDENTITY_HEADER": "hdr-canary"}, "IDENTITY_ENDPOINT is no URL", "restart"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, connection := range []string{"RunAs=App", "RunAs=App;AppId=" +
				sandbox.ReaderClientID} {
				begin := time.Now()
				f, err := parsed(t, connection).Fetch("api://orders",
					identity.Env{Lookup: lookup(tc.env)})
				if f != nil {
					t.Fatal("a Fetch all the same")
				}
				wantError(t, err, token.Refused, tc.text, tc.hint, "hdr-canary")
				if d := time.Since(begin); d > time.Second {
					t.Fatalf("refused after %s", d)
				}
			}
		})
	}
}

// Should the process environment ever differ from what main looked up, azidentity chooses the
// metadata service of a virtual machine.
func TestTheMetadataServiceIsNeverAsked(t *testing.T) {
	t.Setenv("IDENTITY_ENDPOINT", "")
	t.Setenv("IDENTITY_HEADER", "")
	f := fetcher(t, "RunAs=App", identity.Env{Lookup: lookup(map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1/", "IDENTITY_HEADER": "x"})})
	begin := time.Now()
	_, err := f(t.Context())
	wantError(t, err, token.Unavailable, "not for the app's identity endpoint", "")
	if d := time.Since(begin); d > time.Second {
		t.Fatalf("failed after %s: something was asked", d)
	}
}

func TestAnswersOfTheIdentityEndpoint(t *testing.T) {
	for _, tc := range []struct {
		name       string
		connection string
		resource   string
		fault      *sandbox.Fault
		kind       token.Kind
		text       string
		hint       string
		retryAfter time.Duration
	}{
		{name: "an identity that is not attached", connection: "RunAs=App;AppId=" +
			sandbox.DetachedClientID, kind: token.Refused,
			text: "answered 400: No User Assigned or Delegated Managed Identity found",
			hint: "AppId must be the client id"},
		{name: "a resource that Entra does not know", resource: "api://nobody",
			kind: token.Unavailable,
			text: "answered 500: An unexpected error occured while fetching the AAD Token. " +
				"(correlation id ", hint: "TargetApp may be misspelt"},
		{name: "403", fault: &sandbox.Fault{Name: sandbox.Status, Status: 403}, kind: token.Refused,
			text: "answered 403", hint: ""},
		{name: "404", fault: &sandbox.Fault{Name: sandbox.Status, Status: 404},
			kind: token.Unavailable, text: "answered 404"},
		{name: "202", fault: &sandbox.Fault{Name: sandbox.Status, Status: 202},
			kind: token.Unavailable, text: "answered 202"},
		{name: "302 is not followed", fault: &sandbox.Fault{Name: sandbox.Status, Status: 302},
			kind: token.Unavailable, text: "answered 302"},
		{name: "500", fault: &sandbox.Fault{Name: sandbox.Status, Status: 500},
			kind: token.Unavailable, text: "answered 500", hint: "TargetApp"},
		{name: "503 with Retry-After", fault: &sandbox.Fault{Name: sandbox.Status, Status: 503,
			RetryAfter: "7"}, kind: token.Unavailable, text: "answered 503",
			retryAfter: 7 * time.Second},
		{name: "429 with Retry-After", fault: &sandbox.Fault{Name: sandbox.Status, Status: 429,
			RetryAfter: "25"}, kind: token.Unavailable, text: "answered 429",
			retryAfter: 25 * time.Second},
		{name: "429 with a Retry-After of an hour", fault: &sandbox.Fault{Name: sandbox.Status,
			Status: 429, RetryAfter: "3600"}, kind: token.Unavailable, text: "answered 429",
			retryAfter: 30 * time.Second},
		{name: "429 with a Retry-After that is none", fault: &sandbox.Fault{Name: sandbox.Status,
			Status: 429, RetryAfter: "soon"}, kind: token.Unavailable, text: "answered 429"},
		{name: "garbage", fault: &sandbox.Fault{Name: sandbox.Garbage}, kind: token.Unavailable,
			text: "answered 200 with an unusable body (application/json, 14 bytes)"},
		{name: "HTML", fault: &sandbox.Fault{Name: sandbox.HTML}, kind: token.Unavailable,
			text: "answered 200 with an unusable body (text/html"},
		{name: "a connection that is reset", fault: &sandbox.Fault{Name: sandbox.Reset},
			kind: token.Unavailable, text: "asking the identity endpoint http://127.0.0.1:"},
		{name: "a connection that is reset in the body",
			fault: &sandbox.Fault{Name: sandbox.ResetInBody}, kind: token.Unavailable,
			text: "asking the identity endpoint"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tenant(t, sandbox.Config{})
			if tc.fault != nil {
				if err := s.SetFault(*tc.fault); err != nil {
					t.Fatal(err)
				}
			}
			if tc.connection == "" {
				tc.connection = "RunAs=App"
			}
			if tc.resource == "" {
				tc.resource = sandbox.APIURI
			}
			f, err := parsed(t, tc.connection).Fetch(tc.resource, osEnv)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			_, err = f(t.Context())
			e := wantError(t, err, tc.kind, tc.text, tc.hint, s.Header())
			if e.RetryAfter != tc.retryAfter {
				t.Errorf("RetryAfter is %s, want %s", e.RetryAfter, tc.retryAfter)
			}
			if n := len(s.History(0)); n != 1 || time.Since(begin) > 5*time.Second {
				t.Errorf("%d requests in %s, want one try", n, time.Since(begin))
			}
			// And the sandbox in good order again serves the same Fetch.
			if s.ClearFault(""); tc.fault != nil {
				fetch(t, f)
			}
		})
	}
}

func TestAnAppWithoutASystemAssignedIdentity(t *testing.T) {
	tenant(t, sandbox.Config{Identities: []sandbox.ManagedIdentity{{ClientID: sandbox.ReaderClientID}}})
	_, err := fetcher(t, "RunAs=App", osEnv)(t.Context())
	wantError(t, err, token.Refused, "answered 400", "no system-assigned identity")
}

func TestAnEndpointThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("IDENTITY_ENDPOINT", "http://"+address+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "hdr-canary")
	_, err = fetcher(t, "RunAs=App", osEnv)(t.Context())
	wantError(t, err, token.Unavailable, "connection refused", "not up yet", "hdr-canary")
}

func TestAHangingEndpointEndsWithTheContext(t *testing.T) {
	s := tenant(t, sandbox.Config{})
	if err := s.SetFault(sandbox.Fault{Name: sandbox.Hang}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond,
		fmt.Errorf("no answer within 50ms: %w", context.DeadlineExceeded))
	defer cancel()
	_, err := fetcher(t, "RunAs=App", osEnv)(ctx)
	wantError(t, err, token.Unavailable, "did not answer in time: no answer within 50ms", "")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v is no deadline", err)
	}
}

func TestWhatAnEndpointSaysIsBoundedAndWithoutSecrets(t *testing.T) {
	env := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"code":"Bad","message":"%s got %s\r\nand eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.sig %s"}}`, strings.Repeat("long ", 10), r.Header.Get("X-IDENTITY-HEADER"), strings.Repeat("é", 5000))
	})
	_, err := fetcher(t, "RunAs=App", env)(t.Context())
	wantError(t, err, token.Refused, "Bad long long", "", "hdr-canary", "sig")
}

func TestAnAnswerWithoutATokenReachesTheSourceAsOne(t *testing.T) {
	env := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"expires_on":"%d"}`, time.Now().Add(time.Hour).Unix())
	})
	// azidentity takes it for a success; the source's checks do not.
	tok, err := fetcher(t, "RunAs=App", env)(t.Context())
	if err != nil || tok.Value != "" {
		t.Fatalf("%+v, %v", tok, err)
	}
}

// azidentity takes 202 for a success as well.
func TestATokenWith202IsNone(t *testing.T) {
	env := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"access_token":"opaque-canary","expires_on":"%d"}`,
			time.Now().Add(time.Hour).Unix())
	})
	_, err := fetcher(t, "RunAs=App", env)(t.Context())
	wantError(t, err, token.Unavailable, "answered 202: JSON without a message", "", "canary")
}

func TestATokenWithoutAnEnd(t *testing.T) {
	env := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"access_token":"eyJhbGciOiJub25lIn0.e30.x"}`)
	})
	_, err := fetcher(t, "RunAs=App", env)(t.Context())
	wantError(t, err, token.Unavailable, "expires_on", "")
}

func TestAnEndlessAnswerIsCutOff(t *testing.T) {
	env := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		for line := make([]byte, 1<<16); ; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	_, err := fetcher(t, "RunAs=App", env)(t.Context())
	wantError(t, err, token.Unavailable, "answered 200 with an unusable body", "")
}

func TestARedirectTakesTheHeaderNowhere(t *testing.T) {
	var led atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	defer elsewhere.Close()
	env := answering(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	_, err := fetcher(t, "RunAs=App", env)(t.Context())
	if wantError(t, err, token.Unavailable, "answered 307", ""); led.Load() != 0 {
		t.Fatal("the redirect was followed")
	}
}

// The whole chain: azidentity's cache holds a token for 24 hours, the platform's another one; a
// forced renewal gets past the first.
func TestAForcedRenewalGetsPastAzidentitysCache(t *testing.T) {
	s := tenant(t, sandbox.Config{})
	sources := identity.Sources{Env: osEnv}
	source := sources.Source(parsed(t, "RunAs=App"), sandbox.APIURI, sandbox.TenantID)
	first, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Forget() // the platform's cache
	second, err := source.Renew(t.Context(), first)
	if err != nil || second == first {
		t.Fatalf("renewed: %v, same %v", err, second == first)
	}
	if n := len(s.History(0)); n != 2 {
		t.Fatalf("%d requests", n)
	}
}

func TestTheTenantIsChecked(t *testing.T) {
	tenant(t, sandbox.Config{})
	sources := identity.Sources{Env: osEnv}
	_, err := sources.Source(parsed(t, "RunAs=App"), sandbox.APIURI,
		sandbox.OtherTenantID).Token(t.Context())
	wantError(t, err, token.Refused, "comes from tenant", "TargetTenantID names another tenant")
}

func TestFunctionsShareASourceOnlyWhenEverythingIsTheSame(t *testing.T) {
	s := tenant(t, sandbox.Config{})
	sources := identity.Sources{Env: osEnv}
	app, reader := parsed(t, "RunAs=App"), parsed(t, "RunAs=App;AppId="+sandbox.ReaderClientID)
	one := sources.Source(app, sandbox.APIURI, sandbox.TenantID)
	for _, same := range []*token.Source{
		sources.Source(parsed(t, " runas='APP';"), sandbox.APIURI+"/.default",
			strings.ToUpper(sandbox.TenantID)),
		sources.Source(app, sandbox.APIURI, sandbox.TenantID),
	} {
		if same != one {
			t.Error("the same identity, resource and tenant, and another source")
		}
	}
	others := map[*token.Source]string{one: "the first"}
	for name, other := range map[string]*token.Source{
		"identity":              sources.Source(reader, sandbox.APIURI, sandbox.TenantID),
		"resource":              sources.Source(app, sandbox.APIClientID, sandbox.TenantID),
		"slash of the resource": sources.Source(app, sandbox.APIURI+"/", sandbox.TenantID),
		"tenant":                sources.Source(app, sandbox.APIURI, sandbox.OtherTenantID),
		"no tenant":             sources.Source(app, sandbox.APIURI, ""),
		"identity and its secret": sources.Source(parsed(t,
			"RunAs=App;AppId="+sandbox.ReaderClientID+";TenantId=x.y;AppKey=s"), sandbox.APIURI,
			sandbox.TenantID),
	} {
		if twin, shared := others[other]; shared {
			t.Errorf("another %s, and the source of %s", name, twin)
		}
		others[other] = name
	}
	if n := len(sources.All()); n != len(others) {
		t.Errorf("%d sources in all, want %d", n, len(others))
	}
	a, errA := one.Token(t.Context())
	b, errB := sources.Source(reader, sandbox.APIURI, sandbox.TenantID).Token(t.Context())
	if errA != nil || errB != nil || a == b {
		t.Errorf("two identities: %v, %v, same token %v", errA, errB, a == b)
	}
	if n := len(s.History(0)); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestAnIdentityThatCannotWorkHasASourceThatSaysSo(t *testing.T) {
	var sources identity.Sources
	source := sources.Source(parsed(t, "RunAs=App"), "api://orders", "")
	_, err := source.Token(t.Context())
	wantError(t, err, token.Refused, "getting a token for api://orders: the app has no identity "+
		"endpoint", "RunAs=Developer")
	if st := source.State(); !st.Failing || !errors.Is(st.LastError, token.ErrRefused) {
		t.Fatalf("%+v", st)
	}
}

func TestWhatIsNoConnectionOrNoResourceIsRefused(t *testing.T) {
	_, err := (identity.Connection{}).Fetch("api://orders", osEnv)
	wantError(t, err, token.Refused, "not parsed", "")
	_, err = parsed(t, "RunAs=App").Fetch(" ", osEnv)
	wantError(t, err, token.Refused, "resource is empty", "")
}

// An endpoint that hangs once costs the time of one try, not of all: the next one brings the token.
func TestAHungTryLeavesTimeForAnother(t *testing.T) {
	t.Cleanup(identity.SetTryTime(100 * time.Millisecond))
	s := tenant(t, sandbox.Config{})
	if err := s.SetFault(sandbox.Fault{Name: sandbox.Hang, Times: 1}); err != nil {
		t.Fatal(err)
	}
	sources := identity.Sources{Env: osEnv}
	begin := time.Now()
	if _, err := sources.Source(parsed(t, "RunAs=App"), sandbox.APIURI, "").Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("want a token soon after the hung try, got it after %s", took)
	}
}
