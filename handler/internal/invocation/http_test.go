package invocation

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// TestRecordedHTTPCalls holds what is read from each recorded envelope against what the caller had sent to the host.
func TestRecordedHTTPCalls(t *testing.T) {
	wantErr := map[string]error{
		"A-post-chunked-empty":     ErrBodyLost,
		"A-post-chunked-json":      ErrBodyLost,
		"A-post-gzip-body":         ErrBodyDamaged,
		"A-post-image-png":         ErrBodyDamaged,
		"A-post-invalid-utf8":      ErrBodyDamaged,
		"A-post-invalid-utf8-text": ErrBodyDamaged,
		"A-post-text-latin1":       ErrBodyDamaged,
		"A-post-utf16":             ErrBodyDamaged,
	}
	seen := 0
	for name, r := range loadAll(t, "A-*") {
		t.Run(name, func(t *testing.T) {
			envelope := r.envelopes()[0]
			got, err := ReadHTTP(strings.NewReader(envelope), "req")
			if !errors.Is(err, wantErr[name]) {
				t.Fatalf("want error %v, got %v", wantErr[name], err)
			}
			if err != nil {
				seen++
			}
			for how, again := range map[string]func() (*HTTP, error){
				"byte by byte": func() (*HTTP, error) { return ReadHTTP(iotest.OneByteReader(strings.NewReader(envelope)), "req") },
				"by halves":    func() (*HTTP, error) { return ReadHTTP(iotest.HalfReader(strings.NewReader(envelope)), "req") },
			} {
				other, otherErr := again()
				if diff := cmp.Diff(got, other); diff != "" || fmt.Sprint(err) != fmt.Sprint(otherErr) {
					t.Errorf("%s: another result (error %v): %s", how, otherErr, diff)
				}
			}

			method, rest, _ := strings.Cut(r.Client.RequestLine, " ")
			target, _, _ := strings.Cut(rest, " ")
			if got.Method != method {
				t.Errorf("want method %s, got %s", method, got.Method)
			}
			if _, query, _ := strings.Cut(target, "?"); got.RawQuery != query {
				t.Errorf("want query %q, got %q", query, got.RawQuery)
			}
			if !strings.HasPrefix(got.Path, "/") || strings.Contains(got.Path, "?") || !strings.HasPrefix(got.URL, "http://"+got.Host+got.Path) {
				t.Errorf("want the path of %s, got %s", got.URL, got.Path)
			}
			header := http.Header{}
			for _, h := range r.Client.Headers {
				header.Add(h[0], h[1])
			}
			if got.Host != header.Get("Host") {
				t.Errorf("want host %s, got %s", header.Get("Host"), got.Host)
			}
			header.Del("Host")
			if diff := cmp.Diff(normal(header), normal(got.Header)); diff != "" {
				t.Errorf("header (-caller +read): %s", diff)
			}
			if err != nil {
				if got.Body != nil || got.HasBody {
					t.Errorf("want no body beside an error, got %d bytes", len(got.Body))
				}
				return
			}
			want, _ := r.Client.Body.(string)
			if text, ok := r.Client.BodyBase64.(string); ok {
				b, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				want = string(b)
			}
			if want = strings.TrimPrefix(want, "\uFEFF"); string(got.Body) != want || got.HasBody != (want != "") {
				t.Errorf("want body %q, got %q (there: %v)", want, got.Body, got.HasBody)
			}
		})
	}
	if seen != len(wantErr) {
		t.Errorf("want %d refusals, got %d", len(wantErr), seen)
	}
}

// normal makes headers comparable: the recorder added none, and the host may have dropped Expect and joined cookies.
func normal(h http.Header) http.Header {
	h = h.Clone()
	for name, values := range h {
		h[name] = []string{strings.Join(values, ", ")}
	}
	return h
}

