package gateway_test

import (
	"crypto/x509"
	"net/http/httptest"
	"testing"
	"time"

	"apimrelay/sandbox/gateway"
)

// call calls with the key and a token.
func call(t *testing.T, server *httptest.Server, token string) int {
	t.Helper()
	return send(t, "GET", server.URL+"/orders/1", credentials(primary, token)).status
}

func TestMetadataIsKeptForAnHour(t *testing.T) {
	i, c := newIssuer(t, false), &clock{}
	_, server := withPolicy(t, i, gateway.Config{Now: c.now})
	for range 3 {
		if got := call(t, server, i.token(t, c.now(), nil)); got != 200 {
			t.Fatalf("want 200, got %d", got)
		}
	}
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("want one fetch for three calls, got %d", n)
	}
	c.forward(time.Hour)
	if got := call(t, server, i.token(t, c.now(), nil)); got != 200 || i.fetches.Load() != 2 {
		t.Errorf("after an hour: want 200 and a second fetch, got %d and %d", got, i.fetches.Load())
	}
	i.setBroken(true)
	c.forward(time.Hour)
	if got := call(t, server, i.token(t, c.now(), nil)); got != 200 {
		t.Errorf("keys in hand serve on while the issuer is down: got %d", got)
	}
}

func TestACallWithoutATokenFetchesNothing(t *testing.T) {
	i := newIssuer(t, false)
	_, server := withPolicy(t, i, gateway.Config{})
	if got := call(t, server, ""); got != 401 || i.fetches.Load() != 0 {
		t.Errorf("want 401 and no fetch, got %d and %d", got, i.fetches.Load())
	}
}

func TestAnUnknownKeyIsLookedUpAtMostEveryFiveMinutes(t *testing.T) {
	i, c := newIssuer(t, false), &clock{}
	g, server := withPolicy(t, i, gateway.Config{Now: c.now})
	call(t, server, i.token(t, c.now(), nil))
	i.roll()
	if got := call(t, server, i.token(t, c.now(), nil)); got != 401 || i.fetches.Load() != 1 {
		t.Errorf("right after a fetch: want 401 and no other fetch, got %d and %d", got, i.fetches.Load())
	}
	if e := last(t, g).Error; e == nil || e.Reason != "TokenSignatureKeyNotFound" {
		t.Errorf("the record names the cause: got %+v", e)
	}
	c.forward(5 * time.Minute)
	if got := call(t, server, i.token(t, c.now(), nil)); got != 200 || i.fetches.Load() != 2 {
		t.Errorf("five minutes later: want 200 and a fetch, got %d and %d", got, i.fetches.Load())
	}
}

func TestAFailedFetchIsTriedAgainAfterFiveMinutes(t *testing.T) {
	i, c := newIssuer(t, false), &clock{}
	i.setBroken(true)
	g, server := withPolicy(t, i, gateway.Config{Now: c.now})
	if got := call(t, server, i.token(t, c.now(), nil)); got != 401 {
		t.Errorf("without keys: want 401, got %d", got)
	}
	if e := last(t, g).Error; e == nil || e.Message != "IDX20803: Unable to obtain configuration from: '"+i.metadata()+"'." {
		t.Errorf("cause: got %+v", e)
	}
	i.setBroken(false)
	if got := call(t, server, i.token(t, c.now(), nil)); got != 401 {
		t.Errorf("at once: want 401, got %d", got)
	}
	c.forward(5 * time.Minute)
	if got := call(t, server, i.token(t, c.now(), nil)); got != 200 {
		t.Errorf("five minutes later: want 200, got %d", got)
	}
}

func TestTheIntervalsCanBeSetAndTheCacheForgotten(t *testing.T) {
	i := newIssuer(t, false)
	g, server := withPolicy(t, i, gateway.Config{MetadataRetry: -1})
	call(t, server, i.token(t, time.Now(), nil))
	i.roll()
	if got := call(t, server, i.token(t, time.Now(), nil)); got != 200 {
		t.Errorf("with no interval an unknown key is looked up at once: got %d", got)
	}
	before := i.fetches.Load()
	g.ForgetMetadata()
	if got := call(t, server, i.token(t, time.Now(), nil)); got != 200 || i.fetches.Load() != before+1 {
		t.Errorf("after ForgetMetadata: want 200 and a fetch, got %d", got)
	}
}

func TestStaleMetadataKeepsOldKeys(t *testing.T) {
	i, c := newIssuer(t, false), &clock{}
	g, server := withPolicy(t, i, gateway.Config{Now: c.now, MetadataRetry: -1})
	call(t, server, i.token(t, c.now(), nil))
	if err := g.SetFaults(gateway.Faults{StaleMetadata: true}); err != nil {
		t.Fatal(err)
	}
	i.roll()
	c.forward(2 * time.Hour)
	if got := call(t, server, i.token(t, c.now(), nil)); got != 401 || i.fetches.Load() != 1 {
		t.Errorf("want 401 and no fetch, got %d and %d", got, i.fetches.Load())
	}
	if err := g.SetFaults(gateway.Faults{}); err != nil {
		t.Fatal(err)
	}
	if got := call(t, server, i.token(t, c.now(), nil)); got != 200 {
		t.Errorf("after the fault: want 200, got %d", got)
	}
}

func TestMetadataOverTLSNeedsItsCertificateTrusted(t *testing.T) {
	i := newIssuer(t, true)
	_, server := withPolicy(t, i, gateway.Config{})
	if got := call(t, server, i.token(t, time.Now(), nil)); got != 401 {
		t.Errorf("an unknown authority: want 401, got %d", got)
	}
	pool := x509.NewCertPool()
	pool.AddCert(i.Certificate())
	_, server = withPolicy(t, i, gateway.Config{RootCAs: pool})
	if got := call(t, server, i.token(t, time.Now(), nil)); got != 200 {
		t.Errorf("a trusted one: want 200, got %d", got)
	}
}
