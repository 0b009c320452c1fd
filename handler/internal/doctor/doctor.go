// Package doctor says why calls are refused, and how to mend it.
//
// It walks positive statements (check.go lists them, as data): the settings are complete, the identity gets a token, the gateway accepts the key, and so
// on, each for every distinct combination of identity, app, key and URL among the functions. Whatever is wrong becomes a finding of the catalogue
// (catalogue.go), which has one entry for each cause that can be told apart from inside; docs/troubleshooting.md is made from it. The same checks serve
// `handler doctor` and the function doctor; the same results are printed as a table and as JSON.
//
// No result holds a secret or a token: what the checks know of them is taken out of every text at the end (redact.go).
//
// # What cannot be told from inside
//
// Some failures show themselves only elsewhere, or never meet this program:
//
//   - A missing role and a misspelt TargetApp are the same answer of the identity endpoint where the API demands an assignment. They share the finding
//     resource-refused; the sign-in log of the service principal in Entra tells them apart.
//   - A policy with a fixed error message says one thing for every fault of a token. Without -policy and TargetRole they share the finding token-refused.
//   - A wrong key, a suspended subscription, a key of another product and one that was regenerated are one answer: key-invalid.
//   - A key rollover that the gateway has not seen, and a deployed policy that differs from the file, are both token-signature: keys are not known here.
//   - Names that envconfig reads in upper case only (three symptoms on Linux): settings reads them in any spelling, so they cannot occur.
//   - A managed identity of a virtual machine, its endpoint and its texts (three symptoms): a function app has none, and identity never asks one.
//   - A request without client_assertion, with `resource` for the v2 endpoint, malformed, or with the tenant as an option of its own (four symptoms): they
//     are faults of a client's code, which azidentity does not have.
//   - Instance discovery without a network, and an authority over http: discovery is off, and the address is refused before any request, with
//     its own text (authority).
//   - A consent between two applications of Microsoft, and a client that is told to wait because it asks in a loop: neither concerns this program's own
//     registrations and cache. Their codes are explained in log lines all the same.
//   - Bodies and URLs that are too large for the gateway: doctor sends none. `handler doctor -log` explains the line of such a call.
package doctor

import (
	"context"
	"net/http"
	"time"

	"apimrelay/handler/internal/policy"
	"apimrelay/handler/internal/settings"
)

// times bound what is asked: the longest way, a token and a control request and then a call, stays below the whole, of which 15 s are promised.
type times struct {
	whole                time.Duration // what has no result by then is a finding, or not run
	dial                 time.Duration // the identity endpoint
	token                time.Duration // az is a Python program: it takes seconds to start
	control              time.Duration
	name, connect, probe time.Duration // the gateway
}

var defaultTimes = times{
	whole: 14 * time.Second, dial: 2 * time.Second, token: 8 * time.Second, control: 2500 * time.Millisecond,
	name: 2500 * time.Millisecond, connect: 3 * time.Second, probe: 3500 * time.Millisecond,
}

// Options say what is examined. Settings alone is required.
type Options struct {
	Settings *settings.Settings
	// Lookup reads a variable of the process environment by its exact name.
	Lookup func(name string) (string, bool)

	// Held returns the token in hand for a function, "" where there is none; nil: there never is one. Without one in hand a token is fetched.
	Held func(f *settings.Function) string

	Policy     *policy.Policy // to hold the token against, offline; nil: none
	PolicyFile string         // its name, for people
	Call       bool           // also call methods other than GET and HEAD
	Offline    bool           // send nothing to the gateway
	// Values fill expressions in ApimUrl and the remainder of a catch-all, by name in lower case, for the probes.
	Values map[string]string

	// Transport sends the probes; nil: one like the relay's.
	Transport http.RoundTripper
	// Progress is told of each check as it starts and ends, by any goroutine; nil: nobody.
	Progress func(title string, done, all int)
	Now      func() time.Time // nil: time.Now
	times    times            // zero: defaultTimes
}

func (o Options) withDefaults() Options {
	if o.Lookup == nil {
		o.Lookup = func(string) (string, bool) { return "", false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	if o.times == (times{}) {
		o.times = defaultTimes
	}
	return o
}

// Run walks all checks and returns their results in the order of the list, at most 15 seconds later, whatever hangs. It never fails.
func Run(ctx context.Context, o Options) *Report {
	o = o.withDefaults()
	w := newWalk(o)
	return w.run(ctx)
}
