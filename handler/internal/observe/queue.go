package observe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// queue keeps spans, already in the form in which they are sent, until a batch of them is sent: when there are enough, when the first has
// waited for long enough, or at a flush. It is bounded. Where the collector is slower than the calls, spans that find it full are dropped
// and counted; nobody waits for it.
type queue struct {
	upload  *uploader
	from    source
	most    int // spans in a batch
	limit   int // spans that wait, beside those of the batch that is being sent
	delay   time.Duration
	timeout time.Duration // of one batch's export; none below 1
	report  func(error)

	sending chan struct{} // holds one: batches are sent one after the other
	wake    chan struct{} // holds one: a batch is full
	due     *time.Timer   // the first span has waited for long enough

	mu      sync.Mutex // never held while something is sent
	filling *batch
	full    []*batch
	spare   []*batch // memory of batches that have been sent
	waiting int      // spans in filling and full
	size    int      // bytes in filling and full
	dropped uint64
	stopped bool
}

// batch is a message in the making: room for what stands in front, then the spans.
type batch struct {
	bytes []byte
	spans int
}

const (
	// averageSpan bounds the memory of a full queue: spans are too many, too, when they are this large on average. They have about 320
	// bytes, but a caller may send paths of any length.
	averageSpan = 4 << 10
	// spareSpan times the spans of a batch is the memory of one that is worth keeping; keepBatches is of how many.
	spareSpan   = 1 << 10
	keepBatches = 2
)

// newQueue reads OTEL_BSP_*, named after the SDKs' batch span processor.
func newQueue(v variables, upload *uploader, from source, report func(error)) *queue {
	q := &queue{
		upload: upload, from: from, report: report,
		limit:   max(1, v.integer(2048, "OTEL_BSP_MAX_QUEUE_SIZE")),
		most:    max(1, v.integer(512, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE")),
		delay:   time.Duration(v.integer(5000, "OTEL_BSP_SCHEDULE_DELAY")) * time.Millisecond,
		timeout: time.Duration(v.integer(30000, "OTEL_BSP_EXPORT_TIMEOUT")) * time.Millisecond,
		sending: make(chan struct{}, 1), wake: make(chan struct{}, 1), due: time.NewTimer(time.Hour),
	}
	if q.most > q.limit {
		q.most = min(512, q.limit)
	}
	q.due.Stop()
	return q
}

// next returns the memory behind which the next span is to be written, or nil where the queue is full: the span is lost then. Unless it is
// nil, hand it to done, with the span, at once: the queue is locked until then. To write into the batch itself is what makes a span cheap,
// and takes less time than a caller would need to wait in line for a copy.
func (q *queue) next() []byte {
	q.mu.Lock()
	if q.stopped || q.waiting >= q.limit || q.size/averageSpan >= q.limit { // a product could overflow
		if !q.stopped {
			q.dropped++
		}
		q.mu.Unlock()
		return nil
	}
	if q.filling == nil {
		q.filling = q.fresh()
	}
	return q.filling.bytes
}

func (q *queue) done(bytes []byte) {
	b := q.filling
	q.size += len(bytes) - len(b.bytes)
	b.bytes = bytes
	b.spans++
	q.waiting++
	first, full := q.waiting == 1, b.spans >= q.most
	if full {
		q.full = append(q.full, b)
		q.filling = nil
	}
	q.mu.Unlock()
	if first {
		q.due.Reset(q.delay)
	}
	if full {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// fresh is an empty batch. q.mu is held.
func (q *queue) fresh() *batch {
	if n := len(q.spare); n > 0 {
		b := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return b
	}
	return &batch{bytes: make([]byte, q.room(), 4<<10)}
}

// take returns the next batch to be sent, nil where there is none. Those that are not full are taken only where all are wanted.
func (q *queue) take(all bool) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	var b *batch
	switch {
	case len(q.full) > 0:
		b = q.full[0]
		q.full[0] = nil
		q.full = q.full[1:]
	case all && q.filling != nil:
		b, q.filling = q.filling, nil
	default:
		return nil
	}
	q.waiting -= b.spans
	q.size -= len(b.bytes) - q.room()
	return b
}

// recycle takes back the memory of a batch that nobody reads any more.
func (q *queue) recycle(b *batch) {
	if cap(b.bytes) > q.room()+q.most*spareSpan {
		return
	}
	b.bytes, b.spans = b.bytes[:q.room()], 0
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.spare) < keepBatches {
		q.spare = append(q.spare, b)
	}
}

// run sends batches that are full or due, until ctx ends.
func (q *queue) run(ctx context.Context) {
	var told uint64
	for {
		var all bool
		select {
		case <-ctx.Done():
			q.due.Stop()
			return
		case <-q.due.C:
			all = true
		case <-q.wake:
		}
		err := q.send(ctx, all)
		q.mu.Lock()
		dropped := q.dropped
		q.mu.Unlock()
		if dropped > told {
			err = errors.Join(err, fmt.Errorf("the queue was full: %d spans are lost since the start", dropped))
			told = dropped
		}
		if err != nil {
			q.report(err)
		}
	}
}

// send sends the batches that are full, or all that is in the queue, and returns when the collector has them or ctx ends. A batch that
// cannot be sent is lost, and the next one tried.
func (q *queue) send(ctx context.Context, all bool) error {
	select {
	case q.sending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-q.sending }()
	var errs error
	for ctx.Err() == nil {
		b := q.take(all)
		if b == nil {
			return errs
		}
		if err := q.export(ctx, b); err != nil {
			errs = errors.Join(errs, err)
		}
		q.recycle(b)
	}
	return errors.Join(errs, ctx.Err())
}

func (q *queue) export(ctx context.Context, b *batch) error {
	if q.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.timeout)
		defer cancel()
	}
	return q.upload.upload(ctx, q.seal(b))
}

// stop sends what is left, as far as ctx allows. Spans that end later are dropped.
func (q *queue) stop(ctx context.Context) error {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	return q.send(ctx, true)
}

// room is how much may stand in front of a batch's spans: see seal.
func (q *queue) room() int { return len(q.from.resource) + len(q.from.scope) + 2*(1+maxLength) }

// seal makes a batch an ExportTraceServiceRequest with one resource and one scope. What stands in front of the spans is written once their
// length is known, into the room that was left for it: no span is copied again.
func (q *queue) seal(b *batch) []byte {
	room := q.room()
	scoped := len(q.from.scope) + len(b.bytes) - room
	inner := appendLength(tag(make([]byte, 0, 1+maxLength), 2, bytesOf), scoped) // scope_spans
	head := make([]byte, 0, room)
	head = appendLength(tag(head, 1, bytesOf), len(q.from.resource)+len(inner)+scoped) // resource_spans
	head = append(append(append(head, q.from.resource...), inner...), q.from.scope...)
	message := b.bytes[room-len(head):]
	copy(message, head)
	return message
}
