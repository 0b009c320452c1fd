// Package invocation is the Functions host's wire format for wrapped invocations: what stands in
// the body of POST /<Function>, and what the host wants as the answer. What is particular to a
// trigger is a row of one table.
//
// No document describes the format as the host speaks it. The tests hold recorded exchanges of host
// 4.1037 (Azure/azure-functions-host, src/WebJobs.Script/Workers/Http/DefaultHttpWorkerService.cs
// and Workers/MessageExtensions/ScriptInvocationContextExtensions.cs). A body looks like this:
//
//	{"Data":{"<binding>":<value>},"Metadata":{"<name>":<value>,…,"sys":{…}}}
//
// [ReadHTTP] reads an HTTP call and keeps nothing but the caller's request; [WriteHTTP] answers it.
// [Read] reads an event of any other trigger; [WriteEvent] or [WriteFailure] answers it.
//
// An answer must be whole before its envelope can begin, because a problem takes the place of what
// cannot be carried. Until then it is a [Body]: in memory up to a threshold, beyond it in a
// temporary file without a name ([Spill]).
package invocation

import (
	"bytes"
	"errors"
)

const (
	// MaxBody is the size of the largest body that an invocation may carry, in bytes after
	// decoding: the host's own limit for requests (Azure/azure-functions-host,
	// FUNCTIONS_REQUEST_BODY_SIZE_LIMIT; recording A-req-over-limit).
	MaxBody = 100 << 20
	// maxEnvelope bounds what Read takes in. A text of MaxBody bytes can be that long where each
	// byte of it was escaped twice.
	maxEnvelope = 4*MaxBody + 1<<20
)

// bodyLimit is MaxBody; tests lower it.
var bodyLimit = MaxBody

var (
	// ErrTooLarge: the body has more than MaxBody bytes, or the envelope more than a body of that
	// size can make it.
	ErrTooLarge = errors.New("reading the body: want at most 100 MiB, got more")
	// ErrBodyLost: the caller sent its body in chunks, and the host passes such a body on to nobody
	// (recording A-post-chunked-json).
	ErrBodyLost = errors.New("reading the body: want a Body beside Transfer-Encoding, got none: " +
		"the host drops chunked uploads")
	// ErrBodyDamaged: the host decoded a body as text that was no text, or not in UTF-8 (recordings
	// A-post-image-png, A-post-text-latin1).
	ErrBodyDamaged = errors.New("reading the body: want the caller's bytes, got a text that the " +
		"host changed")
)

var replacement = []byte("\uFFFD")

// damaged reports whether a text holds the character that stands for lost bytes. Where the caller
// wrote that character, it cannot be told apart.
func damaged(text []byte) bool { return bytes.Contains(text, replacement) }
