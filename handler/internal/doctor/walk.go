package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
)

// walk is one run: a node for each check and each part of the app that the check's result depends
// on.
type walk struct {
	o      Options
	routes []*route
	nodes  []*node
	byKey  map[nodeKey]*node
	redact *redactor

	mu   sync.Mutex
	done int
}

// route is the way of one function's calls.
type route struct {
	f      *settings.Function
	method string // of the probes
	// spared tells that the function's own method is another one, which is not sent unasked.
	spared bool
	// guessed tells that the URL of the probes holds invented values, so that no operation may
	// fit it.
	guessed bool
	values  target.Values
}

type nodeKey struct{ check, part string }

// node is one check of one part. results, out and status are set when done is closed.
type node struct {
	check     *check
	route     *route // the first of those that share it
	functions []string
	waits     map[string]*node // by id of the check

	done    chan struct{}
	results []Result
	out     any
	status  Status // the worst
	root    *node  // whose failure kept this one from running, at the end of the chain; nil where it ran
}

func newWalk(o Options) *walk {
	w := &walk{o: o, byKey: map[nodeKey]*node{}, redact: newRedactor(o)}
	for _, f := range o.Settings.Functions {
		if !f.App.Reserved() {
			w.routes = append(w.routes, newRoute(o, f))
		}
	}
	for i := range checks {
		c := &checks[i]
		if c.of == ofApp {
			w.node(c, &route{f: &settings.Function{}})
			continue
		}
		for _, r := range w.routes {
			n := w.node(c, r)
			n.functions = append(n.functions, r.f.App.Name)
		}
	}
	return w
}

func newRoute(o Options, f *settings.Function) *route {
	r := &route{f: f, method: "GET", values: target.Values{Named: map[string]string{}, Event: !f.App.HTTP()}}
	own := f.Method
	if f.App.HTTP() {
		own = "GET"
		if m := f.App.Methods; m != nil && !slices.Contains(m, "GET") && len(m) > 0 {
			own = m[0]
			if slices.Contains(m, "HEAD") {
				own = "HEAD"
			}
		}
	}
	switch {
	case own == "HEAD" || o.Call:
		r.method = own
	case own != "GET":
		r.spared = true
	}
	if f.Target == nil {
		return r
	}
	for _, name := range f.Target.Names() {
		name = strings.ToLower(name)
		text, given := o.Values[name]
		if !given {
			text, r.guessed = "doctor", true
		}
		r.values.Named[name] = text
	}
	if f.App.HTTP() && f.App.Route != nil && f.App.Route.CatchAll != "" {
		name := strings.ToLower(f.App.Route.CatchAll)
		text, given := o.Values[name]
		r.values.CatchAll, r.values.Named[name] = name, text
		r.guessed = r.guessed || !given
	}
	return r
}

// node finds or makes the node of a check for the part of a route that its result depends on.
func (w *walk) node(c *check, r *route) *node {
	key := nodeKey{c.id, r.key(c.of)}
	if n := w.byKey[key]; n != nil {
		return n
	}
	n := &node{check: c, route: r, waits: map[string]*node{}, done: make(chan struct{}), status: NotRun}
	w.byKey[key] = n
	for _, id := range slices.Concat(c.needs, c.after) {
		n.waits[id] = w.node(checkOf(id), r)
	}
	w.nodes = append(w.nodes, n)
	return n
}

// key tells parts apart. It may hold secrets and stays in memory.
func (r *route) key(p part) string {
	f := r.f
	switch p {
	case ofApp:
		return ""
	case ofFunction:
		return f.App.Name
	case ofIdentity:
		// An identity that was not parsed is the same for all who inherit it, and fails for none
		// of its own.
		return fmt.Sprintf("%q %q %q", f.Identity.Key(), f.TargetApp, f.TargetTenantID)
	case ofRole:
		return r.key(ofIdentity) + fmt.Sprintf(" %q", f.TargetRole)
	case ofGateway:
		if f.Target == nil {
			return ""
		}
		return f.Target.Scheme() + "://" + f.Target.Host() + " " + f.Trust.ID()
	case ofURL:
		u := "" // with query
		if f.Target != nil {
			if full, err := f.Target.URL(r.values, ""); err == nil {
				u = full.String()
			} else {
				u = f.Target.Redacted() + err.Error()
			}
		}
		return fmt.Sprintf("%q %q %q %v %v", r.method, u, fmt.Sprint(f.Headers), r.spared, r.guessed)
	case ofKey:
		keys := ""
		for _, k := range f.Keys {
			keys += fmt.Sprintf(" %q", k.Reveal())
		}
		return r.key(ofURL) + fmt.Sprintf(" %q", f.KeyHeader) + keys
	}
	return r.key(ofKey) + r.key(ofRole)
}

