package hostfile_test

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"apimrelay/internal/hostfile"
)

const text = `{
  "version": "2.0",
  "extensions": {"queues": {"batchSize": 31}},
  "list": [1, 2]
}
`

// What Newtonsoft.Json's JsonTextReader takes beyond JSON, one kind a row: each text says the same.
// Source: JamesNK/Newtonsoft.Json, Src/Newtonsoft.Json/JsonTextReader.cs (ParseValue, ParseObject,
// ParseComment, EatWhitespace, ReadStringIntoBuffer, ParseNumber).
func TestLenientJSON(t *testing.T) {
	want, err := hostfile.Parse(text, hostfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }
	units := func(order binary.ByteOrder, s string) []byte {
		var b []byte
		for _, u := range utf16.Encode([]rune("\ufeff" + s)) {
			b = append(b, 0, 0)
			order.PutUint16(b[len(b)-2:], u)
		}
		return b
	}
	for name, data := range map[string][]byte{
		"as it is":                      []byte(text),
		"UTF-8 byte order mark":         []byte("\ufeff" + text),
		"UTF-16, little end first":      units(binary.LittleEndian, text),
		"UTF-16, big end first":         units(binary.BigEndian, strings.ReplaceAll(text, "\n", "\r\n")),
		"comment on the last line":      []byte(text + "// end"),
		"comments between tokens":       []byte(replace("{", "/* { */{// x\n", ",", "/*,*/, // y\r\n", "]", "/**/]")),
		"trailing commas":               []byte(replace("31}", "31,}", "2]", "2,]", "]\n}", "],\n}")),
		"single quotes":                 []byte(replace(`"`, `'`)),
		"names without quotes":          []byte(replace(`"version":`, `version :`, `"queues"`, `queues`, `"list"`, `list`)),
		"no-break and em spaces":        []byte(replace("  ", "\u00a0\u2003", "31", "31\u00a0", "list\"", "list\"\u00a0")),
		"line ends of old and new":      []byte(strings.ReplaceAll(text, "\n", "\r")),
		"hexadecimal and octal numbers": []byte(replace("31", "0x1F", "1,", "01,", "2]", "0X2]")),
		"escapes":                       []byte(replace("version", `\u0076ersion`, "queues", `que\u0075es`)),
		"a name that stands twice":      []byte(replace(`"list"`, `"list": 7, "list"`)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := hostfile.ParseObject(data, hostfile.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Any(), got.Any()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestValues(t *testing.T) {
	for _, tc := range []struct {
		text, value, written string
		kind                 hostfile.Kind
	}{
		{"'two\nlines'", "two\nlines", "two\nlines", hostfile.String},
		{`"\ud83d\ude00 \ud800 \/\'"`, "😀 \ufffd /'", "😀 \ufffd /'", hostfile.String},
		{"0x1F", "31", "0x1F", hostfile.Int},
		{"017", "15", "017", hostfile.Int},
		{"12345678901234567890", "12345678901234567890", "12345678901234567890", hostfile.Int},
		{"2.0", "2", "2.0", hostfile.Float},
		{"1e3", "1000", "1e3", hostfile.Float},
		{"1e-7", "1E-07", "1e-7", hostfile.Float},
		{".5", "0.5", ".5", hostfile.Float},
		{"-Infinity", "-Infinity", "-Infinity", hostfile.Float},
		{"true", "True", "true", hostfile.Bool},
		{"null", "", "", hostfile.Null},
		{"undefined", "", "", hostfile.Null},
	} {
		v, err := hostfile.Parse(tc.text, hostfile.Options{})
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if v.Kind != tc.kind || v.Text() != tc.value || v.Written() != tc.written {
			t.Errorf("%s: got %s, %q, written %q; want %s, %q, %q", tc.text, v.Kind, v.Text(), v.Written(), tc.kind, tc.value, tc.written)
		}
	}
	if v, err := hostfile.Parse("NaN", hostfile.Options{}); err != nil || !math.IsNaN(v.Float) {
		t.Errorf("NaN: got %v, %v", v, err)
	}
}

// An error names line, member and cause, and no value: each broken text holds a word that no error
// may.
func TestErrorsNameThePlaceAndNoValue(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"a word as a value", "{\n \"a\": {\"b\": [1,\n {\"queueName\": canary-text}]}}", "line 3: a.b[1].queueName: want a value"},
		{"a value in UTF-8 beside it", "{\"é\": [\"x\", canary]}", "line 1: é[1]: want a value"},
		{"no colon", "{\n\"Values\": {\n\"ApimUrl\" \"canary\"}}", "line 3: Values.ApimUrl: want a colon"},
		{"a comma for a colon", `{"Values": {"ApimKey", "canary"}}`, "line 1: Values: want a colon"},
		{"a value in a name's place", `{"Values": {"ApimKey": "k", "canary"}}`, "line 1: Values: want a colon"},
		{"a value in a name's place, a name behind it", `{"Values": {"ApimKey": "k", "canary" "ApimUrl": "u"}}`, "line 1: Values: want a colon"},
		{"no comma", "{\"Values\": {\"ApimKey\": \"k\"\n\"canary\": 1}}", "line 2: Values.ApimKey: want a comma or } behind the value"},
		{"a comment in front of the colon", `{"a" /* canary */ : 1}`, "line 1: want a colon"},
		{"no end of a text", "{\"a\": 1,\n\"b\": \"canary}", "line 2: b: want a quote at the end"},
		{"no end of an object", "{\"a\": \"canary\"\n", "line 2: a: want a comma or } behind the value, got the end of the text"},
		{"no value", `{"a":`, "line 1: a: want a value, got the end of the text"},
		{"no end of a comment", "{} /* canary", "line 1: want */"},
		{"a half comment", "{} / canary", "line 1: want // or /*"},
		{"something behind", "{\"a\": 1}\n\ncanary", "line 3: want nothing behind the end"},
		{"an escape that is none", `{"a": "\canary"}`, "line 1: a: want one of b f n r t u"},
		{"half an escape", `{"a": "\u0xcanary"}`, `line 1: a: want four hexadecimal digits`},
		{"two numbers in one", `{"a": 1.2.3}`, "line 1: a: want a number"},
		{"a number of letters", `{"a": 12canary}`, "line 1: a: want a number"},
		{"a name that is none", `{-canary: 1}`, "line 1: want a name or }"},
		{"too deep", strings.Repeat("[", 65) + strings.Repeat("]", 65), "want no more than 64"},
		{"an array", "\n[1]", "line 2: want an object, got an array"},
		{"nothing", " \n", "line 2: the text is empty"},
		{"comments alone", "// canary", "line 1: the text is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := hostfile.ParseObject([]byte(tc.text), hostfile.Options{})
			var place *hostfile.Error
			if !errors.As(err, &place) {
				t.Fatalf("want an Error, got %v", err)
			}
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
				t.Errorf("want %q in one line and no value, got %q", tc.want, err)
			}
		})
	}
}

