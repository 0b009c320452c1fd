package console

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

// A line of the handler comes after its answer, and so may come after the host has closed the invocation. So long is waited for it.
const afterglow = 3 * time.Second

// Collector joins what the stand-ins saw of an invocation. The host knows its id; the handler's log line has that id and the trace id;
// the gateway's record has the traceparent that the handler sent; the identity endpoint's history has the token's hash; the handler's spans have the trace id.
type Collector struct {
	board    *Board
	identity *identity.Server // nil: tokens come from elsewhere
	backend  string           // what the stand-in's backend is called; "": the gateway is the real one
	wake     chan struct{}

	refusals atomic.Int64

	mu      sync.Mutex
	hosts   []func() []host.Invocation
	lines   map[string][]wideLine       // by invocation id
	records map[string][]gateway.Record // by trace id
	order   []string                    // trace ids, oldest first, to bound the map
	traced  map[string][]tracedSpan     // by trace id
	built   map[string]Invocation       // by key, what the store was last told
	since   time.Time                   // invocations that began earlier are forgotten
}

// wideLine is what is read of the handler's log line about an invocation.
type wideLine struct {
	at       time.Time
	level    string
	text     string
	trace    string
	code     string // of a problem answer
	err      string
	upstream int     // status of the gateway's last answer; 0: none
	attempts int     // requests sent to the gateway
	took     float64 // milliseconds until the gateway's answer
	key      string  // primary, secondary or none
	method   string
	path     string
}

// NewCollector joins on to b. tenant is nil where tokens come from elsewhere; backend is what the stand-in's
// backend is called, "" where the gateway is the real one.
func NewCollector(b *Board, tenant *identity.Server, backend string) *Collector {
	return &Collector{
		board: b, identity: tenant, backend: backend, wake: make(chan struct{}, 1),
		lines: map[string][]wideLine{}, records: map[string][]gateway.Record{}, traced: map[string][]tracedSpan{},
		built: map[string]Invocation{},
	}
}

func (c *Collector) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// OnLog takes a line of a host's log. It never calls the host.
func (c *Collector) OnLog(e host.LogEntry) {
	if line, id, ok := readWideLine(e); ok {
		c.mu.Lock()
		if len(c.lines) > 5*keptInvocations {
			clear(c.lines)
		}
		c.lines[id] = append(c.lines[id], line)
		c.mu.Unlock()
	}
	c.poke()
}

// AboutInvocation reports whether a line of the log is the handler's line about an invocation.
func AboutInvocation(e host.LogEntry) bool {
	_, _, ok := readWideLine(e)
	return ok
}

// readWideLine reads a JSON line that names an invocation: the handler's own form, written again here on purpose.
func readWideLine(e host.LogEntry) (wideLine, string, bool) {
	if !strings.HasPrefix(e.Text, "{") {
		return wideLine{}, "", false
	}
	var fields struct {
		Invocation string  `json:"invocation_id"`
		Trace      string  `json:"trace_id"`
		Problem    string  `json:"problem"`
		Error      string  `json:"error"`
		Upstream   int     `json:"upstream_status"`
		Attempts   int     `json:"attempts"`
		UpstreamMS float64 `json:"upstream_ms"`
		Key        string  `json:"key"`
		Method     string  `json:"method"`
		Path       string  `json:"path"`
	}
	if json.Unmarshal([]byte(e.Text), &fields) != nil || fields.Invocation == "" {
		return wideLine{}, "", false
	}
	return wideLine{
		at: e.Time, level: e.Level.String(), text: e.Text, trace: fields.Trace, code: fields.Problem, err: fields.Error, upstream: fields.Upstream,
		attempts: fields.Attempts, took: fields.UpstreamMS, key: fields.Key, method: fields.Method, path: fields.Path,
	}, fields.Invocation, true
}

// OnRecord takes a record of the gateway.
func (c *Collector) OnRecord(r gateway.Record) {
	trace := traceOf(r.Traceparent)
	c.mu.Lock()
	if _, ok := c.records[trace]; !ok {
		c.order = append(c.order, trace)
		if len(c.order) > 5*keptInvocations {
			delete(c.records, c.order[0])
			c.order = c.order[1:]
		}
	}
	c.records[trace] = append(c.records[trace], r)
	c.mu.Unlock()
	c.poke()
}

