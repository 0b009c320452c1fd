package relay

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func TestForGood(t *testing.T) {
	gateways := func(status int) string {
		return `{ "statusCode": ` + strconv.Itoa(status) + `, "message": "Resource not found" }`
	}
	for status := 100; status < 600; status++ {
		want := map[int]bool{401: true, 403: true, 407: true, 408: true, 409: true, 421: true, 423: true, 425: true,
			429: true}[status] == false && status/100 == 4
		if got := ForGood("POST", status, http.Header{}, []byte(`{"error":"no such order"}`)); got != want {
			t.Errorf("%d of the backend: want %t, got %t", status, want, got)
		}
		if ForGood("POST", status, http.Header{}, []byte(gateways(status))) {
			t.Errorf("%d of the gateway: want false, got true", status)
		}
	}
	long := strings.Repeat("x", ForGoodPrefix)
	for name, c := range map[string]struct {
		method, body string
		header       http.Header
		want         bool
	}{
		"a text":                    {body: "no such order", want: true},
		"nothing":                   {want: true},
		"a problem":                 {body: `{"title":"Unprocessable","status":422,"detail":"no sku"}`, want: true},
		"a framework's":             {body: `{"statusCode":422,"message":"no sku","error":"Unprocessable Entity"}`, want: true},
		"a framework's, reversed":   {body: `{"message":"no sku","statusCode":422}`, want: true},
		"a framework's list":        {body: `{"statusCode":422,"message":["no sku"]}`, want: true},
		"another status":            {body: `{"statusCode":400,"message":"no sku"}`, want: true},
		"broken JSON":               {body: `{"statusCode":422,"mess`, want: true},
		"a long text":               {body: long, want: true},
		"a long framework's":        {body: (`{"statusCode":422,"message":"no sku","error":"` + long)[:ForGoodPrefix], want: true},
		"the gateway's":             {body: `{"statusCode":422,"message":"no sku"}`},
		"the gateway's with a mark": {body: "\ufeff" + `{"statusCode":422,"message":"no sku"}` + "\n"},
		"the gateway's, cut":        {body: (`{"statusCode":422,"message":"` + long)[:ForGoodPrefix]},
		"an encoded body":           {body: "x", header: http.Header{"Content-Encoding": {"gzip"}}},
		"an answer to HEAD":         {method: "HEAD"},
	} {
		if c.method == "" {
			c.method = "POST"
		}
		if got := ForGood(c.method, 422, c.header, []byte(c.body)); got != c.want {
			t.Errorf("%s: want %t, got %t", name, c.want, got)
		}
	}
}
