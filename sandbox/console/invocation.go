package console

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const keptInvocations = 200

// Invocation is one run of a function and the way it went. It holds public facts only: never a token, a key or a header's value.
type Invocation struct {
	ID       string    `json:"id"`
	Function string    `json:"function"`
	Trigger  string    `json:"trigger"` // http, timer, queue, ...
	Way      string    `json:"way"`     // proxied, forwarded or wrapped: how the handler got it
	Request  string    `json:"request"` // "GET /api/relay/hello", or what fired it
	Started  time.Time `json:"started"`
	// DurationMS is the host's view: from the trigger to the answer.
	DurationMS float64  `json:"duration_ms"`
	Outcome    string   `json:"outcome"`          // running, succeeded, failed, refused (by the host: no function ran)
	Status     int      `json:"status,omitempty"` // of the answer to an HTTP caller
	Cause      string   `json:"cause,omitempty"`  // one line: who refused and why
	TraceID    string   `json:"trace_id,omitempty"`
	Faults     []string `json:"faults,omitempty"` // of the host that it met
	Group      string   `json:"group,omitempty"`  // the same for each delivery of a message, and each attempt of a run
	Turn       string   `json:"turn,omitempty"`   // "delivery 2 of 5"
	Tick       bool     `json:"tick,omitempty"`   // a timer ran by its schedule
	// Unrouted: API Management had no operation for the call.
	Unrouted bool `json:"-"`

	Token *Token `json:"token,omitempty"`
	Calls []Call `json:"calls"` // to the gateway, retries and replays included
	// Outputs are messages that the host wrote for it, the poison queue's included.
	Outputs []Output  `json:"outputs,omitempty"`
	Log     []LogLine `json:"log"`
	Spans   []Span    `json:"spans"`
}

