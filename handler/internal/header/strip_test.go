package header

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// What a function may not set is what ends here as a credential or as the connection's, and what the
// relay writes.
func TestFixedNames(t *testing.T) {
	refused := []string{
		"expect", "idempotency-key", "traceparent", "Tracestate", "ocp-apim-subscription-key", "Ocp-Apim-Trace",
		"X-MS-CLIENT-PRINCIPAL-ID", "X-Ms-Token-Aad-Id-Token",
	}
	permitted := []string{"Api-Version", "User-Agent", "X-Forwarded-Host", "X-Azure-Functions-Anything", "X-Arr-Ssl", "Ocp", "X"}
	for name, kind := range stripped {
		if !Stripped(name, "") {
			t.Errorf("a caller's %s passes", name)
		}
		if kind == platform {
			permitted = append(permitted, name)
		} else {
			refused = append(refused, name)
		}
	}
	for _, name := range refused {
		if Fixed(name) {
			t.Errorf("a function may set %s", name)
		}
	}
	for _, name := range permitted {
		if !Fixed(name) || !Fixed(strings.ToLower(name)) {
			t.Errorf("a function may not set %s", name)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	const s = time.Second
	for text, want := range map[string]time.Duration{
		"0": 0, "2": 2 * s, " 3 ": 3 * s, "86400": 86400 * s, "2147483648": 2147483648 * s, "9223372036": 9223372036 * s,
		"9223372037": TooLong, "18446744073": TooLong, "99999999999999999999": TooLong, "000000000000000000000000001": s,
		"Mon, 30 Nov 2026 12:00:30 GMT": 30 * s, "Mon, 30 Nov 2026 11:00:00 GMT": 0, "Fri, 31 Dec 9999 23:59:59 GMT": TooLong,
		"soon": -1, "-5": -1, "": -1, "1.5": -1, "1e9": -1, "+5": -1,
	} {
		got, ok := RetryAfter(http.Header{"Retry-After": {text}}, now)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: want %v, got %v, %t", text, want, got, ok)
		}
	}
	h := http.Header{"Retry-After": {"Mon, 30 Nov 2026 10:00:05 GMT"}, "Date": {"Mon, 30 Nov 2026 10:00:00 GMT"}}
	if got, _ := RetryAfter(h, now); got != 5*s {
		t.Errorf("against the answer's own Date: got %v", got)
	}
	if _, ok := RetryAfter(nil, now); ok {
		t.Error("read what is not there")
	}
}