// traceOf is the trace id of a traceparent: 00-<32 hex>-<16 hex>-<2 hex> (W3C Trace Context).
func traceOf(traceparent string) string {
	if parts := strings.Split(traceparent, "-"); len(parts) >= 4 && len(parts[1]) == 32 {
		return parts[1]
	}
	return ""
}

// Watch adds a host, by its history.
func (c *Collector) Watch(history func() []host.Invocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts = append(c.hosts, history)
}

// Reset forgets everything, and each invocation that began before.
func (c *Collector) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.lines)
	clear(c.records)
	clear(c.traced)
	clear(c.built)
	c.order, c.since = nil, time.Now()
}

// Run joins until ctx ends: whenever something was seen, and a little later again for what comes late.
func (c *Collector) Run(ctx context.Context) {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-ticker.C:
		}
		c.join()
	}
}

func (c *Collector) join() {
	c.mu.Lock()
	hosts, since := slices.Clone(c.hosts), c.since
	c.mu.Unlock()
	for _, history := range hosts {
		for _, seen := range history() {
			if seen.Started.Before(since) {
				continue
			}
			key := seen.ID
			if seen.Attempt > 0 {
				key = fmt.Sprintf("%s-retry-%d", seen.ID, seen.Attempt)
			}
			c.mu.Lock()
			have, known := c.built[key]
			old := known && have.Outcome != "running" && time.Since(have.Started) > time.Duration(have.DurationMS*float64(time.Millisecond))+afterglow
			var inv Invocation
			if !old {
				inv = c.buildLocked(key, seen)
				c.built[key] = inv
			}
			c.mu.Unlock()
			if old || known && reflect.DeepEqual(have, inv) {
				continue
			}
			c.board.change(key, func(i *Invocation) { *i = inv })
		}
	}
}

