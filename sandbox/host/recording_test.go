package host

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	shared "apimrelay/internal/recording"
)

// recording is one file of testdata/recordings: what the real host sent and made of the answers.
type recording struct {
	Mode         string          `json:"mode"`
	Name         string          `json:"name"`
	Note         string          `json:"note"`
	HostJSON     json.RawMessage `json:"hostJson"`
	FunctionJSON json.RawMessage `json:"functionJson"`
	Client       shared.List[clientRequest]
	Received     shared.List[recordedRequest]
	Answered     json.RawMessage `json:"answered"`
	ClientGot    shared.List[clientAnswer]
	Events       []event     `json:"handlerEvents"`
	HostLog      [][3]string `json:"hostLog"`

	Argv []string          `json:"argv"`
	Cwd  string            `json:"cwd"`
	Env  map[string]string `json:"env"`
	Add  []string          `json:"addedByHost"`
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
		// The long binary body of the recordings is 00 to FF over and over; 200 characters of
		// base64 show the first 150 of them.
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
	return shared.Load[*recording](t, "*")
}

// The keys of these tests; as placeholders in the recordings.
const (
	testFunctionKey = "fk-0123456789abcdefghijklmnopqrstuvwxyz"
	testHostKey     = "hk-0123456789abcdefghijklmnopqrstuvwxyz"
	testMasterKey   = "mk-0123456789abcdefghijklmnopqrstuvwxyz"
)

var placeholders = strings.NewReplacer("<function-key>", testFunctionKey, "<host-key>", testHostKey,
	"<master-key>", testMasterKey)

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

// varies is what the recordings' README lists as different from run to run; nothing else is
// normalized.
func varies(s string) string {
	s = strings.NewReplacer(testFunctionKey, "<function-key>", testHostKey, "<host-key>",
		testMasterKey, "<master-key>").Replace(s)
	s = guids.ReplaceAllString(s, "<guid>")
	s = times.ReplaceAllString(s, "<time>")
	s = localPort.ReplaceAllString(s, "$1:<port>")
	s = durations.ReplaceAllString(s, "Duration=<ms>")
	s = receipts.ReplaceAllString(s, `"PopReceipt":"<receipt>"`)
	s = uptimes.ReplaceAllString(hostIDs.ReplaceAllString(s, `{"id":"<host>","state"`),
		`"processUptime":<ms>`)
	s = traces.ReplaceAllString(s, "00-<trace>-")
	return waits.ReplaceAllString(s, "<wait>")
}

// What is compared is what a handler written with an ordinary HTTP library and a caller with an
// ordinary client can see: method and target, status, header fields as a set with the values of
// each in order, the body, whether it has a length or comes in chunks, log lines, retries, kills
// and the life cycle. Order and spelling of names, blanks and line breaks within the value of a
// field, reason phrases, sizes of chunks, the frames of an answer that breaks off, and lengths of
// nothing are not seen by such programs, and not compared.

// fieldSet writes the fields of a header down in one order: each name once, with its values in
// order, a list in one line or in several alike (RFC 9110, section 5.3).
func fieldSet(hs [][2]string) []string {
	lines := map[string][]string{}
	for _, h := range hs {
		name := strings.ToLower(h[0])
		value := varies(h[1])
		if name == "date" && !strings.HasSuffix(h[1], "07:28:00 GMT") {
			value = "<date>"
		}
		if name != "set-cookie" {
			value = elements(value)
		}
		lines[name] = append(lines[name], value)
	}
	var out []string
	for name, values := range lines {
		out = append(out, name+": "+strings.Join(values, ", "))
	}
	sort.Strings(out)
	return out
}

var aroundSeparators = regexp.MustCompile(`[ \t]*([,;])[ \t]*`)

// elements writes a list with one blank behind each separator.
func elements(value string) string {
	return strings.TrimSpace(aroundSeparators.ReplaceAllString(value, "$1 "))
}

// withoutFraming drops the fields that say how long a body is, which are compared with the body,
// not with the header.
func withoutFraming(hs [][2]string) [][2]string {
	return slices.DeleteFunc(slices.Clone(hs), func(h [2]string) bool {
		return strings.EqualFold(h[0], "Content-Length") ||
			strings.EqualFold(h[0], "Transfer-Encoding")
	})
}

