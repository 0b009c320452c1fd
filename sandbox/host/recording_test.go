package host

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"unicode/utf16"
)

// recording is one file of testdata/recordings: what the real host sent and made of the answers.
type recording struct {
	Mode         string          `json:"mode"`
	Name         string          `json:"name"`
	Note         string          `json:"note"`
	HostJSON     json.RawMessage `json:"hostJson"`
	FunctionJSON json.RawMessage `json:"functionJson"`
	Client       oneOrMany[clientRequest]
	Received     oneOrMany[recordedRequest]
	Answered     json.RawMessage `json:"answered"`
	ClientGot    oneOrMany[clientAnswer]
	Events       []event     `json:"handlerEvents"`
	HostLog      [][3]string `json:"hostLog"`

	Argv []string          `json:"argv"`
	Cwd  string            `json:"cwd"`
	Env  map[string]string `json:"env"`
	Add  []string          `json:"addedByHost"`
}

type oneOrMany[T any] []T

func (o *oneOrMany[T]) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if b[0] == '[' {
		return json.Unmarshal(b, (*[]T)(o))
	}
	var one T
	err := json.Unmarshal(b, &one)
	*o = []T{one}
	return err
}

type clientRequest struct {
	RequestLine string          `json:"requestLine"`
	Headers     [][2]string     `json:"headers"`
	Body        json.RawMessage `json:"body"`
	BodyBase64  json.RawMessage `json:"bodyBase64"`
	BodyBytes   int             `json:"bodyBytes"`
	Chunks      []int           `json:"chunks"`
	// of a connection that was refused:
	Method, Target string
}

func (c clientRequest) chunked() bool {
	for _, h := range c.Headers {
		if strings.EqualFold(h[0], "Transfer-Encoding") {
			return true
		}
	}
	return false
}

func (c clientRequest) body() []byte { return recordedBody(c.Body, c.BodyBase64, c.BodyBytes) }

func recordedBody(text, base json.RawMessage, size int) []byte {
	var s string
	if len(base) > 0 && json.Unmarshal(base, &s) == nil {
		b, _ := base64.StdEncoding.DecodeString(s)
		return b
	}
	var part abridged
	if len(base) > 0 && json.Unmarshal(base, &part) == nil && part.Starts != "" {
		b, _ := base64.StdEncoding.DecodeString(part.Starts[:len(part.Starts)/4*4])
		// The long binary body of the recordings is 00 to FF over and over; 200 characters of base64 show the first 150 of them.
		out := make([]byte, size)
		for i := range out {
			out[i] = byte(i)
		}
		if string(out[:len(b)]) != string(b) {
			panic("a long binary body of another pattern")
		}
		return out
	}
	if len(text) > 0 && json.Unmarshal(text, &s) == nil {
		return []byte(s)
	}
	if len(text) > 0 && json.Unmarshal(text, &part) == nil && part.Starts != "" {
		return []byte(part.regrow(size))
	}
	return nil
}

type recordedRequest struct {
	RequestLine string          `json:"requestLine"`
	Headers     [][2]string     `json:"headers"`
	Framing     string          `json:"framing"`
	Chunks      []any           `json:"chunks"`
	Body        json.RawMessage `json:"body"`
	BodyBase64  json.RawMessage `json:"bodyBase64"`
	BodyBytes   int             `json:"bodyBytes"`
}

type clientAnswer struct {
	StatusLine string          `json:"statusLine"`
	Headers    [][2]string     `json:"headers"`
	Framing    string          `json:"framing"`
	Body       json.RawMessage `json:"body"`
	BodyBase64 json.RawMessage `json:"bodyBase64"`
	BodyBytes  int             `json:"bodyBytes"`
	Error      string          `json:"error"`
	MS         int             `json:"ms"`
}

func loadRecordings(t *testing.T) []*recording {
	t.Helper()
	files, err := filepath.Glob("testdata/recordings/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	sort.Strings(files)
	var out []*recording
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r := &recording{}
		if err := json.Unmarshal(text, r); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, r)
	}
	return out
}

