// Package token decides when a token is fetched and who waits for it.
//
// A Source keeps the token of one identity for one resource. Callers get the token in hand at once; a newer one is fetched aside, by one
// request for all of them. Where the token comes from is none of the package's business: it is handed a Fetch.
package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"apimrelay/handler/internal/cause"
)

// Token is what an identity hands out.
type Token struct {
	Value     string    // the text after "Bearer ", never empty when a Source accepts it
	ExpiresOn time.Time // the end of its life, by the wall clock
	RefreshOn time.Time // when the issuer wants it renewed (refresh_in); zero where it did not say
}

// Fetch asks the identity for a token. It never answers from a cache of the process, returns when ctx ends, and is called by one goroutine at
// a time. Its errors are *Error; any other error counts as unavailable.
type Fetch func(ctx context.Context) (Token, error)

// Kind tells whether asking again can help.
type Kind int

const (
	// Unavailable: nobody gave an answer that can be used. It may work in a moment.
	Unavailable Kind = iota
	// Refused: somebody said no, and will say so again until a person changes something.
	Refused
)

// String is the word for logs.
func (k Kind) String() string {
	if k == Refused {
		return "refused"
	}
	return "unavailable"
}

// What errors.Is finds in every *Error of that kind.
var (
	ErrRefused     = errors.New("token refused")
	ErrUnavailable = errors.New("token unavailable")
)

// ErrSameToken is Renew's answer when no token other than the refused one can be had now.
var ErrSameToken = errors.New("no other token than the refused one can be had now")

// Error says why there is no token. Its text is one line without a secret.
type Error struct {
	Kind       Kind
	Code       cause.Code    // why; "" = not known
	RetryAfter time.Duration // how long asking again is useless; 0 = not known. Never more than MaxRetryAfter in what a Source returns
	Err        error         // the cause; never nil
	Hint       string        // what a person can do about it, a sentence or a command; "" where there is nothing to say. For start-up logs and doctor, not for callers
}

// Error is the cause's text.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrRefused) and errors.Is(err, ErrUnavailable) work.
func (e *Error) Is(target error) bool {
	return target == ErrRefused && e.Kind == Refused || target == ErrUnavailable && e.Kind == Unavailable
}

// Hint returns the hint of the first *Error in err's chain that has one, or "".
func Hint(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// CodeOf returns the cause of the first *Error in err's chain that knows it, or "".
func CodeOf(err error) cause.Code {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Code != "" {
			return e.Code
		}
		err = e.Err
	}
	return ""
}

// with returns e with another text around its own.
func (e *Error) with(err error) *Error {
	wrapped := *e
	wrapped.Code, wrapped.Hint, wrapped.Err = CodeOf(e), Hint(e), err
	return &wrapped
}

// With returns e with what was being done put in front of its text.
func (e *Error) With(format string, args ...any) *Error {
	return e.with(fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), e.Err))
}

// asError makes an *Error of whatever a Fetch returned.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Unavailable, Err: err}
}

func unavailable(code cause.Code, format string, args ...any) *Error {
	return &Error{Kind: Unavailable, Code: code, Err: fmt.Errorf(format, args...)}
}
