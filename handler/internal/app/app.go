// Package app reads a script root the way the Azure Functions host reads it: host.json with its overrides by app settings, one folder with a
// function.json for each function, triggers, bindings and routes in the host's own order.
//
// A proxied or forwarded request does not name its function. The host chose one by its route templates, and this package has to come to the
// same choice, since another one would call the gateway with another function's identity. What it cannot decide as the host does is therefore
// a fault, never a guess.
package app

import (
	"strings"
	"time"

	"apimrelay/handler/internal/cause"
	"apimrelay/internal/hostfile"
)

// App is one script root. It is read once by Load and never changed after it; all methods are safe for concurrent use.
type App struct {
	Root        string // the folder that holds host.json
	RoutePrefix string // extensions.http.routePrefix without slashes at its ends; "" = none, "a/b" = two segments
	// Proxying and Forwarding are customHandler.enableProxyingHttpRequest and enableForwardingHttpRequest. Both may be on: a host that knows
	// proxying proxies, an older one forwards.
	Proxying, Forwarding bool
	FunctionTimeout      time.Duration // five minutes when host.json has none; 0 = unbounded ("-1")
	ExtensionBundle      bool          // host.json names an extension bundle, without which only HTTP and timer triggers exist
	BundleVersion        int           // the bundle's major version that host.json begins with; 0 where that cannot be told
	Functions            []*Function   // in the host's order (ordinal, ignoring case); faulty and disabled ones included
	Faults               []Fault       // of host.json, or of one function where it stops the whole host: every function fails
	Warnings             []Fault       // worth saying at start; nothing fails
	Overlaps             []Overlap     // pairs of functions that one request can fit
	Excluded             []string      // folders that host.json's "functions" leaves out: the host does not load them

	plainQueues bool // the host writes messages of storage queues as text, not in base64

	lookup func(name string) (string, bool)
	// lockRenewal is how long the Service Bus extension keeps a message's lock: five minutes, or
	// maxAutoLockRenewalDuration (learn.microsoft.com, host.json settings of Service Bus bindings).
	lockRenewal time.Duration
}

// Fault is one thing that is wrong with the app, in words for its owner.
type Fault struct {
	Cause    cause.Code // what it is a case of; never ""
	Function string     // the function that fails; "" = all of them
	File     string     // the file to look at, relative to the script root; "" where it is none
	Setting  string     // the app setting to look at, as the portal shows it; "" where it is none
	Text     string     // one line: what was done, with which, what was wanted and found; never a secret's value
	Hint     string     // one line: how to mend it; may be ""
}

// String joins file, function and text.
func (f Fault) String() string {
	where := f.File
	if where == "" {
		where = f.Setting
	}
	text := f.Text
	if where != "" {
		text = where + ": " + text
	}
	if f.Function != "" {
		text = "function " + f.Function + ": " + text
	}
	return text
}

// Function is one folder with a function.json.
type Function struct {
	Name     string    // the folder's name
	File     string    // its function.json, relative to the script root
	Trigger  Binding   // zero where function.json has none or several, which is a fault
	Bindings []Binding // all of them, in the file's order, the trigger included
	// Wrapped tells that invocations come as POST /<Name> with an envelope; otherwise they come under the route prefix, proxied or forwarded.
	Wrapped  bool
	Methods  []string           // upper case; nil = all; HTTP only
	Route    *Route             // HTTP only; nil where its template is at fault
	Schedule *hostfile.Schedule // of a timer; nil for others, and where it is at fault
	Retry    *Retry             // from function.json, else from host.json; nil = none
	// Unreachable: every request that fits it goes to earlier functions; one of its Faults names them.
	Unreachable bool
	Disabled    bool // by the app setting AzureWebJobs.<Name>.Disabled; the host still keeps its route, and runs it for the master key
	Faults      []Fault
	Warnings    []Fault

	// absent: the host itself finds the function in error and does not load it, so that its route takes no request from a later one.
	absent bool
	// loose: its route hangs on a constraint that we cannot judge as the host does, beside another route: it then takes what it might take.
	loose bool
}