func (c *Collector) buildLocked(key string, seen host.Invocation) Invocation {
	inv := Invocation{
		ID: key, Function: seen.Function, Trigger: triggerName(seen.Trigger), Way: seen.Way, Started: seen.Started,
		DurationMS: float64(seen.Duration.Microseconds()) / 1000, Outcome: string(seen.Status), Status: seen.HTTP, Faults: seen.Faults, Calls: []Call{}, Log: []LogLine{},
	}
	inv.Request = requestText(seen)
	inv.Tick = seen.Trigger == "timerTrigger" && strings.HasPrefix(seen.Reason, "Timer fired at")
	inv.Group, inv.Turn = turnOf(seen)
	end := seen.Started.Add(seen.Duration)
	if seen.Status == host.Running {
		end = time.Now()
		inv.DurationMS = float64(end.Sub(seen.Started).Microseconds()) / 1000
	}
	for _, line := range seen.Log {
		if line.Invocation == seen.ID {
			inv.Log = append(inv.Log, LogLine{line.Time, line.Level.String(), line.Text})
		}
	}
	var lines []wideLine
	for _, line := range c.lines[seen.ID] {
		if line.at.Before(seen.Started) || line.at.After(end.Add(afterglow)) {
			continue
		}
		lines = append(lines, line)
		inv.Log = append(inv.Log, LogLine{line.at, line.level, line.text})
		if line.trace != "" {
			inv.TraceID = line.trace
		}
	}
	slices.SortStableFunc(inv.Log, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	c.addCallsLocked(&inv, end)
	if c.backend == "" {
		inv.Calls = realCalls(&inv, lines)
	}
	tokens := c.addTokenLocked(&inv, end)
	for _, m := range seen.Outputs {
		inv.Outputs = append(inv.Outputs, outputOf(m))
	}
	inv.Cause = causeOf(&inv, seen, lines)
	if c.identity != nil {
		adviseRole(&inv)
	}
	inv.Spans = inv.spans(append(tokens, c.handlerSpansLocked(&inv, seen.ID, end)...))
	return inv
}

// addCallsLocked adds the gateway's records of this attempt. Attempts of one invocation share their id and may share a trace, so time tells
// them apart; clocks are the same machine's, a millisecond's rounding is allowed for.
func (c *Collector) addCallsLocked(inv *Invocation, end time.Time) {
	for _, r := range c.records[inv.TraceID] {
		if inv.TraceID == "" || r.Time.Before(inv.Started.Add(-2*time.Millisecond)) || r.Time.After(end.Add(2*time.Millisecond)) {
			continue
		}
		inv.Calls = append(inv.Calls, callOf(r, c.backend))
		if t := tokenOf(r.Token); t != nil {
			inv.Token = t
		}
	}
	slices.SortStableFunc(inv.Calls, func(a, b Call) int { return a.Started.Compare(b.Started) })
}

// realCalls is what the handler says of a gateway that keeps no records for us.
func realCalls(inv *Invocation, lines []wideLine) []Call {
	calls := []Call{}
	for _, line := range lines {
		if line.attempts == 0 {
			continue
		}
		call := Call{
			Started: inv.Started, DurationMS: line.took, Method: line.method, Path: line.path, Status: line.upstream, Rules: []Rule{},
			Key: line.key, KeyOK: true, Message: line.err,
		}
		if line.attempts > 1 {
			call.Message = strings.Join(nonEmpty(fmt.Sprintf("%d attempts", line.attempts), line.err), ": ")
		}
		calls = append(calls, call)
	}
	return calls
}

// addTokenLocked says where the token came from: an answer of the identity endpoint during the invocation, or the handler's hand. The
// spans are the requests for that token.
func (c *Collector) addTokenLocked(inv *Invocation, end time.Time) []Span {
	if inv.Token == nil && c.backend == "" && slices.ContainsFunc(inv.Calls, func(call Call) bool { return call.Status > 0 }) {
		// A real gateway tells nothing of the token; without one the handler would not have called.
		inv.Token = &Token{Roles: []string{}, Unread: true}
	}
	if inv.Token == nil {
		return nil
	}
	if c.identity == nil {
		inv.Token.Source = "from the Azure CLI"
		return nil
	}
	inv.Token.Source = "in hand"
	for _, person := range c.identity.People() {
		if person.ClientID != inv.Token.Caller {
			continue
		}
		inv.Token.Name = person.Kind + " identity " + person.Name
		if person.Kind == "application" || person.Kind == "developer" {
			inv.Token.Name = person.Kind + " " + person.Name
		}
	}
	var spans []Span
	for _, r := range c.identity.History(0) {
		if r.Token == nil || r.Token.Hash != inv.Token.Hash || r.Time.Before(inv.Started) || r.Time.After(end) {
			continue
		}
		span := Span{
			Name: "token", Kind: "token", StartMS: float64(r.Time.Sub(inv.Started).Microseconds()) / 1000, DurationMS: r.DurationMS, Note: r.Kind, Bad: r.Status != 200,
		}
		if r.Token.Cached {
			span.Note = "the platform's cache"
		}
		if len(spans) == 0 {
			inv.Token.Source = "fetched during this call from " + span.Note + " in " + milliseconds(r.DurationMS)
		} else {
			span.Name = "token, again"
		}
		spans = append(spans, span)
	}
	if len(spans) > 1 {
		inv.Token.Source += ", the same token again after a refusal"
	}
	return spans
}

// shownBytes is how much of a message the page shows.
const shownBytes = 2 << 10

func outputOf(m host.Message) Output {
	text := strings.ToValidUTF8(string(m.Body[:min(len(m.Body), shownBytes)]), "\uFFFD")
	return Output{Binding: m.Binding, Kind: m.Kind, Target: m.Target, Text: text, Bytes: len(m.Body)}
}

// refusedForGood is why an event can never succeed, as its message in the output named refused says;
// "" where there is none. The form of the message is the handler's, written again here on purpose.
func refusedForGood(outputs []host.Message) string {
	for _, m := range outputs {
		var message struct {
			Status       int
			Code, Reason string
		}
		if !strings.EqualFold(m.Binding, "refused") || json.Unmarshal(m.Body, &message) != nil {
			continue
		}
		why := message.Code
		if message.Status != 0 {
			why = fmt.Sprintf("the backend answered %d", message.Status)
		}
		return "refused for good, kept in " + m.Target + ": " +
			strings.Join(nonEmpty(why, message.Reason), ": ")
	}
	return ""
}

// causeOf is one line: who refused and why. "" for what went well.
func causeOf(inv *Invocation, seen host.Invocation, lines []wideLine) string {
	if fault := hostFault(inv); fault != "" {
		return "fault of the host: " + fault
	}
	if refused := refusedForGood(seen.Outputs); refused != "" {
		return refused
	}
	if inv.Outcome == "running" || inv.Outcome == string(host.Succeeded) && inv.Status < 400 {
		return ""
	}
	for _, call := range slices.Backward(inv.Calls) {
		for _, rule := range call.Rules {
			if rule.Result == "refuse" {
				return "the policy refused at " + rule.Statement + ": " + strings.Join(nonEmpty(rule.Check, rule.Why), ": ")
			}
		}
		switch {
		case !call.KeyOK:
			return "the gateway refused the subscription key: " + call.Key
		case call.Fault != "":
			return "fault of the gateway: " + call.Fault
		case call.Backend != nil && call.Backend.Error != "":
			return "the backend failed: " + call.Backend.Error
		case call.Status >= 400 && call.Backend != nil:
			return fmt.Sprintf("the backend answered %d", call.Status)
		case call.Status >= 400 && call.Message != "":
			return "the gateway answered " + statusText(call.Status) + ": " + call.Message
		}
	}
	for _, line := range lines {
		if line.code != "" {
			return strings.Join(nonEmpty("the handler answered "+line.code, line.err), ": ")
		}
	}
	if inv.Status == 401 && len(inv.Calls) == 0 && seen.Way != "" {
		return "401 without a call of the gateway"
	}
	first, _, _ := strings.Cut(seen.Error, "\n")
	return first
}

// adviseRole says how a function of one's own comes to the app role that the policy asks for, here.
func adviseRole(inv *Invocation) {
	for _, call := range inv.Calls {
		for i, rule := range call.Rules {
			if rule.Result != "refuse" || rule.Check != "claim roles" || !strings.Contains(rule.Want, "Api.Write") {
				continue
			}
			name := strings.ReplaceAll(inv.Function, "-", "_")
			call.Rules[i].Fixes = append(slices.Clone(rule.Fixes), "sandbox: in local.settings.json, under Values, add \""+
				name+"__FunctionIdentity\": \"RunAs=App;AppId=writer\", and start again")
		}
	}
}

// hostFault is the fault of the host that an invocation suffers from: while it is held, when it has failed, and where the caller did not get the
// answer that the handler gave.
func hostFault(inv *Invocation) string {
	bad := inv.Outcome == string(host.Failed) || inv.Status >= 500
	var suffered []string
	for _, fault := range inv.Faults {
		name, side, _ := strings.Cut(fault, " on the ")
		held := name == host.FaultLatency || name == host.FaultHang
		switch {
		case inv.Outcome == "running" && held, bad && name != host.FaultLatency, !held && strings.HasPrefix(side, host.ToCaller):
			suffered = append(suffered, fault)
		}
	}
	return strings.Join(suffered, ", ")
}

// turnOf says which delivery of a message, or attempt of a retry policy, a run is.
func turnOf(seen host.Invocation) (group, turn string) {
	var turns []string
	group = seen.ID
	if seen.Message != "" {
		group = seen.Message
		turns = append(turns, fmt.Sprintf("delivery %d of %d", seen.Delivery, seen.Most))
	}
	switch {
	case seen.Attempts > 1 && (seen.Attempt > 0 || seen.Status == host.Failed):
		turns = append(turns, fmt.Sprintf("attempt %d of %d", seen.Attempt+1, seen.Attempts))
	case seen.Attempt > 0:
		turns = append(turns, fmt.Sprintf("attempt %d", seen.Attempt+1))
	}
	return group, strings.Join(turns, ", ")
}

// refused is the outcome of a request that no function got.
const refused = "refused"

// OnRefusal shows a request that the host itself refused.
func (c *Collector) OnRefusal(r host.Refusal) {
	id := fmt.Sprintf("refused-%d", c.refusals.Add(1))
	c.board.change(id, func(i *Invocation) {
		*i = Invocation{
			ID: id, Function: r.Function, Trigger: "http", Request: r.Method + " " + r.Path, Started: r.Time, Outcome: refused, Status: r.Status,
			Cause: "the host refused: " + r.Reason, Group: id, Calls: []Call{}, Log: []LogLine{}, Spans: []Span{},
		}
	})
}

func triggerName(kind string) string { return strings.TrimSuffix(kind, "Trigger") }

func requestText(seen host.Invocation) string {
	if seen.Method != "" {
		return seen.Method + " " + seen.Path
	}
	text := triggerName(seen.Trigger) + ": " + seen.Reason
	if strings.Contains(seen.Reason, "programmatically called") {
		text = triggerName(seen.Trigger) + ": fired by hand"
	}
	return text
}
