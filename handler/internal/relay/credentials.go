package relay

import (
	"context"
	"sync/atomic"
)

// Tokens is where a function's bearer tokens come from. Both methods are safe for concurrent use.
type Tokens interface {
	// Token returns a usable token, from hand where there is one.
	Token(ctx context.Context) (string, error)
	// Renew returns a token other than the refused one, or an error that says why there is none.
	Renew(ctx context.Context, refused string) (string, error)
}

// Credentials are what a function's calls carry that changes while the program runs: its tokens, and
// which of its keys is in use. Functions may share both. They are safe for concurrent use, and not
// copied once they are used.
type Credentials struct {
	Tokens Tokens
	Keys   *Keys // nil: the API needs none

	// bearer is the Authorization header made last: a token has a kilobyte or two.
	bearer atomic.Pointer[bearer]
}

type bearer struct {
	token string
	line  []string // shared by all requests, changed by none
}

// authorization is the value of the header for a token.
func (c *Credentials) authorization(token string) []string {
	if last := c.bearer.Load(); last != nil && last.token == token {
		return last.line
	}
	made := &bearer{token, []string{"Bearer " + token}}
	c.bearer.Store(made)
	return made.line
}