// The keys of these tests; as placeholders in the recordings.
const (
	testFunctionKey = "fk-0123456789abcdefghijklmnopqrstuvwxyz"
	testHostKey     = "hk-0123456789abcdefghijklmnopqrstuvwxyz"
	testMasterKey   = "mk-0123456789abcdefghijklmnopqrstuvwxyz"
)

var placeholders = strings.NewReplacer("<function-key>", testFunctionKey, "<host-key>", testHostKey, "<master-key>", testMasterKey)

var (
	guids     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times     = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`)
	localPort = regexp.MustCompile(`(127\.0\.0\.1|localhost):\d+`)
	durations = regexp.MustCompile(`Duration=\d+ms`)
	receipts  = regexp.MustCompile(`"PopReceipt":"\\"[^\\]*\\""`)
	traces    = regexp.MustCompile(`00-[0-9a-f]{32}-[0-9a-f]{16}-`)
	cutFrames = regexp.MustCompile(`\n\s+\(\d+ frames cut\)`)
	hostIDs   = regexp.MustCompile(`^\{"id":"[^"]*","state"`)
	uptimes   = regexp.MustCompile(`"processUptime":\d+`)
	waits     = regexp.MustCompile(`00:00:0\d\.\d{7}`)
)

// varies is what the recordings' README lists as different from run to run; nothing else is normalized.
func varies(s string) string {
	s = strings.NewReplacer(testFunctionKey, "<function-key>", testHostKey, "<host-key>", testMasterKey, "<master-key>").Replace(s)
	s = guids.ReplaceAllString(s, "<guid>")
	s = times.ReplaceAllString(s, "<time>")
	s = localPort.ReplaceAllString(s, "$1:<port>")
	s = durations.ReplaceAllString(s, "Duration=<ms>")
	s = receipts.ReplaceAllString(s, `"PopReceipt":"<receipt>"`)
	s = uptimes.ReplaceAllString(hostIDs.ReplaceAllString(s, `{"id":"<host>","state"`), `"processUptime":<ms>`)
	s = traces.ReplaceAllString(s, "00-<trace>-")
	return waits.ReplaceAllString(s, "<wait>")
}

func fields(hs [][2]string) []string {
	out := make([]string, len(hs))
	for i, h := range hs {
		out[i] = h[0] + ": " + varies(h[1])
	}
	return out
}

// compareReceived compares what the handler got with what the real host sent it.
func compareReceived(want recordedRequest, got *received) []string {
	var diffs []string
	differ := func(what string, w, g any) {
		if fmt.Sprint(w) != fmt.Sprint(g) {
			diffs = append(diffs, fmt.Sprintf("handler got another %s:\n\twant %v\n\tgot  %v", what, w, g))
		}
	}
	differ("request line", varies(want.RequestLine), varies(got.RequestLine))
	wantHeaders, gotHeaders := fields(want.Headers), fields(got.Headers)
	if slicesDiffer(wantHeaders, gotHeaders) && want.Framing == "content-length" && wrappedBody(got.Body) {
		// The length of a wrapped body hangs on the digits of its time.
		wantHeaders, gotHeaders = dropLength(wantHeaders), dropLength(gotHeaders)
	}
	differ("header", strings.Join(wantHeaders, "\n\t\t"), strings.Join(gotHeaders, "\n\t\t"))
	differ("framing", want.Framing, got.Framing)
	if d := compareBody(want.Body, want.BodyBase64, want.BodyBytes, got.Body); d != "" {
		diffs = append(diffs, "handler got another body: "+d)
	}
	if want.Framing == "chunked" {
		if d := comparePieces(want, got); d != "" {
			diffs = append(diffs, "handler got other pieces: "+d)
		}
	}
	return diffs
}

func slicesDiffer(a, b []string) bool { return strings.Join(a, "\n") != strings.Join(b, "\n") }