// Token is what may be shown of a token, and where this one came from.
type Token struct {
	Hash    string    `json:"hash"` // 12 hex digits of the SHA-256
	Version string    `json:"ver,omitempty"`
	Issuer  string    `json:"iss,omitempty"`
	Aud     string    `json:"aud,omitempty"`
	Tenant  string    `json:"tid,omitempty"`
	Caller  string    `json:"caller,omitempty"` // client id
	Name    string    `json:"name,omitempty"`   // of the identity
	Roles   []string  `json:"roles"`
	Scopes  string    `json:"scp,omitempty"`
	Issued  time.Time `json:"issued,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// Source is how the handler had it: "in hand" when no request to the identity endpoint belongs to this invocation.
	Source string `json:"source"`
	Unread bool   `json:"unread,omitempty"` // it went to a real gateway, which tells nothing of it
}

// Call is one call of the gateway.
type Call struct {
	Started    time.Time `json:"started"`
	DurationMS float64   `json:"duration_ms"`
	Method     string    `json:"method"`
	Path       string    `json:"path"` // with the query, keys cut out
	Operation  string    `json:"operation,omitempty"`
	Key        string    `json:"key"` // what became of the subscription key, in words
	KeyOK      bool      `json:"key_ok"`
	Rules      []Rule    `json:"rules"`
	Backend    *Backend  `json:"backend,omitempty"`
	Status     int       `json:"status"`
	Bytes      int64     `json:"bytes"`
	Fault      string    `json:"fault,omitempty"`
	Message    string    `json:"message,omitempty"` // of a refusal
}

// Rule is one check of one statement of the policy.
type Rule struct {
	File      string   `json:"file"`
	Line      int      `json:"line"`
	Scope     string   `json:"scope,omitempty"`
	Section   string   `json:"section,omitempty"`
	Statement string   `json:"statement"`
	Check     string   `json:"check,omitempty"`
	Result    string   `json:"result"` // pass, refuse, not checked, not run, done
	Want      string   `json:"want,omitempty"`
	Got       string   `json:"got,omitempty"`
	Why       string   `json:"why,omitempty"`
	Fixes     []string `json:"fixes,omitempty"`
}

// Backend is what the gateway asked its backend.
type Backend struct {
	Started    time.Time `json:"started"`
	DurationMS float64   `json:"duration_ms"`
	Method     string    `json:"method"`
	URL        string    `json:"url"`
	Status     int       `json:"status"`
	Error      string    `json:"error,omitempty"`
}

// Output is a message that the host wrote for an invocation.
type Output struct {
	Binding string `json:"binding"`
	Kind    string `json:"kind"`   // queue, serviceBus, blob, ...
	Target  string `json:"target"` // the queue, topic, hub or path
	Text    string `json:"text"`   // the beginning of the message; what is no UTF-8 in it is replaced
	Bytes   int    `json:"bytes"`  // of the whole message
}

// LogLine is a line of the host's log that belongs to an invocation.
type LogLine struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}

// Span is a bar of the waterfall.
type Span struct {
	Name       string  `json:"name"`
	Kind       string  `json:"kind"`     // function, handler, token, request, gateway, backend
	StartMS    float64 `json:"start_ms"` // after Started
	DurationMS float64 `json:"duration_ms"`
	Note       string  `json:"note,omitempty"`
	Bad        bool    `json:"bad,omitempty"`
}

// spans draws the waterfall from what is known: the host's view first, then what began earlier, and of two that began together the one around the other.
func (i *Invocation) spans(known []Span) []Span {
	out := []Span{{Name: i.Function, Kind: "function", DurationMS: i.DurationMS, Note: outcome(*i), Bad: i.Outcome == "failed" || i.Outcome == refused || i.Status >= 400}}
	out = append(out, known...)
	after := func(t time.Time) float64 { return max(0, float64(t.Sub(i.Started).Microseconds())/1000) }
	for n, c := range i.Calls {
		name := "gateway"
		if n > 0 {
			name = "gateway, again"
		}
		out = append(out, Span{Name: name, Kind: "gateway", StartMS: after(c.Started), DurationMS: c.DurationMS, Note: statusText(c.Status), Bad: c.Status >= 400 || c.Status == 0})
		if b := c.Backend; b != nil {
			out = append(out, Span{Name: "backend", Kind: "backend", StartMS: after(b.Started), DurationMS: b.DurationMS, Note: statusText(b.Status), Bad: b.Status >= 400 || b.Status == 0})
		}
	}
	slices.SortStableFunc(out[1:], func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.StartMS, b.StartMS), cmp.Compare(slices.Index(around, a.Kind), slices.Index(around, b.Kind)))
	})
	return out
}

// around are the kinds of spans, each before those that it is around.
var around = []string{"function", "handler", "token", "request", "gateway", "backend"}

// Board keeps the last invocations and tells who listens. The zero value is ready. Safe for concurrent use.
type Board struct {
	mu        sync.Mutex
	list      []*Invocation // oldest first
	listeners map[chan Invocation]struct{}
}

// change finds an invocation, or begins one, changes it and tells the listeners.
func (b *Board) change(id string, change func(*Invocation)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	inv := b.find(id)
	if inv == nil {
		inv = &Invocation{ID: id, Outcome: "running", Started: time.Now(), Calls: []Call{}, Log: []LogLine{}, Spans: []Span{}}
		b.list = append(b.list, inv)
		if len(b.list) > keptInvocations {
			b.list = append([]*Invocation(nil), b.list[len(b.list)-keptInvocations:]...)
		}
	}
	change(inv)
	copied := *inv
	for c := range b.listeners {
		select {
		case c <- copied:
		default: // a reader that is behind reads the list again
		}
	}
}

func (b *Board) find(id string) *Invocation {
	for i := len(b.list) - 1; i >= 0; i-- {
		if b.list[i].ID == id {
			return b.list[i]
		}
	}
	return nil
}

// Get returns a copy of an invocation that is kept.
func (b *Board) Get(id string) (Invocation, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if inv := b.find(id); inv != nil {
		return *inv, true
	}
	return Invocation{}, false
}

// All returns the invocations, newest first.
func (b *Board) All() []Invocation {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Invocation, 0, len(b.list))
	for i := len(b.list) - 1; i >= 0; i-- {
		out = append(out, *b.list[i])
	}
	return out
}

func (b *Board) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = nil
}

// Listen returns a channel with each invocation that changes, and a function that ends it. A reader that
// is behind misses some.
func (b *Board) Listen() (<-chan Invocation, func()) {
	c := make(chan Invocation, 64)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners == nil {
		b.listeners = map[chan Invocation]struct{}{}
	}
	b.listeners[c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, c)
	}
}
