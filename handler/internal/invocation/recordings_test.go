package invocation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// recording is one recorded exchange of the Functions host 4.1037; testdata holds those that this package reads.
type recording struct {
	Name         string
	FunctionJSON map[string]struct {
		Bindings []struct{ Type, Direction, Name string }
	}
	Client    *message
	Received  messages
	Answered  message
	ClientGot *message
}

type message struct {
	RequestLine string
	Status      int
	Headers     [][2]string
	Body        any // a text; or a description of a long one
	BodyBase64  any
	Chunks      []any
}

type messages []message

func (m *messages) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if b[0] == '[' {
		return json.Unmarshal(b, (*[]message)(m))
	}
	*m = make(messages, 1)
	return json.Unmarshal(b, &(*m)[0])
}

func (m message) header(name string) string {
	for _, h := range m.Headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

func load(t testing.TB, name string) recording {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

// loadAll returns the recordings that match a pattern, by name.
func loadAll(t testing.TB, pattern string) map[string]recording {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern+".json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("want recordings %s, got none: %v", pattern, err)
	}
	all := make(map[string]recording, len(files))
	for _, file := range files {
		name := filepath.Base(file[:len(file)-len(".json")])
		all[name] = load(t, name)
	}
	return all
}

// envelopes returns the bodies that the host sent to wrapped calls, in order.
func (r recording) envelopes() []string {
	var list []string
	for _, m := range r.Received {
		if body, ok := m.Body.(string); ok && body != "" {
			list = append(list, body)
		}
	}
	return list
}
