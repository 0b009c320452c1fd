package observe

import (
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
	good    = "00-" + traceID + "-" + spanID + "-01"
)

func TestParseTraceparent(t *testing.T) {
	for value, want := range map[string]string{ // what is written again; "" for invalid
		good:                                       good,
		"00-" + traceID + "-" + spanID + "-00":     "00-" + traceID + "-" + spanID + "-00",
		"00-" + traceID + "-" + spanID + "-ff":     "00-" + traceID + "-" + spanID + "-03",
		"cc-" + traceID + "-" + spanID + "-01":     good,
		"cc-" + traceID + "-" + spanID + "-01-new": good,
		"cc-" + traceID + "-" + spanID + "-01.new": "",
		"cc-" + traceID + "-" + spanID + "-01n":    "",
		"ff-" + traceID + "-" + spanID + "-01":     "",
		good + "-":                                 "",
		good + "-new":                              "",
		good[:54]:                                  "",
		" " + good:                                 "",
		strings.ToUpper(good):                      "",
		"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01":   "",
		"00-" + traceID + "-0000000000000000-01":                 "",
		"00-" + traceID[1:] + "g-" + spanID + "-01":              "",
		"00-" + traceID + "-" + spanID + "_01":                   "",
		"00_" + traceID + "-" + spanID + "-01":                   "",
		"0g-" + traceID + "-" + spanID + "-01":                   "",
		"00-" + traceID + "-" + spanID + "-0A":                   "",
		"":                                                       "",
		"00-" + traceID + "-" + spanID + "-01, " + good:          "",
		"00-" + traceID + "-" + spanID + "-\u0660\u0661":         "",
		"00-" + traceID[:30] + "\u00e9-" + spanID + "-01":        "",
		"00-" + traceID + spanID + "--" + strings.Repeat("0", 3): "",
	} {
		got, ok := ParseTraceparent(value)
		if ok != (want != "") || ok && got.Traceparent() != want {
			t.Errorf("%q: want %q, got %q (%v)", value, want, got.Traceparent(), ok)
		}
	}
}

func TestParseTracestate(t *testing.T) {
	many := func(n int) string {
		var members []string
		for i := range n {
			members = append(members, "k"+strings.Repeat("x", i)+"=v")
		}
		return strings.Join(members, ",")
	}
	for name, row := range map[string]struct {
		lines []string
		want  string
	}{
		"none":                           {nil, ""},
		"one":                            {[]string{"rojo=00f067aa0ba902b7"}, "rojo=00f067aa0ba902b7"},
		"several lines are one list":     {[]string{"a=1", "b=2,c=3"}, "a=1,b=2,c=3"},
		"blanks and empty members":       {[]string{" a=1 , ,\tb=2,"}, "a=1 , ,\tb=2,"},
		"nothing but blanks":             {[]string{" , "}, ""},
		"a tenant":                       {[]string{"fw529a3039@dt=FfAc;0", "0tenant@sys=1"}, "fw529a3039@dt=FfAc;0,0tenant@sys=1"},
		"all characters of a key":        {[]string{"a_-*/9=1"}, "a_-*/9=1"},
		"all characters of a value":      {[]string{"a=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~ x"}, "a=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~ x"},
		"32 members":                     {[]string{many(32)}, many(32)},
		"33 members":                     {[]string{many(33)}, ""},
		"a capital in a key":             {[]string{"A=1"}, ""},
		"a digit in front of a key":      {[]string{"1a=1"}, ""},
		"a blank in a key":               {[]string{"a b=1"}, ""},
		"a blank behind a key":           {[]string{"a =1"}, ""},
		"no key":                         {[]string{"=1"}, ""},
		"no value":                       {[]string{"a="}, ""},
		"no equals sign":                 {[]string{"a"}, ""},
		"two equals signs":               {[]string{"a=1=2"}, ""},
		"a value outside ASCII":          {[]string{"a=\u00e9"}, ""},
		"a control character":            {[]string{"a=1\x00"}, ""},
		"a key twice":                    {[]string{"a=1,b=2", "a=3"}, ""},
		"a key of 256 characters":        {[]string{strings.Repeat("k", 256) + "=1"}, strings.Repeat("k", 256) + "=1"},
		"a key of 257 characters":        {[]string{strings.Repeat("k", 257) + "=1"}, ""},
		"a value of 256 characters":      {[]string{"a=" + strings.Repeat("v", 256)}, "a=" + strings.Repeat("v", 256)},
		"a value of 257 characters":      {[]string{"a=" + strings.Repeat("v", 257)}, ""},
		"a tenant of 242 characters":     {[]string{strings.Repeat("t", 242) + "@s=1"}, ""},
		"a system of 15 characters":      {[]string{"t@" + strings.Repeat("s", 15) + "=1"}, ""},
		"a system that begins otherwise": {[]string{"t@1s=1"}, ""},
		"two at signs":                   {[]string{"t@s@u=1"}, ""},
	} {
		if got := ParseTracestate(row.lines); got != row.want {
			t.Errorf("%s: want %q, got %q", name, row.want, got)
		}
	}
}

