package invocation

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"unicode/utf8"
)

// Body is the body of an answer until all of it is there and can be judged: in memory up to the threshold of Spill, beyond it in a temporary file. It is
// kept as it came, not as the envelope will hold it: header fields may change until its end (trailers), one answer may go out as text and as base64, and
// of what cannot be carried nothing is encoded.
//
// The zero value is an empty body that stays in memory. It belongs to one goroutine. Call Free when it is done with, whatever has happened.
type Body struct {
	Spill *Spill       // nil = all of it stays in memory
	Log   *slog.Logger // told when a temporary file cannot be used; nil = nobody is

	memory   []byte
	place    int      // room of the memory that Use gave
	expected int      // announced length
	file     *spilled // nil = the body stands in memory
	stays    bool     // no file can be had for this body
}

// BodyError says that a body cannot be read back from its temporary file. It is no fault of the answer's.
type BodyError struct{ Err error }

func (e *BodyError) Error() string {
	return "reading a large answer back from its temporary file: " + e.Err.Error()
}

func (e *BodyError) Unwrap() error { return e.Err }

// InMemory makes a Body of bytes that are there.
func InMemory(b []byte) *Body { return &Body{memory: b} }

// Expect announces that n bytes will come. Until the first of them is there it costs nothing, and it need not be true.
func (b *Body) Expect(n int) { b.expected = n }

// Use gives an empty body memory to stand in, as far as it goes; it belongs to the body from then on. Since it is there already, it is filled also beyond
// the threshold.
func (b *Body) Use(memory []byte) { b.memory, b.place = memory[:0], cap(memory) }

// Len is the number of bytes that have come.
func (b *Body) Len() int {
	if b.file != nil {
		return b.file.length
	}
	return len(b.memory)
}

// Write appends a piece. The only error is a *[BodyError]: where no file can be made or written the body goes on in memory.
func (b *Body) Write(piece []byte) (int, error) {
	if b.file == nil && b.tooLong(len(piece)) {
		b.spill()
	}
	if b.file != nil {
		err := b.file.write(piece)
		if err == nil {
			return len(piece), nil
		}
		b.Spill.failed(b.Log, err)
		if err := b.recall(len(piece)); err != nil {
			return 0, &BodyError{err}
		}
	}
	if need := len(b.memory) + len(piece); b.memory == nil || need > cap(b.memory) && 2*cap(b.memory) <= DefaultThreshold {
		// In append's steps, of a quarter, a body of the threshold would leave four times its size behind it.
		larger := append(Borrow(max(need, b.expected, 2*cap(b.memory))), b.memory...)
		Return(b.memory)
		b.memory, b.place = larger, 0
	}
	b.memory = append(b.memory, piece...)
	return len(piece), nil
}

// tooLong tells whether n bytes more are too many for the memory. A length that is announced counts from the first byte, so that no memory is filled in vain.
func (b *Body) tooLong(n int) bool {
	return b.Spill != nil && !b.stays && max(len(b.memory)+n, b.expected) > max(b.Spill.threshold(), b.place)
}

// spill moves the body into a file, if there can be one.
func (b *Body) spill() {
	file, err := b.Spill.open()
	if err == nil {
		b.file = &spilled{File: file}
		if err = b.file.write(b.memory); err == nil {
			Return(b.memory)
			b.memory, b.place = nil, 0
			return
		}
		b.drop()
	}
	b.stays = true
	b.Spill.failed(b.Log, err)
}

// recall moves the body back into memory, with room for n bytes more.
func (b *Body) recall(n int) error {
	memory := Borrow(max(b.file.length+n, b.expected))[:b.file.length]
	if err := b.file.read(memory, 0); err != nil {
		return err
	}
	b.drop()
	b.memory, b.stays = memory, true
	return nil
}

func (b *Body) drop() {
	if b.file != nil {
		_ = b.file.Close()
		b.file = nil
	}
}

