package invocation

import (
	"slices"
	"testing"

	"apimrelay/internal/recording"
)

// exchange is one recorded exchange of the Functions host 4.1037, as far as these tests read it.
type exchange struct {
	Name         string
	FunctionJSON map[string]struct {
		Bindings []struct{ Type, Direction, Name string }
	}
	Client    *message
	Received  recording.List[message]
	Answered  message
	ClientGot *message
}

type message struct {
	RequestLine string
	Status      int
	Headers     [][2]string
	Body        any // a text; or a description of a long one
	BodyBase64  any
	Chunks      []any
}

func (m message) header(name string) string {
	for _, h := range m.Headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

func load(t testing.TB, name string) exchange {
	t.Helper()
	return recording.Load[exchange](t, name)[0]
}

// others are recordings of wrapped calls that say nothing of this package: calls that never reach the
// handler, bodies that are recorded by their ends alone, answers that the handler never gives, and what
// only the host's own code decides.
var others = []string{
	"A-absolute-form", "A-admin-functions", "A-admin-ping", "A-admin-status-nokey",
	"A-headers-latin1", "A-http10", "A-key-admin-with-function-key", "A-long-query",
	"A-outside-prefix", "A-post-1mb", "A-post-1mb-binary", "A-req-over-limit", "A-root",
	"A-route-encoded-dots", "A-route-id-not-int", "A-unknown-route", "A-wrong-method",
	"A-wrong-method-head", "A-wrong-method-options", "B-bad-http", "B-base64-israw",
	"B-big-numbers", "B-buffer-object", "B-charset-latin1", "B-closed-mid-chunked", "B-comments",
	"B-enable-negotiation", "B-handler-302", "B-handler-302-followed", "B-handler-307",
	"B-handler-307-followed", "B-handler-500-empty", "B-handler-chunked", "B-handler-gzip",
	"B-handler-http10", "B-invalid-utf8", "B-large-string", "B-logs-wrong",
	"B-noout-with-return-object", "B-object", "B-object-accept-html", "B-object-accept-xml",
	"B-object-json-type", "B-object-text-type", "B-return-plain-object", "B-return-string",
	"B-status-100", "C-admin-no-body", "C-admin-no-key", "C-http-forwarding-admin",
	"F-queue-binary",
}

// loadAll returns the recordings that match a pattern, by name, less the others.
func loadAll(t testing.TB, pattern string) map[string]exchange {
	t.Helper()
	all := map[string]exchange{}
	for _, r := range recording.Load[exchange](t, pattern) {
		if !slices.Contains(others, r.Name) {
			all[r.Name] = r
		}
	}
	return all
}

// envelopes returns the bodies that the host sent to wrapped calls, in order.
func (r exchange) envelopes() []string {
	var list []string
	for _, m := range r.Received {
		if body, ok := m.Body.(string); ok && body != "" {
			list = append(list, body)
		}
	}
	return list
}