func dropLength(hs []string) []string {
	out := append([]string(nil), hs...)
	for i, h := range out {
		if strings.HasPrefix(h, "Content-Length: ") {
			out[i] = "Content-Length: <n>"
		}
	}
	return out
}

func wrappedBody(b []byte) bool { return strings.HasPrefix(string(b), `{"Data":`) }

// compareBody compares texts; a long one by length, beginning and end, as the README says.
func compareBody(text, base json.RawMessage, size int, got []byte) string {
	var part abridged
	raw := text
	actual := string(got)
	if len(base) > 0 {
		raw, actual = base, base64.StdEncoding.EncodeToString(got)
	}
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) == nil {
		if varies(s) != varies(actual) {
			return "\n\twant " + short(varies(s)) + "\n\tgot  " + short(varies(actual))
		}
		return ""
	}
	if err := json.Unmarshal(raw, &part); err != nil {
		return err.Error()
	}
	if slack := 8; size > 0 && (len(got) < size-slack*len(times.FindAllString(part.Ends, -1)) || len(got) > size+slack) {
		return fmt.Sprintf("want %d bytes, got %d", size, len(got))
	}
	if head := varies(part.Starts); !strings.HasPrefix(varies(actual[:min(len(actual), len(part.Starts)+200)]), head[:max(0, len(head)-40)]) {
		return "\n\twant it to start " + short(head) + "\n\tgot  " + short(varies(actual))
	}
	if tail := varies(part.Ends); !strings.HasSuffix(varies(actual[max(0, len(actual)-len(part.Ends)-200):]), tail) {
		return "\n\twant it to end " + short(tail) + "\n\tgot  " + short(varies(actual[max(0, len(actual)-len(part.Ends)):]))
	}
	return ""
}

func short(s string) string {
	if len(s) > 3000 {
		return s[:3000] + "…"
	}
	return s
}

// comparePieces compares the sizes of chunks: as recorded where the length is the same, by the rule (1024 characters) where the time has other
// digits.
func comparePieces(want recordedRequest, got *received) string {
	total := 0
	for _, n := range got.Chunks {
		total += n
	}
	if total == want.BodyBytes {
		w := []string{}
		for _, c := range want.Chunks {
			w = append(w, fmt.Sprint(c))
		}
		g := []string{}
		for _, c := range got.Chunks {
			g = append(g, fmt.Sprint(c))
		}
		if len(w) > 10 && w[10] == "..." {
			if len(g) != 0 && fmt.Sprint(len(g)) == w[11] {
				w, g = w[:10], g[:10]
			}
		}
		if slicesDiffer(w, g) && !wrappedBody(got.Body) {
			return fmt.Sprintf("want %v, got %v", want.Chunks, got.Chunks)
		}
	}
	if !wrappedBody(got.Body) {
		return ""
	}
	rest := string(got.Body)
	for i, n := range got.Chunks {
		if n > len(rest) {
			return "pieces are longer than the body"
		}
		piece := rest[:n]
		rest = rest[n:]
		units := len(utf16.Encode([]rune(piece)))
		if i < len(got.Chunks)-2 && units != 1024 && units != 1023 || units > 1024 {
			return fmt.Sprintf("piece %d holds %d characters", i, units)
		}
	}
	return ""
}

