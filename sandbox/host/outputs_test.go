package host

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apimrelay/internal/hostfile"
)

// What each value became on the real host (4.1037, queue extension 4.0.2, Azurite), by the
// binding's dataType.
func TestOutputsBecomeWhatTheRealHostMakesOfThem(t *testing.T) {
	ff := base64.StdEncoding.EncodeToString([]byte{0xff, 0, 0xfe})
	array := base64.StdEncoding.EncodeToString([]byte(`["a","b"]`))
	same := func(texts ...string) [2][]string { return [2][]string{texts, texts} }
	for _, c := range []struct {
		name, value string
		queue, blob [2][]string // without dataType, and binary; nil is an error
	}{
		{"base64 of bytes", `"` + ff + `"`, [2][]string{{"\xff\x00\xfe"}, {ff}},
			[2][]string{{"\xff\x00\xfe"}, {ff}}},
		{"no base64", `"hello, world"`, same("hello, world"), same("hello, world")},
		{"a word that is base64", `"test"`, [2][]string{{"\xb5\xeb\x2d"}, {"test"}},
			[2][]string{{"\xb5\xeb\x2d"}, {"test"}}},
		{"an object", `{"a":[1]}`, same("{\n  \"a\": [\n    1\n  ]\n}"), same(`{"a":[1]}`)},
		{"an array of texts", `["test","b"]`, same("test", "b"), same(`["test","b"]`)},
		{"a text with an object", `"{\"a\" : 1}"`, same("{\n  \"a\": 1\n}"), same(`{"a":1}`)},
		{"a text with an array", `"[\"a\", \"b\"]"`, same("a", "b"), same(`["a","b"]`)},
		{"base64 of an array", `"` + array + `"`, [2][]string{{`["a","b"]`}, {array}},
			[2][]string{{`["a","b"]`}, {array}}},
		{"a number", `12.5`, same("12.5"), same("\x00\x00\x00\x00\x00\x00\x29\x40")},
		{"true", `true`, same("True"), same("\x01")},
		{"a date", `"2026-01-02T03:04:05"`, same("01/02/2026 03:04:05"), [2][]string{}},
		{"an empty text", `""`, [2][]string{{}, {}}, same("")},
	} {
		v, err := hostfile.Parse(c.value, hostfile.Options{Dates: true})
		if err != nil {
			t.Fatal(err)
		}
		for kind, want := range map[string][2][]string{"queue": c.queue, "blob": c.blob} {
			for i, dataType := range []string{"", "binary"} {
				b := &binding{kind: kind, raw: mustJSON(t, `{"dataType":"`+dataType+`"}`)}
				bodies, err := outputBodies(b, v)
				if (err != nil) != (want[i] == nil) {
					t.Errorf("%s, %s %s: %v", c.name, kind, dataType, err)
					continue
				}
				got := []string{}
				for _, body := range bodies {
					got = append(got, string(body))
				}
				if err == nil && !cmp.Equal(want[i], got) {
					t.Errorf("%s, %s %s: want %q, got %q", c.name, kind, dataType, want[i], got)
				}
			}
		}
	}
}

func TestAMessageAboveTheQueuesLimitFailsItsInvocation(t *testing.T) {
	const app = `{"queue":{"bindings":[{"type":"queueTrigger","direction":"in","name":"m","queueName":"q","connection":"c"},
		{"type":"queue","direction":"out","name":"o","queueName":"out","connection":"c"}]}}`
	for _, c := range []struct {
		encoding string
		bytes    int
		runs     int // of the message that brings it
	}{{"base64", 48 << 10, 1}, {"base64", 48<<10 + 1, 3}, {"none", 64 << 10, 1},
		{"none", 64<<10 + 1, 3}} {
		r := newRig(t,
			json.RawMessage(
				`{"version":"2.0","extensions":{"queues":{"maxDequeueCount":3,"messageEncoding":"`+c.encoding+
					`"}},"customHandler":{"description":{"defaultExecutablePath":"handler"}}}`),
			json.RawMessage(app))
		r.write(script{Answered: wrappedAnswer(`{"Outputs":{"o":"` + strings.Repeat("!", c.bytes) +
			`"}}`)})
		r.start(r.config())
		fired, err := r.host.Fire("queue", Event{Input: ptr("x")})
		if err != nil {
			t.Fatal(err)
		}
		<-fired.Done()
		h, out := r.host.History(), r.host.Outputs()
		if len(h) != c.runs || (fired.Err() == nil) != (c.runs == 1) {
			t.Errorf("%s, %d bytes: want %d runs, got %d, %v", c.encoding, c.bytes, c.runs, len(h),
				fired.Err())
		}
		if c.runs > 1 && (!strings.Contains(h[0].Error, "RequestBodyTooLarge") || len(out) != 1 ||
			out[0].Target != "q-poison") {
			t.Errorf("%s, %d bytes: %s, outputs %d", c.encoding, c.bytes, h[0].Error, len(out))
		}
	}
}
