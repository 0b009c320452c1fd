package relay

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// ErrBudgetSpent is the cause with which a call ends that has used up its time.
var ErrBudgetSpent = errors.New("relaying: no answer within the budget")

// silence is how long an answer's body may pause. It is the idle limit of Azure's load balancer, after which nobody would listen
// (learn.microsoft.com "Azure Functions scale and hosting", function app timeout duration).
const silence = 230 * time.Second

// budget bounds one call: so long until the answer's header, counted anew whenever the upload moves; then so long between two pieces of the body; and
// never past the hard end, where there is one. Beyond it the host kills the process that all invocations share.
type budget struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
	start  time.Time
	hard   time.Duration // from start; 0 = none
	span   atomic.Int64  // allowed from the last progress on; 0 = unbounded
	last   atomic.Int64  // of the progress, from start
	over   atomic.Bool
}

// begin returns a context that ends with ErrBudgetSpent. Zero durations are no bound. The caller calls stop.
func (b *budget) begin(parent context.Context, header, hard time.Duration) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	b.cancel, b.start, b.hard = cancel, time.Now(), hard
	b.span.Store(int64(header))
	// Armed only when it is assigned: fire reads it.
	b.timer = time.AfterFunc(24*time.Hour, b.fire)
	b.arm()
	return ctx
}

// left is the time until the budget ends as things are; bounded is false where it does not.
func (b *budget) left() (left time.Duration, bounded bool) {
	spent := time.Since(b.start)
	if span := time.Duration(b.span.Load()); span > 0 {
		left, bounded = span-(spent-time.Duration(b.last.Load())), true
	}
	if b.hard > 0 && (!bounded || b.hard-spent < left) {
		left, bounded = b.hard-spent, true
	}
	return left, bounded
}

// allows tells whether a wait ends before the budget does.
func (b *budget) allows(wait time.Duration) bool {
	left, bounded := b.left()
	return !bounded || wait < left
}

func (b *budget) arm() {
	if left, bounded := b.left(); bounded {
		b.timer.Reset(left)
	} else {
		b.timer.Reset(silence) // it may become bounded when the header is there
	}
}

func (b *budget) fire() {
	left, bounded := b.left()
	switch {
	case b.over.Load():
	case bounded && left <= 0:
		b.cancel(ErrBudgetSpent)
	default:
		b.arm()
	}
}

// progress counts anew from now: a piece of the upload or of the answer has passed.
func (b *budget) progress() { b.last.Store(int64(time.Since(b.start))) }

// answered is called when the answer's header is there: from now on only silence ends the call.
func (b *budget) answered() {
	b.progress()
	b.span.Store(int64(silence))
	b.arm() // silence may end sooner than what was allowed until the header
}

func (b *budget) stop() {
	b.over.Store(true)
	b.timer.Stop()
	b.cancel(nil)
}
