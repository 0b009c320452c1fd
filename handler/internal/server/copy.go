package server

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"apimrelay/handler/internal/relay"
)

const (
	// copyBuffer is the size of the pieces in which answers pass, in bytes.
	copyBuffer = 64 << 10
	// openChunk is the same for an answer that comes in chunks. Once net/http's reader of chunks is
	// within a chunk, it returns when the chunk ends or the buffer is full, whatever has arrived
	// before: a smaller buffer lets more of a large chunk pass that comes slowly, and costs more
	// writes.
	openChunk = 16 << 10
	// eventBytes is how many bytes of an event stream are read one by one behind each wait. A buffer
	// of one byte is full at once, so that nothing which has arrived is kept for what comes behind it.
	// A stream that never makes anybody wait is read in larger pieces.
	eventBytes = 4 << 10
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
	buffer, single := whole[:], 0
	if answer.Length < 0 {
		buffer = buffer[:openChunk]
	}
	events := answer.Length < 0 && eventStream(answer.Header["Content-Type"])
	if events {
		single = eventBytes
	}
	f := flusher{w: w}
	defer func() { f.end() }()
	for {
		piece := buffer
		if single > 0 {
			piece = buffer[:1]
		}
		f.begin()
		n, err := answer.Body.Read(piece)
		if single -= n; f.end() && events {
			single = eventBytes
		}
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
	flushed bool
}

func (f *flusher) begin() {
	f.mu.Lock()
	f.waiting, f.flushed = true, false
	f.mu.Unlock()
	if f.timer == nil {
		f.timer = time.AfterFunc(atHand, f.flush)
	} else {
		f.timer.Reset(atHand)
	}
}

// end reports whether the writer was flushed.
func (f *flusher) end() bool {
	f.timer.Stop()
	f.mu.Lock() // waits for a flush that has begun
	defer f.mu.Unlock()
	f.waiting = false
	return f.flushed
}

func (f *flusher) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting {
		flush(f.w)
		f.waiting, f.flushed = false, true
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// eventStream reports whether an answer holds server-sent events (html.spec.whatwg.org, server-sent
// events).
func eventStream(contentType []string) bool {
	if len(contentType) == 0 {
		return false
	}
	media, _, _ := strings.Cut(contentType[0], ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}
