package invocation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var (
	res      = []Output{{Type: "http", Name: "res"}}
	returned = []Output{{Type: "HTTP", Name: "$return"}}
)

func TestHTTPAnswersArrive(t *testing.T) {
	long := strings.Repeat("0123456789\"\\\n\u2028é😀", 20_000)
	for name, row := range map[string]struct {
		status  int
		header  http.Header
		body    string
		want    http.Header // nil: header
		dropped []string
	}{
		"a text":                          {200, http.Header{"Content-Type": {"text/plain"}}, "ok", nil, nil},
		"JSON":                            {201, http.Header{"Content-Type": {"application/json"}, "Etag": {`"e"`}}, `{"n":1.10,"d":"2026-01-02T03:04:05Z"}`, nil, nil},
		"a problem":                       {502, http.Header{"Content-Type": {"application/problem+json"}}, `{"code":"x"}`, nil, nil},
		"all kinds of characters":         {200, http.Header{"Content-Type": {"text/html"}}, "é 漢字 😀 \u2028\u2029\x00\x1b\x7f\"\\/\b\f\n\r\t\uFFFD\uFEFF", nil, nil},
		"a body longer than the buffer":   {200, http.Header{"Content-Type": {"text/plain"}}, long, nil, nil},
		"a long body without escapes":     {200, http.Header{"Content-Type": {"text/plain"}}, strings.Repeat("x", 1<<20), nil, nil},
		"a text that is base64":           {200, http.Header{"Content-Type": {"text/plain"}}, "aGVsbG8=", nil, nil},
		"no body and no type":             {404, http.Header{}, "", http.Header{"Content-Type": {"text/plain"}}, nil},
		"a redirect":                      {302, http.Header{"Content-Type": {"text/plain"}, "Location": {"https://h/x?a=%20"}}, "", nil, nil},
		"a location that is no ASCII":     {302, http.Header{"Content-Type": {"text/plain"}, "Location": {"https://h/é b"}}, "", http.Header{"Content-Type": {"text/plain"}}, []string{"Location"}},
		"204 loses its body":              {204, http.Header{"Content-Type": {"text/plain"}, "X-A": {"1"}}, "\xff", nil, nil},
		"304":                             {304, http.Header{"Content-Type": {"text/plain"}, "Etag": {`"e"`}}, "", nil, nil},
		"205":                             {205, http.Header{"Content-Type": {"text/plain"}}, "x", nil, nil},
		"one cookie":                      {200, http.Header{"Content-Type": {"text/plain"}, "Set-Cookie": {"a=1; Path=/, b=2"}}, "x", nil, nil},
		"several values of one name":      {200, http.Header{"Content-Type": {"text/plain"}, "Vary": {"A", "B"}}, "x", http.Header{"Content-Type": {"text/plain"}, "Vary": {"A, B"}}, nil},
		"dates in a header":               {200, http.Header{"Content-Type": {"text/plain"}, "X-A": {"2026-01-02T03:04:05.000Z"}, "Date": {"Wed, 21 Oct 2026 07:28:00 GMT"}}, "x", nil, nil},
		"ASCII labelled as Latin-1":       {200, http.Header{"Content-Type": {"text/plain; charset=ISO-8859-1"}}, "x", http.Header{"Content-Type": {"text/plain"}}, nil},
		"identity is no coding":           {200, http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"identity"}}, "x", nil, nil},
		"a coding without a body (HEAD)":  {200, http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}, "Content-Length": {"99"}}, "", http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}}, nil},
		"what belongs to the connection":  {200, http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"1"}, "Transfer-Encoding": {"chunked"}, "Connection": {"x-hop, close"}, "X-Hop": {"1"}, "Keep-Alive": {"1"}, "Trailer": {"T"}, "Upgrade": {"u"}, "Te": {"t"}, "Proxy-Authenticate": {"p"}}, "x", http.Header{"Content-Type": {"text/plain"}}, nil},
		"values that the host would fail": {200, http.Header{"Content-Type": {"text/plain"}, "X-Empty": {""}, "X-Nil": nil, "X-Utf8": {"é"}, "X-Line": {"a\r\nb"}, "X-Del": {"\x7f"}, "X Name": {"a"}, "X-Tab": {"a\tb"}, "X-Good": {"1"}}, "x", http.Header{"Content-Type": {"text/plain"}, "X-Tab": {"a\tb"}, "X-Good": {"1"}}, []string{"X Name", "X-Del", "X-Line", "X-Utf8"}},
		"a text with a date in it":        {200, http.Header{"Content-Type": {"text/plain"}}, "2026-01-02T03:04:05Z\n", nil, nil},
		"a date alone":                    {200, http.Header{"Content-Type": {"text/plain"}}, "2026-01-02", nil, nil},
		"a date in quotes":                {200, http.Header{"Content-Type": {"application/json"}}, `"2026-01-02T03:04:05Z"`, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for how, outputs := range map[string][]Output{"named": res, "$return": returned, "both": append(slices.Clone(res), returned...)} {
				given := row.header.Clone()
				var b bytes.Buffer
				dropped, err := WriteHTTP(&b, outputs, row.status, row.header, InMemory([]byte(row.body)))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(row.dropped, dropped); diff != "" {
					t.Errorf("%s: dropped: %s", how, diff)
				}
				if diff := cmp.Diff(given, row.header); diff != "" {
					t.Errorf("%s: want the header untouched: %s", how, diff)
				}
				want := row.want
				if want == nil {
					want = row.header
				}
				want = want.Clone()
				want.Set("Content-Type", want.Get("Content-Type")+"; charset=utf-8")
				body := row.body
				if row.status == 204 || row.status == 205 || row.status == 304 {
					body = ""
				}
				got := host(outputs, b.Bytes())
				if got.status != row.status || got.body != body {
					t.Errorf("%s: want %d %.40q, got %d %.40q", how, row.status, body, got.status, got.body)
				}
				if diff := cmp.Diff(want, got.header); diff != "" {
					t.Errorf("%s: header: %s", how, diff)
				}
			}
		})
	}
}

