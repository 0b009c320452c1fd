package header

import (
	"bufio"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var headers = []string{
	"", "A: b\r\n", "a-b:c\r\nA-B:\t d \r\n", "Content-Length: 3\r\nX-Y: \xff\r\n", "Empty:\r\n", ":\r\n", "A\r\n", "A : b\r\n", " A: b\r\n", "A: b\r\n c\r\n",
	"A: b\n", "A: b\rc\r\n", "A: \x00\r\n", "A: b\r\nB", "Pragma: no-cache\r\n", "Pragma: no-cache\r\nCache-Control: x\r\n", "Ä: b\r\n", "a:b:c\r\n", "A: b\r\n\r\n", "\r\nA: b\r\n",
}

// What Fields takes, net/textproto reads in the same way.
func FuzzFields(f *testing.F) {
	for _, text := range headers {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := Fields(text)
		if !ok {
			return
		}
		want, err := textproto.NewReader(bufio.NewReader(strings.NewReader(text + "\r\n"))).ReadMIMEHeader()
		if err != nil {
			t.Fatalf("took what net/textproto refuses: %v", err)
		}
		if pragma := want["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && want["Cache-Control"] == nil {
			want["Cache-Control"] = []string{"no-cache"}
		}
		if d := cmp.Diff(http.Header(want), got); d != "" {
			t.Errorf("%q (- net/textproto, + ours):\n%s", text, d)
		}
		for name, values := range got {
			_ = append(values, "more") // must not grow into another's
			if !Token(name) {
				t.Errorf("a name: %q", name)
			}
		}
		if again, _ := Fields(text); !cmp.Equal(again, got) {
			t.Error("its values share memory")
		}
	})
}

func TestWhatFieldsTakes(t *testing.T) {
	taken := 0
	for _, text := range headers {
		if _, ok := Fields(text); ok {
			taken++
		}
	}
	if want := 8; taken != want {
		t.Errorf("%d of the headers are plain, want %d", taken, want)
	}
}

func TestLength(t *testing.T) {
	for value, want := range map[string]int64{"0": 0, "007": 7, "999999999999999999": 999999999999999999} {
		if n, ok := Length(value); n != want || !ok {
			t.Errorf("%q: %d, %t", value, n, ok)
		}
	}
	for _, value := range []string{"", "-1", "+1", " 1", "1 ", "0x1", "1,1", "1000000000000000000", "99999999999999999999"} {
		if n, ok := Length(value); ok {
			t.Errorf("%q: %d", value, n)
		}
	}
}

func TestHost(t *testing.T) {
	for host, want := range map[string]bool{"a.example": true, "127.0.0.1:80": true, "[::1]:80": true, "": false, "a b": false, "a/b": false, "a%b": false, "ü": false, "a@b": false} {
		if Host(host) != want {
			t.Errorf("%q: want %t", host, want)
		}
	}
}
