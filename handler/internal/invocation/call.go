// Package invocation is the Functions host's wire format for wrapped invocations: what stands in the body of POST /<Function>, and what
// the host wants as the answer. One file holds what is particular to a trigger.
//
// The format is described by no document that matches the host; the tests hold recorded exchanges of host 4.1037
// (Azure/azure-functions-host, src/WebJobs.Script/Workers/Http/DefaultHttpWorkerService.cs and
// Workers/MessageExtensions/ScriptInvocationContextExtensions.cs). A body looks like this:
//
//	{"Data":{"<binding>":<value>},"Metadata":{"<name>":<value>,…,"sys":{…}}}
//
// An HTTP call is read with [ReadHTTP], which keeps nothing but the caller's request, and answered with [WriteHTTP]. Any other trigger is
// read with [Read], understood with [Call.Event], identified with [Call.Key] and answered with [WriteEvent] or [WriteFailure].
//
// An answer has to be whole before its envelope can begin, because what cannot be carried becomes a problem in its place. Until then it is a
// [Body]: in memory up to a threshold, beyond it in a temporary file without a name ([Spill]).
package invocation

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// MaxBody is the size of the largest body that an invocation may carry, in bytes after decoding: the host's own limit for requests
	// (Azure/azure-functions-host, FUNCTIONS_REQUEST_BODY_SIZE_LIMIT; recording A-req-over-limit).
	MaxBody = 100 << 20
	// maxEnvelope bounds what Read takes in. A text of MaxBody bytes can be that long where each byte of it was escaped twice.
	maxEnvelope = 4*MaxBody + 1<<20
)

// bodyLimit is MaxBody; tests lower it.
var bodyLimit = MaxBody

var (
	// ErrTooLarge: the body has more than MaxBody bytes, or the envelope more than a body of that size can make it.
	ErrTooLarge = errors.New("reading the body: want at most 100 MiB, got more")
	// ErrBodyLost: the caller sent its body in chunks, and the host passes such a body on to nobody (recording A-post-chunked-json).
	ErrBodyLost = errors.New("reading the body: want a Body beside Transfer-Encoding, got none: the host drops chunked uploads")
	// ErrBodyDamaged: the host decoded a body as text that was none, or not in UTF-8 (recordings A-post-image-png, A-post-text-latin1).
	ErrBodyDamaged = errors.New("reading the body: want the caller's bytes, got a text that the host changed")
)

// Call is one wrapped invocation of a trigger. Its methods write into the buffer that it was made of; it is for one goroutine.
type Call struct {
	data, metadata []member
	events         map[string]eventResult
}

type eventResult struct {
	event *Event
	err   error
}

// member is one member of an object: its name, and its value as it is written.
type member struct {
	name string
	raw  []byte
}

// Decode reads an envelope. It takes body over: texts are unescaped in place, so that no value stands in memory twice. Members may come in
// any order, unknown ones are passed over, of two with one name the last counts, a byte order mark is no fault. A *[SyntaxError] says that
// body is no JSON in UTF-8 or no object.
func Decode(body []byte) (*Call, error) {
	s := &scanner{buf: body}
	if err := s.skipBOM(); err != nil {
		return nil, err
	}
	c := new(Call)
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "Data":
			c.data, err = members(s)
		case "Metadata":
			c.metadata, err = members(s)
		default:
			err = s.skip()
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) {
		return nil, &SyntaxError{Offset: int64(firstInvalid(body)), Want: "UTF-8"}
	}
	return c, nil
}

// Read reads an envelope from a request of any framing. contentLength is the request's; negative where it has none, as the host's
// requests mostly do. More than an envelope can hold is ErrTooLarge.
func Read(r io.Reader, contentLength int64) (*Call, error) {
	if contentLength > maxEnvelope {
		return nil, ErrTooLarge
	}
	size := int64(4 << 10)
	if contentLength >= 0 {
		size = contentLength + 1 // the end is seen without growing
	}
	buf := make([]byte, 0, min(size, 16<<20)) // who only claims a length gets no memory for it
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > maxEnvelope {
			return nil, ErrTooLarge
		}
		if errors.Is(err, io.EOF) {
			return Decode(buf)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the invocation: after %d bytes: %w", len(buf), err)
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// members collects the members of one object. null is an object without any.
func members(s *scanner) ([]member, error) {
	if c, err := s.token("an object"); err != nil {
		return nil, err
	} else if c == 'n' {
		return nil, s.skip()
	}
	var list []member
	err := s.object(func(name []byte) error {
		m := member{name: string(name)}
		if _, err := s.token("a value"); err != nil {
			return err
		}
		from := s.pos
		if err := s.skip(); err != nil {
			return err
		}
		m.raw = s.buf[from:s.pos]
		for i := range list {
			if list[i].name == m.name {
				list[i].raw = m.raw
				return nil
			}
		}
		list = append(list, m)
		return nil
	})
	return list, err
}

// find returns the value of a name: the one written exactly so, otherwise the last one that differs by case only, as the dictionaries of
// .NET that the values come from do.
func find(list []member, name string) ([]byte, bool) {
	var raw []byte
	for _, m := range list {
		if m.name == name {
			return m.raw, true
		}
		if strings.EqualFold(m.name, name) {
			raw = m.raw
		}
	}
	return raw, raw != nil
}

func firstInvalid(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

var replacement = []byte("\uFFFD")

// damaged reports whether a text holds the character that stands for lost bytes. Where the caller wrote it, it cannot be told apart.
func damaged(text []byte) bool { return bytes.Contains(text, replacement) }