// run starts every node at once; each waits for those that it needs.
func (w *walk) run(ctx context.Context) *Report {
	ctx, cancel := context.WithTimeoutCause(ctx, w.o.times.whole, fmt.Errorf("no answer within %s: %w", w.o.times.whole, context.DeadlineExceeded))
	defer cancel()
	for _, n := range w.nodes {
		go w.visit(ctx, n)
	}
	var results []Result
	for i := range checks {
		for _, n := range w.nodes {
			if n.check != &checks[i] {
				continue
			}
			<-n.done
			for _, r := range n.results {
				r.Functions = n.functions
				results = append(results, w.redact.result(r))
			}
		}
	}
	return newReport(results)
}

// visit brings one node to its end. It returns when ctx ends, even if the check does not.
func (w *walk) visit(ctx context.Context, n *node) {
	defer close(n.done)
	defer func() {
		w.mu.Lock()
		w.done++
		w.o.Progress(n.check.title, w.done, len(w.nodes))
		w.mu.Unlock()
	}()
	for _, wait := range n.waits {
		<-wait.done // each of them returns in time
	}
	for _, id := range n.check.needs {
		if have := n.waits[id]; have.status == Finding || have.status == NotRun {
			n.root = have
			if have.root != nil {
				n.root = have.root
			}
			n.finish([]outcome{notRun("needs: " + have.check.title)}, nil)
			return
		}
	}
	if ctx.Err() != nil {
		n.finish([]outcome{notRun("no time left")}, nil)
		return
	}
	v := &visit{walk: w, route: n.route, f: n.route.f, waits: n.waits}
	ended := make(chan []outcome, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				// Not p itself: nobody knows what it holds.
				ended <- []outcome{notRun(fmt.Sprintf("the check itself failed: %T", p))}
			}
		}()
		ended <- n.check.run(ctx, v)
	}()
	select {
	case outcomes := <-ended:
		n.finish(outcomes, v.out)
	case <-ctx.Done():
		select {
		case outcomes := <-ended: // it heard of the end as well, and has more to say
			n.finish(outcomes, v.out)
		default:
			n.finish([]outcome{find(n.check.anchor, "no answer in time", nil)}, nil)
		}
	}
}

var severity = []Status{OK, Warning, NotRun, Finding}

func (n *node) finish(outcomes []outcome, out any) {
	n.out, n.status = out, OK
	for _, o := range outcomes {
		title := n.check.title
		if o.title != "" {
			title = o.title
		}
		needs := ""
		if n.root != nil {
			needs = n.root.check.id
		}
		n.results = append(n.results, Result{Needs: needs, ID: n.check.id, Title: title, Status: o.status, Saw: o.saw, Fix: o.fix, Anchor: o.anchor})
		if slices.Index(severity, o.status) > slices.Index(severity, n.status) {
			n.status = o.status
		}
	}
}

// visit is what a check sees: its part of the app, and what the checks that it waits for came to.
type visit struct {
	*walk
	route *route
	f     *settings.Function
	waits map[string]*node
	out   any // for the checks that wait for this one
}

// output returns what a check that this one waits for left, or the zero value.
func output[T any](v *visit, id string) T {
	n, declared := v.waits[id]
	if !declared {
		panic("doctor: a check reads " + id + " without naming it among its needs")
	}
	out, _ := n.out.(T)
	return out
}

// found returns the first finding of a check that this one waits for.
func (v *visit) found(id string) (Result, bool) {
	for _, r := range v.waits[id].results {
		if r.Status == Finding {
			return r, true
		}
	}
	return Result{}, false
}

// passes reports whether a check that this one waits for has an ok and nothing against it.
func (v *visit) passes(id string) bool {
	seen := false
	for _, r := range v.waits[id].results {
		if r.Status == Finding || r.Status == Warning {
			return false
		}
		seen = seen || r.Status == OK
	}
	return seen
}

// outcome is what a check says.
type outcome struct {
	status   Status
	title    string // instead of the check's; "" = the check's
	saw, fix string
	anchor   cause.Code
}

func ok(format string, args ...any) outcome {
	return outcome{status: OK, saw: fmt.Sprintf(format, args...)}
}

func notRun(saw string) outcome { return outcome{status: NotRun, saw: saw} }

// find makes a finding of the catalogue, with its fix filled in.
func find(anchor cause.Code, saw string, fill cause.Gaps) outcome {
	return outcome{status: Finding, saw: saw, anchor: anchor, fix: cause.Of(anchor).FixFor(fill)}
}

// warn is find for what need not be wrong.
func warn(anchor cause.Code, saw string, fill cause.Gaps) outcome {
	o := find(anchor, saw, fill)
	o.status = Warning
	return o
}

// titled gives the outcome a title of its own.
func (o outcome) titled(title string) outcome {
	o.title = title
	return o
}

// fixed replaces the fix where a better one is known.
func (o outcome) fixed(fix string) outcome {
	if fix != "" {
		o.fix = fix
	}
	return o
}
