package invocation

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// ContentType is that of every answer to a wrapped call: the host takes application/json or text/json only (recordings B-no-type,
// B-text-type, B-vendor-type). An empty answer, or a status below 200 or above 299 for a call that succeeded, is as fatal.
const ContentType = typeJSON

// Output is one output binding of a function, the http one included.
type Output struct {
	Type string // of function.json; http (any case) takes the caller's answer
	Name string // exactly as in function.json: the host does not find another case (recording B-res-othercase); or $return
	Most int    // bytes that it can hold; 0 = not known
}

// Holds reports, by a *[CannotCarryError], that an output cannot hold n bytes.
func (o Output) Holds(n int) error {
	if o.Most == 0 || n <= o.Most {
		return nil
	}
	return &CannotCarryError{fmt.Sprintf("%d bytes into the output %s of type %s, which holds %d", n, o.Name, o.Type, o.Most)}
}

// HTTP reports whether the output is the answer to an HTTP caller.
func (o Output) HTTP() bool { return strings.EqualFold(o.Type, "http") }

const returnName = "$return"

// WriteEvent writes the answer that tells the host that an event succeeded. The function's outputs, $return among them, get body's exact
// bytes: in base64, since the host decodes any text that happens to be base64 and rewrites texts that are dates (recordings
// F-http-with-queue-output, F-queue-date-string). An empty body feeds no output. logs become the host's lines at Information.
// A *[BodyError] is the body's; where nothing is written yet, another answer can be. Other errors are w's own.
func WriteEvent(w io.Writer, outputs []Output, logs []string, body *Body) error {
	e := newEncoder(w)
	defer e.free()
	e.raw(`{"Outputs":{`)
	e.feed(outputs, body, true)
	e.raw(`}`)
	e.logs(logs)
	e.returnValue(outputs, body)
	e.raw(`}`)
	return e.flush()
}

// WriteFailure writes the body of an answer with status 500, which tells the host that an event failed. The host reads nothing but the
// status, and drops Logs (recording B-handler-500): text is for people who look at the exchange; log the reason before.
func WriteFailure(w io.Writer, text string) error {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
	_, err := io.WriteString(w, text+"\n")
	return err
}

// feed writes the named outputs that are not http. first says that no member stands before.
func (e *encoder) feed(outputs []Output, body *Body, first bool) {
	if body.Len() == 0 {
		return
	}
	for _, output := range outputs {
		if output.HTTP() || output.Name == returnName {
			continue
		}
		if !first {
			e.raw(`,`)
		}
		first = false
		e.text(output.Name)
		e.raw(`:`)
		e.body(body, e.base64)
	}
}

func (e *encoder) logs(logs []string) {
	e.raw(`,"Logs":[`)
	for i, line := range logs {
		if i > 0 {
			e.raw(`,`)
		}
		e.text(line)
	}
	e.raw(`]`)
}

// returnValue writes ReturnValue for an output named $return that is not http.
func (e *encoder) returnValue(outputs []Output, body *Body) {
	e.raw(`,"ReturnValue":`)
	for _, output := range outputs {
		if output.Name == returnName && !output.HTTP() && body.Len() > 0 {
			e.body(body, e.base64)
			return
		}
	}
	e.raw(`null`)
}

// WriteHTTP writes the answer to an HTTP call: status, header and body for the function's http output, and, where status is 2xx, body's
// bytes in base64 for its other outputs. header is not changed. dropped names the header fields that were left out because the host would
// fail over them; those that belong to a connection are left out without a word.
//
// What the host cannot carry is a *[CannotCarryError], found before anything is written: the caller of WriteHTTP can still write another
// answer to w. A function without an http output lets its caller see 204, whatever is written (recording A-noout): a status other than 2xx
// is then such an error, too, and the call should fail with status 500 instead. A *[BodyError] is the body's; of a body that cannot be read from its
// beginning nothing is written, either. Other errors are w's own.
func WriteHTTP(w io.Writer, outputs []Output, status int, header http.Header, body *Body) (dropped []string, err error) {
	if status == http.StatusNoContent || status == http.StatusResetContent || status == http.StatusNotModified {
		body = noBody // the host would drop it (recordings B-res-status-204, B-res-status-304); a 205 has none (RFC 9110 15.3.6)
	}
	answered := false
	for _, output := range outputs {
		answered = answered || output.HTTP()
	}
	var fields []headerField
	if answered {
		fields, dropped = carried(header)
	}
	if err := carries(answered, status, header, body); err != nil {
		return nil, err
	}
	for _, output := range outputs {
		if err := output.Holds(body.Len()); err != nil && status >= 200 && status <= 299 && !output.HTTP() {
			return nil, err
		}
	}
	e := newEncoder(w)
	defer e.free()
	e.raw(`{"Outputs":{`)
	first := true
	for _, output := range outputs {
		if output.HTTP() && output.Name != returnName {
			if !first {
				e.raw(`,`)
			}
			first = false
			e.text(output.Name)
			e.raw(`:`)
			e.response(status, fields, body)
		}
	}
	feed := body
	if status < 200 || status > 299 {
		feed = noBody
	}
	e.feed(outputs, feed, first)
	e.raw(`}`)
	e.logs(nil)
	for _, output := range outputs {
		if output.HTTP() && output.Name == returnName {
			e.raw(`,"ReturnValue":`)
			e.response(status, fields, body)
			e.raw(`}`)
			return dropped, e.flush()
		}
	}
	e.returnValue(outputs, feed)
	e.raw(`}`)
	return dropped, e.flush()
}

// noBody is empty, and stays so.
var noBody = new(Body)

// response writes the object that the host makes an HTTP answer of. body is always there, since a ReturnValue without one is taken for
// the body itself, and always a text: objects are written anew, with other numbers and dates (recordings B-return-plain-object,
// B-big-numbers).
func (e *encoder) response(status int, fields []headerField, body *Body) {
	e.raw(`{"statusCode":`)
	e.number(status)
	if len(fields) > 0 {
		e.raw(`,"headers":{`)
		for i, f := range fields {
			if i > 0 {
				e.raw(`,`)
			}
			e.text(f.name)
			e.raw(`:`)
			e.text(f.value)
		}
		e.raw(`}`)
	}
	e.raw(`,"body":`)
	e.body(body, e.escape)
	e.raw(`}`)
}

// encoder writes JSON through one buffer: a body passes in pieces, and never stands in memory a second time.
type encoder struct {
	w   io.Writer
	buf []byte
	err error
}

const encoderSize = 128 << 10

var encoders = sync.Pool{New: func() any { return &encoder{buf: make([]byte, 0, encoderSize)} }}

func newEncoder(w io.Writer) *encoder {
	e := encoders.Get().(*encoder)
	e.w, e.buf, e.err = w, e.buf[:0], nil
	return e
}

func (e *encoder) free() {
	e.w = nil
	encoders.Put(e)
}

func (e *encoder) flush() error {
	if e.err == nil && len(e.buf) > 0 {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
	return e.err
}

// room makes sure that n more bytes fit.
func (e *encoder) room(n int) {
	if len(e.buf)+n > encoderSize {
		_ = e.flush()
	}
}

func (e *encoder) raw(s string) {
	e.room(len(s))
	e.buf = append(e.buf, s...)
}

func (e *encoder) number(n int) {
	e.room(20)
	e.buf = strconv.AppendInt(e.buf, int64(n), 10)
}

// text writes a string; what is no UTF-8 in it becomes U+FFFD.
func (e *encoder) text(s string) {
	e.raw(`"`)
	e.escape([]byte(strings.ToValidUTF8(s, "\uFFFD")))
	e.raw(`"`)
}

// body writes a body as a text, each piece of it by write. One that cannot be read ends all writing.
func (e *encoder) body(b *Body, write func(piece []byte)) {
	e.raw(`"`)
	err := b.each(func(piece []byte) bool {
		write(piece)
		return e.err == nil
	})
	if err != nil {
		e.err = err
	}
	e.raw(`"`)
}

// escape writes UTF-8 text; pieces of it may begin and end anywhere. Of all characters JSON wants
// escapes for only the quote, the backslash and those below the blank (RFC 8259, section 7), and the
// host reads every other as it is (recording B-unicode).
func (e *encoder) escape(text []byte) {
	const piece = 4 << 10 // fits into the buffer also where all of it needs six bytes each
	for e.err == nil && len(text) > 0 {
		n := min(len(text), piece)
		e.room(6 * n)
		e.buf = appendText(e.buf, text[:n])
		text = text[n:]
	}
}

// appendText appends text with its escapes.
func appendText(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	from := 0
	for i, c := range text {
		if plainByte[c] {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, text[from:]...)
}

// base64 writes bytes in base64. Of several pieces all but the last are multiples of three.
func (e *encoder) base64(body []byte) {
	for e.err == nil && len(body) > 0 {
		n := min(len(body), encoderSize/4*3)
		e.room(base64.StdEncoding.EncodedLen(n))
		e.buf = base64.StdEncoding.AppendEncode(e.buf, body[:n])
		body = body[n:]
	}
}
