package invocation

import (
	"bytes"
	"errors"
	"iter"
	"strings"
)

// Value returns the text that a binding expression {name} stands for, as the host's own expressions
// have it (learn.microsoft.com, Azure Functions binding expression patterns): a member of the
// trigger's metadata, which a JSON message's properties belong to, or by dots a member of a member
// ({data.k}, {sys.randguid}). Names ignore case. Texts come without quotes, numbers as they are
// written. ok is false for what is missing, null, an object or an array.
//
// {queueTrigger} is the message and {blobTrigger} the blob's path: the host leaves both out of the
// metadata that it sends.
func (e *Event) Value(name string) (text string, ok bool) {
	first, rest, nested := strings.Cut(name, ".")
	if !nested {
		if raw, found := find(e.metadata, first); found {
			return decodeValue(raw)
		}
		switch {
		case e.trigger.is("queueTrigger") && strings.EqualFold(first, "queueTrigger"):
			return string(e.Body), true
		case e.trigger.is("blobTrigger") && strings.EqualFold(first, "blobTrigger"):
			return e.blobPath()
		}
		return "", false
	}
	if strings.EqualFold(first, "sys") {
		// A message or a query with a member of that name makes the host rename its own (recording
		// A-post-json-body-query-clash).
		if raw, found := find(e.metadata, "$sys"); found && raw[0] == '{' {
			return dig(raw, rest)
		}
	}
	raw, found := find(e.metadata, first)
	if !found {
		return "", false
	}
	return dig(raw, rest)
}

// errStop ends a walk over an object early.
var errStop = errors.New("stop")

// members walks over the members of a JSON object, which is valid; what is no object has none. A
// name is good until the next step. A value is as it is written, without white space around it.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		s := &scanner{buf: object}
		_ = s.object(func(name []byte) error {
			if _, err := s.token("a value"); err != nil {
				return err
			}
			from := s.pos
			if err := s.skip(); err != nil {
				return err
			}
			if !yield(name, s.buf[from:s.pos]) {
				return errStop
			}
			return nil
		})
	}
}

// find returns a member's value. A member with exactly this name comes first, otherwise one whose
// name differs by case only, as in the dictionaries of .NET that the values come from. Of several
// the last counts.
func find(object []byte, name string) (value []byte, ok bool) {
	wanted := []byte(name)
	var similar []byte
	for name, raw := range members(object) {
		if bytes.Equal(name, wanted) {
			value = raw
		} else if bytes.EqualFold(name, wanted) {
			similar = raw
		}
	}
	if value == nil {
		value = similar
	}
	return value, value != nil
}

// decodeValue returns a value of Metadata as text. A text there is JSON once more, or plain.
func decodeValue(raw []byte) (string, bool) {
	text, ok := scalar(raw)
	if !ok || raw[0] != '"' {
		return text, ok
	}
	inner := []byte(text)
	if !valid(inner) {
		return text, true
	}
	return scalar(inner)
}

// scalar returns a JSON value as text, without quotes; false for null, objects and arrays.
func scalar(raw []byte) (string, bool) {
	s := &scanner{buf: raw}
	c, err := s.token("a value")
	if err != nil {
		return "", false
	}
	switch c {
	case '"':
		s.pos++
		text, err := s.text(nil, -1)
		return string(text), err == nil
	case '{', '[', 'n':
		return "", false
	case 't':
		return "True", true // as .NET writes them
	case 'f':
		return "False", true
	}
	return strings.TrimSpace(string(raw[s.pos:])), true
}

// dig follows a path of dots into an object.
func dig(raw []byte, path string) (string, bool) {
	for {
		if raw[0] == '"' { // an object as text
			if text, ok := scalar(raw); ok && valid([]byte(text)) {
				raw = []byte(text)
			}
		}
		name, rest, more := strings.Cut(path, ".")
		found, ok := find(raw, name)
		if !ok {
			return "", false
		}
		if !more {
			return scalar(found)
		}
		raw, path = found, rest
	}
}
