package invocation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzDecode wants exactly what encoding/json takes, and the same values.
func FuzzDecode(f *testing.F) {
	for _, r := range loadAll(f, "[AF]-*") {
		f.Add([]byte(r.envelopes()[0]))
	}
	f.Add([]byte(`{"Data":{"x":"\ud83d\ude00\udc00"},"Metadata":{"a":1e5,"a":[true,false,null,-0.5E+1]}}`))
	f.Add([]byte("\uFEFF{} "))
	f.Fuzz(func(t *testing.T, text []byte) {
		original := bytes.Clone(text) // Decode writes into its input
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
		_, err := Decode(text, Binding{Name: "no such data"})
		if twiceData(plain) {
			return // of two members called Data, encoding/json does not check the shape of the first
		}
		var syntax *SyntaxError
		if errors.As(err, &syntax) != (wantErr != nil) {
			t.Fatalf("want error %v, got %v", wantErr, err)
		}
		_, streamErr := ReadHTTP(iotest.OneByteReader(bytes.NewReader(original)), "x")
		if wantErr != nil {
			if utf8.Valid(original) && streamErr == nil {
				t.Fatalf("want an error from the reader, too: %v", wantErr)
			}
			return
		}
		// Nothing that follows may panic, whatever the trigger is taken for.
		for name := range want.Data {
			for _, kind := range []string{"queueTrigger", "timerTrigger", "eventHubTrigger", "blobTrigger", "x"} {
				trigger := Binding{Type: kind, Name: name}
				if kind == "blobTrigger" {
					trigger.DataType = "binary"
				}
				event, err := Decode(bytes.Clone(original), trigger)
				if err != nil {
					continue
				}
				if event.ContentType == typeJSON && !json.Valid(event.Body) {
					t.Fatalf("%s: want JSON, got %q", kind, event.Body)
				}
				event.Key("f", time.Time{}, "id")
				got := map[string]json.RawMessage{}
				for name, raw := range members(event.metadata) {
					got[string(name)] = raw
				}
				if diff := cmp.Diff(want.Metadata, got, cmpopts.EquateEmpty()); diff != "" {
					t.Fatal(diff)
				}
				for name, raw := range got {
					if found, ok := find(event.metadata, name); !ok || !bytes.Equal(found, raw) {
						t.Fatalf("%q: want %s, got %s", name, raw, found)
					}
					var text string
					if json.Unmarshal(raw, &text) == nil && raw[0] == '"' {
						if got := unquote(bytes.Clone(raw)); string(got) != text {
							t.Fatalf("want %q, got %q", text, got)
						}
					}
					event.Value(name)
					event.Value(name + ".a.b")
				}
			}
			_, _ = ReadHTTP(bytes.NewReader(original), name)
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

// membersEnvelope is an event with n members of metadata, none of which a message's author did not
// write: the host copies the properties of a JSON message there.
func membersEnvelope(n int) []byte {
	b := []byte(`{"Data":{"x":"\"m\""},"Metadata":{"Id":"\"i\""`)
	for i := range n {
		b = fmt.Appendf(b, `,"%d":1`, i)
	}
	return append(b, "}}"...)
}

// eventTriggers are one trigger with few ids, and one that all of its metadata identifies.
var eventTriggers = []Binding{{Type: "queueTrigger", Name: "x"}, {Type: "kafkaTrigger", Name: "x"}}

// readEvent does what is done with the metadata of each event.
func readEvent(t testing.TB, envelope []byte, trigger Binding) {
	event, err := Decode(envelope, trigger)
	if err != nil {
		t.Fatal(err)
	}
	event.Key("f", time.Time{}, "id")
	if _, ok := event.Value("Id"); !ok {
		t.Fatal("want the id, got nothing")
	}
}

// TestReadingIsLinear holds the time for each of many members against that for each of few. Were it
// to grow with their number, it would be twenty times as long.
func TestReadingIsLinear(t *testing.T) {
	each := func(trigger Binding, n int) time.Duration {
		least := time.Duration(math.MaxInt64)
		for range 5 {
			envelope := membersEnvelope(n)
			begin := time.Now()
			readEvent(t, envelope, trigger)
			least = min(least, time.Since(begin))
		}
		return least / time.Duration(n/1000)
	}
	for _, trigger := range eventTriggers {
		if few, many := each(trigger, 1000), each(trigger, 20_000); many > 7*few {
			t.Errorf("%s: want the time for 1,000 members not to depend on their number, got %v of 1,000 "+
				"and %v of 20,000", trigger.Type, few, many)
		}
	}
}

func BenchmarkMembers(b *testing.B) {
	for _, trigger := range eventTriggers {
		for n := 10; n <= 1_000_000; n *= 10 {
			b.Run(fmt.Sprintf("%s/%d", trigger.Type, n), func(b *testing.B) {
				envelope := membersEnvelope(n)
				b.SetBytes(int64(len(envelope)))
				b.ReportAllocs()
				for b.Loop() {
					readEvent(b, bytes.Clone(envelope), trigger)
				}
			})
		}
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
