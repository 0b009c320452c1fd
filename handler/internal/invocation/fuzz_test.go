package invocation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecode wants exactly what encoding/json takes, and the same values.
func FuzzDecode(f *testing.F) {
	for _, r := range loadAll(f, "[AF]-*") {
		f.Add([]byte(r.envelopes()[0]))
	}
	f.Add([]byte(`{"Data":{"x":"\ud83d\ude00\udc00"},"Metadata":{"a":1e5,"a":[true,false,null,-0.5E+1]}}`))
	f.Add([]byte("\uFEFF{} "))
	f.Fuzz(func(t *testing.T, text []byte) {
		original := bytes.Clone(text)
		var want struct{ Data, Metadata map[string]json.RawMessage }
		plain := bytes.TrimPrefix(text, []byte("\uFEFF"))
		var fields map[string]json.RawMessage
		wantErr := json.Unmarshal(plain, &fields)
		if wantErr == nil {
			if fields == nil {
				wantErr = errors.New("null")
			}
			for name, target := range map[string]*map[string]json.RawMessage{"Data": &want.Data, "Metadata": &want.Metadata} {
				if raw, ok := fields[name]; ok && wantErr == nil {
					wantErr = json.Unmarshal(raw, target)
				}
			}
		}
		if !utf8.Valid(text) {
			wantErr = errors.New("no UTF-8")
		}
		call, err := Decode(text)
		if twiceData(plain) {
			return // of two members called Data, encoding/json does not check the shape of the first
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("want error %v, got %v", wantErr, err)
		}
		_, streamErr := ReadHTTP(iotest.OneByteReader(bytes.NewReader(original)), "x")
		var syntax *SyntaxError
		if wantErr != nil && utf8.Valid(original) && streamErr == nil {
			t.Fatalf("want an error from the reader, too: %v", wantErr)
		}
		if err != nil {
			if !errors.As(err, &syntax) {
				t.Fatalf("want a SyntaxError, got %v", err)
			}
			return
		}
		same := func(got []member, want map[string]json.RawMessage) {
			if len(got) != len(want) {
				t.Fatalf("want %d members, got %d", len(want), len(got))
			}
			for _, m := range got {
				if !bytes.Equal(m.raw, want[m.name]) {
					t.Fatalf("%q: want %s, got %s", m.name, want[m.name], m.raw)
				}
				if m.raw[0] == '"' {
					var text string
					_ = json.Unmarshal(m.raw, &text)
					if got := unquote(bytes.Clone(m.raw)); string(got) != text {
						t.Fatalf("want %q, got %q", text, got)
					}
				}
			}
		}
		same(call.data, want.Data)
		same(call.metadata, want.Metadata)
		// Nothing that follows may panic, whatever the trigger is taken for.
		for _, m := range call.data {
			for _, kind := range []string{"queueTrigger", "timerTrigger", "eventHubTrigger", "blobTrigger", "x"} {
				again, err := Decode(bytes.Clone(original))
				if err != nil {
					t.Fatal(err)
				}
				trigger := Binding{Type: kind, Name: m.name, DataType: map[bool]string{true: "binary"}[kind == "blobTrigger"]}
				again.Key("f", trigger, time.Time{}, "id")
				event, err := again.Event(trigger)
				if err != nil {
					continue
				}
				if event.ContentType == typeJSON && !json.Valid(event.Body) {
					t.Fatalf("%s: want JSON, got %q", kind, event.Body)
				}
				for _, v := range again.metadata {
					event.Value(v.name)
					event.Value(v.name + ".a.b")
				}
			}
			_, _ = ReadHTTP(bytes.NewReader(original), m.name)
		}
	})
}

func twiceData(text []byte) bool {
	return bytes.Count(text, []byte("Data")) > 1 || bytes.Contains(text, []byte(`\u`))
}