func envelope(t *testing.T, header http.Header, body string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"Data":{"req":{"Url":"http://h/api/x","Method":"POST","Headers":{`)
	i := 0
	for name, values := range header {
		if i++; i > 1 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "%q:[%q]", name, values[0])
	}
	b.WriteString("}")
	if body != "" {
		b.WriteString(`,"Body":` + body)
	}
	b.WriteString(`}},"Metadata":{}}`)
	return b.String()
}

func TestBodies(t *testing.T) {
	h := func(pairs ...string) http.Header {
		header := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			header.Set(pairs[i], pairs[i+1])
		}
		return header
	}
	const octet, multi = "application/octet-stream", "multipart/form-data; boundary=x"
	for name, row := range map[string]struct {
		header http.Header
		body   string
		want   string
		err    error
	}{
		"a text with escapes":                        {h("Content-Length", "7"), `"\"a\"\n\u00e9\\"`, "\"a\"\né\\", nil},
		"a text with a pair of surrogates":           {h("Content-Length", "4"), `"\ud83d\ude00"`, "😀", nil},
		"half a pair is damage":                      {h("Content-Length", "3"), `"\ud83d"`, "", ErrBodyDamaged},
		"two first halves are damage":                {h("Content-Length", "7"), `"\ud83d\ud83d\ude00"`, "", ErrBodyDamaged},
		"U+FFFD is damage even at the right length":  {h("Content-Length", "3"), `"\ufffd"`, "", ErrBodyDamaged},
		"a dropped byte order mark is none":          {h("Content-Length", "5"), `"{}"`, "{}", nil},
		"one byte less is":                           {h("Content-Length", "3"), `"{}"`, "", ErrBodyDamaged},
		"one byte more is":                           {h("Content-Length", "1"), `"{}"`, "", ErrBodyDamaged},
		"no announced length":                        {h(), `"{}"`, "{}", nil},
		"a length without a body":                    {h("Content-Length", "2"), "", "", ErrBodyDamaged},
		"a length of zero":                           {h("Content-Length", "0"), "", "", nil},
		"chunked without a body":                     {h("Transfer-Encoding", "chunked"), "", "", ErrBodyLost},
		"chunked with a body":                        {h("Transfer-Encoding", "chunked"), `"x"`, "x", nil},
		"UTF-16 of the same length by chance":        {h("Content-Length", "6", "Content-Type", "text/plain; charset=UTF-16"), `"漢字"`, "", ErrBodyDamaged},
		"Latin-1 of ASCII only":                      {h("Content-Length", "1", "Content-Type", "text/plain; charset=iso-8859-1"), `"x"`, "x", nil},
		"octet-stream":                               {h("Content-Length", "4", "Content-Type", octet), `"AAH/DQ=="`, "\x00\x01\xff\r", nil},
		"octet-stream with bytes of U+FFFD":          {h("Content-Length", "3", "Content-Type", octet), `"77+9"`, "\uFFFD", nil},
		"octet-stream in capitals with a parameter":  {h("Content-Length", "1", "Content-Type", "Application/OCTET-Stream; a=b"), `"AA=="`, "\x00", nil},
		"octet-stream with escaped slashes":          {h("Content-Length", "3", "Content-Type", octet), `"\/\/\/\/"`, "\xff\xff\xff", nil},
		"octet-stream that .NET found malformed":     {h("Content-Length", "7", "Content-Type", octet+";;"), `"!plain!"`, "!plain!", nil},
		"octet-stream of another length":             {h("Content-Length", "2", "Content-Type", octet), `"AA=="`, "", ErrBodyDamaged},
		"octet-stream that is no base64":             {h("Content-Length", "2", "Content-Type", octet), `"A==="`, "", ErrBodyDamaged},
		"multipart":                                  {h("Content-Length", "1", "Content-Type", multi), `"AA=="`, "\x00", nil},
		"a JSON object instead of a text":            {h(), `{"a": [1,"\u00e9"]}`, `{"a": [1,"\u00e9"]}`, nil},
		"null":                                       {h(), `null`, "", nil},
		"of two bodies the last":                     {h(), `"a","Body":"b"`, "b", nil},
		"NUL and other controls":                     {h("Content-Length", "3"), `"\u0000\u001b\u007f"`, "\x00\x1b\x7f", nil},
		"octet-stream with line breaks is no base64": {h("Content-Type", octet), `"AA\n=="`, "", ErrBodyDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			text := envelope(t, row.header, row.body)
			for _, read := range []func() (*HTTP, error){
				func() (*HTTP, error) { return ReadHTTP(iotest.OneByteReader(strings.NewReader(text)), "req") },
				func() (*HTTP, error) { return ReadHTTP(strings.NewReader(text), "req") },
			} {
				got, err := read()
				if !errors.Is(err, row.err) {
					t.Fatalf("want error %v, got %v", row.err, err)
				}
				if string(got.Body) != row.want {
					t.Errorf("want %q, got %q", row.want, got.Body)
				}
			}
		})
	}
}

func TestMembersInAnyOrder(t *testing.T) {
	text := "\uFEFF" + ` {"Other":[1,{"a":null}],"Metadata":{"x":"\"1\""},"Data":{"blob":"\"no\"","REQ":{"Method":"PUT","Url":"http://no/"},
		"req":{"Body":"AAEC","Extra":{},"Method":"POST","Headers":{"content-TYPE":["application/octet-stream"],"X-One":"1","X-Null":null},
		"Url":"https://h:1/a%2Fb//c?x=%20&x=+?"}}} `
	got, err := ReadHTTP(strings.NewReader(text), "req")
	if err != nil {
		t.Fatal(err)
	}
	want := &HTTP{
		Method: "POST", URL: "https://h:1/a%2Fb//c?x=%20&x=+?", Path: "/a%2Fb//c", RawQuery: "x=%20&x=+?", Host: "h:1",
		Header: http.Header{"Content-Type": {"application/octet-stream"}, "X-One": {"1"}}, Body: []byte{0, 1, 2}, HasBody: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadHTTP(strings.NewReader(`{"Data":{"other":{}}}`), "req"); err == nil {
		t.Error("want an error without Data.req, got none")
	}
	if _, err := ReadHTTP(strings.NewReader(`{"Data":{"req":{"Url":"http://h/"}}}`), "req"); err == nil {
		t.Error("want an error without Method, got none")
	}
	if _, err := ReadHTTP(strings.NewReader(`{"Data":{"req":"text"}}`), "req"); err == nil {
		t.Error("want an error for a text, got none")
	}
}

func TestBodyTooLarge(t *testing.T) {
	const limit = 3 << 18 // divisible by three, so that base64 of it has no padding
	bodyLimit = limit
	defer func() { bodyLimit = MaxBody }()
	read := func(contentType string, n int64) (*HTTP, error) {
		head := `{"Data":{"req":{"Url":"u","Method":"M","Headers":{"Content-Type":["` + contentType + `"]},"Body":"`
		return ReadHTTP(io.MultiReader(strings.NewReader(head), io.LimitReader(repeat('x'), n), strings.NewReader(`"}}}`)), "req")
	}
	for name, row := range map[string]struct {
		contentType string
		length      int64
		err         error
	}{
		"a text of the largest size": {"text/plain", limit, nil},
		"a text of one byte more":    {"text/plain", limit + 1, ErrTooLarge},
		"a text that never ends":     {"text/plain", 1 << 40, ErrTooLarge},
		"base64 of the largest size": {"application/octet-stream", limit / 3 * 4, nil},
		"base64 of three bytes more": {"application/octet-stream", limit/3*4 + 4, ErrTooLarge},
		"base64 that never ends":     {"application/octet-stream", 1 << 40, ErrTooLarge},
	} {
		got, err := read(row.contentType, row.length)
		if !errors.Is(err, row.err) {
			t.Errorf("%s: want error %v, got %v", name, row.err, err)
		} else if err == nil && len(got.Body) != limit {
			t.Errorf("%s: want %d bytes, got %d", name, limit, len(got.Body))
		}
	}
	if _, err := Read(strings.NewReader(""), maxEnvelope+1, Binding{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("want ErrTooLarge by the length alone, got %v", err)
	}
}

type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

// TestBodyIsInMemoryOnce measures what a large call allocates.
func TestBodyIsInMemoryOnce(t *testing.T) {
	const size = 8 << 20
	for name, row := range map[string]struct{ contentType, body string }{
		"text":   {"text/plain", strings.Repeat("0123456789abcé\\n", size/16)},
		"base64": {"application/octet-stream", base64.StdEncoding.EncodeToString(make([]byte, size))},
	} {
		t.Run(name, func(t *testing.T) {
			text := fmt.Sprintf(`{"Data":{"req":{"Url":"http://h/","Method":"POST","Headers":{"Content-Type":[%q],"Content-Length":["%d"]},"Body":"%s"}},"Metadata":{"a":"\"%s\""}}`,
				row.contentType, size, row.body, strings.Repeat("x", size))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := ReadHTTP(strings.NewReader(text), "req")
			runtime.ReadMemStats(&after)
			if err != nil || len(got.Body) != size {
				t.Fatalf("want %d bytes, got an error: %v", size, err)
			}
			limit := uint64(size * 11 / 10)
			if name == "base64" {
				limit = size * 15 / 10
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > limit {
				t.Errorf("want at most %d bytes for a body of %d, got %d", limit, size, got)
			}
		})
	}
}

func TestSyntaxErrorsShowNoContents(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                   ``,
		"null":                    `null`,
		"an array":                `[]`,
		"no end":                  `{"Data":{"req":{"secret`,
		"no end of an escape":     `{"Data":{"req":"secret\`,
		"a bad escape":            `{"Data":{"req":"secret\x"}}`,
		"a bad code":              `{"Data":{"req":"secret\u12g4"}}`,
		"a line break in a text":  "{\"Data\":{\"req\":\"secret\n\"}}",
		"a trailing comma":        `{"Data":{"secret":1,}}`,
		"a comma too many":        `{"Data":{"a":[1,,"secret"]}}`,
		"a leading zero":          `{"Data":{"secret":01}}`,
		"a lonely minus":          `{"Data":{"secret":-}}`,
		"a number without digits": `{"Data":{"secret":1.}}`,
		"an empty exponent":       `{"Data":{"secret":1e}}`,
		"a word":                  `{"Data":{"secret":nul}}`,
		"junk behind":             `{"Data":{}} secret`,
		"half a mark":             "\xef\xbb{}",
		"no UTF-8":                "{\"Data\":{\"req\":\"secret\xff\"}}",
		"the wrong bracket":       `{"Data":{"secret":[1}}}`,
		"too deep":                `{"Data":{"secret":` + strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1) + `}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(text), Binding{})
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("want a SyntaxError, got %v", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("want no contents, got %v", err)
			}
			if syntax.Offset < 0 || syntax.Offset > int64(len(text)) {
				t.Errorf("want an offset within %d bytes, got %d", len(text), syntax.Offset)
			}
			if _, err := ReadHTTP(iotest.OneByteReader(strings.NewReader(text)), "absent"); err == nil {
				t.Error("want an error from the reader, too")
			}
		})
	}
	// A body is read another way than what is passed over.
	for _, body := range []string{"\"secret\nnnnnnnnnnnnnnnnn\"", `"secret\xnnnnnnnnnnnnnn"`, `"secret\u00g0nnnnnnnnnnnnnn"`, `"secret nnnnnnnnnnn`} {
		text := `{"Data":{"req":{"Url":"u","Method":"M","Headers":{"Content-Length":["100"]},"Body":` + body + `}}}`
		var syntax *SyntaxError
		if _, err := ReadHTTP(strings.NewReader(text), "req"); !errors.As(err, &syntax) || strings.Contains(err.Error(), "secret") {
			t.Errorf("want a SyntaxError without contents, got %v", err)
		}
	}
	broken := errors.New("connection reset")
	if _, err := ReadHTTP(io.MultiReader(strings.NewReader(`{"Data":{"re`), iotest.ErrReader(broken)), "req"); !errors.Is(err, broken) {
		t.Errorf("want the reader's own error, got %v", err)
	}
	if _, err := Read(io.MultiReader(bytes.NewReader([]byte(`{`)), iotest.ErrReader(broken)), -1, Binding{}); !errors.Is(err, broken) {
		t.Errorf("want the reader's own error, got %v", err)
	}
}