// compareAnswer compares what the caller got. Dates differ; all else is equal, the order of headers too.
func compareAnswer(want clientAnswer, got *clientGot) []string {
	var diffs []string
	if want.StatusLine != got.statusLine {
		diffs = append(diffs, fmt.Sprintf("caller got another status line:\n\twant %q\n\tgot  %q (%v)", want.StatusLine, got.statusLine, got.err))
	}
	set := func(hs [][2]string) string {
		var out []string
		for _, h := range hs {
			value := varies(h[1])
			if strings.EqualFold(h[0], "Date") && !strings.HasSuffix(h[1], "07:28:00 GMT") {
				value = "<date>"
			}
			out = append(out, h[0]+": "+value)
		}
		return strings.Join(out, "\n\t\t")
	}
	if list := regexp.MustCompile(`"script_root_path_href":"https://[^/]*/admin/vfs([^"]*?)/[^/"]+/"`).FindSubmatch(got.body); list != nil {
		got.body = bytes.ReplaceAll(bytes.ReplaceAll(got.body, list[1], []byte("<app>")), []byte("/vfs/tmp/Fun"), []byte("/vfs<home><temp>/Fun"))
	}
	if bytes.Contains(got.body, []byte("admin/vfs")) || hostIDs.Match(got.body) {
		// The host's id and its uptime, and the names of folders make the length.
		want.Headers, want.BodyBytes = append([][2]string(nil), want.Headers...), 0
		for i := range want.Headers {
			if want.Headers[i][0] == "Content-Length" {
				want.Headers[i][1] = header(got.headers, "Content-Length")
			}
		}
	}
	if w, g := set(want.Headers), set(got.headers); w != g {
		diffs = append(diffs, fmt.Sprintf("caller got another header:\n\twant\t%s\n\tgot\t%s", w, g))
	}
	if want.Framing != "" && want.Framing != got.framing {
		diffs = append(diffs, fmt.Sprintf("caller got another framing: want %s, got %s", want.Framing, got.framing))
	}
	if (want.Error != "") != (got.err != nil) {
		diffs = append(diffs, fmt.Sprintf("caller got another end: want %q, got %v", want.Error, got.err))
	}
	if want.Error != "" {
		return diffs
	}
	if d := compareBody(want.Body, want.BodyBase64, want.BodyBytes, got.body); d != "" {
		diffs = append(diffs, "caller got another body: "+d)
	}
	return diffs
}

func header(hs [][2]string, name string) string {
	for _, h := range hs {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

var logLevels = map[string]Level{"trce": Trace, "dbug": Debug, "info": Information, "warn": Warning, "fail": Error, "crit": Critical}

// logLines are the lines that the README says to compare: of functions and of the handler's console.
func logLines(r *recording) []string {
	var out []string
	for _, l := range r.HostLog {
		if !strings.HasPrefix(l[1], "Function.") && l[1] != consoleCategory {
			continue
		}
		if r.Name[0] == 'C' && !r.holds(l[1]) {
			continue // other timers of the app ran meanwhile
		}
		text, times := l[2], 1
		if at := strings.LastIndex(text, "   [this entry "); at >= 0 {
			_, _ = fmt.Sscanf(text[at:], "   [this entry %d times in a row]", &times)
			text = text[:at]
		}
		if at := strings.Index(text, "\nMS_FUNCTION_"); at >= 0 {
			text = text[:at] // platform lines of E-appservice-*
		}
		for range times {
			out = append(out, logLevels[l[0]].String()+" "+l[1]+" "+varies(strings.TrimRight(cutFrames.ReplaceAllString(text, ""), "\n")))
		}
	}
	return out
}

// holds tells whether the recording's app, as far as it is listed, has the function of a log category.
func (r *recording) holds(category string) bool {
	var listed map[string]json.RawMessage
	if json.Unmarshal(r.FunctionJSON, &listed) != nil {
		return true
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(category, "Function."), ".")
	_, ok := listed[name]
	return ok || category == consoleCategory
}

func entryLines(entries []LogEntry) []string {
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Category, "Function.") || e.Category == consoleCategory {
			out = append(out, e.Level.String()+" "+e.Category+" "+varies(e.Text))
		}
	}
	return out
}

// sameLine allows a recorded exception to be cut.
func sameLine(want, got string) bool {
	return want == got || (strings.Contains(want, "\n") || len(want) > 400) && strings.HasPrefix(got, want)
}

func compareLog(want, got []string) []string {
	for i := range max(len(want), len(got)) {
		w, g := "(nothing)", "(nothing)"
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if !sameLine(w, g) {
			return []string{fmt.Sprintf("another log, line %d:\n\twant %s\n\tgot  %s", i+1, short(w), short(g))}
		}
	}
	return nil
}