func TestContinue(t *testing.T) {
	in := http.Header{"Traceparent": {good}, "Tracestate": {"a=1", "b=2"}, "Baggage": {"k=v"}}
	trace, ok := Continue(in)
	if !ok || trace.TraceIDString() != traceID || spanIDOf(trace) == spanID || !trace.Valid() || !sampled(trace) {
		t.Fatalf("want a new span of the caller's trace, got %+v", trace)
	}
	out := http.Header{"Traceparent": {"forged"}, "Tracestate": {"forged"}, "Baggage": {"k=v"}}
	trace.Inject(out)
	want := http.Header{"Traceparent": {"00-" + traceID + "-" + spanIDOf(trace) + "-01"}, "Tracestate": {"a=1,b=2"}, "Baggage": {"k=v"}}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	child := trace.Child()
	if child.TraceID != trace.TraceID || child.Parent != trace.SpanID || child.SpanID == trace.SpanID || child.State != trace.State || child.Flags != trace.Flags {
		t.Errorf("want a child of %+v, got %+v", trace, child)
	}
	for name, header := range map[string]http.Header{
		"none": {}, "two": {"Traceparent": {good, good}}, "broken": {"Traceparent": {good[1:]}, "Tracestate": {"a=1"}}, "only a state": {"Tracestate": {"a=1"}},
	} {
		if got, ok := Continue(header); ok || got != (Trace{}) {
			t.Errorf("%s: want no trace, got %+v", name, got)
		}
	}
	broken, ok := Continue(http.Header{"Traceparent": {good}, "Tracestate": {"A=1"}})
	if !ok || broken.State != "" {
		t.Errorf("want the trace without its broken state, got %+v", broken)
	}
	broken.Inject(out)
	if _, left := out["Tracestate"]; left {
		t.Error("want no tracestate of somebody else's, got one")
	}
	Trace{}.Inject(out)
	if len(out["Traceparent"]) != 1 {
		t.Error("want a header untouched by no trace")
	}
}

func TestNewTrace(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		trace := NewTrace()
		value := trace.Traceparent()
		if parsed, ok := ParseTraceparent(value); !ok || parsed.Traceparent() != value || sampled(trace) || trace.Parent != [8]byte{} {
			t.Fatalf("want a valid unsampled root, got %s", value)
		}
		if seen[trace.TraceIDString()] || seen[spanIDOf(trace)] {
			t.Fatal("want ids of their own, got one twice")
		}
		seen[trace.TraceIDString()], seen[spanIDOf(trace)] = true, true
	}
}

var (
	traceparentGrammar = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$`)
	memberGrammar      = regexp.MustCompile(`^([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$`)
)

// FuzzTrace compares with the specification's grammar as regular expressions.
func FuzzTrace(f *testing.F) {
	f.Add(good, "a=1,b@c=2")
	f.Add("cc-"+traceID+"-"+spanID+"-01-x", " a=1 ,, b=2")
	f.Fuzz(func(t *testing.T, parent, state string) {
		want := traceparentGrammar.MatchString(parent) && !strings.HasPrefix(parent, "ff") && (!strings.HasPrefix(parent, "00") || len(parent) == 55) &&
			!strings.Contains(parent[:min(len(parent), 35)], strings.Repeat("0", 32)) && !strings.HasPrefix(parent[36:], strings.Repeat("0", 16))
		got, ok := ParseTraceparent(parent)
		if strings.Contains(parent, "\n") {
			want = ok // . of the expression
		}
		if ok != want {
			t.Fatalf("%q: want %v, got %v", parent, want, ok)
		}
		if ok {
			if again, ok := ParseTraceparent(got.Traceparent()); !ok || again != got {
				t.Fatalf("%q: does not survive being written", parent)
			}
		}
		kept := ParseTracestate([]string{state})
		n, valid, keys := 0, true, map[string]bool{}
		for _, member := range strings.Split(state, ",") {
			member = strings.Trim(member, " \t")
			if member == "" {
				continue
			}
			key, _, _ := strings.Cut(member, "=")
			valid = valid && memberGrammar.MatchString(member) && !keys[key]
			keys[key] = true
			n++
		}
		if (kept != "") != (valid && n > 0 && n <= 32) {
			t.Fatalf("%q: want %v, got %q", state, valid, kept)
		}
	})
}

func BenchmarkTrace(b *testing.B) {
	in, out := http.Header{"Traceparent": {good}, "Tracestate": {"a=1,b=2"}}, http.Header{}
	b.ReportAllocs()
	for b.Loop() {
		trace, _ := Continue(in)
		trace.Inject(out)
	}
}

func sampled(t Trace) bool { return t.Flags&flagSampled != 0 }

func spanIDOf(t Trace) string { return hex.EncodeToString(t.SpanID[:]) }
