package invocation

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// disk is a file in memory that can go wrong. The zero value has no room.
type disk struct {
	room    int // Write fails beyond, and has then written what fits
	readsOK int // ReadAt fails after so many; negative = never
	data    []byte
	closed  int
	written int // calls of Write that brought something
}

var errBroken = errors.New("input/output error")

func (d *disk) Write(p []byte) (int, error) {
	d.written++
	if n := d.room - len(d.data); n < len(p) {
		d.data = append(d.data, p[:n]...)
		return n, syscall.ENOSPC
	}
	d.data = append(d.data, p...)
	return len(p), nil
}

func (d *disk) ReadAt(p []byte, at int64) (int, error) {
	if d.readsOK == 0 {
		return 0, errBroken
	}
	d.readsOK--
	if n := copy(p, d.data[at:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (d *disk) Close() error { d.closed++; return nil }

// fill writes a body in pieces of random sizes, most of them small.
func fill(t *testing.T, b *Body, text []byte, random *rand.Rand) {
	t.Helper()
	for len(text) > 0 {
		most := 7
		if random.IntN(3) == 0 {
			most = 70_000
		}
		n := min(len(text), 1+random.IntN(most))
		if _, err := b.Write(text[:n]); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
}

// written is all that comes of an answer.
type written struct {
	Envelope, Fault string
	Dropped         []string
	Event           string
}

func writeBoth(t *testing.T, outputs []Output, status int, header http.Header, body *Body) written {
	t.Helper()
	var http, event bytes.Buffer
	dropped, err := WriteHTTP(&http, outputs, status, header, body)
	w := written{Envelope: http.String(), Dropped: dropped}
	if err != nil {
		w.Fault = err.Error()
	}
	if err := WriteEvent(&event, outputs, []string{"line"}, body); err != nil {
		t.Fatal(err)
	}
	w.Event = event.String()
	return w
}

var outputSets = [][]Output{res, returned, {{Type: "queue", Name: "q"}, {Type: "http", Name: "res"}, {Type: "blob", Name: "b"}}, {{Type: "http", Name: "res"}, {Type: "queue", Name: "$return"}}, {{Type: "queue", Name: "q"}}, nil}

// FuzzSpilledBodies: whatever the pieces in which a body comes, and wherever it stands at the end, the host gets the same bytes, or the same is said to be
// wrong with it. The disk has room for all of it, for none or for a part.
func FuzzSpilledBodies(f *testing.F) {
	long := strings.Repeat("0123456789\"\\\n\u2028é😀\x00", 5_000)
	for i, text := range []string{
		"", "x", "text é", "2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05.000Z and more than a date is", "/Date(1700000000000)/", "\xff\xfe", "é\xc3", "😀\xf0\x9f\x98",
		"\xed\xa0\x80", "a\xc0\x80", "\xf4\x90\x80\x80", "é\xa9", long, long + "\xff", long + "\xe2\x82", "\xe2\x82" + long, strings.Repeat("漢", 30_000),
	} {
		for room := range 3 {
			f.Add(uint64(i), 200, "text/plain; charset=iso-8859-1", []byte(text), uint16(i%50), uint32(room*len(text)/2))
		}
		f.Add(uint64(i), 404, "text/plain", []byte(text), uint16(0), uint32(1<<30))
	}
	f.Fuzz(func(t *testing.T, seed uint64, status int, contentType string, text []byte, threshold uint16, room uint32) {
		random := rand.New(rand.NewPCG(seed, 1))
		outputs := outputSets[seed%uint64(len(outputSets))]
		header := http.Header{"Content-Type": {contentType}}
		d := &disk{room: int(room), readsOK: -1}
		spill := &Spill{Threshold: int(threshold) + 1, Create: func() (File, error) { return d, nil }}
		b := &Body{Spill: spill}
		if seed%2 == 1 {
			b.Expect(random.IntN(2*len(text) + 1)) // may be a lie
		}
		if seed%7 == 0 {
			b.Use(make([]byte, random.IntN(len(text)+1)))
		}
		fill(t, b, text, random)
		if got, want := writeBoth(t, outputs, status, header, b), writeBoth(t, outputs, status, header, InMemory(text)); !cmp.Equal(got, want) {
			t.Fatalf("a body of %d bytes, threshold %d, %d of them on the disk:\n%s", len(text), threshold, len(d.data), cmp.Diff(want, got))
		}
		if b.Len() != len(text) || b.text() != utf8.Valid(text) {
			t.Fatalf("%d bytes, text %t: want %d, %t", b.Len(), b.text(), len(text), utf8.Valid(text))
		}
		if b.Free(); d.written > 0 && d.closed != 1 {
			t.Fatalf("the file was closed %d times, want once", d.closed)
		}
	})
}

// TestWhereABodyStands tells memory from file.
func TestWhereABodyStands(t *testing.T) {
	for name, row := range map[string]struct {
		expected, place int
		pieces          []int
		inFile          bool
		disk            *disk
	}{
		"up to the threshold": {pieces: []int{60, 40}},
		"beyond it":           {pieces: []int{60, 41}, inFile: true},
		"beyond it at once":   {pieces: []int{101}, inFile: true},
		"announced to be beyond it, from the first byte": {expected: 101, pieces: []int{1}, inFile: true},
		"announced, and nothing came":                    {expected: 101},
		"in memory that is there":                        {expected: 150, place: 150, pieces: []int{100, 50}},
		"beyond memory that is there":                    {expected: 150, place: 150, pieces: []int{100, 51}, inFile: true},
		"no room on the disk":                            {pieces: []int{60, 41}, disk: &disk{}},
		"no room for the rest":                           {pieces: []int{60, 60, 60}, disk: &disk{room: 130, readsOK: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			if row.disk == nil {
				row.disk = &disk{room: 1 << 20, readsOK: -1}
			}
			b := &Body{Spill: &Spill{Threshold: 100, Create: func() (File, error) { return row.disk, nil }}}
			b.Expect(row.expected)
			if row.place > 0 {
				b.Use(make([]byte, row.place))
			}
			total := 0
			for _, n := range row.pieces {
				if _, err := b.Write(bytes.Repeat([]byte("x"), n)); err != nil {
					t.Fatal(err)
				}
				total += n
			}
			if inFile := b.file != nil; inFile != row.inFile {
				t.Errorf("in a file: %t, want %t", inFile, row.inFile)
			}
			if row.inFile && b.memory != nil {
				t.Errorf("in a file, and %d bytes in memory", cap(b.memory))
			}
			if b.Len() != total {
				t.Errorf("%d bytes, want %d", b.Len(), total)
			}
			b.Free()
			if row.disk.written > 0 && row.disk.closed != 1 {
				t.Errorf("the file was closed %d times", row.disk.closed)
			}
		})
	}
}

// TestADiskThatFillsLosesNothing: what stands in the file comes back into memory, and the log says so once, however many answers it meets.
func TestADiskThatFillsLosesNothing(t *testing.T) {
	text := []byte(strings.Repeat("0123456789é", 20_000))
	var log bytes.Buffer
	spill := &Spill{Threshold: 1000}
	for _, room := range []int{0, 1, 999, 1000, 1001, 70_000, len(text) - 1} {
		d := &disk{room: room, readsOK: -1}
		spill.Create = func() (File, error) { return d, nil }
		b := &Body{Spill: spill, Log: slog.New(slog.NewJSONHandler(&log, nil))}
		fill(t, b, text, rand.New(rand.NewPCG(1, uint64(room))))
		if b.file != nil || !bytes.Equal(b.memory, text) {
			t.Errorf("room for %d bytes: %d bytes are in memory, want all %d", room, len(b.memory), len(text))
		}
		if d.closed != 1 {
			t.Errorf("room for %d bytes: the file was closed %d times", room, d.closed)
		}
		b.Free()
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), `"level":"WARN","msg":"large answers stay in memory","dir":"`) ||
		!strings.Contains(log.String(), "no space left on device") {
		t.Errorf("want one warning, got %d: %s", lines, log.String())
	}
}

func TestAFileThatCannotBeReadBack(t *testing.T) {
	text := bytes.Repeat([]byte("x"), 5*encoderSize)
	var want *BodyError
	for reads, begun := range []bool{false, true, true} { // the third piece does not fit into the encoder's buffer beside the second
		for _, write := range []func(io.Writer, *Body) error{
			func(w io.Writer, b *Body) error { _, err := WriteHTTP(w, res, 200, http.Header{}, b); return err },
			func(w io.Writer, b *Body) error { return WriteEvent(w, []Output{{Type: "queue", Name: "q"}}, nil, b) },
		} {
			b := &Body{Spill: &Spill{Threshold: 1000, Create: func() (File, error) { return &disk{room: 1 << 20, readsOK: 2 * reads}, nil }}}
			fill(t, b, text, rand.New(rand.NewPCG(1, 1)))
			var out bytes.Buffer
			if err := write(&out, b); !errors.As(err, &want) || !errors.Is(err, errBroken) || (out.Len() > 0) != begun || bytes.Contains(out.Bytes(), []byte("}")) {
				t.Errorf("after %d reads: %v, and %d bytes written: want an error, begun %t, without an end", 2*reads, err, out.Len(), begun)
			}
			b.Free()
		}
	}
	// The disk is full, and what it holds is gone, too.
	b := &Body{Spill: &Spill{Threshold: 1000, Create: func() (File, error) { return &disk{room: 5000}, nil }}}
	if _, err := b.Write(text[:2000]); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(text); !errors.As(err, &want) || !errors.Is(err, errBroken) {
		t.Errorf("want an error, got %v", err)
	}
	b.Free()
}

// TestTemporaryFilesHaveNoName: on Unix the file is gone from its folder before anything is written; elsewhere at its end. Nobody else may read it.
func TestTemporaryFilesHaveNoName(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, dir)
	}
	b := &Body{Spill: &Spill{Threshold: 10}}
	text := []byte("longer than the threshold")
	if _, err := b.Write(text); err != nil || b.file == nil {
		t.Fatalf("the body stands in memory (%v)", err)
	}
	if f, ok := b.file.File.(*os.File); ok {
		info, err := f.Stat()
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != int64(len(text)) {
			t.Errorf("%v %v", info, err)
		}
		if filepath.Dir(f.Name()) != dir {
			t.Errorf("the file is %s, want one in %s", f.Name(), dir)
		}
	}
	list := func() []os.DirEntry {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	if found := list(); len(found) > 0 && runtime.GOOS != "windows" {
		t.Errorf("%v is in the folder while the answer comes", found)
	}
	if got, want := writeBoth(t, res, 200, http.Header{}, b), writeBoth(t, res, 200, http.Header{}, InMemory(text)); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	b.Free()
	if found := list(); len(found) > 0 {
		t.Errorf("%v is left in the folder", found)
	}
	if b.Len() != 0 {
		t.Errorf("%d bytes are left", b.Len())
	}
}

func TestANamedFileIsRemovedAtItsEnd(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	b := &Body{Spill: &Spill{Threshold: 1, Create: func() (File, error) { return named{f}, nil }}}
	_, _ = b.Write([]byte("text"))
	b.Free()
	if _, err := os.Stat(f.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// BenchmarkBody is the way of an answer over memory and over a file, in the pieces in which the relay hands it on.
func BenchmarkBody(b *testing.B) {
	for _, name := range []string{"1MiB", "10MiB"} {
		text := bytes.Repeat([]byte(`{"id":1,"name":"item","tags":["a","b"]},`), sizes[name]/40+1)[:sizes[name]]
		for way, spill := range map[string]*Spill{"memory": nil, "file": {}} {
			if spill != nil {
				spill.Threshold = 1 << 10
			}
			b.Run(name+"/"+way, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					body := &Body{Spill: spill}
					body.Expect(len(text))
					for rest := text; len(rest) > 0; rest = rest[min(len(rest), 64<<10):] {
						if _, err := body.Write(rest[:min(len(rest), 64<<10)]); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := WriteHTTP(discard{}, res, 200, http.Header{}, body); err != nil {
						b.Fatal(err)
					}
					body.Free()
				}
			})
		}
	}
}

// TestUTF8InPieces cuts texts into three at all of their bytes.
func TestUTF8InPieces(t *testing.T) {
	checked := 0
	for _, text := range []string{
		"é漢😀", "aé", "\xe2x", "\xe2\x82x", "\xf0\x9f\x98x", "\xf0\x9f", "é\xc3", "\xc3\xa9\xa9", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "\xf4\x8f\xbf\xbf",
		"\xe2\x82\xf0\x9f\x98\x80", "\xc3\xc3\xa9", "\x80é", "\xff", "\xf0\x80\x80\x80", "",
	} {
		for i := range len(text) + 1 {
			for j := i; j <= len(text); j++ {
				var c utf8Check
				for _, piece := range []string{text[:i], text[i:j], text[j:]} {
					c.write([]byte(piece))
				}
				if checked++; c.whole() != utf8.ValidString(text) {
					t.Errorf("%q %q %q: %t, want %t", text[:i], text[i:j], text[j:], c.whole(), utf8.ValidString(text))
				}
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d ways were checked", checked)
	}
}
