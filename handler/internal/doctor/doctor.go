// Package doctor says why calls are refused, and how to mend it.
//
// It walks positive statements (check.go lists them, as data): the settings are complete, the
// identity gets a token, the gateway accepts the key, and so on, each for every distinct
// combination of identity, app, key and URL among the functions. Whatever is wrong becomes a
// finding with a code of package cause, which has one entry for each cause that can be told apart
// from inside. The same checks serve `handler doctor` and the function doctor; the same results
// are printed as a table and as JSON.
//
// No result holds a secret or a token: what the checks know of them is taken out of every text at
// the end (redact.go).
//
// # What cannot be told from inside
//
// corpus_test.go has a set-up for each failure that people met, numbered by kind: settings (S),
// managed identity (M), Entra (E), the gateway and the token it sees (A). These have none:
//
//   - S1, S2, S3: names that envconfig reads in upper case only, on Linux. They cannot occur: settings reads a name in any spelling.
//   - M10, M11: answers of the metadata service of a virtual machine. identity never asks it.
//   - E3, E22, E23: a request without client_assertion, with `resource` at the v2 endpoint, malformed. azidentity makes none of them.
//   - E32: a credential for one tenant that is asked for another. identity makes one for each.
//
// E24 (a client that asks in a loop) and A22 (a body above the tier's limit) are told from a log
// line alone: doctor neither loops nor sends bodies.
//
// These are one finding, since the answers are the same; each entry of the table lists its
// causes and the command that tells:
//
//   - M7, M8 (resource-refused): a misspelt TargetApp, and an assignment that the API demands. Trouble of the platform is told from both by a control
//     request for another resource.
//   - A2 (key-invalid): a wrong key, a suspended subscription, a key of another product or of another instance, one that was regenerated.
//   - A3 (token-refused): all faults of a token, where the policy has one text for all and neither -policy nor TargetRole is given.
//   - A10 (token-signature): a key rollover that the gateway has not seen, and a deployed policy that differs from the file.
//   - A6 (role-missing): a role that was not granted, and a token older than the grant.
package doctor

import (
	"context"
	"net/http"
	"time"

	"apimrelay/handler/internal/settings"
)

// times bound what is asked: the longest way, a token and a control request and then a call,
// stays below the whole, of which 15 s are promised.
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

	// Held returns the token in hand for a function, "" where there is none; nil: there never is
	// one. Without one in hand a token is fetched.
	Held func(f *settings.Function) string

	Policies *Policies // to hold the token against, offline; nil: none
	Call     bool      // also call methods other than GET and HEAD
	Offline  bool      // send nothing to the gateway
	// Values fill expressions in ApimUrl and the remainder of a catch-all, by name in lower case,
	// for the probes.
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
	if o.times == (times{}) {
		o.times = defaultTimes
	}
	return o
}

// Run walks all checks and returns their results in the order of the list, at most 15 seconds
// later, whatever hangs. It never fails.
func Run(ctx context.Context, o Options) *Report {
	o = o.withDefaults()
	w := newWalk(o)
	return w.run(ctx)
}