// compareReceived compares what the handler got with what the real host sent it.
func compareReceived(want recordedRequest, got *received) []string {
	var diffs []string
	differ := func(what string, w, g any) {
		if fmt.Sprint(w) != fmt.Sprint(g) {
			diffs = append(diffs, fmt.Sprintf("handler got another %s:\n\twant %v\n\tgot  %v", what,
				w, g))
		}
	}
	differ("request line", varies(want.RequestLine), varies(got.RequestLine))
	differ("header", strings.Join(fieldSet(withoutFraming(want.Headers)), "\n\t\t"),
		strings.Join(fieldSet(withoutFraming(got.Headers)), "\n\t\t"))
	differ("framing", framingOf(want.Framing, want.Headers), framingOf(got.Framing, got.Headers))
	if d := compareBody(want.Body, want.BodyBase64, want.BodyBytes, got.Body); d != "" {
		diffs = append(diffs, "handler got another body: "+d)
	}
	return diffs
}

// framingOf is how a request says its body's length: a length of nothing is no body.
func framingOf(framing string, hs [][2]string) string {
	if framing == "content-length" && header(hs, "Content-Length") == "0" {
		return "none"
	}
	return framing
}

func slicesDiffer(a, b []string) bool { return strings.Join(a, "\n") != strings.Join(b, "\n") }

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
		if w, g := varies(headerObjects(s)), varies(headerObjects(actual)); w != g {
			return "\n\twant " + short(w) + "\n\tgot  " + short(g)
		}
		return ""
	}
	if err := json.Unmarshal(raw, &part); err != nil {
		return err.Error()
	}
	actual, part.Starts = headerObjects(actual), headerObjects(part.Starts)
	if slack := 8; size > 0 && (len(got) < size-slack*len(times.FindAllString(part.Ends, -1)) ||
		len(got) > size+slack) {
		return fmt.Sprintf("want %d bytes, got %d", size, len(got))
	}
	if head := varies(part.Starts); !strings.HasPrefix(
		varies(actual[:min(len(actual), len(part.Starts)+200)]), head[:max(0, len(head)-40)]) {
		return "\n\twant it to start " + short(head) + "\n\tgot  " + short(varies(actual))
	}
	if tail := varies(part.Ends); !strings.HasSuffix(
		varies(actual[max(0, len(actual)-len(part.Ends)-200):]), tail) {
		return "\n\twant it to end " + short(tail) + "\n\tgot  " +
			short(varies(actual[max(0, len(actual)-len(part.Ends)):]))
	}
	return ""
}

func short(s string) string {
	if len(s) > 3000 {
		return s[:3000] + "…"
	}
	return s
}

// headerObjects puts the members of each Headers object of a wrapped request in one order and their
// names in lower case: they are the caller's header.
func headerObjects(body string) string {
	const begin = `"Headers":`
	var out strings.Builder
	for {
		at := strings.Index(body, begin)
		if at < 0 {
			break
		}
		out.WriteString(body[:at+len(begin)])
		body = body[at+len(begin):]
		dec := json.NewDecoder(strings.NewReader(body))
		members := map[string]any{}
		if !strings.HasPrefix(body, "{") || dec.Decode(&members) != nil {
			continue
		}
		folded := map[string]any{}
		for name, value := range members {
			folded[strings.ToLower(name)] = value
		}
		enc := json.NewEncoder(&out) // in order of the names
		enc.SetEscapeHTML(false)
		_ = enc.Encode(folded)
		body = body[dec.InputOffset():]
	}
	out.WriteString(body)
	return out.String()
}

// compareAnswer compares what the caller got.
func compareAnswer(want clientAnswer, got *clientGot) []string {
	var diffs []string
	if statusCode(want.StatusLine) != statusCode(got.statusLine) {
		diffs = append(diffs, fmt.Sprintf("caller got another status:\n\twant %q\n\tgot  %q (%v)",
			want.StatusLine, got.statusLine, got.err))
	}
	if list := regexp.MustCompile(
		`"script_root_path_href":"https://[^/]*/admin/vfs([^"]*?)/[^/"]+/"`).FindSubmatch(
		got.body); list != nil {
		got.body = bytes.ReplaceAll(bytes.ReplaceAll(got.body, list[1], []byte("<app>")),
			[]byte("/vfs/tmp/Fun"), []byte("/vfs<home><temp>/Fun"))
	}
	if bytes.Contains(got.body, []byte("admin/vfs")) || hostIDs.Match(got.body) {
		want.BodyBytes = 0 // the host's id and its uptime, and the names of folders make the length
	}
	if w, g := fieldSet(answerFields(want.Headers, want.Framing)),
		fieldSet(answerFields(got.headers, got.framing)); slicesDiffer(w, g) {
		diffs = append(diffs, fmt.Sprintf("caller got another header:\n\twant\t%s\n\tgot\t%s",
			strings.Join(w, "\n\t\t"), strings.Join(g, "\n\t\t")))
	}
	if want.Framing != "" && want.Framing != got.framing {
		diffs = append(diffs, fmt.Sprintf("caller got another framing: want %s, got %s",
			want.Framing, got.framing))
	}
	if (want.Error != "") != (got.err != nil) {
		diffs = append(diffs, fmt.Sprintf("caller got another end: want %q, got %v", want.Error,
			got.err))
	}
	if want.Error != "" {
		return diffs
	}
	if d := compareBody(want.Body, want.BodyBase64, want.BodyBytes, got.body); d != "" {
		diffs = append(diffs, "caller got another body: "+d)
	}
	return diffs
}

