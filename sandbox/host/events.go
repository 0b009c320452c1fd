package host

import (
	"context"
	"fmt"
	"time"
)

// Event is what Fire hands to a function. The zero value fires a timer without input and every
// other trigger with an empty text.
type Event struct {
	// Input is the message, or a timer's input; nil for none.
	Input *string
	// Many are the items of a batch, for triggers with cardinality many (Event Hubs by default,
	// Service Bus and Kafka on request) and Cosmos DB; nil makes a batch of Input alone.
	Many []string
	// Metadata replaces or adds values of the trigger's metadata, by name, as text: MessageId,
	// PartitionKey, Name of a blob.
	Metadata map[string]string
}

// Fired is a function that Fire has started.
type Fired struct {
	ID   string // of the (first) invocation
	done chan struct{}
	err  error
}

// Done is closed when the run has ended, retries and redeliveries included.
func (r *Fired) Done() <-chan struct{} { return r.done }

// Err is nil for success; it waits for Done.
func (r *Fired) Err() error {
	<-r.done
	return r.err
}

// Fire runs a function that is no HTTP function, as its trigger would: a queue's message is
// delivered again until maxDequeueCount and then goes to the poison queue; a timer runs as by POST
// /admin/functions/<name>, but with its retry policy. It returns once the run has begun. An HTTP
// function fails as the host fails it.
func (h *Host) Fire(name string, e Event) (*Fired, error) {
	in := h.inside()
	if in == nil {
		return nil, fmt.Errorf("firing %s: the host has not started", name)
	}
	if in.fault != "" {
		return nil, fmt.Errorf("firing %s: the host is not running: %s", name, in.fault)
	}
	fn := in.find(name)
	if fn == nil {
		return nil, fmt.Errorf("firing %s: %w", name, errNotThere)
	}
	if fn.trigger.is("queueTrigger") {
		return h.deliverQueue(in, fn, e), nil
	}
	if fn.http() || fn.trigger.is("timerTrigger") {
		return in.fireByHand(fn, e, true), nil
	}
	return in.start(fn, triggerReason(fn), true,
		func(id string) (*payload, error) { return in.eventPayload(fn, e, id) }), nil
}

// fireByHand is POST /admin/functions/<name>, which makes one attempt whatever the function's
// policy: only a trigger's own executor repeats (Azure/azure-webjobs-sdk
// src/Microsoft.Azure.WebJobs.Host/JobHost.cs, CallAsyncCore;
// Executors/TriggeredFunctionExecutor.cs).
func (in *instance) fireByHand(fn *function, e Event, retries bool) *Fired {
	switch {
	case fn.http():
		return in.start(fn, byHostAPI, retries, func(string) (*payload, error) {
			return nil, newException(invalidOperation, "Exception binding parameter '%s'",
				fn.trigger.name).because(newException("System.NotSupportedException",
				"An HttpRequest is required"))
		})
	case fn.trigger.is("timerTrigger"):
		return in.start(fn, byHostAPI, retries, func(string) (*payload, error) {
			var s *timerStatus
			if fn.monitored(in.h.clock.now()) {
				if stored, ok := in.h.timerStatus(fn.name); ok {
					stored.Next = fn.schedule.Next(in.h.clock.now())
					s = &stored
				}
			}
			return timerPayload(in.h, fn, s, false, e.Input), nil
		})
	}
	return in.start(fn, byHostAPI, retries,
		func(id string) (*payload, error) { return in.eventPayload(fn, e, id) })
}

// start runs fn once, with its policy or without, in the background.
func (in *instance) start(fn *function, reason string, retries bool,
	build func(id string) (*payload, error)) *Fired {
	r := &Fired{ID: newGUID(), done: make(chan struct{})}
	in.running.add()
	go func() {
		defer in.running.done()
		defer close(r.done)
		r.err = in.deliverOnce(fn, nil, r.ID, reason, "", retries, build)
	}()
	return r
}

func (in *instance) deliverOnce(fn *function, m *queueMessage, id, reason, details string, retries bool,
	build func(id string) (*payload, error)) error {
	inv := &invocation{in: in, fn: fn, id: id, way: "wrapped",
		reason: func() string { return reason }, details: details, single: !retries, message: m}
	p, err := build(id)
	inv.attempt = func(ctx context.Context, inv *invocation, retry string) error {
		if err != nil {
			return err
		}
		return in.eventAttempt(fn, p)(ctx, inv, retry)
	}
	return inv.run(in.ctx)
}

// deliverQueue delivers a message until it succeeds or has been dequeued maxDequeueCount times;
// then it goes to <queue>-poison (recording F-queue-fail). Between deliveries it lies in the queue:
// nothing runs, and whichever inside there is then takes it.
func (h *Host) deliverQueue(in *instance, fn *function, e Event) *Fired {
	r := &Fired{ID: newGUID(), done: make(chan struct{})}
	m := newQueueMessage(h, e)
	in.running.add()
	go func() {
		defer close(r.done)
		for m.count = 1; ; m.count++ {
			id := r.ID
			if m.count > 1 {
				id = newGUID()
				in.running.add()
			}
			r.err = in.deliverQueued(fn, m, id)
			in.running.done()
			if r.err == nil {
				return
			}
			if m.count >= in.cfg.maxDequeue {
				queue := target(fn.trigger)
				h.log(Warning, "Host.Triggers.Queue",
					"Message has reached MaxDequeueCount of %d. Moving message to queue '%s-poison'.",
					in.cfg.maxDequeue, queue)
				h.keep(Message{Function: fn.name, Invocation: id, Binding: fn.trigger.name,
					Kind: "queue", Target: queue + "-poison",
					Body: []byte(m.text)})
				return
			}
			if in, fn = h.nextTaker(in, fn.name); in == nil {
				return
			}
		}
	}()
	return r
}

func (in *instance) deliverQueued(fn *function, m *queueMessage, id string) error {
	details := fmt.Sprintf("MessageId: %s, DequeueCount: %d, InsertionTime: %s", m.id, m.count,
		m.inserted.Format("2006-01-02T15:04:05.000-07:00"))
	return in.deliverOnce(fn, m, id, "New queue message detected on '"+target(fn.trigger)+"'.",
		details, true,
		func(string) (*payload, error) { return m.payload(in.h, fn) })
}

// nextTaker waits until a message is visible again and a function is there to take it; nil when the
// host ends before.
func (h *Host) nextTaker(last *instance, name string) (*instance, *function) {
	pause := last.cfg.visibility
	for {
		if !h.clock.sleep(h.halted, pause) {
			return nil, nil
		}
		if in := h.inside(); in != nil && in.fault == "" && in.halted.Err() == nil {
			if fn := in.find(name); fn != nil && fn.trigger.is("queueTrigger") {
				return in, fn
			}
		}
		pause = max(pause, h.durations.FilePoll)
	}
}

func triggerReason(fn *function) string {
	switch kind := fn.trigger.kind; {
	case fn.trigger.is("serviceBusTrigger"):
		return "(null)"
	case fn.trigger.is("eventHubTrigger"):
		return "(null)"
	case fn.trigger.is("blobTrigger"):
		return "New blob detected: " + target(fn.trigger)
	default:
		return kind + " fired by hand"
	}
}

// wholeSeconds is a DateTimeOffset as the host renders it.
func wholeSeconds(t time.Time) string {
	return quoteJSON(t.UTC().Format("2006-01-02T15:04:05-07:00"))
}
