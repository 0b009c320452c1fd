package server

import (
	"io"
	"net/http"
	"sync"
	"time"

	"apimrelay/handler/internal/relay"
)

const (
	// copyBuffer is the size of the pieces in which answers pass, in bytes.
	copyBuffer = 64 << 10
	// openChunk is the same for an answer that comes in chunks. net/http's reader of chunks
	// returns when the chunk ends or the buffer is full, whatever has arrived before: a smaller
	// buffer lets more of a large chunk pass that comes slowly, and costs more writes.
	openChunk = 16 << 10
	// atHand is how long the next piece may take and still count as being there. Without it a
	// short answer whose header and body come apart would cost two writes.
	atHand = time.Millisecond
)

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// copyBody copies an answer's body. Whatever has been written, the header included, is flushed
// before the next piece is waited for.
func copyBody(w http.ResponseWriter, answer *relay.Answer) error {
	if answer.Length == 0 {
		return nil
	}
	whole := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(whole)
	buffer := whole[:]
	if answer.Length < 0 {
		buffer = buffer[:openChunk]
	}
	f := flusher{w: w}
	defer f.end()
	for {
		f.begin()
		n, err := answer.Body.Read(buffer)
		f.end()
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// A flusher flushes a writer while its owner waits for something else, if that takes longer than
// atHand. The owner calls begin before it waits and end after it. In between it does not use the
// writer; behind end nobody else does.
type flusher struct {
	w       http.ResponseWriter
	timer   *time.Timer
	mu      sync.Mutex
	waiting bool
}

func (f *flusher) begin() {
	f.mu.Lock()
	f.waiting = true
	f.mu.Unlock()
	if f.timer == nil {
		f.timer = time.AfterFunc(atHand, f.flush)
	} else {
		f.timer.Reset(atHand)
	}
}

func (f *flusher) end() {
	f.timer.Stop()
	f.mu.Lock() // waits for a flush that has begun
	f.waiting = false
	f.mu.Unlock()
}

func (f *flusher) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting {
		flush(f.w)
		f.waiting = false
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }
