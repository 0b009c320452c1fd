package observe

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
	"time"
	"unicode/utf8"
)

// OTLP's messages in protobuf's binary form (https://protobuf.dev/programming-guides/encoding/). Field numbers are those of
// open-telemetry/opentelemetry-proto, opentelemetry/proto/{common,resource,trace,metrics}/v1; the tests read the result with the code that
// is generated from those files.

// Wire types.
const (
	varint  = 0
	fixed64 = 1
	bytesOf = 2
	fixed32 = 5
)

// maxLength is how many bytes the length of a message takes at most. Longer ones than 2 GiB protobuf does not have.
const maxLength = 5

func tag(b []byte, number, wire int) []byte {
	if number < 16 {
		return append(b, byte(number<<3|wire))
	}
	return binary.AppendUvarint(b, uint64(number<<3|wire))
}

func appendLength(b []byte, n int) []byte {
	if n < 1<<7 {
		return append(b, byte(n))
	}
	return binary.AppendUvarint(b, uint64(n))
}

// appendString writes text; "" is no field. Bytes that are no UTF-8 are replaced: one of them would have the collector refuse the message.
func appendString(b []byte, number int, s string) []byte {
	if s == "" {
		return b
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return append(appendLength(tag(b, number, bytesOf), len(s)), s...)
}

// appendValid adds to a text that is being written.
func appendValid(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return append(b, s...)
}

func appendBytes(b []byte, number int, p []byte) []byte {
	return append(appendLength(tag(b, number, bytesOf), len(p)), p...)
}

func appendVarint(b []byte, number int, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(tag(b, number, varint), v)
}

func appendFixed64(b []byte, number int, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(tag(b, number, fixed64), v)
}

func appendDouble(b []byte, number int, v float64) []byte {
	return appendFixed64(b, number, math.Float64bits(v))
}

// open begins a message inside another; closed ends it, given what open returned. One byte is kept for the length, and room is made where
// it needs more.
func open(b []byte, number int) (_ []byte, at int) {
	b = append(tag(b, number, bytesOf), 0)
	return b, len(b)
}

func closed(b []byte, at int) []byte {
	n := len(b) - at
	if n < 1<<7 {
		b[at-1] = byte(n)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(length[:], uint64(n))
	b = append(b, length[:k-1]...) // grow
	copy(b[at-1+k:], b[at:at+n])
	copy(b[at-1:], length[:k])
	return b
}

// lengthOf is how many bytes a number takes as a varint.
func lengthOf(n int) int { return 1 + (bits.Len64(uint64(n)|1)-1)/7 }

// appendName writes an attribute's name.
func appendName(b []byte, name string) []byte {
	return append(appendLength(append(b, 1<<3|bytesOf), len(name)), name...)
}

// The attributes that this program has: each is a KeyValue with an AnyValue in it. Zero values are written, too: the choice of one of the
// AnyValue's fields is what tells the type. There are a dozen in a span, so their lengths are reckoned and not filled in afterwards.

func appendText(b []byte, number int, name, value string) []byte {
	if !utf8.ValidString(value) {
		value = strings.ToValidUTF8(value, "\uFFFD")
	}
	inner := 1 + lengthOf(len(value)) + len(value)
	b = appendLength(tag(b, number, bytesOf), 1+lengthOf(len(name))+len(name)+1+lengthOf(inner)+inner)
	b = appendName(b, name)
	b = appendLength(append(b, 2<<3|bytesOf), inner)
	return append(appendLength(append(b, 1<<3|bytesOf), len(value)), value...)
}

func appendNumber(b []byte, number int, name string, value int) []byte {
	inner := 1 + lengthOf(value)
	b = appendLength(tag(b, number, bytesOf), 1+lengthOf(len(name))+len(name)+2+inner)
	b = appendName(b, name)
	b = append(b, 2<<3|bytesOf, byte(inner), 3<<3|varint)
	return binary.AppendUvarint(b, uint64(value))
}

func appendTrue(b []byte, number int, name string) []byte {
	b, at := open(b, number)
	b = appendName(b, name)
	b, inner := open(b, 2)
	b = append(tag(b, 2, varint), 1)
	return closed(closed(b, inner), at)
}

func appendScope(b []byte, name, version string) []byte {
	b, at := open(b, 1)
	b = appendString(b, 1, name)
	b = appendString(b, 2, version)
	return closed(b, at)
}

// appendTraceState writes the members without the blanks and empty members that the header may have around them.
func appendTraceState(b []byte, number int, state string) []byte {
	if state == "" {
		return b
	}
	b, at := open(b, number)
	for member := range strings.SplitSeq(state, ",") {
		if member = strings.Trim(member, " \t"); member == "" {
			continue
		}
		if len(b) > at {
			b = append(b, ',')
		}
		b = append(b, member...)
	}
	return closed(b, at)
}

func nanos(t time.Time) uint64 { return uint64(t.UnixNano()) }
