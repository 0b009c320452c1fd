package upstream

import (
	"bytes"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzRequestAsNetHTTP has any short request written: the bytes are net/http's.
func FuzzRequestAsNetHTTP(f *testing.F) {
	f.Add("GET", "http://gateway.example/a?b=c", "", "X-A", "b", "", "")
	f.Add("POST", "https://gateway.example:444/a%2Fb", "host.example", "User-Agent", "", "a-b", "body")
	f.Add("PUT", "http://[::1]:80", "", "user-agent", " blank ", "Host", "")
	f.Add("PATCH", "http://a/%", "", "Content-Length", "7", "Transfer-Encoding", "chunked")
	f.Add("DELETE", "http://ü.example/ü?ü", "", "Accept", "a\tb", "Accept-Encoding", "x")
	f.Add("OPTIONS", "http://a/ b?c d", "a b", "X", "\xff", "Y", "")
	f.Fuzz(func(t *testing.T, method, target, host, name, value, other, body string) {
		u, err := url.Parse(target)
		if err != nil {
			t.Skip()
		}
		request := func() *http.Request {
			req := &http.Request{Method: method, URL: u, Host: host, Header: http.Header{name: {value, other}, other: {value}}}
			if other == "" {
				req.Header = http.Header{name: {value}, "User-Agent": nil}
			}
			if body != "" {
				req.Body, req.ContentLength = whole{strings.NewReader(body)}, int64(len(body))
			}
			return req
		}
		if !short(request()) {
			t.Skip()
		}
		got, ok, err := appendRequest([]byte("before "), request())
		if !ok || err != nil {
			if err != nil || !bytes.Equal(got, []byte("before ")) {
				t.Errorf("wrote %q, %v", got, err)
			}
			return
		}
		var want bytes.Buffer
		want.WriteString("before ")
		if err := request().Write(inMemory{&want}); err != nil {
			t.Fatalf("wrote what net/http refuses: %v: %q", err, got)
		}
		if d := cmp.Diff(want.String(), string(got)); d != "" {
			t.Errorf("- net/http, + ours:\n%s", d)
		}
	})
}

// inMemory is a bytes.Buffer that net/http does not wrap in another one.
type inMemory struct{ *bytes.Buffer }

func TestABodyOfAnotherLengthIsNotSent(t *testing.T) {
	u, _ := url.Parse("http://gateway.example/")
	for body, want := range map[string]string{"ab": "want 3 bytes, got 2", "abcd": "want 3 bytes, got more"} {
		_, ok, err := appendRequest(nil, &http.Request{Method: "POST", URL: u, ContentLength: 3, Body: whole{strings.NewReader(body)}})
		if !ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %t, %v; want %q", body, ok, err, want)
		}
	}
}

// The relay remembers by a trace what a byte may have been sent of.
func TestATraceIsTold(t *testing.T) {
	u, _ := url.Parse("http://gateway.example/")
	req := (&http.Request{Method: "POST", URL: u}).WithContext(httptrace.WithClientTrace(t.Context(), new(httptrace.ClientTrace)))
	if out, ok, err := appendRequest(nil, req); ok || err != nil || len(out) > 0 {
		t.Errorf("wrote %q past the trace, %v", out, err)
	}
}