func TestWhatCannotBeCarried(t *testing.T) {
	text := http.Header{"Content-Type": {"text/plain"}}
	with := func(name string, values ...string) http.Header {
		h := text.Clone()
		h[name] = values
		return h
	}
	for name, row := range map[string]struct {
		outputs []Output
		status  int
		header  http.Header
		body    string
		want    string
	}{
		"bytes":                           {res, 200, text, "\x00\xff", CarryBinary},
		"a cut character":                 {res, 200, text, "\xc3", CarryBinary},
		"half a surrogate pair":           {res, 200, text, "\xed\xa0\xbd", CarryBinary},
		"gzip":                            {res, 200, with("Content-Encoding", "gzip"), "\x1f\x8b", CarryEncoding},
		"br on a second line":             {res, 200, with("Content-Encoding", "identity", "br"), "x", CarryEncoding},
		"two cookies":                     {res, 200, with("Set-Cookie", "a=1", "b=2"), "x", CarryCookies},
		"two cookies without a body":      {returned, 302, with("Set-Cookie", "a=1", "b=2"), "", CarryCookies},
		"a date":                          {res, 200, text, "2026-01-02T03:04:05.000Z", CarryDate},
		"a date without a zone":           {res, 200, text, "2026-01-02T03:04:05", CarryDate},
		"a date with an offset":           {res, 200, text, "2026-01-02T03:04:05.1234567+02:00", CarryDate},
		"a date with a short offset":      {res, 200, text, "2026-01-02T03:04:05-0200", CarryDate},
		"a date with hours as its offset": {res, 200, text, "2026-01-02T03:04:05-02", CarryDate},
		"Microsoft's date":                {res, 200, text, "/Date(1700000000000)/", CarryDate},
		"Latin-1 that looks like UTF-8":   {res, 200, with("Content-Type", "text/plain; charset=iso-8859-1"), "Ã©", CarryCharset},
		"UTF-16 of ASCII":                 {res, 200, with("Content-Type", "text/plain; charset=utf-16"), "a\x00", CarryCharset},
		"an interim status":               {res, 103, text, "", CarryStatus},
		"a failure without an output":     {[]Output{{Type: "queue", Name: "q"}}, 502, text, "x", CarryNoOutput},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			dropped, err := WriteHTTP(&b, row.outputs, row.status, row.header, InMemory([]byte(row.body)))
			var cannot *CannotCarryError
			if !errors.As(err, &cannot) || cannot.What != row.want {
				t.Errorf("want cannot carry %s, got %v", row.want, err)
			}
			if b.Len() > 0 || dropped != nil {
				t.Errorf("want nothing written, got %s", b.Bytes())
			}
		})
	}
}

