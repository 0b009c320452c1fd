package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"apimrelay/internal/secret"
	"apimrelay/sandbox/gateway"
)

// keyed has two APIs, an open and a closed product, and subscriptions of every scope.
func keyed(t *testing.T) (*gateway.Gateway, string) {
	t.Helper()
	mark := func(text string) string {
		return `<policies><inbound><base /><set-header name="X-Product"><value>` + text + `</value></set-header></inbound></policies>`
	}
	sub := func(name, product, api string, state gateway.State) gateway.Subscription {
		return gateway.Subscription{
			Name: name, Product: product, API: api, State: state, Primary: secret.New(name + "-1"), Secondary: secret.New(name + "-2"),
		}
	}
	g, server := start(t, gateway.Config{
		APIs: []gateway.API{
			{Name: "a", Path: "a"}, {Name: "b", Path: "b"}, {Name: "free", Path: "free", Open: true}, {Name: "shop", Path: "shop"},
			{Name: "renamed", Path: "renamed", KeyHeader: "X-Key", KeyQuery: "key"},
		},
		Products: []gateway.Product{
			{Name: "one", APIs: []string{"a", "renamed"}, Policy: parse(t, mark("one"))},
			{Name: "open", APIs: []string{"shop"}, Open: true, Policy: parse(t, mark("open"))},
		},
		Subscriptions: []gateway.Subscription{
			sub("product", "one", "", ""), sub("api", "", "b", ""), sub("all", "", "", ""), sub("off", "one", "", gateway.Suspended),
		},
	})
	return g, server.URL
}

func TestSubscriptionKeys(t *testing.T) {
	g, url := keyed(t)
	rows := []struct {
		name, path, header, key string
		status                  int
		piece                   string // of the body
	}{
		{"the primary key", "/a", "", "product-1", 200, `"one"`},
		{"the secondary key", "/a", "", "product-2", 200, `"one"`},
		{"a key of a product that does not hold the API", "/b", "", "product-1", 401, "invalid"},
		{"a key of the API", "/b", "", "api-1", 200, ""},
		{"a key of another API", "/a", "", "api-1", 401, "invalid"},
		{"a key of all APIs", "/b", "", "all-2", 200, ""},
		{"a suspended subscription", "/a", "", "off-1", 401, "invalid"},
		{"no key", "/a", "", "", 401, "missing"},
		{"no key where none is required", "/free", "", "", 200, ""},
		{"a wrong key where none is required", "/free", "", "left-over", 401, "invalid"},
		{"a key of another scope where none is required", "/free", "", "product-1", 401, "invalid"},
		{"a good key where none is required", "/free", "", "all-1", 200, ""},
		{"no key in an open product runs in its context", "/shop", "", "", 200, `"open"`},
		{"a wrong key in an open product", "/shop", "", "x", 401, "invalid"},
		{"the query", "/a?x=1&subscription-key=product-1", "", "", 200, ""},
		{"the query in another case", "/a?Subscription-Key=product-1", "", "", 200, ""},
		{"the header wins over the query", "/a?subscription-key=product-1", "", "wrong", 401, "invalid"},
		{"a renamed header", "/renamed", "X-Key", "product-1", 200, ""},
		{"the usual header where it is renamed", "/renamed", "", "product-1", 401, "missing"},
		{"a renamed parameter", "/renamed?key=product-1", "", "", 200, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g.Reset()
			header := http.Header{}
			if row.key != "" {
				name := row.header
				if name == "" {
					name = gateway.DefaultKeyHeader
				}
				header.Set(name, row.key)
			}
			got := send(t, "GET", url+row.path, header)
			if got.status != row.status || !strings.Contains(got.body, row.piece) {
				t.Errorf("want %d with %q, got %d %s", row.status, row.piece, got.status, got.body)
			}
			if row.status == 401 && row.header == "" && strings.HasPrefix(row.path, "/renamed") &&
				!strings.Contains(got.header.Get("WWW-Authenticate"), `name="X-Key"`) {
				t.Errorf("the challenge names the renamed header: got %s", got.header.Get("WWW-Authenticate"))
			}
			if query := last(t, g).Query; strings.Contains(query, "product-1") {
				t.Errorf("the record shows a key: %s", query)
			}
		})
	}
}

func TestAKeyIsPassedOnUnlessThePolicyRemovesIt(t *testing.T) {
	_, url := keyed(t)
	got := send(t, "GET", url+"/a?subscription-key=product-1", http.Header{gateway.DefaultKeyHeader: {"product-2"}})
	if !strings.Contains(got.body, "arrived here (9 bytes)") || !strings.Contains(got.body, "subscription-key=product-1") {
		t.Errorf("want both at the backend, got %s", got.body)
	}
}

func TestRotatedKeysAndSuspension(t *testing.T) {
	g, url := keyed(t)
	call := func(key string) int { return send(t, "GET", url+"/a", credentials(key, "")).status }
	fresh, err := g.RotateKey("product", gateway.Primary)
	if err != nil || call("product-1") != 401 || call(fresh.Reveal()) != 200 || call("product-2") != 200 {
		t.Errorf("after the rotation of the primary: the old one must be dead, the new and the other alive (%v)", err)
	}
	second, err := g.RotateKey("product", gateway.Secondary)
	if err != nil || call("product-2") != 401 || call(second.Reveal()) != 200 {
		t.Errorf("after the rotation of the secondary (%v)", err)
	}
	if err := g.SetState("product", gateway.Suspended); err != nil || call(fresh.Reveal()) != 401 {
		t.Errorf("suspended (%v)", err)
	}
	if err := g.SetState("product", gateway.Active); err != nil || call(fresh.Reveal()) != 200 {
		t.Errorf("active again (%v)", err)
	}
	if p, s, err := g.Keys("product"); err != nil || p.Reveal() != fresh.Reveal() || s.Reveal() != second.Reveal() {
		t.Errorf("Keys: %v", err)
	}
	for name, err := range map[string]error{
		"a subscription that is not there": g.SetState("x", gateway.Active),
		"a state that is none":             g.SetState("product", "asleep"),
		"a key that is none":               func() error { _, err := g.RotateKey("product", "third"); return err }(),
	} {
		if err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	if all := g.Subscriptions(); len(all) != 4 || all[3].State != gateway.Suspended || all[1].API != "b" {
		t.Errorf("Subscriptions: %+v", all)
	}
}
