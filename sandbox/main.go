// Command sandbox puts the stand-ins together: the Functions host on a script root with the real handler binary, the identity endpoint with
// its issuer, API Management with the deployed policy, a sample backend, and a console that shows the way of each invocation. Nothing that
// is deployed imports it.
//
// Without arguments it stages the app of the working directory in build/app and runs everything on it; "sandbox help" lists the rest.
//
// What happens to an invocation is seen from four sides and joined by console.Collector: the host knows the invocation's id and the handler's log
// lines, a line has the invocation's id and the trace id, the gateway's record has the traceparent that the handler sent, the identity
// endpoint's history has the hash of the token.
//
// Everything listens on loopback only. The console and its management API (docs/sandbox.md) refuse other origins, and hosts other than loopback,
// so that neither a web page nor a name that was made to point here can use them. No token and no key is in that API; the function key is
// printed on the terminal, in the curl line.
//
// What differs from a function app in Azure, beside what the packages host, identity and gateway list:
//
//   - The handler is not alone on its machine: it inherits the environment of the shell, less every setting of the relay.
//   - The timer's schedule (PollSchedule) is once a minute, and due two seconds after the start for the first time.
//   - The gateway asks for an issuer's metadata again after a second, not five minutes, when a token names a key that it does not know.
//   - "The same request by an identity without the app role" is a second host with its own handler, for that one call: the first one's token would be
//     good for a day.
//   - Ctrl-C gives running invocations two seconds, not thirty.
//   - With -identity az the sandbox's gateway takes the client id of the API from TargetApp (api://<client id>) and trusts the tenant's v2.0
//     metadata, as the deployment registers the API.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
