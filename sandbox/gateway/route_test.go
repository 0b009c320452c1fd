package gateway_test

import (
	"encoding/json"
	"strings"
	"testing"

	"apimrelay/internal/secret"
	"apimrelay/sandbox/gateway"
)

func TestRoutes(t *testing.T) {
	op := func(method, template string) gateway.Operation {
		return gateway.Operation{Name: method + " " + template, Method: method, Template: template}
	}
	g, server := start(t, gateway.Config{
		APIs: []gateway.API{
			{Name: "orders", Path: "/shop/orders/", Open: true, Operations: []gateway.Operation{
				op("GET", "/"), op("GET", "/{id}"), op("GET", "/new"), op("GET", "/{id}/lines/{line}"), op("POST", "/*"), op("*", "/any/*"), op("GET", "/any/x"),
			}},
			{Name: "shop", Path: "shop", Open: true},
		},
	})
	rows := []struct{ name, method, path, api, operation, backend string }{
		{"the root of an API", "GET", "/shop/orders", "orders", "GET /", "/"},
		{"with a slash", "GET", "/shop/orders/", "orders", "GET /", "/"},
		{"a parameter", "GET", "/shop/orders/17", "orders", "GET /{id}", "/17"},
		{"a literal before a parameter", "GET", "/shop/orders/new", "orders", "GET /new", "/new"},
		{"case is ignored and kept", "GET", "/SHOP/Orders/NEW", "orders", "GET /new", "/NEW"},
		{"two parameters", "GET", "/shop/orders/1/lines/2", "orders", "GET /{id}/lines/{line}", "/1/lines/2"},
		{"an escaped slash stays in its segment", "GET", "/shop/orders/a%2Fb", "orders", "GET /{id}", "/a%2Fb"},
		{"a trailing slash stays", "GET", "/shop/orders/1/", "orders", "GET /{id}", "/1/"},
		{"a wildcard", "POST", "/shop/orders/a/b//c", "orders", "POST /*", "/a/b//c"},
		{"a wildcard takes nothing too", "POST", "/shop/orders", "orders", "POST /*", "/"},
		{"a literal before a wildcard", "GET", "/shop/orders/any/x", "orders", "GET /any/x", "/any/x"},
		{"any method", "PURGE", "/shop/orders/any/y", "orders", "* /any/*", "/any/y"},
		{"the shorter API", "GET", "/shop/other", "shop", "any", "/other"},
		{"a longer name is no prefix", "GET", "/shop/ordersx", "shop", "any", "/ordersx"},
		{"an operation that is not there", "GET", "/shop/orders/1/2", "orders", "", ""},
		{"a wrong method", "PUT", "/shop/orders/1", "orders", "", ""},
		{"HEAD is no GET", "HEAD", "/shop/orders/1", "orders", "", ""},
		{"no API", "GET", "/elsewhere", "", "", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g.Reset()
			got := send(t, row.method, server.URL+row.path, nil)
			record := last(t, g)
			if record.API != row.api || record.Operation != row.operation {
				t.Errorf("want API %q operation %q, got %q %q", row.api, row.operation, record.API, record.Operation)
			}
			if row.operation == "" {
				if got.status != 404 {
					t.Errorf("want 404, got %d", got.status)
				}
				return
			}
			var echo gateway.Echo
			if err := json.Unmarshal([]byte(got.body), &echo); err != nil || echo.Path != row.backend {
				t.Errorf("want the backend to see %s, got %s (%v)", row.backend, echo.Path, err)
			}
		})
	}
}

func TestNewReportsEveryFault(t *testing.T) {
	broken := parse(t, `<policies><inbound><set-header name="a"><value>{{nowhere}}</value></set-header></inbound></policies>`)
	key := secret.New("same")
	_, err := gateway.New(gateway.Config{
		Backend: "localhost:80",
		APIs: []gateway.API{
			{Name: "a", Path: "x", Policy: broken}, {Name: "a", Path: "X/", ServiceURL: "http://u:p@h/?q"},
			{Name: "c", Path: "c", Operations: []gateway.Operation{{Method: "GET", Template: "x"}, {Method: "GET", Template: "/a*b"}, {Method: "GET", Template: "/*/a"}}},
		},
		Products: []gateway.Product{{Name: "p", APIs: []string{"z"}}, {Name: "p"}},
		Subscriptions: []gateway.Subscription{
			{Name: "s", Product: "q", Primary: key}, {Name: "s", API: "y", Primary: key}, {Name: "t", Product: "p", API: "a", Primary: secret.New("tail ")},
		},
	})
	if err == nil {
		t.Fatal("want errors")
	}
	for _, want := range []string{
		`test.xml:1: named value "nowhere" is not defined`, `backend "localhost:80": want http://`, `want no user, query or fragment`, `two APIs are named "a"`,
		`have the same path "x"`, `want a method and a template like`, `segment "a*b"`, `segment "*"`, `product "p": no API is named "z"`, `two products are named "p"`,
		`no product is named "q"`, `no API is named "y"`, `want a product or an API, got both`, `want a name of its own`, `want keys that differ`, `has blanks at its ends`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %s", want)
		}
	}
	if strings.Contains(err.Error(), "same\n") || strings.Contains(err.Error(), "u:p@") || strings.Count(err.Error(), "nowhere") != 1 {
		t.Errorf("want no secret and each fault once, got:\n%v", err)
	}
}
