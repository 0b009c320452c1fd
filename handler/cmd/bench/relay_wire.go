//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// text is a body: block, repeated up to size bytes.
type text struct {
	block []byte
	size  int64
}

// check compares what stands at an offset of the text.
func (t text) check(b []byte, at int64) bool {
	if at+int64(len(b)) > t.size {
		return false
	}
	for len(b) > 0 {
		part := t.block[at%int64(len(t.block)):]
		n := min(len(b), len(part))
		if !bytes.Equal(b[:n], part[:n]) {
			return false
		}
		b, at = b[n:], at+int64(n)
	}
	return true
}

// write writes the text in pieces.
func (t text) write(w io.Writer) error {
	for left := t.size; left > 0; {
		n := min(left, int64(len(t.block)))
		if _, err := w.Write(t.block[:n]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// wire is one HTTP/1.1 connection, either end of it. net/http would cost the bench more than what it measures.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func newWire(c net.Conn) *wire { return &wire{c, bufio.NewReaderSize(c, 256<<10)} }

// head is what counts of a message's header.
type head struct {
	first            []byte // start line, valid until the next read
	length           int64  // -1 = none
	chunked, matched bool
}

// readHead reads a start line and header fields. It counts how many lines are one of want, which is meant to be all of them.
func (w *wire) readHead(want ...[]byte) (head, error) {
	h := head{length: -1}
	line, err := w.r.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	h.first = append(h.first, bytes.TrimRight(line, "\r\n")...)
	found := 0
	for {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return h, noEOF(err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			h.matched = found == len(want)
			return h, nil
		}
		for _, l := range want {
			if bytes.Equal(line, l) {
				found++
			}
		}
		if value, ok := field(line, "content-length:"); ok {
			if h.length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return h, err
			}
		} else if value, ok := field(line, "transfer-encoding:"); ok {
			h.chunked = string(value) == "chunked"
		}
	}
}

// field returns the value of a header line if its name, in lower case and with the colon, is this one.
func field(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
}

var errOtherBytes = errors.New("the body has other bytes than it should")

// readBody reads a body and hands its pieces, with their offsets, to see.
func (w *wire) readBody(h head, see func(b []byte, at int64) bool) (int64, error) {
	if !h.chunked {
		n := max(h.length, 0)
		return n, w.readPieces(n, 0, see)
	}
	var at int64
	for {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return at, noEOF(err)
		}
		n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 64)
		if err != nil {
			return at, err
		}
		if err := w.readPieces(n, at, see); err != nil {
			return at, err
		}
		at += n
		if _, err := w.r.Discard(2); err != nil {
			return at, noEOF(err)
		}
		if n == 0 {
			return at, nil
		}
	}
}

func (w *wire) readPieces(n, at int64, see func([]byte, int64) bool) error {
	for n > 0 {
		if w.r.Buffered() == 0 {
			if _, err := w.r.Peek(1); err != nil {
				return noEOF(err)
			}
		}
		piece, err := w.r.Peek(int(min(n, int64(w.r.Buffered()))))
		if err != nil {
			return noEOF(err)
		}
		if !see(piece, at) {
			return fmt.Errorf("%w: from byte %d on: %.300q", errOtherBytes, at, piece)
		}
		_, _ = w.r.Discard(len(piece))
		n, at = n-int64(len(piece)), at+int64(len(piece))
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// request is what the host sends, ready to be written.
type request struct {
	head []byte
	body text // behind the head; of size 0 for none, and already chunked where the head says so
}

// exchange sends a request and compares the answer.
func (w *wire) exchange(req request, want text) error {
	return w.roundTrip(req, want.check, want.size)
}

// roundTrip sends a request while the answer comes in, so that either may be of any size.
func (w *wire) roundTrip(req request, see func([]byte, int64) bool, size int64) error {
	sent := make(chan error, 1)
	if req.body.size > 4<<20 {
		go func() { sent <- w.send(req) }()
	} else {
		sent <- w.send(req)
	}
	h, err := w.readHead()
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if !bytes.HasPrefix(h.first, []byte("HTTP/1.1 200 ")) {
		var body []byte
		_, _ = w.readBody(h, func(b []byte, _ int64) bool { body = append(body, b...); return len(body) < 1<<10 })
		return fmt.Errorf("want 200, got %s %s", h.first, body)
	}
	n, err := w.readBody(h, see)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if size >= 0 && n != size {
		return fmt.Errorf("want an answer of %d bytes, got %d", size, n)
	}
	return <-sent
}

func (w *wire) send(req request) error {
	if req.body.size > 0 && req.body.size <= 64<<10 {
		_, err := w.Write(append(req.head[:len(req.head):len(req.head)], req.body.block...))
		return err
	}
	if _, err := w.Write(req.head); err != nil {
		return err
	}
	return req.body.write(w)
}