// FuzzBody wants every byte of a body back, however the envelope is cut and escaped.
func FuzzBody(f *testing.F) {
	f.Add([]byte("text"), false, uint8(1))
	f.Add([]byte{}, false, uint8(1))
	f.Add([]byte("\"\\\x00\x1f\u2028😀\xff"), true, uint8(7))
	f.Add([]byte(`{"a":"b\\"}`), true, uint8(64))
	f.Fuzz(func(t *testing.T, body []byte, escapeHTML bool, piece uint8) {
		for _, binary := range []bool{false, true} {
			text, contentType := string(body), "text/plain"
			if binary {
				text, contentType = base64.StdEncoding.EncodeToString(body), "application/octet-stream"
			} else if !utf8.Valid(body) || damaged(body) {
				continue
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(escapeHTML)
			err := e.Encode(map[string]any{"Data": map[string]any{"req": map[string]any{"Url": "http://h/", "Method": "POST", "Body": text,
				"Headers": map[string]any{"Content-Type": []string{contentType}, "Content-Length": []string{strconv.Itoa(len(body))}}}}})
			if err != nil {
				t.Fatal(err)
			}
			envelope := b.Bytes()
			got, err := ReadHTTP(&pieces{envelope, int(piece) + 1}, "req")
			if err != nil || !bytes.Equal(got.Body, body) {
				t.Fatalf("want %q, got %v: %v", body, got, err)
			}
			whole, err := ReadHTTP(bytes.NewReader(envelope), "req")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, whole); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// pieces reads n bytes at a time.
type pieces struct {
	rest []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Benchmarks against what a handler would do with encoding/json: the whole envelope into a struct, the body into a string.

func benchmarkEnvelope(size int) []byte {
	var body strings.Builder
	for i := 0; body.Len() < size; i++ {
		fmt.Fprintf(&body, `{"id":%d,"name":"item %d","tags":["a","b"]},`, i, i)
	}
	text := body.String()[:size]
	quoted, _ := json.Marshal(text)
	return fmt.Appendf(nil, `{"Data":{"req":{"Url":"http://localhost/api/x?a=1","Method":"POST","Query":{"a":"1"},"Headers":{"Accept":["*/*"],"Host":["localhost"],`+
		`"Content-Type":["text/plain"],"Content-Length":["%d"]},"Params":{},"Identities":[],"Body":%s}},"Metadata":{"Headers":{"Host":"localhost"},"sys":{"MethodName":"x"}}}`, size, quoted)
}

var sizes = map[string]int{"1KiB": 1 << 10, "1MiB": 1 << 20, "10MiB": 10 << 20}

func BenchmarkRead(b *testing.B) {
	for _, name := range []string{"1KiB", "1MiB", "10MiB"} {
		envelope := benchmarkEnvelope(sizes[name])
		b.Run(name+"/ReadHTTP", func(b *testing.B) {
			b.SetBytes(int64(len(envelope)))
			b.ReportAllocs()
			for b.Loop() {
				if h, err := ReadHTTP(bytes.NewReader(envelope), "req"); err != nil || len(h.Body) != sizes[name] {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/encoding-json", func(b *testing.B) {
			b.SetBytes(int64(len(envelope)))
			b.ReportAllocs()
			for b.Loop() {
				var e struct {
					Data map[string]struct {
						URL     string `json:"Url"`
						Method  string
						Headers http.Header
						Body    string
					}
					Metadata map[string]any
				}
				if err := json.NewDecoder(bytes.NewReader(envelope)).Decode(&e); err != nil || len([]byte(e.Data["req"].Body)) != sizes[name] {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, name := range []string{"1KiB", "1MiB", "10MiB"} {
		body := bytes.Repeat([]byte(`{"id":1,"name":"item","tags":["a","b"]},`), sizes[name]/40+1)[:sizes[name]]
		header := http.Header{"Content-Type": {"application/json"}, "Etag": {`"e"`}, "Cache-Control": {"no-store"}}
		b.Run(name+"/WriteHTTP", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := WriteHTTP(discard{}, res, 200, header, InMemory(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/encoding-json", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				text, err := json.Marshal(map[string]any{"Outputs": map[string]any{"res": map[string]any{"statusCode": 200, "headers": header, "body": string(body)}}})
				if err != nil {
					b.Fatal(err)
				}
				_, _ = discard{}.Write(text)
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