func TestMembersInAnyCase(t *testing.T) {
	v, err := hostfile.Parse(`{"Name": 1, "NAME": 2, "name": 3, "Other": 4, "oTher": 5}`, hostfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"name": "3", "Name": "1", "nAme": "3", "other": "5"} {
		if got := v.Fold(name).Text(); got != want {
			t.Errorf("%s: want %s, got %s", name, want, got)
		}
	}
	if v.Fold("none") != nil || v.Fold("name").Fold("x") != nil || (*hostfile.Value)(nil).Fold("x") != nil {
		t.Error("a member that is not there is not nil")
	}
}

// Values and the section ConnectionStrings as Azure Functions Core Tools reads them (its
// AppSettingsFile.cs; Newtonsoft's JsonReader.ReadAsString for what is no text).
func TestSettingsFile(t *testing.T) {
	write := func(t *testing.T, text string) string {
		file := filepath.Join(t.TempDir(), "local.settings.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	got, err := hostfile.Settings(write(t, `{
  IsEncrypted: false, // as it comes
  'values': {"A": "x", "Attempts": 3, "Rate": 0.50, "On": true, "Unset": null, "Since": "2026-01-02T03:04:05Z",},
  "ConnectionStrings": {"Bus": "Endpoint=sb://ns.example.org/", "Ledger": {"ConnectionString": "Server=db", "ProviderName": "p"}},
  "Host": {"CORS": "*"},
}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "x", "Attempts": "3", "Rate": "0.50", "On": "true", "Since": "2026-01-02T03:04:05Z",
		"ConnectionStrings:Bus": "Endpoint=sb://ns.example.org/", "ConnectionStrings:Ledger": "Server=db"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	for text, want := range map[string]string{
		"{\"Values\": {\n\"AzureWebJobsStorage\": {\"canary\": 1}}}":       "line 2: Values.AzureWebJobsStorage: want a text, got an object",
		`{"Values": ["canary"]}`:                                           "line 1: Values: want an object, got an array",
		`{"ConnectionStrings": {"Bus": {"Other": "canary"}}}`:              "line 1: ConnectionStrings.Bus: want a text, got an object",
		"{\"Values\": {\"A\": \"canary\"},\n\"IsEncrypted\": true}":        "line 2: IsEncrypted: the file is encrypted: run `func settings decrypt`",
		"{\"Values\": {\"ApimKey\": \"canary\",\n\"ApimUrl\" \"canary\"}}": "line 2: Values.ApimUrl: want a colon",
	} {
		file := write(t, text)
		_, err := hostfile.Settings(file)
		if err == nil || !strings.HasPrefix(err.Error(), file+": "+want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: want %q and no value, got %v", text, want, err)
		}
	}
}

func TestTextsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "values.json")
	read := func(text string) (map[string]string, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return hostfile.Texts(file)
	}
	got, err := read("{'a': 'x', /* c */ b: 7, c: false,}")
	if diff := cmp.Diff(map[string]string{"a": "x", "b": "7", "c": "false"}, got); err != nil || diff != "" {
		t.Errorf("%v: want -, got +:\n%s", err, diff)
	}
	for text, want := range map[string]string{
		"{\"a\": \"canary\",\n\"a\": 1}": ": line 2: a: the name stands twice",
		`{"a": ["canary"]}`:              ": line 1: a: want a text, got an array",
		`{"a": null}`:                    ": line 1: a: want a text, got null",
		`["canary"]`:                     ": line 1: want an object, got an array",
	} {
		if _, err := read(text); err == nil || err.Error() != file+want {
			t.Errorf("%s: want %q, got %v", text, file+want, err)
		}
	}
}

// FuzzParse wants no panic, errors of one line, and an object's members found again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{text, "[0x", "{'a':NaN,}", `"\ud83d"`, "//", "-Infinity", `{"a" "b"`, "{a:[{b:1 2"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := hostfile.ParseObject(data, hostfile.Options{Dates: true})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("an error of several lines: %q", err)
			}
			return
		}
		for _, m := range v.Members {
			if v.Get(m.Name) != m.Value || v.Fold(m.Name) != m.Value {
				t.Errorf("the member %q is not found", m.Name)
			}
		}
	})
}
