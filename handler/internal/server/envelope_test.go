package server

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"apimrelay/handler/internal/invocation"
)

// TestAnAnswerTakesTheUploadsPlace: once the upload has gone its memory is the answer's; never while somebody may still read it.
func TestAnAnswerTakesTheUploadsPlace(t *testing.T) {
	for _, c := range []struct {
		name   string
		read   func(*keptUpload)
		answer int
		taken  bool
	}{
		{"nobody has begun to read", func(*keptUpload) {}, 80 << 10, true},
		{"read to its end", func(u *keptUpload) { r, _ := u.open(); _, _ = io.Copy(io.Discard, r) }, 80 << 10, true},
		{"read in part: the answer came early", func(u *keptUpload) { r, _ := u.open(); _, _ = io.CopyN(io.Discard, r, 10) }, 80 << 10, false},
		{"read to its end, and again in part", func(u *keptUpload) {
			r, _ := u.open()
			_, _ = io.Copy(io.Discard, r)
			r, _ = u.open()
			_, _ = io.CopyN(io.Discard, r, 10)
		}, 80 << 10, false},
		{"closed without having been read", func(u *keptUpload) { r, _ := u.open(); _ = r.Close() }, 80 << 10, false},
		{"an answer that is larger", func(u *keptUpload) { r, _ := u.open(); _, _ = io.Copy(io.Discard, r) }, 120 << 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := bytes.Repeat([]byte("u"), 100<<10)
			u := &keptUpload{body: body}
			c.read(u)
			e := &envelope{header: http.Header{}, upload: u}
			answer := bytes.Repeat([]byte("a"), c.answer)
			e.header.Set("Content-Length", strconv.Itoa(c.answer))
			for piece := range 4 { // as it comes
				n := c.answer / 4
				if _, err := e.Write(answer[piece*n : (piece+1)*n]); err != nil {
					t.Fatal(err)
				}
			}
			var sent bytes.Buffer
			if _, err := invocation.WriteHTTP(&sent, []invocation.Output{{Type: "http", Name: "res"}}, 200, http.Header{}, &e.body); err != nil {
				t.Fatal(err)
			}
			if want := `"body":"` + string(answer) + `"`; e.body.Len() != len(answer) || !strings.Contains(sent.String(), want) {
				t.Errorf("the answer has %d bytes, want %d, or other ones", e.body.Len(), len(answer))
			}
			if taken := body[0] == 'a'; taken != c.taken {
				t.Errorf("the upload's memory was taken: %t, want %t", taken, c.taken)
			}
			if !c.taken && !bytes.Equal(u.body, bytes.Repeat([]byte("u"), 100<<10)) {
				t.Error("the upload has changed while somebody reads it")
			}
			e.free()
		})
	}
}

// TestMemoryIsLentToOneAtATime: what was given back is lent again, empty.
func TestMemoryIsLentToOneAtATime(t *testing.T) {
	a, b := invocation.Borrow(1<<20), invocation.Borrow(1<<20)
	a, b = append(a, 'a'), append(b, 'b')
	if a[0] != 'a' || b[0] != 'b' {
		t.Fatal("two borrowers have the same memory")
	}
	invocation.Return(a)
	if again := invocation.Borrow(1 << 20); len(again) != 0 || cap(again) < 1<<20 {
		t.Errorf("lent %d bytes with room for %d", len(again), cap(again))
	}
}