// TestDatesAreWhatTheHostRewrites compares the rule with the host's, as the model has it.
func TestDatesAreWhatTheHostRewrites(t *testing.T) {
	for _, text := range []string{
		"2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05z", "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05+01:00", "2026-01-02T03:04Z",
		"2026-01-02t03:04:05Z", "2026-01-02 03:04:05Z", " 2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z ", "2026-01-02T03:04:05.Z", "x026-01-02T03:04:05Z",
		"2026-01-02T03:04:05ZZ", "20260102T030405Z", "2026-W01-1T00:00:00Z", "", "/Date(1", "2026-01-02T03:04:05.000Zx",
	} {
		changed, _ := dotNet(text)
		if text == "2026-01-02T03:04:05z" {
			changed = "" // Json.NET takes it, Go's parser does not
		}
		if got, want := rewritten(text), changed != text; got != want {
			t.Errorf("%q: want %v, got %v", text, want, got)
		}
	}
}

func TestOutputsOfAnHTTPFunction(t *testing.T) {
	outputs := []Output{{Type: "queue", Name: "q"}, {Type: "http", Name: "res"}, {Type: "blob", Name: "b"}}
	var b bytes.Buffer
	if _, err := WriteHTTP(&b, outputs, 200, http.Header{"Content-Type": {"text/plain"}}, InMemory([]byte("text"))); err != nil {
		t.Fatal(err)
	}
	const want = `{"Outputs":{"res":{"statusCode":200,"headers":{"Content-Type":"text/plain"},"body":"text"},"q":"dGV4dA==","b":"dGV4dA=="},"Logs":[],"ReturnValue":null}`
	if b.String() != want {
		t.Errorf("want %s, got %s", want, b.String())
	}
	b.Reset()
	if _, err := WriteHTTP(&b, outputs, 404, http.Header{}, InMemory([]byte("text"))); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Contains(got, `"q"`) || !strings.Contains(got, `"res"`) {
		t.Errorf("want an answer that feeds nothing, got %s", got)
	}
	b.Reset()
	if _, err := WriteHTTP(&b, []Output{{Type: "queue", Name: "q"}}, 200, http.Header{"Set-Cookie": {"a", "b"}}, InMemory([]byte("\xff"))); err != nil {
		t.Fatal(err)
	}
	if want := `{"Outputs":{"q":"/w=="},"Logs":[],"ReturnValue":null}`; b.String() != want {
		t.Errorf("want %s, got %s", want, b.String())
	}
	if got := host([]Output{{Type: "queue", Name: "q"}}, b.Bytes()); got.status != 204 {
		t.Errorf("want 204 without an http output, got %d", got.status)
	}
}

