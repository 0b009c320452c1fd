package e2e

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

var update = flag.Bool("update", false, "write what was found into docs/triggers.md and deploy/examples/*/arrives.http")

// example is a folder of deploy/examples: a function with its settings, what fires it, and what arrives at the API then.
type example struct {
	dir      string
	settings map[string]string
	event    struct {
		Function string
		Input    *string
		Base64   []byte // the input of a binary trigger
		Many     []string
		Metadata map[string]string
		Request  *struct {
			Method, Path, Body string
			Headers            map[string]string
		}
	}
}

func readExamples(t *testing.T) []*example {
	t.Helper()
	dirs, err := filepath.Glob("../deploy/examples/*/function.json")
	if err != nil || len(dirs) < 10 {
		t.Fatalf("want ten examples at least, got %q, %v", dirs, err)
	}
	var all []*example
	for _, file := range dirs {
		e := &example{dir: filepath.Dir(file)}
		for name, into := range map[string]any{"settings.json": &e.settings, "event.json": &e.event} {
			data, err := os.ReadFile(filepath.Join(e.dir, name))
			if err == nil {
				err = json.Unmarshal(data, into)
			}
			if err != nil {
				t.Fatalf("%s: %v", filepath.Join(e.dir, name), err)
			}
		}
		all = append(all, e)
	}
	return all
}

// environ is the example's settings with the placeholders filled in. What stands for Azure's own services is only there to be set.
func (e *example) environ(gateway string) []string {
	fill := strings.NewReplacer("https://contoso.azure-api.net", gateway, "<client id of the writer>", identity.WriterClientID, "<subscription key of the writer>", secondaryKey)
	var list []string
	for name, value := range e.settings {
		list = append(list, name+"="+fill.Replace(value))
	}
	return list
}

// TestExamples runs each example below the host's stand-in, with the deployed policies behind it, and compares what arrives with what the folder says.
func TestExamples(t *testing.T) {
	root, azure := t.TempDir(), newAzure(t)
	examples := readExamples(t)
	environ := azure.settings
	for _, e := range examples {
		if err := copyNew(filepath.Join(e.dir, "function.json"), filepath.Join(root, e.event.Function, "function.json")); err != nil {
			t.Fatal(err)
		}
		for name := range e.settings {
			if function, _, own := strings.Cut(name, "__Apim"); own && function != e.event.Function {
				t.Errorf("%s: settings.json: %s is of another function", e.dir, name)
			}
		}
		environ = append(environ, e.environ(azure.spy.server.URL)...)
	}
	if err := stage(root); err != nil {
		t.Fatal(err)
	}
	var log logBook
	h := startHostOn(t, host.Config{Root: root, Environ: environ, OnLog: log.add})
	for _, e := range examples {
		t.Run(filepath.Base(e.dir), func(t *testing.T) {
			azure.spy.forget()
			e.fire(t, h)
			seen := azure.spy.seen()
			if len(seen) != 1 {
				t.Fatalf("want one call, got %d\n%s", len(seen), log.of(e.event.Function))
			}
			e.compare(t, render(seen[0]))
			e.checkReadme(t)
		})
	}
	if text := log.of(""); strings.Contains(text, `"msg":"fault"`) || strings.Contains(text, `"msg":"notice"`) {
		t.Errorf("want no fault and no notice at start, got\n%s", text)
	}
	for _, m := range h.Outputs() {
		if m.Function == "OrderMessages" && m.Target == "order-answers" && strings.Contains(string(m.Body), `"path": "/messages"`) {
			return
		}
	}
	t.Errorf("want the answer of OrderMessages on order-answers, got %+v", h.Outputs())
}

func (e *example) fire(t *testing.T, h *host.Host) {
	t.Helper()
	if r := e.event.Request; r != nil {
		args := []string{r.Method, "http://" + h.Addr() + r.Path, "x-functions-key: " + functionKey}
		for name, value := range r.Headers {
			args = append(args, name+": "+value)
		}
		if status, text, err := send(append(args, "@"+r.Body)); err != nil || status != 200 {
			t.Fatalf("want 200, got %v\n%s", err, text)
		}
		return
	}
	event := host.Event{Input: e.event.Input, Many: e.event.Many, Metadata: e.event.Metadata}
	if e.event.Base64 != nil {
		text := string(e.event.Base64)
		event.Input = &text
	}
	run, err := h.Fire(e.event.Function, event)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-run.Done():
	case <-time.After(patience):
		t.Fatal("the run does not end")
	}
	if run.Err() != nil {
		t.Fatal(run.Err())
	}
}

func (e *example) compare(t *testing.T, got string) {
	t.Helper()
	file := filepath.Join(e.dir, "arrives.http")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// checkReadme holds the README's worst case to the table's.
func (e *example) checkReadme(t *testing.T) {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(e.dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(e.dir, "function.json"))
	if err != nil {
		t.Fatal(err)
	}
	var function struct{ Bindings []struct{ Type string } }
	if err := json.Unmarshal(data, &function); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(triggers, func(tr trigger) bool { return tr.kind == function.Bindings[0].Type })
	if i < 0 {
		t.Fatalf("docs/triggers.md has no row for %s", function.Bindings[0].Type)
	}
	if want := fmt.Sprintf("%d × 3 = %d call", triggers[i].runs, 3*triggers[i].runs); !strings.Contains(string(readme), want) {
		t.Errorf("README.md: want the worst case %q", want)
	}
}

// render writes a request with what differs from run to run replaced by what it is.
func render(r spied) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\n", r.Method, r.URL)
	var lines []string
	for name, values := range r.Header {
		for _, value := range values {
			switch name {
			case "Authorization":
				value = "Bearer <token of the " + callerOf(value) + ">"
			case "Ocp-Apim-Subscription-Key":
				value = map[string]string{primaryKey: "<key of the app>", secondaryKey: "<key of this function>"}[value]
			case "Idempotency-Key":
				value = mask(value, `^event-[0-9a-f]{32}$`, "event-<32 hexadecimal digits>")
			case "Content-Length":
				continue // net/http's server keeps it in another place
			}
			lines = append(lines, name+": "+value+"\n")
		}
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, "") + "\n")
	if utf8.Valid(r.Body) {
		b.Write(r.Body)
	} else {
		fmt.Fprintf(&b, "<bytes, here in base64: %s>", base64.StdEncoding.EncodeToString(r.Body))
	}
	return strings.TrimSuffix(b.String(), "\n") + "\n"
}

func mask(value, form, instead string) string {
	if regexp.MustCompile(form).MatchString(value) {
		return instead
	}
	return value
}

// logBook keeps the host's log, and with it the handler's.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logBook) add(e host.LogEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, e.Text)
}

// of returns the lines that hold a text.
func (l *logBook) of(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "\n")
}