// answerFields are the fields of an answer but for those of its framing, and whether the connection
// stays. Of an answer without a body, to HEAD for instance, the length is a fact of its own.
func answerFields(hs [][2]string, framing string) [][2]string {
	if framing != "none" || header(hs, "Content-Length") == "0" {
		hs = withoutFraming(hs)
	}
	return slices.DeleteFunc(slices.Clone(hs),
		func(h [2]string) bool { return strings.EqualFold(h[0], "Connection") && h[1] == "close" })
}

func statusCode(line string) string {
	_, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	return code
}

func header(hs [][2]string, name string) string {
	for _, h := range hs {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

var logLevels = map[string]Level{"trce": Trace, "dbug": Debug, "info": Information, "warn": Warning,
	"fail": Error, "crit": Critical}

// logLines are the lines that the README says to compare: of functions and of the handler's
// console.
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
			out = append(out, logLevels[l[0]].String()+" "+l[1]+" "+varies(
				logText(cutFrames.ReplaceAllString(text, ""))))
		}
	}
	return out
}

// holds reports whether the recording's app, as far as it is listed, has the function of a log
// category.
func (r *recording) holds(category string) bool {
	var listed map[string]json.RawMessage
	if json.Unmarshal(r.FunctionJSON, &listed) != nil {
		return true
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(category, "Function."), ".")
	_, ok := listed[name]
	return ok || category == consoleCategory
}

var fieldLine = regexp.MustCompile(`(?m)^  ([!#$%&'*+.^_|~0-9A-Za-z-]+): (.*)\n?`)

// logText writes a line of the log down without the length and the reason phrase of a message that
// it prints, and with that message's fields behind the rest, in one order.
func logText(text string) string {
	text = phrases.ReplaceAllString(strings.TrimRight(text, "\n"), "$1$2")
	var hs [][2]string
	for _, f := range fieldLine.FindAllStringSubmatch(text, -1) {
		hs = append(hs, [2]string{f[1], f[2]})
	}
	if hs == nil {
		return headerObjects(text)
	}
	text = strings.TrimSuffix(strings.TrimRight(fieldLine.ReplaceAllString(text, ""), "\n"), "\n}")
	return text + "\n" + strings.Join(fieldSet(withoutFraming(hs)), "\n")
}

var phrases = regexp.MustCompile(
	`(success: \d+|StatusCode: \d+), ReasonPhrase: '[^']*'|(success: \d+) \([^)]*\)`)

func entryLines(entries []LogEntry) []string {
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Category, "Function.") || e.Category == consoleCategory {
			out = append(out, e.Level.String()+" "+e.Category+" "+varies(logText(e.Text)))
		}
	}
	return out
}

// sameLine allows a recorded exception to be cut: of the fields of a message that it prints then
// only the first are there.
func sameLine(want, got string) bool {
	if want == got || (strings.Contains(want, "\n") || len(want) > 400) &&
		strings.HasPrefix(got, want) {
		return true
	}
	head, fields, printed := strings.Cut(want, "Headers:\n{\n")
	gotHead, gotFields, _ := strings.Cut(got, "Headers:\n{\n")
	has := strings.Split(gotFields, "\n")
	return printed && head == gotHead && !slices.ContainsFunc(strings.Split(fields, "\n"),
		func(f string) bool { return !slices.Contains(has, f) })
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
			return []string{fmt.Sprintf("another log, line %d:\n\twant %s\n\tgot  %s", i+1,
				short(w), short(g))}
		}
	}
	return nil
}