// ReadFrom appends all that r has. An error that is no *[BodyError] is r's.
func (b *Body) ReadFrom(r io.Reader) (n int64, err error) {
	buffer := pieceBuffers.Get().(*[pieceSize]byte)
	defer pieceBuffers.Put(buffer)
	for {
		got, err := r.Read(buffer[:])
		n += int64(got)
		if got > 0 {
			if _, err := b.Write(buffer[:got]); err != nil {
				return n, err
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// Reset makes the body empty.
func (b *Body) Reset() {
	b.drop()
	b.memory, b.expected, b.stays = b.memory[:0], 0, false
}

// Free gives back memory and file.
func (b *Body) Free() {
	b.Reset()
	Return(b.memory)
	b.memory, b.place = nil, 0
}

// pieceSize is how much of a file is read at once. Each piece but the last is a multiple of three, so that base64 of pieces is base64 of the whole.
const pieceSize = encoderSize / 4 * 3

var pieceBuffers = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// each hands over the body in pieces until take wants no more. The error is a *[BodyError].
func (b *Body) each(take func(piece []byte) bool) error {
	if b.file == nil {
		take(b.memory)
		return nil
	}
	buffer := pieceBuffers.Get().(*[pieceSize]byte)
	defer pieceBuffers.Put(buffer)
	for at := 0; at < b.file.length; {
		piece := buffer[:min(pieceSize, b.file.length-at)]
		if err := b.file.read(piece, at); err != nil {
			return &BodyError{err}
		}
		if !take(piece) {
			return nil
		}
		at += len(piece)
	}
	return nil
}

// text reports whether the body is UTF-8.
func (b *Body) text() bool {
	if b.file != nil {
		return b.file.text.whole()
	}
	return utf8.Valid(b.memory)
}

// ascii reports whether the body has no byte beyond ASCII.
func (b *Body) ascii() bool {
	if b.file != nil {
		return !b.file.beyond
	}
	return ascii(b.memory)
}

func ascii(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf })
}

// head is as much of the body's beginning as tells whether it is a date.
func (b *Body) head() []byte {
	if b.file != nil {
		return b.file.head[:min(b.file.length, len(b.file.head))]
	}
	return b.memory[:min(len(b.memory), maxDate+1)]
}

// spilled is a body in a file, and what has to be known of its text, which is told while it comes: nothing is read twice for it.
type spilled struct {
	File
	length int // what stands behind it in the file was not written whole
	head   [maxDate + 1]byte
	text   utf8Check
	beyond bool // a byte beyond ASCII has come
}

func (s *spilled) write(piece []byte) error {
	if n, err := s.Write(piece); err != nil {
		return err
	} else if n != len(piece) {
		return io.ErrShortWrite
	}
	if s.length < len(s.head) {
		copy(s.head[s.length:], piece)
	}
	s.length += len(piece)
	s.text.write(piece)
	s.beyond = s.beyond || !ascii(piece)
	return nil
}

func (s *spilled) read(piece []byte, at int) error {
	if n, err := s.ReadAt(piece, int64(at)); n < len(piece) {
		return fmt.Errorf("at byte %d: %w", at+n, err)
	}
	return nil
}

// utf8Check is utf8.Valid for a text that comes in pieces, which may end anywhere. The zero value has seen nothing.
type utf8Check struct {
	begun   [utf8.UTFMax]byte // a sequence that the last piece did not end
	n       int               // its length
	invalid bool
}

func (c *utf8Check) write(piece []byte) {
	for c.n > 0 && len(piece) > 0 && !c.invalid {
		c.begun[c.n] = piece[0]
		c.n++
		piece = piece[1:]
		if utf8.FullRune(c.begun[:c.n]) {
			_, size := utf8.DecodeRune(c.begun[:c.n])
			c.invalid = size != c.n // one byte at a time was added: a sequence that is valid ends with the last
			c.n = 0
		}
	}
	if c.invalid || len(piece) == 0 {
		return
	}
	end := len(piece)
	for i := end - 1; i >= 0 && i > end-utf8.UTFMax; i-- {
		if utf8.RuneStart(piece[i]) {
			if !utf8.FullRune(piece[i:]) {
				end = i
			}
			break
		}
	}
	c.invalid = !utf8.Valid(piece[:end])
	c.n = copy(c.begun[:], piece[end:])
}

// whole reports whether all that was written is UTF-8, its end included.
func (c *utf8Check) whole() bool { return !c.invalid && c.n == 0 }