// Reserved tells whether the function is one that the handler answers itself, known by its folder's name: doctor or health.
func (f *Function) Reserved() bool {
	return strings.EqualFold(f.Name, "doctor") || strings.EqualFold(f.Name, "health")
}

// HTTP tells whether the function has an HTTP trigger.
func (f *Function) HTTP() bool { return f.Trigger.is("httpTrigger") }

// Outputs returns the bindings of direction out or inout, those of type http and the one named "$return" included.
func (f *Function) Outputs() []Binding {
	var out []Binding
	for _, b := range f.Bindings {
		if b.output() {
			out = append(out, b)
		}
	}
	return out
}

// refusedTypes are the types that the output named refused may have. Each of them stores what it
// gets for people to look at.
var refusedTypes = []string{"queue", "blob", "serviceBus", "eventHub"}

// Refused returns the output binding named refused of a function with another trigger than HTTP:
// events that no repetition can make succeed go there. The host ignores the case of the name.
func (f *Function) Refused() (Binding, bool) {
	if f.Trigger.Type == "" || f.HTTP() {
		return Binding{}, false
	}
	for _, b := range f.Outputs() {
		if strings.EqualFold(b.Name, "refused") {
			return b, true
		}
	}
	return Binding{}, false
}

// MostBytes is how much an output can hold at the most, in bytes of what is put out. 0 = the handler
// does not know; what is too much for the service fails the invocation then, too.
//
// A message of a storage queue has 64 KiB, and the host writes it in base64 unless
// extensions.queues.messageEncoding is none (learn.microsoft.com, "Azure Queue storage bindings for
// Azure Functions", "Scalability and performance targets for Queue Storage").
func (a *App) MostBytes(b Binding) int {
	switch {
	case !b.is("queue"):
		return 0
	case a.plainQueues:
		return 64 << 10
	}
	return 48 << 10
}

// Binding is one entry of function.json's bindings.
type Binding struct {
	Type        string // as written; the host ignores its case
	Direction   string // "in", "out" or "inout"; "in" where the file says nothing
	Name        string // as written; the host's envelope uses it exactly so
	DataType    string // lower case; "" where the file says nothing
	Cardinality string // lower case; "" where the file says nothing
	Raw         map[string]any

	resolved map[string]string // properties in which the host fills in %names%, by their names in lower case
}

// Text returns a property's text as the extension reads it, %names% filled in; "" where there is none.
func (b Binding) Text(property string) string {
	if text, ok := b.resolved[strings.ToLower(property)]; ok {
		return strings.TrimSpace(text)
	}
	text, _ := b.property(property).(string)
	return strings.TrimSpace(text)
}

func (b Binding) is(kind string) bool { return strings.EqualFold(b.Type, kind) }
func (b Binding) trigger() bool       { return strings.HasSuffix(strings.ToLower(b.Type), "trigger") }
func (b Binding) output() bool        { return b.Direction == "out" || b.Direction == "inout" }

// property returns a raw property, an exact spelling first, then one in any case.
func (b Binding) property(name string) any {
	if v, ok := b.Raw[name]; ok {
		return v
	}
	for written, v := range b.Raw {
		if strings.EqualFold(written, name) {
			return v
		}
	}
	return nil
}

// Retry is the host's retry policy of a function.
type Retry struct {
	Strategy        string // "fixedDelay" or "exponentialBackoff"
	MaxRetryCount   int    // -1 = for ever
	DelayInterval   time.Duration
	MinimumInterval time.Duration
	MaximumInterval time.Duration
}

// Overlap says that one request may fit two functions and that First, which the host asks before Second, then gets it.
type Overlap struct {
	First, Second *Function
	Methods       []string // that both take, upper case; nil = all
}

// Match is the function that a request under the route prefix belongs to.
type Match struct {
	Function *Function
	// Values holds the route parameters under their names in lower case, still escaped as they arrived. Absent optional ones are missing,
	// absent ones with a default hold the default, escaped. The catch-all's is the path's remainder.
	Values map[string]string
}