func TestEventAnswers(t *testing.T) {
	body := make([]byte, 100_000)
	for i := range body {
		body[i] = byte(i * 7)
	}
	for name, row := range map[string]struct {
		outputs []Output
		logs    []string
		body    []byte
	}{
		"nothing":           {},
		"logs":              {nil, []string{"one \"quoted\"", "two\nlines", "no UTF-8 \xff", ""}, []byte("ignored")},
		"a word":            {[]Output{{Type: "queue", Name: "q"}}, nil, []byte("text")},
		"a date":            {[]Output{{Type: "queue", Name: "q"}, {Type: "queue", Name: "r"}}, nil, []byte("2026-01-02T03:04:05Z")},
		"$return":           {[]Output{{Type: "queue", Name: "$return"}}, nil, []byte("x")},
		"bytes":             {[]Output{{Type: "blob", Name: "b"}, {Type: "queue", Name: "$return"}}, []string{"line"}, body},
		"an empty body":     {[]Output{{Type: "blob", Name: "b"}, {Type: "queue", Name: "$return"}}, nil, nil},
		"an http output":    {[]Output{{Type: "http", Name: "res"}}, nil, []byte("x")},
		"a name with quote": {[]Output{{Type: "queue", Name: `q"`}}, nil, []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := WriteEvent(&b, row.outputs, row.logs, InMemory(row.body)); err != nil {
				t.Fatal(err)
			}
			var got struct {
				Outputs     map[string]string
				Logs        []string
				ReturnValue *string
			}
			if err := json.Unmarshal(b.Bytes(), &got); err != nil {
				t.Fatalf("%v: %.200s", err, b.Bytes())
			}
			if got.Outputs == nil || got.Logs == nil {
				t.Errorf("want Outputs and Logs always, got %.200s", b.Bytes())
			}
			exact := func(text string) {
				t.Helper()
				decoded, err := base64.StdEncoding.DecodeString(text) // what the host does with any text that is base64
				if err != nil || !bytes.Equal(decoded, row.body) {
					t.Errorf("want the body's bytes, got %.40q: %v", decoded, err)
				}
			}
			n := 0
			for _, output := range row.outputs {
				switch {
				case output.HTTP() || len(row.body) == 0:
				case output.Name == "$return":
					if got.ReturnValue == nil {
						t.Fatal("want a ReturnValue, got none")
					}
					exact(*got.ReturnValue)
				default:
					exact(got.Outputs[output.Name])
					n++
				}
			}
			if len(got.Outputs) != n || len(got.Logs) != len(row.logs) {
				t.Errorf("want %d outputs and %d lines, got %d and %d", n, len(row.logs), len(got.Outputs), len(got.Logs))
			}
			for i, line := range row.logs {
				if got.Logs[i] != strings.ToValidUTF8(line, "\uFFFD") {
					t.Errorf("want %q, got %q", line, got.Logs[i])
				}
			}
		})
	}
	var b strings.Builder
	if err := WriteFailure(&b, "line one\nline two\x00"); err != nil || b.String() != "line one line two \n" {
		t.Errorf("want one line, got %q: %v", b.String(), err)
	}
}

func TestWriteErrorsAreReturned(t *testing.T) {
	full := errors.New("connection closed")
	broken := writer(func([]byte) (int, error) { return 0, full })
	if _, err := WriteHTTP(broken, res, 200, http.Header{}, InMemory(bytes.Repeat([]byte("x\""), 100_000))); !errors.Is(err, full) {
		t.Errorf("want the writer's error, got %v", err)
	}
	if err := WriteEvent(broken, []Output{{Type: "queue", Name: "q"}}, nil, InMemory(make([]byte, 100_000))); !errors.Is(err, full) {
		t.Errorf("want the writer's error, got %v", err)
	}
	var b bytes.Buffer // and the pooled encoder is none the worse
	if _, err := WriteHTTP(&b, res, 200, http.Header{}, InMemory([]byte("x"))); err != nil || !json.Valid(b.Bytes()) {
		t.Errorf("want an answer, got %q: %v", b.String(), err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestAnswerIsNotCopied(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef\n"), 1<<20/17)
	header := http.Header{"Content-Type": {"text/plain"}}
	if n := testing.AllocsPerRun(20, func() { _, _ = WriteHTTP(io.Discard, res, 200, header, InMemory(body)) }); n > 15 {
		t.Errorf("want a few allocations, got %v", n)
	}
}

func FuzzWriteHTTP(f *testing.F) {
	f.Add(200, "text/plain", "X-A", "1", []byte("text"))
	f.Add(302, "", "Location", "https://h/é", []byte{})
	f.Add(200, "text/html; charset=latin1", "x a", "2026-01-02T03:04:05Z", []byte("\"\\\x00\u2028"))
	f.Fuzz(func(t *testing.T, status int, contentType, name, value string, body []byte) {
		var b bytes.Buffer
		header := http.Header{"Content-Type": {contentType}, name: {value}}
		dropped, err := WriteHTTP(&b, res, status, header, InMemory(body))
		var cannot *CannotCarryError
		if errors.As(err, &cannot) {
			if b.Len() > 0 {
				t.Fatal("want nothing written")
			}
			return
		}
		if err != nil || !json.Valid(b.Bytes()) || !utf8.Valid(b.Bytes()) {
			t.Fatalf("want JSON, got %q: %v", b.Bytes(), err)
		}
		got := host(res, b.Bytes())
		if status == 204 || status == 205 || status == 304 {
			body = nil
		}
		if got.status != status || got.body != string(body) {
			t.Fatalf("want %d %q, got %d %q (dropped %v)", status, body, got.status, got.body, dropped)
		}
	})
}
